"""Layouts: other ways to store a table, or a query's result, for quicker answers; and which may be worth trying.

A layout answers only for the versions of the tables that it was made of, so it never changes a result. After a change
of its tables a kept result is computed again (by its schedule, or by the first query), every other layout is out of use
until it is asked for again, or the next `recommend` with `apply` builds it anew. Whether one is quicker, `trials.py`
measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope

from agentlab.actions import Action, Compact, Index, Materialize, OrderBy, Partition, Schema
from agentlab.copies import Copy, Shape
from agentlab.errors import PlanError
from agentlab.queries import Query, inner

Kind = Literal["index", "order", "partition", "materialized", "compact", "pruned"]
Use = Literal["equal", "filter", "group", "join", "result", "whole"]

#: Candidates for one query; each is built and measured, so this bounds the cost of tuning.
MOST_CANDIDATES = 10

#: In bytes: a table lies in more files than it needs when they are smaller than this on average.
FILE_BYTES = 128 * 2**20


class Extent(NamedTuple):
    """How a table lies on disk: its files, bytes and rows, and the folders into which its rows are split."""

    files: int
    bytes: int
    rows: int
    folders: int = 1

    @property
    def fragmented(self) -> bool:
        """Whether the table lies in more files than its size and its folders need.

        >>> Extent(files=40, bytes=2_000_000, rows=9_000).fragmented, Extent(files=1, bytes=10, rows=1).fragmented
        (True, False)
        """
        return self.files > max(self.folders, math.ceil(self.bytes / FILE_BYTES))

    def __str__(self) -> str:
        return f"{self.files:,} file(s) of {self.bytes / max(self.files, 1) / 1e6:,.2f} MB on average"


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
            case "materialized" | "compact" | "pruned":
                return Shape()

    def key(self, query: str) -> tuple[str, ...]:
        """What tells it from others; `query` is the one whose result it holds, if it does."""
        return (self.kind, self.table, query if self.kind == "materialized" else "", *self.columns)

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """The only columns that the copy has; none are named when it has them all."""
        return self.columns if self.kind == "pruned" else ()

    def __str__(self) -> str:
        if self.kind == "materialized":
            return "the query's result, materialized"
        how = {"index": "indexed on", "order": "sorted by", "partition": "in folders by", "pruned": "with nothing but"}
        told = f"{how[self.kind]} {', '.join(self.columns)}" if self.columns else "in one file"
        return f"{self.table} {told}"


class LayoutDoc(BaseModel):
    """A layout that was measured and kept, made of `versions` (table to version number).

    `query` and `sql` are of the query on which it gained most: from `before_ms` to `after_ms`, `gain` times. `faster`
    and `slower` hold the SQL of every query that it was measured on. `refresh` is when a result is computed again, in
    the words of a schedule; empty: the first query after a change does it. `store` is where a compacted table lies; the
    store itself answers then.
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
    refresh: str = ""
    store: str = ""

    @property
    def candidate(self) -> Candidate:
        """What it was built as."""
        return Candidate(kind=self.kind, table=self.table, columns=self.columns)

    def is_like(self, other: LayoutDoc) -> bool:
        """Whether the other is of the same table by the same columns, or of the query of the same name."""
        made = (self.candidate, self.store) == (other.candidate, other.store)
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
        case Compact(table=table):
            return Candidate(kind="compact", table=table, use="whole")
    raise PlanError(f"{action.tool()} makes no layout; index, order_by, partition, materialize and compact do")


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
        found += _of_table(table, uses)
    found += _narrow(query, schemas)
    # A column may ask for the same layout by two of its uses; the first tells for what.
    first: dict[tuple[str, ...], Candidate] = {}
    for candidate in found:
        first.setdefault(candidate.key(""), candidate)
    return list(first.values())[:MOST_CANDIDATES]


def compactions(tables: Iterable[str], extents: Mapping[str, Extent]) -> list[Candidate]:
    """A copy in one file of each of the tables that lie in many."""
    many = [table for table in tables if table in extents and extents[table].fragmented]
    return [Candidate(kind="compact", table=table, use="whole") for table in many]


def choose(
    query: Query, layouts: Iterable[LayoutDoc], versions: Mapping[str, int], schemas: Mapping[str, Schema], root: Path
) -> LayoutDoc | None:
    """The layout to answer the query from, if one is of the tables' current versions and made for such queries."""
    wanted = candidates(query, schemas)
    for layout in sorted(layouts, key=lambda layout: -layout.gain):
        current = is_current(layout, versions) and not layout.store
        if current and _serves(layout, query, wanted) and (root / layout.path).exists():
            return layout
    return None


def outdated(query: Query, layouts: Iterable[LayoutDoc], versions: Mapping[str, int]) -> LayoutDoc | None:
    """The kept result of the query that a change of its tables has put out of use, and that no schedule brings back."""
    for layout in layouts:
        ours = layout.kind == "materialized" and query.sql in layout.faster
        if ours and not layout.refresh and not is_current(layout, versions):
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
    led = layout.columns[: _leading(layout)]
    return layout.kind in ("index", "order", "partition") and any(c.columns[0] in led for c in alike)


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


def columns_read(query: Query, schemas: Mapping[str, Schema]) -> dict[str, tuple[str, ...]]:
    """The columns that the query reads of each of its tables, in the table's order, as far as its form tells.

    >>> from agentlab.queries import check
    >>> columns_read(check("select max(b) from t where a > 1", ["t"]), {"t": {"a": "int", "b": "int", "c": "int"}})
    {'t': ('a', 'b')}
    """
    read: dict[str, set[str]] = {}
    for table, column, _ in _mentions(query, schemas):
        read.setdefault(table, set()).add(column)
    return {table: tuple(c for c in schemas[table] if c in used) for table, used in read.items()}


def _narrow(query: Query, schemas: Mapping[str, Schema]) -> Iterator[Candidate]:
    """A copy with only the columns that the query reads, of each table of which it reads some, but not all."""
    for table, columns in columns_read(query, schemas).items():
        if len(columns) < len(schemas[table]):
            yield Candidate(kind="pruned", table=table, columns=columns, use="whole")


def _uses(query: Query, schemas: Mapping[str, Schema]) -> dict[str, dict[Use, list[str]]]:
    """For each table: what the query does with which of its columns."""
    found: dict[str, dict[Use, list[str]]] = {}
    for table, column, mention in _mentions(query, schemas):
        if use := _use(mention):
            columns = found.setdefault(table, {}).setdefault(use, [])
            if column not in columns:
                columns.append(column)
    return found


def _mentions(query: Query, schemas: Mapping[str, Schema]) -> Iterator[tuple[str, str, exp.Column]]:
    """Each column of a table that the query names: the table, the column as the table spells it, and where it is."""
    tables = {inner(table).lower(): table for table in query.tables}
    for scope in _scopes(query, schemas):
        for column in scope.columns:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table) and (table := tables.get(source.name.lower())):
                real = {c.lower(): c for c in schemas[table]}.get(column.name.lower())
                if real:
                    yield table, real, column


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
