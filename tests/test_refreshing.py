"""Refreshing a store: its tables are pulled again, what was done to them is done again, and nothing is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.errors import PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.refreshing import refresh
from agentlab.runs import RunResult
from agentlab.schedules import do

Rows = list[dict[str, Any]]

PULL = {"source": "shop", "resource": "orders", "into": "staging.orders"}


@pytest.fixture
def orders() -> Rows:
    """What the shop has to tell; whoever changes it changes what is pulled."""
    return [{"id": n, "qty": n, "city": "Rome"} for n in range(1, 9)] + [{"id": 9, "qty": -1, "city": "Oslo"}]


@pytest.fixture
def lab(tmp_path: Path, orders: Rows) -> Iterator[Lab]:
    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"items": orders}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """It is quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server, Lab(tmp_path / "lab", Scripted({})) as lab:
        threading.Thread(target=server.serve_forever).start()
        resources = {"orders": {"path": "/orders", "cursor": None}}
        lab.add_source("shop", url=f"http://127.0.0.1:{server.server_port}", resources=resources)
        yield lab
        server.shutdown()


def act(lab: Lab, *calls: tuple[str, dict[str, Any]], approve: bool | None = True) -> RunResult:
    plan = Plan.from_calls([{"name": name, "arguments": arguments} for name, arguments in calls])
    result = lab.run(plan, approve=approve)
    assert result.status == "done", result.message
    return result


def published(lab: Lab) -> None:
    """Orders are pulled, mended and published, each by a run of its own, as people do."""
    act(lab, ("pull", PULL))
    act(lab, ("quarantine", {"table": "staging.orders", "where": "qty < 0"}))
    act(lab, ("rename", {"table": "staging.orders", "column": "qty", "to": "quantity"}))
    act(lab, ("provision", {"store": "mart"}), ("publish", {"table": "staging.orders", "store": "mart"}))


def test_what_is_new_at_the_source_arrives_and_is_mended_as_before(lab: Lab, orders: Rows) -> None:
    published(lab)
    orders += [{"id": 10, "qty": 5, "city": "Rome"}, {"id": 11, "qty": -7, "city": "Rome"}]
    (run,) = do(lab, "mart refresh")
    result = lab.result(run)
    assert (result.status, result.plan.origin.model) == ("done", "schedule")
    assert [call["name"] for call in result.plan.to_calls()] == ["pull", "quarantine", "rename", "publish"]
    mart = lab.table("mart.orders")
    assert mart.columns.tolist() == ["id", "quantity", "city"]
    assert mart["id"].tolist() == [*range(1, 9), 10]
    assert lab.stores()["mart"].tables["orders"].version == lab.catalog.get("table", "staging.orders").n
    again = lab.result(do(lab, "mart refresh")[0])
    assert again.plan.to_calls() == result.plan.to_calls(), "the next refresh doesn't do more and more"


def test_tables_made_of_others_are_made_again_in_the_order_of_their_making(lab: Lab, orders: Rows) -> None:
    act(lab, ("pull", PULL), ("sort", {"table": "staging.orders", "by": ["id"]}))
    measures = [{"function": "sum", "column": "qty", "name": "total"}]
    act(lab, ("aggregate", {"table": "staging.orders", "by": ["city"], "measures": measures, "into": "core.cities"}))
    act(lab, ("rename", {"table": "staging.orders", "column": "qty", "to": "quantity"}))
    act(lab, ("sort", {"table": "core.cities", "by": ["city"]}))
    act(lab, ("provision", {"store": "mart"}), ("publish", {"table": "core.cities", "store": "mart"}))
    orders += [{"id": 10, "qty": 100, "city": "Oslo"}]
    result = lab.result(do(lab, "mart refresh")[0])
    names = [call["name"] for call in result.plan.to_calls()]
    assert names == ["pull", "sort", "aggregate", "rename", "sort", "publish"]
    assert dict(lab.table("mart.cities").to_numpy().tolist()) == {"Oslo": 99, "Rome": 36}
    assert "quantity" in lab.table("staging.orders"), "work after the table was made isn't lost"


