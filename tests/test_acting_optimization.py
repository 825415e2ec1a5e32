"""What is told of slow queries, and layouts that several queries share, on a real lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.acting import Workspace
from agentlab.acting.optimization import Views, keep
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.queries import check
from agentlab.runs import RunResult
from agentlab.schedules import do
from agentlab.workload import Bench, Candidate, LayoutDoc, Tuning, try_layout

ROWS = 300_000
INDEX = Candidate(kind="index", table="staging.facts", columns=("k",), use="equal")


def facts(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"k": [i * 7919 % 20_000 for i in range(rows)], "v": [i % 7 for i in range(rows)]})


def act(lab: Lab, name: str, /, **arguments: Any) -> RunResult:
    return lab.run(Plan.from_calls([{"name": name, "arguments": arguments}]))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        yield lab


def test_a_query_that_was_always_like_this_is_not_slow(lab: Lab):
    lab.load(facts(100), "facts")
    lab.query("only", "select count(*) as n from staging.facts")
    result = act(lab, "diagnose", query="only")
    assert (result.status, result.events) == ("done", ())
    assert lab.history(1)[0].id == result.run
    assert lab.reports()["diagnosis of only"].doc["slowdown"] == 1.0


def test_a_query_that_got_slower_is_told_and_tuned_by_the_policy(lab: Lab):
    sql = "select v, sum(k) as total from staging.facts group by v order by v"
    for rows, times in ((100, 6), (2 * ROWS, 5)):
        lab.load(facts(rows), "facts")
        for _ in range(times):
            lab.query("sums", sql)
    lab.query("quick", "select 1 as one")
    result = act(lab, "diagnose")
    (slow,) = [event for event in result.events if event.type == "slow-query"]
    assert slow.subject == "sums" and slow.body["slowdown"] > 1.5
    assert "times slower than before" in slow.body["why"]
    (tuned,) = [event for event in result.events if event.type == "tuned"]
    assert lab.history(1)[0].parent == result.run and tuned.body["gain"] >= 1.15
    assert lab.query("sums", sql)["total"].sum() == int(facts(2 * ROWS)["k"].sum())
    assert lab.queries()["sums"].runs[-1].layout == tuned.body["name"]


def tried(lab: Lab, workspace: Workspace, name: str, sql: str) -> Tuning:
    views = Views(workspace.draft, lab.engine, lab.root)
    bench = Bench(lab.engine, lab.root, workspace.draft.run, views, views.versions)
    return keep(workspace, try_layout(bench, INDEX, {name: check(sql, views)}))


def test_queries_with_the_same_best_layout_share_one_copy(lab: Lab):
    """As when each was tuned by itself, in one run or in two."""
    lab.load(facts(ROWS), "facts")
    asked = {f"q{k}": f"SELECT SUM(v) AS s FROM staging.facts WHERE k = {k} GROUP BY k" for k in (5, 6)}
    workspace = Workspace(lab.catalog.draft("r1"), lab.engine)
    first, second = (tried(lab, workspace, name, sql).kept for name, sql in asked.items())
    assert first and second and first.path == second.path
    assert set(asked.values()) <= {*second.faster, *second.slower} and set(first.faster) <= {*second.faster}
    workspace.draft.commit()
    assert [path.name for path in (lab.root / "layouts").iterdir()] == [Path(first.path).name]
    assert [entry.doc for entry in lab.catalog.entries("layout")] == [second.model_dump(mode="json")]
    for name, sql in asked.items():
        lab.query(name, sql)
        assert bool(lab.queries()[name].runs[-1].layout) == (sql in second.faster)


def test_another_layout_of_the_same_name_gets_a_number(lab: Lab):
    lab.load(facts(ROWS), "facts")
    workspace = Workspace(lab.catalog.draft("r1"), lab.engine)
    first = tried(lab, workspace, "q", "SELECT v FROM staging.facts WHERE k = 5").kept
    assert first and first.name == "index_staging_facts_k"
    other = keep(workspace, Tuning(measured=(), kept=first.model_copy(update={"columns": ("other",)}))).kept
    assert other and other.name == "index_staging_facts_k_2"
    assert LayoutDoc.model_validate(workspace.draft.get("layout", first.name).doc) == first


# Diagnosing


def test_the_workload_is_ranked_by_how_often_each_query_is_asked(lab: Lab):
    lab.load(facts(2000), "facts")
    lab.query("heavy", "select k, count(*) as n from staging.facts group by k order by n desc, k", freq=1)
    lab.query("often", "select sum(v) as s from staging.facts", freq=1_000_000)
    before = state(lab)
    result = act(lab, "diagnose")
    whole = lab.reports()["diagnosis of the workload"].doc
    assert whole["slowest"] == "often" and [cost["query"] for cost in whole["costs"]] == ["often", "heavy"]
    assert result.message.startswith("often is the slowest by how often it is asked: 100% of all that 2 take")
    assert "1. often: 1e+06 x" in result.message
    assert state(lab) == before, "nothing changes"
    lab.undo(result.run)
    assert lab.reports() == {}


def test_a_table_that_no_query_reads_is_told_of_with_what_to_do(lab: Lab):
    lab.load(facts(100), "facts")
    lab.query("other", "select 1 as one")
    for name in ("diagnose", "recommend"):
        told = act(lab, name, table="staging.facts")
        assert told.status == "done" and "save one first, with lab.query(name, sql)" in told.message
        assert "staging.facts has 100 rows in 1 file(s)" in told.message


def test_a_query_whose_table_is_gone_is_named_and_the_others_are_measured(lab: Lab):
    lab.load(facts(100), "facts")
    lab.query("fine", "select 1 as one")
    lab.query("broken", "select count(*) as n from staging.facts")
    draft = lab.catalog.draft("by-hand")
    draft.remove("table", "staging.facts")
    draft.commit()
    told = act(lab, "diagnose")
    assert told.status == "done" and "not measured, since they can't run any more: broken" in told.message


# Wishes


def state(lab: Lab) -> dict[Any, int]:
    return {key: n for key, n in lab.catalog.heads().items() if key[0] not in ("query", "report")}


SMALL_CALLS = [
    ("index", {"table": "staging.facts", "columns": ["k"]}, ("index", ("k",))),
    ("order_by", {"table": "staging.facts", "columns": ["v", "k"]}, ("order", ("v", "k"))),
    ("partition", {"table": "staging.facts", "by": "v"}, ("partition", ("v",))),
    ("materialize", {"query": "sums"}, ("materialized", ())),
]


@pytest.mark.parametrize(("name", "arguments", "layout"), SMALL_CALLS, ids=[call[0] for call in SMALL_CALLS])
def test_what_somebody_wishes_on_a_small_table_is_there_and_goes_by_undo(
    lab: Lab, name: str, arguments: dict[str, Any], layout: tuple[str, tuple[str, ...]]
):
    lab.load(facts(200), "facts")
    expected = lab.query("sums", SUMS)
    before = state(lab)
    result = act(lab, name, **arguments)
    (kept,) = lab.layouts().values()
    assert (kept.kind, kept.columns) == layout and f"kept as {kept.name}" in result.message
    pd.testing.assert_frame_equal(lab.query("sums"), expected)
    lab.undo(result.run)
    assert state(lab) == before and lab.layouts() == {}


def test_an_index_that_changes_a_logged_query_s_result_is_undone_and_that_is_said(lab: Lab):
    lab.load(facts(ROWS), "facts")
    lab.query("first", "select k from staging.facts limit 3")
    before = state(lab)
    result = act(lab, "index", table="staging.facts", columns=["k"])
    assert result.status == "done" and lab.layouts() == {} and state(lab) == before
    assert "differs" in result.message and "not kept: nothing was changed" in result.message


def test_recommending_only_tells_and_applying_keeps(lab: Lab):
    lab.load(facts(ROWS), "facts")
    lab.query("sums", SUMS, freq=40)
    before = state(lab)
    told = act(lab, "recommend", objective="balance")
    assert state(lab) == before and [*(lab.root / "layouts").iterdir()] == []
    assert "a month to keep, by prices of" in told.message
    assert "the best for balance first" in told.message and "it was only measured, as asked" in told.message
    done = act(lab, "recommend", table="staging.facts", apply=True)
    assert "materialized" in {layout.kind for layout in lab.layouts().values()}
    lab.undo(done.run)
    assert state(lab) == before


def test_layouts_may_take_no_more_than_was_allowed(lab: Lab):
    lab.load(facts(200), "facts")
    allowed = lab.allow_layouts(1000)
    result = act(lab, "index", table="staging.facts", columns=["k"])
    assert lab.layouts() == {} and "of what all layouts of the lab may take 0.00 MB are left" in result.message
    lab.undo(allowed.run)
    act(lab, "index", table="staging.facts", columns=["k"])
    assert [*lab.layouts()] == ["index_staging_facts_k"]


# Kept results


SUMS = "select v, sum(k) as total from staging.facts group by v order by v"


def test_the_first_query_after_a_change_computes_a_kept_result_again(lab: Lab):
    lab.load(facts(200), "facts")
    lab.query("sums", SUMS)
    before = state(lab)
    kept = act(lab, "materialize", query="sums", name="totals")
    assert "after a change of its tables the first query computes it again" in kept.message
    changed = lab.load(facts(50), "facts")
    assert lab.query("sums")["total"].sum() == int(facts(50)["k"].sum())
    assert [doc.layout for doc in lab.queries()["sums"].runs] == ["", ""]
    assert lab.layouts()["totals"].versions == {"staging.facts": 2}
    assert lab.query("sums")["total"].sum() == int(facts(50)["k"].sum())
    assert lab.queries()["sums"].runs[-1].layout == "totals"
    assert any(run.intent == "compute the kept result totals again" for run in lab.history()), "it is in the log"
    lab.undo(kept.run)
    assert {key for key in state(lab) if key[0] == "layout"} == set()
    lab.undo(changed.run)
    assert state(lab) == before


def test_a_kept_result_with_times_is_computed_again_by_its_schedule(lab: Lab):
    lab.load(facts(200), "facts")
    lab.query("sums", SUMS)
    before = state(lab)
    kept = act(lab, "materialize", query="sums", name="totals", refresh="daily at 06:00")
    (schedule,) = lab.schedules()
    assert (schedule["task"], schedule["cron"]) == ("totals refresh", "0 6 * * *")
    assert do(lab, "totals refresh") == [], "its tables haven't changed"
    changed = lab.load(facts(50), "facts")
    lab.query("sums")
    assert lab.layouts()["totals"].versions == {"staging.facts": 1}, "the query leaves it to the schedule"
    (run,) = do(lab, "totals refresh")
    assert lab.result(run).status == "done" and lab.layouts()["totals"].versions == {"staging.facts": 2}
    assert lab.query("sums")["total"].sum() == int(facts(50)["k"].sum())
    assert lab.queries()["sums"].runs[-1].layout == "totals"
    act(lab, "materialize", query="sums", name="totals")
    assert lab.schedules() == [], "asked for without times, it has none"
    for run in [run.id for run in lab.history() if run.intent.startswith("materialize")]:
        lab.undo(run)
    lab.undo(changed.run)
    assert state(lab) == before and kept.status == "done"


# Limits


def test_a_source_is_throttled_bit_by_bit_and_freed_by_undo(lab: Lab):
    lab.add_source("shop", url="http://127.0.0.1:1", resources={"orders": {"path": "/orders"}})
    first = act(lab, "throttle", source="shop", rows_per_second=500)
    assert first.message == "from now on shop is read at 500 rows a second"
    (event,) = first.events
    assert (event.type, event.subject, event.body["rows_per_second"]) == ("throttled", "shop", 500)
    act(lab, "throttle", source="shop", concurrency=2)
    assert str(lab.limits()["shop"]) == "shop is read at 500 rows a second and 2 request(s) at once"
    assert "nothing was changed" in act(lab, "throttle", source="shop", concurrency=2).message
    third = act(lab, "throttle", source="shop", rows_per_second=100)
    lab.undo(third.run)
    assert lab.limits()["shop"].rows_per_second == 500
    assert "did you mean 'shop'" in act(lab, "throttle", source="shops", concurrency=1).message


def test_a_logged_query_that_can_t_run_any_more_speaks_against_no_index(lab: Lab):
    lab.load(facts(ROWS), "facts")
    lab.query("broken", "SELECT SUM(v) AS s FROM staging.facts WHERE k = 5")
    act(lab, "rename", table="staging.facts", column="v", to="value")
    result = act(lab, "index", table="staging.facts", columns=["k"])
    assert (result.status, [*lab.layouts()]) == ("done", ["index_staging_facts_k"]), result.message
    assert "can't run" not in result.message
