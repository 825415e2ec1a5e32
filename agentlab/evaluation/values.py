"""Whether a value that was found is the one that was expected: numbers nearly, moments by what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

#: Numbers that differ by less, relative to the greater, are the same.
TOLERANCE = 1e-6


def same(found: Any, expected: Any) -> bool:
    """Whether a value out of DuckDB is what a case's JSON says.

    >>> same(Decimal("2.50"), 2.5), same(date(2024, 5, 1), "2024-05-01"), same(True, 1)
    (True, True, False)
    """
    if isinstance(found, list | tuple) and isinstance(expected, list):
        return same_list(found, expected)
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in found)
    if _is_number(found) and _is_number(expected):
        return math.isclose(float(found), float(expected), rel_tol=TOLERANCE, abs_tol=1e-12)
    if isinstance(found, date | datetime) and isinstance(expected, str):
        return _same_moment(found, expected)
    if isinstance(found, time | timedelta | UUID | Decimal):
        return str(found) == str(expected)
    return type(found) is type(expected) and found == expected


def same_list(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether two lists hold the same values in the same order."""
    return len(found) == len(expected) and all(same(*pair) for pair in zip(found, expected, strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _same_moment(found: date | datetime, expected: str) -> bool:
    try:
        said = datetime.fromisoformat(expected)
    except ValueError:
        return False
    moment = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day)
    # A moment without a zone means UTC.
    return moment.replace(tzinfo=None) == said.replace(tzinfo=None)
