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


def replaces_work(action: Action, world: World) -> Iterator[str]:
    """Replacing a table that another run made in another way waits for approval.

    The same way is a pull of the same source, or the same call; what the run of that way went on to cause (the steps of
    its pipeline, its reactions) belongs to it, and would be done again.
    """
    entry = _replaced(action, world)
    if entry is not None and not _same_way(action, entry, _catalog(world.entries)):
        made = entry.doc.get("call", {}).get("name", "another action")
        what = f"the table {entry.name}, version {entry.n}, made by {made} of run {entry.run}"
        yield f"{action.tool()} would replace {what}"


def _replaced(action: Action, world: World) -> Entry | None:
    """What is there now and would be lost, whatever the plan does to it first; its own tables a plan may replace."""
    replaces = (isinstance(action, Pull) and action.mode == "replace") or (
        isinstance(action, Transform) and action.into not in (None, action.table)
    )
    target = writes(action) if replaces else None
    return None if target is None or target in world.created else _catalog(world.entries).find("table", target)


def _catalog(entries: Entries) -> Entries:
    return entries.catalog if isinstance(entries, Draft) else entries


def _same_way(action: Action, entry: Entry, catalog: Entries) -> bool:
    """Whether the action would make again all that the table is made of, from its newest version down.

    Rows that were added from the action's own source come again, so it is for the version below them to say.
    """
    if not isinstance(catalog, Catalog):
        return _makes(action, entry)
    chain = ""
    for version in _beneath(entry, catalog):
        origin = _origin(version.run, catalog)
        if origin != (chain or origin):
            return False
        if _makes(action, version):
            return True
        chain = "" if _adds(action, version) else origin
    return False


def _beneath(entry: Entry | None, catalog: Catalog) -> Iterator[Entry]:
    """A version and those that it was made on, newest first; what was undone isn't among them."""
    while entry:
        yield entry
        n = _before(entry, catalog)
        entry = catalog.version("table", entry.name, n) if n else None


def _before(entry: Entry, catalog: Catalog) -> int | None:
    """The version that was current when this one was made, if any. A run may have made several, one on the other."""
    sql = "SELECT n FROM versions WHERE kind = 'table' AND name = ? AND run = ? AND n = ?"
    if catalog.database.query(sql, entry.name, entry.run, entry.n - 1):
        return entry.n - 1
    sql = "SELECT before FROM changes JOIN commits USING (seq) WHERE kind = 'table' AND name = ? AND run = ?"
    return next((row["before"] for row in catalog.database.query(sql, entry.name, entry.run)), None)


def _makes(action: Action, entry: Entry) -> bool:
    """Whether this version was made as the action would make it, and of nothing else."""
    if isinstance(action, Pull):
        return _pulled(action, entry) and _mode(entry) == "replace"
    return bool(entry.doc.get("call") == {"name": action.tool(), "arguments": action.arguments()})


def _adds(action: Action, entry: Entry) -> bool:
    return isinstance(action, Pull) and _pulled(action, entry) and _mode(entry) != "replace"


def _pulled(action: Pull, entry: Entry) -> bool:
    doc = TableDoc.model_validate(entry.doc)
    return doc.source == f"{action.source}.{action.resource}" and doc.call.get("name") == action.tool()


def _mode(entry: Entry) -> str:
    return str(entry.doc["call"].get("arguments", {}).get("mode", "replace"))


def _origin(run: str, catalog: Catalog) -> str:
    """The first of the runs that led to this one."""
    try:
        while parent := catalog.run(run).parent:
            run = parent
    except LabError:
        pass
    return run
