"""Columns of text as what they spell: a type holds only if every value of the column spells one of it.

Numbers with leading zeros or signs, and whole numbers too long to be exact, are names of things and stay text. Days
that could be read in two ways (01/02/2024) stay text, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions.base import ColumnType
from agentlab.sources.columns import ARROW

_WHOLE = r"^\s*-?(0|[1-9]\d{0,18})\s*$"
_NUMBER = r"^\s*-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*$"
_TRUE, _FALSE = ("true", "yes"), ("false", "no")
_WORD = r"(?i)^\s*(true|false|yes|no)\s*$"
_ISO = r"^\d{4}-\d\d-\d\d$"
_MOMENT = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?( ?(Z|[+-]\d\d(:?\d\d)?))?)?$"
#: How days are spelled; the first of two that both hold is right only where it is alone in its writing.
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
_TWO_WAYS = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"))
_DAY = r"^(\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4})$"


def kind_of(text: str) -> ColumnType:
    """What one value spells.

    >>> [kind_of(text) for text in ("12", "1.5", "007", "2024-01-31", "yes", "Rome")]
    ['int', 'float', 'text', 'date', 'bool', 'text']
    """
    reading = Reading()
    reading.see(pa.array([text]))
    return reading.kind


class Reading:
    """What a column of text may still be, after the values seen so far."""

    def __init__(self) -> None:
        self._open: list[str] = ["bool", "int", "float", *_DAYS, "timestamp"]
        self._seen = False

    def see(self, values: pa.Array) -> None:
        """Look at more values of the column."""
        present = values.drop_null()
        if not len(present):
            return
        self._seen = True
        if self._open:
            distinct = present.unique()
            self._open = [way for way in self._open if _holds(way, distinct)]

    @property
    def kind(self) -> ColumnType:
        """The narrowest type that holds every value seen; a column without values is text."""
        way = self._way
        return "date" if way in _DAYS else next((kind for kind in ARROW if kind == way), "text")

    def read(self, values: pa.Array) -> pa.Array:
        """Values of the column as that type."""
        return _READ[self._way](values) if self._way in _READ else _days(values, self._way)

    @property
    def _way(self) -> str:
        if not self._open or not self._seen:
            return "text"
        if any(one in self._open and other in self._open for one, other in _TWO_WAYS):
            return "text"
        return self._open[0]


def _holds(way: str, distinct: pa.Array) -> bool:
    if not pc.all(pc.match_substring_regex(distinct, _PATTERNS.get(way, _DAY))).as_py():
        return False
    try:
        _READ[way](distinct) if way in _READ else _days(distinct, way)
    except (pa.ArrowInvalid, ValueError, OverflowError):
        return False
    return True


def _text(values: pa.Array) -> pa.Array:
    return values.cast(pa.string())


def _int(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(values).cast(pa.int64())


def _float(values: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(values).cast(pa.float64())


def _bool(values: pa.Array) -> pa.Array:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    return pc.if_else(pc.is_valid(words), pc.is_in(words, pa.array(_TRUE)), pa.scalar(None, pa.bool_()))


def _days(values: pa.Array, spelled: str) -> pa.Array:
    """Days repeat: each is read once."""
    coded = values.dictionary_encode()
    days = [datetime.strptime(text, spelled).date() for text in coded.dictionary.to_pylist()]
    return pa.array(days, pa.date32()).take(coded.indices)


def _moments(values: pa.Array) -> pa.Array:
    """UTC without a zone; a moment without an offset is taken as UTC, a day as its midnight."""
    for type in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return values.cast(type).cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            continue
    return pa.array([None if v is None else _moment(v) for v in values.to_pylist()], pa.timestamp("us"))


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(re.sub(r" (?=Z|[+-])", "", text))
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


_PATTERNS = {"int": _WHOLE, "float": _NUMBER, "bool": _WORD, "timestamp": _MOMENT, "%Y-%m-%d": _ISO}
_READ: dict[str, Callable[[pa.Array], pa.Array]] = {
    **{"int": _int, "float": _float, "bool": _bool, "timestamp": _moments, "text": _text}
}
