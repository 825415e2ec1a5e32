"""Runs end exactly once, whatever happens in between: kills, failures, conflicts, late answers and none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.catalog import Catalog, Run
from agentlab.errors import Conflict, LabError
from agentlab.events import Event
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.orchestrator import new_id
from agentlab.runs import Review


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


PLANS = {
    "rename id": [call("rename", table="staging.orders", column="id", to="order_id")],
    "first two": [call("limit", table="staging.orders", n=2)],
    "keep the dear": [call("filter", table="staging.orders", where="paid > 25")],
    "two steps, the second impossible": [
        call("limit", table="staging.orders", n=2, into="core.two"),
        call("derive", table="staging.orders", column="x", expr="CAST(word AS INTEGER)"),
    ],
    "check": [call("analyze", table="staging.orders")],
}

ORDERS = pd.DataFrame({"id": [1, 2, 3], "paid": [10.0, 20.0, 30.0], "word": ["a", "b", "c"]})


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted(PLANS)) as lab:
        lab.load(ORDERS, "orders")
        yield lab


def files(lab: Lab) -> set[str]:
    return {p.relative_to(lab.root).as_posix() for p in lab.root.rglob("*.parquet")}


def test_a_run_is_planned_checked_carried_out_and_told(lab: Lab):
    heard: list[Event | str] = []
    result = lab.run("rename id", on_event=heard.append)
    assert (result.status, result.agents, result.tables) == ("done", ("transformation",), {"staging.orders": 3})
    assert [event.type for event in result.events] == ["transformed"]
    assert [e for e in heard if isinstance(e, Event)] == list(result.events)
    assert list(lab.table("staging.orders").columns) == ["order_id", "paid", "word"]
    row = lab.catalog.run(result.run)
    assert (row.status, row.intent, row.parent) == ("done", "rename id", None)
    assert row.ended is not None


def test_a_failure_leaves_nothing_behind(lab: Lab):
    before, tables = files(lab), lab.tables()
    result = lab.run("two steps, the second impossible")
    assert result.status == "failed"
    assert "Could not convert" in result.message or "can't" in result.message
    assert [event.type for event in result.events] == ["error"]
    assert lab.tables() == tables
    assert files(lab) == before
    assert not (lab.root / "tables" / "core.two").exists()
    with pytest.raises(LabError, match="nothing to undo"):
        lab.undo(result.run)


def test_a_fault_of_ours_is_a_failed_run_too(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(lab.engine, "write", broken)
    result = lab.run("first two")
    assert (result.status, result.message) == ("failed", "ZeroDivisionError: ours")


@pytest.mark.parametrize("approve", [False, lambda review: False])
def test_a_no_changes_nothing(lab: Lab, approve: Any):
    before = files(lab)
    result = lab.run("keep the dear", approve=approve)
    assert result.status == "refuse"
    assert "a person said no" in result.message
    assert files(lab) == before
    assert [event.type for event in result.events] == ["review-asked", "review-answered"]


def test_a_yes_is_asked_for_with_what_would_happen(lab: Lab):
    reviews: list[Review] = []
    result = lab.run("keep the dear", approve=lambda review: not reviews.append(review))
    assert (result.status, result.tables) == ("done", {"staging.orders": 1})
    (review,) = reviews
    assert review.intent == "keep the dear"
    assert "2 of 3 rows" in review.reasons[0]
    assert "before 3" in review.preview[0]
    assert "keep the dear" in str(review)


def test_no_answer_waits_and_can_be_given_by_another_process(lab: Lab):
    before = files(lab)
    result = lab.run("keep the dear")
    assert result.status == "approval"
    assert files(lab) == before
    assert len(lab.table("staging.orders")) == 3
    lab.close()
    with Lab(lab.root, Scripted({})) as later:
        done = later.approve(result.run)
        assert (done.run, done.status, done.tables) == (result.run, "done", {"staging.orders": 1})
        with pytest.raises(LabError, match="doesn't wait for approval; it is done"):
            later.approve(result.run)
        assert later.undo(result.run) == ["table staging.orders: version 2 -> 1"]


def test_a_rejected_run_is_over(lab: Lab):
    result = lab.run("keep the dear")
    assert lab.reject(result.run).status == "refuse"
    assert len(lab.table("staging.orders")) == 3
    with pytest.raises(LabError, match="it is refuse"):
        lab.approve(result.run)


def test_an_answer_does_not_count_for_a_table_that_has_changed_since(lab: Lab):
    result = lab.run("keep the dear")
    lab.run("rename id")
    late = lab.approve(result.run)
    assert late.status == "failed"
    assert "staging.orders changed after run" in late.message
    assert len(lab.table("staging.orders")) == 3


def test_who_comes_second_gets_a_conflict(lab: Lab):
    def meanwhile(review: Review) -> bool:
        draft = lab.catalog.draft("other")
        draft.put("table", "staging.orders", lab.catalog.table("staging.orders"))
        draft.commit()
        return True

    result = lab.run("keep the dear", approve=meanwhile)
    assert result.status == "failed"
    assert "has changed since run" in result.message


def test_an_interrupted_run_is_over_and_does_not_come_back(lab: Lab):
    def interrupt(told: Event | str) -> None:
        if str(told).startswith("analyzing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^interrupted; nothing was changed$"):
        lab.run("check", on_event=interrupt)
    (row,) = lab.history(1)
    assert (row.status, row.message) == ("failed", "interrupted; nothing was changed")
    assert lab.recover() == []
    lab.close()
    with Lab(lab.root, Scripted({})) as again:
        assert again.history(1)[0].status == "failed"
        assert not again.reports()


def test_a_run_interrupted_after_its_commit_is_done(lab: Lab):
    def interrupt(told: Event | str) -> None:
        if isinstance(told, Event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="had taken effect: done; undo: agentlab undo r"):
        lab.run("first two", on_event=interrupt)
    assert lab.history(1)[0].status == "done"
    assert len(lab.table("staging.orders")) == 2


def test_labs_of_one_process_take_turns(tmp_path: Path):
    with Lab(tmp_path / "a", Scripted(PLANS)) as a, Lab(tmp_path / "b", Scripted(PLANS)) as b:
        for lab in (a, b, a):
            lab.load(ORDERS, "orders")
            assert lab.run("first two").status == "done"
        assert len(a.history()) == 4
        assert len(b.history()) == 2


def test_a_run_cannot_start_a_run_of_another_lab(tmp_path: Path, lab: Lab):
    with Lab(tmp_path / "other", Scripted(PLANS)) as other:
        result = lab.run("keep the dear", approve=lambda review: bool(other.load(ORDERS, "orders")))
        assert result.status == "failed"
        assert "can't start a run of another" in result.message


def test_two_labs_on_one_folder_may_both_act(lab: Lab):
    with Lab(lab.root, Scripted(PLANS)) as twin:
        assert twin.run("rename id").status == "done"
        assert lab.run("first two").status == "done"
        assert list(twin.table("staging.orders").columns) == ["order_id", "paid", "word"]


def test_a_pickle_in_the_file_of_runs_is_refused(lab: Lab):
    import sqlite3

    lab.close()
    with sqlite3.connect(lab.root / "dbos.sqlite") as connection:
        connection.execute("UPDATE workflow_status SET serialization = 'py_pickle'")
    connection.close()
    with Lab(lab.root, Scripted(PLANS)) as again, pytest.raises(LabError, match="pickled data"):
        again.run("first two")


def test_ids_say_when_and_have_no_dash():
    assert len({new_id() for _ in range(50)}) > 45
    assert "-" not in new_id()


CHILD = """
    import faulthandler, os, signal, sys
    faulthandler.dump_traceback_later(90)  # a run that hangs says where
    from agentlab.lab import Lab
    from agentlab.models import Scripted
    from test_orchestrator import PLANS

    def listen(told):
        words = told if isinstance(told, str) else told.type
        if words.startswith(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

    lab = Lab(sys.argv[1], Scripted(PLANS), approve=True, on_event=listen)
    do = getattr(lab, sys.argv[4])
    do(sys.argv[3])
"""


def killed(root: Path, moment: str, intent: str, do: str = "run") -> None:
    """A run in a process of its own that is killed (-9) as soon as it says `moment`; `do` is what is called."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(root), moment, intent, do]
    assert subprocess.run(command, env=env, timeout=120).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("moment", "intent"),
    [
        ("planning", "rename id"),  # before there is a plan
        ("transformed", "rename id"),  # committed, but nobody has noted it
        ("review-answered", "keep the dear"),  # written and agreed, not committed
        ("done", "keep the dear"),  # all but the last step
    ],
)
def test_a_killed_run_is_finished_once_when_the_lab_is_opened_again(lab: Lab, moment: str, intent: str):
    lab.close()
    killed(lab.root, moment, intent)
    with Lab(lab.root, Scripted(PLANS)) as again:
        row = again.history(1)[0]
        assert (row.intent, row.status) == (intent, "done")
        assert [entry.n for entry in again.catalog.history("table", "staging.orders")] == [1, 2]
        assert [event.type for event in again.events(row.id)].count("transformed") == 1
        assert not list(again.root.rglob("*.part"))
        assert again.undo(row.id) == ["table staging.orders: version 2 -> 1"]


