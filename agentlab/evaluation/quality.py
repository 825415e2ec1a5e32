"""Expectations about quality: findings, verdicts and suggested fixes, as the run's reports have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentlab.evaluation.ended import Ended
from agentlab.evaluation.expectations import holds
from agentlab.evaluation.form import Expectation, FindingSaid, Json

#: What makes an object of a report a finding.
_FINDING = {"table", "column", "kind", "count"}


@holds("finding")
def finding(said: Expectation, ended: Ended) -> Iterator[str]:
    """The run's reports have the finding, with that count; with `count` 0, they don't have it."""
    wanted = said.finding
    if wanted is None:
        return
    about = [found for found in _findings(ended.result.reports) if _is_of(found["table"], wanted.table)]
    counts = [found["count"] for found in about if (found["kind"], found["column"]) == (wanted.kind, wanted.column)]
    allowed = [count for count in (said.count, *(said.accept or ())) if count is not None]
    what = f"{wanted.kind} of {wanted.column or 'rows'}"
    if allowed and not set(counts or [0]) & set(allowed):
        yield f"{what}: {max(counts, default=0)}, not {' or '.join(map(str, allowed))}; {_told(about)}"
    elif not allowed and not any(counts):
        yield f"no {what} was found; {_told(about)}"
    if not _judged(ended, wanted):
        yield f"no report is about {wanted.table}"


def _judged(ended: Ended, wanted: FindingSaid) -> bool:
    """Whether the run looked at the table at all: without that it would have no finding, either."""
    looked = [a for a in ended.acting if a.agent == "quality" and any(map(_of(wanted), a.references("table")))]
    return bool(looked) and ended.result.status == "done"


def _of(wanted: FindingSaid) -> Any:
    return lambda table: _is_of(table, wanted.table)


def _is_of(table: str, wanted: str) -> bool:
    """Whether a table is the one that is meant, with or without its group.

    >>> _is_of("staging.orders", "orders"), _is_of("core.orders", "staging.orders")
    (True, False)
    """
    return table == wanted or ("." not in wanted and table.rpartition(".")[2] == wanted)


def _findings(told: Any) -> Iterator[Json]:
    """Every finding in a report, wherever it is."""
    if isinstance(told, dict):
        if told.keys() >= _FINDING:
            yield told
        for inner in told.values():
            yield from _findings(inner)
    elif isinstance(told, list):
        for inner in told:
            yield from _findings(inner)


def _told(found: list[Json]) -> str:
    return "there are: " + (", ".join(f"{f['kind']} of {f['column'] or 'rows'} {f['count']}" for f in found) or "none")


@holds("passes")
def passes(said: Expectation, ended: Ended) -> Iterator[str]:
    """The check's verdict."""
    verdicts = [bool(verdict) for verdict in _verdicts(ended)]
    if not verdicts:
        yield "the run has no verdict"
    elif all(verdicts) != said.passes:
        yield f"it {'passes' if all(verdicts) else 'fails'}: {' '.join(ended.result.message.split())[:200]}"


def _verdicts(ended: Ended) -> Iterator[bool]:
    for doc in (*ended.made("check").values(), *ended.result.reports.values()):
        verdict = doc.get("verdict", doc)
        if "failing" in verdict:
            yield verdict["failing"] == 0
        elif "passed" in verdict:
            yield bool(verdict["passed"])


@holds("suggests")
def suggests(said: Expectation, ended: Ended) -> Iterator[str]:
    """The suggested plan contains these actions."""
    found = {call["name"] for doc in ended.result.reports.values() for call in doc.get("fixes", ())}
    if lacking := [name for name in said.suggests or () if name not in found]:
        yield f"no {', '.join(lacking)}; it suggests {', '.join(sorted(found)) or 'nothing'}"
