"""What the optimization agent does: diagnoses, recommendations and layouts, all measured on the saved queries."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import ibis

from agentlab import copies, workload
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.actions import Diagnose, Index, Materialize, OrderBy, Partition, Recommend
from agentlab.engine import Engine
from agentlab.entries import Entries
from agentlab.errors import PlanError
from agentlab.stores import StoreDoc, read_store
from agentlab.workload import Bench, LayoutDoc, QueryDoc, Tuning

#: The last runs of a query that are compared with those before them, and how many times slower is slow.
LATEST, SLOWER = 5, 1.5


class Views(Mapping[str, ibis.Table]):
    """Every table that a query can read, by name, read when asked for: the catalog's, and in stores `store.table`."""

    def __init__(self, entries: Entries, engine: Engine, root: Any) -> None:
        self.versions: dict[str, int] = {}
        self._entries, self._engine, self._root = entries, engine, root
        self._stores: dict[str, tuple[StoreDoc, str]] = {}
        for entry in entries.entries("store"):
            store = StoreDoc.model_validate(entry.doc)
            self._stores |= {f"{store.name}.{table}": (store, table) for table in store.tables}
            self.versions |= {f"{store.name}.{table}": entry.n for table in store.tables}
        self._tables = {entry.name: entry.n for entry in entries.entries("table")}
        self.versions |= self._tables

    def __getitem__(self, name: str) -> ibis.Table:
        if name in self._tables:
            return self._engine.read(self._entries.table(name), self._root)
        store, table = self._stores[name]
        return read_store(self._engine, store, table, root=self._root)

    def __iter__(self) -> Iterator[str]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self.versions)


def _views(workspace: Workspace) -> Views:
    return Views(workspace.draft, workspace.engine, workspace.root)


def _queries(workspace: Workspace) -> dict[str, QueryDoc]:
    return {entry.name: QueryDoc.model_validate(entry.doc) for entry in workspace.draft.entries("query")}


def _chosen(workspace: Workspace, query: str | None, table: str | None, views: Views) -> dict[str, QueryDoc]:
    """The queries meant: the named one, those that read the table, or all. PlanError when there are none."""
    if query is not None:
        return {query: QueryDoc.model_validate(workspace.draft.get("query", query).doc)}
    found = {n: doc for n, doc in _queries(workspace).items() if table is None or table in _reads(doc, views)}
    if not found:
        reads = f" that reads {table}" if table else ""
        raise PlanError(f"there is no saved query{reads} to measure; save one first, with lab.query(name, sql)")
    return found


def _reads(doc: QueryDoc, views: Views) -> tuple[str, ...]:
    try:
        return workload.check(doc.sql, views).tables
    except PlanError:
        return ()  # A table that it reads is gone; it can't be measured.


def slowdown(doc: QueryDoc) -> float:
    """How many times slower a query's last runs were than those before, by medians; 1 while there are too few.

    >>> slowdown(QueryDoc(name="q", sql="select 1"))
    1.0
    """
    times = [run.ms for run in doc.runs]
    latest, earlier = times[-LATEST:], times[:-LATEST]
    return statistics.median(latest) / statistics.median(earlier) if earlier else 1.0


@perform.register
def _(action: Diagnose, workspace: Workspace) -> Outcome:
    views = _views(workspace)
    asked = _chosen(workspace, action.query, action.table, views)
    told = []
    for name, doc in asked.items():
        workspace.tell(f"measuring {name}")
        diagnosis = workload.diagnose(workspace.engine, doc, views)
        report = {"kind": "diagnosis", "diagnosis": diagnosis, "slowdown": slowdown(doc)}
        workspace.draft.put("report", f"diagnosis of {name}", report)
        _tell_slow(workspace, diagnosis, slowdown(doc))
        told.append(diagnosis)
    return Outcome("\n".join(d.message for d in told), {d.query: d.model_dump(mode="json") for d in told})


