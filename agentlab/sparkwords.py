"""An expression's tree as Spark computes it to the same result as DuckDB: each node that means two things.

What both mean alike stays as it is, and sqlglot spells it for Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlglot import exp

from agentlab.actions import ColumnType, Schema
from agentlab.inference import Type, cast_type, types
from agentlab.sparkforms import (
    SPARK_TYPES,
    call,
    either,
    fault,
    float_text,
    java_format,
    java_pattern,
    java_replacement,
    read_text,
    rounded_off,
    typed,
)

#: The types of a tree's nodes, by their identity.
Types = Mapping[int, Type]


def for_spark(tree: exp.Expr, schema: Schema | None) -> exp.Expr:
    """The tree for Spark; the one given stays as it is.

    >>> for_spark(exp.Log(this=exp.column("x")), {"x": "float"}).sql("spark")
    "IF(x <= 0, RAISE_ERROR('[INVALID_VALUE] a logarithm of nothing or less'), LOG10(x))"
    """
    tree = exp.Paren(this=tree.copy())
    known = dict(types(tree, schema))
    for node in reversed(list(tree.bfs())):
        form = _FORMS.get(type(node))
        if form is None:
            continue
        new = form(node, known)
        if new is not node:
            known[id(new)] = known.get(id(node), "unknown")
            node.replace(new)
    return cast(exp.Expr, tree.this)


def _type(node: exp.Expr | None, known: Types) -> Type:
    return known.get(id(node), "unknown")


# Numbers.


def _divided(node: exp.Expr, known: Types) -> exp.Expr:
    """Of decimals Spark would make a decimal of few digits."""
    if {_type(node.this, known), _type(node.expression, known)} == {"int"}:
        return node
    return exp.Div(this=typed(node.this, "double"), expression=typed(node.expression, "double"))


def _log(node: exp.Expr, known: Types) -> exp.Expr:
    base, number = (node.this, node.expression) if node.args.get("expression") else (exp.Literal.number(10), node.this)
    named = {"2": "log2", "10": "log10"}.get(base.name)
    value = call(named, number) if named else call("ln", number) / call("ln", base)
    return _positive(number, value)


def _positive(number: exp.Expr, value: exp.Expr) -> exp.Expr:
    return either(number.copy() <= 0, fault("a logarithm of nothing or less"), value)


def _sqrt(node: exp.Expr, known: Types) -> exp.Expr:
    return either(node.this.copy() < 0, fault("a square root of less than nothing"), call("sqrt", node.this))


def _arc(name: str) -> Callable[[exp.Expr, Types], exp.Expr]:
    return lambda node, known: either(
        call("abs", node.this) > 1, fault(f"{name} is undefined outside -1 to 1"), call(name, node.this)
    )


def _trunc(node: exp.Expr, known: Types) -> exp.Expr:
    up = rounded_off("ceil", node.this)
    return either(node.this.copy() < 0, up, rounded_off("floor", node.this))


def _isnan(node: exp.Expr, known: Types) -> exp.Expr:
    """A missing number is neither."""
    return either(exp.Is(this=node.this.copy(), expression=exp.null()), exp.null(), call("isnan", node.this))


# Text.


def _shown(value: exp.Expr, known: Types) -> exp.Expr:
    kind = _type(value, known)
    if kind == "float" and not (isinstance(value, exp.Literal)):
        return float_text(typed(value, "double"))
    return value if kind in ("text", "string", "json") else typed(value, "string")


def _piped(node: exp.Expr, known: Types) -> exp.Expr:
    return call("concat", _shown(node.this, known), _shown(node.expression, known))


def _concat(node: exp.Expr, known: Types) -> exp.Expr:
    shown = [_shown(part, known).copy() for part in node.expressions]
    return call("concat", *(exp.Coalesce(this=part, expressions=[exp.convert("")]) for part in shown))


def _concat_ws(node: exp.Expr, known: Types) -> exp.Expr:
    separator, *parts = node.expressions
    return call("concat_ws", separator, *(_shown(part, known) for part in parts))


def _trim(node: exp.Expr, known: Types) -> exp.Expr:
    """Spark's own takes away one kind of space only."""
    return node if node.args.get("expression") else exp.Trim(**{**node.args, "expression": exp.convert(_SPACES)})


#: What Unicode calls a space, its class Zs.
_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


