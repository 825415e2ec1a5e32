"""What a table's columns hold: counts, ranges, quantiles and what a text column really reads as.

Three queries over the table, whatever its width. This module describes; what is a fault is `quality`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import ibis.expr.datatypes as dt
from pydantic import BaseModel, ConfigDict

from agentlab.actions.base import ColumnType
from agentlab.engine import type_of
from agentlab.measuring import Data, distinct_in_parts, plain, quote
from agentlab.semantics import PATTERNS, Pattern, is_code, is_key, is_moment, is_quantity, words

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Up to so many rows, and where a column has few values or hardly repeats one, distinct values are counted exactly.
EXACT_ROWS = 100_000
FEW = 1_000
#: In rows: what a large table's text is judged by first.
SAMPLE = 5_000
BINS = 20
TOP = 10


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
    #: Spellings that differ by case or space only from another that is more frequent: (spelling, the usual one).
    variants: list[tuple[str, str]] = []

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
        return is_code(self.name) or is_key(self.name)


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


def profile(data: Data, rows: int, names: Iterable[str]) -> list[ColumnProfile]:
    """Measure these columns: one aggregate for what they hold, another for shapes that need it, and few small queries.

    What a text column may read as is judged by a sample of a large table first, so that a form that hardly any cell has
    isn't looked for in all of them.
    """
    chosen = list(names)
    readings = _plausible(data, [name for name in chosen if data.columns[name].is_string()], rows)
    drafts = [_Draft(name, data.columns[name], readings.get(name, frozenset())) for name in chosen]
    got = _answers(data, [draft.asks for draft in drafts])
    edged = [i for i, answer in enumerate(got) if answer.get("edged")]
    for i, more in zip(edged, _answers(data, [_edge_asks(quote(chosen[i])) for i in edged]), strict=True):
        got[i].update(more)
    measured = [draft.profile(answer, rows) for draft, answer in zip(drafts, got, strict=True)]
    return _with_top(data, _with_shapes(data, _with_quantiles(data, measured, rows), rows), rows)


def _answers(data: Data, asks: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The answers to several columns' questions, by the same keys, from one aggregate."""
    values = iter(data.measure(sql for ask in asks for sql in ask.values()))
    return [{key: next(values) for key in ask} for ask in asks]


def _plausible(data: Data, texts: list[str], rows: int) -> dict[str, frozenset[str]]:
    """The readings of each text column that its cells may mostly have: all, or those of a quarter of a sample."""
    every = {name: frozenset(_readings(quote(name))) for name in texts}
    if rows <= EXACT_ROWS or not texts:
        return every
    asks = [{"filled": f"COUNT({quote(name)})", **_counted(_readings(quote(name)))} for name in texts]
    columns = ", ".join(map(quote, texts))
    percent = min(100.0, 100 * SAMPLE / rows)
    part = f"(SELECT {columns} FROM {data.name} USING SAMPLE {percent:.9f} PERCENT (bernoulli))"  # noqa: S608
    found = _answers(data.within(part), asks)
    enough = {name: got for name, got in zip(texts, found, strict=True) if got["filled"] >= SAMPLE // 50}
    seen = {n: frozenset(k for k, v in got.items() if 4 * v >= got["filled"]) for n, got in enough.items()}
    return every | seen


class _Draft:
    """The questions about one column, and its profile from their answers. `readings`: what its text may read as."""

    def __init__(self, name: str, dtype: dt.DataType, readings: frozenset[str]) -> None:
        self.name, self.type = name, type_of(dtype)
        self.narrow = dtype.is_decimal() or (dtype.is_floating() and dtype != dt.float64)
        cell = quote(name)
        self.asks = {"nulls": f"COUNT(*) - COUNT({cell})", "distinct": f"APPROX_COUNT_DISTINCT({cell})"}
        if self.type in ("date", "timestamp"):
            self.asks |= {"min": f"MIN({cell})", "max": f"MAX({cell})"}
        if self.type in ("int", "float") or "numbers" in readings:
            self.asks |= _number_asks(number_sql(cell, self.type, self.narrow), whole=self.type == "int")
        if dtype.is_string():
            edged = f"{cell} = '' OR starts_with({cell}, ' ') OR suffix({cell}, ' ')"
            self.asks |= {"edged": f"COUNT(*) FILTER (WHERE {edged})"} | _text_asks(cell, readings)

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
            **({key: plain(got.get(key)) for key in ("min", "max", "mean")} if figures else {}),
        )

    def _reads_as(self, got: dict[str, Any], present: int) -> ColumnType | None:
        # A leading zero or plus is a zip code or a phone number: as a number it would lose it.
        numbers = got.get("numbers", 0)
        codes = is_code(self.name) or 100 * got.get("coded", 0) > numbers
        if not codes and mostly(numbers, present, is_quantity(self.name)):
            return "int" if got["whole"] == numbers else "float"
        if mostly(got.get("moments", 0), present, is_moment(self.name)):
            return "date" if got["midnights"] == got["moments"] else "timestamp"
        return None

    def _pattern(self, got: dict[str, Any], present: int) -> Pattern | None:
        named = words(self.name)
        for pattern in PATTERNS:
            # A phone number's form is loose, so the name must say it.
            expected = pattern in named or (pattern == "date" and is_moment(self.name))
            if (pattern != "phone" or expected) and mostly(got.get(pattern, 0), present, expected):
                return pattern
        return None


