"""Trials: a layout is built in a scratch folder and measured against the tables as they are, query by query.

Every query must give the same result from it, and every copy of a table must hold the very same rows. What is kept of
what was tried, `tune.py` decides.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import ibis
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from sqlglot import exp

from agentlab import copies
from agentlab.copies import Copy, Shape
from agentlab.engine import Engine, schema_of
from agentlab.entries import check_run
from agentlab.errors import AgentlabError, PlanError, unknown
from agentlab.layouts import Candidate, Extent, columns_read
from agentlab.queries import Query, bind, check, fetch, ordered_by
from agentlab.results import difference

#: A layout counts as faster from this gain on: less is within what a busy machine makes up.
LEAST_GAIN = 1.15

#: The fewest times that each side is run, in pairs; and how often where a run is shorter than `QUICK` milliseconds and
#: the sides are so near each other that chance might decide.
LEAST_ROUNDS, MORE_ROUNDS, QUICK, NEAR = 5, 15, 10.0, 1.5

#: A layout may take this many times the bytes of the table (of a result: of the tables that it is made of), and never
#: less than `LEAST_BYTES`: a DuckDB file has a size of its own, however few its rows are.
MOST_TIMES, LEAST_BYTES = 2, 256 * 2**20

#: What the look-up is called that a layout is measured on when no saved query reads its table.
LOOK_UP = "look-up of one value"
#: And the reading of the whole table, for a layout that has no columns to look up by.
WHOLE = "reading of the whole table"

Status = Literal["kept", "beaten", "slower", "differs", "failed", "too large", "untried"]

#: Runs bound SQL once: milliseconds in the engine.
Timed = Callable[[Engine, str], float]


def timed(engine: Engine, sql: str) -> float:
    """How long the engine takes for bound SQL, in milliseconds."""
    return fetch(engine, sql)[1]


class Measured(BaseModel):
    """One candidate on one query. Times are medians in milliseconds; `bytes` are on disk.

    `gain` is how many times as fast the query is: the median of before / after over the pairs of runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    candidate: Candidate
    status: Status
    why: str
    before_ms: float = 0.0
    after_ms: float = 0.0
    gain: float = 0.0
    build_ms: float = 0.0
    bytes: int = 0

    def __str__(self) -> str:
        cost = f" ({self.bytes / 1e6:,.2f} MB, built in {self.build_ms:,.0f} ms)" if self.bytes else ""
        return f"{self.candidate}{cost}: {self.status}, {self.why}"


@dataclass(frozen=True)
class Bench:
    """What every trial of a run needs: tables by name, their versions, how they lie, and how often each side is run.

    `free` are the bytes that layouts may still take in the lab (None is any number), and `freed` those that are given
    back when a like one takes the place of a layout, by its candidate's key.
    """

    engine: Engine
    root: Path
    run: str
    views: Mapping[str, ibis.Table]
    versions: Mapping[str, int]
    extents: Mapping[str, Extent] = field(default_factory=dict)
    free: int | None = None
    freed: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    rounds: int = LEAST_ROUNDS
    timed: Timed = timed
    #: What was found of a table's rows once, by table and columns.
    prints: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict)

    def rows(self, tables: Sequence[str]) -> int | None:
        """The rows of the tables together; None if that isn't known."""
        known = [self.extents[table].rows for table in tables if table in self.extents]
        return sum(known) if len(known) == len(tables) else None

    def takes(self, built: Built, query: str) -> int:
        """The bytes by which the lab's layouts grow when one is kept for a query."""
        return max(built.data.bytes - self.freed.get(built.candidate.key(query), 0), 0)


class Built(NamedTuple):
    """A candidate that lies in the scratch folder."""

    candidate: Candidate
    data: Copy
    build_ms: float


class Trial(NamedTuple):
    """A candidate on every query that it may serve; nothing is built when it can't be."""

    built: Built | None
    measured: tuple[Measured, ...]

    @property
    def is_harmless(self) -> bool:
        """Whether it could be built, fits, and changes no result."""
        return self.built is not None and {m.status for m in self.measured} <= {"kept", "slower"}

    @property
    def faster(self) -> tuple[Measured, ...]:
        """Where it is truly faster."""
        return tuple(m for m in self.measured if m.status == "kept")


