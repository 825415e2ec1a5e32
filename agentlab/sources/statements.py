"""What is asked of a database, as SQL that sqlglot writes from a tree: no name and no value reaches it as text.

What a database would judge otherwise than the lab's own engine isn't asked of it; the caller does that part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

import pyarrow as pa
from sqlglot import exp

from agentlab.actions.base import ColumnType, Schema
from agentlab.expressions import Expression
from agentlab.sources.base import Span

#: Rows that are fetched at a time.
BATCH = 50_000


@dataclass(frozen=True)
class Column:
    """A column: its name, our type for it, and the database's own word for what it holds."""

    name: str
    kind: ColumnType
    native: str


@dataclass(frozen=True)
class Relation:
    """A table or view: the resource's name, its name in the database with its schema's, its columns, its key."""

    name: str
    path: tuple[str, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """The columns and their types, in our own words."""
        return {column.name: column.kind for column in self.columns}


class Database(Protocol):
    """An open database of one kind."""

    dialect: str

    def relations(self) -> list[Relation]:
        """Every table and view that may be read, by name."""

    def value(self, of: Column) -> exp.Expr:
        """A column's values as what `batches` makes our type of."""

    def moment(self, value: exp.Expr) -> exp.Expr:
        """What a column of moments is compared and ordered by."""

    def literal(self, moment: datetime) -> exp.Expr:
        """A moment (UTC, without a zone) to compare with."""

    def batches(self, sql: str, kinds: Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a SELECT of ours, as they come, in our types. LabError where the database fails."""

    def close(self) -> None:
        """Let go of it."""


EVER = Span(None, None)


@dataclass(frozen=True)
class Asked:
    """What a pull asks of a relation."""

    time: str | None = None
    span: Span = EVER
    order: Literal["newest", "oldest"] | None = None
    where: Expression | None = None
    limit: int | None = None


def column(name: str) -> exp.Column:
    """A column by its name, quoted."""
    return exp.column(name, quoted=True)


def select(values: Sequence[exp.Expr], path: Sequence[str]) -> exp.Select:
    """A SELECT of values from a table by its path."""
    name, *schema = reversed(path)
    table = exp.table_(name, db=schema[0] if schema else None, quoted=True)
    return exp.select(*values).from_(table)


def statement(database: Database, relation: Relation, asked: Asked) -> str:
    """The SELECT for what is asked: values cast to our types first, then the span, the condition, order and limit.

    Rows without a time are in no span and come last in either order; rows of the same time come by the key.
    """
    cast = [exp.alias_(database.value(c), c.name, quoted=True) for c in relation.columns]
    rows = exp.select(*(column(c.name) for c in relation.columns))
    rows = rows.from_(select(cast, relation.path).subquery("asked", copy=False))
    conditions, whole = pushed(asked.where, relation, database.dialect)
    for condition in (*_span(database, asked), *conditions):
        rows = rows.where(condition)
    if asked.time and asked.order:
        rows = rows.order_by(*_order(database, relation, asked))
    if asked.limit and whole:
        rows = rows.limit(asked.limit)
    return rows.sql(database.dialect)


def _span(database: Database, asked: Asked) -> Iterator[exp.Expr]:
    if not asked.time:
        return
    time = database.moment(column(asked.time))
    if asked.span.since:
        yield exp.GTE(this=time, expression=database.literal(asked.span.since))
    if asked.span.until:
        yield exp.LTE(this=time.copy(), expression=database.literal(asked.span.until))


def _order(database: Database, relation: Relation, asked: Asked) -> Iterator[exp.Expr]:
    time = database.moment(column(asked.time or ""))
    yield exp.Ordered(this=time, desc=asked.order == "newest", nulls_first=False)
    for name in relation.key:
        yield exp.Ordered(this=column(name), desc=False, nulls_first=False)


def pushed(where: Expression | None, relation: Relation, dialect: str) -> tuple[list[exp.Expr], bool]:
    """The parts of a condition that the database judges as our engine does, and whether that is all of it."""
    if where is None:
        return [], True
    parts = list(where.tree.flatten()) if isinstance(where.tree, exp.And) else [where.tree]
    kinds = relation.schema
    alike = parts if dialect == "duckdb" else [part for part in parts if _alike(part.unnest(), kinds, dialect)]
    return [part.copy() for part in alike], len(alike) == len(parts)


def _alike(node: exp.Expr, kinds: Schema, dialect: str) -> bool:
    """Whether a condition means the same everywhere: comparisons of a column with literals, joined by and, or, not."""
    if isinstance(node, exp.And | exp.Or):
        return all(_alike(side.unnest(), kinds, dialect) for side in (node.this, node.expression))
    if isinstance(node, exp.Not):
        return _alike(node.this.unnest(), kinds, dialect)
    if isinstance(node, exp.Is):
        return isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Null)
    if isinstance(node, exp.In):
        return bool(node.expressions) and _fit(node.this, node.expressions, kinds, dialect, exact=True)
    if isinstance(node, exp.Between):
        return _fit(node.this, [node.args["low"], node.args["high"]], kinds, dialect, exact=False)
    exact = isinstance(node, exp.EQ | exp.NEQ)
    if exact or isinstance(node, exp.GT | exp.GTE | exp.LT | exp.LTE):
        return _fit(node.this, [node.expression], kinds, dialect, exact=exact)
    return False


def _fit(this: exp.Expr, others: Sequence[exp.Expr], kinds: Schema, dialect: str, *, exact: bool) -> bool:
    """Numbers compare everywhere; text only for being equal, since databases order it by a language's rules."""
    kind = kinds.get(this.name) if isinstance(this, exp.Column) else None
    if kind in ("int", "float"):
        return all(_is_number(other) for other in others)
    # SQLite has no dates, only text that looks like one.
    alike = (kind == "text" and exact) or (kind == "date" and dialect == "postgres")
    return alike and all(isinstance(other, exp.Literal) and other.is_string for other in others)


def _is_number(node: exp.Expr) -> bool:
    inner = node.this if isinstance(node, exp.Neg) else node
    return isinstance(inner, exp.Literal) and not inner.is_string
