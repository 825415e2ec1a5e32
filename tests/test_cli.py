"""The command line: as a program of its own with a model served on loopback, and command by command in this process."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from model_server import served
from typer.testing import CliRunner, Result

from agentlab.cli import app
from agentlab.display import Progress
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan

PLANS = {
    "call customer_id cust_id": [
        {"name": "rename", "arguments": {"table": "staging.orders", "column": "customer_id", "to": "cust_id"}}
    ],
    "keep the big ones": [{"name": "filter", "arguments": {"table": "staging.orders", "where": "amount > 9"}}],
    "judge them": [{"name": "analyze", "arguments": {"table": "staging.orders"}}],
    "make it nice": [{"name": "clarify", "arguments": {"question": "What exactly should change?", "about": "how"}}],
    "call mom": [{"name": "refuse", "arguments": {"reason": "That is outside what data agents do."}}],
    "drop the ghost": [{"name": "drop_columns", "arguments": {"table": "staging.order", "columns": ["customer_id"]}}],
}


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with served(PLANS) as url:
        yield url


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A lab with ten orders."""
    orders = {
        "order_id": range(10),
        "customer_id": [f"C{n}" for n in range(10)],
        "amount": [float(n) for n in range(10)],
    }
    with Lab(tmp_path / "lab", model=Scripted({})) as lab:
        lab.load(pd.DataFrame(orders), "orders")
    return tmp_path / "lab"


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"})


