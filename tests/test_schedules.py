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
from agentlab.schedules import Keeper

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
