"""Schedules, retention, snapshots, restores and drops, each through a real lab, approvals and all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.events import now
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult

T = "staging.orders"


def call(action: str, **arguments: Any) -> dict[str, Any]:
    return {"name": action, "arguments": arguments}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Orders 1 to 6: two are years old, one has no date."""
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(orders(), "orders")
        yield lab


def orders() -> pd.DataFrame:
    today = pd.Timestamp(datetime.fromisoformat(now()).date())
    days = [today - timedelta(days=n) for n in (1200, 800, 10, 1, 0)]
    return pd.DataFrame({"id": range(1, 7), "day": [*days, None], "city": ["Rome", "Oslo"] * 3})


def act(lab: Lab, *calls: dict[str, Any], approve: bool | None = None) -> RunResult:
    return lab.run(Plan.from_calls(calls), approve=approve)


def done(lab: Lab, *calls: dict[str, Any], approve: bool | None = None) -> RunResult:
    result = act(lab, *calls, approve=approve)
    assert result.status == "done", result.message
    return result


def ids(lab: Lab, table: str = T) -> list[int]:
    return list(lab.table(table)["id"])


def retain(**more: Any) -> dict[str, Any]:
    return call("retain", table=T, column="day", older_than="1 year", **more)


# Schedules


def test_a_schedule_says_when_it_runs_in_its_own_zone(lab: Lab):
    result = done(lab, call("schedule", task=f"{T} refresh", when="daily at 06:00", zone="America/New_York"))
    (schedule,) = lab.schedules()
    assert (schedule["zone"], schedule["state"], schedule["cron"]) == ("America/New_York", "active", "0 6 * * *")
    assert len(schedule["next"]) == 5
    for moment in map(datetime.fromisoformat, schedule["next"]):
        assert moment.hour == 6
        assert moment.utcoffset() in (timedelta(hours=-5), timedelta(hours=-4))
    assert schedule["next"][0] in result.message


def test_scheduling_again_replaces_and_undo_restores(lab: Lab):
    done(lab, call("schedule", task=f"{T} refresh", when="nightly"))
    result = done(lab, call("schedule", task=f"{T} refresh", when="hourly"))
    assert "instead of nightly" in result.message
    assert [schedule["when"] for schedule in lab.schedules()] == ["hourly"]
    lab.undo(result.run)
    assert [schedule["when"] for schedule in lab.schedules()] == ["nightly"]


def test_pausing_what_is_paused_is_told(lab: Lab):
    task = f"{T} refresh"
    done(lab, call("schedule", task=task, when="nightly"), call("pause", task=task))
    assert lab.schedules()[0]["state"] == "paused"
    assert "is paused already; nothing was changed" in done(lab, call("pause", task=task)).message
    assert "runs nightly again" in done(lab, call("resume", task=task)).message
    assert "is active already" in done(lab, call("resume", task=task)).message
    done(lab, call("unschedule", task=task))
    assert lab.schedules() == []
    assert "no schedule of" in act(lab, call("pause", task=task)).message


# Retention


def test_a_rule_removes_nothing_until_retention_runs(lab: Lab):
    result = done(lab, retain())
    assert "2 are now. None has left yet" in result.message
    assert len(ids(lab)) == 6
    (rule,) = lab.retention()
    assert (rule.table, rule.column, rule.older_than, rule.then, rule.matching) == (T, "day", "1 year", "archive", 2)
    (run,) = lab.enforce()
    assert (run.status, run.tables) == ("done", {"archive.orders": 2, T: 4})
    assert (ids(lab), ids(lab, "archive.orders")) == ([3, 4, 5, 6], [1, 2])
    assert lab.enforce() == [], "nothing is left to take out, so there is no run"
    assert [step.source for step in lab.lineage("archive.orders", "id")][-1] == "orders.orders"
    lab.undo(run.run)
    assert (ids(lab), list(lab.tables())) == ([1, 2, 3, 4, 5, 6], [T])


def test_rows_that_come_again_are_not_archived_twice(lab: Lab):
    done(lab, retain())
    lab.enforce()
    lab.load(orders(), "orders")
    (run,) = lab.enforce()
    assert "0 to archive.orders, 2 were there already" in run.message
    assert (ids(lab), ids(lab, "archive.orders")) == ([3, 4, 5, 6], [1, 2])


def test_an_archive_takes_rows_of_a_table_that_has_grown(lab: Lab):
    done(lab, retain())
    lab.enforce()
    lab.load(orders().head(1).assign(id=7), "orders", mode="append")
    done(lab, call("derive", table=T, column="new", expr="id * 2"))
    lab.enforce()
    archive = lab.table("archive.orders")
    assert (list(archive["id"]), archive["new"].isna().tolist()) == ([1, 2, 7], [True, True, False])


def test_deleting_waits_when_the_rule_is_set_and_not_when_it_is_kept(lab: Lab):
    result = act(lab, retain(then="delete"))
    assert result.status == "approval"
    assert "would delete rows whenever retention runs, 2 of them as it is now" in result.message
    assert (lab.retention(), lab.enforce()) == ([], [])
    assert lab.approve(result.run).status == "done"
    (run,) = lab.enforce()
    assert (run.status, ids(lab), list(lab.tables())) == ("done", [3, 4, 5, 6], [T])
    lab.undo(run.run)
    assert len(ids(lab)) == 6


def test_one_rule_a_column(lab: Lab):
    done(lab, retain())
    result = done(lab, call("retain", table=T, column="day", older_than="3 years"))
    assert "instead of older than 1 year: archive" in result.message
    assert [rule.matching for rule in lab.retention()] == [1]


