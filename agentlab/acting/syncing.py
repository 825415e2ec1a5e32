"""Fetch only what is new since the last time: how far that was is an entry of kind `sync`, committed with the rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import ibis
import ibis.expr.types as ir

from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.acting.ingestion import fetched_by, source_of, told
from agentlab.acting.landing import Stored, landed, store_rows
from agentlab.actions import Pull, Schema, Sync
from agentlab.conversion import convert
from agentlab.engine import schema_of
from agentlab.errors import LabError, PlanError, unknown
from agentlab.inference import readable
from agentlab.simulation import key_names
from agentlab.sources.fetched import Fetched, NothingCame


@perform.register
def _(action: Sync, workspace: Workspace) -> Outcome:
    doc = source_of(workspace, action.source).resources.get(action.resource)
    state = _state(workspace, action)
    cursor = action.cursor or state.get("cursor") or getattr(doc, "time_column", None)
    if cursor is None:
        raise PlanError(f"{_place(action)} names no time column, so what is new can't be told; name a cursor column")
    timed = cursor == getattr(doc, "time_column", None)
    try:
        fetched = fetched_by(workspace, _asked(action, state if timed else {}))
    except NothingCame:
        if not state:
            raise
        return Outcome(f"nothing new in {_place(action)} since {cursor} {state['last']}", {"came": 0})
    if cursor not in fetched.types:
        raise PlanError(unknown("cursor column", cursor, fetched.types, f"in {_place(action)}"))
    key = action.key or tuple(getattr(doc, "key", ())) or _key(action, fetched.types)
    with landed(workspace, action.into, fetched) as rows:
        stored, last = _synced(workspace, action, rows, fetched, cursor, key, state)
    last = last if last is not None else state.get("last")
    _remember(workspace, action, cursor, key, last)
    text = f"synced {stored.came:,} rows of {_place(action)} into {action.into}, up to {cursor} {last}"
    return told(stored, f"{text}: {stored.doc.rows:,} rows", came=stored.came, last=last)


def _place(action: Sync) -> str:
    return f"{action.source}.{action.resource}"


def _state(workspace: Workspace, action: Sync) -> Mapping[str, Any]:
    """How far the last sync from the same place came, if what it brought is still in the table; else empty."""
    entry = workspace.draft.find("sync", action.into)
    here = entry is not None and _kept(workspace, action.into, entry.doc["version"])
    same = entry is not None and (entry.doc["source"], entry.doc["resource"]) == (action.source, action.resource)
    doc = entry.doc if entry is not None and here and same else {}
    return doc if action.cursor in (None, doc.get("cursor")) else {}


def _kept(workspace: Workspace, table: str, synced: int) -> bool:
    """Whether a table still builds on what a sync left: it is there, and nothing replaced its rows by others since."""
    head = workspace.draft.find("table", table)
    if head is None:
        return False
    later = [v for v in workspace.draft.catalog.history("table", table) if synced < v.n <= head.n]
    return head.n >= synced and not any(_replaces(version.doc.get("call", {})) for version in later)


def _replaces(call: Mapping[str, Any]) -> bool:
    mode = call.get("arguments", {}).get("mode", "replace")
    return call.get("name") == "restore" or (call.get("name") in ("pull", "load_file") and mode == "replace")


def _asked(action: Sync, state: Mapping[str, Any]) -> Pull:
    """The pull of what is new; a source that knows no `since` is asked for everything."""
    last = state.get("last")
    since = last if isinstance(last, str) and readable(last, "timestamp") else None
    return Pull(source=action.source, resource=action.resource, into=action.into, since=since)


def _synced(
    workspace: Workspace,
    action: Sync,
    rows: ibis.Table,
    fetched: Fetched,
    cursor: str,
    key: tuple[str, ...],
    state: Mapping[str, Any],
) -> tuple[Stored, str | int | float | None]:
    """Upsert the rows from the last cursor on: rows of that very value come again, and the key makes them one."""
    if state.get("last") is not None:
        rows = rows.filter(_from(rows, cursor, state["last"]))
    last = _greatest(workspace, rows, cursor)
    stored = store_rows(
        workspace, action, rows, mode="upsert", key=key, source=_place(action), rejected=fetched.rejected
    )
    return stored, last


def _key(action: Sync, columns: Schema) -> tuple[str, ...]:
    """The column that by its name tells which row is which; PlanError where there is none."""
    names = key_names(action.resource)
    for name in names:
        if found := next((column for column in columns if column.lower() == name), None):
            return (found,)
    why = f"none of its columns is called {' or '.join(names)}"
    raise PlanError(f"{_place(action)} names no key, and {why}; name the columns that tell which row is which")


def _from(rows: ibis.Table, cursor: str, last: str | int | float) -> ir.BooleanValue:
    """Rows at or after the last cursor, and those without one, of which nobody knows whether they are new."""
    column, kind = rows[cursor], schema_of(rows)[cursor]
    if kind in ("date", "timestamp"):
        return column.isnull() | (convert(column, "timestamp") >= ibis.literal(str(last)).cast("timestamp"))
    if isinstance(last, str) == (kind in ("int", "float")):
        raise LabError(f"the last {cursor} was {last!r}, and now the column is {kind}; pull the whole table once")
    return column.isnull() | (column >= ibis.literal(last))


def _greatest(workspace: Workspace, rows: ibis.Table, cursor: str) -> str | int | float | None:
    kind = schema_of(rows)[cursor]
    if kind not in ("int", "float", "date", "timestamp", "text"):
        raise PlanError(f"column {cursor!r} is {kind}, which has no order; name one that grows: a time or a number")
    if kind == "float":
        # Not-a-number would be the greatest of all.
        rows = rows.filter(~rows[cursor].isnan())
    found: Any = workspace.engine.con.to_pyarrow(rows[cursor].max()).as_py()
    greatest: str | int | float | None = found.isoformat() if isinstance(found, date) else found
    return greatest


def _remember(workspace: Workspace, action: Sync, cursor: str, key: tuple[str, ...], last: Any) -> None:
    where = {"source": action.source, "resource": action.resource}
    left = {"version": workspace.version(action.into), "run": workspace.draft.run}
    doc = {**where, "cursor": cursor, "key": list(key), "last": last, **left}
    workspace.draft.put("sync", action.into, doc)
