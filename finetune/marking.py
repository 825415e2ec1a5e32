"""SQL that people write, in the one form that the offline model learns: columns and literals marked, no needless space.

`marked` raises Unsayable for what that form (see `agentlab.slot_grammar`) has no words for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import sqlglot
from sqlglot import exp

from agentlab.slots import COLUMN, LITERAL

_COMPARED = {exp.EQ: "=", exp.NEQ: "!=", exp.GT: ">", exp.LT: "<", exp.GTE: ">=", exp.LTE: "<="}
_SUMS = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
_CONDITIONS = (exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, *_COMPARED)
_RAW = ("0", "1", "2", "100")


class Unsayable(ValueError):
    """SQL that the offline model's form lacks."""


def marked(sql: str, said: Collection[str], condition: bool = False) -> str:
    """The SQL with `COLUMN` and `LITERAL` around what the intent names; `said` are the literals that it says.

    >>> marked("price * (1 + 19 / 100)", {"19"}).replace("\\x01", "<").replace("\\x02", ">").replace("\\x03", "{").replace("\\x04", "}")
    '<price>*(1+{19}/100)'
    """
    try:
        tree = sqlglot.parse_one(sql, into=exp.Condition, dialect="duckdb")
    except sqlglot.ParseError as fault:
        raise Unsayable(f"can't be read as SQL: {sql}") from fault
    form = _Form(said)
    return form.condition(tree) if condition or isinstance(tree, _CONDITIONS) else form.value(tree)


