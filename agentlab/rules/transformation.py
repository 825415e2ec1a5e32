"""Rules of the transformation agent: columns, types and values fit."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import (
    Action,
    Aggregate,
    Cast,
    ColumnType,
    DropColumns,
    Fill,
    Join,
    NormalizeText,
    Pivot,
    Replace,
    Split,
    Union,
)
from agentlab.actions.base import Scalar
from agentlab.inference import readable
from agentlab.rules.base import Rule, missing
from agentlab.simulation import Sight, World


def columns_exist_in_other(action: Action, world: World) -> Iterator[str]:
    """A join's keys, and the columns that it brings, are those of the other table."""
    if isinstance(action, Join) and (other := world.tables.get(action.other)) is not None:
        yield from missing((*action.on, *action.columns), other, f"in {action.other}")


def two_tables(action: Action, world: World) -> Iterator[str]:
    """A table's rows aren't put below or beside themselves.

    >>> list(two_tables(Union(table="staging.orders", other="staging.orders"), None))
    ['this would double every row of staging.orders; which other table?']
    >>> list(two_tables(Join(table="staging.orders", other="staging.orders", on=("id",)), None))
    ['staging.orders would be joined with itself; which other table?']
    """
    if isinstance(action, Union) and action.other == action.table:
        yield f"this would double every row of {action.table}; which other table?"
    if isinstance(action, Join) and action.other == action.table:
        yield f"{action.table} would be joined with itself; which other table?"


def columns_left(action: Action, world: World) -> Iterator[str]:
    """A table keeps a column at least."""
    sight = world.read(action)
    if isinstance(action, DropColumns) and sight and not sight.open and set(sight.schema) <= set(action.columns):
        yield f"that would drop every column of {action.table}; keep at least one"


def types_fit(action: Action, world: World) -> Iterator[str]:
    """Functions get the types that they can work on: sums get numbers, letter case gets text."""
    if (sight := world.read(action)) is None:
        return
    for column, allowed, what in _demands(action):
        found = sight.schema.get(column)
        if found is not None and found not in allowed:
            yield f"{what} needs {' or '.join(allowed)}; column {column!r} is {found}: cast it first"


_NUMBERS: tuple[ColumnType, ...] = ("int", "float")
_NUMERIC = ("sum", "avg", "median", "stddev")


def _demands(action: Action) -> Iterator[tuple[str, tuple[ColumnType, ...], str]]:
    match action:
        case Aggregate(measures=measures):
            yield from ((m.column, _NUMBERS, m.function) for m in measures if m.column and m.function in _NUMERIC)
        case Pivot(values=values, function=function) if function in _NUMERIC:
            yield values, _NUMBERS, function
        case Fill(column=column, method="mean" | "median"):
            yield column, _NUMBERS, f"fill by {action.method}"
        case NormalizeText(column=column) | Split(column=column):
            yield column, ("text",), action.tool()


def cast_types_fit(action: Action, world: World) -> Iterator[str]:
    """A column can become the type that it is cast to."""
    sight = world.read(action)
    found = sight.schema.get(action.column) if isinstance(action, Cast) and sight else None
    if isinstance(action, Cast) and found and not _convertible(found, action.type):
        yield f"a {found} can't become a {action.type}; cast {action.column!r} to text, or derive a column from it"


def join_types_fit(action: Action, world: World) -> Iterator[str]:
    """The keys of a join can be compared."""
    if not isinstance(action, Join):
        return
    this, other = world.tables.get(action.table, Sight({})), world.tables.get(action.other, Sight({}))
    for key in action.on:
        one, two = this.schema.get(key), other.schema.get(key)
        if one and two and not _convertible(two, one):
            yield f"{key!r} is {one} in {action.table} and {two} in {action.other}; cast one of them first"


def _convertible(found: ColumnType, to: ColumnType) -> bool:
    groups: tuple[set[ColumnType], ...] = ({"int", "float", "bool"}, {"date", "timestamp"})
    return found == to or to == "text" or found in ("text", "json") or any({found, to} <= group for group in groups)


def values_fit(action: Action, world: World) -> Iterator[str]:
    """A value is of the type of the column that it goes into."""
    sight = world.read(action)
    if sight is None or not isinstance(action, Fill | Replace) or (kind := sight.schema.get(action.column)) is None:
        return
    values = (action.old, action.new) if isinstance(action, Replace) else (action.value,)
    for value in values:
        if value is not None and not _is(value, kind):
            yield f"column {action.column!r} is {kind}, and {value!r} isn't; give one, or cast the column first"


def _is(value: Scalar, kind: ColumnType) -> bool:
    if isinstance(value, bool):
        return kind in ("bool", "text", "json")
    if kind == "int" and isinstance(value, float):
        return value.is_integer()
    return kind in ("text", "json") or readable(str(value), kind)


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("mend", columns_exist_in_other),
    Rule("mend", two_tables),
    Rule("mend", columns_left),
    Rule("mend", types_fit),
    Rule("mend", cast_types_fit),
    Rule("mend", join_types_fit),
    Rule("mend", values_fit),
)
