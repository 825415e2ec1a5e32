"""Every way of paging, from a real server that counts: each page once, all rows, in order, and an end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from list_server import Api, Row, serving

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError
from agentlab.sources import Pace, RestSource, fetch, pull, read_doc

ROWS: list[Row] = [{"id": n, "name": f"row {n}"} for n in range(45)]
TOTAL = {"by": "page", "total": "/meta/total"}

#: The resource's settings, and what must have been asked for 45 rows in pages of ten, sorted.
WAYS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "cursor": (
        {"path": "/cursor"},
        ["/cursor?limit=10", *(f"/cursor?limit=10&cursor={n}" for n in (10, 20, 30, 40))],
    ),
    "page, ended by a short one": (
        {"path": "/page", "paging": {"by": "page"}},
        [f"/page?limit=10&page={n}" for n in range(1, 6)],
    ),
    "page, total told": ({"path": "/page", "paging": TOTAL}, [f"/page?limit=10&page={n}" for n in range(1, 6)]),
    "page, number of pages told": (
        {"path": "/page", "paging": {"by": "page", "pages": "/meta/pages"}},
        [f"/page?limit=10&page={n}" for n in range(1, 6)],
    ),
    "offset, ended by a short one": (
        {"path": "/offset", "items": "", "paging": {"by": "offset"}},
        [f"/offset?limit=10&offset={n}" for n in (0, 10, 20, 30, 40)],
    ),
    "offset, total in a header": (
        {"path": "/offset", "items": "", "paging": {"by": "offset", "total_header": "X-Total-Count"}},
        [f"/offset?limit=10&offset={n}" for n in (0, 10, 20, 30, 40)],
    ),
    "link": (
        {"path": "/link", "items": "", "paging": {"by": "link"}},
        ["/link?limit=10", *(f"/link?at={n}&limit=10" for n in (10, 20, 30, 40))],
    ),
    "next url": (
        {"path": "/next_url", "paging": {"by": "next_url"}},
        ["/next_url?limit=10", *(f"/next_url?at={n}&limit=10" for n in (10, 20, 30, 40))],
    ),
    "whole": ({"path": "/whole", "items": "", "paging": {"by": "none"}, "limit": None}, ["/whole"]),
}


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Api(list(ROWS))) as api:
        yield api


def source(api: Api, **resource: Any) -> RestSource:
    found = read_doc({"kind": "rest", "url": api.url, "resources": {"list": {"page_size": 10, **resource}}, "tries": 3})
    assert isinstance(found, RestSource)
    return found


ASKED = Pull(source="api", resource="list", into="staging.list")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_paging_asks_for_each_page_once(api: Api, tmp_path: Path, way: str) -> None:
    settings, asked = WAYS[way]
    assert pull(source(api, **settings), ASKED, tmp_path).to_pylist() == ROWS
    assert api.pages() == sorted(asked)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "whole"])
def test_a_list_that_fills_its_last_page_ends_too(api: Api, tmp_path: Path, way: str) -> None:
    del api.rows[40:]
    assert len(pull(source(api, **WAYS[way][0]), ASKED, tmp_path)) == 40
    assert set(api.asked.values()) == {1}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "whole"])
def test_an_api_that_sends_less_than_it_is_asked_for_loses_no_row(api: Api, tmp_path: Path, way: str) -> None:
    settings = {**WAYS[way][0], "page_size": 500}
    assert pull(source(api, **settings), ASKED, tmp_path).to_pylist() == ROWS


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_asks_for_no_page_more_than_it_needs(api: Api, tmp_path: Path, way: str) -> None:
    asked = ASKED.model_copy(update={"limit": 15})
    assert pull(source(api, **WAYS[way][0]), asked, tmp_path).to_pylist() == ROWS[:15]
    assert len(api.pages()) == (1 if way == "whole" else 2)


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_list_has_one_page(api: Api, tmp_path: Path, way: str) -> None:
    api.rows.clear()
    table = pull(source(api, **WAYS[way][0], schema={"id": "int"}), ASKED, tmp_path)
    assert (table.num_rows, table.column_names, len(api.pages())) == (0, ["id"], 1)


def test_pages_whose_number_is_known_come_some_at_a_time_and_in_order(api: Api, tmp_path: Path) -> None:
    api.slow, api.most = 0.05, 1
    for most in (1, 3):
        api.most_open = 0
        fetched = fetch(source(api, path="/page", paging=TOTAL), ASKED, tmp_path, pace=Pace(concurrency=most))
        assert fetched.table().to_pylist() == ROWS
        assert api.most_open == most
    assert set(api.asked.values()) == {2}


def test_cursors_come_one_after_the_other(api: Api, tmp_path: Path) -> None:
    api.slow = 0.01
    fetch(source(api, path="/cursor"), ASKED, tmp_path, pace=Pace(concurrency=8))
    assert api.most_open == 1


@pytest.mark.parametrize("paging", [TOTAL, {"by": "page"}])
def test_rows_a_second_are_kept_to(api: Api, tmp_path: Path, paging: dict[str, Any]) -> None:
    fetch(source(api, path="/page", paging=paging), ASKED, tmp_path, pace=Pace(rows_per_second=100))
    gaps = [after - before for before, after in zip(api.times, api.times[1:], strict=False)]
    assert len(gaps) == 4 and api.times[-1] - api.times[0] >= 0.39, "40 rows come before the last page"


# Pages that don't go on, or lead away.


@pytest.mark.parametrize("paging", [{"by": "page"}, TOTAL, {"by": "offset"}])
def test_an_api_that_ignores_the_page_is_noticed(api: Api, tmp_path: Path, paging: dict[str, Any]) -> None:
    api.before = lambda *_: (200, {}, {"items": ROWS[:10], "meta": {"total": 45}})
    with pytest.raises(LabError, match=r"GET /page of api, page 2 has the very rows of page 1; the pages don't go on"):
        pull(source(api, path="/page", paging=paging), ASKED, tmp_path)


@pytest.mark.parametrize("way", ["link", "next url"])
def test_an_address_that_comes_again_is_noticed(api: Api, tmp_path: Path, way: str) -> None:
    turns = iter(range(100))

    def circle(*_: Any) -> Any:
        rows = [{"id": next(turns)}]
        return 200, {"Link": '</x>; rel="next"'}, rows if way == "link" else {"items": rows, "next": "/x"}

    api.before = circle
    with pytest.raises(LabError, match=r"page 2 gives a next address that an earlier page gave"):
        pull(source(api, **WAYS[way][0]), ASKED, tmp_path)


def test_an_api_that_tells_of_more_than_it_sends_is_noticed(api: Api, tmp_path: Path) -> None:
    api.before = lambda path, query, _: (
        200,
        {},
        {"items": ROWS[(int(query["page"]) - 1) * 10 :][:10] if query["page"] != "4" else [], "meta": {"total": 45}},
    )
    with pytest.raises(LabError, match=r"35 rows came of the 45 that the API tells of"):
        pull(source(api, path="/page", paging=TOTAL), ASKED, tmp_path)


@pytest.mark.parametrize("found", [None, "many", True])
def test_a_total_that_is_none_is_noticed(api: Api, tmp_path: Path, found: Any) -> None:
    api.before = lambda *_: (200, {}, {"items": ROWS[:10], "meta": {"total": found}})
    with pytest.raises(LabError, match=r"page 1 should have the number of rows or pages at '/meta/total', found"):
        pull(source(api, path="/page", paging=TOTAL), ASKED, tmp_path)


@pytest.mark.parametrize("way", ["link", "next url"])
@pytest.mark.parametrize("there", ["http://elsewhere.example/x", "//127.0.0.1:1/x", "https://127.0.0.1/x", "file:///x"])
def test_a_next_page_elsewhere_is_asked_by_nobody(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, there: str
) -> None:
    monkeypatch.setenv("TOKEN_OF_TESTS", "sesame")
    body = ROWS[:10] if way == "link" else {"items": ROWS[:10], "next": there}
    api.before = lambda *_: (200, {"Link": f'<{there}>; rel="next"'}, body)
    leads = source(api, **WAYS[way][0]).model_copy(update={"token_env": "TOKEN_OF_TESTS"})
    with pytest.raises(LabError, match=r"page 1 has a next page at .*, which is not on http://127.*nothing was sent"):
        pull(leads, ASKED, tmp_path)
    assert sum(api.asked.values()) == 1


def test_a_storm_of_429_amid_parallel_pages_loses_nothing(api: Api, tmp_path: Path) -> None:
    asked: set[tuple[str, ...]] = set()

    def storm(path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
        first = (page := (path, query["page"])) not in asked
        asked.add(page)
        return (429, {"Retry-After": "0"}, {"error": "slow down"}) if first else None

    api.before = storm
    assert pull(source(api, path="/page", paging=TOTAL), ASKED, tmp_path).to_pylist() == ROWS
    assert api.answers == {429: 5, 200: 5}


def test_a_page_cut_short_is_named(api: Api, tmp_path: Path) -> None:
    api.before = lambda path, query, _: (200, {}, b'{"items": [{"id": 1}, {"i') if query["page"] == "3" else None
    with pytest.raises(LabError, match=r"GET /page of api, page 3 is no JSON but application/json"):
        pull(source(api, path="/page", paging=TOTAL), ASKED, tmp_path)


# Rows that can't be taken.


def test_a_row_that_is_no_object_is_set_aside_and_the_rest_goes_on(api: Api, tmp_path: Path) -> None:
    api.before = lambda *_: (200, {}, [{"id": 1}, 7, None, {"id": 2}, "x"])
    settings = WAYS["whole"][0]
    fetched = fetch(source(api, **settings), ASKED, tmp_path)
    assert fetched.table().to_pylist() == [{"id": 1}, {"id": 2}]
    assert [(r.row, r.reason) for r in fetched.rejected] == [
        ("7", "a row must be an object, not int 7"),
        ("null", "a row must be an object, not null"),
        ('"x"', 'a row must be an object, not str "x"'),
    ]


def test_a_strict_schema_sets_aside_what_breaks_it(api: Api, tmp_path: Path) -> None:
    api.before = lambda *_: (200, {}, [{"id": 1, "p": 2.5}, {"id": 2, "p": "n/a"}, {"id": 3, "p": None, "new": True}])
    schema = {"id": "int", "p": "float"}
    fetched = fetch(source(api, **WAYS["whole"][0], schema=schema, strict=True), ASKED, tmp_path)
    assert fetched.types == {"id": "int", "p": "float", "new": "bool"}
    assert fetched.table()["id"].to_pylist() == [1, 3]
    assert [(r.row, r.reason) for r in fetched.rejected] == [('{"id": 2, "p": "n/a"}', 'p must be float, not "n/a"')]
    loose = fetch(source(api, **WAYS["whole"][0], schema=schema), ASKED, tmp_path)
    assert (loose.types["p"], loose.table()["p"].to_pylist()) == ("text", ["2.5", "n/a", None])