def attempt(
    bench: Bench, candidate: Candidate, queries: Mapping[str, Query], folder: Path, shape: Shape | None = None
) -> Trial:
    """Build a candidate in a folder and measure it on queries; what goes wrong is told of the first one.

    `shape` is how the copy is written, if not as the candidate says.
    """
    (name, query), *others = queries.items()
    try:
        built = _build(bench, candidate, query, folder, shape or candidate.shape)
    except (AgentlabError, pa.ArrowException, ibis.IbisError) as fault:
        return Trial(None, (lost(name, candidate, "failed", str(fault)),))
    if large := _too_large(bench, built, name, query):
        return Trial(None, (_of(built, lost(name, candidate, "too large", large)),))
    first = _measure(bench, built, name, query)
    return Trial(built, (first, *(_measure(bench, built, *other) for other in others)))


def lost(name: str, candidate: Candidate, status: Status, why: str) -> Measured:
    """A candidate that didn't come to be measured on a query, and why."""
    return Measured(query=name, candidate=candidate, status=status, why=why)


def served(bench: Bench, candidate: Candidate, queries: Mapping[str, Query]) -> dict[str, Query]:
    """The queries to measure a candidate on: those that read its table; without any, one that stands for them.

    A query that can't run as it is, say of a column that has another name by now, speaks against no layout.
    """
    if candidate.kind == "materialized":
        if len(queries) != 1:
            raise PlanError(f"materialize keeps the result of one query, not of {len(queries)}")
        return dict(queries)
    if candidate.table not in bench.views:
        raise PlanError(unknown("table", candidate.table, bench.views))
    for column in candidate.columns:
        if column not in bench.views[candidate.table].columns:
            raise PlanError(unknown("column", column, bench.views[candidate.table].columns, f"in {candidate.table}"))
    found = {name: query for name, query in queries.items() if _may_serve(bench, candidate, query)}
    found = {name: query for name, query in found.items() if _can_run(bench, query)}
    return found or _stand_in(bench, candidate)


def _may_serve(bench: Bench, candidate: Candidate, query: Query) -> bool:
    if candidate.table not in query.tables:
        return False
    read = columns_read(query, {table: schema_of(bench.views[table]) for table in query.tables})
    return candidate.kind != "pruned" or set(read.get(candidate.table, ())) <= set(candidate.columns)


def _can_run(bench: Bench, query: Query) -> bool:
    try:
        fetch(bench.engine, f"EXPLAIN {bind(bench.engine, query, bench.views)}")
    except PlanError:
        return False
    return True


def _stand_in(bench: Bench, candidate: Candidate) -> dict[str, Query]:
    """What such layouts are for: the rows that have one of the table's own values; else the reading of all of them."""
    view, table = bench.views[candidate.table], exp.to_table(candidate.table)
    if not candidate.columns:
        whole = exp.select(*(exp.func("count", exp.column(c, quoted=True)) for c in view.columns)).from_(table)
        return {WHOLE: check(whole.sql("duckdb"), bench.views)}
    column = candidate.columns[0]
    values = bench.engine.con.to_pyarrow(view.select(column).drop_null().limit(1))
    if not len(values):
        raise PlanError(f"{column} of {candidate.table} has no values, so there is nothing to look up by it")
    wanted = exp.column(column, quoted=True).eq(values[0][0].as_py())
    return {LOOK_UP: check(exp.select("*").from_(table).where(wanted).sql("duckdb"), bench.views)}


def laid_out(
    engine: Engine, root: Path, query: Query, views: Mapping[str, ibis.Table], candidate: Candidate, data: Copy
) -> str:
    """The SQL that answers the query from a layout."""
    copy = copies.read(engine, root, [data])
    if candidate.kind == "materialized":
        return str(engine.con.compile(copy))
    return bind(engine, query, {**views, candidate.table: copy})


@contextmanager
def scratch(bench: Bench) -> Iterator[Path]:
    """A folder for what is being tried; nothing of it is left, also not of a try that crashed."""
    folder = bench.root / "layouts" / f".trying-{check_run(bench.run)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        copies.detach_under(bench.engine, folder)
        shutil.rmtree(folder, ignore_errors=True)


def result_of(bench: Bench, query: Query) -> ibis.Table:
    """A query's result as a table; PlanError for one that is another result at each moment."""
    if not query.steady:
        raise PlanError("the query asks for the present moment, so its result can't be kept")
    return bench.engine.memtable(fetch(bench.engine, bind(bench.engine, query, bench.views))[0])


