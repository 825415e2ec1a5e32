"""What type an expression gives, and whether its parts fit together, by the rules of the engine (DuckDB).

It works on a tree that `vetting.py` has found harmless, and knows only the nodes that are allowed there. Column types
come from a schema; a column of unknown type fits everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Literal

from sqlglot import exp

from agentlab.actions import ColumnType, Schema
from agentlab.functions import BY_NODE, Function

#: A column's type, or what only occurs within an expression; `string` is a quoted literal, `unknown` fits everywhere.
Type = ColumnType | Literal["string", "null", "interval", "unknown"]

_GROUPS: dict[str, tuple[str, frozenset[Type]]] = {
    "text": ("text", frozenset({"text", "string", "json"})),
    "number": ("a number", frozenset({"int", "float"})),
    "whole": ("whole numbers", frozenset({"int"})),
    "moment": ("a date or timestamp", frozenset({"date", "timestamp"})),
    "truth": ("true or false", frozenset({"bool"})),
    "any": (
        "any value",
        frozenset({"text", "string", "json", "int", "float", "date", "timestamp", "bool", "interval"}),
    ),
}
_HINTS = {
    "text": "; cast({0} as text) makes it one",
    "number": "; try_cast({0} as double) makes it one",
    "whole": "; for other numbers use floor(a / b)",
    "moment": "; try_cast({0} as date) makes it one",
    "truth": "; compare it with something",
    "any": "",
}
_CASTS: dict[exp.DType, ColumnType] = {
    **dict.fromkeys((exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.INT128), "int"),
    **dict.fromkeys((exp.DType.FLOAT, exp.DType.DOUBLE, exp.DType.DECIMAL), "float"),
    **dict.fromkeys((exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.CHAR), "text"),
    **dict.fromkeys((exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.DATETIME), "timestamp"),
    **{exp.DType.DATE: "date", exp.DType.BOOLEAN: "bool", exp.DType.JSON: "json"},
}


def cast_type(to: exp.DataType) -> ColumnType | None:
    """The column type that a SQL type stands for; None if it is none of the seven."""
    return _CASTS.get(to.this)


def infer(tree: exp.Expr, schema: Schema | None) -> tuple[Type, list[str]]:
    """The tree's type and every fault found in it; with a fault, the type isn't to be relied on."""
    inference = Inference(schema)
    for node in reversed(list(tree.bfs())):
        inference.types[id(node)] = inference.type_of(node)
    return inference.of(tree), list(reversed(inference.faults))


def types(tree: exp.Expr, schema: Schema | None) -> dict[int, Type]:
    """The type of each of the tree's nodes, by its `id`."""
    inference = Inference(schema)
    for node in reversed(list(tree.bfs())):
        inference.types[id(node)] = inference.type_of(node)
    return inference.types


def readable(text: str, type: Type) -> bool:
    """Whether the engine could read a quoted literal as a value of that type.

    >>> readable("2024-02-30", "date"), readable("12", "int")
    (False, True)
    """
    try:
        if (reader := _READERS.get(type)) is not None:
            reader(text)
    except ValueError:
        return False
    return True


def _bool(text: str) -> None:
    if text.lower() not in {"true", "false", "t", "f", "yes", "no", "y", "n", "1", "0"}:
        raise ValueError(text)


_READERS: dict[Type, Callable[[str], object]] = {
    **{"int": int, "float": float, "bool": _bool, "json": json.loads},
    **{"date": date.fromisoformat, "timestamp": datetime.fromisoformat},
}
_FORMS = {"date": "'YYYY-MM-DD'", "timestamp": "'YYYY-MM-DD HH:MM:SS'", "bool": "true or false"}


def told(node: exp.Expr) -> str:
    """The node as a person would write it, shortened for a message."""
    sql = re.sub(r'"([A-Za-z_]\w*)"', r"\1", node.sql("duckdb", comments=False))
    return re.sub(r"\s+", " ", sql) if len(sql) <= 60 else f"{sql[:57]}..."


