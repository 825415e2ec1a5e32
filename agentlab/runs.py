"""What a person gets back: the result of a run or a pipeline, and the review that a run may wait for."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from agentlab.catalog import Catalog
from agentlab.entries import Entry, Run
from agentlab.events import Event
from agentlab.plan import Plan
from agentlab.shown import Listed, Shown

Status = Literal["done", "clarify", "refuse", "approval", "failed", "undone"]


class Review(Shown, BaseModel):
    """What a person is asked before a run takes effect: its plan, why it waits, and what each action would do.

    `versions` are those of the tables that the plan names, as they were when it was computed. `asked` counts how often
    the run has asked: more than once when what it would do changed before the answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    intent: str
    plan: str
    reasons: list[str]
    preview: list[str]
    versions: dict[str, int] = {}
    request: dict[str, Any] = {}
    answer: bool | None = None
    by: str = ""
    asked: int = 1

    def __str__(self) -> str:
        if self.answer is None:
            again = " again, since what it would do has changed" if self.asked > 1 else ""
            said = f"waits for approval{again}, because {'; '.join(self.reasons)}"
        else:
            said = f"was {'approved' if self.answer else 'rejected'} by {self.by}"
        # The preview is what the actions say that they have done: in this run's draft, where nobody sees it.
        done = textwrap.indent("\n".join(self.preview), "  ")
        tried = f"tried out, and not visible unless approved:\n{done}"
        return f"{self.intent}\n(run {self.run} {said})\n{tried}"


class Reviews(Listed[Review]):
    """Several reviews, the oldest first."""


#: Answers a review: a function, or the answer itself; None: a person will, later.
Approve = Callable[[Review], bool] | bool | None

#: Hears events as they become visible, and progress in words.
OnEvent = Callable[[Event | str], None]


class RunResult(Shown, BaseModel):
    """What became of one intent. `tables` maps each table that was written to its rows, times are milliseconds.

    `message` is what was done, or the question, the reason, the error. `events` are the run's and its reactions', each
    with its own run's id; `reports` are findings by the name of their report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    status: Status
    message: str
    agents: tuple[str, ...] = ()
    plan: Plan
    events: tuple[Event, ...] = ()
    tables: dict[str, int] = {}
    plan_ms: float = 0.0
    act_ms: float = 0.0
    reports: dict[str, dict[str, Any]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, the plan as `{action, arguments}`."""
        plan = [{"action": call["name"], "arguments": call["arguments"]} for call in self.plan.to_calls()]
        return {
            **{"run": self.run, "status": self.status, "message": self.message, "agents": list(self.agents)},
            **{"plan": plan, "confidence": self.plan.confidence},
            **{"events": [event.model_dump() for event in self.events], "tables": self.tables},
            **{"plan_ms": self.plan_ms, "act_ms": self.act_ms},
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        times = f"planned in {self.plan_ms:,.0f} ms, done in {self.act_ms:,.0f} ms"
        return f"{self.status}: {self.message}\n({self.run}; {times})"


class PipelineResult(Shown, BaseModel):
    """What became of a pipeline: its steps' results in order, and all events of theirs.

    Status `stopped`: an event that a step waits for didn't come; else that of the first step that wasn't done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    name: str
    status: Status | Literal["stopped"]
    message: str
    runs: tuple[RunResult, ...]
    events: tuple[Event, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **{"run": self.run, "name": self.name, "status": self.status, "message": self.message},
            **{"runs": [run.to_dict() for run in self.runs], "events": [event.model_dump() for event in self.events]},
        }

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.status}, {self.message}"


def result_of(catalog: Catalog, run_id: str) -> RunResult:
    """A run's result as the catalog tells it, at any time; LabError if there is no such run."""
    run = catalog.run(run_id)
    written = written_by(catalog, run_id)
    told = [event for member in family(catalog, run_id) for event in catalog.events(run=member)]
    status = run.status if run.status not in ("planned", "running") else "failed"
    plan = plan_of(run)
    return RunResult(
        run=run_id,
        status=status,
        message=run.message or f"run {run_id} hasn't ended",
        agents=tuple(plan.agents),
        plan=plan,
        events=tuple(sorted(told, key=lambda event: event.seq)),
        tables={entry.name: entry.doc["rows"] for entry in written if entry.kind == "table"},
        plan_ms=run.plan_ms,
        act_ms=run.act_ms,
        reports={entry.name: entry.doc for entry in written if entry.kind == "report"},
    )


def plan_of(run: Run) -> Plan:
    """A run's plan; an empty one if it has none."""
    return Plan.from_json(run.plan) if run.plan else Plan(actions=())


def written_by(catalog: Catalog, run_id: str) -> list[Entry]:
    """The last version of each entry that a run committed, in the order of writing."""
    rows = catalog.database.query(
        "SELECT kind, name, max(n) AS n FROM versions WHERE run = ? GROUP BY kind, name ORDER BY min(rowid)", run_id
    )
    return [catalog.version(row["kind"], row["name"], row["n"]) for row in rows]


def family(catalog: Catalog, run_id: str) -> list[str]:
    """The ids of a run and of those that it caused, in the order in which they began."""
    rows = catalog.database.query("SELECT id FROM runs ORDER BY number")
    return [row["id"] for row in rows if belongs(row["id"], run_id)]


def undoable(catalog: Catalog, run_id: str) -> list[str]:
    """The commits of a run and of what it caused that changed something and aren't undone, the latest first."""
    sql = "SELECT run FROM commits WHERE undone IS NULL AND seq IN (SELECT seq FROM changes) ORDER BY seq DESC"
    found = [row["run"] for row in catalog.database.query(sql)]
    # What was asked and answered stays written.
    return [run for run in found if belongs(run, run_id) and not run.endswith(("-review", "-answer"))]


def belongs(run: str, ancestor: str) -> bool:
    """Whether a run is another, or was caused by it: reactions and steps carry their cause's id in front.

    >>> belongs("a1-r1", "a1"), belongs("a10", "a1")
    (True, False)
    """
    return run == ancestor or run.startswith(f"{ancestor}-")
