"""Rules of the optimization agent: what it looks at is there, and what it keeps can have the name."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import Action, Materialize, Throttle
from agentlab.errors import unknown
from agentlab.rules.base import Rule
from agentlab.simulation import World


def queries_exist(action: Action, world: World) -> Iterator[str]:
    """Every query is a logged one."""
    for name in action.references("query"):
        if world.entries.find("query", name) is None:
            yield unknown("query", name, [entry.name for entry in world.entries.entries("query")])


def throttled_sources_exist(action: Action, world: World) -> Iterator[str]:
    """What is throttled is a registered source."""
    if isinstance(action, Throttle) and world.entries.find("source", action.source) is None:
        yield unknown("source", action.source, [entry.name for entry in world.entries.entries("source")])


def result_names_free(action: Action, world: World) -> Iterator[str]:
    """A kept result has a name of its own: no other layout has it, nor a store, whose refresh it would be."""
    if not isinstance(action, Materialize) or action.name is None:
        return
    known = world.entries.find("layout", action.name)
    if known and (known.doc["kind"], known.doc["query"]) != ("materialized", action.query):
        yield f"there is a layout {action.name!r} of something else already; give the result another name"
    if action.name in world.stores:
        yield f"there is a store {action.name!r} already; give the result another name"


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("mend", queries_exist),
    Rule("mend", throttled_sources_exist),
    Rule("mend", result_names_free),
)