class _Form:
    def __init__(self, said: Collection[str]) -> None:
        self.said = said

    # ---- conditions

    def condition(self, node: exp.Expr) -> str:
        """A condition, in the order in which it was written."""
        match node:
            case exp.Paren():
                return f"({self.condition(node.this)})"
            case exp.And() | exp.Or():
                word = " AND" if isinstance(node, exp.And) else " OR"
                return f"{self.condition(node.this)}{word}{self.condition(node.expression)}"
            case exp.Not():
                return self._not(node.this)
            case exp.Column():
                return f"{self.value(node)}=true"
            case exp.Is():
                return self._is(node)
            case exp.In():
                return f"{self.value(node.this)} IN({','.join(map(self.value, node.expressions))})"
            case exp.Between():
                low, high = self.value(node.args["low"]), self.value(node.args["high"])
                return f"{self.value(node.this)} BETWEEN{low} AND{high}"
            case exp.Like() | exp.ILike():
                return self._like(node)
        for kind, sign in _COMPARED.items():
            if isinstance(node, kind):
                return f"{self.value(node.this)}{sign}{self.value(node.expression)}"
        return self.value(node)

    def _not(self, inner: exp.Expr) -> str:
        bare = inner.this if isinstance(inner, exp.Paren) else inner
        if isinstance(bare, exp.Is) and isinstance(bare.expression, exp.Null) and not isinstance(inner, exp.Paren):
            return f"{self.value(bare.this)} IS NOT NULL"
        if isinstance(bare, exp.In) and not isinstance(inner, exp.Paren):
            return f"{self.value(bare.this)} NOT IN({','.join(map(self.value, bare.expressions))})"
        if isinstance(bare, exp.Column) and not isinstance(inner, exp.Paren):
            return f"{self.value(bare)}=false"
        return f"NOT({self.condition(bare)})"

    def _is(self, node: exp.Is) -> str:
        if isinstance(node.expression, exp.Null):
            return f"{self.value(node.this)} IS NULL"
        if isinstance(node.expression, exp.Boolean):
            return f"{self.value(node.this)}={str(node.expression.this).lower()}"
        raise Unsayable(node.sql("duckdb"))

    def _like(self, node: exp.Expr) -> str:
        if node.args.get("negate"):
            raise Unsayable(node.sql("duckdb"))
        pattern = node.expression.this if isinstance(node.expression, exp.Literal) else ""
        inner = pattern.strip("%")
        if not inner or "%" in inner or "_" in inner:
            raise Unsayable(node.sql("duckdb"))
        function = {(True, True): "contains", (False, True): "starts_with", (True, False): "ends_with"}.get(
            (pattern.startswith("%"), pattern.endswith("%"))
        )
        if function is None:
            return f"{self.value(node.this)}={LITERAL.format(inner)}"
        return f"{function}({self.value(node.this)},{LITERAL.format(inner)})"

    # ---- values

    def value(self, node: exp.Expr) -> str:
        """A value: a column, a literal, a sum, a call."""
        for kind, sign in _SUMS.items():
            if isinstance(node, kind):
                return self._sum(node, sign)
        match node:
            case exp.Column():
                return COLUMN.format(node.name)
            case exp.Literal():
                return self._literal(node)
            case exp.Neg(this=exp.Literal()):
                return self._number("-" + node.this.this)
            case exp.Paren():
                return f"({self.value(node.this)})"
            case exp.Boolean():
                return str(node.this).lower()
            case exp.DPipe():
                return f"{self.value(node.this)}||{self.value(node.expression)}"
            case exp.Concat():
                return "||".join(map(self.value, node.expressions))
            case exp.Case():
                return self._case(node)
            case exp.Window():
                return self._window(node)
            case exp.Cast():
                return self._cast(node)
            case exp.CurrentDate():
                return "current_date"
        return self._call(node)

    def _sum(self, node: exp.Expr, sign: str) -> str:
        if isinstance(node.this, exp.CurrentDate) and isinstance(node.expression, exp.Interval):
            unit = str(node.expression.args["unit"]).upper().removesuffix("S")
            count = node.expression.this
            number = count.this if isinstance(count, exp.Literal) else count.sql()
            if unit not in ("DAY", "WEEK", "MONTH", "YEAR", "HOUR") or sign not in "+-":
                raise Unsayable(node.sql("duckdb"))
            return f"current_date{sign}INTERVAL{self._number(number)} {unit}"
        return f"{self.value(node.this)}{sign}{self.value(node.expression)}"

    def _literal(self, node: exp.Literal) -> str:
        text = str(node.this)
        if not node.is_string:
            return self._number(text)
        if text in self.said or text.strip():
            return LITERAL.format(text) if text in self.said else self._mark(text)
        return f"'{text}'"

    def _mark(self, text: str) -> str:
        """A literal that the intent doesn't say: what stands between joined texts."""
        if text in (", ", "-", " - ", "/", "_", ",", ".", ": ", " / "):
            return f"'{text}'"
        return LITERAL.format(text)

    def _number(self, text: str) -> str:
        known = next((s for s in self.said if _same(s, text)), None)
        if known is not None:
            return LITERAL.format(format(float(text), ".15g"))
        if text in _RAW:
            return text
        raise Unsayable(f"the number {text} isn't said")

    def _cast(self, node: exp.Cast) -> str:
        kind = node.to.sql("duckdb").upper()
        if isinstance(node.this, exp.Literal) and kind in ("DATE", "TIMESTAMP"):
            return LITERAL.format(str(node.this.this)[:10])
        if kind == "DATE":
            return f"CAST({self.value(node.this)} AS DATE)"
        raise Unsayable(node.sql("duckdb"))

    def _case(self, node: exp.Case) -> str:
        if node.this is not None or node.args.get("default") is None:
            raise Unsayable(node.sql("duckdb"))
        cases = "".join(
            f" WHEN{self.condition(branch.this)} THEN{self.value(branch.args['true'])}" for branch in node.args["ifs"]
        )
        return f"CASE{cases} ELSE{self.value(node.args['default'])} END"

    def _window(self, node: exp.Window) -> str:
        if node.args.get("spec") is not None:
            raise Unsayable(node.sql("duckdb"))
        parts = []
        if by := node.args.get("partition_by"):
            if len(by) > 1:
                raise Unsayable(node.sql("duckdb"))
            parts.append(f"PARTITION BY{self.value(by[0])}")
        if order := node.args.get("order"):
            if len(order.expressions) > 1:
                raise Unsayable(node.sql("duckdb"))
            first = order.expressions[0]
            parts.append(f"ORDER BY{self.value(first.this)}{' DESC' if first.args.get('desc') else ''}")
        return f"{self._call(node.this)} OVER({' '.join(parts)})"

    def _call(self, node: exp.Expr) -> str:
        for kind, told in _CALLS.items():
            if isinstance(node, kind):
                return told(self, node)
        if isinstance(node, exp.Anonymous):
            name = str(node.this).lower()
            if name in _PLAIN:
                return f"{name}({','.join(map(self.value, node.expressions))})"
        raise Unsayable(node.sql("duckdb"))


