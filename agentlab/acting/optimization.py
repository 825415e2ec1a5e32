"""What the optimization agent does: recommendations and layouts, all measured on the saved queries, and limits.

Diagnosing is in `diagnosing.py`, compacting in `compacting.py`, and how what was kept gets into the catalog in
`layouts.py`.
"""

from __future__ import annotations

from agentlab import tasks, workload
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.acting.diagnosing import unmeasured
from agentlab.acting.layouts import bench_of, checked, chosen, docs_of, keep, kept_ones, views_of
from agentlab.acting.views import Views
from agentlab.actions import Index, Materialize, OrderBy, Partition, Recommend, Throttle
from agentlab.actions.storage import cron_of
from agentlab.costs import GIB, Prices
from agentlab.layouts import Candidate, LayoutDoc
from agentlab.limits import LimitDoc
from agentlab.moments import upcoming
from agentlab.workload import QueryDoc, Tuning

__all__ = ["Views", "keep"]


@perform.register
def _(action: Recommend, workspace: Workspace) -> Outcome:
    views = views_of(workspace)
    docs = chosen(workspace, action.query, action.table, views)
    if not docs:
        return Outcome(*unmeasured(views, action.table))
    queries = checked(dict(sorted(docs.items(), key=_dearest)), views)
    if not queries:
        workload.check(docs[action.query or ""].sql, views)
    workspace.tell(f"trying layouts for {', '.join(queries)}")
    tuning = workload.tune(
        bench_of(workspace, views),
        queries,
        weights={name: docs[name].weight for name in queries},
        objective=action.objective,
        keep=action.apply,
        more=[layout.candidate for layout in kept_ones(workspace) if _of_table(layout, action.table)],
    )
    tuning = keep(workspace, tuning)
    about = action.query or action.table or "the workload"
    workspace.draft.put("report", f"tuning of {about}", {"kind": "tuning", "tuning": tuning})
    head = f"layouts for {about}, the best for {action.objective} first"
    months, told = _months(workspace, tuning)
    return Outcome(f"{head}:\n{tuning}{told}", {**tuning.model_dump(mode="json"), "month": months})


def _months(workspace: Workspace, tuning: Tuning) -> tuple[dict[str, float], str]:
    """What keeping each layout that is truly faster costs a month, by the lab's prices; the best's in words."""
    prices = Prices.of_lab(workspace.root)
    faster = [measured for measured in tuning.measured if measured.status in ("kept", "beaten")]
    months = {str(m.candidate): m.bytes / GIB * prices.of("local").month for m in faster}
    told = [f"{name}: about {cost:.4f} {prices.currency} a month to keep" for name, cost in months.items()]
    return months, "".join(f"\n{line}, by prices of {prices.as_of}" for line in told[:1])


def _dearest(item: tuple[str, QueryDoc]) -> float:
    _, doc = item
    return -(doc.median_ms or 0.0) * doc.weight


def _of_table(layout: LayoutDoc, table: str | None) -> bool:
    """Whether a layout that there is, or was until its table changed, is worth trying again with others."""
    return layout.kind != "materialized" and not layout.store and table in (None, layout.table)


@perform.register(Index)
@perform.register(OrderBy)
@perform.register(Partition)
def _(action: Index | OrderBy | Partition, workspace: Workspace) -> Outcome:
    candidate = workload.candidate_of(action)
    tuning = _tried(workspace, candidate, docs_of(workspace))
    return _told(workspace, f"tuning by {action.tool()}", tuning)


@perform.register
def _(action: Materialize, workspace: Workspace) -> Outcome:
    doc = QueryDoc.model_validate(workspace.draft.get("query", action.query).doc)
    workload.check(doc.sql, views_of(workspace))
    tuning = _tried(workspace, workload.candidate_of(action), {action.query: doc}, action.name, action.refresh)
    outcome = _told(workspace, f"tuning by {action.tool()}", tuning)
    when = _scheduled(workspace, tuning.kept) if tuning.kept else ""
    return Outcome(outcome.text + when, outcome.data)


def _tried(
    workspace: Workspace,
    candidate: Candidate,
    docs: dict[str, QueryDoc],
    named: str | None = None,
    refresh: str | None = None,
) -> Tuning:
    views = views_of(workspace)
    workspace.tell(f"measuring {candidate}")
    tuning = workload.try_layout(bench_of(workspace, views), candidate, checked(docs, views))
    return keep(workspace, tuning, named, refresh)


def _told(workspace: Workspace, report: str, tuning: Tuning) -> Outcome:
    workspace.draft.put("report", report, {"kind": "tuning", "tuning": tuning})
    kept = f"kept as {tuning.kept.name}" if tuning.kept else "not kept: nothing was changed"
    return Outcome(f"{tuning}\n{kept}", tuning.model_dump(mode="json"))


def _scheduled(workspace: Workspace, layout: LayoutDoc) -> str:
    """Let the kept result be computed again at its times, or by the first query after a change; which of them."""
    task = f"{layout.name}{tasks.REFRESH}"
    known = workspace.draft.find("schedule", task)
    if not layout.refresh:
        if known:
            workspace.draft.remove("schedule", task)
        return "; after a change of its tables the first query computes it again"
    cron = cron_of(layout.refresh)
    moments = upcoming(cron, zone=None)
    doc = {"task": task, "when": layout.refresh, "cron": cron, "zone": None, "state": "active", "next": moments}
    workspace.draft.put("schedule", task, doc)
    workspace.emit("scheduled", task, cron=cron, zone=None, next=moments)
    return f"; computed again {layout.refresh} ({cron}), next at {moments[0]}"


@perform.register
def _(action: Throttle, workspace: Workspace) -> Outcome:
    workspace.draft.get("source", action.source)
    known = workspace.draft.find("limit", action.source)
    before = LimitDoc.model_validate(known.doc) if known else LimitDoc(source=action.source)
    after = before.model_copy(update=action.model_dump(exclude_none=True))
    data = after.model_dump(mode="json")
    if after == before:
        return Outcome(f"{before} already; nothing was changed", data)
    workspace.draft.put("limit", action.source, after)
    workspace.emit("throttled", action.source, **data)
    instead = f"; before, {before}" if known else ""
    return Outcome(f"from now on {after}{instead}", data)
