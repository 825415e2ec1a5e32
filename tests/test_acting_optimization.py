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
from agentlab.workload import Bench, Candidate, LayoutDoc, Tuning, try_layout

ROWS = 300_000
INDEX = Candidate(kind="index", table="staging.facts", columns=("k",), use="equal")


def facts(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"k": [i * 7919 % 20_000 for i in range(rows)], "v": [i % 7 for i in range(rows)]})


def act(lab: Lab, name: str, **arguments: Any) -> RunResult:
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
