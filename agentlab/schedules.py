"""Keeping a lab's schedules: a thread that looks at the clock and does what is due, one task after the other.

A refresh or a pull does again what was done before (`refreshing.py`); a pipeline's name carries the pipeline out.
Retention runs every night without being asked. What was due while nobody kept the schedules is done once, not as often
as it was missed, and what came due while a schedule was paused isn't done: the catalog's log says for which moment a
task was last begun, and by whom, so that two keepers don't do it twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import NamedTuple, Self

from agentlab.enforcement import rule_times
from agentlab.entries import Entry
from agentlab.errors import AgentlabError
from agentlab.events import Event
from agentlab.lab import Lab
from agentlab.moments import latest
from agentlab.orchestrator import new_id
from agentlab.recomputing import recompute
from agentlab.refreshing import of_task
from agentlab.retention import NIGHTLY
from agentlab.tasks import find

#: How often the clock is looked at, in seconds; cron knows minutes.
EVERY = 20.0
#: The task that is everywhere: retention. A pipeline can't have the name.
RETENTION = "(retention)"

_LOG = logging.getLogger(__name__)


class _Task(NamedTuple):
    """Something that comes due by a cron line, in a zone, for moments after `since`."""

    name: str
    cron: str
    zone: str | None
    since: datetime


def _task(entry: Entry) -> _Task | None:
    """What a schedule makes due; None while it is paused. Resuming writes it anew, so it counts from then."""
    if entry.doc.get("state", "active") == "paused":
        return None
    return _Task(entry.name, entry.doc["cron"], entry.doc.get("zone"), datetime.fromisoformat(entry.at))


class Keeper:
    """Keeps a lab's schedules while its `with` lasts. Nobody is there to approve: what needs it waits for a person."""

    def __init__(self, lab: Lab, every: float = EVERY) -> None:
        self.lab, self.every = lab, every
        self._end = threading.Event()
        self._name = secrets.token_hex(4)
        self._begun = _begun(lab)
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
        """Do what is due and hasn't been begun; the tasks that were begun. A task's failure is logged, no more."""
        due = [task for task in map(_task, self.lab.catalog.entries("schedule")) if task]
        if times := rule_times(self.lab.catalog):
            due.append(_Task(RETENTION, NIGHTLY, None, min(times)))
        return [task.name for task in due if self._kept(task, now)]

    def _kept(self, task: _Task, now: datetime) -> bool:
        try:
            moment = latest(task.cron, now, task.zone)
            # Up to which moment a task is done: that of the last time, or when its schedule was set or resumed.
            done = max(self._begun.get(task.name, task.since), task.since)
            if moment <= done or not self._claim(task.name, moment):
                return False
            do(self.lab, task.name)
        except AgentlabError as fault:
            _LOG.warning("the scheduled task %r failed: %s", task.name, fault)
        except Exception:
            _LOG.exception("the scheduled task %r failed", task.name)
        return True

    def _claim(self, task: str, moment: datetime) -> bool:
        """Write down that this keeper does what was due at a moment; False if another does."""
        due = moment.isoformat()
        event = Event(type="scheduled", subject=task, id=f"due/{task}/{due}", body={"due": due, "by": self._name})
        told = self.lab.catalog.emit(event)
        self._begun[task] = moment
        return bool(told.body["by"] == self._name)

    def _keep(self) -> None:
        while not self._end.wait(self.every):
            try:
                self.tick(datetime.now(UTC))
            except Exception:
                _LOG.exception("the schedules can't be looked at; trying again in %s seconds", self.every)


def _begun(lab: Lab) -> dict[str, datetime]:
    """For which moment each task was begun last. Claims are the events of schedules that belong to no run."""
    told = lab.catalog.events(run="", type="scheduled")
    return {event.subject: datetime.fromisoformat(event.body["due"]) for event in told}


def do(lab: Lab, task: str) -> list[str]:
    """Carry out a task now; the ids of its runs. PlanError naming the nearest task if there is none of that name."""
    if lab.catalog.find("pipeline", task):
        return [lab.pipeline(task, approve=None).run]
    if task == RETENTION:
        return [result.run for result in lab.enforce()]
    if (known := find(task, lab.catalog)).kind == "result":
        run = recompute(lab.catalog, lab.engine, known.name, new_id)
        return [run] if run else []
    plan, notes = of_task(lab.catalog, task)
    for note in notes:
        _LOG.info("%s: %s", task, note)
    return [lab.run(plan, approve=None).run] if plan.actions else []
