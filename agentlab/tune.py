"""Tuning: of the layouts that were tried, those are kept that are truly faster, with equal results and within a budget.

Everything that was tried is told, also what lost and why. What may be worth trying is said in `layouts.py`, how it is
measured in `trials.py`. There are two ways to a layout:

- `tune`: of all that the queries suggest, the best set by time saved (times how often a query is asked) is kept.
- `try_layout`: somebody wishes for one. It is kept when a saved query is at least `LEAST_GAIN` times as fast and none
  has another result. Where nothing can be measured by (no saved query reads the table, or it has no more than `SMALL`
  rows), and for files put together into one, it is kept unless it harms, and then that is said.

A kept layout slows no query down: it answers those on which it was measured to be no slower, and look-ups like them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from agentlab import copies
from agentlab.copies import SORTED_GROUP, Shape
from agentlab.engine import schema_of
from agentlab.errors import LabError
from agentlab.layouts import Candidate, LayoutDoc, candidates, compactions
from agentlab.queries import Query, check
from agentlab.trials import LEAST_GAIN, LOOK_UP, Bench, Built, Measured, Trial, attempt, lost, result_of, served
from agentlab.trials import scratch as scratch_of

#: With no more rows than the engine reads at once, no layout of a table can be told from another by its time.
SMALL = SORTED_GROUP

#: A wish harms when a query takes `LEAST_GAIN` times as long, and so many milliseconds longer at the least.
HARM_MS = 5.0

#: Candidates for all queries together.
MOST_TOGETHER = 24

Objective = Literal["speed", "cost", "balance"]


class Tuning(BaseModel):
    """What was tried, the best first, and what was kept: the layout that saves most, and others beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: tuple[Measured, ...]
    kept: LayoutDoc | None = None
    others: tuple[LayoutDoc, ...] = ()

    @property
    def layouts(self) -> tuple[LayoutDoc, ...]:
        """All that was kept."""
        return (self.kept, *self.others) if self.kept else ()

    def __str__(self) -> str:
        several = len({measured.query for measured in self.measured}) > 1
        lines = [f"{measured.query}: {measured}" if several else str(measured) for measured in self.measured]
        return "\n".join(lines) or "nothing to try: the query suggests no layout"


def tune(
    bench: Bench,
    queries: Mapping[str, Query],
    *,
    weights: Mapping[str, float] | None = None,
    objective: Objective = "speed",
    keep: bool = True,
    more: Iterable[Candidate] = (),
    seconds: float = 300.0,
) -> Tuning:
    """Try every candidate for the queries and keep the best set; none with `keep=False`, as a recommendation.

    `weights` say how often a query is asked (1 by default); what counts is the time saved, times that. One layout after
    the other is taken: with `speed` the one that saves most, with `cost` the one that needs the least disk, with
    `balance` the one that needs the least disk among those that save at least half of the most. What is taken counts
    for the next: with `speed` a query may gain again, with the others it is done. `more` are tried besides. After
    `seconds` no further candidate is begun; it is told as untried.
    """
    began, trials = time.monotonic(), list[Trial]()
    with scratch_of(bench) as scratch:
        for candidate, asked in _wanted(bench, queries, more):
            name = next(iter(asked))
            if time.monotonic() - began > seconds:
                trials.append(Trial(None, (lost(name, candidate, "untried", f"{seconds:g} seconds were over"),)))
            else:
                trials.append(attempt(bench, candidate, asked, scratch / str(len(trials))))
        chosen = _set(bench, trials, weights or {}, objective)
        layouts = [_keep(bench, trial, queries) for trial in chosen] if keep else []
    return Tuning(measured=_told(trials, chosen, keep), kept=next(iter(layouts), None), others=tuple(layouts[1:]))


def try_layout(
    bench: Bench,
    candidate: Candidate,
    queries: Mapping[str, Query],
    *,
    shape: Shape | None = None,
    place: Path | None = None,
) -> Tuning:
    """Build one layout, measure it on every query that reads its table, and keep it as this module's header says.

    With no such query a look-up of one value stands in; a materialized result is measured on its own query only.
    `shape` and `place` are how and where the copy is kept, if not as a layout.
    """
    asked = served(bench, candidate, queries)
    with scratch_of(bench) as scratch:
        trial = attempt(bench, candidate, asked, scratch / "0", shape)
        leave = _leave(bench, trial, asked)
        if leave is None:
            return Tuning(measured=tuple(_not_kept(trial, measured) for measured in trial.measured))
        return Tuning(measured=_granted(trial, leave), kept=_keep(bench, trial, asked, place))


