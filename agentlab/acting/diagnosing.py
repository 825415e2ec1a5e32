"""Where the time goes: of one query, of those that read a table, of the whole workload. Nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentlab import workload
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.acting.layouts import chosen, docs_of, readable, views_of
from agentlab.acting.views import Views
from agentlab.actions import Diagnose
from agentlab.diagnosis import SLOWER
from agentlab.errors import PlanError
from agentlab.workload import Cost, Diagnosis, QueryDoc

#: Tables that are told of where there is nothing to measure.
FEW = 10


@perform.register
def _(action: Diagnose, workspace: Workspace) -> Outcome:
    views = views_of(workspace)
    docs = chosen(workspace, action.query, action.table, views)
    notes = [] if action.query else _unreadable(workspace, views)
    if not docs:
        text, data = unmeasured(views, action.table)
        return Outcome("\n".join([text, *notes]), data)
    told, faults = _diagnosed(workspace, docs, views)
    if not told:
        raise PlanError("; ".join(faults))
    costs = workload.ranked([docs[name] for name in told], {name: found.ms for name, found in told.items()})
    if action.query is None:
        whole = {"kind": "workload", "slowest": costs[0].query, "costs": costs}
        workspace.draft.put("report", f"diagnosis of {action.table or 'the workload'}", whole)
    data = {"slowest": costs[0].query, "costs": [cost.model_dump(mode="json") for cost in costs]}
    found = {name: diagnosis.model_dump(mode="json") for name, diagnosis in told.items()}
    return Outcome("\n".join([*_ranking(costs), *_messages(costs, told), *faults, *notes]), {**data, "queries": found})


def unmeasured(views: Views, table: str | None) -> tuple[str, dict[str, Any]]:
    """What can be told of a table, or of all, where no saved query reads them; and what to do."""
    extents = views.extents()
    names = [table, *views.copies_of(table)] if table else sorted(views, key=lambda name: -extents[name].bytes)[:FEW]
    lines = [f"{name} has {extents[name].rows:,} rows in {extents[name]}" for name in names]
    many = [f"compact brings the files of {name} together" for name in names if extents[name].fragmented]
    reads = f" that reads {table}" if table else ""
    what = f"there is no saved query{reads} to measure; save one first, with lab.query(name, sql)"
    return "\n".join([what, *lines, *many]), {"tables": {name: extents[name]._asdict() for name in names}}


def _diagnosed(
    workspace: Workspace, docs: Mapping[str, QueryDoc], views: Views
) -> tuple[dict[str, Diagnosis], list[str]]:
    found, faults = dict[str, Diagnosis](), list[str]()
    for name, doc in docs.items():
        workspace.tell(f"measuring {name}")
        try:
            found[name] = workload.diagnose(workspace.engine, doc, views)
        except PlanError as fault:
            faults.append(f"{name} can't be measured: {fault}")
            continue
        report = {"kind": "diagnosis", "diagnosis": found[name], "slowdown": doc.slowdown}
        workspace.draft.put("report", f"diagnosis of {name}", report)
        _tell_slow(workspace, found[name])
    return found, faults


def _tell_slow(workspace: Workspace, found: Diagnosis) -> None:
    if found.slowdown > SLOWER:
        why = f"{found.slowdown:.1f} times slower than before"
        body = {"ms": found.ms, "slowdown": found.slowdown, "why": why, "tables": list(found.tables)}
        workspace.emit("slow-query", found.query, **body)


def _ranking(costs: list[Cost]) -> list[str]:
    """The queries by what they cost, when there are several."""
    if len(costs) == 1:
        return []
    first = costs[0]
    head = f"{first.query} is the slowest by how often it is asked: {first.share:.0%} of all that {len(costs)} take"
    return [head, *(f"{number}. {cost}" for number, cost in enumerate(costs, 1))]


def _messages(costs: list[Cost], told: Mapping[str, Diagnosis]) -> list[str]:
    return [told[cost.query].message for cost in costs]


def _unreadable(workspace: Workspace, views: Views) -> list[str]:
    """The saved queries that can't be measured any more."""
    gone = [name for name, doc in docs_of(workspace).items() if not readable(doc, views)]
    return [f"not measured, since they can't run any more: {', '.join(gone)}"] if gone else []
