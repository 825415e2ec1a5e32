"""Whole queries in DuckDB's SQL as Spark answers them to the same result: what `measuring` asks of a table, no more.

What single expressions mean is in `sparkwords.py`; here are the aggregates and the functions that no plan may use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import sqlglot as sg
from sqlglot import exp

from agentlab.actions import Schema
from agentlab.sparkforms import call, either, java_format
from agentlab.sparkwords import for_spark

#: How many aggregates are asked for at once: Spark makes one function of them, and none that is too long for the JVM.
TOGETHER = 40


def spark_query(query: str, schema: Schema) -> str:
    """The query for Spark; `schema` has the columns of the tables that it reads.

    >>> spark_query("SELECT QUANTILE_CONT(x, [0.5]) AS m0 FROM t WHERE suffix(a, 'z')", {"x": "float", "a": "text"})
    "SELECT PERCENTILE(x, ARRAY(5E-1)) AS m0 FROM t WHERE ENDSWITH(a, 'z')"
    """
    tree = sg.parse_one(query, dialect="duckdb")
    for node in reversed(list(tree.bfs())):
        new = _spelled(node)
        if new is not node:
            node.replace(new)
    return for_spark(tree, schema).sql("spark")


def batches(expressions: Sequence[str]) -> list[list[int]]:
    """The places of aggregates that one query can answer: those that hold all values of a column stay alone.

    >>> batches(["COUNT(*)", "COUNT(DISTINCT a)", "MAX(a)"])
    [[1], [0, 2]]
    """
    alone = [i for i, sql in enumerate(expressions) if any(word in sql.upper() for word in _HEAVY)]
    others = [i for i in range(len(expressions)) if i not in alone]
    return [[i] for i in alone] + [others[at : at + TOGETHER] for at in range(0, len(others), TOGETHER)]


#: Spark answers several distinct counts at once by reading each row as often, and keeps all values for each quantile.
_HEAVY = ("COUNT(DISTINCT", "BITSTRING_AGG(", "QUANTILE_CONT(", "MEDIAN(", "HISTOGRAM(")


def _spelled(node: exp.Expr) -> exp.Expr:
    """A node whose name or form Spark hasn't, as what it has for it."""
    if isinstance(node, exp.Anonymous) and (form := _FUNCTIONS.get(node.name.lower())):
        return form(*node.expressions)
    if isinstance(node, exp.PercentileCont):
        return call("percentile", node.this, node.expression)
    if isinstance(node, exp.Literal) and re.fullmatch(r"[0-9]+\.[0-9]+", node.name) and not node.is_string:
        return node if isinstance(node.parent, exp.TableSample) else exp.Literal.number(_double(node.name))
    if isinstance(node, exp.Filter) and node.this.name.lower() == "histogram":
        return _histogram(node.this.expressions[0], node.expression.this)
    if isinstance(node, exp.Mod) and node.this.name.lower() in ("hash", "xxhash64"):
        return call("pmod", node.this, node.expression)
    return node


def _double(number: str) -> str:
    """A number with a point as a double: Spark computes exactly with one that has no exponent, if with few digits.

    >>> _double("12.5")
    '125E-1'
    """
    whole, _, part = number.partition(".")
    return f"{int(whole + part)}E-{len(part)}"


def _histogram(place: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """How many rows have each place, as a map: `place` is CAST(LEAST(GREATEST(FLOOR(spot), 0), last) AS INTEGER)."""
    last, spot = int(place.this.expressions[-1].name), place.this.this.this.this
    below = [spot.copy() < exp.Literal.number(i + 1) for i in range(last)]
    kept = [(exp.Not(this=one), two) for one, two in zip([exp.false(), *below], [*below, exp.true()], strict=True)]
    counts = [call("count_if", exp.and_(condition.copy(), one.copy(), two.copy())) for one, two in kept]
    numbers = [exp.Literal.number(i) for i in range(last + 1)]
    return call("map_from_arrays", call("array", *numbers), call("array", *counts))


def _isfinite(number: exp.Expr) -> exp.Expr:
    beyond = exp.or_(call("isnan", number), call("abs", number).eq(call("double", "inf")))
    return either(exp.Is(this=number.copy(), expression=exp.null()), exp.null(), exp.Not(this=exp.paren(beyond)))


def _json_valid(text: exp.Expr) -> exp.Expr:
    parsed = exp.Not(this=exp.Is(this=call("try_parse_json", text), expression=exp.null()))
    return either(exp.Is(this=text.copy(), expression=exp.null()), exp.null(), parsed)


def _try_strptime(text: exp.Expr, formats: exp.Expr) -> exp.Expr:
    """By the first of the formats that the text has."""
    return call(
        "coalesce", *(call("try_to_timestamp", text, java_format(f.name, reading=True)) for f in formats.expressions)
    )


def _bit_count(bits: exp.Expr) -> exp.Expr:
    """Of a bitstring, the distinct values that it was made of, which Spark counts at once."""
    return exp.Count(this=exp.Distinct(expressions=[bits.expressions[0].copy()]))


_FUNCTIONS: Mapping[str, Callable[..., exp.Expr]] = {
    "suffix": lambda text, end: call("endswith", text, end),
    "hash": lambda *values: call("xxhash64", *values),
    "row": lambda *values: call("struct", *values),
    "bit_count": _bit_count,
    "isfinite": _isfinite,
    "json_valid": _json_valid,
    "try_strptime": _try_strptime,
}
