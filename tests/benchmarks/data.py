"""The data benchmarks, one after the other, and their figures together: what `make bench-data` runs.

Each is a program of its own in this folder and says in its first lines what it compares. All of it takes about half an
hour on two cores; `--small` runs each at a tenth of its size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROGRAMS = {"quality.py": 10_000_000, "pull.py": 1_000_000, "transform.py": 10_000_000}


def figures(program: str, rows: int) -> dict[str, Any]:
    """Run one, show what it prints, and read its last line."""
    command = [sys.executable, str(HERE / program), "--rows", str(rows)]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    if running.returncode:
        sys.exit(f"{program} ended with {running.returncode}")
    found: dict[str, Any] = json.loads(last)
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the rows")
    parser.add_argument("programs", nargs="*", choices=[[], *PROGRAMS], help="which; all by default")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for program in options.programs or PROGRAMS:
        print(f"\n== {program}", flush=True)
        found |= figures(program, PROGRAMS[program] // (10 if options.small else 1))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
