"""Where and how an action is carried out: a run's workspace, what came of an action, and `perform`.

Nothing is visible until the run commits. What a person must approve first is said in `Outcome.approval`; whether they
did is the orchestrator's question. What each agent's actions do is in the module of its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import singledispatch
from pathlib import Path
from typing import Any

import ibis

from agentlab.actions import (
    Action,
    Clarify,
    Quarantine,
    Refuse,
    Transform,
)
from agentlab.draft import Draft
from agentlab.engine import Engine
from agentlab.entries import TableDoc
from agentlab.errors import PlanError
from agentlab.events import Event
from agentlab.rules import removal_needs_approval

#: Output column to the (table, version, column) that its values come from.
Lineage = dict[str, list[tuple[str, int, str]]]


def _silent(words: str) -> None:
    """Nobody listens."""


@dataclass
class Workspace:
    """Where a run acts: its draft, the engine, and who hears of progress (in words)."""

    draft: Draft
    engine: Engine
    tell: Callable[[str], None] = _silent
    #: What transforms and judges tables: Spark, if the lab was opened with it; None is the engine.
    compute: Engine | None = None
    #: What part of each table's rows the run has kept so far, through all that takes rows out of the table.
    kept: dict[str, Fraction] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The lab's folder."""
        return self.draft.catalog.root

    def read(self, name: str) -> ibis.Table:
        """A table as the run has it so far."""
        return self.engine.read(self.draft.table(name), self.root)

    @property
    def computing(self) -> Engine:
        """The engine that `operand` reads with."""
        return self.compute or self.engine

    def operand(self, name: str) -> ibis.Table:
        """A table as the run has it so far, to be transformed or judged."""
        return self.computing.read(self.draft.table(name), self.root)

    def version(self, name: str) -> int:
        """The version of a table that the run sees."""
        return self.draft.get("table", name).n

    def emit(self, type: Any, subject: str, **body: Any) -> None:
        """Tell of something, once the run commits."""
        self.draft.emit(Event(type=type, subject=subject, body=body))

    def write(
        self, name: str, table: ibis.Table, action: Action, lineage: Lineage, source: str | None = None
    ) -> TableDoc:
        """Store a table's next version and return its document."""
        path = self.draft.fresh(name)
        backends, _ = table._find_backends()
        engine = self.compute if self.compute and self.compute.con in backends else self.engine
        written = engine.write(table, path)
        doc = TableDoc(
            path=path.relative_to(self.root).as_posix(),
            schema_=written.schema,
            rows=written.rows,
            bytes=written.bytes,
            call=call_of(action),
            lineage=lineage,
            source=source,
        )
        self.draft.put("table", name, doc)
        return doc


@dataclass(frozen=True)
class Outcome:
    """What one action did, in words and as JSON data; `approval`: why a person must agree before it counts."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    approval: str | None = None


def call_of(action: Action) -> dict[str, Any]:
    """The action as a tool call, as it is kept with what it made."""
    return {"name": action.tool(), "arguments": action.arguments()}


@singledispatch
def perform(action: Action, workspace: Workspace) -> Outcome:
    """Do one action in the run's draft. PlanError and LabError say what went wrong; nothing is visible then."""
    raise PlanError(f"{action.tool()} can't be carried out")


@perform.register(Clarify)
@perform.register(Refuse)
def _(action: Clarify | Refuse, workspace: Workspace) -> Outcome:
    return Outcome(action.question if isinstance(action, Clarify) else action.reason)


def too_many(workspace: Workspace, action: Quarantine | Transform, before: int, after: int) -> str | None:
    """Why a person must agree, now that the action has taken rows out of its table; None if more than half stay.

    All that the run has taken out of the table counts together, so that many small steps are no way round. Only what
    goes by the data counts: a condition, or equal rows, may meet more than the asker thought. `limit` and `sample` say
    in the plan how many rows stay; `join` and `aggregate` make rows of another kind. Those are free, in place too.
    """
    earlier = workspace.kept.get(action.table, Fraction(1))
    kept = workspace.kept[action.table] = earlier * (Fraction(after, before) if before else 1)
    if before == after or not removal_needs_approval(kept.denominator, kept.numerator):
        return None
    if earlier == 1:
        return f"{action} takes {before - after:,} of {before:,} rows out of the table, more than half"
    gone = f"{float(1 - kept):.0%} of the rows"
    return f"{action}, with what came before it, takes {gone} out of {action.table}, more than half"
