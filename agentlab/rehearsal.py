"""A preview of a plan: it is carried out in a draft that is thrown away, so what is told is what would happen.

An action that would reach out of the lab (fetch rows, write to a bucket or a database) isn't rehearsed, and nor is what
comes after it, since it may count on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from agentlab.acting import Outcome, Workspace, perform
from agentlab.actions import Action, DescribeSource, Provision, Publish, Pull, Sync
from agentlab.catalog import Catalog
from agentlab.cleaning import discard
from agentlab.draft import Draft
from agentlab.engine import Engine
from agentlab.plan import Call, Plan
from agentlab.shown import Shown


class Step(BaseModel):
    """One action: what it would do, in words and as data, and why it would wait for a person, if it would."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: Call
    text: str
    data: dict[str, Any] = {}
    approval: str | None = None


class Rehearsal(Shown, BaseModel):
    """The steps that could be tried, in order; `left` says of the others why they weren't."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...]
    left: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return self.model_dump(mode="json")

    def __str__(self) -> str:
        waits = [f"would wait for approval, because {step.approval}" for step in self.steps if step.approval]
        lines = [*(step.text for step in self.steps), *waits, *self.left]
        return "\n".join(["tried out, and thrown away:", *lines])


def rehearse(plan: Plan, catalog: Catalog, engine: Engine, run: str, compute: Engine | None = None) -> Rehearsal:
    """Carry a plan out under a run's id that nothing else has, and throw away what it makes.

    `compute` is that of `Workspace`. PlanError and LabError are those that the plan would end in.
    """
    workspace = Workspace(catalog.draft(run), engine, compute=compute)
    try:
        steps = tuple(_tried(plan, workspace))
    finally:
        discard(catalog.root, run)
    left = plan.actions[len(steps) :]
    why = f"{left[0].tool()} reaches out of the lab; it is not tried, and nor is what follows" if left else ""
    return Rehearsal(steps=steps, left=(why,) if left else ())


def _tried(plan: Plan, workspace: Workspace) -> Iterator[Step]:
    for action, call in zip(plan.actions, plan.to_calls(), strict=True):
        if reaches_out(action, workspace.draft):
            return
        done: Outcome = perform(action, workspace)
        yield Step(call=call, text=done.text, data=done.data, approval=done.approval)


def reaches_out(action: Action, draft: Draft) -> bool:
    """Whether carrying an action out is seen outside of the lab's folder, even if its run never commits."""
    if isinstance(action, Pull | Sync | DescribeSource):
        return bool(draft.get("source", action.source).doc["kind"] != "frame")
    if isinstance(action, Provision):
        return action.format == "postgres" or "://" in (action.location or "")
    if isinstance(action, Publish):
        store = draft.get("store", action.store).doc
        return bool(store["format"] == "postgres" or "://" in store["location"])
    return False
