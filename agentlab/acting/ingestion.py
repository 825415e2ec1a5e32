"""What the ingestion agent does: rows of registered sources and of files, into `staging.*`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ibis

from agentlab import compile as forms
from agentlab.acting.base import Lineage, Outcome, Workspace, perform
from agentlab.actions import (
    Pull,
    Union,
)
from agentlab.engine import schema_of
from agentlab.entries import TableDoc
from agentlab.errors import PlanError, unknown
from agentlab.expressions import parse
from agentlab.rows import satisfying
from agentlab.sources import pull as fetch
from agentlab.sources import read_doc


@perform.register
def _(action: Pull, workspace: Workspace) -> Outcome:
    workspace.tell(f"pulling {action.source}.{action.resource}")
    source = read_doc(workspace.draft.get("source", action.source).doc)
    table = workspace.engine.memtable(fetch(source, action, workspace.root, _pages(workspace)))
    if action.where:
        table = satisfying(table, parse(action.where, schema_of(table), boolean=True))
        table = table.limit(action.limit) if action.limit else table
    known = workspace.draft.find("table", action.into)
    kept = known if action.mode != "replace" else None
    lineage: Lineage = {column: [] for column in table.columns}
    if kept:
        table = _onto(workspace.read(action.into), table, action)
        lineage = {c: [(action.into, kept.n, c)] if c in kept.doc["schema"] else [] for c in table.columns}
    doc = workspace.write(action.into, table, action, lineage, f"{action.source}.{action.resource}")
    workspace.emit("data-ready", action.into, rows=doc.rows, source=doc.source, mode=action.mode)
    if drift := _drift(workspace, action.into, doc):
        workspace.emit("schema-drift", action.into, **drift)
    return Outcome(f"pulled {doc.source} into {action.into}: {doc.rows:,} rows", {"rows": doc.rows})


def _pages(workspace: Workspace) -> Callable[[int, int, int], None]:
    def told(rows: int, pages: int, retries: int) -> None:
        tried = f", {retries} retries" if retries else ""
        workspace.tell(f"{rows:,} rows in {pages} pages{tried}")

    return told


def _onto(before: ibis.Table, pulled: ibis.Table, action: Pull) -> ibis.Table:
    pulled = forms.spelled(pulled, before.columns)
    if action.mode == "upsert":
        for column in action.key:
            if column not in before.columns or column not in pulled.columns:
                raise PlanError(unknown("key column", column, pulled.columns, f"in {action.source}.{action.resource}"))
        before = before.anti_join(pulled, list(action.key))
    return forms.compile(Union(table=action.into, other=action.into), before, pulled)


def _drift(workspace: Workspace, name: str, doc: TableDoc) -> dict[str, Any]:
    """How the schema differs from that of the last pull from the same place; nothing if it doesn't."""
    history = workspace.draft.catalog.history("table", name)
    before = next((e.doc["schema"] for e in reversed(history) if e.doc.get("source") == doc.source), doc.schema_)
    added = [column for column in doc.schema_ if column not in before]
    removed = [column for column in before if column not in doc.schema_]
    retyped = {c: [before[c], kind] for c, kind in doc.schema_.items() if c in before and before[c] != kind}
    found = {"added": added, "removed": removed, "retyped": retyped}
    return found if any(found.values()) else {}