def object_of(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def program(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from agentlab.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


def test_as_a_program_json_is_one_object_and_nothing_else(lab: Path, model: str) -> None:
    done = program("run", "call customer_id cust_id", "--model", model, "--json", AGENTLAB_LAB=str(lab))
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert list(told) == [
        *("run", "status", "message", "agents", "plan", "confidence", "events", "tables", "plan_ms", "act_ms")
    ]
    assert told["status"] == "done" and told["agents"] == ["transformation"]
    assert told["plan"] == [
        {"action": "rename", "arguments": {"table": "staging.orders", "column": "customer_id", "to": "cust_id"}}
    ]
    assert told["tables"] == {"staging.orders": 10} and told["events"][0]["type"] == "transformed"
    assert told["plan_ms"] > 0 and told["act_ms"] > 0


def test_as_a_program_an_error_is_one_line_on_stderr(tmp_path: Path) -> None:
    failed = program("tables", "--lab", tmp_path / "nowhere")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("error: there is no lab in ") and len(failed.stderr.splitlines()) == 1
    assert not (tmp_path / "nowhere").exists()


def test_plan_shows_and_changes_nothing(lab: Path, model: str) -> None:
    before = object_of(call("tables", "--lab", lab, "--json"))
    planned = call("plan", "call customer_id cust_id", "--lab", lab, "--model", model)
    assert planned.exit_code == 0 and "rename" in planned.stdout and "cust_id" in planned.stdout
    assert object_of(call("tables", "--lab", lab, "--json")) == before
    assert len(object_of(call("history", "--lab", lab, "--json"))["runs"]) == 1


def test_a_run_and_its_undo(lab: Path, model: str) -> None:
    done = call("run", "call customer_id cust_id", "--lab", lab, "--model", model)
    assert done.exit_code == 0 and "undo: agentlab undo" in done.stdout
    assert "cust_id" in call("tables", "staging.orders", "--lab", lab).stdout
    [latest, *_] = object_of(call("history", "--lab", lab, "--json"))["runs"]
    undone = object_of(call("undo", latest["id"], "--lab", lab, "--json"))
    assert undone == {
        "run": latest["id"],
        "status": "undone",
        "undone": ["table staging.orders: version 2 -> 1"],
    }
    again = call("undo", latest["id"], "--lab", lab)
    assert again.exit_code == 1 and again.stderr.startswith("error: ") and len(again.stderr.splitlines()) == 1


def test_without_a_terminal_an_approval_waits_and_is_given_later(lab: Path, model: str) -> None:
    waits = call("run", "keep the big ones", "--lab", lab, "--model", model, "--json")
    assert waits.exit_code == 3
    told = object_of(waits)
    assert told["status"] == "approval" and "more than half" in told["message"] and told["tables"] == {}
    done = call("approve", told["run"], "--lab", lab)
    assert done.exit_code == 0
    assert object_of(call("tables", "staging.orders", "--lab", lab, "--json"))["rows"] == 0


def test_a_rejected_run_changes_nothing(lab: Path, model: str) -> None:
    run = object_of(call("run", "keep the big ones", "--lab", lab, "--model", model, "--json"))["run"]
    assert call("reject", run, "--lab", lab).exit_code == 0
    assert object_of(call("tables", "staging.orders", "--lab", lab, "--json"))["rows"] == 10
    late = call("approve", run, "--lab", lab)
    assert late.exit_code == 1 and "doesn't wait for approval" in late.stderr


def test_yes_approves_in_advance(lab: Path, model: str) -> None:
    done = call("run", "keep the big ones", "--lab", lab, "--model", model, "--yes", "--json")
    assert done.exit_code == 0 and object_of(done)["tables"] == {"staging.orders": 0}


def test_a_question_and_a_refusal_have_an_exit_code_of_their_own(lab: Path, model: str) -> None:
    asks = call("run", "make it nice", "--lab", lab, "--model", model)
    assert asks.exit_code == 4 and "What exactly should change?" in asks.stdout
    refused = call("plan", "call mom", "--lab", lab, "--model", model, "--json")
    assert refused.exit_code == 4 and object_of(refused)["status"] == "refuse"
    unknown = call("run", "drop the ghost", "--lab", lab, "--model", model, "--json")
    assert unknown.exit_code == 4 and "staging.orders" in object_of(unknown)["message"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "x", "--agent", "qualty"), "no agent 'qualty'; did you mean 'quality'?"),
        (("run", "  "), "the intent is empty"),
        (("run", "x", "--model", "./models/none"), "no model './models/none'"),
        (("run", "x", "--model", "http://127.0.0.1:9/v1#m"), "can't reach a model at http://127.0.0.1:9/v1"),
        (("tables", "staging.order"), "no table 'staging.order'; did you mean 'staging.orders'?"),
        (("lineage", "staging.orders.ammount"), "no column 'ammount' in staging.orders; did you mean 'amount'?"),
        (("lineage", "amount"), "write TABLE.COLUMN"),
        (("undo", "r1"), "no run 'r1'"),
        (("events", "--run", "nope"), "no run 'nope'"),
        (("query", "total"), "no query 'total'"),
        (("query", "total", "select 1 from staging.ordres"), "staging.orders"),
        (("pipeline", "run", "nowhere.yaml"), "nowhere.yaml"),
        (("sources", "add", "api", "--url", "ftp://x", "--resource", "a=/a"), "is no web address"),
        (("sources", "add", "api", "--url", "http://x", "--resource", "orders"), "write NAME=PATH"),
        (("serve", "--port", "70000"), "70000 is no port"),
    ],
)
def test_bad_input_is_named_with_the_way_out(lab: Path, arguments: tuple[str, ...], told: str) -> None:
    failed = call(*arguments, "--lab", lab)
    assert failed.exit_code == 1, failed.output
    assert failed.stderr.startswith("error: ") and len(failed.stderr.splitlines()) == 1
    assert told in failed.stderr and "Traceback" not in failed.output


def test_an_error_with_json_is_an_object_too(lab: Path) -> None:
    failed = call("tables", "staging.order", "--lab", lab, "--json")
    assert failed.exit_code == 1
    assert object_of(failed)["error"]["type"] == "PlanError"


def test_wrong_usage_is_exit_code_2() -> None:
    assert call("run").exit_code == 2
    assert call("tables", "--jsn").exit_code == 2


