"""What a store is in the catalog: its format, its place, its quota, and the tables in it. Nothing is written here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentlab.actions import Schema
from agentlab.actions.amounts import bytes_of
from agentlab.copies import Copy
from agentlab.errors import LabError
from agentlab.places import Format

#: From this part of its quota on a store is told to be near its capacity.
NEAR = 0.8


class OverQuota(LabError):
    """What is to be published is more than the store may hold; nothing of it was kept."""


class Published(BaseModel):
    """A table in a store: which table and version (0: not known) came last, and the copies that hold its rows.

    `rows` and `bytes` (on disk) are of all copies together; `published_at` is ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    source: str
    version: int
    schema_: Schema = Field(alias="schema")
    rows: int
    bytes: int
    published_at: str
    parts: tuple[Copy, ...]


class StoreDoc(BaseModel):
    """A store: its format, the columns that its tables are split by, where it is, and the tables in it.

    `location` is a folder relative to the lab, `s3://bucket/prefix`, or a registered database, whose document (without
    its password) is `database`. `quota` is kept as it was said; `bytes` and `quota_bytes` count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["columnar"] = "columnar"
    format: Format = "parquet"
    partition_by: tuple[str, ...] = ()
    location: str
    quota: str | None = None
    database: dict[str, Any] | None = None
    tables: dict[str, Published] = {}

    @property
    def bytes(self) -> int:
        """What its tables take up now; copies that are kept for undo don't count."""
        return sum(table.bytes for table in self.tables.values())

    @property
    def rows(self) -> int:
        """The rows of its tables."""
        return sum(table.rows for table in self.tables.values())

    @property
    def quota_bytes(self) -> int | None:
        """How many bytes it may hold; None is any number."""
        return None if self.quota is None else bytes_of(self.quota)

    @property
    def share(self) -> float | None:
        """What part of its quota is used, from 0; None without a quota."""
        return None if self.quota_bytes is None else self.bytes / max(self.quota_bytes, 1)

    @property
    def remote(self) -> bool:
        """Whether its rows lie in a bucket."""
        return self.location.startswith("s3://")

    @property
    def outside(self) -> bool:
        """Whether others look at it elsewhere than at the files that its document names: it has to be settled."""
        return self.remote or self.format in ("delta", "postgres")


def published_name(table: str) -> str:
    """What a table is called in a store: `orders` for `staging.orders`, so that queries read `mart.orders`."""
    return table.rpartition(".")[2]


def size(count: float) -> str:
    """A number of bytes as people say it; a KB is 1024 bytes.

    >>> size(1536), size(40 * 1024**3)
    ('1.5 KB', '40 GB')
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(count) < 1024:
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.4g} TB"


def admit(store: StoreDoc, table: str, needed: int, kept: int = 0) -> None:
    """Let a table of `needed` bytes into the store, of which it holds `kept` already; OverQuota if it doesn't fit."""
    before = store.tables.get(table)
    used = store.bytes - (before.bytes if before else 0) + kept
    if store.quota_bytes is not None and used + needed > store.quota_bytes:
        raise OverQuota(
            f"{store.name}.{table} needs {size(needed)} ({needed:,} bytes), and {store.name} may hold {store.quota} "
            f"({store.quota_bytes:,} bytes), of which {size(used)} ({used:,} bytes) are taken by what would stay; "
            f"nothing was published. Resize {store.name}, archive old rows, or publish fewer"
        )