def _build(bench: Bench, candidate: Candidate, query: Query, folder: Path, shape: Shape) -> Built:
    source = result_of(bench, query) if candidate.kind == "materialized" else bench.views[candidate.table]
    if candidate.kept_columns:
        source = source.select(*candidate.kept_columns)
    began = time.perf_counter()
    data = copies.write(bench.engine, source, bench.root, folder, shape)
    built = Built(candidate, data, (time.perf_counter() - began) * 1000)
    if candidate.kind != "materialized":
        _prove(bench, built, source)
    return built


def _prove(bench: Bench, built: Built, source: ibis.Table) -> None:
    """The copy holds the same rows: as many, with the same sum of hashes, so that no query can tell them apart."""
    key = (built.candidate.table, *source.columns)
    if key not in bench.prints:
        bench.prints[key] = copies.fingerprint(bench.engine, source)
    if copies.fingerprint(bench.engine, copies.read(bench.engine, bench.root, [built.data])) != bench.prints[key]:
        raise PlanError("the copy doesn't hold the same rows as the table")


def _too_large(bench: Bench, built: Built, name: str, query: Query) -> str:
    """Why a copy is too large to be kept; nothing when it fits."""
    tables = query.tables if built.candidate.kind == "materialized" else (built.candidate.table,)
    size, known = built.data.bytes, [bench.extents[t].bytes for t in tables if t in bench.extents]
    if len(known) == len(tables) and size > (most := max(MOST_TIMES * sum(known), LEAST_BYTES)):
        what = f"{MOST_TIMES} times {', '.join(tables)}" if most > LEAST_BYTES else "what a layout may always take"
        return f"it takes {_mb(size)}, and {_mb(most)} are allowed ({what})"
    if bench.free is not None and bench.takes(built, name) > bench.free:
        return f"it takes {_mb(size)}, and of what all layouts of the lab may take {_mb(max(bench.free, 0))} are left"
    return ""


def _mb(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"


def _of(built: Built, measured: Measured) -> Measured:
    return measured.model_copy(update={"build_ms": built.build_ms, "bytes": built.data.bytes})


def _measure(bench: Bench, built: Built, name: str, query: Query) -> Measured:
    return _of(built, _compare(bench, built, name, query))


def _compare(bench: Bench, built: Built, name: str, query: Query) -> Measured:
    try:
        base = bind(bench.engine, query, bench.views)
        other = laid_out(bench.engine, bench.root, query, bench.views, built.candidate, built.data)
        left, right = fetch(bench.engine, base)[0], fetch(bench.engine, other)[0]
        if unlike := difference(left, right, ordered_by(query, left.column_names)):
            return lost(name, built.candidate, "differs", unlike)
        pairs = _confirmed(bench, base, other)
    except AgentlabError as fault:
        return lost(name, built.candidate, "failed", str(fault))
    told = f"{pairs.before:.1f} ms before, {pairs.after:.1f} ms after: {pairs.gain:.2f} times as fast"
    faster = pairs.gain >= LEAST_GAIN
    why = told if faster else f"{told}, less than {LEAST_GAIN} times"
    figures = {"before_ms": pairs.before, "after_ms": pairs.after, "gain": pairs.gain}
    return lost(name, built.candidate, "kept" if faster else "slower", why).model_copy(update=figures)


class _Pairs(NamedTuple):
    before: float
    after: float
    gain: float


def _confirmed(bench: Bench, base: str, other: str) -> _Pairs:
    """What looks faster is measured afresh, and only the second measurement counts.

    On a busy machine a query beat itself by 1.2 times in 1 of 40 measurements, and many candidates are tried.
    """
    first = _paired(bench, base, other)
    return _paired(bench, base, other) if first.gain >= LEAST_GAIN else first


def _paired(bench: Bench, base: str, other: str) -> _Pairs:
    """One measurement. The sides take turns, and in who goes first too, so that a busy machine hits both."""
    pairs: list[tuple[float, float]] = []
    rounds = max(bench.rounds, LEAST_ROUNDS)
    while len(pairs) < rounds:
        times = {sql: bench.timed(bench.engine, sql) for sql in ((base, other) if len(pairs) % 2 else (other, base))}
        pairs.append((times[base], times[other]))
        if len(pairs) == LEAST_ROUNDS and _is_close(pairs):
            rounds = max(rounds, MORE_ROUNDS)
    before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
    return _Pairs(before, after, _gain(pairs))


def _gain(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.median(before / after for before, after in pairs)


def _is_close(pairs: Sequence[tuple[float, float]]) -> bool:
    return max(map(max, pairs)) < QUICK and 1 / LEAST_GAIN < _gain(pairs) < NEAR
