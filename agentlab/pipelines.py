"""Pipelines: files of sentences, one a step, each of which waits for the event of the step before.

    name: nightly
    steps:
      - say: pull the newest 10,000 orders into a staging table
      - say: check the staging table and suggest fixes
      - {say: publish it to the sales mart, on: quality-pass, agent: storage}

Carrying them out is `orchestrator.py`'s work.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from agentlab import documents
from agentlab.actions import ROLES, Analyze, Publish, Pull, Quarantine, Role, Schedule, Transform
from agentlab.errors import unknown
from agentlab.events import Event, EventType
from agentlab.plan import Plan
from agentlab.policy import known_event
from agentlab.runs import RunResult

#: What an action says when it succeeds, for the step after it to wait for.
_NATURAL: tuple[tuple[type | tuple[type, ...], EventType], ...] = (
    (Pull, "data-ready"),
    (Analyze, "quality-pass"),
    ((Transform, Quarantine), "transformed"),
    (Publish, "published"),
    (Schedule, "scheduled"),
)


def _known_agent(name: object) -> object:
    if name is not None and name not in get_args(Role):
        raise ValueError(unknown("agent", str(name), ROLES))
    return name


class PipelineStep(BaseModel):
    """One sentence. `on` is the event to wait for (default: what the step before says when it succeeds)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    say: Annotated[str, Field(min_length=1)]
    on: Annotated[EventType | None, BeforeValidator(lambda name: name if name is None else known_event(name))] = None
    agent: Annotated[Role | None, BeforeValidator(_known_agent)] = None


class PipelineDoc(BaseModel):
    """A pipeline as its file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[\w][\w .-]*$", max_length=100)]
    steps: Annotated[list[PipelineStep], Field(min_length=1)]


def load(path: Path) -> PipelineDoc:
    """The pipeline of a file; LabError with file and line for each thing that is wrong."""
    return documents.read(path, TypeAdapter(PipelineDoc), "pipeline")


def natural(plan: Plan) -> EventType | None:
    """The event that says that a plan has succeeded; None where its actions have none (a diagnosis, a new store).

    >>> natural(Plan.from_calls([{"name": "analyze", "arguments": {"table": "orders"}}]))
    'quality-pass'
    """
    for action in reversed(plan.actions):
        for kinds, event in _NATURAL:
            if isinstance(action, kinds):
                return event
    return None


def missing(step: PipelineStep, before: RunResult, told: Iterable[Event], runs: Iterable[RunResult]) -> str | None:
    """Why a step can't begin after `before`: the event that didn't come, and what came instead; None if it came.

    `told` are the pipeline's events so far, `runs` those that `before` caused.
    """
    wanted = step.on or natural(before.plan)
    if wanted is None or any(event.type == wanted for event in (told if step.on else before.events)):
        return None
    came = ", ".join(f"{event.type} of {event.subject}" for event in before.events) or "nothing"
    reasons = [f"run {run.run} waits for approval" for run in runs if run.status == "approval"]
    reasons += [f"run {run.run} {run.status}: {run.message}" for run in runs if run.status in ("failed", "refuse")]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return f"{step.say!r} waits for {wanted}, which didn't come; what came: {came}{why}"
