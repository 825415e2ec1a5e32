"""The versions of a table, the names that people give to some of them, and which one a restore brings back.

Versions are never thrown away, so a snapshot is a name and no copy. Restoring is done in `acting/keeping.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from agentlab.catalog import Catalog
from agentlab.draft import Draft
from agentlab.entries import Entries, Entry
from agentlab.errors import PlanError, unknown


class SnapshotDoc(BaseModel):
    """A named version of a table: its number and rows, the run that took the snapshot, and when (ISO 8601, UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    version: int
    rows: int
    run: str
    at: str


def taken(entries: Entries) -> dict[str, SnapshotDoc]:
    """Every snapshot, by name."""
    return {entry.name: SnapshotDoc.model_validate(entry.doc) for entry in entries.entries("snapshot")}


def history(entries: Entries, table: str) -> list[Entry]:
    """Every version that a table has had, oldest first, with those that a run's draft has made so far."""
    return entries.history("table", table)


def default_name(entries: Entries, table: str, n: int) -> str:
    """What the snapshot of a version is called: `orders_v3`, or longer if that is another one's name."""
    short = table.rpartition(".")[2]
    known = taken(entries)
    names = [f"{short}_v{n}", f"{table.replace('.', '_')}_v{n}"]
    for name in names:
        if name not in known or (known[name].table, known[name].version) == (table, n):
            return name
    return next(name for k in range(2, len(known) + 3) if (name := f"{names[-1]}_{k}") not in known)


def chosen(entries: Entries, table: str, snapshot: str | None = None, version: int | None = None) -> Entry:
    """The version of a table that a restore means; PlanError naming those that exist.

    A negative version counts back from the present one (-1 is the one before), past what has been undone. Of a table
    that was dropped, -1 is the last one.
    """
    past = history(entries, table)
    if not past:
        raise PlanError(unknown("table", table, [entry.name for entry in entries.entries("table")]))
    if snapshot is not None:
        version = _of_snapshot(entries, table, snapshot)
    if version is not None and version < 0:
        return _back(entries, table, -version)
    numbers = {entry.n: entry for entry in past}
    if version in numbers:
        return numbers[version]
    raise PlanError(unknown("version", str(version), list(map(str, numbers)), f"of {table}"))


def _of_snapshot(entries: Entries, table: str, name: str) -> int:
    known = taken(entries)
    if name not in known:
        own = [other for other, doc in known.items() if doc.table == table]
        raise PlanError(unknown("snapshot", name, own, f"of {table}"))
    if known[name].table != table:
        raise PlanError(f"the snapshot {name!r} is of {known[name].table}, not of {table}")
    return known[name].version


def _back(entries: Entries, table: str, steps: int) -> Entry:
    earlier = list(_led_to(entries, table))
    if entries.find("table", table):
        earlier = earlier[1:]
    if steps <= len(earlier):
        return earlier[steps - 1]
    there = f"there are {', '.join(str(entry.n) for entry in earlier)}" if earlier else "there is none"
    raise PlanError(f"{table} has no version {steps} before the present one; before it {there}")


def _led_to(entries: Entries, table: str) -> Iterator[Entry]:
    """The present version of a table and those before it, newest first; of a dropped one the last and so on."""
    catalog, head = entries, entries.find("table", table)
    if isinstance(entries, Draft):
        catalog = entries.catalog
        own = [entry for entry in entries.history("table", table) if entry.run == entries.run]
        yield from reversed([entry for entry in own if catalog.last("table", table) < entry.n])
        head = catalog.find("table", table)
    if not isinstance(catalog, Catalog):
        return
    if head is None:
        head = _dropped(catalog, table)
    yield from beneath(head, catalog)


def _dropped(catalog: Catalog, table: str) -> Entry | None:
    """The version of a table that there was before it was dropped; the last, if the run that made it dropped it."""
    sql = (
        "SELECT before FROM changes JOIN commits USING (seq) WHERE kind = 'table' AND name = ?"
        " AND after IS NULL AND undone IS NULL ORDER BY seq DESC LIMIT 1"
    )
    rows = catalog.database.query(sql, table)
    if rows and rows[0]["before"]:
        return catalog.version("table", table, rows[0]["before"])
    return next(reversed(catalog.history("table", table)), None)


def beneath(entry: Entry | None, catalog: Catalog) -> Iterator[Entry]:
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
