"""How fetched rows become a table: replaced, appended, upserted, all or none; what can't be taken is set aside."""

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

T = "staging.list"


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Api([{"id": n, "name": f"row {n}", "price": n + 0.5} for n in range(1, 5)])) as api:
        yield api


@pytest.fixture
def lab(api: Api, tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        resources = {"list": {"path": "/whole", "items": "", "paging": {"by": "none"}, "limit": None}}
        lab.add_source("api", url=api.url, resources=resources)
        yield lab


def pull(lab: Lab, **arguments: Any) -> RunResult:
    call = {"source": "api", "resource": "list", "into": T, **arguments}
    return lab.run(Plan.from_calls([{"name": "pull", "arguments": call}]), approve=True)


def upsert(lab: Lab, *key: str) -> RunResult:
    return pull(lab, mode="upsert", key=list(key or ("id",)))


def drift(lab: Lab) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.body.items() if v} for e in lab.events() if e.type == "schema-drift"]


def test_replace_append_and_upsert(lab: Lab, api: Api):
    pull(lab)
    api.rows[:] = [{"id": 4, "name": "new 4", "price": 1.0}, {"id": 5, "name": "row 5", "price": 2.0}]
    upsert(lab)
    assert dict(zip(lab.table(T)["id"], lab.table(T)["name"], strict=True)) == {
        **{1: "row 1", 2: "row 2", 3: "row 3"},
        **{4: "new 4", 5: "row 5"},
    }
    pull(lab, mode="append")
    assert list(lab.table(T)["id"]) == [1, 2, 3, 4, 5, 4, 5]
    pull(lab)
    assert list(lab.table(T)["id"]) == [4, 5]


def test_of_several_rows_with_one_key_the_last_counts(lab: Lab, api: Api):
    api.rows[:] = [{"id": 1, "v": "old"}, {"id": 2, "v": "x"}, {"id": 1, "v": "new"}]
    upsert(lab)
    assert lab.table(T).to_dict("records") == [{"id": 2, "v": "x"}, {"id": 1, "v": "new"}]


def test_a_row_without_its_key_is_set_aside_and_the_rest_goes_on(lab: Lab, api: Api):
    api.rows += [{"id": None, "name": "nobody", "price": 9.5}, {"name": "lost"}]
    result = upsert(lab)
    assert (result.status, list(lab.table(T)["id"])) == ("done", [1, 2, 3, 4])
    aside = lab.table("quarantine.list")
    assert list(aside["name"]) == ["nobody", "lost"]
    assert set(aside["reason"]) == {"no value in id, the key to upsert by"}
    assert "2 rows that no table could take are in quarantine" in result.message
    lab.undo(result.run)
    assert not lab.tables()


def test_what_is_no_row_joins_what_is_in_quarantine_already(lab: Lab, api: Api):
    api.rows[2:2] = ["oops", 7]  # type: ignore[list-item]
    pull(lab)
    upsert(lab)
    assert list(lab.table(T)["id"]) == [1, 2, 3, 4]
    aside = lab.table("quarantine.list")
    assert list(aside["row"]) == ['"oops"', "7"] * 2
    assert set(aside["reason"]) == {'a row must be an object, not str "oops"', "a row must be an object, not int 7"}


def test_a_new_column_evolves_the_table_and_is_told(lab: Lab, api: Api):
    pull(lab)
    for mode in ({"mode": "append"}, {"mode": "upsert", "key": ["id"]}):
        api.rows[:] = [{"id": 9, "name": "row 9", "price": 1.0, f"by_{mode['mode']}": True}]
        pull(lab, **mode)
    assert list(lab.table(T).columns) == ["id", "name", "price", "by_append", "by_upsert"]
    assert drift(lab) == [{"added": ["by_append"]}, {"added": ["by_upsert"]}]


def test_a_changed_type_keeps_every_value_and_is_told(lab: Lab, api: Api):
    pull(lab)
    api.rows[:] = [{"id": 5, "name": "row 5", "price": "n/a"}]
    pull(lab, mode="append")
    assert list(lab.table(T)["price"]) == ["1.5", "2.5", "3.5", "4.5", "n/a"]
    assert drift(lab) == [{"retyped": {"price": ["float", "text"]}}]


