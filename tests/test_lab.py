"""The front door, on the real demo API: what a first-time user does in an afternoon, and the faults that they meet."""

from __future__ import annotations

import html
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.demo import server
from agentlab.errors import AgentlabError, LabError, PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.shown import plain, show_with


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


STORY = {
    "pull": [call("pull", source="sales_api", resource="orders", into="staging.orders", limit=1000, order="newest")],
    "check": [call("analyze", table="staging.orders"), call("suggest_fixes", table="staging.orders")],
    "rename": [call("rename", table="staging.orders", column="customer_id", to="cust_id")],
    "publish": [call("provision", store="mart"), call("publish", table="staging.orders", store="mart")],
    "nightly": [call("schedule", task="mart refresh", when="nightly")],
    "slow": [call("diagnose", query="by_customer")],
    "which": [call("clarify", question="Which table?")],
    "no": [call("refuse", reason="that is unsafe", because="unsafe")],
}

ORDERS = pd.DataFrame({"id": [1, 2], "paid": [9.5, None]})


@pytest.fixture(scope="module")
def api() -> Iterator[server.SalesAPI]:
    with server.start(rows=1500, throttle_every=0, fail_every=4) as api:
        yield api


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted(STORY)) as lab:
        yield lab


def test_the_story(api: server.SalesAPI, tmp_path: Path):
    with Lab(tmp_path, Scripted(STORY), approve=True) as lab:
        lab.add_source("sales_api", token=api.token, **api.source())
        assert lab.sources() == {"sales_api": ["orders", "customers", "products"]}
        results = [lab.run(intent) for intent in ("pull", "check", "rename", "publish", "nightly")]
        assert [result.status for result in results] == ["done"] * 5
        assert [result.agents[0] for result in results] == [
            *("ingestion", "quality", "transformation"),
            *("storage", "storage"),
        ]
        assert results[0].tables == {"staging.orders": 1000}
        frame = lab.query("by_customer", "select cust_id, count(*) as n from mart.orders group by cust_id")
        assert frame["n"].sum() == len(lab.table("staging.orders"))
        assert lab.run("slow").status == "done"
        assert lab.lineage("staging.orders", "cust_id")[-1].source == "sales_api.orders"
        assert [run.intent for run in lab.history(1000)][-1] == "register the source sales_api"
        for run in [run.id for run in lab.history(1000) if run.parent is None and run.status == "done"]:
            try:
                lab.undo(run)
            except LabError as fault:
                assert "nothing to undo" in str(fault) or "undo first" in str(fault)
        assert not lab.stores() and not lab.schedules()


def test_a_token_is_kept_apart_for_its_owner_only(api: server.SalesAPI, lab: Lab):
    lab.add_source("sales_api", token=api.token, **api.source())
    (secret,) = (lab.root / "secrets").iterdir()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert api.token not in json.dumps(lab.catalog.get("source", "sales_api").doc)


def test_undoing_a_new_token_brings_the_old_one_back(api: server.SalesAPI, lab: Lab):
    lab.add_source("sales_api", token=api.token, **api.source())
    renewed = lab.add_source("sales_api", token="expired", **api.source())
    assert "status 401" in lab.run("pull").message
    lab.undo(renewed.run)
    assert lab.run("pull").status == "done"


def test_what_an_api_does_not_have_stays_none(api: server.SalesAPI, lab: Lab):
    whole = {"path": "/orders", "next": None, "cursor": None, "limit": None, "order": "order"}
    lab.add_source("sales_api", token=api.token, url=api.url, resources={"orders": whole})
    pulled = lab.run(Plan.from_calls([call("pull", source="sales_api", resource="orders", into="staging.page")]))
    assert pulled.status == "done"
    assert 0 < pulled.tables["staging.page"] < 1500  # the one page that an API without cursors gives


