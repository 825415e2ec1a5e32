"""What the storage agent does: stores, schedules, and what is kept how long."""

from __future__ import annotations

from datetime import UTC, datetime

from croniter import croniter

from agentlab import stores
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.actions import (
    Provision,
    Publish,
    Schedule,
)
from agentlab.errors import PlanError
from agentlab.stores import StoreDoc


@perform.register
def _(action: Provision, workspace: Workspace) -> Outcome:
    store = stores.provision(action)
    workspace.draft.put("store", store.name, store)
    return Outcome(f"store {store.name} ({store.format}) is ready", {"store": store.name, "format": store.format})


@perform.register
def _(action: Publish, workspace: Workspace) -> Outcome:
    workspace.tell(f"publishing {action.table} to {action.store}")
    before = StoreDoc.model_validate(workspace.draft.get("store", action.store).doc)
    version, table = workspace.version(action.table), workspace.read(action.table)
    after = stores.publish(
        *(workspace.engine, table, before, action.table, workspace.draft.run, action.mode),
        root=workspace.root,
        version=version,
    )
    workspace.draft.put("store", action.store, after)
    done = after.tables[stores.published_name(action.table)]
    body = {"store": action.store, "format": after.format, "rows": done.rows, "bytes": done.bytes, "version": version}
    workspace.emit("published", action.table, **body)
    return Outcome(f"published {action.table} to {action.store}: {done.rows:,} rows, {done.bytes:,} bytes", body)


@perform.register
def _(action: Schedule, workspace: Workspace) -> Outcome:
    moments = upcoming(action.cron)
    doc = {"task": action.task, "when": action.when, "cron": action.cron, "next": moments}
    workspace.draft.put("schedule", action.task, doc)
    workspace.emit("scheduled", action.task, cron=action.cron, next=moments)
    return Outcome(f"{action.task} runs {action.when} ({action.cron}), next at {moments[0]}", doc)


def upcoming(cron: str, after: datetime | None = None, many: int = 5) -> list[str]:
    """The next moments of a schedule, ISO 8601 in UTC; PlanError if there are none.

    >>> upcoming("0 2 * * *", datetime(2026, 1, 1, tzinfo=UTC), many=2)
    ['2026-01-01T02:00:00+00:00', '2026-01-02T02:00:00+00:00']
    """
    try:
        moments = croniter(cron, after or datetime.now(UTC))
        return [moments.get_next(datetime).isoformat() for _ in range(many)]
    except ValueError as fault:
        raise PlanError(f"{cron!r} is no time that comes: {fault}") from fault