def _number_asks(number: str, whole: bool) -> dict[str, str]:
    finite = number if whole else f"CASE WHEN isfinite({number}) THEN {number} END"
    return {
        "nans": "0" if whole else f"COUNT(*) FILTER (WHERE isnan({number}))",
        "min": f"MIN({finite})",
        "max": f"MAX({finite})",
        "mean": f"AVG({finite})",
    }


def _readings(cell: str) -> dict[str, str]:
    """What a cell of text may read as: each reading with its condition."""
    return {
        "numbers": f"NOT isnan(TRY_CAST({cell} AS DOUBLE))",
        "moments": f"TRY_CAST({cell} AS TIMESTAMP) IS NOT NULL",
        **{name: f"regexp_matches({cell}, '{regex}')" for name, regex in PATTERNS.items()},
    }


def _text_asks(cell: str, readings: frozenset[str]) -> dict[str, str]:
    number, moment = f"TRY_CAST({cell} AS DOUBLE)", f"TRY_CAST({cell} AS TIMESTAMP)"
    asked = {name: condition for name, condition in _readings(cell).items() if name in readings}
    if "numbers" in asked:
        asked["whole"] = f"isfinite({number}) AND {number} = TRUNC({number}) AND ABS({number}) < 1e15"
        asked["coded"] = f"{number} IS NOT NULL AND regexp_matches({cell}, '^\\s*[+0][0-9]')"
    if "moments" in asked:
        asked["midnights"] = f"{moment} = DATE_TRUNC('day', {moment})"
    return _counted(asked)


def _edge_asks(cell: str) -> dict[str, str]:
    return _counted({"blank": f"TRIM({cell}) = ''", "padded": f"{cell} <> TRIM({cell}) AND TRIM({cell}) <> ''"})


def _counted(conditions: dict[str, str]) -> dict[str, str]:
    return {name: f"COUNT(*) FILTER (WHERE {condition})" for name, condition in conditions.items()}