def _int(number: exp.Expr) -> exp.Expr:
    return number if isinstance(number, exp.Literal) else typed(number, "int")


def _substring(node: exp.Expr, known: Types) -> exp.Expr:
    """Position 0 lies before the first character, so that it takes one of the length."""
    start, length = node.args["start"], node.args.get("length")
    arguments = [] if length is None else [_int(length)]
    if isinstance(start, exp.Literal | exp.Neg) and start.name != "0":
        return call("substring", node.this, _int(start), *arguments)
    less = [] if length is None else [call("greatest", _int(length) - 1, 0)]
    zero = call("substring", node.this, 1, *less)
    return either(start.copy().eq(0), zero, call("substring", node.this, _int(start), *arguments))


def _left(node: exp.Expr, known: Types) -> exp.Expr:
    """A number below zero means: all but so many."""
    size = _int(node.expression)
    if isinstance(size, exp.Literal):
        return call("left", node.this, size)
    rest = call("substring", node.this, 1, call("greatest", call("length", node.this) + size.copy(), 0))
    return either(size.copy() < 0, rest, call("left", node.this, size))


def _right(node: exp.Expr, known: Types) -> exp.Expr:
    size = _int(node.expression)
    if isinstance(size, exp.Literal):
        return call("right", node.this, size)
    rest = call("substring", node.this, exp.Literal.number(1) - size.copy())
    return either(size.copy() < 0, rest, call("right", node.this, size))


def _split_part(node: exp.Expr, known: Types) -> exp.Expr:
    part = _int(node.args["part_index"])
    found = call("split_part", node.this, node.args["delimiter"], part)
    return (
        found
        if isinstance(part, exp.Literal) and part.name != "0"
        else either(part.copy().eq(0), call("left", node.this, 0), found)
    )


def _like(node: exp.Expr, known: Types) -> exp.Expr:
    """A backslash escapes for Spark, and for DuckDB only where the pattern says so."""
    if isinstance(node.parent, exp.Escape):
        return node
    pattern = node.expression
    if isinstance(pattern, exp.Literal) and "\\" not in pattern.name:
        return node
    node.set("expression", call("replace", pattern, "\\", "\\\\"))
    return node


def _options(node: exp.Expr) -> str:
    given = next((g for name in ("flag", "options", "modifiers", "parameters") if (g := node.args.get(name))), None)
    return given.name if given is not None else ""


def _matches(node: exp.Expr, known: Types) -> exp.Expr:
    return call("rlike", node.this, java_pattern(node.expression.name, _options(node)))


def _matches_whole(node: exp.Expr, known: Types) -> exp.Expr:
    return call("rlike", node.this, rf"\A(?:{java_pattern(node.expression.name, _options(node))})\z")


def _regexp_extract(node: exp.Expr, known: Types) -> exp.Expr:
    group = node.args.get("group") or exp.Literal.number(0)
    return call("regexp_extract", node.this, java_pattern(node.expression.name, _options(node)), group)


def _regexp_replace(node: exp.Expr, known: Types) -> exp.Expr:
    """Only the first match unless `g` is given: it is found together with all that is before it."""
    options, new = _options(node), node.args["replacement"]
    pattern, shift = java_pattern(node.expression.name, options), 0
    if "g" not in options:
        pattern, shift = rf"\A((?s:.*?))({pattern})", 2
    given = java_replacement(new.name, shift) if isinstance(new, exp.Literal) else _quoted(new)
    if isinstance(given, str):
        return call("regexp_replace", node.this, pattern, f"$1{given}" if shift else given)
    return call("regexp_replace", node.this, pattern, call("concat", "$1" if shift else "", given))


def _quoted(text: exp.Expr) -> exp.Expr:
    return call("replace", call("replace", text, "\\", "\\\\"), "$", "\\$")


# Moments.


def _part(name: str, plus: int = 0) -> Callable[[exp.Expr, Types], exp.Expr]:
    def form(node: exp.Expr, known: Types) -> exp.Expr:
        found = call(name, node.expression if isinstance(node, exp.Extract) else node.this)
        return typed(found + plus if plus else found, "bigint")

    return form


def _extract(node: exp.Expr, known: Types) -> exp.Expr:
    unit = node.this.name.upper().removesuffix("S")
    if unit == "EPOCH":
        return _epoch(exp.TimeToUnix(this=node.expression), known)
    name, plus = _PARTS[unit]
    return _part(name, plus)(node, known)


