"""Layouts: other ways to store a table, or a query's result, for quicker answers; and which may be worth trying.

A layout answers only for the versions of the tables that it was made of. Whether it is quicker, `tune.py` measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from agentlab.actions import Action, Index, Materialize, OrderBy, Partition, Schema
from agentlab.copies import Copy, Shape
from agentlab.errors import PlanError
from agentlab.queries import Query, inner

Kind = Literal["index", "order", "partition", "materialized"]
Use = Literal["equal", "filter", "group", "join", "result"]

#: Candidates for one query; each is built and measured, so this bounds the cost of tuning.
MOST_CANDIDATES = 8


class Candidate(BaseModel):
    """A layout worth trying: of a table by columns, or of a query's result. `use`: what in the query asks for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    table: str = ""
    columns: tuple[str, ...] = ()
    use: Use = "filter"

    @property
    def shape(self) -> Shape:
        """How its copy is written."""
        match self.kind:
            case "index":
                return Shape(format="duckdb", order_by=self.columns, index=self.columns)
            case "order":
                return Shape(order_by=self.columns)
            case "partition":
                return Shape(partition_by=self.columns)
            case "materialized":
                return Shape()

    def __str__(self) -> str:
        if self.kind == "materialized":
            return "the query's result, materialized"
        how = {"index": "indexed on", "order": "sorted by", "partition": "in folders by"}[self.kind]
        return f"{self.table} {how} {', '.join(self.columns)}"


class LayoutDoc(BaseModel):
    """A layout that was measured and kept, made of `versions` (table to version number).

    `query` and `sql` are of the query on which it gained most: from `before_ms` to `after_ms`, `gain` times. `faster`
    and `slower` hold the SQL of every query that it was measured on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    table: str = ""
    columns: tuple[str, ...] = ()
    query: str
    sql: str
    path: str
    data: Copy
    versions: dict[str, int]
    before_ms: float
    after_ms: float
    gain: float
    build_ms: float
    faster: tuple[str, ...] = ()
    slower: tuple[str, ...] = ()

    def is_like(self, other: LayoutDoc) -> bool:
        """Whether the other is of the same table by the same columns, or of the query of the same name."""
        made = (self.kind, self.table, self.columns) == (other.kind, other.table, other.columns)
        return made and (self.kind != "materialized" or self.query == other.query)

    def holds_the_same(self, other: LayoutDoc) -> bool:
        """Whether the files of both have the same rows in the same form, so that one of them is enough."""
        return self.is_like(other) and self.versions == other.versions and self.kind != "materialized"

    def joined(self, newer: LayoutDoc) -> LayoutDoc:
        """This layout, good for what both are good for; of a query that both were measured on, the newer one tells."""
        told = {*newer.faster, *newer.slower}
        best = self if self.gain > newer.gain and self.sql not in told else newer
        faster = (*(sql for sql in self.faster if sql not in told), *newer.faster)
        slower = (*(sql for sql in self.slower if sql not in told), *newer.slower)
        ours = {"path": self.path, "data": self.data, "build_ms": self.build_ms}
        return best.model_copy(update={**ours, "name": self.name, "faster": faster, "slower": slower})


def candidate_of(action: Action) -> Candidate:
    """The layout that an action asks for.

    >>> str(candidate_of(OrderBy(table="staging.orders", columns=("order_date",))))
    'staging.orders sorted by order_date'
    """
    match action:
        case Index(table=table, columns=columns):
            return Candidate(kind="index", table=table, columns=columns)
        case OrderBy(table=table, columns=columns):
            return Candidate(kind="order", table=table, columns=columns)
        case Partition(table=table, by=column):
            return Candidate(kind="partition", table=table, columns=(column,))
        case Materialize():
            return Candidate(kind="materialized", use="result")
    raise PlanError(f"{action.tool()} makes no layout; index, order_by, partition and materialize do")


def candidates(query: Query, schemas: Mapping[str, Schema]) -> list[Candidate]:
    """The layouts that the query's own structure suggests, the likeliest first.

    >>> from agentlab.queries import check
    >>> query = check("select id from orders where status = 'open' and paid > 5", ["orders"])
    >>> for candidate in candidates(query, {"orders": {"id": "int", "status": "text", "paid": "float"}}):
    ...     print(candidate)
    the query's result, materialized
    orders indexed on status
    orders sorted by status, paid
    orders in folders by status
    orders in folders by paid
    """
    found = [Candidate(kind="materialized", use="result")] if query.steady else []
    for table, uses in _uses(query, schemas).items():
        found += dict.fromkeys(_of_table(table, uses))
    return found[:MOST_CANDIDATES]


def choose(
    query: Query, layouts: Iterable[LayoutDoc], versions: Mapping[str, int], schemas: Mapping[str, Schema], root: Path
) -> LayoutDoc | None:
    """The layout to answer the query from, if one is of the tables' current versions and made for such queries."""
    wanted = candidates(query, schemas)
    for layout in sorted(layouts, key=lambda layout: -layout.gain):
        if is_current(layout, versions) and _serves(layout, query, wanted) and (root / layout.path).exists():
            return layout
    return None


