"""What a table's columns hold: counts, ranges, quantiles and what a text column really reads as.

Three queries over the table, whatever its width. This module describes; what is a fault is `quality`'s to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, Protocol

import ibis
import ibis.expr.datatypes as dt
from pydantic import BaseModel, ConfigDict

from agentlab.actions.base import ColumnType
from agentlab.engine import type_of

Pattern = Literal["email", "url", "uuid", "phone"]

#: How a cell of a known form must look, as DuckDB (RE2) and Python both read it.
PATTERNS: dict[Pattern, str] = {
    "email": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "url": r"^https?://\S+$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "phone": r"^\+?[0-9][0-9 ()./-]{5,}$",
}

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Up to so many rows, and where a column has few values or hardly repeats one, distinct values are counted exactly.
EXACT_ROWS = 100_000
FEW = 1_000
BINS = 20
TOP = 10

_QUANTITIES = re.compile(
    r"quantit(y|ies)|qty|prices?|amounts?|costs?|units|count|stock|age|weight|height|width|length|size|distance|duration"
    r"|total|revenue|salary|hours|minutes|seconds|pieces|items|visits|clicks|fees?"
)
_SIGNED = re.compile(r"change|delta|diff(erence)?|balance|net|profit|margin|growth|adjustment|refund|offset")
#: Digits that are no number: nothing is lost by calling them text, and a leading zero is by casting them.
_CODES = re.compile(r"[gu]uid|(zip|post)?code|zip|phone|mobile|fax|number|n[or]|sku|ean|isbn|iban")
_KEYS = re.compile(r"ids?|key")


class Connected(Protocol):
    """Anything with an ibis backend to run on: the engine."""

    @property
    def con(self) -> Any:
        """The ibis backend that the table lives on."""


class Histogram(BaseModel):
    """Equal bins between `edges`; the outer two also count what lies beyond, so that no giant hides the rest."""

    model_config = ConfigDict(frozen=True)

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class ColumnProfile(BaseModel):
    """One column. `distinct` is exact up to 100,000 rows; beyond, if values are few or hardly repeat, else estimated.

    For a text column that mostly reads as numbers, the figures are those of the numbers. `top` are the most frequent
    values as text, at most 10, where values are few.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    type: ColumnType
    missing: int
    distinct: int
    min: float | int | str | None = None
    max: float | int | str | None = None
    mean: float | None = None
    quantiles: dict[float, float] = {}
    histogram: Histogram | None = None
    top: list[tuple[str, int]] = []
    #: What a text column mostly reads as: int, float, date or timestamp. None: it is what it is.
    reads_as: ColumnType | None = None
    #: The form that most of a text column's cells have.
    pattern: Pattern | None = None
    #: Cells with space around their text; cells of nothing but space (missing, too); cells that are not-a-number.
    padded: int = 0
    blank: int = 0
    nans: int = 0
    #: A native column whose SQL type needs a cast before it compares as a double does.
    narrow: bool = False

    @property
    def sql(self) -> str:
        """The column's name as SQL."""
        return quote(self.name)

    @property
    def number(self) -> str | None:
        """SQL that reads a cell as a number, NULL where it isn't one; None for a column that doesn't hold numbers.

        It says the same before and after the column is cast.
        """
        if (self.reads_as or self.type) not in ("int", "float"):
            return None
        cell = number_sql(self.sql, self.type, self.narrow)
        return f"NULLIF({cell}, CAST('nan' AS DOUBLE))" if self.nans else cell

    @property
    def identifies(self) -> bool:
        """Whether the name says that the values name things (`customer_id`, `zip`), so their size means nothing."""
        return is_code(self.name) or any(map(_KEYS.fullmatch, words(self.name)[-1:]))


def quote(name: str) -> str:
    """A name as a SQL identifier.

    >>> print(quote('say "hi"'))
    "say ""hi\"""
    """
    return '"' + name.replace('"', '""') + '"'


