"""Rules of the quality agent."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import (
    Action,
    Quarantine,
)
from agentlab.rules.base import Rule
from agentlab.simulation import World, writes


def aside_once(action: Action, world: World) -> Iterator[str]:
    """What is in quarantine isn't set aside once more: there is no place where it could wait but the one it is in.

    >>> list(aside_once(Quarantine(table="quarantine.orders", where="id = 0"), None))
    ['the rows of quarantine.orders are set aside already; filter them, or put the result into another table']
    """
    if isinstance(action, Quarantine) and writes(action) == action.table:
        yield f"the rows of {action.table} are set aside already; filter them, or put the result into another table"


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (Rule("refuse", aside_once),)
