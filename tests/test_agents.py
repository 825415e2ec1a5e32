"""Agents plan within their authority, are told their faults once, and see names, never rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.actions import Clarify, Refuse, Role
from agentlab.agents import Agent, role_of
from agentlab.errors import LabError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


ORDERS = pd.DataFrame({"id": [1, 2, 3, 4], "city": ["Rome", "Oslo", "Rome", None], "paid": [10.0, 20.0, 30.0, -1.0]})


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(ORDERS, "orders")
        yield lab


def planned(lab: Lab, *scripts: list[dict[str, Any]], role: Role | None = None) -> tuple[Plan, Scripted]:
    model = Scripted(scripts)
    return Agent(role, model).plan("do it", lab.view(), lab.catalog), model


def act(lab: Lab, *calls: dict[str, Any], approve: Any = None) -> RunResult:
    return lab.run(Plan.from_calls(calls), approve=approve)


def test_a_good_plan_is_taken_as_it_is(lab: Lab):
    plan, model = planned(lab, [call("rename", table="staging.orders", column="id", to="order_id")])
    assert str(plan) == "rename(table='staging.orders', column='id', to='order_id')"
    assert (plan.origin.intent, plan.origin.model, len(model.asks)) == ("do it", "scripted", 1)


def test_a_fault_is_told_to_the_model_once(lab: Lab):
    wrong = [call("rename", table="staging.order", column="id", to="order_id")]
    right = [call("rename", table="staging.orders", column="id", to="order_id")]
    plan, model = planned(lab, wrong, right)
    assert plan.status == "act"
    assert "staging.order'" in model.asks[1].fault and "staging.orders" in model.asks[1].fault


def test_what_stays_wrong_becomes_a_question(lab: Lab):
    wrong = [call("rename", table="staging.nothing", column="id", to="order_id")]
    plan, model = planned(lab, wrong, wrong)
    assert isinstance(plan.abstention, Clarify)
    assert "staging.nothing" in plan.abstention.question
    assert len(model.asks) == 2


def test_an_answer_that_is_no_plan_is_told_too(lab: Lab):
    plan, model = planned(lab, [call("rename", table="staging.orders")], [call("renam")])
    assert "column: Field required" in model.asks[1].fault
    assert isinstance(plan.abstention, Clarify)


def test_authority_is_not_mended_but_refused(lab: Lab):
    plan, model = planned(lab, [call("limit", table="staging.orders", n=1)], role="ingestion")
    assert isinstance(plan.abstention, Refuse) and plan.abstention.because == "authority"
    assert len(model.asks) == 1


def test_roles_are_checked_by_name():
    assert role_of("quality") == "quality"
    with pytest.raises(LabError, match="no agent 'qualty'; did you mean 'quality'"):
        role_of("qualty")


def test_the_view_shows_names_and_short_lists_the_latest_first(lab: Lab):
    lab.load(pd.DataFrame({"code": [f"c{i}" for i in range(80)], "kind": ["x"] * 80}), "codes")
    act(lab, call("quarantine", table="staging.orders", where="paid < 0"))
    view = lab.view()
    assert list(view.tables) == ["staging.orders", "staging.codes", "quarantine.orders"]
    assert view.tables["staging.orders"] == {"id": "int", "city": "text", "paid": "float"}
    assert view.values["staging.orders"] == {"city": ("Rome", "Oslo")}
    assert view.values["staging.codes"] == {"kind": ("x",)}
    assert view.sources == {"codes": ("codes",), "orders": ("orders",)}
    assert view.origins == {"staging.codes": ("codes",), "staging.orders": ("orders",)}


def test_the_view_keeps_origins_of_transformed_tables_and_tasks_of_stores(lab: Lab):
    act(lab, call("limit", table="staging.orders", n=2), call("provision", store="mart"))
    assert lab.view().origins["staging.orders"] == ("orders",)
    assert lab.view().stores == ("mart",)
    assert lab.view().tasks == ("mart refresh", "staging.orders refresh", "orders.orders pull")


def test_transformations_chain_within_a_run(lab: Lab):
    result = act(
        lab,
        call("rename", table="staging.orders", column="paid", to="amount"),
        call("derive", table="staging.orders", column="double", expr="amount * 2"),
        call("filter", table="staging.orders", where="double > 0", into="core.paid"),
        call("drop_columns", table="core.paid", columns=["city"]),
    )
    assert result.status == "done", result.message
    assert result.tables == {"staging.orders": 4, "core.paid": 3}
    assert lab.table("core.paid").to_dict("list") == {"id": [1, 2, 3], "amount": [10, 20, 30], "double": [20, 40, 60]}


def test_a_rename_writes_no_data(lab: Lab):
    act(lab, call("rename", table="staging.orders", column="id", to="order_id"))
    before, after = (entry.doc["path"] for entry in lab.catalog.history("table", "staging.orders"))
    assert before == after


def test_a_join_takes_columns_of_both(lab: Lab):
    lab.load(pd.DataFrame({"city": ["Rome", "Oslo"], "country": ["IT", "NO"]}), "cities")
    done = act(lab, call("join", table="staging.orders", other="staging.cities", on=["city"], into="core.orders"))
    assert done.status == "done", done.message
    assert lab.table("core.orders")["country"].tolist()[:3] == ["IT", "NO", "IT"]
    assert [str(step.source) for step in lab.lineage("core.orders", "country")] == ["None", "cities.cities"]


def test_quarantine_moves_rows_with_the_reason_and_adds_to_those_there(lab: Lab):
    first = act(lab, call("quarantine", table="staging.orders", where="paid < 0", reason="negative"))
    assert first.tables == {"quarantine.orders": 1, "staging.orders": 3}
    act(lab, call("quarantine", table="staging.orders", where="city = 'Oslo'"))
    aside = lab.table("quarantine.orders")
    assert aside["id"].tolist() == [4, 2]
    assert aside["reason"].tolist() == ["negative", "city = 'Oslo'"]
    assert lab.table("staging.orders")["id"].tolist() == [1, 3]
    nothing = act(lab, call("quarantine", table="staging.orders", where="paid < 0"))
    assert "none was moved" in nothing.message and not nothing.tables


def test_rows_whose_condition_is_unknown_stay(lab: Lab):
    act(lab, call("quarantine", table="staging.orders", where="city = 'Oslo'"))
    assert lab.table("staging.orders")["id"].tolist() == [1, 3, 4]


@pytest.mark.parametrize("name", ["filter", "quarantine"])
def test_taking_out_more_than_half_waits_but_half_does_not(lab: Lab, name: str):
    half, most = ("id <= 2", "id > 3") if name == "filter" else ("id <= 2", "id <= 3")
    assert act(lab, call(name, table="staging.orders", where=most)).status == "approval"
    assert act(lab, call(name, table="staging.orders", where=half)).status == "done"


def test_pulling_appends_and_upserts(lab: Lab):
    lab.load(ORDERS.head(1).assign(city="Bonn"), "orders", mode="append")
    assert lab.table("staging.orders")["id"].tolist() == [1, 2, 3, 4, 1]
    lab.load(ORDERS, "orders")
    lab.load(pd.DataFrame({"id": [4, 5], "city": ["Kyiv", "Lima"], "paid": [1.0, 2.0]}), "new", "append")
    done = act(lab, call("pull", source="new", resource="new", into="staging.orders", mode="upsert", key=["id"]))
    assert done.status == "done", done.message
    assert lab.table("staging.orders").sort_values("id")["city"].tolist() == ["Rome", "Oslo", "Rome", "Kyiv", "Lima"]


def test_a_pull_filters_then_limits(lab: Lab):
    done = act(lab, call("pull", source="orders", resource="orders", into="staging.some", where="paid > 10", limit=1))
    assert done.status == "done", done.message
    assert lab.table("staging.some")["id"].tolist() == [2]


def test_a_source_whose_columns_change_is_told(lab: Lab):
    result = lab.load(ORDERS.rename(columns={"city": "town"}).assign(id=["a", "b", "c", "d"]), "orders")
    drift = next(event for event in result.events if event.type == "schema-drift")
    assert drift.body == {"added": ["town"], "removed": ["city"], "retyped": {"id": ["int", "text"]}}


def test_an_analysis_is_kept_and_suggestions_reuse_it(lab: Lab):
    lab.load(pd.DataFrame({"id": range(40), "qty": [1] * 39 + [-1]}), "items")
    result = act(lab, call("analyze", table="staging.items"), call("suggest_fixes", table="staging.items"))
    (event, *_) = result.events
    assert (event.type, event.body["rows"], event.body["errors"]) == ("quality-fail", 40, 1)
    doc = result.reports["staging.items"]
    assert [fix["name"] for fix in doc["fixes"]] == ["quarantine"]
    assert doc["expected_score"] == 1.0 > doc["report"]["score"]
    assert "in quarantine for a person" in result.message


def test_stores_and_schedules(lab: Lab):
    result = act(
        lab,
        call("provision", store="mart"),
        call("publish", table="staging.orders", store="mart"),
        call("schedule", task="mart refresh", when="nightly"),
    )
    assert [event.type for event in result.events] == ["published", "scheduled"]
    assert lab.stores()["mart"].tables["orders"].rows == 4
    assert lab.table("mart.orders")["id"].tolist() == [1, 2, 3, 4]
    (schedule,) = lab.schedules()
    assert (schedule["cron"], len(schedule["next"])) == ("0 2 * * *", 5)
    assert schedule["next"][0].endswith("T02:00:00+00:00")


def test_a_layout_of_a_table_is_kept_only_if_faster(lab: Lab):
    result = act(lab, call("order_by", table="staging.orders", columns=["id"]))
    assert result.status == "done", result.message
    kept = [event.type for event in result.events] == ["tuned"]
    assert bool(lab.catalog.entries("layout")) == kept
    assert "times as fast" in result.message


def test_what_nothing_measures_is_said(lab: Lab):
    assert "no saved query" in act(lab, call("recommend", table="staging.orders")).message


class Several(Scripted):
    """A model that can think of several plans, as the offline one can."""

    tries = 3


def test_the_next_likely_plan_is_taken_when_the_best_cannot_run(lab: Lab):
    wrong = [call("fill", table="staging.orders", column="paid", value="none")]
    right = [call("fill", table="staging.orders", column="city", value="none")]
    model = Several([wrong, wrong, right])
    plan = Agent(None, model).plan("do it", lab.view(), lab.catalog)
    assert plan.actions[0].arguments()["column"] == "city"
    assert [ask.tried for ask in model.asks] == [0, 1, 2]


def test_where_no_plan_can_run_the_fault_of_the_best_is_told(lab: Lab):
    wrong = [[call("rename", table=f"staging.none{n}", column="id", to="x")] for n in range(4)]
    model = Several(wrong)
    plan = Agent(None, model).plan("do it", lab.view(), lab.catalog)
    assert isinstance(plan.abstention, Clarify) and "staging.none0" in plan.abstention.question
    assert len(model.asks) == 4


def test_a_name_that_is_nowhere_is_asked_about(lab: Lab):
    model = Scripted([[call("fill", table="staging.orders", column="paid", method="mean")]] * 2)
    plan = Agent(None, model).plan("fill blood_pressure with the mean", lab.view(), lab.catalog)
    assert isinstance(plan.abstention, Clarify) and "blood_pressure" in plan.abstention.question


@pytest.mark.parametrize(
    "said", ["fill paid_amount with the mean", "mean for paid, see notes/old_file.txt", "paid -> new_paid"]
)
def test_a_name_like_one_that_is_here_or_in_the_plan_is_not(lab: Lab, said: str):
    model = Scripted([[call("rename", table="staging.orders", column="paid", to="new_paid")]])
    assert Agent(None, model).plan(said, lab.view(), lab.catalog).status == "act"


def test_a_plan_below_the_models_own_measure_becomes_a_question(lab: Lab):
    model = Scripted([[call("limit", table="staging.orders", n=2)]])
    model.asks_below = 1.1
    plan = Agent(None, model).plan("do it", lab.view(), lab.catalog)
    assert isinstance(plan.abstention, Clarify) and "limit(table='staging.orders', n=2)" in plan.abstention.question


class Persistent(Scripted):
    """One that is worth asking again."""

    tries = 2


@pytest.mark.parametrize(
    ("second", "status"),
    [
        ([call("rename", table="staging.orders", column="id", to="order_id")], "act"),
        ([call("usage")], "refuse"),
        ([call("clarify", question="Which?", about="column")], "refuse"),
    ],
)
def test_an_authority_refusal_holds_unless_any_agent_would_do_what_this_one_may(
    lab: Lab, second: list[dict[str, Any]], status: str
):
    refusal = [call("refuse", reason="That is another agent's.", because="authority")]
    model = Persistent([refusal, second])
    plan = Agent("transformation", model).plan("do it", lab.view(), lab.catalog)
    assert plan.status == status
    assert [asked.role for asked in model.asks] == ["transformation", None]
