"""Layouts in a run: what they are measured on, what they may take, and how those that are kept enter the catalog."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from agentlab import copies, workload
from agentlab.acting.base import Workspace
from agentlab.acting.views import Views
from agentlab.errors import PlanError
from agentlab.events import Event
from agentlab.layouts import LayoutDoc, is_current
from agentlab.limits import budget
from agentlab.queries import Query
from agentlab.workload import Bench, QueryDoc, Tuning


def views_of(workspace: Workspace) -> Views:
    """Every table that a query can read, as the run has it so far."""
    return Views(workspace.draft, workspace.engine, workspace.root)


def bench_of(workspace: Workspace, views: Views) -> Bench:
    """What trials of this run need, with the bytes that layouts may still take."""
    now = [layout for layout in kept_ones(workspace) if is_current(layout, views.versions) and not layout.store]
    return Bench(
        engine=workspace.engine,
        root=workspace.root,
        run=workspace.draft.run,
        views=views,
        versions=views.versions,
        extents=views.extents(),
        free=budget(workspace.draft) - sum(layout.data.bytes for layout in now),
        freed={layout.candidate.key(layout.query): layout.data.bytes for layout in now},
    )


def kept_ones(workspace: Workspace) -> list[LayoutDoc]:
    """Every layout in the catalog, also those that are out of use since a table has changed."""
    return [LayoutDoc.model_validate(entry.doc) for entry in workspace.draft.entries("layout")]


def docs_of(workspace: Workspace) -> dict[str, QueryDoc]:
    """The saved queries, by name."""
    return {entry.name: QueryDoc.model_validate(entry.doc) for entry in workspace.draft.entries("query")}


def chosen(workspace: Workspace, query: str | None, table: str | None, views: Views) -> dict[str, QueryDoc]:
    """The queries meant: the named one, those that read the table or its copies in stores, or all."""
    if query is not None:
        return {query: QueryDoc.model_validate(workspace.draft.get("query", query).doc)}
    wanted = None if table is None else {table, *views.copies_of(table)}
    return {
        name: doc
        for name, doc in docs_of(workspace).items()
        if (checked := readable(doc, views)) and (wanted is None or wanted & {*checked.tables})
    }


def checked(docs: Mapping[str, QueryDoc], views: Views) -> dict[str, Query]:
    """The queries that can run, as they run."""
    return {name: query for name, doc in docs.items() if (query := readable(doc, views))}


def readable(doc: QueryDoc, views: Views) -> Query | None:
    """A saved query as it runs; None when it can't be measured, since a table that it reads is gone."""
    try:
        return workload.check(doc.sql, views)
    except PlanError:
        return None


def keep(workspace: Workspace, tuning: Tuning, named: str | None = None, refresh: str | None = None) -> Tuning:
    """Put the layouts that were kept into the catalog, with what is known of their likes; the tuning as it is then.

    `named` is what the layout is to be called, `refresh` when a result is to be computed again.
    """
    if tuning.kept is None:
        return tuning
    asked = {"name": named or tuning.kept.name, "refresh": refresh or ""}
    first, *others = [_put(workspace, layout) for layout in (tuning.kept.model_copy(update=asked), *tuning.others)]
    return tuning.model_copy(update={"kept": first, "others": tuple(others)})


def _put(workspace: Workspace, made: LayoutDoc) -> LayoutDoc:
    layout, measured = _merged(workspace, made)
    workspace.draft.put("layout", layout.name, layout)
    body = measured.model_dump(include={"kind", "table", "columns", "gain", "before_ms", "after_ms"}, mode="json")
    # An id of its own, since one run may keep several layouts for one query.
    key = f"{workspace.draft.run}/tuned/{layout.name}"
    event = Event(type="tuned", subject=measured.query, body={**body, "name": layout.name}, id=key)
    workspace.draft.emit(event)
    return layout


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