def test_what_was_undone_is_not_done_again(lab: Lab) -> None:
    published(lab)
    lab.undo(act(lab, ("limit", {"table": "staging.orders", "n": 4})).run)
    act(lab, ("sort", {"table": "staging.orders", "by": ["id"]}))
    result = lab.result(do(lab, "mart refresh")[0])
    assert [call["name"] for call in result.plan.to_calls()] == ["pull", "quarantine", "rename", "sort", "publish"]
    assert len(lab.table("mart.orders")) == 8


def test_appended_rows_stay_and_do_not_come_twice(lab: Lab) -> None:
    publish = {"table": "staging.days", "store": "mart", "mode": "append"}
    lab.load(pd.DataFrame({"id": [1, 2]}), "days")
    act(lab, ("provision", {"store": "mart"}), ("publish", publish))
    assert do(lab, "mart refresh") == [], "the store has the current version"
    lab.load(pd.DataFrame({"id": [3]}), "days")
    result = lab.result(do(lab, "mart refresh")[0])
    assert result.plan.to_calls() == [{"name": "publish", "arguments": publish}]
    assert "staging.days isn't pulled again: appended to mart, its rows would come twice" in result.message
    assert lab.table("mart.days")["id"].tolist() == [1, 2, 3]
    assert do(lab, "mart refresh") == []


def test_an_upsert_is_done_again_while_it_was_the_last(lab: Lab, orders: Rows) -> None:
    upsert = {**PULL, "mode": "upsert", "key": ["id"]}
    act(lab, ("pull", PULL))
    act(lab, ("pull", upsert))
    act(lab, ("provision", {"store": "mart"}), ("publish", {"table": "staging.orders", "store": "mart"}))
    orders[:] = [{"id": 1, "qty": 50, "city": "Rome"}]
    result = lab.result(do(lab, "mart refresh")[0])
    assert result.plan.to_calls()[0] == {"name": "pull", "arguments": upsert}
    assert len(lab.table("mart.orders")) == 9
    assert lab.table("mart.orders").set_index("id").loc[1, "qty"] == 50


def test_what_cannot_be_repeated_is_published_as_it_is_and_it_is_said_why(lab: Lab) -> None:
    act(lab, ("pull", PULL))
    act(lab, ("pull", {**PULL, "mode": "append"}))
    act(lab, ("provision", {"store": "mart"}), ("publish", {"table": "staging.orders", "store": "mart"}))
    assert do(lab, "mart refresh") == []
    act(lab, ("rename", {"table": "staging.orders", "column": "qty", "to": "quantity"}))
    result = lab.result(do(lab, "mart refresh")[0])
    assert [call["name"] for call in result.plan.to_calls()] == ["publish"]
    why = "staging.orders isn't pulled again: version 2 was pulled by append onto rows that are worked on since"
    assert result.message.endswith(why)
    assert "quantity" in lab.table("mart.orders")


def test_a_source_that_is_gone_is_named(lab: Lab) -> None:
    published(lab)
    draft = lab.catalog.draft("by-hand")
    draft.remove("source", "shop")
    draft.commit()
    plan, notes = refresh(lab.catalog, "mart")
    assert plan.actions == ()
    assert notes == ("staging.orders isn't pulled again: no source 'shop'; there are none yet",)


def test_a_plan_that_is_no_longer_the_refresh_asks_before_it_replaces_work(lab: Lab) -> None:
    published(lab)
    plan, _ = refresh(lab.catalog, "mart")
    act(lab, ("sort", {"table": "staging.orders", "by": ["city"]}))
    result = lab.run(plan, approve=None)
    assert result.status == "approval"
    assert "pull would replace the table staging.orders" in result.message


def test_a_refresh_fails_as_a_whole(lab: Lab, orders: Rows) -> None:
    published(lab)
    before = lab.catalog.heads()
    for order in orders:
        del order["qty"]
    assert lab.result(do(lab, "mart refresh")[0]).status == "failed"
    assert lab.catalog.heads() == before


def test_a_store_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(PlanError, match="no store 'mart'"):
        refresh(lab.catalog, "mart")
