"""A saved query: one read-only SELECT from a stranger, checked, bound to the tables that it names, and timed.

What runs is regenerated from the tree, in which every table is one that we were given. Logging, tuning and explaining
are `workload.py`'s and `tune.py`'s work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from agentlab import functions
from agentlab.engine import Engine
from agentlab.errors import LabError, PlanError, unknown

#: In characters; a longer text is no query that a person wrote.
LONGEST = 20_000

#: In seconds; a query that runs longer is stopped.
PATIENCE = 120.0

_AGGREGATES: dict[str, type[exp.Expr]] = {
    **{
        "stddev_samp": exp.StddevSamp,
        "stddev_pop": exp.StddevPop,
        "var_samp": exp.Variance,
        "var_pop": exp.VariancePop,
    },
    **{"quantile_cont": exp.PercentileCont, "quantile_disc": exp.PercentileDisc, "quantile": exp.Quantile},
    **{"mode": exp.Mode, "any_value": exp.AnyValue, "arg_max": exp.ArgMax, "arg_min": exp.ArgMin, "first": exp.First},
    **{
        "last": exp.Last,
        "string_agg": exp.GroupConcat,
        "count_if": exp.CountIf,
        "approx_count_distinct": exp.ApproxDistinct,
    },
    **{"bool_and": exp.LogicalAnd, "bool_or": exp.LogicalOr, "corr": exp.Corr, "covar_samp": exp.CovarSamp},
    **{"covar_pop": exp.CovarPop, "nth_value": exp.NthValue, "exists": exp.Exists},
}
_FORMS = (exp.And, exp.Or, exp.Xor, exp.Case, exp.If, exp.Cast, exp.TryCast)
_MOMENTS = (exp.CurrentDate, exp.CurrentTimestamp)
#: Padding and repeating can make a gigabyte of one letter, so queries do without.
_BOMBS = (exp.Pad, exp.Repeat)
_CALLS = tuple({*functions.BY_NODE, *_AGGREGATES.values(), *_FORMS, *_MOMENTS} - {*_BOMBS})
_NAMES = (functions.NAMES | _AGGREGATES.keys()) - {"lpad", "rpad", "repeat"}
_FORBIDDEN = (
    exp.DDL,
    exp.DML,
    exp.Command,
    exp.Describe,
    exp.Show,
    exp.Summarize,
    exp.Set,
    exp.Pragma,
    exp.Into,
    exp.Lock,
)
_UNBOUND = (exp.Placeholder, exp.Parameter, exp.SessionParameter, exp.HistoricalData, exp.TableSample)


@dataclass(frozen=True)
class Query:
    """A checked SELECT. `sql` is its canonical text, `tables` those that it reads, in order of mention.

    In `tree` a table is the single identifier `inner(name)`. A `steady` query gives the same answer while its tables
    don't change; one that asks for the present moment isn't.
    """

    sql: str
    tree: exp.Query
    tables: tuple[str, ...]
    steady: bool


def inner(table: str) -> str:
    """The name of a table inside a checked query; the space keeps it apart from any that a query may define."""
    return f"table {table}"


def check(sql: str, tables: Iterable[str]) -> Query:
    """Read a stranger's SQL; PlanError unless it is one SELECT over these tables that calls allowed functions only.

    >>> check("select sum(amount) from Staging.Orders", ["staging.orders"]).tables
    ('staging.orders',)
    >>> check("select * from read_csv('/etc/passwd')", ["staging.orders"])
    Traceback (most recent call last):
    agentlab.errors.PlanError: a query can't read from read_csv; it reads tables by their names
    """
    tree = _parsed(sql)
    _no_harm(tree)
    canonical = tree.sql("duckdb", comments=False)
    found = _name_tables(tree, {name.lower(): name for name in tables})
    return Query(canonical, tree, found, steady=not tree.find(*_MOMENTS))


def ordered_by(query: Query, columns: Sequence[str]) -> tuple[int, ...]:
    """The places of the result's columns by which the query orders, the first first, as far as they are in the result.

    >>> query = check("select city, sum(n) as total from t group by city order by total desc, 1", ["t"])
    >>> ordered_by(query, ["city", "total"])
    (1, 0)
    """
    order, names = query.tree.args.get("order"), [column.lower() for column in columns]
    places: list[int] = []
    for key in order.expressions if order else ():
        place = _place(key.this, query.tree, names)
        if place is None:
            break
        places.append(place)
    return tuple(places)


def _place(key: exp.Expr, tree: exp.Query, names: Sequence[str]) -> int | None:
    if isinstance(key, exp.Literal) and key.is_int and 1 <= int(key.name) <= len(names):
        return int(key.name) - 1
    if isinstance(key, exp.Column) and not key.table and names.count(key.name.lower()) == 1:
        return names.index(key.name.lower())
    selected = [one.unalias() for one in tree.selects]
    return selected.index(key) if key in selected and len(selected) == len(names) else None


def bind(engine: Engine, query: Query, views: Mapping[str, ibis.Table]) -> str:
    """The SQL that DuckDB runs, with each of the query's tables read from its view."""
    tree = query.tree.copy()
    # Copied into the query rather than materialised before it, so that filters still reach the files.
    given = [_as_cte(inner(name), _body(engine, views[name])) for name in query.tables]
    if given and (own := tree.args.get("with_")):
        own.set("expressions", [*given, *own.expressions])
    elif given:
        tree.set("with_", exp.With(expressions=given))
    return str(tree.sql("duckdb", comments=False))


