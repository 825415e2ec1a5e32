"""What the storage agent does: stores. What it does about time is in `keeping.py`."""

from __future__ import annotations

from datetime import UTC, datetime

from agentlab import stores
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.actions import (
    Provision,
    Publish,
    Resize,
    Usage,
)
from agentlab.actions.amounts import bytes_of
from agentlab.approvals import replaces_published
from agentlab.costs import Prices, held_cost
from agentlab.errors import PlanError
from agentlab.stores import NEAR, StoreDoc, StoreUsage


@perform.register
def _(action: Provision, workspace: Workspace) -> Outcome:
    databases = {entry.name: entry.doc for entry in workspace.draft.entries("source")}
    store = stores.provision(action, databases)
    taken = [e.name for e in workspace.draft.entries("store") if e.doc.get("location") == store.location]
    if taken and store.format != "postgres":
        raise PlanError(f"the store {taken[0]} is at {store.location} already; give {store.name} a place of its own")
    # Outside the catalog only what is harmless if the run comes to nothing: an empty bucket with its settings.
    steps = stores.prepare(workspace.root, store)
    workspace.draft.put("store", store.name, store)
    told = [f"store {store.name} ({store.format}) is ready", *([f"at {store.location}"] if action.location else [])]
    told += [f"split by {', '.join(store.partition_by)}"] if store.partition_by else []
    told += [f"up to {store.quota}"] if store.quota else []
    told += steps
    data = {"store": store.name, "format": store.format, "location": store.location, "quota": store.quota}
    return Outcome(", ".join(told), {**data, "partition_by": list(store.partition_by), "steps": steps})


@perform.register
def _(action: Publish, workspace: Workspace) -> Outcome:
    workspace.tell(f"publishing {action.table} to {action.store}")
    before = _store(workspace, action.store)
    if before.outside:
        stores.tidy(workspace.draft.catalog, action.store)
    version, table = workspace.version(action.table), workspace.read(action.table)
    after = stores.publish(
        *(workspace.engine, table, before, action.table, workspace.draft.run, action.mode),
        root=workspace.root,
        version=version,
    )
    others = replaces_published(action, workspace.draft)
    workspace.draft.put("store", action.store, after)
    done = after.tables[stores.published_name(action.table)]
    body = {"store": action.store, "format": after.format, "rows": done.rows, "bytes": done.bytes, "version": version}
    workspace.emit("published", action.table, **body)
    text = f"published {action.table} to {action.store}: {done.rows:,} rows, {done.bytes:,} bytes"
    return Outcome(text + _near(workspace, after), {**body, "mode": action.mode}, others)


@perform.register
def _(action: Resize, workspace: Workspace) -> Outcome:
    before = _store(workspace, action.store)
    if before.bytes > bytes_of(action.quota):
        raise PlanError(
            f"{action.store} holds {before.bytes:,} bytes ({stores.size(before.bytes)}) already, more than "
            f"{action.quota} ({bytes_of(action.quota):,} bytes); give it more, or archive or drop something first"
        )
    after = before.model_copy(update={"quota": action.quota})
    workspace.draft.put("store", action.store, after)
    was = f"before {before.quota}" if before.quota else "before without a limit"
    text = f"{action.store} may hold {action.quota} now, {was}; it holds {stores.size(after.bytes)}, {after.share:.1%}"
    data = {"store": action.store, "quota": action.quota, "quota_bytes": after.quota_bytes, "before": before.quota}
    return Outcome(text + _near(workspace, after), {**data, "bytes": after.bytes, "share": after.share})


@perform.register
def _(action: Usage, workspace: Workspace) -> Outcome:
    named = [_store(workspace, action.store)] if action.store else _stores(workspace)
    if not named:
        return Outcome("there is no store yet; provision one first", {"stores": []})
    prices, told = Prices.of_lab(workspace.root), list[StoreUsage]()
    for store in named:
        usage = stores.usage_of(store, workspace.draft.catalog, datetime.now(UTC))
        cost = held_cost(store, prices)
        report = {"kind": "usage", "usage": usage, "cost": cost}
        workspace.draft.put("report", f"usage of {store.name}", report)
        told.append(usage)
    lines = [f"{usage}\n- {held_cost(store, prices)}" for usage, store in zip(told, named, strict=True)]
    return Outcome("\n".join(lines), {"stores": [usage.model_dump(mode="json") for usage in told]})


def _store(workspace: Workspace, name: str) -> StoreDoc:
    return StoreDoc.model_validate(workspace.draft.get("store", name).doc)


def _stores(workspace: Workspace) -> list[StoreDoc]:
    return [StoreDoc.model_validate(entry.doc) for entry in workspace.draft.entries("store")]


def _near(workspace: Workspace, store: StoreDoc) -> str:
    """Tell of a store that is near its quota, in words and by an event; nothing if it isn't."""
    if store.share is None or store.share < NEAR:
        return ""
    figures = {"share": round(store.share, 4), "bytes": store.bytes, "quota_bytes": store.quota_bytes}
    workspace.emit("capacity-near", store.name, **figures)
    return f"; {store.name} is {store.share:.0%} full: resize it, or archive old rows"
