"""Compacting: a table that lies in many small files, here or in a store, is put together into one.

In the catalog that is a layout, from which queries are answered. In a store the copy itself is replaced, so that those
who read the store's files have the few, too; the layout says so. Rows, their order and the store's folders stay.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentlab import copies, workload
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.acting.layouts import bench_of, checked, docs_of, keep, views_of
from agentlab.acting.views import Views
from agentlab.actions import Compact
from agentlab.layouts import Candidate
from agentlab.stores import StoreDoc, shape_of
from agentlab.workload import Extent, LayoutDoc, Tuning


@perform.register
def _(action: Compact, workspace: Workspace) -> Outcome:
    views = views_of(workspace)
    extents, names = views.extents(), [action.table, *views.copies_of(action.table)]
    lines = [f"{name} lies in {extents[name]}; there is nothing to bring together" for name in names]
    data: dict[str, Any] = {}
    for number, name in enumerate(names):
        if not extents[name].fragmented:
            continue
        if name != action.table and views.store_of(name)[0].outside:
            lines[number] = f"{name} isn't compacted: its store is outside the lab; publish the table to it anew"
            continue
        workspace.tell(f"putting the files of {name} together")
        tuning = _compact(workspace, views, name, action.table)
        lines[number] = _told(name, extents[name], tuning)
        data[name] = tuning.model_dump(mode="json")
        workspace.draft.put("report", f"compaction of {name}", {"kind": "tuning", "tuning": tuning})
    return Outcome("\n".join(lines), {"tables": {name: extents[name]._asdict() for name in names}, "tried": data})


def _told(name: str, before: Extent, tuning: Tuning) -> str:
    done = f"{name} lay in {before.files:,} files, now in few" if tuning.kept else f"{name} stays in {before}"
    return f"{done}\n{tuning}"


def _compact(workspace: Workspace, views: Views, name: str, table: str) -> Tuning:
    candidate = Candidate(kind="compact", table=name, use="whole")
    bench, queries = bench_of(workspace, views), checked(docs_of(workspace), views)
    if name == table:
        return keep(workspace, workload.try_layout(bench, candidate, queries))
    store, short = views.store_of(name)
    place = copies.fresh(workspace.root / store.location / short / workspace.draft.run)
    # It takes the place of the store's files, so it is none of those that layouts' bytes are counted by.
    bench = replace(bench, free=None)
    tuning = workload.try_layout(bench, candidate, queries, shape=shape_of(store, short), place=place)
    if tuning.kept is None:
        return tuning
    layout = _replace(workspace, store.name, short, tuning.kept.model_copy(update={"table": table}))
    return keep(workspace, tuning.model_copy(update={"kept": layout}))


def _replace(workspace: Workspace, name: str, short: str, made: LayoutDoc) -> LayoutDoc:
    """Let the one copy stand in the store for those that it was made of; the layout that tells of it."""
    store = StoreDoc.model_validate(workspace.draft.get("store", name).doc)
    table = store.tables[short].model_copy(update={"parts": (made.data,), "bytes": made.data.bytes})
    after = store.model_copy(update={"tables": {**store.tables, short: table}})
    n = workspace.draft.put("store", name, after)
    return made.model_copy(update={"store": name, "versions": {f"{name}.{short}": n}})
