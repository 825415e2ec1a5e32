"""What a terminal shows while a run is under way: events stay, the rest passes by in one line."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from agentlab.display import terminal
from agentlab.display.words import visible
from agentlab.events import Event
from agentlab.runs import Review

#: How the orchestrator says that a sentence's turn has come.
PLANNING = "planning: "


class Progress:
    """Hears a run's events and progress; use it in a `with`. Where there is no terminal, only events are shown.

    With `sentences`, what is being planned stays, too: for pipelines.
    """

    def __init__(self, console: Console | None = None, silent: bool = False, sentences: bool = False) -> None:
        self.console = console or Console(quiet=silent, highlight=False)
        self.sentences = sentences
        self._status = self.console.status("")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def hear(self, told: Event | str) -> None:
        """Show what a run tells."""
        if isinstance(told, str):
            self._status.update(Text(visible(told)))
            if self.sentences and told.startswith(PLANNING):
                self.console.print(Text(visible(told.removeprefix(PLANNING), 400), "bold"))
        else:
            self.console.print(terminal.event(told))

    def ask(self, review: Review) -> bool:
        """Ask the person at the terminal; what isn't a yes is a no."""
        self._status.stop()
        try:
            self.console.print(terminal.review(review))
            return self.console.input("Do it? \\[y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False
        finally:
            self._status.start()
