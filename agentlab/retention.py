"""Retention: which rows of a table are too old to stay, by a rule that holds until it is taken back.

A rule removes nothing when it is set; rows leave when retention runs (`acting/keeping.py`), nightly where schedules are
kept. Rows without a date stay.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

import ibis
import ibis.expr.types as ir
from pydantic import BaseModel, ConfigDict

from agentlab.actions.amounts import before
from agentlab.engine import Engine, explained

#: When retention runs by itself: a cron line, in UTC.
NIGHTLY = "0 3 * * *"


class RetentionDoc(BaseModel):
    """A rule: rows of `table` whose `column` lies over `older_than` back are archived or deleted.

    `matching` is how many rows that were when the rule was set, at `set_at` (ISO 8601, UTC).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    column: str
    older_than: str
    then: Literal["archive", "delete"]
    matching: int
    set_at: str

    def __str__(self) -> str:
        return f"{self.then} rows of {self.table} whose {self.column} is older than {self.older_than}"


class Parted(NamedTuple):
    """A table's rows, those that stay and those that are too old."""

    staying: ibis.Table
    leaving: ibis.Table


def rule_name(table: str, column: str) -> str:
    """Under which name a table's rule is kept: there is one for each column."""
    return f"{table}.{column}"


def archive_of(table: str) -> str:
    """Where a table's old rows go.

    >>> archive_of("staging.orders")
    'archive.orders'
    """
    return f"archive.{table.rpartition('.')[2]}"


def parted(table: ibis.Table, column: str, older_than: str, now: datetime | None = None) -> Parted:
    """The rows that are old at a moment (None: the present one), and the others. Dates are compared by the day, in UTC.

    >>> import pyarrow
    >>> days = ibis.memtable(pyarrow.table({"day": ["2026-01-01", "2026-03-01", None]})).cast({"day": "date"})
    >>> parted(days, "day", "1 month", datetime(2026, 3, 15, tzinfo=UTC)).leaving.day.to_list()
    [datetime.date(2026, 1, 1)]
    """
    is_old = _old(table[column], older_than, now or datetime.now(UTC))
    return Parted(table.filter(~is_old), table.filter(is_old))


def matching(engine: Engine, table: ibis.Table, column: str, older_than: str, now: datetime | None = None) -> int:
    """How many rows are too old."""
    with explained():
        return int(engine.con.to_pyarrow(parted(table, column, older_than, now).leaving.count()).as_py())


def _old(column: ir.Value, older_than: str, now: datetime) -> ir.BooleanValue:
    last = before(now.astimezone(UTC).replace(tzinfo=None), older_than)
    limit = ibis.literal(last.date()) if column.type().is_date() else ibis.literal(last)
    old: ir.BooleanValue = (column < limit).fill_null(False)
    return old