def test_reports_of_tables_and_of_queries_are_kept_apart(lab: Lab):
    lab.load(ORDERS, "orders")
    lab.query("staging.orders", "select count(*) as n from staging.orders")
    lab.run(Plan.from_calls([call("analyze", table="staging.orders")]))
    lab.run(Plan.from_calls([call("diagnose", query="staging.orders")]))
    kinds = {name: entry.doc["kind"] for name, entry in lab.reports().items()}
    assert kinds == {"staging.orders": "quality", "diagnosis of staging.orders": "diagnosis"}


def test_what_a_killed_process_left_is_swept_when_the_lab_opens(tmp_path: Path):
    with Lab(tmp_path, Scripted(STORY)) as lab:
        lab.load(ORDERS, "orders")
        assert lab.run("publish").status == "done"
    left = ("tables/staging.orders/v9-gone", "stores/mart/orders/gone-s1.2", "layouts/.trying-gone")
    for path in (*left, "layouts/young-gone"):
        (tmp_path / path).mkdir(parents=True)
    for path in tmp_path.glob("*/**/*"):
        if path.name != "young-gone":
            os.utime(path, (0, 0))
    with Lab(tmp_path, Scripted(STORY)) as lab:
        assert not [path for path in left if (tmp_path / path).exists()]
        assert (tmp_path / "layouts/young-gone").exists()
        assert lab.table("staging.orders")["id"].tolist() == lab.table("mart.orders")["id"].tolist() == [1, 2]


def test_a_source_that_fails_fails_the_run(lab: Lab):
    lab.add_source(
        "sales_api", url="http://127.0.0.1:9", resources={"orders": {"path": "/orders", "order": "o"}}, tries=1
    )
    result = lab.run("pull")
    assert (result.status, result.tables) == ("failed", {})
    assert "/orders" in result.message
    assert [event.type for event in result.events] == ["error"]


def test_settings_that_do_not_fit(lab: Lab):
    with pytest.raises(LabError, match="resources: Field required"):
        lab.add_source("api", url="https://example.com")
    with pytest.raises(LabError, match="can't name a source"):
        lab.add_source("../api", url="https://example.com", resources={})


def test_planning_alone_runs_and_keeps_nothing(lab: Lab):
    lab.load(ORDERS.rename(columns={"id": "customer_id"}), "orders")
    before = len(lab.history())
    assert str(lab.plan("rename")) == "rename(table='staging.orders', column='customer_id', to='cust_id')"
    assert len(lab.history()) == before
    assert "customer_id" in lab.table("staging.orders").columns


@pytest.mark.parametrize(("intent", "status"), [("which", "clarify"), ("no", "refuse")])
def test_a_question_or_a_refusal_runs_nothing(lab: Lab, intent: str, status: str):
    result = lab.run(intent)
    assert (result.status, result.events, result.tables) == (status, (), {})
    assert result.message in ("Which table?", "that is unsafe")


def test_beyond_an_agents_authority(lab: Lab):
    lab.load(ORDERS.rename(columns={"id": "customer_id"}), "orders")
    result = lab.run("rename", agent="quality")
    assert result.status == "refuse" and "quality agent" in result.message
    with pytest.raises(LabError, match="no agent 'storag'; did you mean 'storage'"):
        lab.run("rename", agent="storag")  # type: ignore[arg-type]


def test_a_model_that_is_not_there_fails_the_run(tmp_path: Path):
    with Lab(tmp_path, model="no/such/folder") as lab:
        result = lab.run("anything")
        assert (result.status, "no/such/folder" in result.message) == ("failed", True)


def test_loading_frames(lab: Lab):
    result = lab.load(ORDERS, "orders")
    assert (result.status, result.tables) == ("done", {"staging.orders": 2})
    assert lab.tables()["staging.orders"].schema_ == {"id": "int", "paid": "float"}
    assert lab.undo(result.run) == ["source orders: version 1 -> removed", "table staging.orders: version 1 -> removed"]
    assert lab.tables() == {}
    with pytest.raises(LabError, match="undone already"):
        lab.undo(result.run)