def test_a_column_without_a_value_keeps_its_type(lab: Lab, api: Api):
    pull(lab)
    api.rows[:] = [{"id": 5, "name": "row 5", "price": None}]
    pull(lab, mode="append")
    assert lab.tables()[T].schema_["price"] == "float" and not drift(lab)


def test_a_key_that_no_row_has_stops_the_run_and_is_told(lab: Lab, api: Api):
    pull(lab)
    before = lab.table(T)
    api.rows[:] = [{"number": 5}]
    result = upsert(lab)
    assert result.status == "failed" and "no key column 'id' in api.list" in result.message
    assert drift(lab) == [{"removed": ["id"], "key": ["id"]}]
    pd.testing.assert_frame_equal(lab.table(T), before)


@pytest.mark.parametrize("mode", [{}, {"mode": "append"}, {"mode": "upsert", "key": ["id"]}])
def test_undo_restores_the_table(lab: Lab, api: Api, mode: dict[str, Any]):
    pull(lab)
    before, schema = lab.table(T), lab.tables()[T]
    api.rows += [{"id": 9, "name": "row 9", "price": "dear", "new": [1]}, 5]  # type: ignore[list-item]
    lab.undo(pull(lab, **mode).run)
    pd.testing.assert_frame_equal(lab.table(T), before)
    assert lab.tables() == {T: schema}


def test_nothing_is_left_in_the_way(lab: Lab):
    pull(lab)
    upsert(lab, "name")
    assert not list((lab.root / "tmp").glob("landing*"))


def test_a_throttled_source_is_pulled_at_its_pace(lab: Lab, api: Api):
    resources = {"list": {"path": "/page", "page_size": 1, "paging": {"by": "page"}}}
    lab.add_source("api", url=api.url, resources=resources)
    draft = lab.catalog.draft("throttle")
    draft.put("limit", "api", {"source": "api", "rows_per_second": 20})
    draft.commit()
    pull(lab)
    assert api.times[-1] - api.times[0] >= 4 / 20 - 0.01


def test_a_source_describes_itself(lab: Lab, api: Api):
    resources = {
        "list": {"path": "/page", "page_size": 2, "paging": {"by": "page"}, "key": ["id"]},
        "gone": {"path": "/gone", "time_column": "at"},
    }
    api.before = lambda path, *_: (404, {}, {"error": "no such list"}) if path == "/gone" else None
    lab.add_source("api", url=api.url, resources=resources)
    assert lab.view().incoming["api.list"] == {"id": "int", "name": "text", "price": "float"}
    api.asked.clear()
    result = lab.run(Plan.from_calls([{"name": "describe_source", "arguments": {"source": "api"}}]))
    found = lab.reports()["source api"].doc["resources"]
    assert found["list"]["columns"] == {"id": "int", "name": "text", "price": "float"}
    assert (found["list"]["paging"], found["list"]["key"]) == ("by page, the parameter page", ["id"])
    assert "status 404, it says 'no such list'" in found["gone"]["fault"]
    assert "list: pages: by page" in result.message and not lab.tables()
    assert api.asked["/page?limit=2&page=1"] == 1, "a page is enough to look at"
    lab.undo(result.run)
    assert not lab.reports()


def test_an_upsert_keeps_what_it_says_nothing_of(lab: Lab, api: Api):
    pull(lab)
    api.rows[:] = [{"id": 4, "price": 9.0}, {"id": 2, "price": 8.0}, {"id": 7, "price": 7.0}]
    upsert(lab)
    table = lab.table(T).astype(object).where(lambda t: t.notna(), None)
    assert table.to_dict("records") == [
        {"id": 1, "name": "row 1", "price": 1.5},
        {"id": 3, "name": "row 3", "price": 3.5},
        {"id": 4, "name": "row 4", "price": 9.0},
        {"id": 2, "name": "row 2", "price": 8.0},
        {"id": 7, "name": None, "price": 7.0},
    ]


def test_a_column_that_another_source_widens_is_said_and_told(lab: Lab, api: Api):
    pull(lab)
    (lab.root / "more.csv").write_text("id,name,price\nA7,row 7,7.5\n")
    load = {"path": "more.csv", "into": T, "mode": "append"}
    result = lab.run(Plan.from_calls([{"name": "load_file", "arguments": load}]))
    assert "id is text now, it was int" in result.message
    assert drift(lab)[-1]["retyped"] == {"id": ["int", "text"]}
