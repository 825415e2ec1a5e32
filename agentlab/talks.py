"""Who answers the reviews of runs and who hears of their progress, for as long as each run is under way."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from agentlab.events import Event
from agentlab.runs import Approve, OnEvent

_LOG = logging.getLogger("agentlab")


@dataclass(frozen=True)
class Talk:
    """Who answers reviews and who hears of progress."""

    approve: Approve = None
    on_event: OnEvent | None = None


class Talks:
    """The talks of the runs under way. What a run causes and a pipeline's steps share that of the first run."""

    def __init__(self, usual: Talk) -> None:
        self.usual = usual
        self._talks: dict[str, Talk] = {}

    def begin(self, run: str, talk: Talk | None) -> None:
        """From now on a run has this talk, or the usual one."""
        self._talks[_root(run)] = talk or self.usual

    def end(self, run: str) -> None:
        """A run is over."""
        self._talks.pop(_root(run), None)

    def of(self, run: str) -> Talk:
        """A run's talk."""
        return self._talks.get(_root(run), self.usual)

    def tell(self, run: str, told: Event | str) -> None:
        """Tell whoever listens to a run. A listener that fails doesn't fail the run; it is told nothing more of it."""
        talk = self.of(run)
        if talk.on_event is None:
            return
        try:
            talk.on_event(told)
        except Exception as fault:
            # One line, since the command line shows it to people; where it happened is for those who look for it.
            name = type(fault).__name__
            _LOG.warning("on_event of run %s failed, and hears no more of it: %s: %s", run, name, fault)
            _LOG.debug("where on_event failed", exc_info=fault)
            self._talks[_root(run)] = replace(talk, on_event=None)


def _root(run: str) -> str:
    return run.partition("-")[0]
