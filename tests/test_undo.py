"""Every action is taken back by one call: `state == undo(run(state))`, in a lab that has something of everything.

The state is every current entry of the catalog, whole, and every row of every table and of every store's tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.actions import ACTIONS
from agentlab.catalog import KINDS
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan

O, C = "staging.orders", "staging.customers"  # noqa: E741
COUNT = {"function": "count", "name": "orders"}
INTO = {"source": "visits", "resource": "visits", "into": "staging.visits"}

#: What is tried of each action. One that waits for approval gets it.
CALLS: dict[str, dict[str, Any]] = {
    "pull": {**INTO, "limit": 2},
    "load_file": {"path": "people.csv", "into": "staging.people"},
    "sync": {**INTO, "cursor": "at", "key": ["id"]},
    "describe_source": {"source": "orders"},
    "analyze": {"table": C},
    "suggest_fixes": {"table": "core.big"},
    "quarantine": {"table": O, "where": "qty = 3"},
    "check": {"table": O, "rule": "in_range", "columns": ["qty"], "min": 0},
    "find_outliers": {"table": O, "columns": ["qty"]},
    "compare": {"table": O, "reference": "core.big"},
    "rename": {"table": O, "column": "qty", "to": "quantity"},
    "derive": {"table": O, "column": "double", "expr": "qty * 2"},
    "cast": {"table": O, "column": "qty", "type": "text"},
    "drop_columns": {"table": O, "columns": ["qty"]},
    "select": {"table": O, "columns": ["id", "qty"]},
    "reorder": {"table": O, "columns": ["day"]},
    "filter": {"table": O, "where": "qty > 100"},
    "dedupe": {"table": O, "by": ["customer"]},
    "sort": {"table": O, "by": ["qty"]},
    "limit": {"table": O, "n": 3},
    "sample": {"table": O, "n": 3, "into": "core.some"},
    "fill": {"table": O, "column": "city", "value": "Rome"},
    "replace": {"table": O, "column": "city", "old": "Oslo", "new": "Bergen"},
    "normalize_text": {"table": O, "column": "city", "case": "upper"},
    "split": {"table": C, "column": "name", "into_columns": ["first", "last"], "separator": " "},
    "join": {"table": O, "other": C, "on": ["customer"]},
    "union": {"table": O, "other": "core.big"},
    "aggregate": {"table": O, "by": ["city"], "measures": [COUNT], "into": "core.big"},
    "pivot": {"table": O, "index": ["customer"], "columns": "city", "values": "qty", "into": "core.wide"},
    "unpivot": {"table": O, "columns": ["id", "qty"]},
    "provision": {"store": "finance"},
    "publish": {"table": O, "store": "mart", "mode": "append"},
    "export": {"table": O, "format": "csv"},
    "schedule": {"task": "mart refresh", "when": "daily at 06:00", "zone": "Europe/Berlin"},
    "unschedule": {"task": "mart refresh"},
    "pause": {"task": "mart refresh"},
    "resume": {"task": f"{O} refresh"},
    "retain": {"table": O, "column": "day", "older_than": "1 year", "then": "delete"},
    "snapshot": {"table": O, "name": "as it is"},
    "restore": {"table": O, "version": 1},
    "resize": {"store": "mart", "quota": "40 GB"},
    "usage": {},
    "drop": {"table": O},
    "diagnose": {"query": "by city"},
    "recommend": {"query": "by city", "apply": True},
    "index": {"table": O, "columns": ["city"]},
    "order_by": {"table": O, "columns": ["city"]},
    "partition": {"table": O, "by": "city"},
    "materialize": {"query": "by city"},
    "compact": {"table": O},
    "throttle": {"source": "orders", "rows_per_second": 1000},
}

#: These only look, or find nothing to do.
QUIET = {"compact"}

#: These there are besides, of actions that are tried once above.
MORE: dict[str, dict[str, Any]] = {
    "drop a store": {"store": "mart"},
    "restore a snapshot": {"table": O, "snapshot": "first"},
    "restore what was dropped": {"table": "core.gone", "version": -1},
    "schedule anew": {"task": f"{C} refresh", "when": "hourly"},
    "retain in an archive": {"table": O, "column": "day", "older_than": "2 years"},
}


def call(action: str, **arguments: Any) -> dict[str, Any]:
    return {"name": action.partition(" ")[0], "arguments": arguments}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Orders and customers, a store, schedules, a paused one, a snapshot, retention, a query, a pipeline, a report."""
    root: Path = tmp_path_factory.mktemp("undo") / "lab"
    with Lab(root, Scripted({}), approve=True) as lab:
        _fill(lab)
        yield lab