def test_a_frame_does_not_take_another_sources_name(api: server.SalesAPI, lab: Lab):
    lab.add_source("sales_api", token=api.token, **api.source())
    with pytest.raises(LabError, match="there is a rest source 'sales_api' already"):
        lab.load(ORDERS, "sales_api")


def test_a_source_does_not_take_a_frames_name(lab: Lab):
    lab.load(ORDERS, "orders")
    with pytest.raises(LabError, match="there is a frame source 'orders' already; give the rest one another name"):
        lab.add_source("orders", url="https://example.com", resources={"orders": {"path": "/orders"}})


def test_names_that_sql_cannot_tell_apart(lab: Lab):
    lab.load(ORDERS, "x")
    with pytest.raises(PlanError, match=r"a table 'staging\.x' already; names that differ only by case are one"):
        lab.load(ORDERS.head(1), "X")
    top = lab.run(Plan.from_calls([call("limit", table="staging.x", n=1, into="staging.X")]))
    assert "differ only by case" in top.message and list(lab.tables()) == ["staging.x"]
    assert "group of tables" in lab.run(Plan.from_calls([call("provision", store="staging")])).message


@pytest.mark.parametrize("frame", [[1, 2], ORDERS["id"]], ids=["list", "series"])
def test_what_is_no_frame_is_not_loaded(lab: Lab, frame: Any):
    with pytest.raises(LabError, match="load needs a pandas DataFrame, not a"):
        lab.load(frame, "orders")


@pytest.mark.parametrize(("mode", "told"), [("bogus", "'replace', 'append' or 'upsert'"), ("upsert", "needs a key")])
def test_a_load_that_cannot_be_leaves_no_file(lab: Lab, mode: Any, told: str):
    with pytest.raises(PlanError, match=told):
        lab.load(ORDERS, "orders", mode=mode)
    assert not (lab.root / "sources").exists()


def test_names_that_are_not_there(lab: Lab):
    lab.load(ORDERS, "orders")
    with pytest.raises(PlanError, match=r"no table 'staging.order'; did you mean 'staging.orders'"):
        lab.table("staging.order")
    with pytest.raises(AgentlabError, match="no query 'q'; there are none yet"):
        lab.query("q")
    with pytest.raises(LabError, match="no run 'r'"):
        lab.undo("r")
    with pytest.raises(LabError, match="no engine 'spork'"):
        Lab(lab.root, engine="spork")


def test_queries_are_saved_logged_and_undone(lab: Lab):
    lab.load(ORDERS, "orders")
    sql = "select count(*) as n from staging.orders"
    assert lab.query("count", sql)["n"].tolist() == [2]
    lab.query("count", sql)
    assert lab.query("count")["n"].tolist() == [2]
    (doc,) = lab.queries().values()
    assert (doc.sql, len(doc.runs)) == (sql, 3)
    assert [run.intent for run in lab.history(1)] == ["save the query count"]
    with pytest.raises(PlanError, match="a query is one SELECT"):
        lab.query("count", "drop table staging.orders")
    assert lab.queries()["count"].sql == sql
    lab.undo(lab.history(1)[0].id)
    assert lab.queries() == {}


def test_results_speak_json_text_and_html(lab: Lab):
    result = lab.load(ORDERS, "orders")
    told = json.loads(result.to_json())
    assert list(told) == [
        *("run", "status", "message", "agents", "plan", "confidence", "events", "tables", "plan_ms", "act_ms"),
    ]
    assert told["plan"] == [
        {"action": "pull", "arguments": {"source": "orders", "resource": "orders", "into": "staging.orders"}}
    ]
    assert str(result).startswith("done: pulled orders.orders into staging.orders: 2 rows")
    assert "staging.orders" in result._repr_html_()
    assert lab.result(result.run) == result


