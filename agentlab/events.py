"""What happened in a lab: frozen events in an append-only log, in the catalog's own database.

An event is written in the transaction of what it tells of, so there is never one without the other. Reacting to events
is `policy.py`'s work, not this module's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from agentlab.errors import LabError
from agentlab.shown import Listed

EventType = Literal[
    "data-ready",
    "quality-pass",
    "quality-fail",
    "transformed",
    "published",
    "capacity-near",
    "scheduled",
    "slow-query",
    "tuned",
    "throttled",
    "error",
    "review-asked",
    "review-answered",
    "undone",
    "schema-drift",
]


class Event(BaseModel):
    """One thing that happened to a table, store or query (`subject`).

    `seq`, `id` and `at` (ISO 8601, UTC) are given by the log. `seq` grows in the order in which events become visible:
    whoever has read up to one misses nothing. `id` is the same however often a step is repeated.

    >>> Event(type="data-ready", subject="staging.orders", body={"rows": 3}).body
    {'rows': 3}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: EventType
    subject: str
    body: dict[str, Any] = {}
    run: str = ""
    seq: int = 0
    id: str = ""
    at: str = ""

    def __str__(self) -> str:
        told = ", ".join(f"{key} {value}" for key, value in self.body.items() if not isinstance(value, dict | list))
        return f"{self.type} {self.subject}" + (f": {told}" if told else "")


class Events(Listed[Event]):
    """Several events, oldest first."""


def now() -> str:
    """The present moment, ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def append(connection: sqlite3.Connection, event: Event) -> Event:
    """Write an event within the connection's transaction; one whose id is there already is returned as it was written.

    Without an id it gets `<run>/<type>/<subject>`, so a run says a thing once; LabError without a run either.
    """
    if not event.id and not event.run:
        raise LabError(f"the event {event.type} of {event.subject!r} has no run; give it an id of its own")
    key = event.id or f"{event.run}/{event.type}/{event.subject}"
    body = to_json(event.body, inf_nan_mode="null").decode()
    connection.execute(
        "INSERT INTO events (id, type, subject, body, run, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (key, event.type, event.subject, body, event.run, event.at or now()),
    )
    return by_id(connection, key)


def by_id(connection: sqlite3.Connection, key: str) -> Event:
    """The event of that id; LabError if the log has none."""
    if row := connection.execute("SELECT * FROM events WHERE id = ?", (key,)).fetchone():
        return _event(row)
    raise LabError(f"no event {key!r} in this lab")


def read(
    connection: sqlite3.Connection, after: int = 0, run: str | None = None, type: str | None = None
) -> Iterator[Event]:
    """The events whose `seq` is greater than `after`, oldest first; only a run's or a type's, if given."""
    rows = connection.execute(
        "SELECT * FROM events WHERE seq > :after AND (:run IS NULL OR run = :run) AND (:type IS NULL OR type = :type)"
        " ORDER BY seq",
        {"after": after, "run": run, "type": type},
    )
    return map(_event, rows)


def _event(row: sqlite3.Row) -> Event:
    return Event.model_validate({**dict(row), "body": from_json(row["body"])})
