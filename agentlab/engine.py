"""Where tables are read, computed and written: Ibis on DuckDB, in memory, over the lab's immutable Parquet versions.

A table's rows have a stored order, that of its files; reading and writing keep it. Nothing here knows actions or plans,
and nothing reaches outside the lab's folder: DuckDB's external access is closed but for it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import pyarrow as pa
import sqlglot
from ibis.backends.duckdb import Backend
from sqlglot import exp

from agentlab.actions import ColumnType, Schema
from agentlab.entries import TableDoc
from agentlab.errors import LabError, PlanError, unknown

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

    def sql(self, query: str, views: Mapping[str, ibis.Table]) -> pa.Table:
        """The result of one SELECT over the named tables; PlanError if it asks for anything else."""


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
        # connection sets its own time zone; `sql` lets nothing through that could set anything.
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

    def sql(self, query: str, views: Mapping[str, ibis.Table]) -> pa.Table:
        with self.bound(query, views) as text, explained():
            return self.con.raw_sql(text).to_arrow_table()

    @contextmanager
    def bound(self, query: str, views: Mapping[str, ibis.Table]) -> Iterator[str]:
        """The query as DuckDB can run it on `con`, in this thread and inside the block; to explain and to time it."""
        tree = select(query)
        made: dict[str, str] = {}
        try:
            for table in _tables(tree):
                name = _find(table, views)
                if name not in made:
                    made[name] = self._create_view(views[name])
                _point(table, made[name])
            yield tree.sql(dialect="duckdb")
        finally:
            for view in made.values():
                self.con.drop_view(view)

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


def select(query: str) -> exp.Query:
    """The query's tree, if it is one SELECT that only reads named tables; PlanError otherwise.

    >>> select("drop table orders")
    Traceback (most recent call last):
    agentlab.errors.PlanError: a query is one SELECT; this is a DROP...
    """
    try:
        trees = sqlglot.parse(query, dialect="duckdb")
    except sqlglot.errors.SqlglotError as fault:
        raise PlanError(f"can't read the query: {str(fault).splitlines()[0]}") from fault
    tree = trees[0] if len(trees) == 1 else None
    if not isinstance(tree, exp.Query):
        kind = f"a {tree.key.upper()}" if tree is not None else f"{len(trees)} statements"
        raise PlanError(f"a query is one SELECT; this is {kind}")
    return tree


def _tables(tree: exp.Query) -> list[exp.Table]:
    """The tables that the query reads, but for those it defines itself; their columns then go by the last name only."""
    for lateral in tree.find_all(exp.Lateral):
        _only_names(lateral, isinstance(lateral.this, exp.Subquery | exp.Unnest))
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE) if cte.alias.isidentifier()}
    found = list(tree.find_all(exp.Table))
    for table in found:
        _only_names(table, isinstance(table.this, exp.Identifier))
    for column in tree.find_all(exp.Column):
        column.set("db", None)
    return [table for table in found if table.db or table.name.lower() not in own]


def _only_names(node: exp.Expr, right: bool) -> None:
    """Functions that give tables are refused: they could read files of the lab that aren't tables."""
    if not right:
        raise PlanError(f"a query reads tables of the lab by name, not {node.sql(dialect='duckdb')!r}")


def _point(table: exp.Table, view: str) -> None:
    if not table.alias:
        table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
    table.set("this", exp.to_identifier(view, quoted=True))
    table.set("db", None)
    table.set("catalog", None)


def _find(table: exp.Table, views: Mapping[str, ibis.Table]) -> str:
    wanted = ".".join(part.name for part in table.parts)
    for name in views:
        if name.lower() == wanted.lower():
            return name
    raise PlanError(unknown("table", wanted, views))


def _projected(name: str, stored: str, kind: ColumnType | None) -> str:
    value = f"TRY_CAST({_name(stored)} AS {SQL_TYPES[kind]})" if kind else _name(stored)
    return f"{value} AS {_name(name)}"


def _first_line(fault: Exception) -> str:
    return str(fault).strip().splitlines()[0]


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
