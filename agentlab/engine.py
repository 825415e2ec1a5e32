"""Where tables are read, computed and written: Ibis on DuckDB, in memory, over the lab's immutable Parquet versions.

A table's rows have a stored order, that of its files; reading and writing keep it. Nothing here knows actions or plans,
and nothing reaches outside the lab's folder: DuckDB's external access is closed but for it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.duckdb import Backend

from agentlab.actions import ColumnType, Schema
from agentlab.entries import TableDoc
from agentlab.errors import LabError, PlanError

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

#: Where data or query are at fault: a number out of range, a value that a cast can't read, a name that isn't there.
_OF_THE_DATA = (
    duckdb.DataError,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.InvalidInputException,
    duckdb.NotImplementedException,
)


class Written(NamedTuple):
    """What a write left in its folder."""

    schema: Schema
    rows: int
    bytes: int


class Engine(Protocol):
    """Tables in, tables out. A table is an Ibis expression: nothing is computed until it is written or asked for."""

    @property
    def con(self) -> Backend:
        """The Ibis backend that executes, for `con.to_pyarrow(table)` and the like."""

    def read(self, doc: TableDoc, root: Path) -> ibis.Table:
        """A version of a table of the lab at `root`, through its projection; LabError if its files are gone."""

    def write(self, table: ibis.Table, path: Path) -> Written:
        """Compute the table and store it in the new folder `path`, whole or not at all."""

    def memtable(self, data: pa.Table) -> ibis.Table:
        """Arrow data as a table."""


class DuckDB:
    """The default engine: one database in memory for a lab and process, one connection to it for each thread.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as lab:
    ...     engine = DuckDB(Path(lab))
    ...     orders = engine.memtable(pa.table({"id": [1, 2], "paid": [9.5, None]}))
    ...     engine.write(orders, Path(lab) / "tables/orders/v1-r1").schema
    {'id': 'int', 'paid': 'float'}
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        spill = self.root / "tmp"
        spill.mkdir(parents=True, exist_ok=True)
        self._database = duckdb.connect(":memory:", config={"temp_directory": str(spill)})
        # Closing external access can't be taken back. The configuration isn't locked besides, since each thread's
        # connection sets its own time zone; `queries.check` lets nothing through that could set anything.
        self._database.execute(f"SET allowed_directories = [{_quoted(f'{self.root}/')}]")
        self._database.execute("SET enable_external_access = false")
        self._local = threading.local()

    @property
    def con(self) -> Backend:
        if not hasattr(self._local, "con"):
            self._local.con = ibis.duckdb.from_connection(self._database.cursor())
        con: Backend = self._local.con
        return con

    def close(self) -> None:
        """Let go of this thread's connection; memory and temporary files go with the last thread's."""
        self.con.con.close()
        self._database.close()

    def read(self, doc: TableDoc, root: Path) -> ibis.Table:
        path = (root / doc.path).resolve()
        if not path.exists():
            raise LabError(f"the files of a table are gone: {doc.path}; undo to a version whose files are there")
        columns = doc.projection or [(column, column, None) for column in doc.schema_]
        chosen = ", ".join(_projected(*column) for column in columns)
        files = str(path / "*.parquet") if path.is_dir() else str(path)
        query = f"SELECT {chosen} FROM read_parquet({_quoted(files)}, hive_partitioning = false)"  # noqa: S608
        schema = ibis.schema({column: DTYPES[kind] for column, kind in doc.schema_.items()})
        return ops.SQLQueryResult(query, schema, self.con).to_expr()

    def write(self, table: ibis.Table, path: Path) -> Written:
        part = path.with_name(f"{path.name}.part")
        if path.exists() and any(path.iterdir()):
            raise LabError(f"{path.name} is written already, and versions don't change; write to a fresh path")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            rows = self._copy(table, part / "data.parquet")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        size = sum(file.stat().st_size for file in part.iterdir())
        part.replace(path)
        return Written(schema_of(table), rows, size)

    def _copy(self, table: ibis.Table, file: Path) -> int:
        with self._view(table) as view, explained():
            chosen = ", ".join(f"CAST({_name(c)} AS {SQL_TYPES[t]}) AS {_name(c)}" for c, t in schema_of(table).items())
            query = f"COPY (SELECT {chosen} FROM {view}) TO {_quoted(str(file))} (FORMAT parquet, COMPRESSION zstd)"  # noqa: S608
            ((rows,),) = self.con.raw_sql(query).fetchall()
        return int(rows)

    def memtable(self, data: pa.Table) -> ibis.Table:
        return ibis.memtable(data)

    @contextmanager
    def _view(self, table: ibis.Table) -> Iterator[str]:
        view = self._create_view(table)
        try:
            yield view
        finally:
            self.con.drop_view(view)

    def _create_view(self, table: ibis.Table) -> str:
        name = ibis.util.gen_name("view")
        with explained():
            self.con.create_view(name, table)
        return str(name)


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


@contextmanager
def explained() -> Iterator[None]:
    """Turn the engine's errors into ours: PlanError where data or query are at fault, else LabError (disk, memory)."""
    try:
        yield
    except _OF_THE_DATA as fault:
        raise PlanError(f"the data doesn't allow it: {_first_line(fault)}") from fault
    except duckdb.Error as fault:
        raise LabError(f"the engine can't go on: {_first_line(fault)}") from fault


def _projected(name: str, stored: str, kind: ColumnType | None) -> str:
    value = f"TRY_CAST({_name(stored)} AS {SQL_TYPES[kind]})" if kind else _name(stored)
    return f"{value} AS {_name(name)}"


def _first_line(fault: Exception) -> str:
    return str(fault).strip().splitlines()[0]


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
