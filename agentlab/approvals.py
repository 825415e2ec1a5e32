"""What waits for a person, as far as a plan and the catalog tell; how many rows would go, only the data does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from agentlab.actions import Action, LoadFile, Publish, Pull, Retain, Transform
from agentlab.catalog import Catalog
from agentlab.draft import Draft
from agentlab.entries import Entries, Entry, TableDoc
from agentlab.errors import LabError
from agentlab.simulation import World, writes
from agentlab.snapshots import beneath


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
    if isinstance(action, Publish):
        # Of a table that the plan itself makes anew, only the run can say what it is made of.
        why = None if action.table in world.changed else replaces_published(action, world.entries)
        yield from [why] if why else []
    entry = _replaced(action, world)
    if entry is not None and not _same_way(action, entry, _catalog(world.entries)):
        made = entry.doc.get("call", {}).get("name", "another action")
        what = f"the table {entry.name}, version {entry.n}, made by {made} of run {entry.run}"
        yield f"{action.tool()} would replace {what}"


def replaces_published(action: Publish, entries: Entries) -> str | None:
    """Why publishing would replace another run's table in the store, so that a person must agree; None if it doesn't.

    What the store holds is of our own making when its rows went on into the table's present version, or when both begin
    in the same way: by the same call, a pull of the same source, the same intent or pipeline.
    """
    catalog = _catalog(entries)
    store = catalog.find("store", action.store)
    held = (store.doc.get("tables") or {}).get(action.table.rpartition(".")[2]) if store else None
    if action.mode == "append" or held is None or not isinstance(catalog, Catalog):
        return None
    now = _stem(list(_versions(action.table, entries)))
    then = next((v for v in catalog.history("table", held["source"]) if v.n == held["version"]), None)
    if then is not None:
        kept = then.n in {version.n for version in now}
        if kept or _same_stem(now, _stem(list(beneath(then, catalog))), catalog):
            return None
    made = f", made in another way by run {then.run}" if then else ", whose origin is lost"
    what = f"the {held['rows']:,} rows that {action.store} holds of {held['source']}"
    return f"{action.tool()} would replace {what}: its version {held['version']}{made}"


def _versions(table: str, entries: Entries) -> Iterator[Entry]:
    """A table's versions as a run has them, newest first, and those that they were made on."""
    catalog = _catalog(entries)
    own = [e for e in entries.history("table", table) if e.run == entries.run] if isinstance(entries, Draft) else []
    below = beneath(catalog.find("table", table), catalog) if isinstance(catalog, Catalog) else iter(())
    return chain(reversed(own), below)


def _stem(versions: list[Entry]) -> list[Entry]:
    """The versions down to the one in which the rows begin, made without regard to what was there before it."""
    last = next((place for place, version in enumerate(versions) if _begins(version)), len(versions) - 1)
    return versions[: last + 1]


def _begins(entry: Entry) -> bool:
    call = entry.doc.get("call") or {}
    name, given = call.get("name"), call.get("arguments", {})
    if name in ("pull", "load_file"):
        return bool(given.get("mode", "replace") == "replace")
    return name not in ("sync", "restore") and entry.name != given.get("table")


def _same_stem(now: list[Entry], then: list[Entry], catalog: Catalog) -> bool:
    """Whether two lines of versions of one table begin in the same way."""
    if not now or not then:
        return False
    one, other = now[-1], then[-1]
    same_call = one.doc.get("call") and one.doc["call"] == other.doc.get("call")
    same_source = one.doc.get("source") and one.doc["source"] == other.doc.get("source")
    return bool(same_call or same_source) or _intent(one.run, catalog) == _intent(other.run, catalog)


def _intent(run: str, catalog: Catalog) -> str:
    """What was asked for, of the run that began it all; a run that isn't known is itself only."""
    try:
        return catalog.run(_origin(run, catalog)).intent
    except LabError:
        return run


def _replaced(action: Action, world: World) -> Entry | None:
    """What is there now and would be lost, whatever the plan does to it first; its own tables a plan may replace."""
    replaces = (isinstance(action, Pull | LoadFile) and action.mode == "replace") or (
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
    for version in beneath(entry, catalog):
        if version.doc.get("call", {}).get("name") == Retain.tool():
            continue  # Old rows left; nobody's work would be lost.
        origin = _origin(version.run, catalog)
        if origin != (chain or origin):
            return False
        if _makes(action, version):
            return True
        chain = "" if _adds(action, version) else origin
    return False


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
