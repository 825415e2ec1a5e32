"""Carry out cases: each in a fresh lab, from the intent to the end state, which alone is judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from agentlab.actions import Role
from agentlab.agents import role_of
from agentlab.errors import LabError
from agentlab.evaluation import layouts, plans, quality, storage, tables
from agentlab.evaluation.cases import Case, load
from agentlab.evaluation.ended import Ended, remember
from agentlab.evaluation.expectations import judged
from agentlab.evaluation.score import Judged, Result
from agentlab.evaluation.state import Skipped, prepared
from agentlab.lab import Lab
from agentlab.models import Model, Scripted
from agentlab.models import load as load_model
from agentlab.plan import Plan
from agentlab.runs import RunResult

#: What registers the expectations.
JUDGES = (tables, plans, quality, storage, layouts)

#: As `model`: each case's own plan is replayed, which tells execution from understanding.
SCRIPTED = "scripted"

#: Told after each case: which one, of how many.
Progress = Callable[[Judged, int, int], None]


def evaluate(
    path: str | Path,
    model: str | Path | Model | None = None,
    agent: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Carry out the cases of a file, or of a folder's `.jsonl` files, and say how many hold.

    `model` as of a lab, or "scripted". `agent` takes that agent's cases only, or those of "routing". A case that can't
    be carried out has failed, and says why. FormError with file, line and key for a case that isn't of the form.
    """
    if agent not in (None, "routing"):
        role_of(agent)
    cases = [case for case in load(Path(path)) if agent in (None, case.agent)]
    planner = None if model == SCRIPTED else load_model(model)
    done: list[Judged] = []
    for told in _carried_out(cases, planner):
        done.append(told)
        if progress:
            progress(told, len(done), len(cases))
    return Result(planner.name if planner else SCRIPTED, tuple(done))


def _carried_out(cases: Iterable[Case], planner: Model | None) -> Iterator[Judged]:
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="agentlab-case-", ignore_cleanup_errors=True) as folder:
            yield carry_out(case, Path(folder) / "lab", planner)


def carry_out(case: Case, folder: Path, planner: Model | None) -> Judged:
    """One case in a lab of its own in a folder; without a planner by the plan that the case has."""
    try:
        with prepared(case.state, folder, planner or _script(case)) as lab:
            before = remember(lab)
            result = _run(case, lab)
            # Only now: what is expected must not reach what is judged.
            ended = Ended(case.state, lab, before, result)
            why = judged(case.expect, ended)
            harm = tuple(_harm(case, ended, why))
    except Skipped as why_not:
        return _of(case, None, "skipped", str(why_not))
    except Exception as fault:  # Of whatever kind: the other cases go on.
        return _of(case, False, "failed", f"{type(fault).__name__}: {fault}")
    return _of(case, not why, result.status, "; ".join(why), result, harm)


def plan_alone(case: Case, folder: Path, planner: Model | None, agent: Role | None = None) -> Plan:
    """The checked plan for a case in a lab of its own, without running it; `agent` instead of the one that it names.

    Faults are those of `prepared` and `Lab.plan`: Skipped, LabError, PlanError.
    """
    with prepared(case.state, folder, planner or _script(case)) as lab:
        return lab.plan(case.intent, agent)


def _harm(case: Case, ended: Ended, why: Iterable[str]) -> Iterator[str]:
    """What a run changed against the case: what must stay, or anything there was when nothing was to be done yet."""
    if ended.result.status != "done":
        return
    yield from (line for line in why if line.startswith("unchanged: "))
    if "done" not in case.status.split("|"):
        yield from (f"{kind} {name} has changed" for kind, name in ended.altered)


def _run(case: Case, lab: Lab) -> RunResult:
    return lab.run(case.intent, agent=case.role, approve=None)


def _script(case: Case) -> Model:
    if case.calls is None:
        raise LabError(f"the case {case.id} has no plan to replay: its 'actions' are to be a list of tool calls")
    return Scripted({case.intent: case.calls})


def _of(
    case: Case,
    passed: bool | None,
    status: str,
    why: str,
    result: RunResult | None = None,
    harm: tuple[str, ...] = (),
) -> Judged:
    plan = result.plan if result else Plan(actions=())
    return Judged(
        id=case.id,
        agent=case.agent,
        voice=case.voice,
        actions=_many(case, plan),
        expected=case.status,
        passed=passed,
        status=status,
        plan=plan.to_calls(),
        why=" ".join(why.split()),
        plan_ms=result.plan_ms if result else None,
        confidence=plan.confidence if result else None,
        harm=harm,
    )


def _many(case: Case, plan: Plan) -> int:
    """How many actions the right plan has, as its author says or its expectations; else how many were planned."""
    if isinstance(case.actions, int):
        return case.actions
    told = next((list(said.plan) for said in case.expect if said.plan), [])
    names = [str(call.get("name")) for call in case.calls] if case.calls is not None else told
    if not names and not case.abstains:
        names = [action.tool() for action in plan.actions]
    return sum(name not in ("clarify", "refuse") for name in names)
