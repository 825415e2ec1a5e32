"""The pictures of the README: the terminal as SVG by rich, the report page as PNG by Chromium."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from agentlab.display import terminal
from agentlab.errors import LabError
from agentlab.events import Event
from agentlab.runs import PipelineResult, RunResult
from agentlab.story.verify import Claim

WIDTH = 108

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def draw(told: PipelineResult, claims: Sequence[Claim], page: Path, folder: Path) -> None:
    """`run.svg`, the story in short, and `report.png`, the top of the page; LabError without a Chromium."""
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(Text("$ make demo", "bold"))
    for step in told.runs:
        console.print(Text.assemble("\n● ", (step.plan.origin.intent, "bold")))
        console.print(terminal.plan(step.plan))
        console.print(terminal.events(_telling(step)))
    console.print(Text(), verified(claims), sep="\n")
    console.save_svg(str(folder / "run.svg"), title="agentlab")
    screenshot(page, folder / "report.png")


def verified(claims: Sequence[Claim]) -> RenderableType:
    """A line for each claim: whether it holds, and what was found."""
    return Group(*map(_line, claims))


def _line(claim: Claim) -> Text:
    mark = ("✓ ", "bold green") if claim.holds else ("✗ ", "bold red")
    return Text.assemble(mark, claim.says, (f"  {claim.found}", "dim"), overflow="ellipsis", no_wrap=True)


def _telling(step: RunResult) -> list[Event]:
    """The last event of each type that isn't about a review."""
    last = {event.type: event for event in step.events if not event.type.startswith("review-")}
    return sorted(last.values(), key=lambda event: event.seq)


def screenshot(page: Path, picture: Path, width: int = 1100, height: int = 1400, dark: bool = False) -> None:
    """A picture of a page, in pixels, by a headless Chromium."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise LabError(f"the picture needs Chromium (looked for {', '.join(BROWSERS)}): apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    shot = [browser, *options, f"--screenshot={picture.resolve()}", page.resolve().as_uri()]
    done = subprocess.run(shot, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 (our own page)
    if done.returncode or not picture.exists():
        raise LabError(f"Chromium made no picture: {done.stderr.strip().splitlines()[-1:]}")
