"""Pieces of Spark SQL that mean what DuckDB's do, as sqlglot trees: for expressions and for Ibis's compiler alike."""

from __future__ import annotations

import re

from sqlglot import exp

from agentlab.actions import ColumnType

#: How Spark names our types.
SPARK_TYPES: dict[ColumnType, str] = {
    "int": "BIGINT",
    "float": "DOUBLE",
    "text": "STRING",
    "date": "DATE",
    "timestamp": "TIMESTAMP_NTZ",
    "bool": "BOOLEAN",
    "json": "STRING",
}

#: Characters that mean something in a Java pattern; RE2, and Python, mark more.
_SPECIAL = re.compile(r"([\\.\[\]{}()*+?^$|])")


def call(name: str, *arguments: exp.Expr | str | int) -> exp.Expr:
    """A function of Spark by its own name, as it is; texts and numbers become literals.

    >>> call("rint", exp.column("x")).sql("spark")
    'RINT(x)'
    """
    return exp.Anonymous(this=name, expressions=[exp.convert(argument, copy=True) for argument in arguments])


def typed(value: exp.Expr, type: str) -> exp.Expr:
    """The value as a type of Spark's."""
    return exp.Cast(this=value, to=exp.DataType.build(type, dialect="spark"))


def float_text(number: exp.Expr) -> exp.Expr:
    """A float as text: plain up to 16 digits, then with an exponent of two (`1e+16`), where Java's is `1.0E16`.

    >>> float_text(exp.column("x")).sql("spark").startswith("CASE WHEN")
    True
    """
    java = typed(number, "string")
    size = call("abs", number)
    plain = (size >= 1e-3).and_(size < 1e7).or_(number.eq(0))
    long = (size >= 1e-4).and_(size < 1e16)
    digits = call("regexp_replace", typed(typed(java.copy(), "decimal(38, 22)"), "string"), r"(\.[0-9]+?)0+$", "$1")
    mantissa = call("regexp_replace", call("substring_index", java.copy(), "E", 1), r"\.0$", "")
    power = call("substring_index", java.copy(), "E", -1)
    sign = exp.If(this=call("startswith", power.copy(), "-"), true=exp.convert("e-"), false=exp.convert("e+"))
    power = call("replace", power, "-", "")
    power = exp.If(this=call("length", power.copy()) < 2, true=call("lpad", power.copy(), 2, "0"), false=power.copy())
    special = exp.If(
        this=call("isnan", number.copy()), true=exp.convert("nan"), false=call("replace", call("lower", java.copy()), "inity", "")
    )
    case = exp.Case().when(plain, java.copy()).when(long, digits)
    case = case.when(call("isnan", number.copy()).or_(size.copy().eq(typed(exp.convert("inf"), "double"))), special)
    return case.else_(call("concat", mantissa, sign, power))


def json_text(text: exp.Expr) -> exp.Expr:
    """The text where it is JSON, missing where it isn't."""
    return exp.If(this=call("try_parse_json", text).is_(exp.null()).not_(), true=text.copy(), false=exp.null())


def literally(text: exp.Expr) -> exp.Expr:
    """A pattern that matches just this text.

    >>> literally(exp.convert("a|b")).sql()
    "'a\\\\|b'"
    """
    if isinstance(text, exp.Literal):
        return exp.convert(_SPECIAL.sub(r"\\\1", text.name))
    return call("concat", r"\Q", text, r"\E")
