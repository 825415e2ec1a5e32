"""Questions to a table in SQL: aggregates, rows, distinct values, and cells as JSON can hold them.

What is asked is for others to say: `profiles`, `quality`, `checks`, `outliers` and `drift`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Protocol

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
from sqlglot import exp

from agentlab.engine import explained, type_of
from agentlab.sparkqueries import batches, spark_query

#: In rows: how many distinct values are counted at once.
PART = 4_000_000
#: In rows: what of a table is looked through first for examples, of everything at once.
HEAD = 20_480


class Connected(Protocol):
    """Anything with an ibis backend to run on: the engine."""

    @property
    def con(self) -> Any:
        """The ibis backend that the table lives on."""


def quote(name: str) -> str:
    """A name as a SQL identifier.

    >>> print(quote('say "hi"'))
    "say ""hi\"""
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A value as a SQL literal.

    >>> literal("it's"), literal(True), literal(2.5), literal(date(2026, 1, 2))
    ("'it''s'", 'TRUE', '2.5', "CAST('2026-01-02' AS DATE)")
    """
    return exp.convert(value).sql("duckdb")


class Data:
    """A table that answers SQL; in a query it goes by `name`."""

    def __init__(self, con: Any, name: str, columns: dict[str, dt.DataType]) -> None:
        self.name, self.columns, self.con = name, columns, con

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The rows that a query returns, as Python values."""
        rows: list[dict[str, Any]] = self.arrow(query).to_pylist()
        return rows

    def arrow(self, query: str) -> pa.Table:
        """What a query returns, as Arrow data."""
        with explained():
            return self.con.raw_sql(query).to_arrow_table()

    def measure(self, expressions: Iterable[str]) -> list[Any]:
        """One aggregate over the table: the value of each expression, in order."""
        asked = list(expressions)
        if not asked:
            return []
        selected = ", ".join(f"{expression} AS m{i}" for i, expression in enumerate(asked))
        return list(self.ask(f"SELECT {selected} FROM {self.name}")[0].values())  # noqa: S608

    def first_where(self, counts: Mapping[str, int], limit: int) -> dict[str, list[dict[str, Any]]]:
        """The first rows for which each condition holds; `counts` says for how many rows it does.

        One query looks for all of them in the table's head, and what is rarer is looked for in all of it.
        """
        asked = [where for where, count in counts.items() if count]
        found = self._in_head(asked, limit) if len(asked) > 1 else {}
        for where in asked:
            if len(found.get(where, ())) < min(limit, counts[where]):
                found[where] = self.ask(f"SELECT * FROM {self.name} WHERE {where} LIMIT {limit}")  # noqa: S608
        return {where: found.get(where, []) for where in counts}

    def _in_head(self, asked: list[str], limit: int) -> dict[str, list[dict[str, Any]]]:
        head, number = ibis.util.gen_name("head"), quote(ibis.util.gen_name("condition"))
        parts = (
            f"(SELECT {i} AS {number}, * FROM {head} WHERE {where} LIMIT {limit})"  # noqa: S608
            for i, where in enumerate(asked)
        )
        query = f"WITH {head} AS MATERIALIZED (SELECT * FROM {self.name} LIMIT {HEAD}) {' UNION ALL '.join(parts)}"  # noqa: S608
        found: dict[str, list[dict[str, Any]]] = {where: [] for where in asked}
        for row in self.ask(query):
            found[asked[row.pop(number.strip('"'))]].append(row)
        return found

    def within(self, source: str) -> Data:
        """A part of the same table, by what goes after FROM."""
        return type(self)(self.con, source, self.columns)


class SparkData(Data):
    """A table that Spark answers for, to the questions in DuckDB's SQL. Only what `APPROX_COUNT_DISTINCT` says differs.

    Quantiles and medians are exact, for which Spark holds the distinct values of one column in memory.
    """

    def arrow(self, query: str) -> pa.Table:
        """What a query returns, as Arrow data."""
        schema = {name: type_of(dtype) for name, dtype in self.columns.items()}
        with explained():
            return self.con.answer(spark_query(query, schema))

    def measure(self, expressions: Iterable[str]) -> list[Any]:
        """One aggregate over the table: the value of each expression, in order. It takes Spark several."""
        asked = list(expressions)
        found: dict[int, Any] = {}
        for batch in batches(asked):
            found |= zip(batch, super().measure(asked[i] for i in batch), strict=True)
        return [found[i] for i in range(len(asked))]

    def _in_head(self, asked: list[str], limit: int) -> dict[str, list[dict[str, Any]]]:
        # A head that several conditions share is a job of its own, and no cheaper than looking for each.
        return {}


@contextmanager
def opened(engine: Connected, table: ibis.Table) -> Iterator[Data]:
    """The table as SQL can reach it, for as long as the block lasts."""
    name = ibis.util.gen_name("profiled")
    engine.con.create_view(name, table)
    try:
        kind = SparkData if engine.con.name == "pyspark" else Data
        yield kind(engine.con, name, dict(table.schema().items()))
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


def distinct_in_parts(data: Data, value: str, rows: int) -> int:
    """The exact number of distinct values, a part of them at a time, so that memory doesn't grow with the table."""
    parts = max(1, math.ceil(rows / PART))
    spread = (f"COUNT(DISTINCT {value}) FILTER (WHERE hash({value}) % {parts} = {k})" for k in range(parts))
    return sum(data.measure([ask])[0] for ask in spread)


def surplus(data: Data, by: Iterable[str], rows: int) -> int:
    """How many rows are copies of another row, exactly. Copies can only be among rows that are alike in `by`.

    Hashes of those columns are grouped first, a part of them at a time; only rows that share one are compared whole.
    """
    whole, key = ", ".join(map(quote, data.columns)), f"hash({', '.join(map(quote, by))})"
    parts = max(1, math.ceil(rows / PART))
    copies = 0
    for part in range(parts):
        again = f"SELECT {key} FROM {data.name} WHERE {key} % {parts} = {part} GROUP BY 1 HAVING COUNT(*) > 1"  # noqa: S608
        alike = f"SELECT COUNT(*) AS n FROM {data.name} WHERE {key} IN ({again}) GROUP BY {whole} HAVING COUNT(*) > 1"  # noqa: S608
        copies += data.ask(f"SELECT COALESCE(SUM(n - 1), 0) AS n FROM ({alike})")[0]["n"]  # noqa: S608
    return int(copies)