def test_a_rule_whose_column_is_gone_says_so_and_keeps_no_other_from_working(lab: Lab):
    lab.load(orders(), "more")
    done(lab, retain(), call("retain", table="staging.more", column="day", older_than="1 year"))
    done(lab, call("drop_columns", table=T, columns=["day"]))
    fine, failed = sorted(lab.enforce(), key=lambda run: run.status)
    assert (fine.status, failed.status) == ("done", "failed")
    assert "staging.orders has no date 'day' any more" in failed.message
    assert [event.type for event in failed.events] == ["error"]


# Snapshots and versions


def test_a_snapshot_is_a_name_for_a_version_and_brings_it_back(lab: Lab):
    done(lab, call("snapshot", table=T), call("snapshot", table=T, name="before cleanup"))
    assert sorted(lab.snapshots()) == ["before cleanup", "orders_v1"]
    done(lab, call("filter", table=T, where="id > 2"), call("rename", table=T, column="city", to="town"))
    result = done(lab, call("restore", table=T, snapshot="before cleanup"))
    assert "as it was in version 1: 6 rows, before 4 rows" in result.message
    assert (ids(lab), list(lab.table(T).columns)) == ([1, 2, 3, 4, 5, 6], ["id", "day", "city"])
    paths = [entry.doc["path"] for entry in lab.catalog.history("table", T)]
    assert paths[-1] == paths[0], "no file was copied"
    assert [step.version for step in lab.lineage(T, "city")] == [4, 1]
    lab.undo(result.run)
    assert ids(lab) == [3, 4, 5, 6]


def test_a_snapshot_without_a_name_is_taken_once_a_version(lab: Lab):
    done(lab, call("snapshot", table=T))
    assert "already" in done(lab, call("snapshot", table=T)).message
    done(lab, call("limit", table=T, n=3, into="core.orders"), call("snapshot", table="core.orders"))
    assert sorted(lab.snapshots()) == ["core_orders_v1", "orders_v1"]


@pytest.mark.parametrize(("version", "found"), [(1, 6), (2, 5), (-1, 4), (-2, 5), (-3, 6)])
def test_versions_are_counted_from_either_end(lab: Lab, version: int, found: int):
    done(lab, call("limit", table=T, n=5))
    lab.undo(done(lab, call("limit", table=T, n=1)).run)
    done(lab, call("limit", table=T, n=4), call("limit", table=T, n=2))
    done(lab, call("restore", table=T, version=version))
    assert len(ids(lab)) == found


def test_versions_that_the_run_itself_made_count(lab: Lab):
    done(lab, call("limit", table=T, n=5), call("limit", table=T, n=2), call("restore", table=T, version=-1))
    assert len(ids(lab)) == 5


def test_restoring_what_is_there_changes_nothing(lab: Lab):
    assert "is at version 1 already" in done(lab, call("restore", table=T, version=1)).message
    assert lab.catalog.get("table", T).n == 1


def test_what_a_snapshot_names_is_never_swept(lab: Lab):
    done(lab, call("snapshot", table=T, name="first"), call("sort", table=T, by=["city"]))
    done(lab, call("drop", table=T), approve=True)
    assert lab.catalog.sweep(older_than=0) == []
    done(lab, call("restore", table=T, snapshot="first"))
    assert ids(lab) == [1, 2, 3, 4, 5, 6]


# Drops


def test_a_drop_waits_names_what_needs_it_and_is_undone_or_restored(lab: Lab):
    done(lab, call("provision", store="mart"), call("publish", table=T, store="mart"), retain())
    lab.query("cities", f"select count(*) as n from {T}")
    waits = act(lab, call("drop", table=T))
    assert (waits.status, len(ids(lab))) == ("approval", 6)
    for dependant in ("query 'cities'", "store 'mart'", f"retention '{T}.day'"):
        assert dependant in waits.message
    dropped = lab.approve(waits.run)
    assert (dropped.status, list(lab.tables())) == ("done", [])
    assert lab.enforce() == [], "a rule waits for its table"
    back = done(lab, call("restore", table=T, version=-1))
    assert "it had been dropped" in back.message
    lab.undo(back.run)
    lab.undo(dropped.run)
    assert len(ids(lab)) == 6


def test_a_no_drops_nothing(lab: Lab):
    assert act(lab, call("drop", table=T), approve=False).status == "refuse"
    assert len(ids(lab)) == 6


def test_a_store_that_is_dropped_keeps_its_files_for_undo(lab: Lab):
    task = "mart refresh"
    done(lab, call("provision", store="mart"), call("publish", table=T, store="mart"))
    done(lab, call("schedule", task=task, when="nightly"))
    dropped = done(lab, call("drop", store="mart"), approve=True)
    assert f"schedule '{task}' (refreshes mart)" in dropped.message
    assert lab.stores() == {}
    lab.undo(dropped.run)
    assert ids(lab, "mart.orders") == [1, 2, 3, 4, 5, 6]


def test_a_new_time_is_in_the_zone_of_the_old_one_unless_another_is_named(lab: Lab) -> None:
    def at(when: str, **zone: str) -> Any:
        done(lab, call("schedule", task=f"{T} refresh", when=when, **zone))
        return lab.schedules()[0]["zone"]

    assert at("daily at 06:00", zone="Europe/Berlin") == "Europe/Berlin"
    assert at("daily at 07:00") == "Europe/Berlin"
    assert at("daily at 07:00", zone="UTC") == "UTC"