def recompute(bench: Bench, layout: LayoutDoc, rows: pa.Table | None = None) -> LayoutDoc:
    """A kept result once more, of the tables as they are now; `rows`: what the query has just given.

    It isn't measured anew: how much it gains was found out when it was kept.
    """
    query = check(layout.sql, bench.views)
    result = bench.engine.memtable(rows) if rows is not None else result_of(bench, query)
    place = copies.fresh(bench.root / "layouts" / f"{layout_name(layout.candidate, layout.query)}-{bench.run}")
    began = time.perf_counter()
    data = copies.write(bench.engine, result, bench.root, place)
    return layout.model_copy(
        update={
            **{"data": data, "path": data.path, "build_ms": (time.perf_counter() - began) * 1000},
            "versions": {table: bench.versions[table] for table in query.tables},
        }
    )


def layout_name(candidate: Candidate, query: str) -> str:
    """What a layout is called in the catalog and on disk.

    >>> layout_name(Candidate(kind="order", table="staging.orders", columns=("order_date",)), "by_day")
    'order_staging_orders_order_date'
    """
    words = [candidate.kind, *([candidate.table, *candidate.columns] if candidate.table else [query])]
    return re.sub(r"\W+", "_", "_".join(words))[:100]


def _wanted(
    bench: Bench, queries: Mapping[str, Query], more: Iterable[Candidate]
) -> list[tuple[Candidate, dict[str, Query]]]:
    """Each candidate once, with the queries to measure it on."""
    found: dict[tuple[str, ...], tuple[Candidate, dict[str, Query]]] = {}
    for name, query in queries.items():
        schemas = {table: schema_of(bench.views[table]) for table in query.tables}
        for candidate in [*candidates(query, schemas), *compactions(query.tables, bench.extents)]:
            own = candidate.kind == "materialized"
            found.setdefault(candidate.key(name), (candidate, {name: query} if own else {}))
    read = {table for query in queries.values() for table in query.tables}
    for candidate in (*more, *_narrow_together(bench, [candidate for candidate, _ in found.values()])):
        if candidate.table in read:
            found.setdefault(candidate.key(""), (candidate, {}))
    wanted = list(found.values())[:MOST_TOGETHER]
    return [(candidate, asked or served(bench, candidate, queries)) for candidate, asked in wanted]


def _narrow_together(bench: Bench, found: Sequence[Candidate]) -> list[Candidate]:
    """For each table one copy with all the columns that any of the queries reads, if they are fewer than it has."""
    used: dict[str, set[str]] = {}
    for candidate in found:
        if candidate.kind == "pruned":
            used.setdefault(candidate.table, set()).update(candidate.columns)
    narrow = []
    for table, columns in used.items():
        kept = tuple(column for column in bench.views[table].columns if column in columns)
        if len(kept) < len(bench.views[table].columns):
            narrow.append(Candidate(kind="pruned", table=table, columns=kept, use="whole"))
    return narrow


def _set(bench: Bench, trials: Sequence[Trial], weights: Mapping[str, float], objective: Objective) -> list[Trial]:
    """The trials to keep, taken greedily one after the other; each makes what is left to save smaller."""
    chosen, now, free = list[Trial](), dict[str, float](), bench.free
    rest = [trial for trial in trials if trial.is_harmless and trial.faster]
    while rest:
        saved = [(_saved(trial, weights, now), trial) for trial in rest]
        fitting = [(ms, t) for ms, t in saved if ms > 0 and (free is None or _bytes(bench, t) <= free)]
        if not fitting:
            break
        best = _best(bench, fitting, objective)
        chosen.append(best)
        rest.remove(best)
        free = None if free is None else free - _bytes(bench, best)
        now |= {m.query: m.after_ms if objective == "speed" else 0.0 for m in best.faster}
    return chosen


def _saved(trial: Trial, weights: Mapping[str, float], now: Mapping[str, float]) -> float:
    """The milliseconds that a layout saves over all runs of its queries, beside what is saved already."""
    times = [(m, now.get(m.query, m.before_ms)) for m in trial.faster]
    return sum(
        weights.get(m.query, 1.0) * (before - m.after_ms) for m, before in times if before >= LEAST_GAIN * m.after_ms
    )