def _with_quantiles(data: Data, columns: list[ColumnProfile], rows: int) -> list[ColumnProfile]:
    """Exact quantiles of what is counted with. They hold a column in memory, so a large table's go one by one."""
    spread = [c for c in columns if c.number and c.min is not None and not c.identifies]
    wanted = f"[{', '.join(map(str, QUANTILES))}]"
    asks = [f"QUANTILE_CONT({_finite(c)}, {wanted})" for c in spread]
    found = data.measure(asks) if rows <= EXACT_ROWS else [data.measure([ask])[0] for ask in asks]
    quantiles = {c.name: dict(zip(QUANTILES, got, strict=True)) for c, got in zip(spread, found, strict=True) if got}
    return [c.model_copy(update={"quantiles": quantiles.get(c.name, {})}) for c in columns]


def _finite(column: ColumnProfile) -> str:
    number = column.number or "NULL"
    return number if column.type == "int" else f"CASE WHEN isfinite({number}) THEN {number} END"


def _with_shapes(data: Data, columns: list[ColumnProfile], rows: int) -> list[ColumnProfile]:
    """Exact distinct counts where they matter, and histograms, whose bins need the ranges."""
    exact = [c for c in columns if _countable(c, rows)]
    small = [c for c in exact if rows <= EXACT_ROWS or c.distinct <= FEW or _dense(c)]
    drawn = {c.name: edges for c in columns if (edges := _edges(c))}
    asks = [_distinct_sql(c) for c in small]
    asks += [_bins_sql(c, drawn[c.name]) for c in columns if c.name in drawn]
    values = data.measure(asks)
    distinct = {c.name: value for c, value in zip(small, values[: len(small)], strict=True)}
    distinct |= {c.name: distinct_in_parts(data, _present(c), rows) for c in exact if c.name not in distinct}
    counts = dict(zip(drawn, values[len(small) :], strict=True))
    return [
        c.model_copy(
            update={
                "distinct": distinct.get(c.name, c.distinct),
                "histogram": _histogram(drawn[c.name], counts[c.name]) if c.name in drawn else None,
            }
        )
        for c in columns
    ]


def _dense(column: ColumnProfile) -> bool:
    """Whether whole numbers lie so close that a bit for each number between the least and the greatest is little."""
    if column.type != "int" or column.min is None or column.max is None:
        return False
    return int(column.max) - int(column.min) < 8 * max(column.distinct, 1) and abs(int(column.max)) < 2**62


def _distinct_sql(column: ColumnProfile) -> str:
    if _dense(column):
        cell = f"CAST({column.sql} AS BIGINT)"
        return f"COALESCE(bit_count(bitstring_agg({cell}, {column.min}, {column.max})), 0)"
    return f"COUNT(DISTINCT {_present(column)})"


def _present(column: ColumnProfile) -> str:
    if column.blank:
        return f"CASE WHEN TRIM({column.sql}) <> '' THEN {column.sql} END"
    return f"CASE WHEN NOT isnan({column.sql}) THEN {column.sql} END" if column.type == "float" else column.sql


def _countable(column: ColumnProfile, rows: int) -> bool:
    # An estimate may be a tenth off, so what may be a key is counted from half as many values as rows on.
    may_be_key = 2 * column.distinct >= rows - column.missing and (column.identifies or column.type == "int")
    return rows <= EXACT_ROWS or column.distinct <= FEW or may_be_key


def _edges(column: ColumnProfile) -> tuple[float, ...]:
    low, high = _ends(column)
    if low is None or high is None:
        return ()
    if (column.reads_as or column.type) == "int" and high - low < BINS:
        return tuple(low + i for i in range(int(high - low) + 2))
    q1, q3 = column.quantiles.get(0.25, 0.0), column.quantiles.get(0.75, 0.0)
    if q3 > q1:
        low, high = max(low, q1 - 3 * (q3 - q1)), min(high, q3 + 3 * (q3 - q1))
    bins = max(1, min(BINS, column.distinct)) if high > low else 1
    return tuple(low + (high - low) * i / bins for i in range(bins + 1))


