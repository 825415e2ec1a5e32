"""Pipelines: files of sentences, one a step, each of which waits for the event of the step before.

    name: nightly
    steps:
      - say: pull the newest 10,000 orders into a staging table
      - say: check the staging table and suggest fixes
      - {say: publish it to the sales mart, on: quality-pass, agent: storage}

A step that is done once stays done: a pipeline that had to wait goes on behind it. Carrying the steps out is
`orchestrator.py`'s work.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from agentlab import documents
from agentlab.actions import ROLES, Analyze, Check, Publish, Pull, Quarantine, Role, Schedule, Transform
from agentlab.catalog import Catalog
from agentlab.entries import Run
from agentlab.errors import LabError, PlanError, unknown
from agentlab.events import Event, EventType
from agentlab.intents import check_intent
from agentlab.plan import Plan
from agentlab.policy import known_event
from agentlab.runs import RunResult, family, result_of

#: What the last of two says of a table is true of it.
_VERDICTS = ("quality-pass", "quality-fail")
#: What a run is before it has ended.
_OPEN = ("planned", "running")

#: What an action says when it succeeds, for the step after it to wait for.
_NATURAL: tuple[tuple[type | tuple[type, ...], EventType], ...] = (
    (Pull, "data-ready"),
    ((Analyze, Check), "quality-pass"),
    ((Transform, Quarantine), "transformed"),
    (Publish, "published"),
    (Schedule, "scheduled"),
)


def _known_agent(name: object) -> object:
    if name is not None and name not in get_args(Role):
        raise ValueError(unknown("agent", str(name), ROLES))
    return name


def _intent(said: object) -> str:
    try:
        return check_intent(said)
    except PlanError as fault:
        raise ValueError(str(fault)) from fault


class PipelineStep(BaseModel):
    """One sentence. `on` is the event to wait for (default: what the step before says when it succeeds)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    say: Annotated[str, BeforeValidator(_intent)]
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
    heard = list(told if step.on else before.events)
    failing = _failing(heard) if wanted == "quality-pass" else []
    if wanted is None or (not failing and any(event.type == wanted for event in heard)):
        return None
    came = ", ".join(f"{event.type} of {event.subject}" for event in before.events) or "nothing"
    reasons = [f"run {run.run} waits for approval" for run in runs if run.status == "approval"]
    reasons += [f"run {run.run} {run.status}: {run.message}" for run in runs if run.status in ("failed", "refuse")]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    where = f" for {', '.join(failing)}" if failing else ""
    return f"{step.say!r} waits for {wanted}, which didn't come{where}; what came: {came}{why}"


def _failing(told: Iterable[Event]) -> list[str]:
    """The tables whose last verdict isn't that they pass; one that passed doesn't speak for another."""
    last = {(e.subject, e.body.get("check")): e.type for e in told if e.type in _VERDICTS}
    failed = [check or subject for (subject, check), verdict in last.items() if verdict != "quality-pass"]
    return list(dict.fromkeys(failed))


def step_run(run: str, number: int) -> str:
    """The id of the run of a pipeline's step, which counts from 1."""
    return f"{run}-s{number}"


def begin(catalog: Catalog, run: str, doc: PipelineDoc) -> dict[str, dict[str, str]]:
    """Note that a pipeline is under way, and keep it by its name; how those of its steps ended that have, by run."""
    catalog.save_run(_row(catalog, run, doc))
    draft = catalog.draft(run)
    known = draft.find("pipeline", doc.name)
    if not catalog.committed(run) and (known is None or known.doc != doc.model_dump(mode="json")):
        draft.put("pipeline", doc.name, doc)
        draft.commit()
    steps = {step_run(run, number) for number in range(1, len(doc.steps) + 1)}
    rows = [catalog.run(key) for key in family(catalog, run) if key in steps]
    return {row.id: {"status": row.status, "message": row.message} for row in rows if row.status not in _OPEN}


def _row(catalog: Catalog, run: str, doc: PipelineDoc) -> Run:
    try:
        return catalog.run(run).model_copy(update={"status": "running", "ended": None})
    except LabError:
        return Run(id=run, intent=f"pipeline {doc.name}", status="running", plan=Plan(actions=()).to_json())


def gate(catalog: Catalog, run: str, doc: PipelineDoc, done: list[str]) -> dict[str, Any] | None:
    """Why the step after those that are done can't begin, as the end of the pipeline; None if it can."""
    if not done:
        return None
    step = doc.steps[len(done)]
    caused = [result_of(catalog, key) for key in family(catalog, run if step.on else done[-1]) if key != run]
    message = missing(step, result_of(catalog, done[-1]), result_of(catalog, run).events, caused)
    if message is None:
        return None
    waits = any(result.status == "approval" for result in caused)
    return {"status": "approval" if waits else "stopped", "message": message}
