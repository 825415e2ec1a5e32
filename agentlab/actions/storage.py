"""What the storage agent may do: stores and schedules; never a cell's value."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from croniter import croniter
from pydantic import AfterValidator

from agentlab.actions.amounts import Size, Span, Zone
from agentlab.actions.base import (
    Action,
    Column,
    Kind,
    NewFile,
    NewSnapshot,
    NewStore,
    Role,
    Schedules,
    Snapshot,
    Store,
    Table,
    Text,
)

DAYS = ("sundays", "mondays", "tuesdays", "wednesdays", "thursdays", "fridays", "saturdays")
PERIODS = ("hourly", "nightly", "daily", "weekdays", "weekends", "weekly", "monthly", *DAYS)
_WHEN = re.compile(r"(?P<period>[a-z]+(?: and [a-z]+)*)(?: at (?P<hour>\d\d?):(?P<minute>\d\d))?")
_EVERY = re.compile(r"every (?P<n>\d+) (?P<unit>minutes|hours)")


def cron_of(when: str) -> str:
    """The five cron fields of a moment in plain words. Nightly is 02:00, other days' default is midnight.

    Forms: `hourly`, `nightly`, `daily`, `weekdays`, `weekends`, `weekly` (Mondays), `monthly` (the first),
    `mondays` ... `sundays`, `mondays and fridays`, each with an optional ` at HH:MM`; `every N minutes`,
    `every N hours`; or five cron fields as they are.

    >>> cron_of("nightly"), cron_of("mondays and fridays at 6:30"), cron_of("every 15 minutes")
    ('0 2 * * *', '30 6 * * 1,5', '*/15 * * * *')
    """
    fields = when.split()
    if len(fields) == 5 and all(re.fullmatch(r"[\d*,/\-A-Za-z]+", f) for f in fields):
        if not croniter.is_valid(when):
            raise ValueError(f"{when!r} has five fields like cron, but names no time; write e.g. '30 6 * * 1-5'")
        return " ".join(fields)
    if every := _EVERY.fullmatch(when):
        return _every(int(every["n"]), every["unit"])
    found = _WHEN.fullmatch(when)
    if not found or not (found["period"] in PERIODS or set(found["period"].split(" and ")) <= set(DAYS)):
        raise ValueError(f"can't read {when!r} as a time; write e.g. 'nightly', 'daily at 06:00', 'mondays at 7:30'")
    return _at(found["period"], found["hour"], found["minute"])


def _every(n: int, unit: str) -> str:
    most = {"minutes": 59, "hours": 23}[unit]
    if not 1 <= n <= most:
        raise ValueError(f"every {n} {unit}: the number must be between 1 and {most}")
    return f"*/{n} * * * *" if unit == "minutes" else f"0 */{n} * * *"


def _at(period: str, hour: str | None, minute: str | None) -> str:
    h = int(hour) if hour else (2 if period == "nightly" else 0)
    m = int(minute) if minute else 0
    if h > 23 or m > 59:
        raise ValueError(f"{h}:{m:02d} is no time of day; hours go to 23, minutes to 59")
    if period == "hourly":
        return f"{m} * * * *"
    day = {"weekdays": "* * 1-5", "weekends": "* * 0,6", "weekly": "* * 1", "monthly": "1 * *"}.get(period, "* * *")
    if (days := set(period.split(" and "))) <= set(DAYS):
        day = f"* * {','.join(str(n) for n, name in enumerate(DAYS) if name in days)}"
    return f"{m} {h} {day}"


def _readable(when: str) -> str:
    cron_of(when)
    return when


When = Annotated[str, Kind("when"), AfterValidator(_readable)]


class Provision(Action):
    """Create a store: a place where finished tables live, in one format, split by columns, up to a quota.

    `location` is a folder of the lab, `s3://bucket/prefix`, or for postgres the name of a registered database; None is
    the lab's own place.
    """

    agent: ClassVar[Role | None] = "storage"
    store: NewStore
    kind: Literal["columnar"] = "columnar"
    format: Literal["parquet", "duckdb", "delta", "postgres"] = "parquet"
    partition_by: tuple[Column, ...] = ()
    location: Annotated[str, Kind("location")] | None = None
    quota: Size | None = None


class Publish(Action):
    """Write a table into a store, all of it or none of it."""

    agent: ClassVar[Role | None] = "storage"
    table: Table
    store: Store
    mode: Literal["replace", "append"] = "replace"


class Export(Action):
    """Write a table to a file of the lab's folder. Without `path` it is `exports/<table>.<format>`."""

    agent: ClassVar[Role | None] = "storage"
    table: Table
    path: NewFile | None = None
    format: Literal["csv", "jsonl", "parquet", "excel"] | None = None


class Schedule(Action):
    """Do a task again and again: a saved pipeline, by its name, or `S refresh`, which brings the store S up to date.

    Without `zone` it is that of the task's schedule before, if it had one, else UTC.
    """

    agent: ClassVar[Role | None] = "storage"
    task: Text
    when: When
    zone: Zone | None = None

    @property
    def cron(self) -> str:
        return cron_of(self.when)


class Unschedule(Action):
    """Take a schedule away."""

    agent: ClassVar[Role | None] = "storage"
    task: Schedules


class Pause(Action):
    """Keep a schedule, but don't do its task until it is resumed."""

    agent: ClassVar[Role | None] = "storage"
    task: Schedules


class Resume(Action):
    """Do a paused schedule's task again at its times."""

    agent: ClassVar[Role | None] = "storage"
    task: Schedules


class Retain(Action):
    """Keep rows for some time only: those whose `column` is older are archived, or deleted, whenever retention runs.

    `column` is a date or timestamp. Archived rows go to `archive.<table>`. Deleting waits for approval.
    """

    agent: ClassVar[Role | None] = "storage"
    table: Table
    column: Column
    older_than: Span
    then: Literal["archive", "delete"] = "archive"


class TakeSnapshot(Action):
    """Give a table's present version a name by which it can be restored."""

    agent: ClassVar[Role | None] = "storage"
    table: Table
    name: NewSnapshot | None = None

    @classmethod
    def tool(cls) -> str:
        return "snapshot"


class Restore(Action):
    """Bring a table back to a snapshot or a version, as a new version.

    A negative `version` counts back: -1 is the one before the present one.
    """

    agent: ClassVar[Role | None] = "storage"
    exactly_one: ClassVar[tuple[str, ...]] = ("snapshot", "version")
    table: Table
    snapshot: Snapshot | None = None
    version: int | None = None


class Resize(Action):
    """Change how much a store may hold."""

    agent: ClassVar[Role | None] = "storage"
    store: Store
    quota: Size


class Usage(Action):
    """Say how much a store holds, by table, and how near it is to its quota; every store without `store`."""

    agent: ClassVar[Role | None] = "storage"
    store: Store | None = None


class Drop(Action):
    """Take a table or a store out of the catalog. It waits for approval, and can be undone."""

    agent: ClassVar[Role | None] = "storage"
    exactly_one: ClassVar[tuple[str, ...]] = ("table", "store")
    table: Table | None = None
    store: Store | None = None
