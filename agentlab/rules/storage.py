"""Rules of the storage agent: stores, tasks and files that there are."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import (
    Action,
    Publish,
    Schedule,
)
from agentlab.errors import unknown
from agentlab.rules.base import Rule, missing
from agentlab.simulation import World


def partition_columns_exist(action: Action, world: World) -> Iterator[str]:
    """A table has the columns that its store is split by."""
    if isinstance(action, Publish) and (sight := world.read(action)) is not None:
        yield from missing(
            world.stores.get(action.store, ()), sight, f"in {action.table}; {action.store} is split by it"
        )


def stores_exist(action: Action, world: World) -> Iterator[str]:
    """Every store exists, or an earlier action provisions it."""
    for name in action.references("store"):
        if name not in world.stores:
            yield unknown("store", name, world.stores)


def tasks_exist(action: Action, world: World) -> Iterator[str]:
    """A schedule's task is a saved pipeline, or the refresh of a store that exists or is provisioned before."""
    if isinstance(action, Schedule):
        tasks = [entry.name for entry in world.entries.entries("pipeline")] + [f"{s} refresh" for s in world.stores]
        if action.task not in tasks:
            yield unknown("task", action.task, tasks)


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("mend", partition_columns_exist),
    Rule("mend", stores_exist),
    Rule("mend", tasks_exist),
)
