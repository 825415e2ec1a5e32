"""What brings a store or table up to date: it is pulled and made again by the very calls that made it.

No model is asked: the calls are those in the tables' versions, in the order in which they were done. Where that can't
be (rows were appended, a call can't be repeated), a table is published as it is, and it is said why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentlab.actions import Action, LoadFile, Publish, Pull, Quarantine, Sync
from agentlab.catalog import Catalog
from agentlab.entries import Entry
from agentlab.errors import AgentlabError, PlanError
from agentlab.plan import Origin, Plan, action_from
from agentlab.rules import check
from agentlab.runs import plan_of
from agentlab.simulation import writes
from agentlab.snapshots import beneath
from agentlab.stores import Published, StoreDoc
from agentlab.tasks import PULL, REFRESH, find, tasks

#: Whose plans these are, as their origin says.
SCHEDULE = "schedule"
_SCHEDULED = "scheduled: "


class Refresh(NamedTuple):
    """The plan of a refresh, without actions if there is nothing to do; why tables aren't pulled again, a line each."""

    plan: Plan
    notes: tuple[str, ...] = ()


def refresh(catalog: Catalog, store: str) -> Refresh:
    """What brings a store up to date as the catalog is now; PlanError if there is no such store.

    A copy to which rows were appended stays: the table's new version, if there is one, is appended, and nothing pulled,
    since the same rows would come twice. No table is published whose current version the store has already.
    """
    doc = StoreDoc.model_validate(catalog.get("store", store).doc)
    found = _Found(catalog, store)
    for name, copy in doc.tables.items():
        found.add(name, copy)
    made = (found.calls[place] for place in sorted(found.calls))
    origin = Origin(intent=f"{_SCHEDULED}{store}{REFRESH}", model=SCHEDULE)
    return Refresh(Plan(actions=(*made, *found.publishes), origin=origin), tuple(found.notes))


def refresh_table(catalog: Catalog, table: str) -> Refresh:
    """What makes a table again, with those that it is made of; nothing, and why, if that can't be."""
    try:
        calls = _calls(catalog, table)
    except PlanError as fault:
        return Refresh(Plan(actions=()), (f"{table} isn't made again: {fault}",))
    origin = Origin(intent=f"{_SCHEDULED}{table}{REFRESH}", model=SCHEDULE)
    return Refresh(Plan(actions=tuple(calls[place] for place in sorted(calls)), origin=origin))


def pull_of(catalog: Catalog, source: str, resource: str) -> Refresh:
    """The pull of a resource as it was done last, or else of all of it into `staging.<resource>`."""
    place = f"{source}.{resource}"
    into = f"staging.{re.sub(r'[^A-Za-z0-9_]', '_', resource)}"
    versions = (entry for table in catalog.entries("table") for entry in beneath(table, catalog))
    pulled = [entry for entry in versions if entry.doc.get("source") == place and entry.doc.get("call")]
    last = max(pulled, key=lambda entry: entry.at, default=None)
    action = action_from(last.doc["call"]) if last else Pull(source=source, resource=resource, into=into)
    origin = Origin(intent=f"{_SCHEDULED}{place}{PULL}", model=SCHEDULE)
    return Refresh(Plan(actions=(action,), origin=origin))


def of_task(catalog: Catalog, name: str) -> Refresh:
    """What does a scheduled task that isn't a pipeline, as the catalog is now; PlanError naming the nearest task."""
    task = find(name, catalog)
    if task.kind == "pull":
        return pull_of(catalog, task.name, task.resource)
    return refresh(catalog, task.name) if task.kind == "store" else refresh_table(catalog, task.name)


def standing(plan: Plan, catalog: Catalog) -> Refresh | None:
    """The refresh that a plan is, if it is one and still what brings the store or table up to date.

    What it replaces it makes again, so none of it needs a person's leave. A pull alone isn't one: what was done to the
    table since would be lost.
    """
    task = plan.origin.intent.removeprefix(_SCHEDULED)
    if plan.origin.model != SCHEDULE or not task.endswith(REFRESH) or task not in tasks(catalog):
        return None
    again = of_task(catalog, task)
    return again if again.plan.actions == plan.actions else None


@dataclass
class _Found:
    """What a store's tables need: calls by their place in the order of writing, publishes, and notes."""

    catalog: Catalog
    store: str
    calls: dict[int, Action] = field(default_factory=dict)
    publishes: list[Publish] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, copy: Published) -> None:
        head = self.catalog.find("table", copy.source)
        if head is None:
            self.notes.append(f"{copy.source} isn't there any more; {self.store} keeps its copy")
        elif _appends(self.catalog, self.store, name, copy):
            self.notes.append(f"{copy.source} isn't pulled again: appended to {self.store}, its rows would come twice")
            if head.n > copy.version:
                self.publishes.append(Publish(table=copy.source, store=self.store, mode="append"))
        elif self._made_again(copy.source) or head.n != copy.version:
            self.publishes.append(Publish(table=copy.source, store=self.store))

    def _made_again(self, table: str) -> bool:
        try:
            self.calls |= _calls(self.catalog, table)
        except PlanError as fault:
            self.notes.append(f"{table} isn't pulled again: {fault}")
            return False
        return True