def _best(bench: Bench, options: Sequence[tuple[float, Trial]], objective: Objective) -> Trial:
    most = max(ms for ms, _ in options)
    if objective == "speed":
        return max(options, key=lambda option: option[0])[1]
    enough = most / 2 if objective == "balance" else 0.0
    return min((o for o in options if o[0] >= enough), key=lambda option: (_bytes(bench, option[1]), -option[0]))[1]


def _bytes(bench: Bench, trial: Trial) -> int:
    return bench.takes(trial.built, trial.measured[0].query) if trial.built else 0


def _told(trials: Sequence[Trial], chosen: Sequence[Trial], keep: bool) -> tuple[Measured, ...]:
    """All that was measured: what was chosen, in that order, then what was faster, by its gain, then the rest."""
    rest = sorted(
        (trial for trial in trials if trial not in chosen),
        key=lambda trial: -max((m.gain for m in trial.faster), default=0.0),
    )
    told = [m if keep else _beaten(m, "it was only measured, as asked") for t in chosen for m in t.measured]
    return (*told, *(_beaten(m, _why_beaten(trial, m, chosen)) for trial in rest for m in trial.measured))


def _beaten(measured: Measured, reason: str) -> Measured:
    if measured.status != "kept":
        return measured
    return measured.model_copy(update={"status": "beaten", "why": f"{measured.why}; not kept, since {reason}"})


def _why_beaten(trial: Trial, measured: Measured, chosen: Sequence[Trial]) -> str:
    if not trial.is_harmless:
        return "it changes another query's result"
    better = [t for t in chosen if any(m.query == measured.query for m in t.faster)]
    return f"{better[0].measured[0].candidate} is better" if better else "layouts may take no more bytes together"


def _leave(bench: Bench, trial: Trial, asked: Mapping[str, Query]) -> str | None:
    """Why a wished layout is kept: empty for being faster, or in words; None when it isn't kept."""
    if not trial.is_harmless:
        return None
    if trial.faster:
        return ""
    if any(m.gain * LEAST_GAIN < 1 and m.after_ms - m.before_ms > HARM_MS for m in trial.measured):
        return None
    rows = bench.rows(sorted({table for query in asked.values() for table in query.tables}))
    if rows is not None and rows <= SMALL:
        return f"{rows:,} rows are too few to tell layouts apart by their time"
    if trial.measured[0].candidate.kind == "compact":
        return "it makes one file of many, and no query is slower"
    return "no saved query reads the table, so it could be measured on that only" if {LOOK_UP} == {*asked} else None


def _granted(trial: Trial, leave: str) -> tuple[Measured, ...]:
    if not leave:
        return trial.measured
    why = f"; kept as asked: {leave}"
    return tuple(m.model_copy(update={"status": "kept", "why": m.why + why}) for m in trial.measured)


def _not_kept(trial: Trial, measured: Measured) -> Measured:
    return measured if trial.is_harmless else _beaten(measured, "it changes another query's result")


def _keep(bench: Bench, trial: Trial, queries: Mapping[str, Query], place: Path | None = None) -> LayoutDoc:
    """Move the copy from the scratch folder to its place, and say what it is good for."""
    if (built := trial.built) is None:
        raise LabError(f"{trial.measured[0].candidate} isn't there to be kept")
    best = max(trial.measured, key=lambda m: m.gain)
    query, candidate = queries[best.query], built.candidate
    name = layout_name(candidate, best.query)
    place = place or copies.fresh(bench.root / "layouts" / f"{name}-{bench.run}")
    path = _moved(bench, built, place)
    tables = query.tables if candidate.kind == "materialized" else (candidate.table,)
    # Without a gain on any query, it was kept as asked, and answers where it is no slower.
    least = LEAST_GAIN if trial.faster else 1 / LEAST_GAIN
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
        faster=tuple(queries[m.query].sql for m in trial.measured if m.gain >= least),
        slower=tuple(queries[m.query].sql for m in trial.measured if m.gain < least),
    )


def _moved(bench: Bench, built: Built, place: Path) -> str:
    copies.detach(bench.engine, bench.root, built.data)
    place.parent.mkdir(parents=True, exist_ok=True)
    (bench.root / built.data.path).rename(place)
    return place.relative_to(bench.root).as_posix()
