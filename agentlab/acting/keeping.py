"""What the storage agent does about time: schedules, what is kept how long, which versions, and what goes."""

from __future__ import annotations

from typing import Any

import ibis

from agentlab import blast, retention, snapshots
from agentlab import compile as forms
from agentlab.acting.base import Lineage, Outcome, Workspace, call_of, perform
from agentlab.actions import (
    Drop,
    Pause,
    Restore,
    Resume,
    Retain,
    Schedule,
    TakeSnapshot,
    Union,
    Unschedule,
)
from agentlab.engine import schema_of
from agentlab.entries import Entry, TableDoc
from agentlab.errors import PlanError
from agentlab.events import now
from agentlab.moments import upcoming
from agentlab.retention import RetentionDoc
from agentlab.simulation import united
from agentlab.snapshots import SnapshotDoc

# Schedules


@perform.register
def _(action: Schedule, workspace: Workspace) -> Outcome:
    known = workspace.draft.find("schedule", action.task)
    # A new time is told in the zone of the old one, unless another is named.
    zone = action.zone or (known.doc.get("zone") if known else None)
    moments = upcoming(action.cron, zone=zone)
    doc = {
        **{"task": action.task, "when": action.when, "cron": action.cron, "zone": zone},
        **{"state": "active", "next": moments},
    }
    workspace.draft.put("schedule", action.task, doc)
    workspace.emit("scheduled", action.task, cron=action.cron, zone=zone, next=moments)
    instead = f", instead of {known.doc['when']}" if known else ""
    where = f" in {zone}" if zone else ""
    return Outcome(
        f"{action.task} runs {action.when}{where} ({action.cron}){instead}; next at {', '.join(moments)}", doc
    )


@perform.register
def _(action: Unschedule, workspace: Workspace) -> Outcome:
    entry = workspace.draft.get("schedule", action.task)
    workspace.draft.remove("schedule", action.task)
    workspace.emit("scheduled", action.task, state="unscheduled")
    return Outcome(f"{action.task} runs no more; it ran {entry.doc['when']}", {"task": action.task})


@perform.register
def _(action: Pause, workspace: Workspace) -> Outcome:
    return _set_state(workspace, workspace.draft.get("schedule", action.task), "paused")


@perform.register
def _(action: Resume, workspace: Workspace) -> Outcome:
    return _set_state(workspace, workspace.draft.get("schedule", action.task), "active")


def _set_state(workspace: Workspace, entry: Entry, state: str) -> Outcome:
    moments = upcoming(entry.doc["cron"], zone=entry.doc.get("zone"))
    doc = {**entry.doc, "state": state, "next": moments}
    if entry.doc.get("state", "active") == state:
        return Outcome(f"{entry.name} is {state} already; nothing was changed", doc)
    workspace.draft.put("schedule", entry.name, doc)
    workspace.emit("scheduled", entry.name, state=state)
    if state == "paused":
        return Outcome(f"{entry.name} is paused; what comes due until it is resumed isn't made up for", doc)
    return Outcome(f"{entry.name} runs {entry.doc['when']} again, next at {moments[0]}", doc)


# Retention


@perform.register
def _(action: Retain, workspace: Workspace) -> Outcome:
    workspace.tell(f"counting the rows of {action.table} that are older than {action.older_than}")
    table = workspace.read(action.table)
    count = retention.matching(workspace.engine, table, action.column, action.older_than)
    doc = RetentionDoc(
        table=action.table,
        column=action.column,
        older_than=action.older_than,
        then=action.then,
        matching=count,
        set_at=now(),
    )
    name = retention.rule_name(action.table, action.column)
    known = workspace.draft.find("retention", name)
    workspace.draft.put("retention", name, doc)
    return Outcome(_of_rule(doc, known), doc.model_dump(mode="json"), _leave(doc))


def _of_rule(doc: RetentionDoc, known: Entry | None) -> str:
    instead = f", instead of older than {known.doc['older_than']}: {known.doc['then']}" if known else ""
    where = f"go to {retention.archive_of(doc.table)}" if doc.then == "archive" else "are deleted"
    return (
        f"rows of {doc.table} whose {doc.column} is older than {doc.older_than} {where}{instead}; "
        f"{doc.matching:,} are now. None has left yet: retention runs nightly at 03:00 UTC "
        "where schedules are kept (agentlab serve), or by agentlab retention --enforce"
    )


def _leave(doc: RetentionDoc) -> str | None:
    if doc.then == "archive":
        return None
    return f"{doc} would delete rows whenever retention runs, {doc.matching:,} of them as it is now"


