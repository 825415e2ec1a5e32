"""`python -m agentlab.story`: the story in a terminal; `--picture` also draws the pictures of the README."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agentlab.errors import AgentlabError
from agentlab.story.tell import tell


def main() -> int:
    """0 when the end state is as claimed, 1 when it isn't, or when the story couldn't be told."""
    options = _options()
    try:
        return tell(options.lab, model=options.model, ask=options.ask, pictures=options.picture)
    except AgentlabError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m agentlab.story", description="The story of make demo.")
    parser.add_argument("--lab", type=Path, default=Path("demo-lab"), help="a folder of its own (default: %(default)s)")
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--yes", action="store_true", help="approve by itself, visibly (the default)")
    answers.add_argument("--ask", action="store_true", help="ask at the terminal before rows leave the table")
    parser.add_argument(
        "--picture", type=Path, metavar="FOLDER", help="draw run.svg and, by Chromium, report.png there"
    )
    parser.add_argument("--model", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
