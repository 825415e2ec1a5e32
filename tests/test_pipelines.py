"""Pipelines: sentences in a file, each waiting for the event of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab import pipelines
from agentlab.errors import LabError
from agentlab.events import Event
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


PLANS = {
    "pull": [call("pull", source="items", resource="items", into="staging.items")],
    "check": [call("analyze", table="staging.items")],
    "rename": [call("rename", table="staging.items", column="qty", to="quantity")],
    "a store": [call("provision", store="mart")],
    "publish": [call("publish", table="staging.items", store="mart")],
    "which": [call("clarify", question="Which table?")],
    "impossible": [call("publish", table="staging.items", store="nowhere")],
    "check both": [call("analyze", table="staging.good"), call("analyze", table="staging.items")],
}

GOOD = """
name: nightly
steps:
  - say: pull
  - {say: check, agent: quality}
  - say: rename
  - {say: a store, agent: storage}
  - {say: publish, on: quality-pass}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted(PLANS)) as lab:
        lab.load(pd.DataFrame({"id": range(60), "qty": [*range(59), -3]}), "items")
        yield lab


def written(lab: Lab, text: str) -> Path:
    path = lab.root / "nightly.yaml"
    path.write_text(text)
    return path


def test_steps_follow_each_others_events_through_the_policys_reactions(lab: Lab):
    result = lab.pipeline(written(lab, GOOD), approve=True)
    assert (result.status, result.message) == ("done", "5 steps done")
    types = [event.type for event in result.events if not event.type.startswith("review")]
    assert types == ["data-ready", "quality-fail", "transformed", "quality-pass", "transformed", "published"]
    assert [run.status for run in result.runs] == ["done"] * 5
    assert lab.table("mart.items").columns.tolist() == ["id", "quantity"]
    assert "pipeline nightly" in lab.catalog.run(result.run).intent


def test_a_pipeline_is_undone_by_one_call(lab: Lab):
    result = lab.pipeline(written(lab, GOOD), approve=True)
    lines = lab.undo(result.run)
    assert "table staging.items: version 4 -> 3" in lines and lines[-1] == "pipeline nightly: version 1 -> removed"
    assert lab.catalog.history("table", "staging.items")[0].n == lab.catalog.get("table", "staging.items").n == 1
    assert not lab.stores()
    assert lab.catalog.run(result.run).status == "undone"


def test_it_stops_where_an_event_is_missing_and_says_why(lab: Lab):
    result = lab.pipeline(written(lab, GOOD))
    assert result.status == "approval"
    assert len(result.runs) == 2
    assert "'rename' waits for quality-pass, which didn't come" in result.message
    assert "quality-fail of staging.items" in result.message
    assert f"run {result.runs[1].run}-r1 waits for approval" in result.message


def test_one_table_that_passes_does_not_speak_for_another(lab: Lab):
    lab.load(pd.DataFrame({"id": range(60), "qty": range(60)}), "good")
    text = "name: x\nsteps: [{say: check both}, {say: rename}]"
    result = lab.pipeline(written(lab, text), approve=False)
    assert (result.status, len(result.runs)) == ("stopped", 1)
    assert "'rename' waits for quality-pass, which didn't come for staging.items" in result.message
    explicit = text.replace("{say: rename}", "{say: rename, on: quality-pass}")
    assert lab.pipeline(written(lab, explicit), approve=False).status == "stopped"
    assert lab.pipeline(written(lab, text), approve=True).status == "done", "mended, the last verdict is that it passes"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_late_yes_lets_the_pipeline_go_on_where_it_stopped(lab: Lab, elsewhere: bool):
    result = lab.pipeline(written(lab, GOOD))
    assert (result.status, len(result.runs)) == ("approval", 2)
    (review,) = lab.reviews()
    if elsewhere:
        lab.close()
    with Lab(lab.root, Scripted(PLANS)) as later:
        assert later.approve(review.run).status == "done"
        row = later.catalog.run(result.run)
        assert (row.status, row.message) == ("done", "5 steps done")
        steps = [later.catalog.run(f"{result.run}-s{n}") for n in range(1, 6)]
        assert [step.status for step in steps] == ["done"] * 5
        assert [event.type for event in later.events(f"{result.run}-s1")] == ["data-ready"], "a step is done once"
        assert later.table("mart.items").columns.tolist() == ["id", "quantity"]
        assert later.recover() == []


