"""Keeping schedules: what is due is done once, also what came due while nobody was there, whatever goes wrong."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.schedules import Keeper, do

DAY = timedelta(days=1)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(pd.DataFrame({"id": [1, 2]}), "orders")
        calls = [
            {"name": "provision", "arguments": {"store": "mart"}},
            {"name": "publish", "arguments": {"table": "staging.orders", "store": "mart"}},
            {"name": "schedule", "arguments": {"task": "mart refresh", "when": "nightly"}},
        ]
        assert lab.run(Plan.from_calls(calls)).status == "done"
        yield lab


def test_what_was_due_while_nobody_kept_the_schedules_is_done_once(lab: Lab) -> None:
    later = datetime.now(UTC) + 5 * DAY
    assert Keeper(lab).tick(later) == ["mart refresh"]
    assert Keeper(lab).tick(later) == [], "the next keeper knows"
    assert Keeper(lab).tick(later + DAY) == ["mart refresh"]
    assert [run.intent for run in lab.history()].count("scheduled: mart refresh") == 2


def test_a_task_is_not_due_before_its_first_moment(lab: Lab) -> None:
    assert Keeper(lab).tick(datetime.fromisoformat(lab.catalog.get("schedule", "mart refresh").at)) == []


def test_two_keepers_do_a_task_once(lab: Lab) -> None:
    with Lab(lab.root, Scripted({})) as twin:
        one, other = Keeper(lab), Keeper(twin)
        later = datetime.now(UTC) + DAY
        assert (one.tick(later), other.tick(later)) == (["mart refresh"], [])


def test_a_fault_of_any_kind_ends_neither_the_tick_nor_the_keeper(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    def locked(*_: object, **__: object) -> None:
        nonlocal looks
        looks += 1
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(lab, "run", locked)
    assert Keeper(lab).tick(datetime.now(UTC) + DAY) == ["mart refresh"]
    assert "the scheduled task 'mart refresh' failed" in caplog.text
    with Keeper(lab, every=0.01):
        monkeypatch.setattr(lab.catalog, "entries", locked)
        end = time.monotonic() + 30
        while looks < 4 and time.monotonic() < end:
            time.sleep(0.01)
        monkeypatch.undo()
    assert looks >= 4
    assert "trying again in 0.01 seconds" in caplog.text


# Zones, pauses, and what can be a task


def set_at(lab: Lab, moment: str, **doc: object) -> None:
    """Put a schedule into the catalog as if it had been set at another time."""
    draft = lab.catalog.draft(f"set-{moment[:10]}")
    known = lab.catalog.get("schedule", "mart refresh").doc
    draft.put("schedule", "mart refresh", {**known, "next": [], **doc})
    draft.commit()
    with lab.catalog.database.transaction() as connection:
        connection.execute("UPDATE versions SET at = ? WHERE kind = 'schedule'", (moment,))


@pytest.mark.parametrize(
    ("start", "cron", "fired"),
    [
        ("2027-03-27T12:00:00+00:00", "30 2 * * *", ["2027-03-28T01:30", "2027-03-29T00:30"]),
        ("2027-10-30T12:00:00+00:00", "30 2 * * *", ["2027-10-31T00:30", "2027-11-01T01:30"]),
        ("2027-10-30T22:30:00+00:00", "0 2,4 * * 0", ["2027-10-31T00:00", "2027-10-31T03:00"]),
    ],
    ids=["an hour that isn't there", "an hour that comes twice", "one that is twice and one that isn't"],
)
def test_a_schedule_goes_by_its_zone_when_clocks_are_changed(lab: Lab, start: str, cron: str, fired: list[str]) -> None:
    set_at(lab, start, cron=cron, zone="Europe/Berlin")
    began, keeper = datetime.fromisoformat(start), Keeper(lab)
    ticks = [began + timedelta(minutes=10 * n) for n in range(40 * 6)]
    found = [tick.isoformat()[:16] for tick in ticks if "mart refresh" in keeper.tick(tick)]
    assert found == fired


def test_what_was_due_while_paused_is_not_made_up_for(lab: Lab) -> None:
    calls = [{"name": "pause", "arguments": {"task": "mart refresh"}}]
    assert lab.run(Plan.from_calls(calls)).status == "done"
    keeper, later = Keeper(lab), datetime.now(UTC) + 3 * DAY
    assert keeper.tick(later) == []
    set_at(lab, later.isoformat(), state="active")
    assert keeper.tick(later + timedelta(minutes=1)) == []
    assert keeper.tick(later + DAY) == ["mart refresh"]


def test_retention_runs_once_a_night_without_being_asked(lab: Lab) -> None:
    lab.load(pd.DataFrame({"id": [1, 2], "day": pd.to_datetime(["2020-01-01", "2026-01-01"])}), "visits")
    assert Keeper(lab).tick(datetime.now(UTC) + timedelta(hours=1)) in ([], ["mart refresh"])
    retain = {"table": "staging.visits", "column": "day", "older_than": "5 years"}
    assert lab.run(Plan.from_calls([{"name": "retain", "arguments": retain}])).status == "done"
    later = datetime.now(UTC) + 2 * DAY
    assert Keeper(lab).tick(later)[-1] == "(retention)"
    assert (len(lab.table("staging.visits")), len(lab.table("archive.visits"))) == (1, 1)
    assert "(retention)" not in Keeper(lab).tick(later)


def test_a_table_is_refreshed_and_a_pull_repeated_as_they_were_done(lab: Lab) -> None:
    work = [
        {"name": "pull", "arguments": {"source": "orders", "resource": "orders", "into": "staging.some", "limit": 1}},
        {"name": "rename", "arguments": {"table": "staging.some", "column": "id", "to": "number"}},
    ]
    for step in work:
        assert lab.run(Plan.from_calls([step])).status == "done"
    (run,) = do(lab, "orders.orders pull")
    assert lab.result(run).plan.to_calls() == work[:1]
    assert lab.result(run).status == "approval", "the rename since would be lost"
    (run,) = do(lab, "staging.some refresh")
    assert (lab.result(run).status, lab.result(run).plan.to_calls()) == ("done", work)
