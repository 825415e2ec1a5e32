"""Limits that people have set: how fast a source may be read, and how many bytes layouts may take.

Keeping the pace of a source is the work of `sources/pacing.py`, keeping the budget that of `trials.py`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from agentlab.entries import Entries

#: The name of the entry that says what all layouts together may take; no source can have it.
BUDGET = "all layouts"

#: In bytes: what layouts may always take together, however small the tables are.
LEAST_TOTAL = 2**30


class LimitDoc(BaseModel):
    """How fast a source may be read: rows a second, and requests at once; None is as fast as it goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    rows_per_second: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1)

    def __str__(self) -> str:
        rows = f"{self.rows_per_second:,} rows a second" if self.rows_per_second else ""
        requests = f"{self.concurrency:,} request(s) at once" if self.concurrency else ""
        return f"{self.source} is read at {' and '.join(filter(None, (rows, requests))) or 'any speed'}"


class BudgetDoc(BaseModel):
    """How many bytes all layouts of a lab may take together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)


def limits_of(entries: Entries) -> dict[str, LimitDoc]:
    """The limit of every source that has one, by the source's name."""
    found = [entry for entry in entries.entries("limit") if entry.name != BUDGET]
    return {entry.name: LimitDoc.model_validate(entry.doc) for entry in found}


def budget(entries: Entries) -> int:
    """The bytes that all layouts may take: what was set, else as much as the tables do, and `LEAST_TOTAL` at least."""
    if known := entries.find("limit", BUDGET):
        return BudgetDoc.model_validate(known.doc).bytes
    sizes = [int(entry.doc.get("bytes", 0)) for entry in entries.entries("table")]
    return max(sum(sizes), LEAST_TOTAL)
