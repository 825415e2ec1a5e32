"""An answer is for what was asked, and for nothing that came later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.errors import Conflict, LabError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import Review, RunResult


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Ten rows in `a`, three others in `b`, one in `c`, each in a table and in a source of the name."""
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        for name, rows in (("a", range(10)), ("b", range(100, 103)), ("c", range(7, 8))):
            lab.load(pd.DataFrame({"id": rows}), name)
        yield lab


def act(lab: Lab, *calls: dict[str, Any]) -> RunResult:
    return lab.run(Plan.from_calls(calls))


def becomes(lab: Lab, source: str, other: str) -> None:
    """The source gives what the other one does from now on."""
    doc = lab.catalog.get("source", other).doc["resources"][other]
    lab.add_source(source, kind="frame", resources={source: doc})


OVER = call("pull", source="a", resource="a", into="staging.b")


def test_an_answer_does_not_hold_for_what_has_changed_since(lab: Lab):
    run = act(lab, OVER).run
    becomes(lab, "a", "c")
    again = lab.approve(run)
    assert (again.status, len(lab.table("staging.b"))) == ("approval", 3)
    (review,) = lab.reviews()
    assert (review.asked, review.preview) == (2, ["pulled a.a into staging.b: 1 rows"])
    assert "waits for approval again, since what it would do has changed" in str(review)
    assert lab.approve(run).status == "done"
    assert list(lab.table("staging.b").id) == [7]
    assert [event.type for event in lab.events(run)] == ["review-asked", "review-answered"] * 2 + ["data-ready"]


def test_it_may_be_asked_time_and_again(lab: Lab):
    run = act(lab, OVER).run
    for other in ("c", "b"):
        becomes(lab, "a", other)
        assert lab.approve(run).status == "approval"
    assert lab.reject(run).status == "refuse"
    assert list(lab.table("staging.b").id) == [100, 101, 102]


def test_what_differs_at_each_try_is_not_asked_again(lab: Lab):
    steps = [call("provision", store="mart"), call("publish", table="staging.b", store="mart")]
    schedule = call("schedule", task="mart refresh", when="every 1 minutes")
    run = act(lab, OVER, *steps, schedule).run
    review = Review.model_validate(lab.catalog.get("review", run).doc)
    assert "bytes" in review.preview[2] and "next at" in review.preview[3]
    draft = lab.catalog.draft("by-hand")
    published = review.preview[2].rpartition(", ")[0] + ", 9,999 bytes"
    draft.put("review", run, review.model_copy(update={"preview": [*review.preview[:2], published, "next at noon"]}))
    draft.commit()
    assert lab.approve(run).status == "done"


# Undo


@pytest.fixture
def mended(lab: Lab) -> tuple[Lab, str, str]:
    """A run whose reaction waits: rows would leave the table."""
    lab.load(pd.DataFrame({"id": range(20), "quantity": [1] * 18 + [-5, -6]}), "bad")
    run = act(lab, call("analyze", table="staging.bad")).run
    (review,) = lab.reviews()
    return lab, run, review.run


def test_undo_answers_what_still_waits_with_no(mended: tuple[Lab, str, str]):
    lab, run, reaction = mended
    assert reaction.startswith(f"{run}-")
    lab.undo(run)
    assert list(lab.reviews()) == []
    result = lab.result(reaction)
    assert (result.status, result.message) == ("refuse", f"undo of run {run} said no; nothing was changed")
    review = Review.model_validate(lab.catalog.get("review", reaction).doc)
    assert (review.answer, review.by) == (False, f"undo of run {run}")
    assert lab.events(reaction)[-1].type == "review-answered"
    with pytest.raises(LabError, match="doesn't wait for approval; it is refuse"):
        lab.approve(reaction)
    assert len(lab.table("staging.bad")) == 20


def test_an_undo_that_fails_answers_nothing(mended: tuple[Lab, str, str]):
    lab, run, reaction = mended
    later = act(lab, call("analyze", table="staging.bad")).run
    with pytest.raises(Conflict, match=later):
        lab.undo(run)
    assert reaction in [review.run for review in lab.reviews()]
    lab.undo(later)
    assert [review.run for review in lab.reviews()] == [reaction], "others' reviews stay"
