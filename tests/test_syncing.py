"""Only what is new: each sync goes on where the last one came to, loses nothing and doubles nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from list_server import Api, serving

from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult

T = "staging.orders"
TIMES = ["2026-03-01T08:00:00", "2026-03-01T09:00:00", "2026-03-02T10:00:00", "2026-03-02T10:00:00"]


def order(n: int, at: str, **more: Any) -> dict[str, Any]:
    return {"order_id": n, "at": at, "status": "open", **more}


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Api([order(n, at) for n, at in enumerate(TIMES, 1)], most=2)) as api:
        yield api


@pytest.fixture
def lab(api: Api, tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        plain = {"path": "/cursor", "page_size": 2, "time_column": "at"}
        resources = {"orders": {**plain, "since": "since"}, "plain": {**plain, "key": ["order_id"]}, "bare": {**plain}}
        lab.add_source("shop", url=api.url, resources=resources)
        yield lab


def sync(lab: Lab, **arguments: Any) -> RunResult:
    call = {"source": "shop", "resource": "orders", "into": T, **arguments}
    return lab.run(Plan.from_calls([{"name": "sync", "arguments": call}]))


def ids(lab: Lab, table: str = T) -> list[int]:
    return list(lab.table(table)["order_id"])


def state(lab: Lab) -> dict[str, Any]:
    entry = lab.catalog.get("sync", T)
    return {key: entry.doc[key] for key in ("source", "resource", "cursor", "key", "last")}


def test_the_first_takes_everything_and_the_next_only_what_is_new(lab: Lab, api: Api) -> None:
    first = sync(lab)
    assert (first.status, ids(lab)) == ("done", [1, 2, 3, 4])
    assert state(lab) == {
        **{"source": "shop", "resource": "orders", "cursor": "at", "key": ["order_id"]},
        "last": "2026-03-02T10:00:00",
    }
    api.asked.clear()
    api.rows += [order(5, "2026-03-02T10:00:00"), order(6, "2026-03-03T00:00:00")]
    again = sync(lab)
    assert again.status == "done" and "synced 4 rows" in again.message, "3 and 4 share the last one's time"
    assert ids(lab) == [1, 2, 3, 4, 5, 6]
    assert api.pages() == [
        "/cursor?limit=2&since=2026-03-02T10%3A00%3A00",
        "/cursor?limit=2&since=2026-03-02T10%3A00%3A00&cursor=2",
    ]
    assert state(lab)["last"] == "2026-03-03T00:00:00"


def test_a_row_that_changed_takes_the_place_of_the_older_one(lab: Lab, api: Api) -> None:
    sync(lab)
    api.rows[0] = order(1, "2026-03-05T00:00:00", status="paid")
    sync(lab)
    table = lab.table(T)
    assert sorted(table["order_id"]) == [1, 2, 3, 4]
    assert list(table.loc[table["order_id"] == 1, "status"]) == ["paid"]


def test_nothing_new_changes_nothing(lab: Lab, api: Api) -> None:
    sync(lab)
    before = lab.table(T)
    assert sync(lab).status == "done"
    pd.testing.assert_frame_equal(lab.table(T), before)
    api.rows.clear()
    result = sync(lab)
    assert (result.status, ids(lab), state(lab)["last"]) == ("done", [1, 2, 3, 4], "2026-03-02T10:00:00")
    assert "nothing new in shop.orders since at 2026-03-02T10:00:00" in result.message


def test_an_api_without_since_is_filtered_here(lab: Lab, api: Api) -> None:
    sync(lab, resource="plain")
    api.rows += [order(5, "2026-03-02T10:00:00"), order(6, "2026-02-01T00:00:00")]
    result = sync(lab, resource="plain")
    assert "synced 3 rows" in result.message
    assert ids(lab) == [1, 2, 3, 4, 5], "what is older than the cursor isn't new"


def test_a_number_may_be_the_cursor(lab: Lab, api: Api) -> None:
    sync(lab, resource="plain", cursor="order_id")
    assert state(lab)["last"] == 4
    api.rows += [order(5, "2020-01-01T00:00:00")]
    sync(lab, resource="plain", cursor="order_id")
    assert (ids(lab), state(lab)["last"]) == ([1, 2, 3, 4, 5], 5)


def test_undo_takes_back_rows_and_cursor_together(lab: Lab, api: Api) -> None:
    sync(lab)
    before, known = lab.table(T), state(lab)
    api.rows += [order(5, "2026-03-04T00:00:00")]
    result = sync(lab)
    assert ids(lab) == [1, 2, 3, 4, 5]
    lab.undo(result.run)
    pd.testing.assert_frame_equal(lab.table(T), before)
    assert state(lab) == known
    sync(lab)
    assert ids(lab) == [1, 2, 3, 4, 5], "what was undone comes again"


def test_the_first_one_undone_leaves_nothing(lab: Lab) -> None:
    lab.undo(sync(lab).run)
    assert not lab.tables() and not lab.catalog.entries("sync")


def test_a_failed_sync_moves_no_cursor(lab: Lab, api: Api) -> None:
    sync(lab)
    known = state(lab)
    api.rows += [order(5, "2026-03-04T00:00:00")]
    api.before = lambda path, query, _: (404, {}, {"error": "gone"}) if query.get("cursor") else None
    assert sync(lab).status == "failed"
    assert (ids(lab), state(lab)) == ([1, 2, 3, 4], known)


def test_a_key_that_is_missing_altogether_is_told_as_drift(lab: Lab, api: Api) -> None:
    sync(lab)
    api.rows[:] = [{"id_of_order": 7, "at": "2026-03-09T00:00:00"}]
    result = sync(lab, key=["order_id"])
    assert result.status in ("failed", "clarify", "refuse") and "order_id" in result.message
    (event,) = [e for e in lab.events() if e.type == "schema-drift"]
    assert (event.subject, event.body["removed"]) == (T, ["order_id"])


def test_what_is_new_and_which_row_is_which_must_be_told(lab: Lab, api: Api) -> None:
    settings = {"path": "/cursor", "schema": {"a": "int", "b": "text"}}
    lab.add_source("odd", url=api.url, resources={"things": settings})
    api.asked.clear()
    result = sync(lab, source="odd", resource="things")
    assert result.status == "clarify"
    assert "odd.things names no time column" in result.message and "odd.things names no key" in result.message
    assert not api.asked


@pytest.mark.parametrize("undone", [False, True])
def test_rows_that_a_restore_or_a_pull_took_away_come_back_with_the_next_sync(lab: Lab, undone: bool) -> None:
    sync(lab)
    pull = {"source": "shop", "resource": "orders", "into": T, "limit": 1}
    replaced = lab.run(Plan.from_calls([{"name": "pull", "arguments": pull}]), approve=True)
    assert (replaced.status, ids(lab)) == ("done", [1])
    if undone:
        lab.undo(replaced.run)
    again = sync(lab)
    assert sorted(ids(lab)) == [1, 2, 3, 4]
    assert ("synced 2 rows" in again.message) == undone, "after undo the cursor holds again: only the last time's rows"


def test_rows_that_a_filter_took_away_on_purpose_stay_away(lab: Lab) -> None:
    sync(lab)
    lab.run(Plan.from_calls([{"name": "filter", "arguments": {"table": T, "where": "order_id > 1"}}]))
    sync(lab)
    assert sorted(ids(lab)) == [2, 3, 4]