def is_current(layout: LayoutDoc, versions: Mapping[str, int]) -> bool:
    """Whether every table is still at the version that the layout was made of."""
    return all(versions.get(table) == n for table, n in layout.versions.items())


def _serves(layout: LayoutDoc, query: Query, wanted: Iterable[Candidate]) -> bool:
    if query.sql in layout.faster or query.sql in layout.slower:
        return query.sql in layout.faster
    # Not measured on this very query, but on others like it: look-ups of other values.
    alike = [c for c in wanted if (c.kind, c.table) == (layout.kind, layout.table) and c.use in ("equal", "filter")]
    return layout.kind != "materialized" and any(c.columns[0] in layout.columns[: _leading(layout)] for c in alike)


def _leading(layout: LayoutDoc) -> int:
    """How many of the columns help by themselves: of a sorted table only the first one."""
    return 1 if layout.kind == "order" else len(layout.columns)


def _of_table(table: str, uses: Mapping[Use, list[str]]) -> Iterator[Candidate]:
    equal, ranges = uses.get("equal", []), uses.get("filter", [])
    for column in equal:
        yield Candidate(kind="index", table=table, columns=(column,), use="equal")
    if filtered := tuple(dict.fromkeys([*equal, *ranges])):
        yield Candidate(kind="order", table=table, columns=filtered)
    for column in filtered:
        yield Candidate(kind="partition", table=table, columns=(column,))
    if grouped := tuple(uses.get("group", [])):
        yield Candidate(kind="order", table=table, columns=grouped, use="group")
    for column in uses.get("join", []):
        yield Candidate(kind="order", table=table, columns=(column,), use="join")


def _uses(query: Query, schemas: Mapping[str, Schema]) -> dict[str, dict[Use, list[str]]]:
    """For each table: what the query does with which of its columns."""
    tables = {inner(table).lower(): table for table in query.tables}
    found: dict[str, dict[Use, list[str]]] = {}
    for scope in _scopes(query, schemas):
        for column in scope.columns:
            source, use = scope.sources.get(column.table), _use(column)
            if use and isinstance(source, exp.Table) and (table := tables.get(source.name.lower())):
                real = {c.lower(): c for c in schemas[table]}.get(column.name.lower())
                columns = found.setdefault(table, {}).setdefault(use, [])
                if real and real not in columns:
                    columns.append(real)
    return found


def _scopes(query: Query, schemas: Mapping[str, Schema]) -> list[Scope]:
    known: dict[str, object] = {inner(table): dict(schemas[table]) for table in query.tables}
    try:
        tree = qualify(query.tree.copy(), schema=known, dialect="duckdb", validate_qualify_columns=False)
        return list(traverse_scope(tree))
    except SqlglotError:
        # A form that sqlglot can't resolve; its result can still be materialised.
        return []


def _use(column: exp.Column) -> Use | None:
    place = column.find_ancestor(exp.Where, exp.Group, exp.Join, exp.Select)
    match place:
        case exp.Group():
            return "group"
        case exp.Join():
            return "join"
        case exp.Where():
            return "equal" if _is_looked_up(column) else "filter"
    return None


def _is_looked_up(column: exp.Column) -> bool:
    """Whether the column is compared with given values, in a condition that every row must meet."""
    test = column.parent
    if isinstance(test, exp.EQ):
        other = test.expression if test.this is column else test.this
        given = not other.find(exp.Column, exp.Query)
    else:
        given = isinstance(test, exp.In) and test.this is column and not test.args.get("query")
    above = test.parent if given and test is not None else None
    while isinstance(above, exp.And | exp.Paren):
        above = above.parent
    return isinstance(above, exp.Where)
