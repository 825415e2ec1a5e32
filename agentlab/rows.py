"""The rows of an Ibis table: their stored order, and SQL expressions computed over them.

The stored order is that of the files. No column holds it; where a form needs it, rows are numbered as they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
from sqlglot import exp

from agentlab.actions import ColumnType
from agentlab.engine import DTYPES, SQL_TYPES, type_of
from agentlab.expressions import Expression
from agentlab.sparkforms import SPARK_TYPES

#: Window functions whose result depends on the order of single rows, so that a tie must be broken.
_BY_ROW = (exp.RowNumber, exp.Lag, exp.Lead, exp.Ntile)
#: Those for which an order matters only where none is given: with one, rows that tie are one to them.
_BY_EDGE = (exp.FirstValue, exp.LastValue)

_TYPES = {"duckdb": SQL_TYPES, "pyspark": SPARK_TYPES}


def numbered(table: ibis.Table) -> tuple[ibis.Table, str]:
    """The table with a column that holds each row's place in the stored order, and that column's name, a new one."""
    at = "row"
    while any(column.lower().startswith(at) for column in table.columns):
        at += "_"
    return placed(table, at), at


def placed(table: ibis.Table, at: str) -> ibis.Table:
    """As `numbered`, with a name of the caller's. The rows of a version know their places where its engine says so."""
    op = table.op()
    if isinstance(op, ops.SQLQueryResult) and (known := getattr(op.source, "numbered", None)):
        rows: ibis.Table = known(op, at)
        return rows
    return table.mutate(ibis.row_number().name(at))


def first(table: ibis.Table, n: int) -> ibis.Table:
    """The first rows in the stored order. Spark's own limit takes rows from any of its partitions, so it counts."""
    if _dialect(table) == "duckdb":
        return table.limit(n)
    rows, at = numbered(table)
    return rows.filter(rows[at] < n).drop(at)


def unnumbered(rows: ibis.Table, at: str, *more: str) -> ibis.Table:
    """The rows back in the order of `at`, without it and without the other columns that helped."""
    return rows.order_by(at).drop(at, *more)


def satisfying(table: ibis.Table, condition: Expression) -> ibis.Table:
    """The rows for which the condition is true."""
    return _selected(table, exp.select("*").where(condition.tree_for(_dialect(table))), dict(table.schema().items()))


def derived(table: ibis.Table, column: str, expression: Expression) -> ibis.Table:
    """The table with a column added, or replaced in its place; windows go by the stored order where theirs is open."""
    if not expression.tree.find(exp.Window):
        return _with(table, column, expression.tree_for(_dialect(table)), expression.type)
    rows, at = numbered(table)
    tree = expression.tree_for(_dialect(table)).transform(_by_stored_order, at)
    return unnumbered(_with(rows, column, tree, expression.type), at)


def carried(table: ibis.Table, column: str, backwards: bool) -> ibis.Table:
    """Each missing value of the column from the nearest row before it that has one, or after it."""
    rows, at = numbered(table)
    order = exp.Ordered(this=exp.column(at, quoted=True), desc=backwards)
    value = exp.IgnoreNulls(this=exp.LastValue(this=exp.column(column, quoted=True)))
    tree = exp.Window(this=value, order=exp.Order(expressions=[order]), spec=_rows_to("CURRENT ROW"))
    return unnumbered(_with(rows, column, tree, type_of(table[column].type())), at)


def _with(table: ibis.Table, column: str, tree: exp.Expr, kind: ColumnType) -> ibis.Table:
    to = exp.DataType.build(_TYPES[_dialect(table)][kind], dialect=_dialect(table))
    value = exp.alias_(exp.Cast(this=tree, to=to), column, quoted=True)
    schema = {**dict(table.schema().items()), column: DTYPES[kind]}
    chosen = [value if name == column else exp.column(name, quoted=True) for name in schema]
    return _selected(table, exp.select(*chosen), schema)


def _selected(table: ibis.Table, query: exp.Select, schema: Mapping[str, dt.DataType]) -> ibis.Table:
    """The table through a SELECT of ours. Its alias follows from what it stands for, so equal plans give equal SQL."""
    dialect = _dialect(table)
    digest = hashlib.md5(str(ibis.to_sql(table, dialect=dialect)).encode(), usedforsecurity=False).hexdigest()
    alias = f"rows_{digest[:12]}"
    text = query.from_(exp.to_identifier(alias, quoted=True)).sql(dialect=dialect)
    return ops.SQLStringView(table.alias(alias).op(), text, ibis.schema(schema)).to_expr()


def _dialect(table: ibis.Table) -> str:
    backends, _ = table._find_backends()
    return str(backends[0].name) if backends else "duckdb"


def _by_stored_order(node: exp.Expr, at: str) -> exp.Expr:
    """In windows that leave an order open the stored one decides: it breaks ties, or stands where none is given."""
    if not isinstance(node, exp.Window):
        return node
    function = next(node.this.find_all(*_BY_ROW, *_BY_EDGE), None)
    order = node.args.get("order")
    stored = exp.Ordered(this=exp.column(at, quoted=True))
    if isinstance(function, _BY_ROW):
        node.set("order", exp.Order(expressions=[*(order.expressions if order else ()), stored]))
    elif isinstance(function, _BY_EDGE) and not order:
        node.set("order", exp.Order(expressions=[stored]))
        node.set("spec", node.args.get("spec") or _rows_to("UNBOUNDED", "FOLLOWING"))
    return node


def _rows_to(end: str, side: str | None = None) -> exp.WindowSpec:
    """A window's rows from the first on."""
    return exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end=end, end_side=side)
