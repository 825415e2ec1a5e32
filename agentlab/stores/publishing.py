"""Provisioning, publishing and reading back. Publishing writes a fresh copy, so a store's older document is its undo.

How a copy is written is `copies.py`'s, and for what lies outside the lab `buckets.py`'s and `postgres.py`'s; which
document of a store is current is the catalog's, and what others see of it elsewhere `settling.py` brings up to date.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import ibis

from agentlab import cleaning, copies
from agentlab.actions import Provision
from agentlab.copies import Copy, Shape
from agentlab.engine import Engine, schema_of
from agentlab.entries import check_name, check_run
from agentlab.errors import PlanError, unknown
from agentlab.events import now
from agentlab.places import check_location, unfit
from agentlab.stores import buckets, delta, postgres
from agentlab.stores.base import Published, StoreDoc, admit, published_name
from agentlab.stores.streams import streamed


def provision(action: Provision, databases: Mapping[str, dict[str, Any]] | None = None) -> StoreDoc:
    """The document of a new, empty store; nothing is written, here or elsewhere: `prepare` does.

    `databases` are the documents of the registered sources, by name. PlanError when the format, the place and the
    columns to split by don't go together.

    >>> provision(Provision(store="mart", partition_by=("day",))).location
    'stores/mart'
    """
    store = check_name(action.store, "store")
    if fault := unfit(action):
        raise PlanError(fault)
    location = check_location(action.location or f"stores/{store}", action.format)
    database = _database(action, databases or {})
    chosen = {"format": action.format, "partition_by": action.partition_by, "quota": action.quota}
    return StoreDoc(name=store, location=location, database=database, **chosen)


def prepare(root: Path, store: StoreDoc) -> list[str]:
    """Make ready what a store needs outside the catalog, and tell each step; safe to repeat, harmless if never used.

    A bucket is made where there is none. A folder elsewhere in the lab is noted, so that what runs that fail leave in
    it is swept. A database is only asked whether it answers. PlanError for a folder that can't be one, or that a link
    leads out of the lab or into the lab's own.
    """
    if store.remote:
        return buckets.provision(store.location, store.name)
    if store.format == "postgres":
        with postgres.connected(root, store):
            return []
    _check_folder(root, store.location)
    cleaning.note(root, store.location)
    return []


def _check_folder(root: Path, location: str) -> None:
    full = root / location
    if any(place.exists() and not place.is_dir() for place in (full, *full.parents)):
        raise PlanError(f"a store can't be at {location!r}: there is a file of that name; name another folder")
    if full.resolve() != root.resolve() / location:
        raise PlanError(f"a store can't be at {location!r}: a link leads elsewhere; name the folder itself")


def publish(
    engine: Engine,
    table: ibis.Table,
    store: StoreDoc,
    name: str,
    run: str,
    mode: Literal["replace", "append"] = "replace",
    *,
    root: Path,
    version: int = 0,
) -> StoreDoc:
    """Write the catalog's table `name` into a store of the lab at `root`; the store's new document.

    Nothing that an older document names is touched. PlanError when the store has another table of that name, when rows
    to append don't fit, or when a column to split by is missing; OverQuota when it would be more than it may hold.
    """
    short = published_name(check_name(name))
    before = _of_same_source(store, short, name)
    kept = before.parts if before and mode == "append" else ()
    if kept:
        table = _fitting(table, kept[0], f"{store.name}.{short}")
    parts = (*kept, _write(engine, table, root, store, short, check_run(run), sum(part.bytes for part in kept)))
    done = Published(
        source=name,
        version=version,
        schema_=schema_of(table),
        rows=sum(part.rows for part in parts),
        bytes=sum(part.bytes for part in parts),
        published_at=now(),
        parts=parts,
    )
    return store.model_copy(update={"tables": {**store.tables, short: done}})


def read_store(engine: Engine, store: StoreDoc, table: str, *, root: Path) -> ibis.Table:
    """A published table, `orders` in the store `mart`; PlanError if it isn't there, LabError if its files are gone."""
    if table not in store.tables:
        raise PlanError(unknown("table", table, store.tables, f"in store {store.name}"))
    parts = store.tables[table].parts
    if not store.outside:
        return copies.read(engine, root, parts)
    return copies.below([_read(engine, root, store, part) for part in parts])


def _write(engine: Engine, table: ibis.Table, root: Path, store: StoreDoc, short: str, run: str, kept: int) -> Copy:
    if store.format == "postgres":
        return postgres.write(engine, table, root, store, short, run, lambda size: admit(store, short, size, kept))
    above = root / "stores" / store.name if store.remote else root / store.location
    folder = copies.fresh(above / short / run)
    copy = copies.write(engine, table, root, folder, shape_of(store, short))
    try:
        admit(store, short, copy.bytes, kept)
        if store.format == "delta":
            delta.check(folder, copy)
        return copy if not store.remote else _sent(folder, store, short, run, copy)
    except BaseException:
        copies.detach(engine, root, copy)
        shutil.rmtree(folder)
        raise


def shape_of(store: StoreDoc, table: str) -> Shape:
    """How a store's tables are laid out: split by its columns, and sorted by them first."""
    format: Literal["parquet", "duckdb"] = "duckdb" if store.format == "duckdb" else "parquet"
    return Shape(format=format, name=table, partition_by=store.partition_by, order_by=store.partition_by)


def _sent(folder: Path, store: StoreDoc, short: str, run: str, copy: Copy) -> Copy:
    """A copy's files sent up, below a key of its own that nothing names before the run commits."""
    place = buckets.fresh(f"{store.location}/{short}/{run}")
    buckets.send(folder, place)
    shutil.rmtree(folder)
    return copy.model_copy(update={"path": place})


def _read(engine: Engine, root: Path, store: StoreDoc, copy: Copy) -> ibis.Table:
    if copy.format == "postgres":
        return postgres.read(engine, root, store, copy)
    if store.remote and (copy.rows or not copy.partition_by):
        return streamed(engine, buckets.dataset(copy), copy)
    return copies.read(engine, root, [copy])


def _database(action: Provision, databases: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    if action.format != "postgres" or action.location is None:
        return None
    if action.location not in databases:
        raise PlanError(unknown("database", action.location, databases, "is registered"))
    database = postgres.database_of(databases[action.location], action.location)
    doc = database.model_dump(mode="json", by_alias=True, exclude={"resources"}, exclude_defaults=True)
    return {"kind": "sql", **doc}


def _of_same_source(store: StoreDoc, short: str, table: str) -> Published | None:
    before = store.tables.get(short)
    if before and before.source != table:
        raise PlanError(
            f"store {store.name} has a table {short} already, published from {before.source}, not from {table}; "
            "publish into another store, or give the table another last name"
        )
    return before


def _fitting(table: ibis.Table, above: Copy, where: str) -> ibis.Table:
    faults = copies.same_types(above.types, {c: str(t) for c, t in table.schema().items()})
    if faults:
        raise PlanError(f"can't append to {where}: {'; '.join(faults)}; publish with mode replace instead")
    return table.select(*above.types)