def _fill(lab: Lab) -> None:
    days = pd.to_datetime(["2021-03-01", "2023-05-01", "2025-01-01", None, "2026-11-01", "2026-11-02"])
    orders = pd.DataFrame({"id": range(1, 7), "customer": [1, 1, 2, 3, 3, 9], "qty": [1, 2, 3, -4, 5, 600]})
    lab.load(orders.assign(day=days, city=["Rome", "Oslo", None, "Rome", "Rome", "Oslo"]), "orders")
    lab.load(pd.DataFrame({"customer": [1, 2, 2], "name": ["Ann Lee", "Bo Ek", "Cy Ray"]}), "customers")
    lab.load(pd.DataFrame({"id": [1, 2, 3], "at": pd.to_datetime(["2026-01-01"] * 3)}), "visits", time_column="at")
    (lab.root / "people.csv").write_text("id,name\n1,Ann\n2,Bo\n")
    plan = [
        call("filter", table=O, where="qty > 2", into="core.big"),
        call("filter", table=O, where="qty > 4", into="core.gone"),
        call("provision", store="mart"),
        call("publish", table=O, store="mart"),
        call("schedule", task="mart refresh", when="nightly"),
        call("schedule", task=f"{O} refresh", when="nightly"),
        call("pause", task=f"{O} refresh"),
        call("snapshot", table=O, name="first"),
        call("retain", table=O, column="day", older_than="3 years"),
        call("analyze", table=O),
        call("sort", table=O, by=["id"], descending=True),
        call("drop", table="core.gone"),
    ]
    result = lab.run(Plan.from_calls(plan))
    assert result.status == "done", result.message
    lab.query("by city", f"select city, sum(qty) as qty from {O} group by city")
    draft = lab.catalog.draft("by-hand")
    draft.put("pipeline", "nightly sales", {"name": "nightly sales", "steps": [{"say": "sort the orders by id"}]})
    draft.commit()


def state(lab: Lab) -> dict[str, Any]:
    """All that there is; reviews, which stay as the memory of what was asked, left out."""
    entries = {(e.kind, e.name): e.doc for kind in KINDS if kind != "review" for e in lab.catalog.entries(kind)}
    stored = [f"{store}.{table}" for store, doc in lab.stores().items() for table in doc.tables]
    rows = {name: lab.table(name).to_json(orient="split", date_format="iso") for name in (*lab.tables(), *stored)}
    return {"entries": entries, "rows": rows}


def test_every_action_is_tried() -> None:
    assert CALLS.keys() == ACTIONS.keys() - {"clarify", "refuse"}


@pytest.mark.parametrize("name", [*CALLS, *MORE])
def test_undo_leaves_everything_as_it_was(lab: Lab, name: str) -> None:
    before = state(lab)
    result = lab.run(Plan.from_calls([call(name, **{**CALLS, **MORE}[name])]))
    assert result.status == "done", result.message
    assert (state(lab) != before) == (name not in QUIET)
    if name not in QUIET:
        lab.undo(result.run)
    assert state(lab) == before


def test_enforced_retention_is_undone(lab: Lab) -> None:
    before = state(lab)
    (result,) = lab.enforce()
    assert (result.status, result.tables) == ("done", {"archive.orders": 2, O: len(lab.table(O))})
    assert state(lab) != before
    lab.undo(result.run)
    assert state(lab) == before