_PARTS: dict[str, tuple[str, int]] = {
    **{unit.upper(): (unit, 0) for unit in ("year", "quarter", "month", "day", "hour", "minute", "second")},
    **{"WEEK": ("weekofyear", 0), "DOY": ("dayofyear", 0), "DAYOFYEAR": ("dayofyear", 0)},
    **{"DOW": ("dayofweek", -1), "DAYOFWEEK": ("dayofweek", -1), "ISODOW": ("weekday", 1)},
}


def _epoch(node: exp.Expr, known: Types) -> exp.Expr:
    return typed(_micros(node.this), "double") / exp.Literal.number("1e6")


def _micros(moment: exp.Expr) -> exp.Expr:
    return call("unix_micros", typed(moment, "timestamp_ltz"))


def _date_diff(node: exp.Expr, known: Types) -> exp.Expr:
    """How many boundaries of the unit lie between, as DuckDB counts, not how many whole units; but whole weeks."""
    unit = (node.text("unit") or "DAY").upper().removesuffix("S")
    if unit == "WEEK":
        days = call("datediff", node.this, node.expression)
        return typed(exp.IntDiv(this=days, expression=exp.Literal.number(7)), "bigint")
    later, earlier = (_number_of(unit, typed(m, "timestamp_ntz")) for m in (node.this, node.expression))
    return typed(exp.Paren(this=later - earlier), "bigint")


def _number_of(unit: str, moment: exp.Expr) -> exp.Expr:
    if unit in ("YEAR", "QUARTER", "MONTH"):
        per = {"YEAR": 1, "QUARTER": 4, "MONTH": 12}[unit]
        year = call("year", moment) * per
        return year if per == 1 else exp.Paren(this=year + call(unit.lower(), moment))
    if unit == "DAY":
        return call("unix_date", typed(moment, "date"))
    per = {"HOUR": 3_600, "MINUTE": 60, "SECOND": 1}[unit] * 1_000_000
    return call("floor", typed(_micros(moment), "decimal(20, 0)") / per)


