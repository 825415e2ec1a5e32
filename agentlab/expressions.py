"""SQL scalar expressions and conditions from strangers: parsed, allow-listed, and regenerated from the tree.

What runs is never the text that came in: `vetting.py` judges the tree, `inference.py` its types, and the SQL is written
anew. Nothing is evaluated here, and the types of columns come from the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from agentlab.actions import ColumnType, Schema
from agentlab.errors import PlanError, unknown
from agentlab.functions import BY_NODE, NAMES
from agentlab.inference import cast_type, infer
from agentlab.sparkwords import for_spark
from agentlab.vetting import NO_SUBQUERY, vet

#: In characters. Longer than any expression that a person reads.
MAX_LENGTH = 2_000
#: Brackets and CASEs within each other, and operators before one operand.
MAX_DEPTH = 16

_DUCKDB = Dialect.get_or_raise("duckdb")


@dataclass(frozen=True)
class Expression:
    """An expression that is safe to run: `sql` for DuckDB, its columns' real names, its functions and its type."""

    sql: str
    columns: list[str]
    functions: list[str]
    type: ColumnType
    tree: exp.Expr = field(repr=False, compare=False)
    schema: Schema | None = field(default=None, repr=False, compare=False)

    def to(self, dialect: str) -> str:
        """The same as SQL of another dialect, as sqlglot translates it; for `spark`, with the same results."""
        return _sql(self.tree_for(dialect), dialect)

    def tree_for(self, dialect: str) -> exp.Expr:
        """The tree as an engine of that dialect computes it to the same results: `duckdb`, or `spark`."""
        return for_spark(self.tree, self.schema) if dialect in ("spark", "pyspark") else self.tree


def parse(sql: str, schema: Schema | None, *, boolean: bool = False) -> Expression:
    """Read an expression over a table's columns, or a condition (`boolean`), in which window functions can't stand.

    Column names match whatever their case. Division by zero gives a missing value. With no schema any column name goes.
    PlanError names every fault: what isn't allowed, unknown columns and functions, types that don't fit.

    >>> parse("Amount * 1.2", {"amount": "int"}).sql
    '"amount" * 1.2'
    >>> parse("upper(nam)", {"name": "text"})
    Traceback (most recent call last):
    agentlab.errors.PlanError: no column 'nam'; did you mean 'name'? There are: name (in: upper(nam))
    """
    tree = _tree(sql).transform(_tidy)
    faults = list(dict.fromkeys(vet(tree, schema, windows=not boolean)))
    if not faults:
        type, faults = _typed(tree, schema, boolean)
    if faults:
        raise _fault("; ".join(faults), sql)
    names = [f.names[0] for node in tree.dfs() if (f := BY_NODE.get(node.__class__))]
    columns = [column.name for column in tree.find_all(exp.Column, bfs=False)]
    tree = (exp.cast(tree, "text", dialect="duckdb") if type == "null" else tree).transform(_guard)
    shown = cast(ColumnType, "text" if type in ("null", "unknown") else type)
    used, called = list(dict.fromkeys(columns)), list(dict.fromkeys(names))
    return Expression(_sql(tree, "duckdb"), used, called, shown, tree, schema)


def _sql(tree: exp.Expr, dialect: str) -> str:
    return tree.sql(dialect, comments=False)


def _fault(message: str, sql: str) -> PlanError:
    shown = sql if len(sql) <= 120 else f"{sql[:117]}..."
    return PlanError(f"{message} (in: {shown})")


# Text to tree. The parser's time doubles with each level of some nestings, so tokens are judged before it sees them.


def _tree(sql: str) -> exp.Expr:
    if len(sql) > MAX_LENGTH:
        raise _fault(f"an expression has up to {MAX_LENGTH:,} characters, this one {len(sql):,}", sql)
    try:
        tokens = _DUCKDB.tokenize(sql)
    except SqlglotError:
        raise _fault("can't be read as SQL: a quote or comment isn't closed", sql) from None
    if refusal := _token_fault(tokens, sql):
        raise _fault(refusal, sql)
    try:
        tree = _DUCKDB.parser().parse_into(exp.Condition, tokens, sql)[0]
    except RecursionError:
        raise _fault("nested too deep; split it into several derived columns", sql) from None
    except Exception as fault:  # the parser meets some broken SQL with an IndexError and the like
        raise _fault(_syntax(fault), sql) from None
    if tree is None:
        raise _fault("there is no expression", sql)
    return tree


def _syntax(fault: Exception) -> str:
    if not isinstance(fault, ParseError) or not fault.errors:
        return "can't be read as an expression"
    error = fault.errors[0]
    place = f"at character {error['col']}, near {error['highlight']!r}"
    return f"can't be read as an expression: {error['description']} {place}"


