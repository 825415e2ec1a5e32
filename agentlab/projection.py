"""What an action means for a catalog's entry, without computing the table: lineage, projections, and what changed.

How rows are computed is in `compile.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from typing import Literal, NamedTuple, TypedDict

import ibis

from agentlab.actions import (
    Aggregate,
    Cast,
    ColumnType,
    Derive,
    DropColumns,
    Join,
    Pivot,
    Rename,
    Reorder,
    Schema,
    Select,
    Split,
    Transform,
    Union,
    Unpivot,
)
from agentlab.engine import explained
from agentlab.entries import TableDoc
from agentlab.expressions import parse
from agentlab.simulation import united

#: Where a column's values come from: a column of the action's table or of its other one.
Origin = tuple[Literal["this", "other"], str]

#: Output column to the columns that its values come from.
Lineage = dict[str, list[Origin]]

#: The columns of a table that is there already: new name, name in the files, cast to.
Projection = list[tuple[str, str, ColumnType | None]]

#: Casts that can't fail and mean the same wherever they are done; others are written, so that failures are counted.
_SAFE_CASTS: frozenset[tuple[ColumnType, ColumnType]] = frozenset(
    {("int", "float"), ("int", "text"), ("date", "timestamp"), ("json", "text")}
)


class Counts(TypedDict):
    """Rows before and after, and the values that an action made missing (a cast of what can't be read)."""

    rows_before: int
    rows_after: int
    made_missing: int


def projection(action: Transform, doc: TableDoc) -> Projection | None:
    """The result as a view of the files that `doc` has; None when rows or values change and data must be written."""
    columns = doc.projection or [(column, column, None) for column in doc.schema_]
    by_name = {column[0]: column for column in columns}
    match action:
        case Rename(column=old, to=new):
            return [(new if name == old else name, stored, cast) for name, stored, cast in columns]
        case DropColumns() | Select() | Reorder():
            return [by_name[name] for name in action.effect(doc.schema_)]
        case Cast(column=column, type=to) if by_name[column][2] is None and (doc.schema_[column], to) in _SAFE_CASTS:
            return [(name, stored, to if name == column else cast) for name, stored, cast in columns]
    return None


class Matches(NamedTuple):
    """How two tables' keys meet: rows without a match on either side, and the keys that several rows of the other have.

    Only keys that occur in both count as multiplying.
    """

    unmatched: int
    unmatched_other: int
    multiplying: int


@singledispatch
def lineage(
    action: Transform, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()
) -> Lineage:
    """Which columns each column of the result comes from. `result` names its columns where only the data tells (pivot).

    >>> lineage(Derive(table="t", column="total", expr="qty * price"), {"qty": "int", "price": "float"})["total"]
    [('this', 'qty'), ('this', 'price')]
    """
    return _of_this(schema)


def _of_this(columns: Iterable[str]) -> Lineage:
    return {column: [("this", column)] for column in columns}


@lineage.register
def _(action: Rename, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    return {action.to if c == action.column else c: [("this", c)] for c in schema}


@lineage.register(DropColumns)
@lineage.register(Select)
@lineage.register(Reorder)
def _(
    action: DropColumns | Select | Reorder,
    schema: Schema,
    other_schema: Schema | None = None,
    result: Iterable[str] = (),
) -> Lineage:
    return _of_this(action.effect(schema))


@lineage.register
def _(action: Derive, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    return {**_of_this(schema), action.column: [("this", c) for c in parse(action.expr, schema).columns]}


@lineage.register
def _(action: Split, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    return {**_of_this(schema), **{c: [("this", action.column)] for c in action.into_columns}}


@lineage.register
def _(action: Join, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    both: Lineage = {**_of_this(schema)}
    if action.how in ("right", "outer"):
        both |= {key: [("this", key), ("other", key)] for key in action.on}
    brought = joined(action, schema, other_schema or {})
    return both | {new: [("other", old)] for new, old in brought.items()}


@lineage.register
def _(action: Union, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    both: Lineage = {}
    for column, (one, two) in united(schema, other_schema or {}).items():
        origins: list[Origin] = [("this", one or ""), ("other", two or "")]
        both[column] = [(side, name) for side, name in origins if name]
    return both


@lineage.register
def _(action: Aggregate, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    figures: Lineage = {m.label: [("this", m.column)] if m.column else [] for m in action.measures}
    return {**_of_this(action.by), **figures}


@lineage.register
def _(action: Pivot, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    cells: Lineage = {c: [("this", action.columns), ("this", action.values)] for c in result}
    return {**cells, **_of_this(action.index)}


@lineage.register
def _(action: Unpivot, schema: Schema, other_schema: Schema | None = None, result: Iterable[str] = ()) -> Lineage:
    rest = _of_this(c for c in schema if c not in action.columns)
    return {**rest, action.name_to: [], action.value_to: [("this", c) for c in action.columns]}


def joined(action: Join, columns: Iterable[str], other: Iterable[str]) -> dict[str, str]:
    """The columns that a join brings, new name to the other table's; a name that is taken gets the table's as suffix.

    >>> joined(Join(table="orders", other="staging.customers", on=("id",)), ["id", "name"], ["id", "name", "city"])
    {'name_customers': 'name', 'city': 'city'}
    """
    taken = {column.lower() for column in columns}
    brought: dict[str, str] = {}
    for column in action.columns or other:
        if column in action.on:
            continue
        new = column
        while new.lower() in taken:
            new = f"{new}_{action.other.rpartition('.')[2]}"
        taken.add(new.lower())
        brought[new] = column
    return brought


def counts(action: Transform, before: ibis.Table, after: ibis.Table) -> Counts:
    """Compute the counts, by one query a table. What was computed already is counted from its files, so pass that."""
    column = action.column if isinstance(action, Cast) else None
    rows_before, missing_before = _count(before, column)
    rows_after, missing_after = _count(after, column)
    return Counts(rows_before=rows_before, rows_after=rows_after, made_missing=missing_after - missing_before)


def _count(table: ibis.Table, column: str | None) -> tuple[int, int]:
    missing = table[column].isnull().sum().fill_null(0) if column else ibis.literal(0)
    with explained():
        (row,) = table.aggregate(rows=table.count(), missing=missing).to_pyarrow().to_pylist()
    return int(row["rows"]), int(row["missing"])
