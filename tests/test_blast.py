"""What a change of columns would break, told before it runs: by queries, checks, stores, pipelines and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.blast import columns_used
from agentlab.errors import PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.pipelines import PipelineDoc, PipelineStep
from agentlab.plan import Plan

O, C = "staging.orders", "staging.customers"  # noqa: E741
SCHEMAS: dict[str, Any] = {
    O: {"id": "int", "customer": "int", "qty": "int", "city": "text"},
    C: {"customer": "int", "qty": "int", "name": "text"},
}


@pytest.mark.parametrize(
    ("sql", "used"),
    [
        (f"select sum(Qty) from {O}", {O: {"qty"}}),
        (f"select * from {O}", {O: set()}),
        (f"select x.qty from (select * from {O}) x where x.id > 1", {O: {"qty", "id"}}),
        (f"with o as (select id as qty from {O}) select qty from o", {O: {"id"}}),
        (f"select c.qty from {O} o join {C} c on o.customer = c.customer", {O: {"customer"}, C: {"qty", "customer"}}),
        (f"select name from {O} join {C} using (customer)", {O: {"customer"}, C: {"customer", "name"}}),
        (f"select city, count(*) as n from {O} group by city order by n", {O: {"city"}}),
        ("select nothing from nowhere", {}),
    ],
)
def test_the_columns_that_a_query_names(sql: str, used: dict[str, set[str]]) -> None:
    assert columns_used(sql, SCHEMAS) == used


SAID: dict[str, Any] = {
    "rename": [{"name": "rename", "arguments": {"table": O, "column": "qty", "to": "quantity"}}],
    "double": [{"name": "derive", "arguments": {"table": O, "column": "double", "expr": "qty * 2"}}],
    "drop": [{"name": "drop", "arguments": {"table": O}}],
    "away": [{"name": "limit", "arguments": {"table": O, "n": 2, "into": "core.two"}}],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Everything that can count on a column of the orders counts on `qty`, and some more on `day`."""
    root: Path = tmp_path_factory.mktemp("blast") / "lab"
    with Lab(root, Scripted(SAID), approve=True) as lab:
        frame = pd.DataFrame({"id": [1, 2, 3], "qty": [1, 2, 2], "day": pd.to_datetime(["2020-01-01"] * 3)})
        lab.load(frame, "orders")
        lab.load(frame[["id", "day"]], "visits", time_column="day")
        lab.query("daily revenue", f"select day, sum(qty) as qty from {O} group by day")
        measures = [{"function": "sum", "column": "qty", "name": "total"}]
        calls = [
            ("aggregate", {"table": O, "by": ["day"], "measures": measures, "into": "core.daily"}),
            ("check", {"table": O, "rule": "in_range", "columns": ["qty"], "min": 0}),
            ("provision", {"store": "mart", "partition_by": ["qty"]}),
            ("publish", {"table": O, "store": "mart"}),
            ("retain", {"table": O, "column": "day", "older_than": "9 years"}),
            ("schedule", {"task": "mart refresh", "when": "nightly"}),
            ("sync", {"source": "visits", "resource": "visits", "into": "staging.visits", "key": ["id"]}),
        ]
        result = lab.run(Plan.from_calls([{"name": name, "arguments": arguments} for name, arguments in calls]))
        assert result.status == "done", result.message
        lab.query("in the mart", "select max(qty) as most from mart.orders")
        lab._orchestrator.pipeline(PipelineDoc(name="nightly sales", steps=[PipelineStep(say="double")]))
        lab.run(Plan.from_calls([{"name": "schedule", "arguments": {"task": "nightly sales", "when": "nightly"}}]))
        yield lab


def test_everything_that_counts_on_a_column(lab: Lab) -> None:
    found = {(broken.kind, broken.name): broken.why for broken in lab.blast(O, "qty")}
    (check,) = lab.catalog.entries("check")
    assert found == {
        ("check", check.name): "uses qty",
        ("query", "daily revenue"): "uses qty",
        ("query", "in the mart"): "uses qty of mart.orders, once it is published again",
        ("store", "mart"): "splits mart.orders by qty",
        ("table", "core.daily"): "is made from qty",
        ("pipeline", "nightly sales"): "uses qty",
        ("schedule", "mart refresh"): "its store is mart",
        ("schedule", "nightly sales"): "its pipeline is nightly sales",
    }
    assert [str(broken) for broken in lab.blast(O, "day") if broken.kind == "retention"] == [
        f"retention '{O}.day' (goes by day)"
    ]
    assert str(lab.blast("staging.visits", "day")) == "breaks: sync 'staging.visits' (uses day)"
    assert str(lab.blast("core.daily", "total")) == "breaks nothing that is known here"


def test_what_is_not_there_is_told_with_the_nearest(lab: Lab) -> None:
    with pytest.raises(PlanError, match=r"no column 'qyt' in staging\.orders; did you mean 'qty'"):
        lab.blast(O, "qyt")
    with pytest.raises(PlanError, match=r"no table 'staging\.order'"):
        lab.blast("staging.order")


def test_a_plan_says_what_it_would_break_before_it_runs(lab: Lab) -> None:
    (line,) = lab.plan("rename").breaks
    assert line.startswith("rename staging.orders breaks: query 'daily revenue' (uses qty), ")
    (line,) = lab.plan("drop").breaks
    assert line.startswith("drop staging.orders breaks: query 'daily revenue' (uses staging.orders), ")
    assert lab.plan("away").breaks == ()


def test_a_run_says_what_it_broke(lab: Lab) -> None:
    result = lab.run("rename")
    assert "breaks: query 'daily revenue' (uses qty)" in result.message
    lab.undo(result.run)
    cast = {"name": "cast", "arguments": {"table": O, "column": "qty", "type": "text"}}
    result = lab.run(Plan.from_calls([cast]))
    assert "query 'daily revenue' (uses qty, of another type then)" in result.message
    lab.undo(result.run)


def test_what_a_pipeline_makes_itself_does_not_break(lab: Lab) -> None:
    pull = {"name": "pull", "arguments": {"source": "orders", "resource": "orders", "into": O}}
    SAID["again"] = [pull, *SAID["double"]]
    run = lab._orchestrator.pipeline(PipelineDoc(name="nightly sales", steps=[PipelineStep(say="again")]))
    assert run.status == "done", run.message
    assert not [broken for broken in lab.blast(O, "qty") if broken.kind == "pipeline"]
