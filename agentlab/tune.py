"""Tuning: layouts are built, measured against the tables as they are, and kept only if truly faster with equal results.

Everything that was tried is told, also what lost and why. What may be worth trying is said in `layouts.py`.
"""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import ibis
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from sqlglot import exp

from agentlab import copies
from agentlab.copies import Copy
from agentlab.engine import Engine, schema_of
from agentlab.entries import check_run
from agentlab.errors import AgentlabError, PlanError, unknown
from agentlab.layouts import Candidate, LayoutDoc, candidates
from agentlab.queries import Query, bind, check, fetch
from agentlab.results import difference

#: A layout is kept from this gain on: less is within what a busy machine makes up.
LEAST_GAIN = 1.2

#: The fewest times that each side is run.
LEAST_ROUNDS = 5

#: What the look-up is called that a layout is measured on beside the saved queries.
LOOK_UP = "look-up of one value"

Objective = Literal["speed", "cost", "balance"]
Status = Literal["kept", "beaten", "slower", "differs", "failed", "untried"]


class Measured(BaseModel):
    """One candidate on one query. Times are medians in milliseconds; `gain` is before / after; `bytes` are on disk."""

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
        return f"{self.candidate}: {self.status}, {self.why}"


class Tuning(BaseModel):
    """What was tried, and the layout that was kept, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: tuple[Measured, ...]
    kept: LayoutDoc | None = None

    def __str__(self) -> str:
        return "\n".join(map(str, self.measured)) or "nothing to try: the query suggests no layout"


class Bench(NamedTuple):
    """What every trial of a run needs: tables by name and their versions, and how often each side is run."""

    engine: Engine
    root: Path
    run: str
    views: Mapping[str, ibis.Table]
    versions: Mapping[str, int]
    rounds: int = LEAST_ROUNDS


class _Built(NamedTuple):
    candidate: Candidate
    data: Copy
    build_ms: float


def tune(
    bench: Bench, name: str, query: Query, *, objective: Objective = "speed", keep: bool = True, seconds: float = 300.0
) -> Tuning:
    """Try every candidate for a query and keep the best; none with `keep=False`, as a recommendation.

    `objective`: the greatest gain (speed), the least disk (cost), or the least disk among those that gain at least half
    of the greatest (balance). After `seconds` no further candidate is begun; it is told as untried.
    """
    began = time.monotonic()
    trials: list[tuple[_Built | None, Measured]] = []
    with _scratch(bench) as scratch:
        for candidate in candidates(query, {t: schema_of(bench.views[t]) for t in query.tables}):
            if time.monotonic() - began > seconds:
                trials.append((None, _lost(name, candidate, "untried", f"{seconds:g} seconds were over")))
                continue
            trials.append(_trial(bench, candidate, name, query, scratch / str(len(trials))))
        best = _best([m for _, m in trials], objective)
        kept = next((b for b, m in trials if b and m is best), None) if keep else None
        layout = _keep(bench, kept, [best], {name: query}) if kept and best else None
    return Tuning(measured=tuple(_told(m, best, keep) for _, m in trials), kept=layout)


def try_layout(bench: Bench, candidate: Candidate, queries: Mapping[str, Query]) -> Tuning:
    """Build one layout, measure it on every query that it may serve, and keep it if one is faster and none differs.

    A layout of a table is measured on a look-up of one value too, a materialized result on its own query only.
    """
    served = _served(bench, candidate, queries)
    with _scratch(bench) as scratch:
        (name, query), *others = served.items()
        built, first = _trial(bench, candidate, name, query, scratch / "0")
        measured = [first, *(_measure(bench, built, *other) for other in others if built)]
        if built and {"kept"} <= {m.status for m in measured} <= {"kept", "slower"}:
            return Tuning(measured=tuple(measured), kept=_keep(bench, built, measured, served))
    return Tuning(measured=tuple(_told(m, None, True) for m in measured))


def _served(bench: Bench, candidate: Candidate, queries: Mapping[str, Query]) -> dict[str, Query]:
    if candidate.kind == "materialized":
        if len(queries) != 1:
            raise PlanError(f"materialize keeps the result of one query, not of {len(queries)}")
        return dict(queries)
    if candidate.table not in bench.views:
        raise PlanError(unknown("table", candidate.table, bench.views))
    look_up = check(_look_up(bench, candidate), bench.views)
    return {LOOK_UP: look_up, **{name: query for name, query in queries.items() if candidate.table in query.tables}}


def _look_up(bench: Bench, candidate: Candidate) -> str:
    """What such layouts are for: the rows that have one of the table's own values."""
    view, column = bench.views[candidate.table], candidate.columns[0]
    if column not in view.columns:
        raise PlanError(unknown("column", column, view.columns, f"in {candidate.table}"))
    values = bench.engine.con.to_pyarrow(view.select(column).drop_null().limit(1))
    if not len(values):
        raise PlanError(f"{column} of {candidate.table} has no values, so there is nothing to look up by it")
    wanted = exp.column(column, quoted=True).eq(values[0][0].as_py())
    return str(exp.select("*").from_(exp.to_table(candidate.table)).where(wanted).sql("duckdb"))


def _trial(bench: Bench, candidate: Candidate, name: str, query: Query, folder: Path) -> tuple[_Built | None, Measured]:
    try:
        source = _source(bench, candidate, query)
        began = time.perf_counter()
        data = copies.write(bench.engine, source, bench.root, folder, candidate.shape)
        built = _Built(candidate, data, (time.perf_counter() - began) * 1000)
    except (AgentlabError, pa.ArrowException, ibis.IbisError) as fault:
        return None, _lost(name, candidate, "failed", str(fault))
    return built, _measure(bench, built, name, query)