def _tell_slow(workspace: Workspace, diagnosis: workload.Diagnosis, slower: float) -> None:
    if slower > SLOWER:
        why = f"{slower:.1f} times slower than before"
        workspace.emit(
            *("slow-query", diagnosis.query), ms=diagnosis.ms, slowdown=slower, why=why, tables=list(diagnosis.tables)
        )


@perform.register
def _(action: Recommend, workspace: Workspace) -> Outcome:
    views = _views(workspace)
    tried: dict[str, Tuning] = {}
    for name, doc in _chosen(workspace, action.query, action.table, views).items():
        workspace.tell(f"trying layouts for {name}")
        bench = _bench(workspace, views)
        query = workload.check(doc.sql, views)
        tuning = workload.tune(bench, name, query, objective=action.objective, keep=action.apply)
        tried[name] = keep(workspace, tuning)
        workspace.draft.put("report", f"tuning of {name}", {"kind": "tuning", "tuning": tried[name]})
    text = "\n".join(f"{name}:\n{tuning}" for name, tuning in tried.items())
    return Outcome(text, {name: tuning.model_dump(mode="json") for name, tuning in tried.items()})


@perform.register(Index)
@perform.register(OrderBy)
@perform.register(Partition)
@perform.register(Materialize)
def _(action: Index | OrderBy | Partition | Materialize, workspace: Workspace) -> Outcome:
    views = _views(workspace)
    bench = _bench(workspace, views)
    candidate = workload.candidate_of(action)
    named = action.query if isinstance(action, Materialize) else None
    docs = _chosen(workspace, named, None, views) if named else _queries(workspace)
    queries = {name: workload.check(doc.sql, views) for name, doc in docs.items() if named or _reads(doc, views)}
    workspace.tell(f"measuring {candidate}")
    tuning = workload.try_layout(bench, candidate, queries)
    tuning = keep(workspace, tuning, named=action.name if isinstance(action, Materialize) else None)
    workspace.draft.put("report", f"tuning by {action.tool()}", {"kind": "tuning", "tuning": tuning})
    return Outcome(str(tuning), tuning.model_dump(mode="json"))


def _bench(workspace: Workspace, views: Views) -> Bench:
    return Bench(workspace.engine, workspace.root, workspace.draft.run, views, views.versions)


def keep(workspace: Workspace, tuning: Tuning, named: str | None = None) -> Tuning:
    """Put the layout that was kept into the catalog, with what is known of its like; the tuning as it is then."""
    if tuning.kept is None:
        return tuning
    layout, measured = _merged(workspace, tuning.kept.model_copy(update={"name": named or tuning.kept.name}))
    workspace.draft.put("layout", layout.name, layout)
    figures = measured.model_dump(include={"kind", "table", "columns", "gain", "before_ms", "after_ms"}, mode="json")
    workspace.emit("tuned", measured.query, name=layout.name, **figures)
    return tuning.model_copy(update={"kept": layout})


def _merged(workspace: Workspace, made: LayoutDoc) -> tuple[LayoutDoc, LayoutDoc]:
    """The layout to keep, and the new one as measured. A like one is kept with what both are good for, its files too.

    Another layout that happens to have the name keeps it, and the new one gets a number.
    """
    name, number = made.name, 1
    while entry := workspace.draft.find("layout", made.name):
        known = LayoutDoc.model_validate(entry.doc)
        if known.is_like(made):
            return (_with(workspace, known, made) if known.holds_the_same(made) else made), made
        number += 1
        made = made.model_copy(update={"name": f"{name}_{number}"})
    return made, made


def _with(workspace: Workspace, known: LayoutDoc, made: LayoutDoc) -> LayoutDoc:
    """One layout of two that hold the same: the new copy goes, unless the older one's files are gone."""
    both = known.joined(made)
    if not (workspace.root / known.path).exists():
        return both.model_copy(update={"path": made.path, "data": made.data})
    copies.detach(workspace.engine, workspace.root, made.data)
    shutil.rmtree(workspace.root / made.path)
    return both
