"""Postgres as a database that is only read, by ADBC: rows come in Arrow batches, as fast as they can be copied out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import pyarrow as pa
from sqlglot import exp

from agentlab.actions.base import ColumnType, Schema
from agentlab.errors import LabError
from agentlab.sources.arrow import fitted
from agentlab.sources.statements import Column, Relation, column

_INSTALL = "reading Postgres needs a driver: pip install 'agentlab[postgres]'"
_KINDS: dict[str, ColumnType] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), "int"),
    **dict.fromkeys(("float4", "float8", "numeric", "money"), "float"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    **{"bool": "bool", "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp"},
}
_SQL: dict[ColumnType, str] = {
    **{"int": "BIGINT", "float": "DOUBLE PRECISION", "text": "TEXT", "date": "DATE", "timestamp": "TIMESTAMP"},
    **{"bool": "BOOLEAN", "json": "TEXT"},
}
#: Of every column that may be read: where it is, its type (a domain's own), that type's modifier, its place in the key.
_COLUMNS = """
SELECT n.nspname::text, c.relname::text, a.attname::text, coalesce(b.typname, t.typname)::text,
       CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END::int, coalesce(b.typcategory, t.typcategory)::text,
       coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::int
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname, a.attnum
"""


class Postgres:
    """One connection, in which nothing can be written. LabError where there is none to be had."""

    dialect = "postgres"

    def __init__(self, url: str, password: str | None, timeout: int) -> None:
        try:
            from adbc_driver_manager import Error
            from adbc_driver_postgresql import dbapi
        except ImportError:
            raise LabError(_INSTALL) from None
        self._place, self._password, self._error = _without_user(url), password, Error
        try:
            self._con = dbapi.connect(_address(url, password, timeout))
        except Error as fault:
            raise self._fault(fault) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._con.close()

    def relations(self) -> list[Relation]:
        """Every table and view that may be read; those outside the schema `public` are called `schema.table`."""
        found: dict[tuple[str, str], list[tuple[Column, int]]] = {}
        for schema, table, name, native, modifier, category, at in self._rows(_COLUMNS):
            kind = _kind(native, modifier, category)
            found.setdefault((schema, table), []).append((Column(name, kind, _native(native, category)), at))
        return [_relation(path, columns) for path, columns in found.items()]

    def value(self, of: Column) -> exp.Expr:
        """The column cast to our type: arrays become JSON, bytes hexadecimal digits, endless moments missing."""
        value: exp.Expr = column(of.name)
        if of.native == "array":
            value = exp.Anonymous(this="to_jsonb", expressions=[value])
        elif of.native == "bytea":
            value = exp.Anonymous(this="encode", expressions=[value, exp.Literal.string("hex")])
        elif of.native == "money":
            value = exp.cast(value, "NUMERIC", dialect="postgres")
        elif of.native in ("date", "timestamp", "timestamptz"):
            value = exp.case().when(exp.Anonymous(this="isfinite", expressions=[value]), value.copy())
        if of.native == "timestamptz":
            value = exp.AtTimeZone(this=exp.paren(value), zone=exp.Literal.string("UTC"))
        return exp.cast(value, _SQL[of.kind], dialect="postgres")

    def moment(self, value: exp.Expr) -> exp.Expr:
        """The value itself."""
        return value

    def literal(self, moment: datetime) -> exp.Expr:
        """A timestamp."""
        return exp.cast(exp.Literal.string(moment.isoformat(" ")), "TIMESTAMP", dialect="postgres")

    def batches(self, sql: str, kinds: Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a SELECT, as they come."""
        try:
            with self._con.cursor() as cursor:
                cursor.execute(sql)
                yield from fitted(cursor.fetch_record_batch(), kinds)
        except (self._error, pa.ArrowException, OSError) as fault:
            raise self._fault(fault) from None

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            with self._con.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        except self._error as fault:
            raise self._fault(fault) from None

    def _fault(self, fault: Exception) -> LabError:
        said = " ".join(str(fault).split())
        for spelled in {self._password, quote(self._password, safe="")} if self._password else ():
            said = said.replace(spelled, "***")
        return LabError(f"the database at {self._place} can't be read: {said[:300]}")


def _relation(path: tuple[str, str], columns: list[tuple[Column, int]]) -> Relation:
    schema, table = path
    key = [column.name for column, at in sorted(columns, key=lambda pair: pair[1]) if at]
    name = table if schema == "public" else f"{schema}.{table}"
    return Relation(name, path, tuple(column for column, _ in columns), tuple(key))


def _kind(native: str, modifier: int, category: str) -> ColumnType:
    if category == "A":
        return "json"
    if native == "numeric" and modifier >= 4:
        # As `numeric(precision, scale)` is packed.
        precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
        return "int" if scale == 0 and precision <= 18 else "float"
    return _KINDS.get(native, "text")


def _native(native: str, category: str) -> str:
    return "array" if category == "A" else native


def _address(url: str, password: str | None, timeout: int) -> str:
    """The address to connect to, with the password, for reading only."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    known = f"{user}:{quote(password, safe='')}{at or '@'}{host}" if password else parts.netloc
    settings = {"connect_timeout": str(timeout), "application_name": "agentlab"}
    readonly = {"options": "-c default_transaction_read_only=on -c TimeZone=UTC"}
    query = "&".join([*([parts.query] if parts.query else []), urlencode({**settings, **readonly}, quote_via=quote)])
    return urlunsplit((parts.scheme, known, parts.path, query, ""))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"
