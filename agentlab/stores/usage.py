"""How much a store holds, by table, how near it is to its quota, and how quickly it grows by the catalog's history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from agentlab.catalog import Catalog
from agentlab.entries import Entry
from agentlab.stores.base import StoreDoc, size

#: How far back growth is looked at, and the least time from which a rate can be told, in days.
SPAN, LEAST = 30.0, 1 / 24


class TableUsage(BaseModel):
    """A table in a store: what it takes up in bytes, in how many copies, and when it was published last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    rows: int
    bytes: int
    copies: int
    published_at: str


class StoreUsage(BaseModel):
    """What a store holds. `share` is of the quota, from 0; `bytes_per_day` is over `days`, the last thirty at most.

    `full_in_days` is when the quota would be reached so. None where there is no quota, or too short a history.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    format: str
    location: str
    rows: int
    bytes: int
    quota_bytes: int | None = None
    share: float | None = None
    days: float = 0.0
    bytes_per_day: float | None = None
    full_in_days: float | None = None
    tables: tuple[TableUsage, ...] = ()

    def __str__(self) -> str:
        held = f"{self.store} holds {len(self.tables)} tables, {self.rows:,} rows, {size(self.bytes)}"
        share = None if self.share is None else f": {self.share:.1%} of its {size(self.quota_bytes or 0)}"
        held += share or ", without a quota"
        if self.bytes_per_day is not None:
            held += f"; it has grown by {size(self.bytes_per_day)} a day over {self.days:.1f} days"
        if self.full_in_days is not None:
            held += f" and would be full in {self.full_in_days:,.0f} days"
        lines = [f"- {t.table}: {t.rows:,} rows, {size(t.bytes)}, published {t.published_at[:16]}" for t in self.tables]
        return "\n".join([held, *lines])


def usage_of(store: StoreDoc, catalog: Catalog, at: datetime) -> StoreUsage:
    """What a store holds at a moment (UTC), and how it has grown by what wasn't undone."""
    days, rate = growth([(datetime.fromisoformat(e.at), _bytes(e)) for e in _standing(catalog, store.name)], at)
    left = None if store.quota_bytes is None else max(store.quota_bytes - store.bytes, 0)
    return StoreUsage(
        store=store.name,
        format=store.format,
        location=store.location,
        rows=store.rows,
        bytes=store.bytes,
        quota_bytes=store.quota_bytes,
        share=store.share,
        days=days,
        bytes_per_day=rate,
        full_in_days=left / rate if left is not None and rate else None,
        tables=tuple(
            TableUsage(table=name, rows=t.rows, bytes=t.bytes, copies=len(t.parts), published_at=t.published_at)
            for name, t in sorted(store.tables.items(), key=lambda item: -item[1].bytes)
        ),
    )


def growth(points: Sequence[tuple[datetime, int]], at: datetime) -> tuple[float, float | None]:
    """Over how many days it is told, and by how many bytes a day it grew; None while that is too short, or it didn't.

    Only what was added counts: a table that shrinks once doesn't make the others grow more slowly.

    >>> from datetime import UTC
    >>> days = [(datetime(2026, 1, day, tzinfo=UTC), many) for day, many in ((1, 100), (3, 300), (4, 50), (5, 350))]
    >>> growth(days, datetime(2026, 1, 6, tzinfo=UTC))
    (5.0, 100.0)
    """
    since = at - timedelta(days=SPAN)
    earlier, later = [p for p in points if p[0] < since][-1:], [p for p in points if p[0] >= since]
    known = [*earlier, *later]
    if not known:
        return 0.0, None
    days = (at - max(known[0][0], since)) / timedelta(days=1)
    added = sum(max(after - before, 0) for (_, before), (_, after) in pairwise(known))
    return days, added / days if days >= LEAST and added else None


def _standing(catalog: Catalog, name: str) -> list[Entry]:
    """The versions of a store that weren't undone, oldest first."""
    sql = (
        "SELECT n FROM versions JOIN commits USING (run) WHERE kind = 'store' AND name = ? AND undone IS NULL"
        " ORDER BY commits.seq, n"
    )
    return [catalog.version("store", name, row["n"]) for row in catalog.database.query(sql, name)]


def _bytes(entry: Entry) -> int:
    return StoreDoc.model_validate(entry.doc).bytes
