"""A preview tries a plan on the real tables and leaves no trace of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.errors import PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.rehearsal import Rehearsal

ORDERS = pd.DataFrame({"id": [1, 2, 2, 3], "qty": [5, 1, 1, 9]})


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(
        tmp_path / "lab", Scripted({"keep few": [call("filter", table="staging.orders", where="qty > 8")]})
    ) as lab:
        lab.load(ORDERS, "orders")
        yield lab


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def tried(lab: Lab, *calls: dict[str, Any]) -> Rehearsal:
    return lab.preview(Plan.from_calls(calls))


def state(lab: Lab) -> list[str]:
    files = sorted(str(p.relative_to(lab.root)) for p in lab.root.glob("**/*.parquet"))
    entries = [f"{kind}/{name}/{n}" for (kind, name), n in sorted(lab.catalog.heads().items())]
    return [*files, *entries, *(run.id for run in lab.history()), *(event.id for event in lab.events())]


def test_later_steps_see_the_earlier_and_nothing_is_left(lab: Lab) -> None:
    before = state(lab)
    shown = tried(
        lab,
        call("dedupe", table="staging.orders"),
        call("derive", table="staging.orders", column="double", expr="qty * 2"),
        call("provision", store="mart"),
        call("publish", table="staging.orders", store="mart"),
    )
    assert [step.data.get("rows") for step in shown.steps] == [3, 3, None, 3]
    assert state(lab) == before
    assert lab.run(Plan.from_calls([call("limit", table="staging.orders", n=1)])).status == "done"


def test_what_would_wait_for_a_person_says_so(lab: Lab) -> None:
    shown = lab.preview("keep few")
    assert "3 of 4 rows" in str(shown.steps[0].approval)
    assert "would wait for approval" in str(shown)
    assert len(lab.table("staging.orders")) == 4


def test_what_reaches_out_is_named_and_not_tried(lab: Lab) -> None:
    lab.add_source("shop", url="http://127.0.0.1:9", resources={"orders": {"path": "/orders"}})
    shown = tried(
        lab,
        call("sort", table="staging.orders", by=["qty"]),
        call("pull", source="shop", resource="orders", into="staging.more"),
        call("limit", table="staging.more", n=2),
    )
    assert len(shown.steps) == 1
    assert shown.left == ("pull reaches out of the lab; it is not tried, and nor is what follows",)


def test_a_frame_is_in_the_lab_so_pulling_it_is_tried(lab: Lab) -> None:
    assert tried(lab, call("pull", source="orders", resource="orders", into="staging.again")).steps[0].data["rows"] == 4


def test_a_plan_that_fails_fails_here_too_and_leaves_nothing(lab: Lab) -> None:
    before = state(lab)
    with pytest.raises(PlanError, match="the data doesn't allow it"):
        tried(lab, call("derive", table="staging.orders", column="n", expr="CAST('x' || qty AS INT)"))
    assert state(lab) == before


def test_a_plan_that_cannot_run_is_a_question(lab: Lab) -> None:
    (step,) = tried(lab, call("sort", table="staging.orders", by=["amount"])).steps
    assert step.call["name"] == "clarify"
    assert "no column 'amount'" in step.text