def words(name: str) -> list[str]:
    """A column name's words in lower case, cut at underscores, spaces and capitals.

    >>> words("customerId"), words("order_no")
    (['customer', 'id'], ['order', 'no'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[\W_]+", spaced.lower()) if word]


def is_quantity(name: str) -> bool:
    """Whether a name speaks of an amount that can't be negative.

    >>> is_quantity("unit_price"), is_quantity("price_change")
    (True, False)
    """
    found = words(name)
    return any(map(_QUANTITIES.fullmatch, found)) and not any(map(_SIGNED.fullmatch, found))


def is_code(name: str) -> bool:
    """Whether a name speaks of codes: written in digits, perhaps, but not counted with.

    >>> is_code("zip_code"), is_code("number_of_items"), is_code("customer_id")
    (True, False, False)
    """
    return any(map(_CODES.fullmatch, words(name)[-1:]))


def mostly(part: int, whole: int, expected: bool = False) -> bool:
    """Whether a part is the rule and the rest the exception: 90%, or half where the column's name says so too.

    In small tables up to three exceptions are still exceptions, if they are at most a third.

    >>> mostly(95, 100), mostly(80, 100), mostly(80, 100, expected=True), mostly(7, 8)
    (True, False, True, True)
    """
    few = whole - part <= 3 and 3 * part >= 2 * whole
    return part > 0 and (10 * part >= 9 * whole or few or (expected and 2 * part >= whole))


def number_sql(cell: str, type_: ColumnType, narrow: bool = False) -> str:
    """SQL that makes a number of a cell of this type."""
    if type_ == "text":
        return f"TRY_CAST({cell} AS DOUBLE)"
    return f"CAST({cell} AS DOUBLE)" if narrow else cell


class Data:
    """A table that answers SQL; in a query it goes by `name`."""

    def __init__(self, con: Any, name: str, columns: dict[str, dt.DataType]) -> None:
        self.name, self.columns, self._con = name, columns, con

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The rows that a query returns, as Python values."""
        rows: list[dict[str, Any]] = self._con.raw_sql(query).to_arrow_table().to_pylist()
        return rows

    def measure(self, expressions: Iterable[str]) -> list[Any]:
        """One aggregate over the table: the value of each expression, in order."""
        asked = list(expressions)
        if not asked:
            return []
        selected = ", ".join(f"{expression} AS m{i}" for i, expression in enumerate(asked))
        return list(self.ask(f"SELECT {selected} FROM {self.name}")[0].values())  # noqa: S608


@contextmanager
def opened(engine: Connected, table: ibis.Table) -> Iterator[Data]:
    """The table as SQL can reach it, for as long as the block lasts."""
    name = ibis.util.gen_name("profiled")
    engine.con.create_view(name, table)
    try:
        yield Data(engine.con, name, dict(table.schema().items()))
    finally:
        engine.con.drop_view(name)


def plain(value: Any) -> Any:
    """A cell as JSON can hold it: dates in ISO form, long text cut at 200 characters.

    >>> plain(date(2026, 1, 2)), plain(float("nan")), plain([Decimal("1.5")])
    ('2026-01-02', 'nan', [1.5])
    """
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)[:200]


def profile(data: Data, rows: int, names: Iterable[str]) -> list[ColumnProfile]:
    """Measure these columns: an aggregate for what they hold, one for shapes that need it, a query for top values."""
    drafts = [_Draft(name, data.columns[name]) for name in names]
    values = iter(data.measure(sql for draft in drafts for sql in draft.asks.values()))
    measured = [draft.profile({key: next(values) for key in draft.asks}, rows) for draft in drafts]
    return _with_top(data, _with_shapes(data, measured, rows), rows)


