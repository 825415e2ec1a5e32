"""A column's cells as SQL: whether they hold something, and what they say as numbers, moments, text or a known form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import ibis.expr.datatypes as dt

from agentlab.actions.base import ColumnType, Scalar
from agentlab.engine import SQL_TYPES, type_of
from agentlab.errors import PlanError
from agentlab.measuring import literal, quote
from agentlab.semantics import DATE_FORMATS, PATTERNS, Pattern

_NUMBERS = ("int", "float")
_MOMENTS = ("date", "timestamp")


@dataclass(frozen=True)
class Cell:
    """Any cell of one column. Every property is SQL; what a cell can't be read as is NULL.

    >>> print(Cell("qty", "text").number)
    TRY_CAST("qty" AS DOUBLE)
    """

    name: str
    type: ColumnType

    @property
    def sql(self) -> str:
        """The cell as it is."""
        return quote(self.name)

    @property
    def empty(self) -> str:
        """Whether it holds nothing: NULL, blank, not-a-number.

        A condition of a count is computed for every row, whatever stands beside it; only CASE spares the cells that
        don't begin like blank ones from being trimmed.
        """
        if self.type == "float":
            return f"({self.sql} IS NULL OR isnan({self.sql}))"
        if self.type != "text":
            return f"{self.sql} IS NULL"
        return f"(CASE WHEN {self.text} < '!' THEN TRIM({self.text}) = '' ELSE {self.sql} IS NULL END)"

    @property
    def filled(self) -> str:
        """Whether it holds something."""
        return f"{self.sql} IS NOT NULL" if self.type not in ("text", "float") else f"NOT {self.empty}"

    @property
    def text(self) -> str:
        """The cell as text."""
        return f"CAST({self.sql} AS VARCHAR)"

    @property
    def number(self) -> str:
        """The cell as a number."""
        if self.type in _NUMBERS:
            return self.sql
        return f"CAST({self.sql} AS DOUBLE)" if self.type == "bool" else f"TRY_CAST({self.sql} AS DOUBLE)"

    @property
    def moment(self) -> str:
        """The cell as a date or a moment."""
        return self.sql if self.type in _MOMENTS else f"TRY_CAST({self.text} AS TIMESTAMP)"

    @property
    def comparable(self) -> str:
        """The cell as what a given value is compared with."""
        return self.sql if self.type in ("int", "float", "bool") else self.text

    def outside(self, values: Iterable[Scalar]) -> str:
        """Whether it is none of these values; of text, a list is searched once for each word of a column's dictionary.

        >>> print(Cell("state", "text").outside(["a", "b"]), Cell("qty", "int").outside(["3"]))
        NOT list_contains(['a', 'b'], CAST("state" AS VARCHAR)) "qty" NOT IN (3.0)
        """
        allowed = ", ".join(literal(given(self, value)) for value in values)
        plain = self.comparable == self.sql
        return f"{self.sql} NOT IN ({allowed})" if plain else f"NOT list_contains([{allowed}], {self.text})"

    def has_form(self, pattern: str) -> str | None:
        """Whether the cell is an email, url, uuid, phone or date; None for another pattern's name."""
        if pattern == "date":
            formats = ", ".join(map(literal, DATE_FORMATS))
            written = f"TRY_STRPTIME({self.text}, [{formats}]) IS NOT NULL"
            return f"TRY_CAST({self.text} AS TIMESTAMP) IS NOT NULL OR {written}"
        regex = PATTERNS.get(cast(Pattern, pattern))
        return f"regexp_matches({self.text}, {literal(regex)})" if regex else None

    def reads_as(self, type: ColumnType | None) -> str:
        """Whether the cell is of a type, or text that reads as it without loss: 1.5 is no int, 10:30 is no date."""
        if type == self.type or type in (None, "text"):
            return "TRUE"
        number = f"TRY_CAST({self.text} AS DOUBLE)"
        match type:
            case "int":
                return f"isfinite({number}) AND {number} = TRUNC({number})"
            case "date":
                moment = f"TRY_CAST({self.text} AS TIMESTAMP)"
                return f"COALESCE({moment} = DATE_TRUNC('day', {moment}), FALSE)"
            case "json":
                return f"json_valid({self.text})"
        return f"TRY_CAST({self.text} AS {SQL_TYPES[type]}) IS NOT NULL"


def cell_of(name: str, dtype: dt.DataType) -> Cell:
    """The cells of a column of this type."""
    return Cell(name, type_of(dtype))


def given(cell: Cell, value: Scalar) -> Any:
    """A given value as what the column's cells are compared with; PlanError where it can't be one of them.

    >>> given(Cell("qty", "int"), "3"), given(Cell("code", "text"), 3)
    (3.0, '3')
    """
    if cell.type == "bool":
        known = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
        if str(value).lower() in known:
            return known[str(value).lower()]
        raise PlanError(f"column {cell.name!r} is bool, and {value!r} is neither true nor false")
    if cell.type not in _NUMBERS:
        return str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return value if isinstance(value, int | float) else float(value)
    except ValueError:
        raise PlanError(f"column {cell.name!r} is {cell.type}, and {value!r} isn't a number") from None
