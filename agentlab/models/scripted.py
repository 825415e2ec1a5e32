"""A model that replays plans, where the model isn't what is tested or shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from agentlab.errors import LabError, nearest
from agentlab.plan import Call, Origin, Plan
from agentlab.prompts import Ask

Script = Plan | Sequence[Call]


class Scripted:
    """Replays plans by intent (a mapping), or one after the other (any other iterable). `asks` keeps what it was asked.

    >>> from agentlab.view import View
    >>> model = Scripted({"first five": [{"name": "limit", "arguments": {"table": "orders", "n": 5}}]})
    >>> print(model.plan(Ask("first five", None, View())))
    limit(table='orders', n=5)
    """

    def __init__(self, plans: Mapping[str, Script] | Iterable[Script], name: str = "scripted") -> None:
        self.name = name
        self.asks: list[Ask] = []
        self._by_intent = plans if isinstance(plans, Mapping) else None
        self._in_turn: Iterator[Script] = iter(()) if isinstance(plans, Mapping) else iter(plans)

    def plan(self, ask: Ask) -> Plan:
        """The next plan, or the intent's; a LabError names an intent without one."""
        self.asks.append(ask)
        script = next(self._in_turn, None) if self._by_intent is None else self._by_intent.get(ask.intent)
        if script is None:
            raise LabError(f"the script has no plan for the intent {ask.intent!r}{self._known(ask.intent)}")
        if isinstance(script, Plan):
            return script
        return Plan.from_calls(script, origin=Origin(intent=ask.intent, model=self.name))

    def _known(self, intent: str) -> str:
        if self._by_intent is None:
            return f"; its {len(self.asks) - 1} plans are used up"
        return f"; it has: {', '.join(map(repr, nearest(intent, self._by_intent)))}"