def _ends(column: ColumnProfile) -> tuple[float | None, float | None]:
    """The least and the greatest value on the histogram's axis; of moments, in seconds since 1970 (UTC)."""
    if column.min is None or column.max is None:
        return None, None
    if column.type in ("date", "timestamp"):
        return _epoch(str(column.min)), _epoch(str(column.max))
    return (float(column.min), float(column.max)) if column.number else (None, None)


def _epoch(moment: str) -> float | None:
    try:
        read = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def _bins_sql(column: ColumnProfile, edges: tuple[float, ...]) -> str:
    bins = len(edges) - 1
    width = (edges[-1] - edges[0]) / bins or 1.0
    place = column.number or f"epoch({column.sql})"
    spot = f"FLOOR(({place} - ({edges[0]!r})) / {width!r})"
    inside = f"isfinite(CAST({place} AS DOUBLE))"
    return f"HISTOGRAM(CAST(LEAST(GREATEST({spot}, 0), {bins - 1}) AS INTEGER)) FILTER (WHERE {inside})"


def _histogram(edges: tuple[float, ...], counts: Any) -> Histogram:
    found: dict[int, int] = dict(counts or ())
    return Histogram(edges=edges, counts=tuple(found.get(i, 0) for i in range(len(edges) - 1)))


def _with_top(data: Data, columns: list[ColumnProfile], rows: int) -> list[ColumnProfile]:
    """The most frequent values, and spellings of one value, of columns that have few."""
    shown = [c for c in columns if 0 < c.distinct < rows - c.missing and (rows <= EXACT_ROWS or c.distinct <= FEW)]
    asked = [_top_sql(data, i, column) for i, column in enumerate(shown)]
    asked += [_variants_sql(data, i, column) for i, column in enumerate(shown) if _spelled(data, column)]
    top: dict[str, list[tuple[str, int]]] = {c.name: [] for c in columns}
    variants: dict[str, list[tuple[str, str]]] = {c.name: [] for c in columns}
    for row in data.ask(" UNION ALL ".join(asked)) if asked else ():
        name = shown[row["i"]].name
        if row["usual"] is None:
            top[name].append((plain(row["cell"]), row["n"]))
        else:
            variants[name].append((row["cell"], row["usual"]))
    return [
        c.model_copy(
            update={"top": sorted(top[c.name], key=lambda t: (-t[1], t[0])), "variants": sorted(variants[c.name])}
        )
        for c in columns
    ]


def _top_sql(data: Data, number: int, column: ColumnProfile) -> str:
    source = f"FROM {data.name} WHERE {_present(column)} IS NOT NULL"
    return (
        f"(SELECT {number} AS i, CAST({column.sql} AS VARCHAR) AS cell, COUNT(*) AS n, NULL AS usual {source} "
        f"GROUP BY {column.sql} ORDER BY n DESC, cell LIMIT {TOP})"
    )


def _spelled(data: Data, column: ColumnProfile) -> bool:
    """Whether a column holds words, of which the same may be written in several ways."""
    return data.columns[column.name].is_string() and not (column.reads_as or column.pattern or column.identifies)


def _variants_sql(data: Data, number: int, column: ColumnProfile) -> str:
    """Each unusual spelling beside the usual one: the most frequent, of equals the trimmed one in mixed case."""
    counted = (
        f"SELECT {column.sql} AS cell, COUNT(*) AS n FROM {data.name} "  # noqa: S608
        f"WHERE LENGTH(TRIM({column.sql})) > 1 GROUP BY {column.sql}"
    )
    order = "n DESC, cell = TRIM(cell) DESC, cell = UPPER(cell), cell = LOWER(cell), cell"
    first = f"FIRST_VALUE(TRIM(cell)) OVER (PARTITION BY LOWER(TRIM(cell)) ORDER BY {order})"
    return (
        f"(SELECT {number} AS i, cell, n, usual FROM (SELECT cell, n, {first} AS usual FROM ({counted})) "  # noqa: S608
        f"WHERE TRIM(cell) <> usual ORDER BY cell LIMIT {FEW})"
    )
