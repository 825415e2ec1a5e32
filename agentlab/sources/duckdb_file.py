"""DuckDB files as databases: a connection of its own for reading only, which reaches nothing but that file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from agentlab.actions.base import ColumnType, Schema
from agentlab.errors import LabError
from agentlab.sources.arrow import fitted
from agentlab.sources.statements import BATCH, Column, Relation, column

_KINDS: dict[str, ColumnType] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"), "int"),
    **dict.fromkeys(("UBIGINT", "HUGEINT", "UHUGEINT", "FLOAT", "DOUBLE"), "float"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"), "timestamp"),
    **{"TIMESTAMP WITH TIME ZONE": "timestamp", "DATE": "date", "BOOLEAN": "bool", "JSON": "json"},
}
_SQL: dict[ColumnType, str] = {
    **{"int": "BIGINT", "float": "DOUBLE", "text": "VARCHAR", "date": "DATE", "timestamp": "TIMESTAMP"},
    **{"bool": "BOOLEAN", "json": "VARCHAR"},
}
_COLUMNS = """
SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()
WHERE NOT internal AND database_name = current_database()
ORDER BY schema_name, table_name, column_index
"""
_KEYS = """
SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints()
WHERE constraint_type = 'PRIMARY KEY' AND database_name = current_database()
"""


class DuckDBFile:
    """One open file. LabError where there is none, it is no database, or another process writes to it."""

    dialect = "duckdb"

    def __init__(self, path: Path) -> None:
        self._name = path.name
        if not path.is_file():
            raise LabError(f"there is no database file {path}; mend the source's path")
        try:
            self._con = duckdb.connect(str(path), read_only=True, config={"enable_external_access": "false"})
            self._con.execute("SET TimeZone = 'UTC'")
        except duckdb.Error as fault:
            raise self._fault(fault) from None

    def close(self) -> None:
        """Let go of the file."""
        self._con.close()

    def relations(self) -> list[Relation]:
        """Every table and view; those outside the schema `main` are called `schema.table`."""
        keys = {(schema, table): tuple(names) for schema, table, names in self._rows(_KEYS)}
        columns: dict[tuple[str, str], list[Column]] = {}
        for schema, table, name, native in self._rows(_COLUMNS):
            columns.setdefault((schema, table), []).append(Column(name, _kind(native), native))
        return [_relation(path, found, keys.get(path, ())) for path, found in columns.items()]

    def value(self, of: Column) -> exp.Expr:
        """The column cast to our type; nested values become JSON, bytes their hexadecimal digits."""
        if of.kind == "json" and of.native != "JSON":
            return exp.cast(exp.Anonymous(this="to_json", expressions=[column(of.name)]), "VARCHAR", dialect="duckdb")
        if of.native == "BLOB":
            return exp.Anonymous(this="lower", expressions=[exp.Anonymous(this="hex", expressions=[column(of.name)])])
        if of.kind in ("date", "timestamp"):
            finite = exp.Anonymous(this="isfinite", expressions=[column(of.name)])
            return exp.cast(exp.case().when(finite, column(of.name)), _SQL[of.kind], dialect="duckdb")
        return exp.cast(column(of.name), _SQL[of.kind], dialect="duckdb")

    def moment(self, value: exp.Expr) -> exp.Expr:
        """The value itself."""
        return value

    def literal(self, moment: datetime) -> exp.Expr:
        """A timestamp."""
        return exp.cast(exp.Literal.string(moment.isoformat(" ")), "TIMESTAMP", dialect="duckdb")

    def batches(self, sql: str, kinds: Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a SELECT, as they come."""
        try:
            reader = self._con.execute(sql).to_arrow_reader(BATCH)
            yield from fitted(reader, kinds)
        except duckdb.Error as fault:
            raise self._fault(fault) from None

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self._con.execute(sql).fetchall()
        except duckdb.Error as fault:
            raise self._fault(fault) from None

    def _fault(self, fault: duckdb.Error) -> LabError:
        said = str(fault).strip().splitlines()[0]
        held = "; close the process that writes to it" if isinstance(fault, duckdb.IOException) else ""
        return LabError(f"the DuckDB file {self._name} can't be read: {said}{held}")


def _relation(path: tuple[str, str], columns: list[Column], key: tuple[str, ...]) -> Relation:
    schema, table = path
    return Relation(table if schema == "main" else f"{schema}.{table}", path, tuple(columns), key)


def _kind(native: str) -> ColumnType:
    if native.startswith("DECIMAL"):
        width, scale = native.removeprefix("DECIMAL(").removesuffix(")").split(",")
        return "int" if int(scale) == 0 and int(width) <= 18 else "float"
    if native.endswith("]") or native.startswith(("STRUCT", "MAP", "UNION")):
        return "json"
    return _KINDS.get(native, "text")
