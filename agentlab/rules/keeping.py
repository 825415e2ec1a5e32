"""Rules of the storage agent about what is kept, by which name, and what is done when."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab import snapshots
from agentlab.actions import (
    Action,
    Pause,
    Restore,
    Resume,
    Retain,
    Schedule,
    TakeSnapshot,
    Unschedule,
)
from agentlab.entries import LONGEST_NAME
from agentlab.errors import PlanError, unknown
from agentlab.rules.base import Rule
from agentlab.simulation import World
from agentlab.tasks import tasks


def tasks_exist(action: Action, world: World) -> Iterator[str]:
    """A schedule's task is a saved pipeline, the refresh of a store or table, or a pull of a source's resource."""
    if isinstance(action, Schedule):
        known = tasks(world.entries, world.stores, world.tables)
        if action.task not in known:
            yield unknown("task", action.task, known)


def schedules_exist(action: Action, world: World) -> Iterator[str]:
    """What is taken away, paused or resumed is a schedule."""
    if isinstance(action, Unschedule | Pause | Resume) and action.task not in world.scheduled:
        yield unknown("schedule of", action.task, sorted(world.scheduled))


def ages_known(action: Action, world: World) -> Iterator[str]:
    """How old a row is, a date or a timestamp says."""
    if not isinstance(action, Retain) or (sight := world.read(action)) is None:
        return
    kind = sight.schema.get(action.column)
    if kind not in (None, "date", "timestamp"):
        times = [column for column, other in sight.schema.items() if other in ("date", "timestamp")]
        right = f"take {' or '.join(map(repr, times))}" if times else "cast it to date or timestamp first"
        yield f"retain needs a date or timestamp; column {action.column!r} is {kind}, {right}"


def ages_archivable(action: Action, world: World) -> Iterator[str]:
    """What is in an archive isn't archived once more.

    >>> retain = Retain(table="archive.orders", column="day", older_than="90 days")
    >>> list(ages_archivable(retain, None))
    ["the rows of archive.orders are archived already; keep them, or say then='delete'"]
    """
    if isinstance(action, Retain) and action.then == "archive" and action.table.startswith("archive."):
        yield f"the rows of {action.table} are archived already; keep them, or say then='delete'"


def snapshots_new(action: Action, world: World) -> Iterator[str]:
    """The name of a snapshot is one that can be read, and isn't another's."""
    if not isinstance(action, TakeSnapshot) or (name := action.name) is None:
        return
    if not name.strip() or len(name.encode()) > LONGEST_NAME or not name.isprintable():
        yield f"{name[:LONGEST_NAME]!r} can't name a snapshot; use up to {LONGEST_NAME} printable characters"
    known = {other: doc.table for other, doc in snapshots.taken(world.entries).items()}
    known |= {other: table for other, (table, _) in world.snapshots.items()}
    if name in known:
        yield f"there is a snapshot {name!r} of {known[name]} already; give this one another name"


def versions_exist(action: Action, world: World) -> Iterator[str]:
    """What is restored is there: the table (maybe dropped), and its snapshot or version."""
    if not isinstance(action, Restore):
        return
    if (made := world.snapshots.get(action.snapshot or "")) is not None:
        if made[0] != action.table:
            yield f"the snapshot {action.snapshot!r} is of {made[0]}, not of {action.table}"
    elif action.version is None or action.version > 0 or action.table not in world.changed:
        try:
            snapshots.chosen(world.entries, action.table, action.snapshot, action.version)
        except PlanError as fault:
            yield str(fault)


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("mend", tasks_exist),
    Rule("mend", schedules_exist),
    Rule("mend", ages_known),
    Rule("mend", ages_archivable),
    Rule("mend", snapshots_new),
    Rule("mend", versions_exist),
)
