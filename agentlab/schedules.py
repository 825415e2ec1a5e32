"""Keeping a lab's schedules: a thread that looks at the clock and does what is due, one task after the other.

A store's task, `S refresh`, pulls its tables again and publishes what comes of it (`refreshing.py`); a pipeline's name
carries the pipeline out. What was due while nobody kept the schedules is done once, not as often as it was missed: the
catalog's log says for which moment a task was last begun, and by whom, so that two keepers don't do it twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from croniter import croniter

from agentlab.entries import Entry
from agentlab.errors import AgentlabError, PlanError, unknown
from agentlab.events import Event
from agentlab.lab import Lab
from agentlab.refreshing import refresh

#: How often the clock is looked at, in seconds; cron knows minutes.
EVERY = 20.0
REFRESH = " refresh"

_LOG = logging.getLogger(__name__)


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
        return [entry.name for entry in self.lab.catalog.entries("schedule") if self._kept(entry, now)]

    def _kept(self, entry: Entry, now: datetime) -> bool:
        try:
            moment = _last(entry.doc["cron"], now)
            if moment <= self._counted(entry) or not self._claim(entry.name, moment):
                return False
            do(self.lab, entry.name)
        except AgentlabError as fault:
            _LOG.warning("the scheduled task %r failed: %s", entry.name, fault)
        except Exception:
            _LOG.exception("the scheduled task %r failed", entry.name)
        return True

    def _counted(self, entry: Entry) -> datetime:
        """The moment up to which a task is done: that of the last time, or when its schedule was set."""
        start = datetime.fromisoformat(entry.at)
        return max(self._begun.get(entry.name, start), start)

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


def _last(cron: str, now: datetime) -> datetime:
    """The latest moment of a schedule that isn't after `now`."""
    moment: datetime = croniter(cron, now.replace(microsecond=0) + timedelta(seconds=1)).get_prev(datetime)
    return moment


def do(lab: Lab, task: str) -> list[str]:
    """Carry out a task now; the ids of its runs. PlanError naming the nearest task if there is none of that name."""
    if lab.catalog.find("pipeline", task):
        return [lab.pipeline(task, approve=None).run]
    stores = lab.stores()
    name = task.removesuffix(REFRESH)
    if not task.endswith(REFRESH) or name not in stores:
        raise PlanError(unknown("task", task, lab.view().tasks))
    plan, notes = refresh(lab.catalog, name)
    for note in notes:
        _LOG.info("%s: %s", task, note)
    return [lab.run(plan, approve=None).run] if plan.actions else []
