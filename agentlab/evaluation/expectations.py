"""What must hold after a run: one small function for each expectation, by its key.

Each yields what it found instead, in words; nothing where the expectation holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agentlab.errors import AgentlabError
from agentlab.evaluation.ended import Ended
from agentlab.evaluation.form import Expectation

Judge = Callable[[Expectation, Ended], Iterator[str]]

#: Every expectation by its key. A key of the form without a function would be a fault of ours: a test looks.
EXPECTATIONS: dict[str, Judge] = {}


def holds(key: str) -> Callable[[Judge], Judge]:
    """Register the function for an expectation's key."""

    def register(judge: Judge) -> Judge:
        EXPECTATIONS[key] = judge
        return judge

    return register


def judged(expectations: list[Expectation], ended: Ended) -> list[str]:
    """Why the expectations don't hold, one line for each fault; empty if all hold."""
    return [f"{said.key}: {why}" for said in expectations for why in _why(said, ended)]


def _why(said: Expectation, ended: Ended) -> list[str]:
    try:
        return list(EXPECTATIONS[said.key](said, ended))
    except AgentlabError as fault:
        return [f"it can't be looked at: {fault}"]
