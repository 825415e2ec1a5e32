"""Which type holds all values of a column, page by page, and a page's values in that type.

A page's column is an Arrow array, where Arrow's own JSON reader could take it without a loss, or a list of JSON values.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions.base import ColumnType
from agentlab.sources.columns import ARROW, read_as, spelled, typed

Values: TypeAlias = pa.Array | list[Any]

#: A type, or integers of which not all are exact as floats.
PageKind = ColumnType | Literal["bigint"]

#: What a column of a type may hold.
FITS: Mapping[ColumnType, Set[PageKind]] = {
    "int": {"int", "bigint"},
    "float": {"int", "float"},
    "text": {"text", "date", "timestamp"},
    "date": {"date"},
    "timestamp": {"date", "timestamp"},
    "bool": {"bool"},
    "json": {"json"},
}

#: Beyond it not every whole number is a float.
EXACT = 2**53
_DATE = r"^\d{4}-\d\d-\d\d$"
_TIMESTAMP = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$"
_ZONED = r":\d\d([.,]\d{1,9})?(Z|[+-]\d\d:?\d\d)$"


def kind_of(values: Values) -> PageKind | None:
    """The narrowest type of a page's column; None where it has no value.

    >>> kind_of(pa.array(["2026-01-31", "2026-01-31T08:00:00Z"])), kind_of([1, "x"]), kind_of([None])
    ('timestamp', 'text', None)
    """
    if isinstance(values, list):
        present = [value for value in values if value is not None]
        kind, array = typed(present)
        return (_whole(array) if kind == "int" else kind) if present else None
    if values.null_count == len(values):
        return None
    if pa.types.is_boolean(values.type):
        return "bool"
    if pa.types.is_integer(values.type):
        return _whole(values)
    return "float" if pa.types.is_floating(values.type) else _kind_of_text(values)


def settled(kinds: Set[PageKind], declared: ColumnType | None) -> ColumnType:
    """The type of a column whose pages have these, the declared one if it holds them all.

    >>> settled({"int", "float"}, None), settled({"int", "text"}, "int"), settled({"int"}, "float")
    ('float', 'text', 'float')
    """
    for kind in (declared, "int", "float", "bool", "date", "timestamp", "json"):
        if kind is not None and kinds <= FITS[kind] and (kinds or declared):
            return kind
    return "text"


def in_kind(values: Values, kind: ColumnType) -> pa.Array | None:
    """A page's values in the settled type; None where only their spelling in the page itself would tell."""
    if isinstance(values, list):
        if kind == "text":
            return pa.array([None if v is None else spelled(v) for v in values], pa.string())
        return read_as(values, kind)
    if values.null_count == len(values):
        return pa.nulls(len(values), ARROW[kind])
    if kind in ("date", "timestamp"):
        return _moments(values, kind)
    if kind == "text" and not pa.types.is_string(values.type):
        return None
    return values.cast(ARROW[kind])


def _whole(values: pa.Array) -> PageKind:
    ends = pc.min_max(values).as_py()
    return "int" if max(-ends["min"], ends["max"]) <= EXACT else "bigint"


def _kind_of_text(values: pa.Array) -> PageKind:
    """Most columns of text are told by their first value; the others are read to know."""
    present = values.drop_null()
    if not pc.match_substring_regex(present.slice(0, 1), _TIMESTAMP)[0].as_py():
        return "text"
    for kind, pattern in (("date", _DATE), ("timestamp", _TIMESTAMP)):
        if pc.all(pc.match_substring_regex(present, pattern)).as_py():
            return _readable(present, "date" if kind == "date" else "timestamp")
    return "text"


def _readable(present: pa.Array, kind: Literal["date", "timestamp"]) -> PageKind:
    try:
        _moments(present, kind)
    except (ValueError, OverflowError):
        return "text"
    return kind


def _moments(values: pa.Array, kind: ColumnType) -> pa.Array:
    """Texts as days or moments in UTC: by Arrow where all have a zone or none has, else one by one."""
    # The year 0 is one to Arrow, but not to Python.
    plain = not pc.any(pc.starts_with(values, "0000")).as_py()
    try:
        if plain:
            return values.cast(pa.date32()) if kind == "date" else _timestamps(values)
    except pa.ArrowInvalid:
        pass
    return read_as(values.to_pylist(), kind)


def _timestamps(values: pa.Array) -> pa.Array:
    zoned = pc.all(pc.match_substring_regex(values, _ZONED)).as_py()
    if not zoned:
        return values.cast(pa.timestamp("us"))
    return values.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