def enforce(workspace: Workspace, doc: RetentionDoc) -> Outcome | None:
    """Take out the rows that a rule says are too old, into the archive if it says so; None if there are none.

    A row of which the archive has an equal one already, as after the same rows were pulled anew, isn't archived twice.
    """
    action = Retain(table=doc.table, column=doc.column, older_than=doc.older_than, then=doc.then)
    before, n = workspace.draft.table(doc.table), workspace.version(doc.table)
    if before.schema_.get(doc.column) not in ("date", "timestamp"):
        raise PlanError(f"{doc.table} has no date {doc.column!r} any more to {doc}; set the rule by another column")
    parts = retention.parted(workspace.read(doc.table), doc.column, doc.older_than)
    moved = workspace.engine.con.to_pyarrow(parts.leaving.count()).as_py()
    if not moved:
        return None
    same: Lineage = {column: [(doc.table, n, column)] for column in before.schema_}
    data = {"left": moved, "archived": 0}
    if doc.then == "archive":
        data["archived"] = _archive(workspace, action, parts.leaving, same)
    after = workspace.write(doc.table, parts.staying, action, same)
    workspace.emit("transformed", doc.table, action="retain", rows=after.rows, moved=moved)
    gone = f"{data['archived']:,} to {retention.archive_of(doc.table)}" if doc.then == "archive" else "deleted"
    text = f"{moved:,} of {before.rows:,} rows of {doc.table} were older than {doc.older_than} by {doc.column}: {gone}"
    twice = moved - data["archived"] if doc.then == "archive" else 0
    return Outcome(text + (f", {twice:,} were there already" if twice else ""), {**data, "rows": after.rows})


def _archive(workspace: Workspace, action: Retain, leaving: ibis.Table, same: Lineage) -> int:
    """Put rows into the archive; how many came to it."""
    name = retention.archive_of(action.table)
    known = workspace.draft.find("table", name)
    if known is None:
        return workspace.write(name, leaving, action, same).rows
    archive = workspace.read(name)
    if schema_of(archive) == schema_of(leaving):
        new = leaving.difference(archive, distinct=False)
        leaving = new.order_by(list(dict.fromkeys([action.column, *new.columns])))
    both = forms.compile(Union(table=name, other=action.table), archive, leaving)
    sides = united(archive.columns, leaving.columns)
    lineage = {
        c: [*([(name, known.n, one)] if one else []), *same.get(two or "", [])] for c, (one, two) in sides.items()
    }
    return workspace.write(name, both, action, lineage).rows - int(known.doc["rows"])


# Versions


@perform.register
def _(action: TakeSnapshot, workspace: Workspace) -> Outcome:
    entry = workspace.draft.get("table", action.table)
    name = action.name or snapshots.default_name(workspace.draft, action.table, entry.n)
    doc = SnapshotDoc(
        table=action.table, version=entry.n, rows=entry.doc["rows"], run=workspace.draft.run, at=now()
    ).model_dump(mode="json")
    data = {"name": name, **doc}
    if workspace.draft.find("snapshot", name):
        return Outcome(f"{name} is a snapshot of {action.table}, version {entry.n}, already", data)
    workspace.draft.put("snapshot", name, doc)
    return Outcome(f"{name} is {action.table} as it is now: version {entry.n}, {doc['rows']:,} rows", data)


@perform.register
def _(action: Restore, workspace: Workspace) -> Outcome:
    old = snapshots.chosen(workspace.draft, action.table, action.snapshot, action.version)
    head = workspace.draft.find("table", action.table)
    if head and head.n == old.n:
        return Outcome(f"{action.table} is at version {old.n} already; nothing was changed", {"version": old.n})
    doc = TableDoc.model_validate(old.doc)
    lineage: Lineage = {column: [(action.table, old.n, column)] for column in doc.schema_}
    broken = blast.of_change(workspace.draft, action.table, head.doc["schema"], doc.schema_) if head else blast.Blast()
    back = doc.model_copy(update={"call": call_of(action), "lineage": lineage, "source": None})
    n = workspace.draft.put("table", action.table, back)
    workspace.emit("transformed", action.table, action="restore", rows=doc.rows, columns=list(doc.schema_))
    instead = f", before {head.doc['rows']:,} rows" if head else "; it had been dropped"
    text = f"{action.table} is as it was in version {old.n}: {doc.rows:,} rows{instead}"
    return Outcome(text + _told(broken), {"version": n, "restored": old.n, "rows": doc.rows})


# What goes


@perform.register
def _(action: Drop, workspace: Workspace) -> Outcome:
    return _drop_table(workspace, action.table) if action.table else _drop_store(workspace, action.store or "")


def _drop_table(workspace: Workspace, name: str) -> Outcome:
    doc, broken = workspace.draft.table(name), blast.radius(workspace.draft, name)
    workspace.draft.remove("table", name)
    what = f"the table {name} with {doc.rows:,} rows"
    text = f"{what} is out of the catalog; its versions stay, so restore brings it back{_told(broken)}"
    return Outcome(text, _lost(broken, table=name, rows=doc.rows), f"{what} would be dropped{_told(broken)}")


def _drop_store(workspace: Workspace, name: str) -> Outcome:
    broken = blast.radius_of_store(workspace.draft, name)
    tables = sorted(workspace.draft.get("store", name).doc["tables"])
    workspace.draft.remove("store", name)
    what = f"the store {name} with {', '.join(tables) or 'no table'}"
    text = f"{what} is out of the catalog; its files stay, for undo{_told(broken)}"
    return Outcome(text, _lost(broken, store=name, tables=tables), f"{what} would be dropped{_told(broken)}")


def _told(broken: blast.Blast) -> str:
    return f"; {broken}" if broken else ""


def _lost(broken: blast.Blast, **data: Any) -> dict[str, Any]:
    return {**data, "breaks": [each.model_dump() for each in broken]}
