"""Rows on their way from a source: their columns, and batches of them, so that no source needs to hold them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions.base import Schema
from agentlab.errors import LabError
from agentlab.sources.columns import schema_of


class NothingCame(LabError):
    """A source sent no rows, and nobody knows which columns they would have."""


@dataclass(frozen=True)
class Rejected:
    """A row that no table can take: the row as JSON text, and why."""

    row: str
    reason: str


@dataclass
class Fetched:
    """What a source gave: the columns of every batch, and the batches, which can be taken once.

    `schema` has our types only, nested data as text marked as JSON (`columns.field_of`). `rejected` may grow while the
    batches are taken. `sort` is an order over all rows that the source left undone: the column, and which end is first;
    rows without a value come last.
    """

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    rejected: list[Rejected] = field(default_factory=list)
    sort: tuple[str, Literal["newest", "oldest"]] | None = None

    @classmethod
    def of(cls, table: pa.Table) -> Fetched:
        """A table in memory as what was fetched.

        >>> [batch.num_rows for batch in Fetched.of(pa.table({"id": [1, 2]})).batches]
        [2]
        """
        return cls(table.schema, table.to_batches())

    @property
    def types(self) -> Schema:
        """The columns and their types, in our own words."""
        return schema_of(self.schema)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self.batches)

    def table(self) -> pa.Table:
        """All the rows at once, in memory, in the order of `sort`. The batches are used up."""
        table = pa.Table.from_batches(self.batches, self.schema)
        return sorted_by_time(table, table[self.sort[0]], self.sort[1]) if self.sort else table


def sorted_by_time(table: pa.Table, times: pa.ChunkedArray, first: Literal["newest", "oldest"]) -> pa.Table:
    """The rows in the order of their times; those of the same time keep theirs, those without one come last."""
    direction = "descending" if first == "newest" else "ascending"
    rows = pa.table({"time": times, "row": pa.array(range(len(table)), pa.int64())})
    order = [("time", direction, "at_end"), ("row", "ascending", "at_end")]
    return table.take(pc.sort_indices(rows, order))
