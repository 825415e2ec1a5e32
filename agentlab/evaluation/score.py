"""What came of cases, counted by agent, number of actions, voice and status, with intervals; the time of planning."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

#: The 97.5% quantile of the normal distribution: intervals cover 95%.
_Z = 1.959963984540054


@dataclass(frozen=True)
class Judged:
    """What came of one case. `passed` is None when it was skipped; `why` says what did not hold, or why not.

    `confidence` is the plan's, None when there was no run. `harm` names what the run changed that it should have left.
    """

    id: str
    agent: str
    voice: str
    actions: int
    expected: str
    passed: bool | None
    status: str
    plan: list[dict[str, Any]]
    why: str = ""
    plan_ms: float | None = None
    confidence: float | None = None
    harm: tuple[str, ...] = ()

    @property
    def abstained(self) -> bool:
        """Whether it asked or declined."""
        return self.status in ("clarify", "refuse")

    @property
    def should_abstain(self) -> bool:
        """Whether it should have."""
        return any(word in ("clarify", "refuse") for word in self.expected.split("|"))


@dataclass(frozen=True)
class Share:
    """How many of how many, and the interval in which the true share lies with 95% (Wilson 1927).

    >>> share = Share(8, 10)
    >>> [round(end, 3) for end in share.interval]
    [0.49, 0.943]
    """

    passed: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """From and to, 0 to 1."""
        if not self.total:
            return (0.0, 1.0)
        n, p = self.total, self.passed / self.total
        middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return (max(0.0, middle - half), min(1.0, middle + half))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"passed": self.passed, "total": self.total, "interval": [round(end, 4) for end in self.interval]}

    def __str__(self) -> str:
        low, high = self.interval
        rate = f"{self.passed / self.total:6.1%}" if self.total else "     -"
        return f"{self.passed:5} of {self.total:<5} {rate}  [{low:.1%}, {high:.1%}]"


@dataclass(frozen=True)
class Result:
    """What came of an evaluation: every case, in order."""

    model: str
    cases: tuple[Judged, ...]

    @property
    def tried(self) -> tuple[Judged, ...]:
        """The cases that weren't skipped."""
        return tuple(case for case in self.cases if case.passed is not None)

    @property
    def passed(self) -> int:
        """The cases whose expectations all hold."""
        return sum(bool(case.passed) for case in self.tried)

    @property
    def total(self) -> int:
        """The cases that were tried."""
        return len(self.tried)

    @property
    def by(self) -> dict[str, dict[str, Share]]:
        """The shares by agent, by number of actions, by voice and by the status that is expected."""
        groups: dict[str, Callable[[Judged], Any]] = {
            "agent": lambda case: case.agent,
            "actions": lambda case: case.actions,
            "voice": lambda case: case.voice,
            "status": lambda case: case.expected,
        }
        return {name: _shares(self.tried, key) for name, key in groups.items()}

    @property
    def abstentions(self) -> dict[str, int]:
        """How often it asked or declined rightly and wrongly, and how often it acted where it shouldn't have."""
        asked = [case for case in self.tried if case.abstained]
        right = sum(case.should_abstain for case in asked)
        missed = sum(case.should_abstain and not case.abstained for case in self.tried)
        return {"right": right, "wrong": len(asked) - right, "missed": missed}

    @property
    def plan_ms(self) -> dict[str, float]:
        """The median and the 95% quantile of the time of planning, in milliseconds."""
        times = sorted(case.plan_ms for case in self.tried if case.plan_ms is not None)
        return {"p50": _quantile(times, 0.5), "p95": _quantile(times, 0.95)}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; a skipped case is among the cases, with `passed` null, and isn't counted."""
        by: dict[str, Any] = {
            name: {str(key): share.to_dict() for key, share in shares.items()} for name, shares in self.by.items()
        }
        cases = [{"id": c.id, "passed": c.passed, "status": c.status, "plan": c.plan, "why": c.why} for c in self.cases]
        by["abstentions"] = self.abstentions
        return {"passed": self.passed, "total": self.total, "by": by, "plan_ms": self.plan_ms, "cases": cases}

    def to_json(self) -> str:
        """`to_dict` on one line."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> Iterator[str]:
        for case in self.cases:
            if not case.passed:
                yield f"{'skipped' if case.passed is None else 'failed '} {case.id}: {case.why}"
        yield f"{'passed':18}{Share(self.passed, self.total)}  by {self.model}"
        for name, shares in self.by.items():
            yield f"by {name}"
            yield from (f"  {key!s:16}{share}" for key, share in shares.items())
        told = self.abstentions
        yield f"abstentions: {told['right']} right, {told['wrong']} wrong, {told['missed']} missed"
        yield f"planning: {self.plan_ms['p50']:,.1f} ms in the median, {self.plan_ms['p95']:,.1f} ms for 95%"
        if skipped := len(self.cases) - self.total:
            yield f"skipped: {skipped}"


def _shares(cases: Iterable[Judged], key: Callable[[Judged], Any]) -> dict[Any, Share]:
    groups: dict[Any, list[Judged]] = {}
    for case in cases:
        groups.setdefault(key(case), []).append(case)
    ordered = sorted(groups.items(), key=lambda pair: (isinstance(pair[0], str), pair[0]))
    return {name: Share(sum(bool(c.passed) for c in some), len(some)) for name, some in ordered}


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is at least as great as this share of all; 0 without values.

    >>> _quantile([1.0, 2.0, 3.0, 4.0], 0.95)
    4.0
    """
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 1) if ordered else 0.0
