"""What a schedule may name: saved pipelines, refreshes of stores, tables and kept results, pulls of resources.

Doing a task is the work of `schedules.py`, and what a refresh consists of, of `refreshing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from agentlab.entries import Entries
from agentlab.errors import PlanError, unknown

REFRESH = " refresh"
PULL = " pull"
#: Groups of tables that runs fill by the way; nothing makes them again.
_ASIDE = ("quarantine.", "archive.")


class Task(NamedTuple):
    """A task as it is understood: of a pipeline, store, table or result by `name`, or the pull of a `resource`."""

    kind: Literal["pipeline", "store", "table", "pull", "result"]
    name: str
    resource: str = ""


def tasks(entries: Entries, stores: Iterable[str] | None = None, tables: Iterable[str] | None = None) -> list[str]:
    """Every task there is: pipelines first, then stores, tables and pulls. `stores` and `tables`: those to count with.

    Where a store and a table have one name, its refresh is the store's.
    """
    return list(_known(entries, stores, tables))


def find(task: str, entries: Entries) -> Task:
    """What a task is; PlanError naming the nearest if there is none of that name."""
    known = _known(entries)
    if task in known:
        return known[task]
    raise PlanError(unknown("task", task, known))


def _known(
    entries: Entries, stores: Iterable[str] | None = None, tables: Iterable[str] | None = None
) -> dict[str, Task]:
    stores = [entry.name for entry in entries.entries("store")] if stores is None else stores
    tables = [entry.name for entry in entries.entries("table")] if tables is None else tables
    pulls = [(entry.name, resource) for entry in entries.entries("source") for resource in entry.doc["resources"]]
    results = [entry.name for entry in entries.entries("layout") if entry.doc["kind"] == "materialized"]
    found = [
        *((entry.name, Task("pipeline", entry.name)) for entry in entries.entries("pipeline")),
        *((f"{name}{REFRESH}", Task("store", name)) for name in stores),
        *((f"{name}{REFRESH}", Task("table", name)) for name in tables if not name.startswith(_ASIDE)),
        *((f"{source}.{resource}{PULL}", Task("pull", source, resource)) for source, resource in pulls),
        *((f"{name}{REFRESH}", Task("result", name)) for name in results),
    ]
    first: dict[str, Task] = {}
    for name, task in found:
        first.setdefault(name, task)
    return first
