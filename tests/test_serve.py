"""The lab over HTTP: a real server on loopback, a token, one form of errors, and schedules that are kept."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import uvicorn
from typer.testing import CliRunner

from agentlab.cli import app
from agentlab.errors import LabError, PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.schedules import Keeper, do
from agentlab.serve import create_app, serve, token_of

PLANS: dict[str, list[dict[str, Any]]] = {
    "call customer_id cust_id": [
        {"name": "rename", "arguments": {"table": "staging.orders", "column": "customer_id", "to": "cust_id"}}
    ],
    "keep the big ones": [{"name": "filter", "arguments": {"table": "staging.orders", "where": "amount > 7"}}],
    "publish them nightly": [
        {"name": "provision", "arguments": {"store": "mart"}},
        {"name": "publish", "arguments": {"table": "staging.orders", "store": "mart"}},
        {"name": "schedule", "arguments": {"task": "mart refresh", "when": "nightly"}},
    ],
    "judge them": [{"name": "analyze", "arguments": {"table": "staging.orders"}}],
    "make it nice": [{"name": "clarify", "arguments": {"question": "How?", "about": "how"}}],
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", model=Scripted(PLANS)) as lab:
        frame = pd.DataFrame({"customer_id": [f"C{n}" for n in range(10)], "amount": [float(n) for n in range(10)]})
        lab.load(frame, "orders")
        yield lab


@contextmanager
def running(lab: Lab, token: str = "open sesame") -> Iterator[httpx.Client]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = uvicorn.Server(uvicorn.Config(create_app(lab, token), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        try:
            with httpx.Client(
                base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(lab: Lab) -> Iterator[httpx.Client]:
    with running(lab) as client:
        yield client


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert list(body) == ["error"] and list(body["error"]) == ["message", "type", "param", "code"]
    found: dict[str, Any] = body["error"]
    return found


def test_an_intent_is_carried_out_and_undone(client: httpx.Client, lab: Lab) -> None:
    done = client.post("/v1/intents", json={"intent": "call customer_id cust_id"}).json()
    assert done["status"] == "done" and done["plan"][0]["action"] == "rename" and done["agents"] == ["transformation"]
    assert "cust_id" in lab.table("staging.orders")
    assert client.get(f"/v1/runs/{done['run']}").json() == done
    assert client.get("/v1/runs", params={"limit": 1}).json()["runs"][0]["id"] == done["run"]
    undone = client.post(f"/v1/runs/{done['run']}/undo").json()
    assert undone["undone"] == ["table staging.orders: version 2 -> 1"]
    assert "customer_id" in lab.table("staging.orders")


def test_a_dry_run_shows_the_plan_and_changes_nothing(client: httpx.Client, lab: Lab) -> None:
    told = client.post("/v1/intents", json={"intent": "call customer_id cust_id", "dry_run": True}).json()
    assert told["run"] is None and told["status"] == "act" and told["plan"][0]["action"] == "rename"
    assert len(lab.history()) == 1
    asks = client.post("/v1/intents", json={"intent": "make it nice", "dry_run": True}).json()
    assert asks["status"] == "clarify"


def test_an_approval_waits_and_is_answered(client: httpx.Client, lab: Lab) -> None:
    waits = client.post("/v1/intents", json={"intent": "keep the big ones"}).json()
    assert waits["status"] == "approval" and len(lab.table("staging.orders")) == 10
    done = client.post(f"/v1/runs/{waits['run']}/approve").json()
    assert done["status"] == "done" and len(lab.table("staging.orders")) == 2
    late = client.post(f"/v1/runs/{waits['run']}/reject")
    assert late.status_code == 400 and "doesn't wait for approval" in error_of(late)["message"]
    lab.undo(waits["run"])
    at_once = client.post("/v1/intents", json={"intent": "keep the big ones", "approve": True}).json()
    assert at_once["status"] == "done"
    lab.undo(at_once["run"])
    assert client.post("/v1/intents", json={"intent": "keep the big ones", "approve": False}).json()["tables"] == {}


def test_tables_and_events_are_told(client: httpx.Client) -> None:
    [table] = client.get("/v1/tables").json()["tables"]
    assert table["table"] == "staging.orders" and table["rows"] == 10 and "customer_id" in table["schema"]
    [event] = client.get("/v1/events").json()["events"]
    assert event["type"] == "data-ready"
    assert client.get("/v1/events", params={"after": event["seq"]}).json() == {"events": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/v1/intents", {}, 422, "intent: Field required"),
        ("POST", "/v1/intents", {"intent": ""}, 422, "intent"),
        ("POST", "/v1/intents", {"intent": "x", "agent": "boss"}, 422, "agent"),
        ("POST", "/v1/intents", {"intent": "x", "yes": True}, 422, "yes"),
        ("POST", "/v1/intents", {"intent": "x" * 120_000}, 413, "100,000 bytes"),
        ("GET", "/v1/runs/r1", None, 404, "no run 'r1'"),
        ("POST", "/v1/runs/r1/undo", None, 404, "no run 'r1'"),
        ("GET", "/v1/nothing", None, 404, "/v1/nothing"),
        ("DELETE", "/v1/runs", None, 405, "DELETE"),
        ("GET", "/v1/runs?limit=0", None, 422, "limit"),
        ("GET", f"/v1/events?after={10**23}", None, 422, "after"),
        ("GET", "/v1/events?after=-1", None, 422, "after"),
    ],
)
def test_errors_have_one_form(client: httpx.Client, method: str, path: str, body: Any, status: int, told: str) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == status
    assert told in error_of(answer)["message"]


def test_what_nobody_foresaw_is_an_error_of_that_form_and_the_server_goes_on(client: httpx.Client, lab: Lab) -> None:
    (lab.root / "catalog.sqlite").rename(lab.root / "moved")
    lab.catalog.close()
    assert error_of(client.get("/v1/runs"))["type"] == "internal"
    lab.catalog.close()
    (lab.root / "moved").replace(lab.root / "catalog.sqlite")
    assert client.get("/v1/runs").status_code == 200
    unread = client.post("/v1/intents", content=b"\xff{", headers={"Content-Type": "application/json"})
    assert (unread.status_code, error_of(unread)["type"]) == (400, "invalid")


def test_the_token_the_host_and_the_origin_are_checked(client: httpx.Client) -> None:
    wrong = {"Authorization": "Bearer guess"}
    assert client.get("/v1/runs", headers=wrong).status_code == 401
    assert error_of(client.get("/v1/runs", headers={"Authorization": ""}))["type"] == "auth"
    assert client.get("/healthz", headers=wrong).json() == {"status": "ok"}
    assert client.get("/v1/runs", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/v1/runs", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.get("/v1/runs", headers={"Origin": "null"}).status_code == 403
    assert client.get("/v1/runs", headers={"Origin": "http://localhost:3000"}).status_code == 200
    assert client.get("/v1/runs", headers={"Host": f"localhost:{client.base_url.port}"}).status_code == 200


def test_the_token_is_made_once_for_its_owner_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    token, made = token_of(lab)
    assert made and token_of(lab) == (token, False)
    assert stat.S_IMODE((lab.root / "secrets" / ".serve").stat().st_mode) == 0o600
    monkeypatch.setenv("AGENTLAB_TOKEN", "from outside")
    assert token_of(lab) == ("from outside", False)


def test_no_source_can_have_or_use_the_token_of_the_lab(lab: Lab) -> None:
    token, _ = token_of(lab)
    api: dict[str, Any] = {"url": "http://127.0.0.1:9", "resources": {"orders": {"path": "/orders"}}}
    lab.add_source("serve", token="of a third party", **api)
    assert token_of(lab) == (token, False)
    lab.add_source("thief", token_file=".serve", **api)
    pull = {"source": "thief", "resource": "orders", "into": "staging.it"}
    told = lab.run(Plan.from_calls([{"name": "pull", "arguments": pull}])).message
    assert "'.serve' is no name of a file in the lab's secrets folder" in told


def test_a_port_in_use_is_named_with_the_remedy(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=rf"port {port} on 127.0.0.1 .*choose another with --port"):
            serve(lab, port=port)


def test_what_is_due_is_done_once(lab: Lab) -> None:
    assert lab.run("publish them nightly").status == "done"
    lab.run("call customer_id cust_id")
    keeper = Keeper(lab)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert keeper.tick(datetime.now(UTC)) == []
    assert keeper.tick(tomorrow) == ["mart refresh"]
    assert keeper.tick(tomorrow + timedelta(minutes=1)) == []
    assert "cust_id" in lab.table("mart.orders")
    assert lab.history()[0].intent == "scheduled: mart refresh"
    assert keeper.tick(tomorrow + timedelta(days=30)) == ["mart refresh"]  # once, not thirty times


def test_a_pipeline_can_be_scheduled_and_an_unknown_task_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text("name: two\nsteps:\n  - say: judge them\n")
    lab.pipeline(tmp_path / "two.yaml")
    assert lab.result(do(lab, "two")[0]).status == "done"
    with pytest.raises(PlanError, match="no task 'tow'; did you mean 'two'"):
        do(lab, "tow")


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    failed = CliRunner().invoke(app, ["serve", "--lab", str(tmp_path / "typo"), "--port", "0"])
    assert failed.exit_code == 1 and "there is no lab in" in failed.stderr
    assert not (tmp_path / "typo").exists()


def test_as_a_program_it_serves_until_it_is_told_to_end(lab: Lab) -> None:
    program = "from agentlab.cli import main; main()"
    environment = {**os.environ, "AGENTLAB_TOKEN": "open sesame"}
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--lab", str(lab.root), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout and process.stderr
    try:
        words = process.stdout.readline().split()
        url = next(word for word in words if word.startswith("http://")).rstrip(";")
        headers = {"Authorization": "Bearer open sesame"}
        found = httpx.get(f"{url}/tables", headers=headers, trust_env=False, timeout=60).json()
        assert [table["table"] for table in found["tables"]] == ["staging.orders"]
    finally:
        process.send_signal(signal.SIGINT)
        said, faults = process.communicate(timeout=30)
    assert "open sesame" not in said and "Traceback" not in faults
