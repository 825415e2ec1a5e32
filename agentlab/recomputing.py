"""Kept results after a change of their tables: computed again by the lab's schedules, or by the first query.

Each time is a run of its own in the log, and part of the run that kept the result: undoing that one undoes it, too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pyarrow as pa

from agentlab import workload
from agentlab.acting.base import Workspace
from agentlab.acting.layouts import bench_of, views_of
from agentlab.catalog import Catalog
from agentlab.draft import Draft
from agentlab.engine import Engine
from agentlab.entries import Run
from agentlab.errors import AgentlabError
from agentlab.events import now
from agentlab.layouts import LayoutDoc, is_current
from agentlab.plan import Origin, Plan

#: What an id of such a run has behind that of the run that kept the result.
MARK = "k"

_LOG = logging.getLogger(__name__)


def due(workspace: Workspace, name: str) -> LayoutDoc | None:
    """The kept result of the name, if it has to be computed again: a table has changed, or its files are gone."""
    layout = LayoutDoc.model_validate(workspace.draft.get("layout", name).doc)
    there = (workspace.root / layout.path).exists()
    return None if is_current(layout, views_of(workspace).versions) and there else layout


def recompute(
    catalog: Catalog, engine: Engine, name: str, new_id: Callable[[str], str], rows: pa.Table | None = None
) -> str | None:
    """Compute a kept result again, unless it is of its tables as they are; the run's id, None if there was no need.

    `rows` are its result, if it has just been computed. PlanError when there is no such result, or its query can't run.
    """
    entry = catalog.get("layout", name)
    first = re.sub(rf"-{MARK}[^-]*$", "", entry.run)
    intent = f"compute the kept result {name} again"
    plan = Plan(actions=(), origin=Origin(intent=intent)).to_json()
    run = Run(id=f"{first}-{new_id(MARK)}", intent=intent, agent="optimization", status="done", plan=plan)
    workspace = Workspace(Draft(catalog, run.id), engine)
    if (layout := due(workspace, name)) is None:
        return None
    bench = bench_of(workspace, views_of(workspace))
    workspace.draft.put("layout", name, workload.recompute(bench, layout, rows))
    workspace.draft.commit(run.model_copy(update={"message": intent, "ended": now()}))
    return run.id


def try_again(catalog: Catalog, engine: Engine, name: str, new_id: Callable[[str], str], rows: pa.Table) -> None:
    """Keep what the first query after a change has just given. It is answered in any case; a fault is only logged."""
    try:
        recompute(catalog, engine, name, new_id, rows)
    except AgentlabError as fault:
        _LOG.warning("the kept result %s can't be computed again: %s", name, fault)
