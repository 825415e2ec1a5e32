"""What every engine does, its types, and the columns of a table in them. What computes is in the other modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa

from agentlab.actions import ColumnType, Schema
from agentlab.entries import TableDoc

#: How each of our types is computed with. Moments have no zone and mean UTC.
DTYPES: dict[ColumnType, dt.DataType] = {
    "int": dt.int64,
    "float": dt.float64,
    "text": dt.string,
    "date": dt.date,
    "timestamp": dt.timestamp,
    "bool": dt.boolean,
    "json": dt.json,
}

#: How each of our types is written.
SQL_TYPES: dict[ColumnType, str] = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "text": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "bool": "BOOLEAN",
    "json": "JSON",
}


class Written(NamedTuple):
    """What a write left in its folder."""

    schema: Schema
    rows: int
    bytes: int


class Engine(Protocol):
    """Tables in, tables out. A table is an Ibis expression: nothing is computed until it is written or asked for."""

    root: Path

    @property
    def con(self) -> Any:
        """The Ibis backend that executes, for `con.to_pyarrow(table)` and the like."""

    def read(self, doc: TableDoc, root: Path) -> ibis.Table:
        """A version of a table of the lab at `root`, through its projection; LabError if its files are gone."""

    def write(self, table: ibis.Table, path: Path) -> Written:
        """Compute the table and store it in the new folder `path`, whole or not at all."""

    def memtable(self, data: pa.Table) -> ibis.Table:
        """Arrow data as a table."""

    def close(self) -> None:
        """Let go of what the engine holds."""


def schema_of(table: ibis.Table) -> Schema:
    """The columns of a table and their types, in ours: decimals are `float`, nested data is `json`.

    >>> schema_of(ibis.table({"id": "int32", "tags": "array<string>"}, name="t"))
    {'id': 'int', 'tags': 'json'}
    """
    return {column: type_of(dtype) for column, dtype in table.schema().items()}


def type_of(dtype: dt.DataType) -> ColumnType:
    """Our type for one of Ibis's; what we have no type for (times of day, intervals, UUIDs, bytes) is `text`."""
    if dtype.is_boolean():
        return "bool"
    if dtype.is_integer():
        return "int"
    if dtype.is_numeric():
        return "float"
    if dtype.is_date():
        return "date"
    if dtype.is_timestamp():
        return "timestamp"
    return "json" if dtype.is_json() or dtype.is_nested() else "text"
