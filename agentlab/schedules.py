"""Keeping a lab's schedules: a thread that looks at the clock and does what is due, one task after the other.

A store's task, `S refresh`, publishes its tables again as they are now; a pipeline's name carries the pipeline out.
What was due while nobody kept the schedules is done once, not as often as it was missed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from croniter import croniter

from agentlab.actions import Publish
from agentlab.entries import Entry
from agentlab.errors import AgentlabError, PlanError, unknown
from agentlab.lab import Lab
from agentlab.plan import Origin, Plan

#: How often the clock is looked at, in seconds; cron knows minutes.
EVERY = 20.0
REFRESH = " refresh"

_LOG = logging.getLogger(__name__)


class Keeper:
    """Keeps a lab's schedules while its `with` lasts. Nobody is there to approve: what needs it waits for a person."""

    def __init__(self, lab: Lab, every: float = EVERY) -> None:
        self.lab, self.every = lab, every
        self._end = threading.Event()
        self._since = datetime.now(UTC)
        self._thread = threading.Thread(target=self._keep, name="agentlab-schedules", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def tick(self, now: datetime) -> list[str]:
        """Do what came due since the last tick; the tasks that were begun. A task's failure is logged, no more."""
        due = [entry.name for entry in self.lab.catalog.entries("schedule") if _due(entry, self._since, now)]
        self._since = now
        for task in due:
            try:
                do(self.lab, task)
            except AgentlabError as fault:
                _LOG.warning("the scheduled task %r failed: %s", task, fault)
        return due

    def _keep(self) -> None:
        while not self._end.wait(self.every):
            self.tick(datetime.now(UTC))


def _due(entry: Entry, since: datetime, now: datetime) -> bool:
    # A schedule that was set since the last look counts from its own beginning.
    start = max(since, datetime.fromisoformat(entry.at))
    moment: datetime = croniter(entry.doc["cron"], start).get_next(datetime)
    return moment <= now


def do(lab: Lab, task: str) -> list[str]:
    """Carry out a task now; the ids of its runs. PlanError naming the nearest task if there is none of that name."""
    if lab.catalog.find("pipeline", task):
        return [lab.pipeline(task, approve=None).run]
    stores = lab.stores()
    name = task.removesuffix(REFRESH)
    if not task.endswith(REFRESH) or name not in stores:
        raise PlanError(unknown("task", task, lab.view().tasks))
    plan = Plan(
        actions=tuple(_again(name, [t.source for t in stores[name].tables.values()])),
        origin=Origin(intent=f"scheduled: {task}", model="schedule"),
    )
    return [lab.run(plan, approve=None).run] if plan.actions else []


def _again(store: str, tables: list[str]) -> Iterator[Publish]:
    for table in tables:
        yield Publish(table=table, store=store)