def test_a_pipeline_of_sentences(lab: Path, model: str, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("name: two\nsteps:\n  - say: call customer_id cust_id\n  - say: judge them\n")
    done = call("pipeline", "run", file, "--lab", lab, "--model", model, "--json")
    assert done.exit_code == 0, done.output
    assert [run["status"] for run in object_of(done)["runs"]] == ["done", "done"]
    said = call("pipeline", "run", file, "--lab", lab, "--model", model)
    assert "call customer_id cust_id" in said.stdout


def test_a_broken_pipeline_names_its_line(lab: Path, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("name: broken\nsteps:\n  - say: judge them\n    on: quality-fial\n")
    failed = call("pipeline", "run", file, "--lab", lab)
    assert failed.exit_code == 1
    assert "broken.yaml:4" in failed.stderr and "did you mean 'quality-fail'?" in failed.stderr


def test_sources_are_added_and_listed(tmp_path: Path) -> None:
    where = ("--lab", tmp_path / "new")
    resources = ("--resource", "orders=/v2/orders:order_date", "--resource", "items=/items")
    added = call(
        "sources", "add", "api", "--url", "https://api.example.com", "--token-env", "API_TOKEN", *resources, *where
    )
    assert added.exit_code == 0, added.output
    [source] = object_of(call("sources", *where, "--json"))["sources"]
    assert source["name"] == "api" and source["token_env"] == "API_TOKEN"
    assert list(source["resources"]) == ["orders", "items"]
    assert source["resources"]["orders"]["time_column"] == "order_date"
    assert "https://api.example.com" in call("sources", *where).stdout


def test_queries_lineage_and_events(lab: Path) -> None:
    sql = "select sum(amount) as total from staging.orders"
    saved = object_of(call("query", "total", sql, "--lab", lab, "--json"))
    assert saved["result"] == [{"total": 45.0}] and saved["rows"] == 1 and saved["ms"] > 0
    assert "45" in call("query", "total", "--lab", lab).stdout
    [step] = object_of(call("lineage", "staging.orders.amount", "--lab", lab, "--json"))["steps"]
    assert step["source"] == "orders.orders"
    assert "from the source orders.orders" in call("lineage", "staging.orders.amount", "--lab", lab).stdout
    told = object_of(call("events", "--lab", lab, "--json"))["events"]
    assert [event["type"] for event in told] == ["data-ready"]
    assert object_of(call("events", "--lab", lab, "--after", str(told[-1]["seq"]), "--json")) == {"events": []}


def test_a_lab_of_a_newer_version_names_both(lab: Path) -> None:
    with closing(sqlite3.connect(lab / "catalog.sqlite")) as connection, connection:
        connection.execute("UPDATE meta SET format = 99")
    failed = call("tables", "--lab", lab)
    assert failed.exit_code == 1 and "99" in failed.stderr


def test_help_is_quick_and_names_the_exit_codes() -> None:
    shown = call("--help").stdout
    assert "3 an approval waits" in " ".join(shown.split())
    heavy = {"torch", "duckdb", "ibis", "dbos", "pandas", "fastapi"}
    loaded = subprocess.check_output([sys.executable, "-c", "import sys, agentlab.cli; print(*sys.modules)"], text=True)
    assert not heavy & set(loaded.split())


def test_a_program_may_be_a_module_too() -> None:
    for module in ("agentlab", "agentlab.cli"):
        shown = subprocess.check_output([sys.executable, "-m", module, "version"], text=True)
        assert shown == call("version").stdout
        assert "Usage: agentlab" in subprocess.check_output([sys.executable, "-m", module, "--help"], text=True)


def test_output_that_the_terminal_cannot_show_fails_no_run(lab: Path, model: str) -> None:
    done = program(
        "run", "call customer_id cust_id", "--model", model, "--lab", str(lab), PYTHONIOENCODING="ascii:strict"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "undo: agentlab undo" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_does_not_fit_on_the_disk_fails_no_run(lab: Path, model: str) -> None:
    words = ["run", "call customer_id cust_id", "--model", model, "--lab", str(lab)]
    with Path("/dev/full").open("w") as full:
        subprocess.run([sys.executable, "-m", "agentlab", *words], stdout=full, stderr=subprocess.DEVNULL, timeout=120)
    assert "cust_id" in object_of(call("tables", "staging.orders", "--lab", lab, "--json"))["schema"]
    assert object_of(call("history", "--lab", lab, "--json"))["runs"][0]["status"] == "done"


def test_an_interrupted_run_says_what_became_of_it(lab: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(progress: Progress, told: object) -> None:
        if str(told).startswith("planning"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "hear", interrupt)
    words = ("run", "call customer_id cust_id", "--lab", lab, "--model", model)
    stopped = call(*words)
    assert (stopped.exit_code, stopped.stderr) == (130, "error: interrupted; nothing was changed\n")
    told = object_of(call(*words, "--json"))
    assert told == {"error": {"type": "KeyboardInterrupt", "message": "interrupted; nothing was changed"}}


def test_a_killed_run_that_is_finished_is_told(lab: Path) -> None:
    kill = (
        "import os, sys\nfrom agentlab.lab import Lab\nfrom agentlab.models import Scripted\n"
        "plan = [{'name': 'limit', 'arguments': {'table': 'staging.orders', 'n': 2}}]\n"
        "lab = Lab(sys.argv[1], Scripted({'two': plan}))\n"
        "lab.run('two', on_event=lambda told: None if isinstance(told, str) else os._exit(9))\n"
    )
    assert subprocess.run([sys.executable, "-c", kill, str(lab)], timeout=120).returncode == 9
    shown = call("tables", "--lab", lab, "--json")
    assert object_of(shown)["tables"][0]["rows"] == 2
    [latest, *_] = object_of(call("history", "--lab", lab, "--json"))["runs"]
    assert shown.stderr == f"finished run {latest['id']}, which a killed process left: done\n"


def test_what_can_never_run_makes_no_lab(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\nsteps:\n  - say: '   '\n")
    new = tmp_path / "new"
    assert "no agent 'bad'" in call("run", "x", "--agent", "bad", "--lab", new).stderr
    assert "isn't UTF-8" in call("run", "rename \udcff", "--lab", new).stderr
    assert "broken.yaml:3: say: the intent is empty" in call("pipeline", "run", broken, "--lab", new).stderr
    assert not new.exists()


def test_lists_in_a_pipe_are_whole(lab: Path) -> None:
    [latest, *_] = object_of(call("history", "--lab", lab, "--json"))["runs"]
    narrow = {"COLUMNS": "30"}
    assert latest["id"] in CliRunner().invoke(app, ["history", "--lab", str(lab)], env=narrow).stdout
    told = CliRunner().invoke(app, ["tables", "--lab", str(lab)], env=narrow).stdout
    assert f"tables/staging.orders/v1-{latest['id']}" in told


def test_retention_is_listed_and_enforced(lab: Path) -> None:
    with Lab(lab, model=Scripted({})) as opened:
        days = pd.to_datetime(["2001-01-01", "2002-01-01", None])
        opened.load(pd.DataFrame({"id": [1, 2, 3], "day": days}), "visits")
        retain = {"table": "staging.visits", "column": "day", "older_than": "9 years"}
        opened.run(Plan.from_calls([{"name": "retain", "arguments": retain}]))
    listed = call("retention", "--lab", lab).stdout
    assert "archive rows of staging.visits whose day is older than 9 years: 2 rows now" in listed
    told = object_of(call("retention", "--lab", lab, "--enforce", "--json"))
    assert [run["tables"] for run in told["runs"]] == [{"archive.visits": 2, "staging.visits": 1}]
    assert [rule["matching"] for rule in told["rules"]] == [0]
    assert call("undo", told["runs"][0]["run"], "--lab", lab).exit_code == 0


def test_a_plan_says_what_it_would_break(lab: Path, model: str) -> None:
    call("query", "by customer", "select customer_id, count(*) from staging.orders group by 1", "--lab", lab)
    told = call("plan", "call customer_id cust_id", "--lab", lab, "--model", model)
    assert "breaks: query 'by customer' (uses customer_id)" in told.stdout
    shown = object_of(call("plan", "call customer_id cust_id", "--lab", lab, "--model", model, "--json"))
    assert shown["breaks"] == ["rename staging.orders breaks: query 'by customer' (uses customer_id)"]


def test_any_source_is_registered_from_a_file_of_settings(lab: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "erp.sqlite")) as erp:
        erp.executescript(
            "CREATE TABLE invoices (id INTEGER PRIMARY KEY, due TEXT); INSERT INTO invoices VALUES (1, 'x')"
        )
    settings = tmp_path / "erp.yaml"
    settings.write_text(f"kind: sql\ndriver: sqlite\npath: {tmp_path / 'erp.sqlite'}\n")
    told = object_of(call("sources", "add", "erp", "--from", settings, "--lab", lab, "--json"))
    assert told == {"source": "erp", "kind": "sql", "resources": ["invoices"]}
    settings.write_text("- no mapping")
    wrong = call("sources", "add", "other", "--from", settings, "--lab", lab)
    assert wrong.exit_code == 1 and "must map settings to values" in wrong.stderr


def test_the_page_of_a_lab_is_written_where_it_is_asked_for(lab: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert object_of(call("report", page, "--lab", lab, "--json")) == {"report": str(page)}
    assert "staging.orders" in page.read_text()