_BEFORE_BRACKET = frozenset(
    {"and", "or", "not", "in", "between", "case", "when", "then", "else", "is", "like", "ilike", "escape", "over", "by"}
    | {"as", "filter", "where", "interval", "distinct", "from", "for"}
)
_PRECISE = frozenset(("decimal", "numeric", "varchar", "char"))
_OPEN = (TokenType.L_PAREN, TokenType.CASE)
_CLOSE = (TokenType.R_PAREN, TokenType.END)
_PREFIX = (TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.INTERVAL)


def _token_fault(tokens: Sequence[Token], sql: str) -> str | None:
    if not tokens:
        return "there is no expression"
    if "\0" in sql or any(token.comments for token in tokens):
        return "comments and zero bytes aren't allowed"
    if any(token.token_type == TokenType.SEMICOLON for token in tokens):
        return "';' isn't allowed: an expression is one, and no statement"
    if _depth(tokens) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels; split it into several derived columns"
    return "; ".join(dict.fromkeys(_call_faults(tokens))) or None


def _depth(tokens: Sequence[Token]) -> int:
    depth = run = deepest = 0
    for token in tokens:
        depth += (token.token_type in _OPEN) - (token.token_type in _CLOSE)
        run = run + 1 if token.token_type in _PREFIX else 0
        deepest = max(deepest, depth + run)
    return deepest


def _call_faults(tokens: Sequence[Token]) -> Iterator[str]:
    """Calls of unlisted names, and over four of those at whose nesting the parser is slow: types and `date(...)`."""
    slow = 0
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        called = after is not None and after.token_type == TokenType.L_PAREN
        name = token.text.lower()
        if token.token_type in (TokenType.SELECT, TokenType.WITH):
            yield NO_SUBQUERY
        elif name == "if" and not called and token.token_type != TokenType.IDENTIFIER:
            yield "there is no bare IF; write case when ... then ... else ... end"
        elif called and _is_word(token) and name not in _BEFORE_BRACKET and name not in NAMES | _PRECISE:
            yield unknown("function", token.text, sorted(NAMES))
        slow += called and (name in _PRECISE or name == "date")
    if slow > 4:
        yield "more than four precisions or calls of date(...); write date '...', or a cast without precision"


def _is_word(token: Token) -> bool:
    return token.token_type == TokenType.IDENTIFIER or re.fullmatch(r"\w+", token.text) is not None


# Tree to tree. Tidying comes before the checks, guarding after them.


def _tidy(node: exp.Expr) -> exp.Expr:
    """One form for what can be said in several ways."""
    if isinstance(node, exp.Anonymous) and len(node.expressions) == 2:
        return _named(node, *node.expressions)
    if isinstance(node, exp.Extract) and isinstance(node.this, exp.Literal):
        return exp.Extract(this=exp.Var(this=node.this.name.upper()), expression=node.expression)
    if isinstance(node, exp.Date) and not node.expressions and node.this and not node.args.get("zone"):
        return exp.cast(node.this, "date", dialect="duckdb")
    if isinstance(node, exp.DayOfMonth):
        return exp.Day(this=node.this)
    return exp.Week(this=node.this) if isinstance(node, exp.WeekOfYear) else node


def _named(node: exp.Anonymous, first: exp.Expr, second: exp.Expr) -> exp.Expr:
    name = node.name.lower()
    if name in ("date_part", "datepart") and isinstance(first, exp.Literal):
        return exp.Extract(this=exp.Var(this=first.name.upper()), expression=second)
    return exp.StrToTime(this=first, format=second, safe=True) if name == "try_strptime" else node


def _guard(node: exp.Expr) -> exp.Expr:
    """Types become the engine's seven, precise decimals a rounding, and a divisor of zero a missing value."""
    if isinstance(node, exp.Div | exp.IntDiv | exp.Mod) and not _nonzero(node.expression):
        node.set("expression", exp.Nullif(this=node.expression, expression=exp.Literal.number(0)))
    if isinstance(node, exp.Cast):
        digits = node.args["to"].expressions
        node.set("to", exp.DataType.build(_SQL_TYPES[cast(ColumnType, cast_type(node.args["to"]))], dialect="duckdb"))
        if len(digits) == 2:
            return exp.Round(this=node, decimals=digits[1].this)
    return node


_SQL_TYPES: dict[ColumnType, str] = {
    **{"int": "bigint", "float": "double", "text": "text", "date": "date"},
    **{"timestamp": "timestamp", "bool": "boolean", "json": "json"},
}


def _nonzero(node: exp.Expr) -> bool:
    if isinstance(node, exp.Nullif):
        return True
    return isinstance(node, exp.Literal) and not node.is_string and float(node.name) != 0


def _typed(tree: exp.Expr, schema: Schema | None, boolean: bool) -> tuple[str, list[str]]:
    type, faults = infer(tree, schema)
    if faults:
        return type, list(dict.fromkeys(faults))
    if type == "interval":
        faults = ["an interval can't be stored; date_diff('day', a, b) gives a number"]
    if boolean and type not in ("bool", "unknown", "null"):
        faults = [f"a condition must be true or false, this gives {type}; compare it with something"]
    return "text" if type == "string" else type, faults