def test_what_a_lab_gives_is_its_words_where_it_is_printed(lab: Lab):
    result = lab.load(ORDERS.rename(columns={"id": "customer_id"}), "orders")
    assert repr(result) == str(result)
    assert repr(lab.plan("rename")) == "rename(table='staging.orders', column='customer_id', to='cust_id')"
    assert repr(Plan(actions=())) == "Plan()"
    assert repr(lab.events()) == "data-ready staging.orders: rows 2, source orders.orders, mode replace"
    assert repr(lab.lineage("staging.orders", "paid")).startswith("staging.orders v1 paid from orders.orders: pull(")


def test_a_notebook_shows_html_whatever_was_imported(lab: Lab, tmp_path: Path):
    """In a process of its own: here others have imported `agentlab.display` already."""
    lab.load(ORDERS, "orders")
    code = (
        "import sys; from agentlab import Lab, Plan\n"
        "plan = Plan.from_calls([{'name': 'limit', 'arguments': {'table': 'staging.orders', 'n': 1}}])\n"
        "with Lab(sys.argv[1]) as lab:\n"
        "    for thing in (plan, lab.run(plan), lab.events(), lab.lineage('staging.orders', 'id'), lab.reviews()):\n"
        "        print(thing._repr_html_().count('<div class=\"agentlab\">'))"
    )
    lab.close()
    ran = subprocess.run([sys.executable, "-c", code, str(lab.root)], capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["1"] * 5, ran.stderr


def test_what_waits_for_a_person_is_listed_until_it_is_answered(tmp_path: Path):
    script = {"first": [call("filter", table="staging.orders", where="id < 1")], **STORY}
    with Lab(tmp_path, Scripted(script)) as lab:
        lab.load(ORDERS, "orders")
        assert lab.reviews() == [] and "Nothing waits" in lab.reviews()._repr_html_()
        one, other = lab.run("first").run, lab.run("first").run
        (review, _) = reviews = lab.reviews()
        assert {waits.run for waits in reviews} == {one, other}
        assert "more than half" in review.reasons[0] and "0 rows, before 2" in review.preview[0]
        assert f'lab.approve("{review.run}")' in html.unescape(reviews._repr_html_())
        assert str(review).startswith(f"first\n(run {review.run} waits for approval, because ")
        assert str(review).endswith("staging.orders has 0 rows, before 2")
        lab.reject(one)
        assert [waits.run for waits in lab.reviews()] == [other]
        lab.approve(other)
        assert lab.reviews() == [] and len(lab.table("staging.orders")) == 0


def test_a_better_renderer_may_be_given(lab: Lab):
    usual = show_with(lambda result: f"<b>{result.status}</b>")
    try:
        assert lab.load(ORDERS, "orders")._repr_html_() == "<b>done</b>"
        show_with(plain)
        assert lab.load(ORDERS, "orders")._repr_html_().startswith("<pre>done: ")
    finally:
        show_with(usual)


def test_a_lab_is_as_it_was_when_opened_again(lab: Lab):
    lab.load(ORDERS, "orders")
    lab.close()
    with Lab(lab.root) as again:
        pd.testing.assert_frame_equal(again.table("staging.orders"), ORDERS)
        assert [event.type for event in again.events()] == ["data-ready"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (5, r"an intent is text, not 5 \(int\)"),
        (None, r"an intent is text, not None \(NoneType\)"),
        ("", "the intent is empty"),
        ("  \n", "the intent is empty"),
        ("rename \udcff", r"isn't UTF-8 text: 'rename \\udcff', at character 8"),
        ("a" * 20_000, "the intent has 20,000 characters .* at most 4,000"),
    ],
)
def test_what_is_no_intent_begins_no_run(tmp_path: Path, said: Any, told: str) -> None:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        for speak in (lab.run, lab.plan):
            with pytest.raises(PlanError, match=told):
                speak(said)
        assert lab.history() == []
