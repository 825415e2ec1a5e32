"""What waits for a person, as far as a plan and the catalog tell; how many rows would go, only the data does."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import Action, Pull, Transform
from agentlab.catalog import Catalog
from agentlab.draft import Draft
from agentlab.entries import Entries, Entry, TableDoc
from agentlab.errors import LabError
from agentlab.simulation import World, writes


def removal_needs_approval(before_rows: int, after_rows: int) -> bool:
    """Whether taking rows out of a table must wait for a person: when more than half of them would go.

    >>> removal_needs_approval(10, 5), removal_needs_approval(10, 4)
    (False, True)
    """
    return (before_rows - after_rows) * 2 > before_rows


def destructive(action: Action, world: World) -> Iterator[str]:
    """What can't but destroy waits for approval."""
    if action.destructive:
        yield f"{action} destroys what is there"


def replaces_work(action: Action, world: World) -> Iterator[str]:
    """Replacing a table that another run made in another way waits for approval.

    The same way is a pull of the same source, or the same call; what the run of that way went on to cause (the steps of
    its pipeline, its reactions) belongs to it, and would be done again.
    """
    entry = _replaced(action, world)
    if entry is not None and not _same_way(action, entry, world.entries):
        made = entry.doc.get("call", {}).get("name", "another action")
        what = f"the table {entry.name}, version {entry.n}, made by {made} of run {entry.run}"
        yield f"{action.tool()} would replace {what}"


def _replaced(action: Action, world: World) -> Entry | None:
    replaces = (isinstance(action, Pull) and action.mode == "replace") or (
        isinstance(action, Transform) and action.into not in (None, action.table)
    )
    target = writes(action) if replaces else None
    if target is None or target in world.written or (entry := world.entries.find("table", target)) is None:
        return None
    return None if isinstance(world.entries, Draft) and entry.run == world.entries.run else entry


def _same_way(action: Action, entry: Entry, entries: Entries) -> bool:
    catalog = entries.catalog if isinstance(entries, Draft) else entries
    if not isinstance(catalog, Catalog):
        return _makes(action, entry)
    chain = _origin(entry.run, catalog)
    for version in reversed(catalog.history("table", entry.name)):
        if version.n <= entry.n and _makes(action, version):
            return _origin(version.run, catalog) == chain or version.n == entry.n
    return False


def _makes(action: Action, entry: Entry) -> bool:
    """Whether this version was made as the action would make it."""
    doc = TableDoc.model_validate(entry.doc)
    if isinstance(action, Pull):
        return doc.source == f"{action.source}.{action.resource}" and doc.call.get("name") == action.tool()
    return doc.call == {"name": action.tool(), "arguments": action.arguments()}


def _origin(run: str, catalog: Catalog) -> str:
    """The first of the runs that led to this one."""
    try:
        while parent := catalog.run(run).parent:
            run = parent
    except LabError:
        pass
    return run
