"""What a run did to the catalog, held against the table of authority, and against the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa

from agentlab.actions import Action, Quarantine, Role, Transform
from agentlab.entries import Entry, EntryKind, TableDoc
from agentlab.lab import Lab
from agentlab.plan import Plan

Heads = Mapping[tuple[EntryKind, str], int]

#: Kinds of entries that a role may write, but for tables; what runs tell and ask anybody may.
KINDS: dict[Role, tuple[EntryKind, ...]] = {
    "ingestion": ("sync",),
    "quality": ("check",),
    "transformation": (),
    "storage": ("store", "schedule", "retention", "snapshot", "export"),
    "optimization": ("layout", "limit"),
}
TOLD: tuple[EntryKind, ...] = ("report", "review", "query")


class Change(NamedTuple):
    """One entry that isn't what it was."""

    kind: EntryKind
    name: str
    before: int | None
    after: int | None


def changes(before: Heads, after: Heads) -> list[Change]:
    """All that differs between two moments."""
    keys = sorted({*before, *after})
    moved = [key for key in keys if before.get(key) != after.get(key)]
    return [Change(*key, before.get(key), after.get(key)) for key in moved]


def outside(lab: Lab, plan: Plan, role: Role | None, done: list[Change]) -> list[str]:
    """The changes that nobody in the plan had the authority for, by roles, not by the rules' word."""
    roles = [role] if role else list(plan.agents)
    return [
        f"{' and '.join(roles) or 'nobody'} changed {change.kind} {change.name}"
        for change in done
        if change.kind not in TOLD and not any(_may(lab, plan, one, change) for one in roles)
    ]


def _may(lab: Lab, plan: Plan, role: Role, change: Change) -> bool:
    if change.kind != "table":
        if role == "optimization" and change.kind == "schedule":
            return _refreshes_a_result(lab, change.name)
        return change.kind in KINDS[role] or (change.kind == "store" and _same_rows_in_store(role))
    match role:
        case "ingestion":
            return change.name.startswith(("staging.", "quarantine."))
        case "quality":
            return change.name.startswith("quarantine.") or any(_sets_aside(a, change) for a in plan.actions)
        case "transformation":
            return any(change.name in (a.table, a.into) for a in plan.actions if isinstance(a, Transform))
        case "storage":
            return change.after is None or change.name.startswith("archive.") or _was_there(lab, change)
        case "optimization":
            return _same_cells(lab, change)


def _refreshes_a_result(lab: Lab, task: str) -> bool:
    """`materialize` has a `refresh`: the schedule of a result that is kept, and of nothing else, is its own to set."""
    kept = lab.catalog.find("layout", task.removesuffix(" refresh"))
    return kept is not None and kept.doc["kind"] == "materialized"


def _same_rows_in_store(role: Role) -> bool:
    """Compacting rewrites a table's files in its store; `same_results` of cases looks at its rows."""
    return role == "optimization"


def _sets_aside(action: Action, change: Change) -> bool:
    return isinstance(action, Quarantine) and action.table == change.name


def _was_there(lab: Lab, change: Change) -> bool:
    """Whether a table holds what an earlier version of it held: storage brings back, and changes no cell."""
    now = lab.catalog.version("table", change.name, change.after or 0)
    past = [entry for entry in lab.catalog.history("table", change.name) if entry.n < now.n]
    return any(_content(entry) == _content(now) for entry in past)


def _content(entry: Entry) -> list[object]:
    """The files of a version, and how they are read."""
    return [entry.doc.get(key) for key in ("path", "projection", "schema")]


def _same_cells(lab: Lab, change: Change) -> bool:
    if change.before is None or change.after is None:
        return False
    was, now = (lab.catalog.version("table", change.name, n) for n in (change.before, change.after))
    return bool(_rows(lab, was).equals(_rows(lab, now)))


def _rows(lab: Lab, entry: Entry) -> pa.Table:
    return lab.engine.con.to_pyarrow(lab.engine.read(TableDoc.model_validate(entry.doc), lab.root))


class Log:
    """Looks whether every change belongs to a run that the log has."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.seq = self._last()

    def unlogged(self, done: list[Change]) -> Iterator[str]:
        """The changes since the last look that no commit of a logged run explains."""
        sql = "SELECT kind, name, run FROM changes JOIN commits USING (seq) WHERE seq > ?"
        told = {(row["kind"], row["name"]): row["run"] for row in self.lab.catalog.database.query(sql, self.seq)}
        self.seq = self._last()
        runs = {row["id"] for row in self.lab.catalog.database.query("SELECT id FROM runs")}
        for change in done:
            run = told.get((change.kind, change.name))
            if run is None or run.partition("-")[0] not in runs:
                yield f"{change.kind} {change.name} changed {change.before} -> {change.after} by {run or 'no commit'}"

    def _last(self) -> int:
        (row,) = self.lab.catalog.database.query("SELECT coalesce(max(seq), 0) AS seq FROM commits")
        return int(row["seq"])