def _appends(catalog: Catalog, store: str, name: str, copy: Published) -> bool:
    """Whether a copy was made by appending: the plan says so of the first part, too.

    Files that were put together since (`compact`) hold what was published as it was then.
    """
    known = (copy.published_at, copy.version)
    published = ((entry, entry.doc["tables"].get(name)) for entry in catalog.history("store", store))
    told = ((entry, doc) for entry, doc in published if doc and (doc["published_at"], doc["version"]) == known)
    entry, doc = next(told, (None, copy.model_dump(mode="json", by_alias=True)))
    try:
        actions = plan_of(catalog.run(entry.run)).actions if entry else ()
    except AgentlabError:
        actions = ()
    modes = [a.mode for a in actions if isinstance(a, Publish) and (a.table, a.store) == (copy.source, store)]
    return len(doc["parts"]) > 1 or modes[-1:] == ["append"]


def _calls(catalog: Catalog, table: str) -> dict[int, Action]:
    """The calls that make a table again, with the tables that it is made of; PlanError if that can't be."""
    recipe = _Recipe(catalog)
    recipe.add(table)
    plan = Plan(actions=tuple(recipe.calls[place] for place in sorted(recipe.calls)))
    if faults := [i.message for i in check(plan, catalog, None) if i.severity != "approval"]:
        raise PlanError("; ".join(dict.fromkeys(faults)))
    return recipe.calls


@dataclass
class _Recipe:
    """Calls by their place in the order of writing. Of each table all that led to its current version is repeated."""

    catalog: Catalog
    calls: dict[int, Action] = field(default_factory=dict)

    def add(self, table: str, until: int | None = None) -> None:
        """Go back from the current version to where the table was made from others, or pulled, before `until`."""
        for latest, (place, entry) in enumerate(_back(self.catalog, table)):
            action = _repeatable(entry)
            begins = _begins(action, entry) or (latest == 0 and _merges(action))
            if not begins and isinstance(action, Pull | Sync | LoadFile):
                how = {"pull": "pulled", "sync": "synced", "load_file": "loaded"}[action.tool()]
                mode = getattr(action, "mode", "upsert")
                raise PlanError(f"version {entry.n} was {how} by {mode} onto rows that are worked on since")
            if place not in self.calls:
                self.calls[place] = action
                for other in set(action.references("table")) - {table}:
                    self.add(other, place)
            if begins and (until is None or place < until):
                return
        raise PlanError(f"nothing says how {table} was made at first")


def _repeatable(entry: Entry) -> Action:
    call: dict[str, Any] = entry.doc.get("call") or {}
    if not call:
        raise PlanError(f"nothing says how version {entry.n} of {entry.name} was made")
    action = action_from(call)
    if entry.name != (action.table if isinstance(action, Quarantine) else writes(action)):
        raise PlanError(f"version {entry.n} of {entry.name} was made by {action.tool()}, which can't be repeated")
    return action


def _begins(action: Action, entry: Entry) -> bool:
    """Whether a call makes a table without regard to what was there."""
    if isinstance(action, Sync):
        return False
    if isinstance(action, Pull | LoadFile):
        return action.mode == "replace"
    return entry.name not in action.references("table")


def _merges(action: Action) -> bool:
    """Whether a call, done once more on its own result, only brings it up to date."""
    return isinstance(action, Sync) or (isinstance(action, Pull | LoadFile) and action.mode == "upsert")


def _back(catalog: Catalog, table: str) -> Iterator[tuple[int, Entry]]:
    """The versions that led to a table's current one, that one first, with their places in the order of writing.

    What was undone isn't among them.
    """
    head = catalog.find("table", table)
    n = head.n if head else None
    while n is not None:
        run = catalog.version("table", table, n).run
        before = _before(catalog, table, run)
        for row in catalog.database.query(
            "SELECT rowid AS place, n FROM versions WHERE kind = 'table' AND name = ? AND run = ? AND n <= ? AND n > ?"
            " ORDER BY n DESC",
            *(table, run, n, before or 0),
        ):
            entry = catalog.version("table", table, row["n"])
            if entry.doc.get("call", {}).get("name") == "restore":
                before = _restored(entry)
                break
            if entry.doc.get("call", {}).get("name") != "retain":
                yield row["place"], entry
        n = before


def _restored(entry: Entry) -> int | None:
    """The version that a restore brought back."""
    return next((n for origins in entry.doc["lineage"].values() for _, n, _ in origins), None)


def _before(catalog: Catalog, table: str, run: str) -> int | None:
    """The version that was current before a run's; None if there was none."""
    sql = "SELECT before FROM changes JOIN commits USING (seq) WHERE kind = 'table' AND name = ? AND run = ?"
    rows = catalog.database.query(sql, table, run)
    before: int | None = rows[0]["before"] if rows else None
    return before