class _Draft:
    """The questions about one column, and its profile from their answers."""

    def __init__(self, name: str, dtype: dt.DataType) -> None:
        self.name, self.type = name, type_of(dtype)
        self.narrow = dtype.is_decimal() or (dtype.is_floating() and dtype != dt.float64)
        cell = quote(name)
        self.asks = {"nulls": f"COUNT(*) - COUNT({cell})", "distinct": f"APPROX_COUNT_DISTINCT({cell})"}
        if self.type in ("date", "timestamp"):
            self.asks |= {"min": f"MIN({cell})", "max": f"MAX({cell})"}
        if self.type in ("int", "float") or dtype.is_string():
            self.asks |= _number_asks(number_sql(cell, self.type, self.narrow), whole=self.type == "int")
        if dtype.is_string():
            self.asks |= _text_asks(cell)

    def profile(self, got: dict[str, Any], rows: int) -> ColumnProfile:
        nans = got.get("nans", 0)
        blank = got.get("blank", 0)
        missing = got["nulls"] + blank + (nans if self.type == "float" else 0)
        reads_as = self._reads_as(got, rows - missing)
        figures = reads_as in ("int", "float") or self.type != "text"
        return ColumnProfile(
            name=self.name,
            type=self.type,
            missing=missing,
            distinct=min(got["distinct"], rows - missing),
            nans=nans,
            blank=blank,
            padded=got.get("padded", 0),
            narrow=self.narrow,
            reads_as=reads_as,
            pattern=None if reads_as else self._pattern(got, rows - missing),
            **(_figures(got) if figures else {}),
        )

    def _reads_as(self, got: dict[str, Any], present: int) -> ColumnType | None:
        if "numbers" not in got:
            return None
        # A leading zero or plus is a zip code or a phone number: as a number it would lose it.
        codes = is_code(self.name) or 100 * got["coded"] > got["numbers"]
        if not codes and mostly(got["numbers"], present, is_quantity(self.name)):
            return "int" if got["whole"] == got["numbers"] else "float"
        if mostly(got["moments"], present):
            return "date" if got["midnights"] == got["moments"] else "timestamp"
        return None

    def _pattern(self, got: dict[str, Any], present: int) -> Pattern | None:
        named = words(self.name)
        for pattern in PATTERNS:
            # A phone number's form is loose, so the name must say it.
            if (pattern != "phone" or pattern in named) and mostly(got.get(pattern, 0), present, pattern in named):
                return pattern
        return None


def _figures(got: dict[str, Any]) -> dict[str, Any]:
    quantiles = dict(zip(QUANTILES, got.get("quantiles") or (), strict=False))
    return {key: plain(got.get(key)) for key in ("min", "max", "mean")} | {"quantiles": quantiles}


def _number_asks(number: str, whole: bool) -> dict[str, str]:
    finite = number if whole else f"CASE WHEN isfinite({number}) THEN {number} END"
    return {
        "nans": "0" if whole else f"COUNT(*) FILTER (WHERE isnan({number}))",
        "min": f"MIN({finite})",
        "max": f"MAX({finite})",
        "mean": f"AVG({finite})",
        "quantiles": f"QUANTILE_CONT({finite}, [{', '.join(map(str, QUANTILES))}])",
    }


def _text_asks(cell: str) -> dict[str, str]:
    number, moment = f"TRY_CAST({cell} AS DOUBLE)", f"TRY_CAST({cell} AS TIMESTAMP)"
    conditions: dict[str, str] = {
        "numbers": f"NOT isnan({number})",
        "whole": f"isfinite({number}) AND {number} = TRUNC({number}) AND ABS({number}) < 1e15",
        "coded": f"{number} IS NOT NULL AND regexp_matches({cell}, '^\\s*[+0][0-9]')",
        "moments": f"{moment} IS NOT NULL",
        "midnights": f"{moment} = DATE_TRUNC('day', {moment})",
        "blank": f"TRIM({cell}) = ''",
        "padded": f"{cell} <> TRIM({cell}) AND TRIM({cell}) <> ''",
        **{name: f"regexp_matches({cell}, '{regex}')" for name, regex in PATTERNS.items()},
    }
    return {name: f"COUNT(*) FILTER (WHERE {condition})" for name, condition in conditions.items()}