def test_a_killed_pipeline_goes_on_where_it_was(lab: Lab):
    path = lab.root / "two.yaml"
    path.write_text("name: two\nsteps: [{say: rename id}, {say: first two}, {say: check, on: transformed}]")
    lab.close()
    killed(lab.root, "planning: first two", str(path), "pipeline")
    with Lab(lab.root, Scripted(PLANS)) as again:
        told = {run.id.partition("-")[2]: (run.intent, run.status) for run in again.history(4)}
        assert told == {
            "": ("pipeline two", "done"),
            "s1": ("rename id", "done"),
            "s2": ("first two", "done"),
            "s3": ("check", "done"),
        }
        assert again.table("staging.orders")["order_id"].tolist() == [1, 2]
        assert again.recover() == []


def test_a_pipeline_that_goes_on_after_an_answer_survives_a_kill(lab: Lab):
    path = lab.root / "dear.yaml"
    path.write_text("name: dear\nsteps: [{say: keep the dear}, {say: rename id}, {say: check}]")
    result = lab.pipeline(path)
    assert result.status == "approval"
    lab.close()
    killed(lab.root, "planning: rename id", f"{result.run}-s1", "approve")
    with Lab(lab.root, Scripted(PLANS)) as again:
        assert again.catalog.run(result.run).message == "3 steps done"
        assert [entry.n for entry in again.catalog.history("table", "staging.orders")] == [1, 2, 3]
        assert again.recover() == []


