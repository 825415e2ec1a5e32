"""What the optimization agent may do: layouts, measured before and after; never a query's result."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from agentlab.actions.base import Action, Column, NewTable, Query, Role, Source, Table
from agentlab.actions.storage import When

Columns = Annotated[tuple[Column, ...], Field(min_length=1)]


class Diagnose(Action):
    """Say where the time goes, of one query, of a table's queries, or of the whole workload. Changes nothing."""

    agent: ClassVar[Role | None] = "optimization"
    query: Query | None = None
    table: Table | None = None


class Recommend(Action):
    """Try layouts for a query, a table or the workload, measure each; `apply` keeps the best that is truly faster."""

    agent: ClassVar[Role | None] = "optimization"
    query: Query | None = None
    table: Table | None = None
    objective: Literal["speed", "cost", "balance"] = "speed"
    apply: bool = False

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.query is not None and self.table is not None:
            raise ValueError("recommend looks at a query or at a table, not both")
        return self


class Index(Action):
    """Make look-ups by these columns quick, by an indexed copy of the current version."""

    agent: ClassVar[Role | None] = "optimization"
    table: Table
    columns: Columns


class OrderBy(Action):
    """Store the rows sorted by these columns, so that ranges read few row groups."""

    agent: ClassVar[Role | None] = "optimization"
    table: Table
    columns: Columns


class Partition(Action):
    """Store the rows in a folder for each value of a column."""

    agent: ClassVar[Role | None] = "optimization"
    table: Table
    by: Column


class Materialize(Action):
    """Keep a query's result, and answer the query from it while its tables haven't changed.

    With `refresh` it is computed again at these times; without, the first query after a change computes it.
    """

    agent: ClassVar[Role | None] = "optimization"
    query: Query
    name: NewTable | None = None
    refresh: When | None = None


class Compact(Action):
    """Rewrite a table that lies in many small files as few large ones."""

    agent: ClassVar[Role | None] = "optimization"
    table: Table


class Throttle(Action):
    """Limit how fast a source is read: rows a second, or requests at once."""

    agent: ClassVar[Role | None] = "optimization"
    exactly_one: ClassVar[tuple[str, ...]] = ("rows_per_second", "concurrency")
    source: Source
    rows_per_second: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
