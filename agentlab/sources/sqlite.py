"""SQLite files as databases: opened for reading only, each column's type told by all of its values.

SQLite lets any value stand in any column, so what a column is declared as is a hint at most.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlglot import exp

from agentlab.actions.base import ColumnType, Schema
from agentlab.errors import LabError
from agentlab.sources.arrow import schema_for
from agentlab.sources.columns import ARROW
from agentlab.sources.statements import BATCH, Column, Relation, column, select

_DAY = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]"
_FLOATS = ("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL")


_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"


class SQLite:
    """One open file. LabError where there is none, or it is no database."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self._name = path.name
        if not path.is_file():
            raise LabError(f"there is no database file {path}; mend the source's path")
        self._con = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)

    def close(self) -> None:
        """Let go of the file."""
        self._con.close()

    def relations(self) -> list[Relation]:
        """Every table and view, columns typed by their values."""
        return [self._relation(name) for (name,) in self._rows(_TABLES)]

    def value(self, of: Column) -> exp.Expr:
        """The column as text or number; moments are read here."""
        casts: dict[ColumnType, str] = {"int": "INTEGER", "bool": "INTEGER", "float": "REAL"}
        if of.native == "blob":
            digits = exp.Anonymous(this="LOWER", expressions=[exp.func("HEX", column(of.name))])
            return exp.case().when(column(of.name).is_(exp.null()).not_(), digits)
        return exp.cast(column(of.name), casts.get(of.kind, "TEXT"), dialect="sqlite")

    def moment(self, value: exp.Expr) -> exp.Expr:
        """What moments are compared by: text of one form, to the millisecond, in UTC."""
        return exp.Anonymous(this="STRFTIME", expressions=[exp.Literal.string("%Y-%m-%d %H:%M:%f"), value])

    def literal(self, moment: datetime) -> exp.Expr:
        """A moment to compare with."""
        return exp.Literal.string(moment.isoformat(" ", "milliseconds"))

    def batches(self, sql: str, kinds: Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a SELECT."""
        schema = schema_for(kinds)
        cursor = self._execute(sql)
        while rows := self._some(cursor):
            columns = zip(zip(*rows, strict=True), kinds.values(), strict=True)
            yield pa.record_batch([_array(values, kind) for values, kind in columns], schema)

    def _relation(self, name: str) -> Relation:
        declared = list(self._rows("SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden <> 1", name))
        key = [n for n, _, at in sorted(declared, key=lambda row: row[2]) if at]
        return Relation(name, (name,), tuple(self._columns(name, declared)), tuple(key))

    def _columns(self, table: str, declared: Sequence[tuple[str, str, int]]) -> Iterator[Column]:
        """One pass over the table counts what kinds of values each column has."""
        for start in range(0, len(declared), 200):
            part = declared[start : start + 200]
            asked = [measure for name, _, _ in part for measure in _measures(column(name))]
            ((*found,),) = self._rows(select(asked, (table,)).sql("sqlite"))
            for place, (name, type, _) in enumerate(part):
                counts = found[place * len(_COUNTS) : (place + 1) * len(_COUNTS)]
                yield _column(name, type.upper(), dict(zip(_COUNTS, (n or 0 for n in counts), strict=True)))

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        try:
            return self._con.execute(sql, values).fetchall()
        except sqlite3.Error as fault:
            raise self._fault(fault) from None

    def _execute(self, sql: str) -> sqlite3.Cursor:
        try:
            return self._con.execute(sql)
        except sqlite3.Error as fault:
            raise self._fault(fault) from None

    def _some(self, cursor: sqlite3.Cursor) -> list[Any]:
        try:
            return cursor.fetchmany(BATCH)
        except sqlite3.Error as fault:
            raise self._fault(fault) from None

    def _fault(self, fault: sqlite3.Error) -> LabError:
        return LabError(f"the SQLite file {self._name} can't be read: {fault}")


#: What is counted of a column's values.
_COUNTS = ("values", "ints", "reals", "blobs", "texts", "days", "moments", "others")


def _measures(value: exp.Expr) -> list[exp.Expr]:
    """Counts of the values of each kind; `others` are whole numbers that are neither 0 nor 1."""
    kind = exp.func("TYPEOF", value)
    text = kind.eq("text")
    first = exp.Anonymous(this="SUBSTR", expressions=[value, exp.Literal.number(1), exp.Literal.number(10)])
    day = exp.and_(text, _like(value, _DAY), _is_day(value))
    known = exp.Anonymous(this="DATETIME", expressions=[value]).is_(exp.null()).not_()
    moment = exp.and_(text, _like(value, f"{_DAY}[T ]*"), _is_day(first), known)
    small = exp.In(this=value, expressions=[exp.Literal.number(0), exp.Literal.number(1)])
    tests = [kind.eq("integer"), kind.eq("real"), kind.eq("blob"), text, day, moment]
    tests.append(exp.and_(kind.eq("integer"), exp.not_(small)))
    return [exp.Count(this=value), *(exp.func("TOTAL", exp.paren(test)) for test in tests)]


def _is_day(value: exp.Expr) -> exp.Expr:
    """Whether the calendar has a day: SQLite takes the 30th of February for one until it has to count."""
    return exp.Anonymous(this="DATE", expressions=[value, exp.Literal.string("+0 days")]).eq(value)


def _like(value: exp.Expr, pattern: str) -> exp.Expr:
    return exp.Glob(this=value, expression=exp.Literal.string(pattern))


def _column(name: str, declared: str, found: dict[str, float]) -> Column:
    if not found["values"]:
        return Column(name, _declared(declared), "")
    if found["blobs"]:
        return Column(name, "text", "blob" if found["blobs"] == found["values"] else "")
    return Column(name, _kind(declared, found), "")


def _kind(declared: str, found: dict[str, float]) -> ColumnType:
    values = found["values"]
    if found["days"] == values:
        return "date"
    if found["days"] + found["moments"] == values:
        return "timestamp"
    if found["texts"]:
        return "json" if "JSON" in declared and found["texts"] == values else "text"
    if "BOOL" in declared and found["ints"] == values and not found["others"]:
        return "bool"
    return "float" if found["reals"] or any(word in declared for word in _FLOATS) else "int"


def _declared(declared: str) -> ColumnType:
    """The type of a column without values, by SQLite's rules of affinity."""
    words: tuple[tuple[str, ColumnType], ...] = (
        *(("INT", "int"), ("BOOL", "bool"), ("JSON", "json"), ("TIME", "timestamp"), ("DATE", "date")),
        *((word, "float") for word in _FLOATS),
    )
    return next((kind for word, kind in words if word in declared), "text")


def _array(values: Sequence[Any], kind: ColumnType) -> pa.Array:
    if kind == "date":
        return pa.array([None if v is None else date.fromisoformat(v) for v in values], ARROW[kind])
    if kind == "timestamp":
        return pa.array([None if v is None else _moment(v) for v in values], ARROW[kind])
    if kind == "bool":
        return pa.array([None if v is None else bool(v) for v in values], ARROW[kind])
    return pa.array(values, ARROW[kind])


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
