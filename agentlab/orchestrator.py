"""Runs: plan, check, act and commit, react; durable, each step once, and nothing visible before a person agrees.

A run's request is JSON that DBOS keeps (`durable.py`); what came of it is in the catalog. Reactions of the policy are
runs of their own with ids that follow from their cause's: `<run>-r1`. Pipelines' steps are `<pipeline>-s1`.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agentlab import pipelines, refreshing, reviews, stores
from agentlab.acting import Outcome, Workspace, perform
from agentlab.actions import Role
from agentlab.agents import Agent, role_of, said, settled, view_of
from agentlab.catalog import Catalog
from agentlab.cleaning import discard
from agentlab.draft import Draft
from agentlab.engine import Engine
from agentlab.entries import Run
from agentlab.errors import AgentlabError, LabError, PlanError
from agentlab.events import Event, now
from agentlab.models import Model
from agentlab.pipelines import PipelineDoc
from agentlab.plan import Plan
from agentlab.policy import Policy, tuned_by_itself
from agentlab.rules import check
from agentlab.runs import PipelineResult, Review, RunResult, family, plan_of, result_of
from agentlab.talks import Talk, Talks

if TYPE_CHECKING:
    from agentlab.durable import Durable, Steps

_LOG = logging.getLogger("agentlab")

__all__ = ["Orchestrator", "Talk", "new_id"]

Json = dict[str, Any]


def new_id(kind: str = "r") -> str:
    """An id for a new run: when it began, in UTC, and four letters by chance. It has no dash; those it causes have."""
    return f"{kind}{datetime.now(UTC):%y%m%dT%H%M%S}{secrets.token_hex(2)}"


class Orchestrator:
    """Carries out the runs of one lab. `model` is called when the first plan is needed, since loading takes time."""

    def __init__(
        self, catalog: Catalog, engine: Engine, model: Callable[[], Model], policy: Policy, talk: Talk | None = None
    ) -> None:
        self.catalog = catalog
        self.engine = engine
        #: What transforms and judges tables, asked for when a run acts: see `Workspace`.
        self.compute: Callable[[], Engine | None] = lambda: None
        self.model = model
        self.policy = policy
        self._talks = Talks(talk or Talk())
        self._durable: Durable | None = None

    def run(self, intent: str, role: Role | None = None, talk: Talk | None = None, **request: Any) -> RunResult:
        """Carry out an intent. `request` may hold a `plan` (JSON), and `sources` to be registered with it."""
        run = new_id()
        self._carry_out(run, {**_request(run, intent, role), **request}, talk)
        return result_of(self.catalog, run)

    def pipeline(self, doc: PipelineDoc, talk: Talk | None = None) -> PipelineResult:
        """Carry out a pipeline."""
        run = new_id("p")
        request = {"kind": "pipeline", "run": run, "doc": doc.model_dump(mode="json")}
        ended = self._carry_out(run, request, talk)
        steps = [result_of(self.catalog, key) for key in ended["runs"]]
        return PipelineResult(
            run=run,
            name=doc.name,
            status=ended["status"],
            message=ended["message"],
            runs=tuple(steps),
            events=result_of(self.catalog, run).events,
        )

    def answer(self, run_id: str, yes: bool, talk: Talk | None = None) -> RunResult:
        """Go on with a run that waits for approval, or end it, and with the pipeline that waits for the run.

        LabError if it doesn't wait.
        """
        run = self.catalog.run(run_id)
        if run.status != "approval":
            raise LabError(f"run {run_id} doesn't wait for approval; it is {run.status}")
        review = reviews.answer(self.catalog, run_id, yes, "a person, later")
        self._hear(run_id, self.catalog.events(run=run_id, type="review-answered"))
        self._carry_out(f"{run_id}-answered{review.asked}", {**review.request, "answered": True}, talk)
        return result_of(self.catalog, run_id)

    def recover(self) -> list[RunResult]:
        """Finish what a killed process left, and wait for it; the runs that it concerns."""
        left = self.unfinished()
        self.catalog.mend_places()
        self.durable.recover()
        for run in left:
            if not self.durable.open(run):
                self._end(self.catalog.run(run), "its process ended")
        return [result_of(self.catalog, run) for run in left]

    def unfinished(self) -> list[str]:
        """The runs that are under way, in whatever process, or that a killed one left."""
        return [run.id for run in self.catalog.runs(1000) if run.status in ("planned", "running")]

    def close(self) -> None:
        """Let go of DBOS."""
        if self._durable:
            self._durable.close()

    @property
    def durable(self) -> Durable:
        """DBOS on this lab, once it is needed."""
        if self._durable is None:
            from agentlab.durable import Durable

            self._durable = Durable(self.catalog.root, self)
        return self._durable

    def _carry_out(self, key: str, request: Json, talk: Talk | None) -> Json:
        self._talks.begin(request["run"], talk)
        try:
            return self.durable.run(key, request)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted((request.get("pipeline") or request)["run"])) from None
        finally:
            self._talks.end(request["run"])

    def _interrupted(self, run: str) -> str:
        """Give a run up; what has become of it, in words."""
        self.durable.cancel(run)
        for member in family(self.catalog, run):
            self._end(self.catalog.run(member), "interrupted")
        if run in family(self.catalog, run) and self.catalog.run(run).status == "done":
            return f"interrupted when it had taken effect: done; undo: agentlab undo {run}"
        return f"interrupted; {self._kept(run)}"

    def _end(self, run: Run, why: str) -> None:
        """Say of a run that nothing carries on what has become of it: done, if it has committed."""
        if run.status not in ("planned", "running"):
            return
        if plan_of(run).actions and self.catalog.committed(run.id):
            self._save(run, status="done", ended=now())
        else:
            discard(self.catalog.root, run.id)
            self._save(run, status="failed", message=f"{why}; {self._kept(run.id)}", ended=now())

    def _kept(self, run: str) -> str:
        """What is done of a run that has ended too early: steps of a pipeline."""
        rows = [self.catalog.run(key) for key in family(self.catalog, run) if key != run]
        done = [f"{row.id} {row.intent!r}" for row in rows if self.catalog.committed(row.id)]
        return f"done are {', '.join(done)}, which undoing {run} takes back" if done else "nothing was changed"

    # What DBOS carries out: each function below is a workflow or a step of one.

    def carry_out(self, request: Json, steps: Steps) -> Json:
        """One workflow."""
        if request["kind"] == "pipeline":
            return self._pipeline(request, steps)
        ended: Json = steps.do("plan", lambda: self._plan(request))
        if ended["status"] == "act":
            ended = steps.do("act", lambda: self._act(request))
        if ended["status"] in ("done", "failed"):
            for reaction in steps.do("react", lambda: self._react(request)):
                steps.run(reaction["run"], reaction)
        result: Json = steps.do("finish", lambda: self._finish(request["run"], ended))
        if request.get("answered") and steps.do("waiting", lambda: self._waits(request.get("pipeline"))):
            steps.run(f"{request['run']}-onward", request["pipeline"])
        return result

    def _waits(self, pipeline: Json | None) -> bool:
        return pipeline is not None and self.catalog.run(pipeline["run"]).status == "approval"

    def _plan(self, request: Json) -> Json:
        run = self._run_of(request)
        self._talks.tell(run.id, f"{'checking' if run.plan else 'planning'}: {run.intent}")
        began = time.perf_counter()
        try:
            draft = self._draft(request)
            plan = self._planned(run, draft)
        except Exception as fault:
            return self._failed(run, fault)
        spent = run.plan_ms or (time.perf_counter() - began) * 1000
        self._save(run, plan=plan.to_json(), plan_ms=round(spent, 1))
        told = plan.abstention
        return {"status": plan.status, "message": said(told) if told else ""}

    def _planned(self, run: Run, draft: Draft) -> Plan:
        if run.plan:
            plan = plan_of(run)
            return settled(plan, check(plan, draft, role_of(run.agent)))
        agent = Agent(role_of(run.agent), self.model())
        return agent.plan(run.intent, view_of(draft, self.engine), draft)

    def _act(self, request: Json) -> Json:
        run = self.catalog.run(request["run"])
        if self.catalog.committed(run.id):
            return {"status": "done", "message": run.message}
        self._save(run, status="running")
        began = time.perf_counter()
        try:
            ended = self._acted(run, request)
        except Exception as fault:
            ended = self._failed(run, fault)
        if ended["status"] != "done" and not self.catalog.committed(run.id):
            discard(self.catalog.root, run.id)
        self._save(run, message=ended["message"], act_ms=round((time.perf_counter() - began) * 1000, 1))
        return ended

    def _acted(self, run: Run, request: Json) -> Json:
        if reviews.answer_of(self.catalog, run.id) is False:
            return {"status": "refuse", "message": "a person said no; nothing was changed"}
        draft, plan = self._draft(request), plan_of(run)
        issues = check(plan, draft, role_of(run.agent))
        if again := refreshing.standing(plan, self.catalog):
            issues = [issue for issue in issues if issue.rule != "replaces_work"]
        told = settled(plan, issues).abstention
        if told is not None:
            raise PlanError(said(told))
        workspace = Workspace(draft, self.engine, lambda words: self._talks.tell(run.id, words), self.compute())
        outcomes = [perform(action, workspace) for action in plan.actions]
        message = "\n".join([*(outcome.text for outcome in outcomes), *(again.notes if again else ())])
        reasons = [*request["reasons"], *(i.message for i in issues if i.severity == "approval")]
        reasons += [outcome.approval for outcome in outcomes if outcome.approval]
        if reasons:
            answer = self._ask(run, request, reasons, outcomes)
            if answer is None:
                return {"status": "approval", "message": f"waits for approval, because {'; '.join(reasons)}"}
            if not answer:
                return {"status": "refuse", "message": f"a person said no; nothing was changed ({'; '.join(reasons)})"}
        self._save(run, message=message)
        self._hear(run.id, draft.commit())
        for words in stores.settle(self.catalog, [name for kind, name in draft.written if kind == "store"]):
            self._alert(run.id, words)
        return {"status": "done", "message": message}

    def _ask(self, run: Run, request: Json, reasons: list[str], outcomes: list[Outcome]) -> bool | None:
        """A person's answer; None when there is none yet."""
        review = Review(
            run=run.id,
            intent=run.intent,
            plan=run.plan,
            reasons=list(dict.fromkeys(reasons)),
            preview=[outcome.text for outcome in outcomes],
            versions=reviews.versions(self.catalog, plan_of(run)),
            request=request,
        )
        known = reviews.ask(self.catalog, review)
        if known.answer is not None:
            return known.answer
        self._hear(run.id, self.catalog.events(run=run.id, type="review-asked"))
        approve = self._talks.of(run.id).approve
        if approve is None:
            return None
        yes = bool(approve(review) if callable(approve) else approve)
        reviews.answer(self.catalog, run.id, yes, "a function" if callable(approve) else "said beforehand")
        self._hear(run.id, self.catalog.events(run=run.id, type="review-answered"))
        return yes

    def _react(self, request: Json) -> list[Json]:
        """The requests of the runs that a run's events cause. A policy that fails doesn't fail the run."""
        try:
            return self._reactions(request["run"], request.get("pipeline"))
        except Exception as fault:
            _LOG.error("no reaction to run %s", request["run"], exc_info=fault)
            return []

    def _reactions(self, run: str, pipeline: Json | None) -> list[Json]:
        found = list[Json]()
        told, plan = self.catalog.events(run=run), plan_of(self.catalog.run(run))
        for event in told:
            rounds, tuned = self._rounds(run, event), tuned_by_itself(event, plan, told)
            for reaction in self.policy.reactions(event, rounds, self.catalog, self.engine, tuned):
                if reaction.alert:
                    self._alert(run, reaction.alert)
                    continue
                key = f"{run}-r{len(found) + 1}"
                given = {"plan": reaction.plan.to_json(), "reasons": list(reaction.reasons), "pipeline": pipeline}
                found.append({**_request(key, reaction.intent, None, run, event.id), **given})
        return found

    def _rounds(self, run: str, event: Event) -> int:
        """How many of a run's ancestors were caused by an event of this type about the same thing."""
        causes = list[str]()
        row = self.catalog.run(run)
        while row.parent and row.cause:
            causes.append(row.cause)
            row = self.catalog.run(row.parent)
        return sum(e.id in causes for e in self.catalog.events(type=event.type) if e.subject == event.subject)

    def _finish(self, run: str, ended: Mapping[str, Any]) -> Json:
        row = self.catalog.run(run)
        if row.status not in ("undone", "failed"):
            self._save(row, status=ended["status"], message=ended["message"], ended=now())
        self._talks.tell(run, f"{ended['status']}: {run}")
        return dict(ended)

    def _failed(self, run: Run, fault: Exception) -> Json:
        message = str(fault)
        if not isinstance(fault, AgentlabError):
            message = f"{type(fault).__name__}: {fault}"
            _LOG.error("run %s failed", run.id, exc_info=fault)
        self._save(run, status="failed", message=message, ended=now())
        subject = next((n for a in plan_of(run).actions for n in a.references("table", "new_table", "query")), run.id)
        self._hear(
            run.id, [self.catalog.emit(Event(type="error", subject=subject, run=run.id, body={"message": message}))]
        )
        return {"status": "failed", "message": message}

    # Pipelines

    def _pipeline(self, request: Json, steps: Steps) -> Json:
        run, doc = request["run"], PipelineDoc.model_validate(request["doc"])
        begun: dict[str, Json] = steps.do("begin", lambda: pipelines.begin(self.catalog, run, doc))
        done: list[str] = []
        ended: Json = {"status": "done", "message": f"{len(doc.steps)} steps done"}
        for number, step in enumerate(doc.steps, 1):
            key = pipelines.step_run(run, number)
            if key not in begun:
                stop = steps.do(f"await {number}", lambda: pipelines.gate(self.catalog, run, doc, done))
                if stop:
                    ended = stop
                    break
                asked = {**_request(key, step.say, step.agent, run), "pipeline": request}
                begun[key] = steps.run(key, asked)
            done.append(key)
            outcome = begun[key]
            if outcome["status"] != "done":
                ended = {"status": outcome["status"], "message": f"step {number}, {step.say!r}: {outcome['message']}"}
                break
        status = "failed" if ended["status"] == "stopped" else ended["status"]
        steps.do("finish", lambda: self._finish(run, {**ended, "status": status}))
        return {**ended, "runs": done}

    # What several of them need.

    def _run_of(self, request: Json) -> Run:
        try:
            return self.catalog.run(request["run"])
        except LabError:
            run = Run(
                id=request["run"],
                intent=request["intent"],
                agent=request["role"],
                plan=request.get("plan") or "",
                parent=request["parent"],
                cause=request["cause"],
            )
            self.catalog.save_run(run)
            return run

    def _draft(self, request: Json) -> Draft:
        draft = self.catalog.draft(request["run"])
        for name, doc in request["sources"].items():
            draft.put("source", name, doc)
        return draft

    def _save(self, run: Run, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(run, name, value)
        self.catalog.save_run(run)

    def _hear(self, run: str, told: list[Event]) -> None:
        for event in told:
            self._talks.tell(run, event)

    def _alert(self, run: str, words: str) -> None:
        if self._talks.of(run).on_event:
            self._talks.tell(run, f"alert: {words}")
        else:
            _LOG.warning("%s", words)


def _request(run: str, intent: str, role: Role | None, parent: str | None = None, cause: str | None = None) -> Json:
    asked = {"kind": "run", "run": run, "intent": intent, "role": role, "parent": parent, "cause": cause}
    return {**asked, "plan": None, "sources": {}, "reasons": [], "pipeline": None}