def _span(interval: exp.Expr) -> exp.Expr:
    """An interval whose number may be computed."""
    unit = interval.text("unit").upper().removesuffix("S")
    number = typed(interval.this, "int")
    if unit == "QUARTER":
        unit, number = "MONTH", typed(exp.Paren(this=number * 3), "int")
    places = ("YEAR", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND")
    before = [exp.Literal.number(0)] * places.index(unit)
    return call("make_interval", *before, number)


def _added(node: exp.Expr, known: Types) -> exp.Expr:
    left, right = _type(node.this, known), _type(node.expression, known)
    if isinstance(node, exp.Sub) and left == right == "date":
        return typed(call("datediff", node.this, node.expression), "bigint")
    if "interval" not in (left, right) or left == right:
        return node
    moment, span = (node.this, node.expression) if right == "interval" else (node.expression, node.this)
    return type(node)(this=typed(moment, "timestamp_ntz"), expression=_span(span.unnest()))


def _date_add(node: exp.Expr, known: Types) -> exp.Expr:
    return exp.Paren(this=typed(node.this, "timestamp_ntz") + _span(node.expression.unnest()))


def _truncated(node: exp.Expr, known: Types) -> exp.Expr:
    return typed(call("date_trunc", node.text("unit"), node.this), "timestamp_ntz")


def _written(node: exp.Expr, known: Types) -> exp.Expr:
    return call("date_format", node.this, java_format(node.args["format"].name))


def _read(node: exp.Expr, known: Types) -> exp.Expr:
    name = "try_to_timestamp" if node.args.get("safe") else "to_timestamp"
    return typed(call(name, node.this, java_format(node.args["format"].name, reading=True)), "timestamp_ntz")


# Types.


def _cast(node: exp.Expr, known: Types) -> exp.Expr:
    to, kind = cast(ColumnType, cast_type(node.args["to"])), _type(node.this, known)
    safe = isinstance(node, exp.TryCast)
    if kind in ("text", "json", "string") and to != kind:
        return read_text(node.this, to, safe)
    if kind == "float" and to == "text":
        return float_text(typed(node.this, "double"))
    if kind == "float" and to == "int" and not isinstance(node.this, exp.Literal):
        return typed(call("rint", node.this), "bigint", safe)
    if to == "int" and isinstance(node.this, exp.Literal):
        return typed(call("round", node.this), "bigint", safe)
    return typed(node.this, SPARK_TYPES[to], safe)


def _compared(node: exp.Expr, known: Types) -> exp.Expr:
    if {_type(node.this, known), _type(node.expression, known)} == {"bool", "int"}:
        for side in ("this", "expression"):
            if _type(node.args[side], known) == "bool":
                node.set(side, typed(node.args[side], "bigint"))
    return node


# Windows.


def _window(node: exp.Expr, known: Types) -> exp.Expr:
    """Spark has no FILTER and no DISTINCT in windows, and numbers rows in 32 bits."""
    if (filtered := node.find(exp.Filter)) is not None:
        _unfiltered(filtered)
    function = node.this
    if isinstance(function, exp.Count) and isinstance(function.this, exp.Distinct):
        window = node.copy()
        window.set("this", call("collect_set", function.this.expressions[0]))
        return typed(call("size", window), "bigint")
    if isinstance(function, exp.RowNumber | exp.Rank | exp.DenseRank | exp.Ntile):
        return typed(node, "bigint")
    return node


def _unfiltered(node: exp.Expr) -> None:
    aggregate, condition = node.this, node.expression.this
    distinct = aggregate.this if isinstance(aggregate.this, exp.Distinct) else None
    counted = distinct.expressions[0] if distinct else aggregate.this
    value = either(condition.copy(), 1 if isinstance(counted, exp.Star) else counted, exp.null())
    aggregate.set("this", exp.Distinct(expressions=[value]) if distinct else value)
    node.replace(aggregate)


_FORMS: dict[type[exp.Expr], Callable[[Any, Types], exp.Expr]] = {
    **{exp.Div: _divided, exp.Log: _log, exp.Ln: lambda n, k: _positive(n.this, call("ln", n.this)), exp.Sqrt: _sqrt},
    **{exp.Asin: _arc("asin"), exp.Acos: _arc("acos"), exp.Trunc: _trunc},
    **{exp.Floor: lambda n, k: rounded_off("floor", n.this), exp.Ceil: lambda n, k: rounded_off("ceil", n.this)},
    **{exp.Sign: lambda n, k: typed(call("sign", n.this), "bigint")},
    exp.IsNan: _isnan,
    exp.IsInf: lambda n, k: exp.EQ(this=call("abs", n.this), expression=typed(exp.convert("inf"), "double")),
    **{exp.DPipe: _piped, exp.Concat: _concat, exp.ConcatWs: _concat_ws, exp.Substring: _substring, exp.Trim: _trim},
    **{exp.Left: _left, exp.Right: _right, exp.SplitPart: _split_part, exp.Like: _like, exp.ILike: _like},
    **{exp.RegexpLike: _matches, exp.RegexpFullMatch: _matches_whole},
    **{exp.RegexpExtract: _regexp_extract, exp.RegexpReplace: _regexp_replace},
    exp.Length: lambda n, k: typed(call("length", n.this), "bigint"),
    exp.StrPosition: lambda n, k: typed(call("locate", n.args["substr"], n.this), "bigint"),
    **{exp.Year: _part("year"), exp.Quarter: _part("quarter"), exp.Month: _part("month"), exp.Day: _part("day")},
    **{exp.Week: _part("weekofyear"), exp.DayOfYear: _part("dayofyear"), exp.DayOfWeek: _part("dayofweek", -1)},
    **{exp.DayOfWeekIso: _part("weekday", 1), exp.Hour: _part("hour"), exp.Minute: _part("minute")},
    **{exp.Second: _part("second"), exp.Extract: _extract, exp.TimeToUnix: _epoch, exp.DateDiff: _date_diff},
    **{exp.Add: _added, exp.Sub: _added, exp.DateAdd: _date_add, exp.TimestampTrunc: _truncated},
    exp.Monthname: lambda n, k: call("date_format", n.this, "MMMM"),
    exp.Dayname: lambda n, k: call("date_format", n.this, "EEEE"),
    exp.DateFromParts: lambda n, k: call("make_date", *(_int(n.args[part]) for part in ("year", "month", "day"))),
    **{exp.TimeToStr: _written, exp.StrToTime: _read, exp.Cast: _cast, exp.TryCast: _cast},
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ), _compared),
    exp.Window: _window,
}