class Inference:
    """The types of a tree's nodes, children before parents, and the faults met on the way."""

    def __init__(self, schema: Schema | None) -> None:
        self.schema = schema
        self.types: dict[int, Type] = {}
        self.faults: list[str] = []

    def of(self, node: exp.Expr | None) -> Type:
        return "null" if node is None else self.types[id(node)]

    def type_of(self, node: exp.Expr) -> Type:
        if rule := _RULES.get(type(node)):
            return rule(self, node)
        if function := BY_NODE.get(type(node)):
            return self.call(node, function)
        return "unknown"

    def fault(self, message: str) -> Type:
        self.faults.append(message)
        return "unknown"

    def need(self, node: exp.Expr | None, group: str, what: str) -> bool:
        """Whether the node is of that group; a fault is noted when it isn't."""
        words, types = _GROUPS[group]
        found = self.of(node)
        if node is None or found in types or found in ("null", "unknown"):
            return True
        hint = (
            f"; write date {told(node)}" if (group, found) == ("moment", "string") else _HINTS[group].format(told(node))
        )
        self.fault(f"{what} needs {words}, but {told(node)} is {_shown(found)}{hint}")
        return False

    def agree(self, nodes: Iterable[exp.Expr | None], what: str, loose: bool = False) -> Type:
        """The one type that all nodes can have; `loose` lets 0 and 1 stand for false and true, as comparisons do."""
        present = [n for n in nodes if n is not None]
        types = {self.of(n) for n in present}
        known = types - {"string", "null", "unknown"}
        if not known:
            return "unknown" if "unknown" in types else "string" if "string" in types else "null"
        common = _common(known, loose)
        if common is None:
            shown = ", ".join(f"{told(n)} is {_shown(self.of(n))}" for n in present if self.of(n) in known)
            return self.fault(f"{what} can't mix types: {shown}; cast one of them")
        self._read_literals(present, common, what)
        return common

    def _read_literals(self, nodes: list[exp.Expr], type: Type, what: str) -> None:
        for literal in (n.unnest() for n in nodes):
            if isinstance(literal, exp.Literal) and literal.is_string and not readable(literal.name, type):
                form = f"; write {_FORMS[type]}" if type in _FORMS else ""
                self.fault(f"{what}: {told(literal)} can't be read as {_shown(type)}{form}")

    def call(self, node: exp.Expr, function: Function) -> Type:
        """The result of an allowed function, its first argument checked."""
        name = function.names[0]
        first = node.this if isinstance(node.this, exp.Expr) else None
        self.need(first, function.takes, name)
        if function.gives == "agreed":
            return _column(self.agree([node.this, *node.expressions, node.args.get("expression")], name))
        return _column(self.of(first)) if function.gives == "same" else function.gives


def _shown(type: Type) -> str:
    return "quoted text" if type == "string" else type


def _column(type: Type) -> Type:
    return "text" if type == "string" else type


def _common(types: set[Type], loose: bool) -> Type | None:
    if len(types) == 1:
        return next(iter(types))
    if types == {"int", "float"}:
        return "float"
    if types == {"date", "timestamp"}:
        return "timestamp"
    return "bool" if loose and types == {"bool", "int"} else None


def _literal(self: Inference, node: exp.Expr) -> Type:
    if node.is_string:
        return "string"
    return "int" if node.name.isdigit() else "float"


def _name(self: Inference, node: exp.Expr) -> Type:
    return "unknown" if self.schema is None else self.schema.get(node.name, "unknown")


def _same(self: Inference, node: exp.Expr) -> Type:
    return self.of(node.this)


def _first(self: Inference, node: exp.Expr) -> Type:
    return self.of(node.expressions[0])


def _negative(self: Inference, node: exp.Expr) -> Type:
    found = self.of(node.this)
    return found if found == "interval" or self.need(node.this, "number", "'-'") else "unknown"


def _logic(self: Inference, node: exp.Expr) -> Type:
    for operand in (node.this, node.args.get("expression")):
        self.need(operand, "truth", node.key)
    return "bool"


def _compare(self: Inference, node: exp.Expr) -> Type:
    self.agree([node.this, node.expression], f"{told(node)}:", loose=True)
    return "bool"


def _between(self: Inference, node: exp.Expr) -> Type:
    self.agree([node.this, node.args["low"], node.args["high"]], "between")
    return "bool"


def _in(self: Inference, node: exp.Expr) -> Type:
    self.agree([node.this, *node.expressions], "in", loose=True)
    return "bool"


def _is(self: Inference, node: exp.Expr) -> Type:
    if isinstance(node.expression, exp.Boolean):
        self.need(node.this, "truth", "is true / is false")
    return "bool"


def _like(self: Inference, node: exp.Expr) -> Type:
    for operand in (node.this, node.expression):
        self.need(operand, "text", node.key)
    return "bool"


_SIGNS: dict[type[exp.Expr], str] = {
    **{exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "//", exp.Mod: "%", exp.Pow: "**"}
}


