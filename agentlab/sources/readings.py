"""Columns of text as what they spell: a type holds only if every value of the column spells one of it.

Numbers with leading zeros or signs, and whole numbers too long to be exact, are names of things and stay text. Days
that could be read in two ways (01/02/2024) stay text, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

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
#: Every way of reading a column, the narrowest first; what none of them reads is text.
_WAYS = ("bool", "int", "float", *_DAYS, "timestamp")
_FEW = 5


def kind_of(text: str) -> ColumnType:
    """What one value spells.

    >>> [kind_of(text) for text in ("12", "1.5", "007", "2024-01-31", "yes", "Rome")]
    ['int', 'float', 'text', 'date', 'bool', 'text']
    """
    return kind_of_all([text])


def kind_of_all(texts: Sequence[str]) -> ColumnType:
    """What a few values spell, all of them; text if there are none."""
    return _kind(_way([way for way in _WAYS if all(_spells(way, text) for text in texts)] if texts else []))


class Reading:
    """What a column of text may still be, after the values seen so far."""

    def __init__(self) -> None:
        self._open = list(_WAYS)
        self._seen = False

    def see(self, values: pa.Array) -> None:
        """Look at more values of the column."""
        present = values.drop_null()
        if not len(present):
            return
        if not self._seen:
            # What the first values don't spell needn't be tried on all the others.
            first = present[:_FEW].to_pylist()
            self._open = [way for way in self._open if all(_spells(way, text) for text in first)]
        self._seen = True
        self._open = [way for way in self._open if _holds(way, present)]

    @property
    def kind(self) -> ColumnType:
        """The narrowest type that holds every value seen; a column without values is text."""
        return _kind(self._way)

    def read(self, values: pa.Array) -> pa.Array:
        """Values of the column as that type."""
        return _READ[self._way](values) if self._way in _READ else _days(values, self._way)

    @property
    def _way(self) -> str:
        return _way(self._open if self._seen else [])


def _way(open_: Sequence[str]) -> str:
    if not open_ or any(one in open_ and other in open_ for one, other in _TWO_WAYS):
        return "text"
    return open_[0]


def _kind(way: str) -> ColumnType:
    return "date" if way in _DAYS else next((kind for kind in ARROW if kind == way), "text")


def _spells(way: str, text: str) -> bool:
    if not re.search(_PATTERNS.get(way, _DAY), text):
        return False
    try:
        if way == "timestamp":
            _moment(text)
        elif way in _DAYS:
            datetime.strptime(text, way)
    except ValueError:
        return False
    return way != "int" or -(2**63) <= int(text) < 2**63


def _holds(way: str, values: pa.Array) -> bool:
    distinct = values.unique() if way in _DAYS else values
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
