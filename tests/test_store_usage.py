"""Quotas, usage and whose rows a store holds, through a lab: what is near, what is over, what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Origin, Plan
from agentlab.runs import RunResult
from agentlab.stores import usage_of

T = "staging.orders"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def act(lab: Lab, *calls: dict[str, Any], intent: str = "") -> RunResult:
    plan = Plan.from_calls(calls)
    return lab.run(plan.model_copy(update={"origin": Origin(intent=intent)}) if intent else plan)


PUBLISH = call("publish", table=T, store="mart")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(
            pd.DataFrame({"id": range(5000), "who": [f"customer {n * 7919 % 5000}" for n in range(5000)]}), "orders"
        )
        act(lab, call("provision", store="mart"))
        yield lab


# Quotas


def test_a_quota_is_a_limit_and_resizing_moves_it(lab: Lab):
    act(lab, PUBLISH)
    held = lab.stores()["mart"].bytes
    assert held > 10_000
    tight = f"{held / 1024 * 1.1:.1f} KB"
    resized = act(lab, call("resize", store="mart", quota=tight))
    assert lab.stores()["mart"].quota == tight and f"may hold {tight} now, before without a limit" in resized.message
    over = act(lab, {**PUBLISH, "arguments": {**PUBLISH["arguments"], "mode": "append"}})
    assert over.status == "failed"
    assert f"needs {held / 1024:.3g} KB ({held:,} bytes), and mart may hold {tight}" in over.message
    assert lab.stores()["mart"].rows == 5000
    assert act(lab, PUBLISH).status == "done", "what is replaced makes room"
    lab.undo(act(lab, call("resize", store="mart", quota="1 GB")).run)
    assert lab.stores()["mart"].quota == tight


def test_a_limit_below_what_is_there_is_asked_back_with_the_numbers(lab: Lab):
    act(lab, PUBLISH)
    held = lab.stores()["mart"].bytes
    result = act(lab, call("resize", store="mart", quota="1 KB"))
    assert (
        result.status == "clarify" and f"mart holds {held:,} bytes already, over 1 KB (1,024 bytes)" in result.message
    )
    both = act(
        lab,
        call("provision", store="new"),
        call("publish", table=T, store="new"),
        call("resize", store="new", quota="1 KB"),
    )
    assert both.status == "failed" and "more than 1 KB (1,024 bytes)" in both.message


def test_a_store_that_is_near_its_quota_says_so(lab: Lab):
    first = act(lab, PUBLISH)
    assert not [e for e in lab.events(first.run) if e.type == "capacity-near"]
    held = lab.stores()["mart"].bytes
    near = act(lab, call("resize", store="mart", quota=f"{held / 1024 / 0.9:.2f} KB"))
    (event,) = [e for e in lab.events(near.run) if e.type == "capacity-near"]
    assert event.subject == "mart" and event.body["share"] == pytest.approx(0.9, abs=0.01)
    assert event.body["bytes"] == held and "mart is 90% full" in near.message
    assert [e.type for e in lab.events(act(lab, PUBLISH).run)] == ["published", "capacity-near"]


# Usage


def test_usage_is_told_reported_and_undone(lab: Lab):
    act(lab, PUBLISH)
    act(lab, call("resize", store="mart", quota="1 MB"))
    result = act(lab, call("usage", store="mart"))
    store, report = lab.stores()["mart"], lab.reports()["usage of mart"].doc
    told = report["usage"]
    assert (told["bytes"], told["rows"], told["quota_bytes"]) == (store.bytes, 5000, 1024**2)
    assert told["share"] == pytest.approx(store.bytes / 1024**2)
    assert [(t["table"], t["rows"], t["copies"]) for t in told["tables"]] == [("orders", 5000, 1)]
    assert "mart holds 1 tables, 5,000 rows" in result.message and "USD a month to keep" in result.message
    lab.undo(result.run)
    assert "usage of mart" not in lab.reports()


def test_without_a_name_every_store_is_told(lab: Lab):
    act(lab, call("provision", store="other", format="duckdb"))
    act(lab, call("usage"))
    assert {"usage of mart", "usage of other"} <= set(lab.reports())


def test_without_a_store_there_is_nothing_to_tell(tmp_path: Path):
    with Lab(tmp_path / "empty", Scripted({})) as lab:
        assert act(lab, call("usage")).message == "there is no store yet; provision one first"


def test_growth_is_what_was_added_and_not_undone(lab: Lab):
    act(lab, PUBLISH)
    more = call("publish", table=T, store="mart", mode="append")
    lab.undo(act(lab, more).run)
    act(lab, more)
    act(lab, call("resize", store="mart", quota="1 MB"))
    store = lab.stores()["mart"]
    later = datetime.now(UTC) + timedelta(days=2)
    usage = usage_of(store, lab.catalog, later)
    assert usage.bytes_per_day == pytest.approx(store.bytes / 2, rel=0.01)
    assert usage.full_in_days == pytest.approx((1024**2 - store.bytes) / (store.bytes / 2), rel=0.01)
    assert "would be full in" in str(usage)
    assert usage_of(store, lab.catalog, datetime.now(UTC)).bytes_per_day is None, "a moment tells no rate"


# Whose rows they are


def frame(*ids: int) -> pd.DataFrame:
    return pd.DataFrame({"id": list(ids), "who": [str(n) for n in ids]})


def test_what_was_pulled_again_or_worked_on_is_published_again_freely(lab: Lab):
    act(lab, PUBLISH)
    lab.load(frame(1, 2), "orders")
    assert act(lab, PUBLISH, intent="bring the mart up to date").status == "done"
    act(lab, call("rename", table=T, column="who", to="name"))
    assert act(lab, PUBLISH, intent="and once more").status == "done"
    assert list(lab.table("mart.orders").columns) == ["id", "name"]


def remake(lab: Lab, intent: str) -> None:
    """The table made anew from another one, whatever was there."""
    lab.load(frame(*range(10)), "others")
    plan = Plan.from_calls([call("limit", table="staging.others", n=5, into=T)])
    lab.run(plan.model_copy(update={"origin": Origin(intent=intent)}), approve=True)


def test_replacing_another_runs_rows_waits_for_a_person(lab: Lab):
    act(lab, PUBLISH)
    remake(lab, "make the orders from the others")
    result = act(lab, PUBLISH)
    assert result.status == "approval" and lab.stores()["mart"].rows == 5000
    assert "publish would replace the 5,000 rows that mart holds of staging.orders: its version 1" in result.message
    assert lab.approve(result.run).status == "done"
    assert lab.stores()["mart"].rows == 5
    assert act(lab, PUBLISH).status == "done", "now they are of the same making"


def test_appending_to_another_runs_rows_is_free(lab: Lab):
    act(lab, PUBLISH)
    remake(lab, "make the orders from the others")
    assert act(lab, call("publish", table=T, store="mart", mode="append")).status == "done"
    assert lab.stores()["mart"].rows == 5005


def test_a_plan_that_makes_the_rows_itself_waits_too(lab: Lab):
    act(lab, PUBLISH)
    lab.load(frame(*range(10)), "others")
    result = lab.run(Plan.from_calls([call("limit", table="staging.others", n=5, into=T), PUBLISH]))
    assert result.status == "approval" and "publish would replace the 5,000 rows that mart holds" in result.message


def test_the_same_intent_may_replace_what_it_made(lab: Lab):
    remake(lab, "make the orders from the others")
    act(lab, PUBLISH)
    lab.load(frame(*range(20)), "others2")
    plan = Plan.from_calls([call("limit", table="staging.others2", n=7, into=T)])
    lab.run(plan.model_copy(update={"origin": Origin(intent="make the orders from the others")}), approve=True)
    assert act(lab, PUBLISH).status == "done" and lab.stores()["mart"].rows == 7
