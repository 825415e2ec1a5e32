"""What a model may know of a lab when it plans: names and types, and which texts occur; never the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentlab.actions import Schema


@dataclass(frozen=True)
class View:
    """The catalog as a planner sees it. Tables come most recently changed first.

    `values` maps a table, or a file, and a text column to its distinct values, when they are few. `origins` maps a
    table to the names of what it was pulled from, by which people call it, too. `tasks` are what a schedule can name,
    `scheduled` those that have one. `files` are the data files of the lab's folder, newest first; `snapshots` maps
    a snapshot to its table. `incoming` has the columns of what a source (`source.resource`) or a file (its path) would
    bring, where they are known; `coming` are the tables among `tables` that aren't there yet, each with what brings it.
    """

    tables: Mapping[str, Schema] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stores: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    values: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    snapshots: Mapping[str, str] = field(default_factory=dict)
    scheduled: tuple[str, ...] = ()
    incoming: Mapping[str, Schema] = field(default_factory=dict)
    coming: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """Every column name, once, tables in order."""
        return list(dict.fromkeys(column for schema in self.tables.values() for column in schema))

    def types(self) -> dict[str, set[str]]:
        """Every column name and the types that it has, over all tables."""
        found: dict[str, set[str]] = {}
        for schema in self.tables.values():
            for column, kind in schema.items():
                found.setdefault(column, set()).add(kind)
        return found
