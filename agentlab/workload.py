"""The workload: saved queries, how long each run of them took, what all of them cost, and answers from kept layouts.

`check`, `candidates`, `diagnose`, `tune` and the like are part of this front; they live in `queries.py`, `layouts.py`,
`diagnosis.py`, `trials.py` and `tune.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import ibis
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from agentlab.diagnosis import Diagnosis, Hotspot, diagnose, trend
from agentlab.engine import Engine, schema_of
from agentlab.events import now
from agentlab.layouts import Candidate, Extent, LayoutDoc, candidate_of, candidates, choose, is_current, outdated
from agentlab.queries import PATIENCE, Query, bind, check, fetch
from agentlab.trials import Bench, Measured, laid_out
from agentlab.tune import Tuning, recompute, try_layout, tune

__all__ = [
    "Answer",
    "Bench",
    "Candidate",
    "Cost",
    "Diagnosis",
    "Extent",
    "Hotspot",
    "LayoutDoc",
    "Measured",
    "Query",
    "QueryDoc",
    "QueryRun",
    "Tuning",
    "answer",
    "candidate_of",
    "candidates",
    "check",
    "diagnose",
    "is_current",
    "outdated",
    "ranked",
    "recompute",
    "run_query",
    "try_layout",
    "tune",
]

#: Runs that a saved query remembers.
REMEMBERED = 50


class QueryRun(BaseModel):
    """One run of a saved query: milliseconds in the engine, rows of the result, when, and the layout that answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ms: float
    rows: int
    at: str
    layout: str = ""


class QueryDoc(BaseModel):
    """A saved query over catalog tables and `store.table`, and its last runs, oldest first.

    `freq` is how often it is asked, in any unit that is the same for all queries (a day's runs, say); None: as often as
    it was run. `count` counts all runs, also those that aren't remembered any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sql: str
    runs: tuple[QueryRun, ...] = ()
    freq: float | None = Field(default=None, ge=0)
    count: int = 0

    def logged(self, ms: float, rows: int, layout: str = "") -> QueryDoc:
        """The document with one more run.

        >>> QueryDoc(name="by_day", sql="select 1").logged(3.5, 1).median_ms
        3.5
        """
        run = QueryRun(ms=round(ms, 3), rows=rows, at=now(), layout=layout)
        return self.model_copy(update={"runs": (*self.runs, run)[-REMEMBERED:], "count": self.asked + 1})

    @property
    def asked(self) -> int:
        """How many runs were logged."""
        return max(self.count, len(self.runs))

    @property
    def weight(self) -> float:
        """How often it is asked: `freq` if that is known, else as often as it was run, and once at the least."""
        return float(max(self.asked, 1)) if self.freq is None else self.freq

    @property
    def slowdown(self) -> float:
        """How many times slower its last runs were than those before; 1 while there are too few."""
        return trend([run.ms for run in self.runs])

    @property
    def median_ms(self) -> float | None:
        """The median of the logged runs; None before the first."""
        return statistics.median(run.ms for run in self.runs) if self.runs else None


class Cost(BaseModel):
    """What a query costs the whole workload: `total_ms` is `freq` times `ms`, and `share` its part of all queries'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    freq: float
    ms: float
    total_ms: float
    share: float

    def __str__(self) -> str:
        return f"{self.query}: {self.freq:g} x {self.ms:,.1f} ms = {self.total_ms:,.1f} ms, {self.share:.0%} of all"


class Answer(NamedTuple):
    """A query's rows, the engine's milliseconds, and the layout that they came from; "" for the tables themselves."""

    rows: pa.Table
    ms: float
    layout: str


def ranked(docs: Iterable[QueryDoc], measured: Mapping[str, float]) -> list[Cost]:
    """What each query costs by the median of its log, or of what was `measured` now (ms); the dearest first.

    >>> docs = [QueryDoc(name="a", sql="", freq=2), QueryDoc(name="b", sql="", freq=40)]
    >>> for cost in ranked(docs, {"a": 30, "b": 2}):
    ...     print(cost)
    b: 40 x 2.0 ms = 80.0 ms, 57% of all
    a: 2 x 30.0 ms = 60.0 ms, 43% of all
    """
    times = [(doc, measured[doc.name] if doc.median_ms is None else doc.median_ms) for doc in docs]
    whole = sum(doc.weight * ms for doc, ms in times) or 1.0
    costs = [
        Cost(query=doc.name, freq=doc.weight, ms=ms, total_ms=doc.weight * ms, share=doc.weight * ms / whole)
        for doc, ms in times
    ]
    return sorted(costs, key=lambda cost: -cost.total_ms)


def run_query(
    engine: Engine, views: Mapping[str, ibis.Table], sql: str, seconds: float = PATIENCE
) -> tuple[pa.Table, float]:
    """Check and run a stranger's SELECT over the tables of `views`: its rows, and the engine's milliseconds."""
    return fetch(engine, bind(engine, check(sql, views), views), seconds)


def answer(
    engine: Engine,
    query: Query,
    views: Mapping[str, ibis.Table],
    layouts: Iterable[LayoutDoc],
    versions: Mapping[str, int],
    *,
    root: Path,
    seconds: float = PATIENCE,
) -> Answer:
    """Answer from the best layout that was made of the tables' current versions, else from the tables themselves."""
    layout = choose(query, layouts, versions, {table: schema_of(views[table]) for table in query.tables}, root)
    if layout is None:
        return Answer(*fetch(engine, bind(engine, query, views), seconds), "")
    sql = laid_out(engine, root, query, views, layout.candidate, layout.data)
    return Answer(*fetch(engine, sql, seconds), layout.name)
