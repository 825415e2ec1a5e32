"""Values from one column type to another, in forms that DuckDB and Spark compute alike.

A value that can't be read as the type becomes missing. Each engine's own casts differ at the edges (`1_000`, `2.5`
to an int, a time with an offset, `on` as a bool), so text is first held against a pattern that both read the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import ibis
import ibis.expr.types as ir

from agentlab.actions import ColumnType
from agentlab.actions.base import Scalar
from agentlab.engine import DTYPES, type_of
from agentlab.errors import PlanError

_WHOLE = r"^\s*[+-]?[0-9]+\s*$"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_DAY = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_MOMENT = (
    rf"^\s*{_DAY}([ T][0-9]{{1,2}}:[0-9]{{2}}(:[0-9]{{2}}(\.[0-9]+)?)?( ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?))?)?\s*$"
)
_TRUE = ("true", "t", "yes", "y", "1")
_FALSE = ("false", "f", "no", "n", "0")

#: The largest float below which every rounded float is an int of 64 bits.
_INT_LIMIT = 9.2e18

#: What text, and each type that is like it, can become.
_NUMERIC: tuple[ColumnType, ...] = ("int", "float", "bool")
_MOMENTS: tuple[ColumnType, ...] = ("date", "timestamp")


def convert(value: ir.Value, to: ColumnType) -> ir.Value:
    """The value as another type; missing where it can't be. Floats round half away from zero, times are read as UTC.

    PlanError for types that have nothing in common, like a date and a bool.
    """
    kind = type_of(value.type())
    if kind == to:
        return value
    if to == "text":
        return value.cast(DTYPES["text"])
    if kind in ("text", "json"):
        return _FROM_TEXT[to](value.cast(DTYPES["text"]))
    if {kind, to} <= set(_NUMERIC):
        return _number(value, kind, to)
    if {kind, to} <= set(_MOMENTS):
        return value.cast(DTYPES[to])
    raise PlanError(f"a {kind} can't become a {to}; cast it to text, or derive a column from it")


def literal(value: Scalar, kind: ColumnType, column: str) -> ir.Scalar:
    """A value from a plan as the type of the column that it goes into; PlanError if it isn't one."""
    try:
        return ibis.literal(_LITERALS[kind](value), type=DTYPES[kind])
    except (ValueError, TypeError) as fault:
        raise PlanError(f"column {column!r} holds {kind}, and {value!r} isn't; give one, or cast the column") from fault


def common(one: ColumnType, other: ColumnType) -> ColumnType:
    """The narrowest type that holds both without loss.

    >>> common("int", "float"), common("date", "timestamp"), common("int", "date")
    ('float', 'timestamp', 'text')
    """
    if one == other:
        return one
    if {one, other} == {"int", "float"}:
        return "float"
    return "timestamp" if {one, other} == set(_MOMENTS) else "text"


def _number(value: ir.Value, kind: ColumnType, to: ColumnType) -> ir.Value:
    if to == "bool":
        return value != 0
    return _rounded(value) if (kind, to) == ("float", "int") else value.cast(DTYPES[to])


def _rounded(value: ir.Value) -> ir.Value:
    return ibis.ifelse(value.abs() < _INT_LIMIT, value, ibis.null("float64")).round(0)


def _text_to_float(text: ir.Value) -> ir.Value:
    return _where(text.re_search(_NUMBER), text.strip().try_cast("float64"))


def _text_to_int(text: ir.Value) -> ir.Value:
    """Whole numbers directly, since a float holds only 15 digits of them; others rounded.

    Text that is written as the number itself would be needs no pattern, which costs more than all else.
    """
    plain, whole = text.try_cast("int64"), text.strip().try_cast("int64")
    read = ibis.ifelse(text.re_search(_WHOLE), whole, _rounded(_text_to_float(text)))
    return ibis.ifelse(plain.cast("string") == text, plain, read)


def _text_to_bool(text: ir.Value) -> ir.Value:
    word = text.strip().lower()
    return ibis.cases((word.isin(_TRUE), True), (word.isin(_FALSE), False), else_=ibis.null("boolean"))


def _text_to_timestamp(text: ir.Value) -> ir.Value:
    zoned = text.strip().try_cast(ibis.dtype("timestamp('UTC')"))
    return _where(text.re_search(_MOMENT), zoned.cast("timestamp"))


def _text_to_date(text: ir.Value) -> ir.Value:
    return _text_to_timestamp(text).cast("date")


def _where(condition: ir.Value, value: ir.Value) -> ir.Value:
    return ibis.ifelse(condition, value, ibis.null(value.type()))


_FROM_TEXT: dict[ColumnType, Callable[[ir.Value], ir.Value]] = {
    "int": _text_to_int,
    "float": _text_to_float,
    "bool": _text_to_bool,
    "date": _text_to_date,
    "timestamp": _text_to_timestamp,
    "json": lambda text: text.try_cast("json"),
}


def _int(value: Scalar) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _float(value: Scalar) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _bool(value: Scalar) -> bool:
    word = str(value).lower()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(value)
    return word in _TRUE


def _moment(value: Scalar) -> datetime:
    found = datetime.fromisoformat(str(value))
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_LITERALS: dict[ColumnType, Callable[[Scalar], object]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "text": _text,
    "json": _text,
    "date": lambda value: date.fromisoformat(str(value)),
    "timestamp": _moment,
}
