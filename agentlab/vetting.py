"""What the tree of an expression may hold: a list of allowed nodes, so that whatever isn't on it is refused.

`vet` yields every fault of a tree at once and sets its columns to their real names. Types are `inference.py`'s matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from sqlglot import exp

from agentlab.actions import Schema
from agentlab.errors import unknown
from agentlab.functions import BY_NODE, UNITS, WINDOWED
from agentlab.inference import cast_type, told

#: How many times longer than its argument a text function may make a text, nested ones multiplied.
MAX_GROWTH = 10_000

NO_SUBQUERY = "a subquery isn't allowed: an expression sees the rows of one table"
NO_STAR = "'*' isn't allowed; name the columns"

_OPERATORS = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Pow, exp.DPipe, exp.Neg, exp.Paren)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.In)
_LOGIC = (exp.And, exp.Or, exp.Not, exp.Between, exp.Like, exp.ILike, exp.Escape, exp.Case, exp.Null, exp.Boolean)
_FORMS = (exp.Cast, exp.TryCast, exp.Interval, exp.Window)

#: Nodes that may stand anywhere.
_FREE: frozenset[type[exp.Expr]] = frozenset((*_OPERATORS, *_COMPARISONS, *_LOGIC, *_FORMS, *BY_NODE))
#: Nodes that make sense only within another.
_WITHIN: dict[type[exp.Expr], tuple[type[exp.Expr], ...]] = {
    **{exp.WindowSpec: (exp.Window,), exp.Order: (exp.Window,), exp.Ordered: (exp.Order,), exp.Distinct: (exp.Count,)},
    **{exp.Filter: (exp.Window,), exp.Where: (exp.Filter,), exp.Star: (exp.Count,)},
    **{exp.IgnoreNulls: (exp.Window, exp.Filter), exp.RespectNulls: (exp.Window, exp.Filter)},
}
#: Arguments that change what an allowed node means.
_NO_ARGS = ("field", "query", "unnest", "alias", "first", "exclude", "action", "collation", "with_fill", "zone")
#: The most arguments of functions that some dialects give more. To imitate those in DuckDB, sqlglot repeats the
#: arguments, so nested calls would grow exponentially, in a message too.
_MOST: dict[type[exp.Expr], int] = {
    **{exp.Ceil: 1, exp.Floor: 1, exp.Length: 1, exp.StrPosition: 2, exp.Left: 2, exp.Right: 2},
    **{exp.Substring: 3, exp.SplitPart: 3},
}
#: Words that a node keeps as bare text and that are written out as they are.
_WORDS = frozenset(
    {"OVER", "ROWS", "RANGE", "GROUPS", "PRECEDING", "FOLLOWING", "UNBOUNDED", "CURRENT ROW"}
    | {"BOTH", "LEADING", "TRAILING"}
)
_REFUSALS: dict[type[exp.Expr], str] = {
    **dict.fromkeys((exp.Query, exp.Exists), NO_SUBQUERY),
    **dict.fromkeys((exp.Star, exp.Columns), NO_STAR),
    **dict.fromkeys((exp.Placeholder, exp.Parameter), "a placeholder has no value here; write the value"),
}
_Wrapper = (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)
_Patterned = (exp.RegexpLike, exp.RegexpFullMatch, exp.RegexpReplace, exp.RegexpExtract)


def vet(tree: exp.Expr, schema: Schema | None, windows: bool) -> Iterator[str]:
    """Every fault of a tree; its columns get their real names, quoted. With no schema, any column name goes."""
    yield from (surplus := list(_surplus(tree)))
    pending = [] if surplus else [(tree, 1.0)]
    while pending:
        node, growth = pending.pop()
        faults = list(_faults(node, schema, windows))
        growth *= _growth(node)
        if growth > MAX_GROWTH and not faults:
            faults = [f"{told(node)} could make texts over {MAX_GROWTH:,} times longer; use smaller numbers"]
        yield from faults
        if not faults and not isinstance(node, exp.Column):
            inner = (n for n in node.iter_expressions(reverse=True) if not isinstance(n, exp.DataType))
            pending.extend((n, growth) for n in inner)


def _faults(node: exp.Expr, schema: Schema | None, windows: bool) -> Iterator[str]:
    kind = type(node)
    if isinstance(node, exp.Column):
        yield from _column(node, schema)
    elif kind is exp.Literal:
        yield from _literal(node)
    elif kind is exp.Var:
        if node.name.upper() not in UNITS:
            yield unknown("unit", node.name.lower(), sorted(u.lower() for u in UNITS))
    elif kind in _FREE or isinstance(node.parent, _WITHIN.get(kind, ())):
        yield from _shape(node, windows)
    else:
        yield _refusal(node)


def _surplus(tree: exp.Expr) -> Iterator[str]:
    for node in tree.bfs():
        most = _MOST.get(type(node))
        if most is not None and sum(isinstance(value, exp.Expr) for value in node.args.values()) > most:
            yield f"{BY_NODE[type(node)].names[0]} takes up to {most} arguments"
        elif node.args.get("symmetric"):
            yield "BETWEEN SYMMETRIC isn't allowed; write between low and high"


def _refusal(node: exp.Expr) -> str:
    for kind, message in _REFUSALS.items():
        if isinstance(node, kind):
            return message
    return f"{told(node)} isn't allowed in an expression"


def _column(node: exp.Column, schema: Schema | None) -> Iterator[str]:
    if isinstance(node.this, exp.Star):
        yield NO_STAR
        return
    name = ".".join(part.name for part in node.parts)
    known = {name: "text"} if schema is None else schema
    real = name if name in known else next((c for c in known if c.lower() == name.lower()), None)
    if real is not None:
        for part in ("table", "db", "catalog"):
            node.set(part, None)
        node.set("this", exp.to_identifier(real, quoted=True))
    elif len(node.parts) > 1 and node.name in known:
        yield f"a column stands alone here: write {node.name}, not {name}"
    else:
        hint = f"; a text is written in single quotes: '{name}'" if node.this.args.get("quoted") else ""
        yield unknown("column", name, known) + hint


def _literal(node: exp.Expr) -> Iterator[str]:
    if node.is_string:
        return
    if not re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", node.name, re.IGNORECASE | re.ASCII):
        yield f"{node.name!r} isn't a number"
    elif not math.isfinite(float(node.name)) or (node.name.isdigit() and len(node.name) > 18):
        yield f"{told(node)} is too large a number; whole numbers have up to 18 digits"


def _shape(node: exp.Expr, windows: bool) -> Iterator[str]:
    """The parts of an allowed node: its own arguments, not what is in them."""
    if any(node.args.get(name) for name in _NO_ARGS) or not all(map(_plain, node.args.values())):
        yield f"{told(node)} has a part that isn't allowed in an expression"
    elif isinstance(node, exp.Star) and any(node.args.values()):
        yield NO_STAR
    elif isinstance(node, exp.Cast):
        yield from _cast(node)
    elif isinstance(node, exp.Window) or type(node) in WINDOWED:
        yield from _window(node, windows)
    elif isinstance(node, exp.Repeat | exp.Pad):
        yield from _length(node)
    elif isinstance(node, _Patterned):
        yield from _pattern(node)
    elif isinstance(node, exp.Interval) and not (node.this and node.args.get("unit")):
        yield f"{told(node)} isn't an interval of one unit; write e.g. interval 3 day"


def _plain(value: object) -> bool:
    return value.upper() in _WORDS if isinstance(value, str) else True


def _cast(node: exp.Cast) -> Iterator[str]:
    to = node.args["to"]
    sizes = [size.this for size in to.expressions]
    if node.args.get("format") or node.args.get("default"):
        yield f"{told(node)} has a part that isn't allowed in a cast"
    elif cast_type(to) is None or not all(isinstance(size, exp.Literal) and size.name.isdigit() for size in sizes):
        types = "bigint, double, text, date, timestamp, boolean, json"
        yield f"can't cast to {to.sql('duckdb')}; the types are {types}"


def _window(node: exp.Expr, windows: bool) -> Iterator[str]:
    if not windows:
        yield "a window function or aggregate can't stand in a condition; derive a column first, then filter on it"
    elif isinstance(node, exp.Window):
        yield from _over(node)
    elif not _in_window(node):
        yield f"{told(node)} reduces rows; write {told(node)} over (...), or use the action aggregate"


def _over(node: exp.Window) -> Iterator[str]:
    if type(_unwrapped(node.this)) not in WINDOWED:
        yield f"{told(node.this)} can't take OVER (...); only window functions and aggregates can"
    elif node.find_ancestor(exp.Window):
        yield f"{told(node)} is a window within a window; derive a column first"


def _unwrapped(node: exp.Expr) -> exp.Expr:
    while isinstance(node, _Wrapper):
        node = node.this
    return node


def _in_window(node: exp.Expr) -> bool:
    around = node.parent
    while isinstance(around, _Wrapper):
        around = around.parent
    return isinstance(around, exp.Window) and _unwrapped(around.this) is node


def _length(node: exp.Repeat | exp.Pad) -> Iterator[str]:
    """A length from a column could be anything, so it must be written out."""
    if _written_length(node) is None:
        yield f"the length in {told(node)} must be a number written out, up to {MAX_GROWTH:,}"


def _written_length(node: exp.Repeat | exp.Pad) -> int | None:
    length = node.args["times"] if isinstance(node, exp.Repeat) else node.expression
    return int(length.name) if isinstance(length, exp.Literal) and re.fullmatch(r"[0-9]+", length.name) else None


def _pattern(node: exp.Expr) -> Iterator[str]:
    from pyarrow import ArrowInvalid, array, compute  # not before a pattern needs it: it is slow to import

    pattern = node.expression
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        yield f"the pattern in {told(node)} must be a text written out"
        return
    try:
        compute.match_substring_regex(array([""]), pattern.name)  # RE2, as in DuckDB
    except ArrowInvalid as fault:
        yield f"{told(pattern)} isn't a regular expression: {str(fault).removeprefix('Invalid regular expression: ')}"


def _growth(node: exp.Expr) -> float:
    """An upper bound of how many times longer a function makes its text; 100 where data decides."""
    if isinstance(node, exp.Repeat | exp.Pad):
        return max(1.0, _written_length(node) or 1)
    if not isinstance(node, exp.Replace | exp.RegexpReplace):
        return 1.0
    old, new = node.expression, node.args.get("replacement")
    if not isinstance(new, exp.Literal) or not isinstance(old, exp.Literal):
        return 100.0
    if isinstance(node, exp.RegexpReplace):
        return 1.0 + len(new.name)
    return max(1.0, len(new.name) / max(1, len(old.name)))