def fetch(engine: Engine, sql: str, seconds: float = PATIENCE) -> tuple[pa.Table, float]:
    """Run bound SQL: its rows, and how long the engine took in milliseconds.

    PlanError when the engine finds a fault in the query, LabError when it took longer than `seconds`.
    """
    connection = engine.con.con
    clock = threading.Timer(seconds, connection.interrupt)
    clock.daemon = True
    clock.start()
    began = time.perf_counter()
    try:
        rows = connection.execute(sql).to_arrow_table()
    except duckdb.InterruptException as fault:
        raise LabError(f"the query was stopped after {seconds:g} seconds; ask for fewer rows or groups") from fault
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as fault:
        raise PlanError(f"the query can't run: {_first_lines(fault)}") from fault
    except duckdb.Error as fault:
        raise LabError(f"the engine failed on the query: {_first_lines(fault)}") from fault
    finally:
        clock.cancel()
    return rows, (time.perf_counter() - began) * 1000


def _parsed(sql: str) -> exp.Query:
    if len(sql) > LONGEST:
        raise PlanError(f"a query has at most {LONGEST:,} characters, this one {len(sql):,}")
    try:
        statements = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except (SqlglotError, RecursionError) as fault:
        raise PlanError(f"can't read the query: {_first_lines(fault) or 'too deeply nested'}") from fault
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        told = " and ".join(tree.key.upper() for tree in statements) or "nothing"
        raise PlanError(f"a query is one SELECT, this is {told}")
    tree = statements[0]
    return exp.select("*").from_(tree) if isinstance(tree, exp.Subquery) else tree


def _no_harm(tree: exp.Query) -> None:
    for node in tree.walk():
        if isinstance(node, _FORBIDDEN + _UNBOUND):
            raise PlanError(f"a query only reads tables; {node.key.upper()} can't be part of one")
        if isinstance(node, exp.With) and node.recursive:
            raise PlanError("a query can't be recursive; join a table to itself instead")
        if isinstance(node, exp.Func) and not isinstance(node, _CALLS):
            raise PlanError(f"a query can't call {_called(node)}; {unknown('function', _called(node), _NAMES)}")
        if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
            raise PlanError(f"a query can't read from {_called(node.this)}; it reads tables by their names")


def _called(node: exp.Expr) -> str:
    name = node.name if isinstance(node, exp.Anonymous) else node.sql_names()[0] if isinstance(node, exp.Func) else ""
    return str(name or node.key).lower()


def _name_tables(tree: exp.Query, known: Mapping[str, str]) -> tuple[str, ...]:
    """Give each table its inner name, keeping the name that columns call it by; the tables, in order of mention."""
    found: dict[str, str] = {}
    for node in [*tree.find_all(exp.Table)]:
        said = ".".join(part.name for part in node.parts)
        if not node.db and node.name.lower() in {cte.lower() for cte in _ctes_in_sight(node)}:
            continue
        if said.lower() not in known:
            raise PlanError(unknown("table", said, known.values()))
        found[said.lower()] = node.alias_or_name
        _rename(node, inner(known[said.lower()]))
    _shorten_columns(tree, found)
    return tuple(known[name] for name in found)


def _rename(node: exp.Table, name: str) -> None:
    alias = node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(node.name, quoted=True))
    node.set("alias", alias)
    node.set("db", None)
    node.set("this", exp.to_identifier(name, quoted=True))


def _shorten_columns(tree: exp.Query, aliases: Mapping[str, str]) -> None:
    """Turn `staging.orders.id` into `orders.id`, since inside the query the table has one name only."""
    for column in tree.find_all(exp.Column):
        if column.args.get("db") and f"{column.text('db')}.{column.table}".lower() in aliases:
            column.set("db", None)


def _ctes_in_sight(node: exp.Expr) -> Iterator[str]:
    """The names that WITH clauses define where a node stands: all of those around it, the earlier ones of its own."""
    child, parent = node, node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            yield from (cte.alias for cte in parent.expressions[: child.index])
        elif isinstance(child, exp.With):
            pass
        elif own := parent.args.get("with_"):
            yield from (cte.alias for cte in own.expressions)
        child, parent = parent, parent.parent


def _body(engine: Engine, view: ibis.Table) -> exp.Expr:
    if view.op().find(ops.InMemoryTable):
        # The engine gets to know Arrow data when it first computes with it.
        engine.con.to_pyarrow(view.limit(0))
    body: exp.Expr = engine.con.compiler.to_sqlglot(view)
    return body


def _as_cte(name: str, body: exp.Expr) -> exp.CTE:
    alias = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
    return exp.CTE(this=body, alias=alias, materialized=False)


def _first_lines(fault: BaseException) -> str:
    lines = [line for line in str(fault).splitlines() if line.strip()]
    return " ".join(lines[:2])
