"""What actions do to a table's rows is asked for when it takes many, and never loses any on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult

T = "staging.orders"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Orders 1 to 16, of whom every four have one customer."""
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(pd.DataFrame({"id": range(1, 17), "who": [n // 4 for n in range(16)]}), "orders")
        yield lab


def act(lab: Lab, *calls: dict[str, Any]) -> RunResult:
    return lab.run(Plan.from_calls(calls))


def ids(lab: Lab, table: str = T, column: str = "id") -> list[int]:
    return sorted(lab.table(table)[column])


def upto(*numbers: int) -> list[dict[str, Any]]:
    return [call("filter", table=T, where=f"id <= {n}") for n in numbers]


# Many rows


def test_many_small_steps_are_no_way_round(lab: Lab):
    result = act(lab, *upto(8, 4, 2, 1))
    assert (result.status, len(ids(lab))) == ("approval", 16)
    assert "takes 94% of the rows out of staging.orders, more than half" in result.message
    assert act(lab, *upto(10, 8)).status == "done", "half is not more than half"


@pytest.mark.parametrize(
    "steps",
    [
        [call("dedupe", table=T, by=["who"])],
        [*upto(8), call("dedupe", table=T, by=["who"])],
        [call("quarantine", table=T, where="id > 10"), *upto(7)],
        [
            call("limit", table=T, n=8, into="staging.copy"),
            *upto(8),
            call("union", table=T, other="staging.copy"),
            *upto(4),
        ],
    ],
    ids=["copies", "half, then copies", "set aside, then removed", "doubled in between"],
)
def test_all_that_takes_rows_by_the_data_counts_together(lab: Lab, steps: list[dict[str, Any]]):
    assert act(lab, *steps).status == "approval"
    assert len(ids(lab)) == 16


@pytest.mark.parametrize(
    "steps",
    [
        [call("limit", table=T, n=1)],
        [call("sample", table=T, n=2)],
        [call("limit", table=T, n=4), *upto(3)],
        [call("aggregate", table=T, by=["who"], measures=[{"function": "count"}])],
        [call("filter", table=T, where="id = 1", into="core.one")],
    ],
)
def test_what_the_plan_says_itself_is_free(lab: Lab, steps: list[dict[str, Any]]):
    assert act(lab, *steps).status == "done"


def test_an_empty_table_has_nothing_to_lose(lab: Lab):
    assert act(lab, call("limit", table=T, n=0), *upto(3, 2)).status == "done"


# Quarantine


def test_what_is_in_quarantine_stays_there(lab: Lab):
    act(lab, call("quarantine", table=T, where="id <= 4"))
    again = act(lab, call("quarantine", table="quarantine.orders", where="id = 1"))
    assert (again.status, ids(lab, "quarantine.orders")) == ("refuse", [1, 2, 3, 4])
    assert "set aside already" in again.message


def test_a_column_that_is_spelled_otherwise_is_the_same_column(lab: Lab):
    act(lab, call("quarantine", table=T, where="id = 1"))
    act(lab, call("rename", table=T, column="id", to="ID"))
    result = act(lab, call("quarantine", table=T, where="id = 2"))
    assert result.status == "done"
    assert list(lab.table("quarantine.orders").columns) == ["id", "who", "reason"]
    assert (ids(lab, "quarantine.orders"), len(ids(lab, column="ID"))) == ([1, 2], 14)
    origins = lab.catalog.table("quarantine.orders").lineage["id"]
    assert [(table, column) for table, _, column in origins] == [("quarantine.orders", "id"), (T, "ID")]


def test_appended_rows_go_into_the_columns_that_are_there(lab: Lab):
    lab.load(pd.DataFrame({"ID": [17], "Who": [9]}), "orders", mode="append")
    assert (list(lab.table(T).columns), ids(lab)) == (["id", "who"], list(range(1, 18)))
    lab.load(pd.DataFrame({"ID": [1], "Who": [100]}), "orders2")
    result = act(lab, call("pull", source="orders2", resource="orders2", into=T, mode="upsert", key=["id"]))
    assert (result.status, list(lab.table(T).columns), ids(lab)) == ("done", ["id", "who"], list(range(1, 18)))


# Joins


@pytest.mark.parametrize("how", ["left", "inner", "right", "outer"])
def test_a_join_says_what_it_did_to_the_rows(lab: Lab, how: str):
    lab.load(pd.DataFrame({"who": [0, 0, 1, 7, None], "name": ["a", "b", "c", "d", "e"]}), "people")
    result = act(lab, call("join", table=T, other="staging.people", on=["who"], how=how, into="core.both"))
    rows = {"left": 20, "inner": 12, "right": 14, "outer": 22}[how]
    assert result.tables == {"core.both": rows}
    assert "8 rows of staging.orders have no match in staging.people by who" in result.message
    assert "2 rows of staging.people none in staging.orders" in result.message
    assert f"1 key of staging.people matches several rows: 16 rows became {rows}" in result.message


def test_a_join_of_single_keys_multiplies_nothing(lab: Lab):
    lab.load(pd.DataFrame({"who": [0, 1, 2, 3], "name": ["a", "b", "c", "d"]}), "people")
    result = act(lab, call("join", table=T, other="staging.people", on=["who"]))
    assert "0 rows of staging.orders have no match" in result.message
    assert "several" not in result.message
