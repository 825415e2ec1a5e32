"""Stores: places where finished tables live. Publishing writes a fresh copy, so a store's older document is its undo.

How a copy is written and read back is `copies.py`'s; which document of a store is current is the catalog's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import ibis
from pydantic import BaseModel, ConfigDict, Field

from agentlab import copies
from agentlab.actions import Provision, Schema
from agentlab.copies import Copy, Format, Shape
from agentlab.engine import Engine, schema_of
from agentlab.entries import check_name, check_run
from agentlab.errors import PlanError, unknown
from agentlab.events import now


class Published(BaseModel):
    """A table in a store: which table and version (0: not known) came last, and the copies that hold its rows.

    `rows` and `bytes` (on disk) are of all copies together; `published_at` is ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    source: str
    version: int
    schema_: Schema = Field(alias="schema")
    rows: int
    bytes: int
    published_at: str
    parts: tuple[Copy, ...]


class StoreDoc(BaseModel):
    """A store: its format, the columns that its tables are split by, its folder in the lab, and the tables in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["columnar"] = "columnar"
    format: Format = "parquet"
    partition_by: tuple[str, ...] = ()
    location: str
    tables: dict[str, Published] = {}


def provision(action: Provision) -> StoreDoc:
    """The document of a new, empty store; nothing is written before the first table is published.

    >>> provision(Provision(store="mart", partition_by=("day",))).location
    'stores/mart'
    """
    store = check_name(action.store, "store")
    if action.format == "duckdb" and action.partition_by:
        raise PlanError("a duckdb store is one file for each table and has no partitions; use format parquet for them")
    return StoreDoc(name=store, format=action.format, partition_by=action.partition_by, location=f"stores/{store}")


def published_name(table: str) -> str:
    """What a table is called in a store: `orders` for `staging.orders`, so that queries read `mart.orders`."""
    return table.rpartition(".")[2]


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
    to append don't fit, or when a column to split by is missing.
    """
    short = published_name(check_name(name))
    before = _of_same_source(store, short, name)
    kept = before.parts if before and mode == "append" else ()
    if kept:
        table = _fitting(table, kept[0], f"{store.name}.{short}")
    shape = Shape(format=store.format, name=short, partition_by=store.partition_by)
    folder = copies.fresh(root / store.location / short / check_run(run))
    parts = (*kept, copies.write(engine, table, root, folder, shape))
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
    return copies.read(engine, root, store.tables[table].parts)


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