def test_a_late_yes_to_a_step_itself_lets_the_pipeline_go_on(lab: Lab):
    few = {"few": [call("filter", table="staging.items", where="id < 3")], **PLANS}
    with Lab(lab.root, Scripted(few)) as lab:
        result = lab.pipeline(written(lab, "name: x\nsteps: [{say: few}, {say: few}, {say: rename}]"))
        assert result.status == "approval"
        assert lab.approve(f"{result.run}-s1").status == "done"
        assert lab.catalog.run(result.run).message == "3 steps done"


def test_a_late_no_ends_the_pipeline(lab: Lab):
    result = lab.pipeline(written(lab, GOOD))
    (review,) = lab.reviews()
    assert lab.reject(review.run).status == "refuse"
    row = lab.catalog.run(result.run)
    assert row.status == "failed"
    assert f"run {review.run} refuse: a person said no" in row.message


def test_an_undone_pipeline_does_not_go_on(lab: Lab):
    result = lab.pipeline(written(lab, GOOD))
    (review,) = lab.reviews()
    lab.undo(result.run)
    with suppress(LabError):
        lab.approve(review.run)
    assert lab.catalog.run(result.run).status == "undone"
    assert "quantity" not in lab.table("staging.items")


def test_an_interrupted_pipeline_names_what_is_done(lab: Lab):
    def interrupt(told: Event | str) -> None:
        if told == "planning: check":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.pipeline(written(lab, GOOD), on_event=interrupt)
    last, first, row = lab.history(3)
    assert (last.message, first.status) == ("interrupted; nothing was changed", "done")
    assert row.message == f"interrupted; done are {first.id} 'pull', which undoing {row.id} takes back"


def test_an_event_that_never_comes_stops_it(lab: Lab):
    result = lab.pipeline(written(lab, "name: x\nsteps: [{say: pull}, {say: rename, on: tuned}]"))
    assert (result.status, len(result.runs)) == ("stopped", 1)
    assert "waits for tuned, which didn't come; what came: data-ready of staging.items" in result.message


@pytest.mark.parametrize(("say", "status"), [("which", "clarify"), ("impossible", "clarify")])
def test_a_step_that_is_not_done_ends_it(lab: Lab, say: str, status: str):
    result = lab.pipeline(written(lab, f"name: x\nsteps: [{{say: pull}}, {{say: {say}}}, {{say: rename}}]"))
    assert (result.status, len(result.runs)) == (status, 2)
    assert result.message.startswith(f"step 2, '{say}': ")


def test_a_pipeline_is_kept_by_its_name(lab: Lab):
    path = written(lab, "name: x\nsteps: [{say: pull}]")
    lab.pipeline(path)
    path.unlink()
    heard: list[Event | str] = []
    assert lab.pipeline("x", on_event=heard.append).status == "done"
    assert "checking" not in str(heard) and "planning: pull" in heard
    assert len(lab.catalog.history("pipeline", "x")) == 1
    assert lab.view().tasks[0] == "x"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "name: x\nsteps:\n  - say: pull\n  - say: y\n    on: data-raedy",
            "nightly.yaml:5: on: no event 'data-raedy'; did you mean 'data-ready'",
        ),
        (
            "name: x\nsteps:\n  - say: pull\n    agent: ingest",
            "nightly.yaml:4: agent: no agent 'ingest'; did you mean 'ingestion'",
        ),
        ("name: x\nsteps:\n  - agent: quality", "nightly.yaml:3: say: Field required"),
        ("name: x\nsteps: []", "nightly.yaml:2: steps: "),
        ("steps:\n  - say: pull", "nightly.yaml:1: name: Field required"),
        ("name: x\nsources: []\nsteps: [{say: y}]", "nightly.yaml:2: sources: Extra"),
        ("name: 'x\nsteps", "nightly.yaml:2: "),
    ],
)
def test_faults_of_a_file_are_told_with_their_line(lab: Lab, text: str, fault: str):
    with pytest.raises(LabError) as told:
        lab.pipeline(written(lab, text))
    assert fault in str(told.value)


def test_a_file_that_is_not_there(lab: Lab):
    with pytest.raises(LabError, match=r"can't read the pipeline .*missing.yaml"):
        lab.pipeline(lab.root / "missing.yaml")


@pytest.mark.parametrize(
    ("intent", "event"),
    [
        ("pull", "data-ready"),
        ("check", "quality-pass"),
        ("rename", "transformed"),
        ("publish", "published"),
        ("a store", None),
    ],
)
def test_the_event_that_a_plan_ends_with(intent: str, event: str | None):
    assert pipelines.natural(Plan.from_calls(PLANS[intent])) == event
