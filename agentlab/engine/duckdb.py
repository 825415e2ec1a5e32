"""DuckDB, the engine of one machine: in memory, over the lab's immutable Parquet versions."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa
from ibis.backends.duckdb import Backend

from agentlab.actions import ColumnType
from agentlab.engine.base import DTYPES, SQL_TYPES, Written, schema_of
from agentlab.engine.faults import explained
from agentlab.entries import TableDoc
from agentlab.errors import LabError


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


def _projected(name: str, stored: str, kind: ColumnType | None) -> str:
    value = f"TRY_CAST({_name(stored)} AS {SQL_TYPES[kind]})" if kind else _name(stored)
    return f"{value} AS {_name(name)}"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
