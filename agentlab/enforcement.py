"""Running retention: the rows that a lab's rules say are too old leave their tables, each rule in a run of its own.

What a rule is, and which rows it means, is in `retention.py`; how they leave, in `acting/keeping.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

import ibis

from agentlab.acting.base import Workspace
from agentlab.acting.keeping import enforce
from agentlab.actions import Retain
from agentlab.catalog import Catalog
from agentlab.cleaning import discard
from agentlab.engine import Engine
from agentlab.entries import Run
from agentlab.errors import AgentlabError
from agentlab.events import Event, now
from agentlab.plan import Origin, Plan
from agentlab.retention import RetentionDoc, matching

#: Whose runs these are, as their plans' origin says.
RETENTION = "retention"

_LOG = logging.getLogger("agentlab")


def rules(catalog: Catalog) -> list[RetentionDoc]:
    """Every rule whose table there is, by table and column."""
    docs = [RetentionDoc.model_validate(entry.doc) for entry in catalog.entries("retention")]
    return [doc for doc in docs if catalog.find("table", doc.table)]


def rule_times(catalog: Catalog) -> list[datetime]:
    """When each rule was set."""
    return [datetime.fromisoformat(doc.set_at) for doc in rules(catalog)]


def counted(catalog: Catalog, engine: Engine) -> list[RetentionDoc]:
    """Every rule, with `matching` as it is now; where that can't be counted, as it was when the rule was set."""
    return [doc.model_copy(update={"matching": _count(catalog, engine, doc)}) for doc in rules(catalog)]


def _count(catalog: Catalog, engine: Engine, doc: RetentionDoc) -> int:
    table = engine.read(catalog.table(doc.table), catalog.root)
    if not _fits(table, doc.column):
        return doc.matching
    return matching(engine, table, doc.column, doc.older_than)


def _fits(table: ibis.Table, column: str) -> bool:
    return column in table.columns and table[column].type().is_temporal()


def enforce_all(catalog: Catalog, engine: Engine, name: Callable[[], str]) -> list[str]:
    """Carry out every rule that has rows to move; the ids of the runs, which `name` makes.

    A rule that can't be carried out is a failed run that says why, and keeps none of the others from theirs.
    """
    return [run for doc in rules(catalog) if (run := _enforced(catalog, engine, doc, name)) is not None]


def _enforced(catalog: Catalog, engine: Engine, doc: RetentionDoc, name: Callable[[], str]) -> str | None:
    if not _due(catalog, engine, doc):
        return None
    action = Retain(table=doc.table, column=doc.column, older_than=doc.older_than, then=doc.then)
    intent = f"retention: {doc}"
    plan = Plan(actions=(action,), origin=Origin(intent=intent, model=RETENTION))
    # It is in the log once it has ended: a run under way that DBOS doesn't know is taken for a killed process's.
    run, began = Run(id=name(), intent=intent, status="done", plan=plan.to_json()), time.perf_counter()
    try:
        _act(catalog, engine, doc, run, began)
    except Exception as fault:
        _fail(catalog, doc, run, fault, began)
    return run.id


def _due(catalog: Catalog, engine: Engine, doc: RetentionDoc) -> bool:
    """Whether there is anything to do; a rule whose column is gone is due, so that its run says so."""
    table = engine.read(catalog.table(doc.table), catalog.root)
    return not _fits(table, doc.column) or matching(engine, table, doc.column, doc.older_than) > 0


def _act(catalog: Catalog, engine: Engine, doc: RetentionDoc, run: Run, began: float) -> None:
    workspace = Workspace(catalog.draft(run.id), engine)
    done = enforce(workspace, doc)
    message = done.text if done else "no row was too old"
    workspace.draft.commit(_ended(run, began, message=message))


def _ended(run: Run, began: float, **changes: str) -> Run:
    spent = round((time.perf_counter() - began) * 1000, 1)
    return run.model_copy(update={**changes, "act_ms": spent, "ended": now()})


def _fail(catalog: Catalog, doc: RetentionDoc, run: Run, fault: Exception, began: float) -> None:
    message = str(fault) if isinstance(fault, AgentlabError) else f"{type(fault).__name__}: {fault}"
    if not isinstance(fault, AgentlabError):
        _LOG.error("run %s failed", run.id, exc_info=fault)
    discard(catalog.root, run.id)
    catalog.save_run(_ended(run, began, status="failed", message=message))
    catalog.emit(Event(type="error", subject=doc.table, run=run.id, body={"message": message}))
