"""A plan: the typed actions that an intent became, how sure the model was, and where it came from.

Plans are data: they read from and write to tool calls (`[{"name", "arguments"}]`), JSON and text. Nothing runs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from agentlab.actions import ACTIONS, Action, Clarify, Refuse, Role
from agentlab.errors import PlanError, unknown
from agentlab.shown import Shown

Call = Mapping[str, Any]


class Origin(BaseModel):
    """Who made a plan, from what: enough to ask again and get the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intent: str = ""
    model: str = "person"
    prompt_hash: str = ""
    milliseconds: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Plan(Shown, BaseModel):
    """Actions in order. `confidence` is the model's mean probability of its own choices, 0 to 1.

    `breaks` says what it would break, a line for each action that does, where somebody has looked (`Lab.plan`).

    >>> Plan.from_calls([{"name": "limit", "arguments": {"table": "orders", "n": 5}}]).to_calls()
    [{'name': 'limit', 'arguments': {'table': 'orders', 'n': 5}}]
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    actions: tuple[Action, ...]
    confidence: float = 1.0
    origin: Origin = Origin()
    breaks: tuple[str, ...] = ()

    @classmethod
    def from_calls(cls, calls: Iterable[Call], confidence: float = 1.0, origin: Origin | None = None) -> Self:
        """Read tool calls; a PlanError names every call that isn't a valid action, not only the first."""
        actions, faults = [], []
        for number, call in enumerate(calls, 1):
            try:
                actions.append(action_from(call))
            except PlanError as fault:
                faults.append(f"action {number}: {fault}")
        if faults:
            raise PlanError("; ".join(faults))
        return cls(actions=tuple(actions), confidence=confidence, origin=origin or Origin())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        try:
            data = json.loads(text)
            calls, confidence = data["actions"], data.get("confidence", 1.0)
            origin = Origin(**data.get("origin", {}))
        except (ValueError, KeyError, TypeError, ValidationError) as fault:
            raise PlanError(f"not a plan: {fault}") from fault
        return cls.from_calls(calls, confidence, origin)

    def to_calls(self) -> list[dict[str, Any]]:
        """Tool calls, as plain JSON data, without arguments that are at their defaults."""
        return [{"name": action.tool(), "arguments": action.arguments()} for action in self.actions]

    def to_json(self) -> str:
        """One JSON object: actions, confidence, origin."""
        data = {"actions": self.to_calls(), "confidence": self.confidence, "origin": self.origin.model_dump()}
        return json.dumps(data, ensure_ascii=False)

    @property
    def agents(self) -> list[Role]:
        """The roles the plan needs, each once, in the order they act."""
        return list(dict.fromkeys(a.agent for a in self.actions if a.agent is not None))

    @property
    def abstention(self) -> Clarify | Refuse | None:
        """The question or refusal, if that is what the plan is."""
        return next((a for a in self.actions if isinstance(a, Clarify | Refuse)), None)

    @property
    def status(self) -> Literal["clarify", "refuse", "act"]:
        """What the plan asks for: `act`, or one of the two abstentions."""
        if isinstance(self.abstention, Clarify):
            return "clarify"
        return "refuse" if self.abstention else "act"

    def __str__(self) -> str:
        return "\n".join(map(str, self.actions))


def action_from(call: Call) -> Action:
    """One typed action from a tool call.

    >>> action_from({"name": "renam", "arguments": {}})
    Traceback (most recent call last):
    agentlab.errors.PlanError: ...no action 'renam'; did you mean 'rename'?...
    """
    name = call.get("name")
    if not isinstance(name, str) or name not in ACTIONS:
        raise PlanError(unknown("action", str(name), ACTIONS))
    try:
        return ACTIONS[name].model_validate(call.get("arguments", {}))
    except ValidationError as fault:
        raise PlanError(f"{name}: {_reasons(fault)}") from fault


def _reasons(fault: ValidationError) -> str:
    told = []
    for error in fault.errors(include_url=False):
        place = ".".join(map(str, error["loc"]))
        message = error["msg"].removeprefix("Value error, ")
        told.append(f"{place}: {message} (got {error['input']!r})" if place else message)
    return "; ".join(told)