def _arithmetic(self: Inference, node: exp.Expr) -> Type:
    """Numbers with numbers; a whole result only of whole operands."""
    sign = _SIGNS[type(node)]
    group = "whole" if isinstance(node, exp.IntDiv) else "number"
    fits = [self.need(operand, group, f"'{sign}'") for operand in (node.this, node.expression)]
    if not all(fits):
        return "unknown"
    if isinstance(node, exp.Div | exp.Pow):
        return "float"
    return self.agree([node.this, node.expression], f"'{sign}'")


def _sum(self: Inference, node: exp.Expr) -> Type:
    """Addition and subtraction: also of moments, days and intervals."""
    left, right = self.of(node.this), self.of(node.expression)
    if not {left, right} & {"date", "timestamp", "interval"}:
        return _arithmetic(self, node)
    if "unknown" in (left, right) or "null" in (left, right):
        return "unknown"
    if (found := _moments(left, right, isinstance(node, exp.Sub))) is None:
        sign = _SIGNS[type(node)]
        return self.fault(f"can't compute {_shown(left)} {sign} {_shown(right)} in {told(node)}")
    if found == "date" and not all(_whole_literal(n) for n in (node.this, node.expression) if self.of(n) == "int"):
        return self.fault(f"can't add a computed number of days in {told(node)}; write date + interval (number) day")
    return found


def _moments(left: Type, right: Type, minus: bool) -> Type | None:
    moments = ("date", "timestamp")
    if left in moments and right in moments and minus:
        return "int" if left == right == "date" else "interval"
    if not minus and right in moments:
        left, right = right, left
    if left in moments and right == "interval":
        return "timestamp"
    if (left, right) == ("interval", "interval"):
        return "interval"
    return "date" if (left, right) == ("date", "int") else None


def _whole_literal(node: exp.Expr) -> bool:
    return isinstance(node.unnest(), exp.Literal | exp.Neg)


def _case(self: Inference, node: exp.Expr) -> Type:
    conditions = [branch.this for branch in node.args["ifs"]]
    if node.this:
        self.agree([node.this, *conditions], "case")
    else:
        for condition in conditions:
            self.need(condition, "truth", "when")
    results = [branch.args["true"] for branch in node.args["ifs"]]
    return _column(self.agree([*results, node.args.get("default")], "case"))


def _if(self: Inference, node: exp.Expr) -> Type:
    if isinstance(node.parent, exp.Case):
        return "unknown"
    self.need(node.this, "truth", "if")
    return _column(self.agree([node.args["true"], node.args.get("false")], "if"))


def _cast(self: Inference, node: exp.Expr) -> Type:
    to = cast_type(node.args["to"]) or "unknown"
    if not isinstance(node, exp.TryCast):
        self._read_literals([node.this], to, "cast")
    return to


def _extract(self: Inference, node: exp.Expr) -> Type:
    self.need(node.expression, "moment", "extract")
    return "float" if node.this.name.upper() == "EPOCH" else "int"


def _date_diff(self: Inference, node: exp.Expr) -> Type:
    found = self.agree([node.this, node.expression], "date_diff")
    if found == "string":
        self.fault(f"date_diff needs a date or timestamp in {told(node)}; write date '...'")
    elif found not in ("date", "timestamp", "unknown", "null"):
        self.need(node.this, "moment", "date_diff")
        self.need(node.expression, "moment", "date_diff")
    return "int"


def _concat(self: Inference, node: exp.Expr) -> Type:
    return "text"


def _filtered(self: Inference, node: exp.Expr) -> Type:
    self.need(node.expression.this, "truth", "filter")
    return self.of(node.this)


_RULES: dict[type[exp.Expr], Callable[[Inference, exp.Expr], Type]] = {
    **{exp.Literal: _literal, exp.Column: _name, exp.Null: lambda s, n: "null", exp.Boolean: lambda s, n: "bool"},
    **dict.fromkeys((exp.Paren, exp.Window, exp.IgnoreNulls, exp.RespectNulls, exp.Escape), _same),
    **{exp.Distinct: _first, exp.Filter: _filtered, exp.Neg: _negative},
    **dict.fromkeys((exp.And, exp.Or, exp.Not), _logic),
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ), _compare),
    **{exp.Between: _between, exp.In: _in, exp.Is: _is, exp.Like: _like, exp.ILike: _like},
    **dict.fromkeys((exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Pow), _arithmetic),
    **{exp.Add: _sum, exp.Sub: _sum, exp.DPipe: _concat, exp.Case: _case, exp.If: _if},
    **{exp.Cast: _cast, exp.TryCast: _cast, exp.Interval: lambda s, n: "interval"},
    **{exp.Extract: _extract, exp.DateDiff: _date_diff},
}