def _source(bench: Bench, candidate: Candidate, query: Query) -> ibis.Table:
    if candidate.kind != "materialized":
        return bench.views[candidate.table]
    if not query.steady:
        raise PlanError("the query asks for the present moment, so its result can't be kept")
    return bench.engine.memtable(fetch(bench.engine, bind(bench.engine, query, bench.views))[0])


def _measure(bench: Bench, built: _Built, name: str, query: Query) -> Measured:
    base = bind(bench.engine, query, bench.views)
    other = laid_out(bench.engine, bench.root, query, bench.views, built.candidate, built.data)
    lost = partial(_lost, name, built.candidate, build_ms=built.build_ms, bytes=built.data.bytes)
    try:
        unlike = difference(fetch(bench.engine, base)[0], fetch(bench.engine, other)[0])
        if unlike:
            return lost("differs", unlike)
        before, after = _confirmed(bench, base, other)
    except AgentlabError as fault:
        return lost("failed", str(fault))
    gain = before / after
    told = f"{before:.1f} ms before, {after:.1f} ms after: {gain:.1f} times as fast"
    status: Status = "kept" if gain >= LEAST_GAIN else "slower"
    if status == "slower":
        told += f", less than {LEAST_GAIN} times"
    return lost(status, told).model_copy(update={"before_ms": before, "after_ms": after, "gain": gain})


def laid_out(
    engine: Engine, root: Path, query: Query, views: Mapping[str, ibis.Table], candidate: Candidate, data: Copy
) -> str:
    """The SQL that answers the query from a layout."""
    copy = copies.read(engine, root, [data])
    if candidate.kind == "materialized":
        return str(engine.con.compile(copy))
    return bind(engine, query, {**views, candidate.table: copy})


def _confirmed(bench: Bench, base: str, other: str) -> tuple[float, float]:
    """Medians in milliseconds. What looks faster is measured afresh, and only the second measurement counts.

    On a busy machine a query beat itself by 1.2 times in 1 of 40 measurements, and many candidates are tried.
    """
    before, after = _interleaved(bench, base, other)
    return _interleaved(bench, base, other) if before / after >= LEAST_GAIN else (before, after)


def _interleaved(bench: Bench, base: str, other: str) -> tuple[float, float]:
    """Medians of one measurement. The sides take turns, and in who goes first too, so that a busy machine hits both."""
    times: dict[str, list[float]] = {base: [], other: []}
    for number in range(max(bench.rounds, LEAST_ROUNDS)):
        for sql in (base, other) if number % 2 else (other, base):
            times[sql].append(fetch(bench.engine, sql)[1])
    return statistics.median(times[base]), statistics.median(times[other])


def _best(measured: list[Measured], objective: Objective) -> Measured | None:
    faster = [m for m in measured if m.status == "kept"]
    if not faster:
        return None
    quickest = max(faster, key=lambda m: m.gain)
    if objective == "speed":
        return quickest
    enough = quickest.gain / 2 if objective == "balance" else 0.0
    return min((m for m in faster if m.gain >= enough), key=lambda m: (m.bytes, -m.gain))


def _told(measured: Measured, best: Measured | None, keep: bool) -> Measured:
    if measured.status != "kept" or (measured is best and keep):
        return measured
    reason = f"{best.candidate} is better" if best and measured is not best else "it was only measured, as asked"
    if best is None:
        reason = "it changes another query's result"
    return measured.model_copy(update={"status": "beaten", "why": f"{measured.why}; not kept, since {reason}"})


def _lost(name: str, candidate: Candidate, status: Status, why: str, build_ms: float = 0.0, bytes: int = 0) -> Measured:
    return Measured(query=name, candidate=candidate, status=status, why=why, build_ms=build_ms, bytes=bytes)


def _keep(bench: Bench, built: _Built, measured: Sequence[Measured], queries: Mapping[str, Query]) -> LayoutDoc:
    """Move the copy from the scratch folder to its place, and say what it is good for."""
    best = max((m for m in measured if m.status == "kept"), key=lambda m: m.gain)
    query, candidate = queries[best.query], built.candidate
    name = layout_name(candidate, best.query)
    place = copies.fresh(bench.root / "layouts" / f"{name}-{bench.run}")
    copies.detach(bench.engine, bench.root, built.data)
    (bench.root / built.data.path).rename(place)
    path = place.relative_to(bench.root).as_posix()
    tables = query.tables if candidate.kind == "materialized" else (candidate.table,)
    return LayoutDoc(
        name=name,
        kind=candidate.kind,
        table=candidate.table,
        columns=candidate.columns,
        query=best.query,
        sql=query.sql,
        path=path,
        data=built.data.model_copy(update={"path": path}),
        versions={table: bench.versions[table] for table in tables},
        before_ms=best.before_ms,
        after_ms=best.after_ms,
        gain=best.gain,
        build_ms=built.build_ms,
        faster=tuple(queries[m.query].sql for m in measured if m.status == "kept"),
        slower=tuple(queries[m.query].sql for m in measured if m.status != "kept"),
    )


def layout_name(candidate: Candidate, query: str) -> str:
    """What a layout is called in the catalog and on disk.

    >>> layout_name(Candidate(kind="order", table="staging.orders", columns=("order_date",)), "by_day")
    'order_staging_orders_order_date'
    """
    words = [candidate.kind, *([candidate.table, *candidate.columns] if candidate.table else [query])]
    return re.sub(r"\W+", "_", "_".join(words))[:100]


@contextmanager
def _scratch(bench: Bench) -> Iterator[Path]:
    """A folder for what is being tried; nothing of it is left, also not of a try that crashed."""
    folder = bench.root / "layouts" / f".trying-{check_run(bench.run)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        copies.detach_under(bench.engine, folder)
        shutil.rmtree(folder, ignore_errors=True)
