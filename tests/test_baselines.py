"""The baselines: a nearest phrasing whose slots are filled anew, and keywords. Both are models like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentlab.models import Model
from agentlab.plan import Plan
from agentlab.prompts import Ask
from agentlab.view import View
from finetune.baselines import Nearest
from finetune.keywords import RULES, Rules
from finetune.written import load

WRITTEN = """== bakery
table staging.bread: loaf text; price float; sold int
store mart

- sort by {price}
  sort(table="staging.bread", by=["price"])
- sort by {price} and then {sold}
  sort(table="staging.bread", by=["price", "sold"])
- drop {sold} and rename {price} to {unit_price}
  drop_columns(table="staging.bread", columns=["sold"])
  rename(table="staging.bread", column="price", to="unit_price")
- publish {staging.bread|bread} to {mart}
  publish(table="staging.bread", store="mart")
- do the dishes
  refuse(because="scope")
"""
BOATS = View(
    tables={"staging.boats": {"boat": "text", "built": "int", "length": "float", "mail": "text"}},
    stores=("harbour",),
    snapshots={"monday": "staging.boats"},
    scheduled=("harbour refresh",),
    queries=("slow one",),
)


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    file = Path(tmp_path_factory.mktemp("written") / "ann.txt")
    file.write_text(WRITTEN)
    return Nearest(load(file))


def calls(model: Model, intent: str, role: Any = None, fault: str = "") -> list[dict[str, Any]]:
    return model.plan(Ask(intent, role, BOATS, fault)).to_calls()


def test_the_nearest_phrasing_says_its_answer_of_other_names(nearest: Nearest):
    assert calls(nearest, "sort by length") == [
        {"name": "sort", "arguments": {"table": "staging.boats", "by": ["length"]}}
    ]
    assert [call["name"] for call in calls(nearest, "drop built and rename boat to ship_name")] == [
        "drop_columns",
        "rename",
    ]


def test_an_answer_that_names_what_is_not_there_gives_way_to_the_next(nearest: Nearest):
    (call,) = calls(nearest, "sort by length and then stuff")
    assert call["arguments"]["by"] == ["length"]


def test_a_fault_leads_to_the_next_phrasing(nearest: Nearest):
    first = calls(nearest, "sort by length and then built")
    assert calls(nearest, "sort by length and then built", fault="no such thing") != first


def test_a_role_keeps_to_its_own_actions(nearest: Nearest):
    (call,) = calls(nearest, "sort by length", role="storage")
    assert call["name"] == "refuse"


def test_words_that_no_phrasing_has_are_answered_with_little_confidence(nearest: Nearest):
    plan = nearest.plan(Ask("zzz", None, BOATS))
    assert isinstance(plan, Plan) and plan.confidence == 0


@pytest.mark.parametrize(
    ("intent", "name", "arguments"),
    [
        ("rename boat to vessel", "rename", {"column": "boat", "to": "vessel"}),
        ("drop the built column", "drop_columns", {"columns": ["built"]}),
        ("convert built to text", "cast", {"column": "built", "type": "text"}),
        ("remove duplicates by boat", "dedupe", {"by": ["boat"]}),
        ("sort by length, longest and highest first", "sort", {"by": ["length"], "descending": True}),
        ("keep only rows with length over 10", "filter", {"where": '"length" > 10'}),
        ("remove rows where built is before 1990", "filter", {"where": '("built" < 1990) IS NOT TRUE'}),
        ("fill missing length with the median", "fill", {"column": "length", "method": "median"}),
        ("add volume_x = length times built", "derive", {"column": "volume_x", "expr": '"length" * "built"'}),
        (
            "average length by boat",
            "aggregate",
            {"by": ["boat"], "measures": [{"function": "avg", "column": "length"}]},
        ),
        ("make sure boat is never missing", "check", {"rule": "not_null", "columns": ["boat"]}),
        ("publish boats to the harbour", "publish", {"store": "harbour"}),
        ("refresh harbour every 15 minutes", "schedule", {"task": "harbour refresh", "when": "every 15 minutes"}),
        ("restore monday", "restore", {"snapshot": "monday"}),
    ],
)
def test_keywords_find_plain_requests(intent: str, name: str, arguments: dict[str, Any]):
    (call,) = calls(Rules(), intent)
    assert call["name"] == name and call["arguments"].items() >= arguments.items()


def test_clauses_are_calls_in_order():
    told = calls(Rules(), "rename boat to vessel, then sort by length; drop the mail column")
    assert [call["name"] for call in told] == ["rename", "sort", "drop_columns"]


def test_nothing_that_is_known_is_a_question_and_harm_is_refused():
    assert calls(Rules(), "make it nice")[0]["name"] == "clarify"
    assert calls(Rules(), "delete all the tables; sort by length")[0]["name"] == "refuse"


def test_every_rule_is_of_an_action_within_reach():
    from agentlab.actions import ACTIONS

    assert {name for _, name, _ in RULES} <= set(ACTIONS)