def test_a_run_whose_workflow_is_lost_is_said_to_have_failed(lab: Lab):
    lab.catalog.save_run(Run(id="lost", intent="something", status="running"))
    (result,) = lab.recover()
    assert (result.status, result.message) == ("failed", "its process ended; nothing was changed")
    assert lab.recover() == []


def test_a_process_that_lives_is_not_taken_over(lab: Lab):
    """While a run waits inside its approval, another process opens the lab: it must leave the run alone."""

    def look(review: Review) -> bool:
        code = "import sys; from agentlab.lab import Lab; print(Lab(sys.argv[1]).history(1)[0].status)"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        told = subprocess.run(
            [sys.executable, "-c", code, str(lab.root)], env=env, capture_output=True, text=True, timeout=120
        )
        assert told.stdout.strip() == "running", told.stderr
        return True

    result = lab.run("keep the dear", approve=look)
    assert (result.status, result.message.startswith("filter")) == ("done", True)
    assert [entry.n for entry in lab.catalog.history("table", "staging.orders")] == [1, 2]


def test_undo_takes_back_what_a_run_caused_all_or_nothing(tmp_path: Path):
    dirty = pd.DataFrame({"id": range(100), "city": [" Rome"] * 50 + ["Oslo"] * 50, "qty": [*range(1, 100), -5]})
    plans = {**PLANS, "on top": [call("limit", table="staging.orders", n=5)]}
    with Lab(tmp_path, Scripted(plans), approve=True) as lab:
        lab.load(dirty, "orders")
        result = lab.run("check")
        assert [run.id for run in lab.history(2)] == [f"{result.run}-r2", f"{result.run}-r1"]
        top = lab.run("on top")
        with pytest.raises(Conflict, match=top.run):
            lab.undo(result.run)
        lab.undo(top.run)
        lines = lab.undo(result.run)
        assert "table staging.orders: version 2 -> 1" in lines
        assert "table quarantine.orders: version 1 -> removed" in lines
        assert len(lab.table("staging.orders")) == 100
        assert "quarantine.orders" not in Catalog(lab.root).schemas()


@pytest.mark.parametrize("kind", [str, Event])
def test_a_listener_that_fails_is_told_nothing_more_and_the_run_goes_on(
    lab: Lab, caplog: pytest.LogCaptureFixture, kind: type
):
    heard: list[Event | str] = []

    def failing(told: Event | str) -> None:
        heard.append(told)
        if isinstance(told, kind):
            raise OSError("No space left on device")

    result = lab.run("rename id", on_event=failing)
    assert (result.status, lab.catalog.run(result.run).status) == ("done", "done")
    assert list(lab.table("staging.orders").columns) == ["order_id", "paid", "word"]
    assert isinstance(heard[-1], kind) and sum(isinstance(told, kind) for told in heard) == 1
    assert [record.message for record in caplog.records] == [
        f"on_event of run {result.run} failed, and hears no more of it: OSError: No space left on device"
    ]
    assert lab.run("first two", on_event=heard.append).status == "done"
    assert len(lab.table("staging.orders")) == 2


def test_written_files_outlive_a_listener_that_fails(lab: Lab, caplog: pytest.LogCaptureFixture):
    def failing(told: Event | str) -> None:
        if isinstance(told, Event):
            raise RuntimeError("a widget is gone")

    assert lab.run("first two", on_event=failing).status == "done"
    assert len(lab.table("staging.orders")) == 2
    assert "a widget is gone" in caplog.text