def _same(said: str, number: str) -> bool:
    try:
        return float(said.replace(",", "")) == float(number)
    except ValueError:
        return False


#: Functions whose arguments stand as they are.
_PLAIN = ("dayname", "starts_with", "ends_with", "contains", "monthname", "hour", "row_number", "rank", "dense_rank")


def _unary(name: str) -> Callable[[_Form, exp.Expr], str]:
    return lambda form, node: f"{name}({form.value(node.this)})"


def _binary(name: str) -> Callable[[_Form, exp.Expr], str]:
    return lambda form, node: f"{name}({form.value(node.this)},{form.value(node.expression)})"


def _round(form: _Form, node: exp.Expr) -> str:
    places = node.args.get("decimals")
    told = places.this if isinstance(places, exp.Literal) else "0"
    number = form._number(told) if told in form.said else told
    return f"round({form.value(node.this)},{number})"


def _between(form: _Form, node: exp.Expr) -> str:
    unit = str(node.args["unit"].this if node.args.get("unit") else "day").strip("'").lower()
    return f"date_diff('{unit}',{form.value(node.expression)},{form.value(node.this)})"


def _coalesce(form: _Form, node: exp.Expr) -> str:
    return f"coalesce({form.value(node.this)},{','.join(map(form.value, node.expressions))})"


def _lag(name: str) -> Callable[[_Form, exp.Expr], str]:
    def told(form: _Form, node: exp.Expr) -> str:
        if node.args.get("offset") not in (None, exp.Literal.number(1)) or node.args.get("default"):
            raise Unsayable(node.sql("duckdb"))
        return f"{name}({form.value(node.this)})"

    return told


def _count(form: _Form, node: exp.Expr) -> str:
    return f"count({'' if isinstance(node.this, exp.Star) else form.value(node.this)})"


def _trunc(form: _Form, node: exp.Expr) -> str:
    return f"date_trunc('{str(node.args['unit'].this).lower()}',{form.value(node.this)})"


def _kinds() -> dict[type[exp.Expr], Callable[[_Form, exp.Expr], str]]:
    unary = {
        "Year": "year", "Month": "month", "Quarter": "quarter", "Day": "day", "DayOfMonth": "day", "Hour": "hour", "Dayname": "dayname",
        "Monthname": "monthname", "Length": "length", "Upper": "upper", "Lower": "lower", "Trim": "trim", "Abs": "abs",
        "Ceil": "ceil", "Floor": "floor", "Sum": "sum", "Avg": "avg", "Min": "min", "Max": "max", "WeekOfYear": "week", "Week": "week",
    }  # fmt: skip
    made: dict[type[exp.Expr], Callable[[_Form, exp.Expr], str]] = {
        getattr(exp, kind): _unary(name) for kind, name in unary.items() if hasattr(exp, kind)
    }
    binary = {"StartsWith": "starts_with", "EndsWith": "ends_with", "Contains": "contains", "ArrayContains": "contains"}
    made |= {getattr(exp, kind): _binary(name) for kind, name in binary.items() if hasattr(exp, kind)}
    own = {"Round": _round, "DateDiff": _between, "Coalesce": _coalesce, "Lag": _lag("lag"), "Lead": _lag("lead")}
    own |= {"Count": _count, "TimestampTrunc": _trunc, "DateTrunc": _trunc}
    own |= {
        k: (lambda form, node, n=n: f"{n}()")
        for k, n in (("RowNumber", "row_number"), ("Rank", "rank"), ("DenseRank", "dense_rank"))
    }
    return made | {getattr(exp, kind): told for kind, told in own.items() if hasattr(exp, kind)}


_CALLS = _kinds()