def _with_shapes(data: Data, columns: list[ColumnProfile], rows: int) -> list[ColumnProfile]:
    """Exact distinct counts where they matter, and histograms, whose bins need the ranges."""
    exact = [c for c in columns if _countable(c, rows)]
    drawn = {c.name: edges for c in columns if (edges := _edges(c))}
    asks = [f"COUNT(DISTINCT {_present(c)})" for c in exact]
    asks += [_bins_sql(c, drawn[c.name]) for c in columns if c.name in drawn]
    values = data.measure(asks)
    distinct = {c.name: value for c, value in zip(exact, values[: len(exact)], strict=True)}
    counts = dict(zip(drawn, values[len(exact) :], strict=True))
    return [
        c.model_copy(
            update={
                "distinct": distinct.get(c.name, c.distinct),
                "histogram": _histogram(drawn[c.name], counts[c.name]) if c.name in drawn else None,
            }
        )
        for c in columns
    ]


def _present(column: ColumnProfile) -> str:
    if column.blank:
        return f"CASE WHEN TRIM({column.sql}) <> '' THEN {column.sql} END"
    return f"CASE WHEN NOT isnan({column.sql}) THEN {column.sql} END" if column.type == "float" else column.sql


def _countable(column: ColumnProfile, rows: int) -> bool:
    near_unique = 10 * column.distinct >= 9 * (rows - column.missing)
    return rows <= EXACT_ROWS or column.distinct <= FEW or near_unique


def _edges(column: ColumnProfile) -> tuple[float, ...]:
    if column.number is None or not column.quantiles:
        return ()
    low, high = float(column.min or 0), float(column.max or 0)
    if (column.reads_as or column.type) == "int" and high - low < BINS:
        return tuple(low + i for i in range(int(high - low) + 2))
    q1, q3 = column.quantiles[0.25], column.quantiles[0.75]
    if q3 > q1:
        low, high = max(low, q1 - 3 * (q3 - q1)), min(high, q3 + 3 * (q3 - q1))
    bins = max(1, min(BINS, column.distinct)) if high > low else 1
    return tuple(low + (high - low) * i / bins for i in range(bins + 1))


def _bins_sql(column: ColumnProfile, edges: tuple[float, ...]) -> str:
    bins = len(edges) - 1
    width = (edges[-1] - edges[0]) / bins or 1.0
    spot = f"FLOOR(({column.number} - ({edges[0]!r})) / {width!r})"
    inside = f"isfinite(CAST({column.number} AS DOUBLE))"
    return f"HISTOGRAM(CAST(LEAST(GREATEST({spot}, 0), {bins - 1}) AS INTEGER)) FILTER (WHERE {inside})"


def _histogram(edges: tuple[float, ...], counts: Any) -> Histogram:
    found: dict[int, int] = dict(counts or ())
    return Histogram(edges=edges, counts=tuple(found.get(i, 0) for i in range(len(edges) - 1)))


def _with_top(data: Data, columns: list[ColumnProfile], rows: int) -> list[ColumnProfile]:
    shown = [c for c in columns if 0 < c.distinct < rows - c.missing and (rows <= EXACT_ROWS or c.distinct <= FEW)]
    asked = " UNION ALL ".join(_top_sql(data, i, column) for i, column in enumerate(shown))
    found: dict[str, list[tuple[str, int]]] = {c.name: [] for c in columns}
    for row in data.ask(asked) if shown else ():
        found[shown[row["i"]].name].append((plain(row["cell"]), row["n"]))
    return [c.model_copy(update={"top": sorted(found[c.name], key=lambda t: (-t[1], t[0]))}) for c in columns]


def _top_sql(data: Data, number: int, column: ColumnProfile) -> str:
    source = f"FROM {data.name} WHERE {_present(column)} IS NOT NULL"
    return (
        f"(SELECT {number} AS i, CAST({column.sql} AS VARCHAR) AS cell, COUNT(*) AS n {source} "
        f"GROUP BY {column.sql} ORDER BY n DESC, cell LIMIT {TOP})"
    )
