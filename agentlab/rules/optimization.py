"""Rules of the optimization agent."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import (
    Action,
)
from agentlab.errors import unknown
from agentlab.rules.base import Rule
from agentlab.simulation import World


def queries_exist(action: Action, world: World) -> Iterator[str]:
    """Every query is a logged one."""
    for name in action.references("query"):
        if world.entries.find("query", name) is None:
            yield unknown("query", name, [entry.name for entry in world.entries.entries("query")])


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (Rule("mend", queries_exist),)
