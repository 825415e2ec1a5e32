"""Pulling over HTTP from the real demo server, and from small real servers that break their promises."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest

from agentlab.actions.ingestion import Pull
from agentlab.demo import SalesAPI, Shop, build, start
from agentlab.errors import LabError, PlanError
from agentlab.sources import RestSource, pull, read_doc, save_token, schema_of

ENV = "SALES_TOKEN_OF_TESTS"
Answer = tuple[int, dict[str, str], str]


@pytest.fixture(scope="module")
def shop() -> Shop:
    return build()


@pytest.fixture(scope="module")
def steady() -> Iterator[SalesAPI]:
    with start(throttle_every=0, fail_every=0) as api:
        yield api


@pytest.fixture
def source(steady: SalesAPI, monkeypatch: pytest.MonkeyPatch) -> RestSource:
    return registered(steady, monkeypatch)


def registered(api: SalesAPI, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> RestSource:
    monkeypatch.setenv(ENV, api.token)
    found = read_doc({**api.source(token_env=ENV), **changes})
    assert isinstance(found, RestSource)
    return found


def asking(**arguments: Any) -> Pull:
    return Pull(**{"source": "sales", "resource": "orders", "into": "staging.orders", **arguments})


# The main road: every page once, faults survived, the newest first.


def test_the_latest_10_000_come_in_twenty_pages_each_sent_once_despite_faults(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[tuple[int, int, int]] = []
    with start(retry_after=1) as api:
        source = registered(api, monkeypatch)
        table = pull(source, asking(limit=10_000, order="newest"), tmp_path, lambda *told: heard.append(told))
        stats = api.stats()
    assert stats["pages"] == {f"/orders?newest,,={at}": 1 for at in range(0, 10_000, 500)}
    assert stats["answers"] == {"/orders 200": 20, "/orders 429": 2, "/orders 500": 1}
    assert heard[-1] == (10_000, 20, 3) and [pages for _, pages, _ in heard] == list(range(1, 21))
    assert table["order_id"].to_pylist() == [row["order_id"] for row in shop.orders[:-10_001:-1]]


def test_everything_that_was_planted_arrives(source: RestSource, shop: Shop, tmp_path: Path) -> None:
    table = pull(source, asking(), tmp_path)
    assert len(table) == 12_000
    assert table["email"].null_count == len(shop.manifest.missing_email)
    assert schema_of(table) == {
        **{"order_id": "int", "order_date": "timestamp", "customer_id": "text", "customer_name": "text"},
        **{"email": "text", "product": "text", "category": "text", "country": "text", "channel": "text"},
        **{"quantity": "int", "unit_price": "text", "discount": "float", "status": "text"},
    }
    assert table["unit_price"].to_pylist() == [str(row["unit_price"]) for row in shop.orders]


def test_a_small_limit_asks_for_one_small_page(
    source: RestSource, steady: SalesAPI, shop: Shop, tmp_path: Path
) -> None:
    before = steady.stats()["requests"]
    table = pull(source, asking(limit=3, order="newest"), tmp_path)
    assert table["order_id"].to_pylist() == [row["order_id"] for row in shop.orders[:-4:-1]]
    assert steady.stats()["requests"] == before + 1


def test_a_limit_amid_a_page_cuts_the_page(source: RestSource, steady: SalesAPI, tmp_path: Path) -> None:
    before = steady.stats()["requests"]
    assert len(pull(source, asking(limit=501), tmp_path)) == 501
    assert steady.stats()["requests"] == before + 2


def test_since_and_until_go_to_the_server_and_include_both_days(source: RestSource, shop: Shop, tmp_path: Path) -> None:
    table = pull(source, asking(since="2026-02-27", until="2026-03-01"), tmp_path)
    days = ("2026-02-27", "2026-02-28", "2026-03-01")
    expected = [row["order_id"] for row in shop.orders if row["order_date"][:10] in days]
    assert expected and table["order_id"].to_pylist() == expected


def test_with_where_the_limit_is_the_callers(source: RestSource, tmp_path: Path) -> None:
    # A limit before the condition would lose rows that satisfy it.
    asked = asking(since="2026-03-01", until="2026-03-31", where="country = 'Spain'", limit=5)
    assert len(pull(source, asked, tmp_path)) > 5


def test_what_an_api_cannot_do_is_done_here(source: RestSource, shop: Shop, tmp_path: Path) -> None:
    plain = source.resources["orders"].model_copy(update={"order": None, "since": None, "until": None})
    poor = source.model_copy(update={"resources": {"orders": plain}})
    asked = asking(order="newest", since="2026-01-01", until="2026-06-30", limit=700)
    assert pull(poor, asked, tmp_path)["order_date"] == pull(source, asked, tmp_path)["order_date"]


def test_nested_objects_become_columns_and_postcodes_keep_their_zeros(source: RestSource, tmp_path: Path) -> None:
    table = pull(source, asking(resource="customers"), tmp_path)
    assert table.column_names[-3:] == ["address_city", "address_country", "address_postcode"]
    assert schema_of(table)["signed_up"] == "date" and schema_of(table)["address_postcode"] == "text"


def test_an_empty_span_has_the_columns_that_the_source_declares(source: RestSource, tmp_path: Path) -> None:
    asked = asking(since="2031-01-01")
    with pytest.raises(LabError, match=r"GET /orders of sales sent no rows, and the source doesn't say which columns"):
        pull(source, asked, tmp_path)
    known = source.resources["orders"].model_copy(update={"schema_": {"order_id": "int", "order_date": "timestamp"}})
    table = pull(source.model_copy(update={"resources": {"orders": known}}), asked, tmp_path)
    assert len(table) == 0 and schema_of(table) == {"order_id": "int", "order_date": "timestamp"}


# What a plan may get wrong.


def test_an_unknown_resource_names_the_nearest(source: RestSource, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no resource 'order' in sales; did you mean 'orders'"):
        pull(source, asking(resource="order"), tmp_path)


def test_order_without_a_time_column_is_for_the_plan_to_mend(source: RestSource, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"sales.products has no time column, so its rows can't be ordered by time"):
        pull(source, asking(resource="products", order="newest"), tmp_path)


@pytest.mark.parametrize(
    ("span", "told"),
    [
        ({"since": "2026-13-01"}, "since: '2026-13-01' is no date"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "since 2026-02-01 lies after until 2026-01-01"),
    ],
)
def test_a_span_that_cannot_be_is_refused(source: RestSource, tmp_path: Path, span: dict[str, str], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        pull(source, asking(**span), tmp_path)


# Faults of the network and of the server.


def test_a_dead_server_is_named_after_all_tries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with start(rows=500) as api:
        source = registered(api, monkeypatch, tries=3)
    with pytest.raises(
        LabError, match=rf"GET /orders of sales, page 1: no answer from {api.url} \(ConnectError.*"
    ) as told:
        pull(source, asking(), tmp_path)
    assert "gave up after 3 tries. Is the server running, and the source's url right?" in str(told.value)


def test_a_server_that_dies_amid_the_pages_names_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with start(rows=1500, throttle_every=0, fail_every=0) as api:
        source = registered(api, monkeypatch, tries=2)
        with pytest.raises(LabError, match=r"page 2: no answer"):
            pull(source, asking(), tmp_path, lambda *_: api.stop())


def test_an_endless_429_gives_up_after_its_tries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with start(rows=500, throttle_every=1, retry_after=0) as api:
        with pytest.raises(LabError, match=r"page 1: status 429, it says 'too many requests.*gave up after 4 tries"):
            pull(registered(api, monkeypatch, tries=4), asking(), tmp_path)
        assert api.stats()["requests"] == 4


def test_a_longer_wait_than_the_source_allows_fails_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with start(rows=500, throttle_every=1, retry_after=3600) as api:
        with pytest.raises(LabError, match=r"asks to wait 3600 s, and this source waits 30 s at most"):
            pull(registered(api, monkeypatch), asking(), tmp_path)
        assert api.stats()["requests"] == 1


def test_an_endless_500_gives_up_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = "status 500, it says .the warehouse didn't answer.*gave up after 2 tries"
    with start(rows=500, throttle_every=0, fail_every=1) as api, pytest.raises(LabError, match=told):
        pull(registered(api, monkeypatch, tries=2), asking(), tmp_path)


def test_a_wrong_path_says_what_there_is(source: RestSource, tmp_path: Path) -> None:
    wrong = source.resources["orders"].model_copy(update={"path": "/order"})
    with pytest.raises(
        LabError, match=r"GET /order of sales, page 1: status 404.*there are: GET /orders.*Mend the resource"
    ):
        pull(source.model_copy(update={"resources": {"orders": wrong}}), asking(), tmp_path)


def test_a_page_size_that_the_api_refuses_is_no_reason_to_try_again(
    source: RestSource, steady: SalesAPI, tmp_path: Path
) -> None:
    before = steady.stats()["answers"].get("/orders 422", 0)
    greedy = source.resources["orders"].model_copy(update={"page_size": 1000})
    with pytest.raises(LabError, match=r"status 422, it says .limit: .*500.*got '1000'"):
        pull(source.model_copy(update={"resources": {"orders": greedy}}), asking(), tmp_path)
    assert steady.stats()["answers"]["/orders 422"] == before + 1


# Secrets.


def test_a_wrong_token_says_where_it_came_from_and_not_what_it_is(
    source: RestSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(ENV, "wrong-and-secret")
    with pytest.raises(LabError, match=f"status 401.*token comes from the environment variable {ENV}") as told:
        pull(source, asking(), tmp_path)
    assert "wrong-and-secret" not in str(told.value)


def test_a_token_that_does_not_reach_a_resource(
    source: RestSource, steady: SalesAPI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(ENV, steady.guest_token)
    assert len(pull(source, asking(resource="products"), tmp_path)) == 36
    with pytest.raises(
        LabError, match=r"status 403, it says 'this token reads /products only.*doesn't reach this resource"
    ):
        pull(source, asking(), tmp_path)


def test_a_token_that_is_not_there(source: RestSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ENV)
    with pytest.raises(LabError, match=f"environment variable {ENV}, which isn't set"):
        pull(source, asking(), tmp_path)


def test_a_token_in_a_file_of_the_lab(steady: SalesAPI, tmp_path: Path) -> None:
    source = read_doc(steady.source(token_file=save_token(tmp_path, "sales", steady.token)))
    path = tmp_path / "secrets" / "sales"
    assert path.stat().st_mode & 0o777 == 0o600
    assert steady.token not in source.model_dump_json()
    assert len(pull(source, asking(limit=2), tmp_path)) == 2
    path.chmod(0o640)
    with pytest.raises(LabError, match=r"secrets/sales can be read by others \(mode 640\): chmod 600"):
        pull(source, asking(), tmp_path)
    path.unlink()
    with pytest.raises(LabError, match=r"expected in secrets/sales of the lab: No such file"):
        pull(source, asking(), tmp_path)


@pytest.mark.parametrize("name", ["../sales", "/etc/passwd", "", "a/b", ".hidden"])
def test_a_token_file_lies_in_the_secrets_folder_and_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabError, match=r"is no name of a file in the lab's secrets folder"):
        save_token(tmp_path, name, "t")


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@example.com", "https://example.com?key=hunter2", "ftp://hunter2@x"]
)
def test_a_source_refuses_secrets_in_its_url_and_does_not_repeat_them(url: str) -> None:
    with pytest.raises(LabError, match=r"not a source: rest.url: ") as told:
        read_doc({"kind": "rest", "url": url, "resources": {}})
    assert "hunter2" not in str(told.value)


def test_a_token_in_the_document_is_refused_and_not_repeated() -> None:
    with pytest.raises(LabError, match=r"rest.token: Extra inputs are not permitted") as told:
        read_doc({"kind": "rest", "url": "https://example.com", "resources": {}, "token": "hunter2"})
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tokens": "t"}, r"rest.tokens: Extra inputs are not permitted \(there are: token_env, token_file, "),
        ({"resources": {"o": {"path": "/o", "itms": ""}}}, r"rest.resources.o.itms: .* \(there are: items, .*schema"),
    ],
)
def test_a_setting_that_there_is_not_names_those_that_there_are(more: dict[str, Any], told: str) -> None:
    with pytest.raises(LabError, match=told):
        read_doc({"kind": "rest", "url": "https://example.com", "resources": {}, **more})


# Servers that break their promises.


@contextmanager
def saying(*answers: Answer | str) -> Iterator[RestSource]:
    """A real server that gives these answers in turn, the last one for ever, and a source that asks it."""
    left = [a if isinstance(a, tuple) else (200, {"Content-Type": "application/json"}, a) for a in answers]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            # `{auth}` becomes the header that came in, `{quoted}` as in addresses: a server that repeats secrets.
            auth = self.headers.get("Authorization", "")
            content = body.replace("{auth}", auth).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value.replace("{auth}", auth).replace("{quoted}", quote(auth, safe="")))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        orders = {"path": "/orders", "order": "order", "time_column": "at"}
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield RestSource(url=url, resources={"orders": orders}, token_env=ENV, tries=2)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., pa.Table]:
    monkeypatch.setenv(ENV, "sesame")

    def ask(*answers: Answer | str, **arguments: Any) -> pa.Table:
        with saying(*answers) as source:
            return pull(source, asking(**arguments), tmp_path)

    return ask


def page(rows: Any, cursor: str | None = None) -> str:
    return json.dumps({"items": rows, "next_cursor": cursor})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<html>busy</html>", "page 1 is no JSON but application/json: '<html>busy</html>'"),
        ('{"items": [', "page 1 is no JSON"),
        ("[" * 100_000, "page 1 is no JSON"),
        (
            '{"data": [], "next": null}',
            "should have a list of rows at '/items', found nothing there, only the keys 'data', 'next'",
        ),
        ('{"n": 1, "data": [{"a": 1}]}', "only the keys 'n', 'data'; a list of objects is there with items='/data'"),
        ('[{"a": 1}]', r"only \[{'a': 1}\]; a list of objects is there with items=''"),
        ("[1, 2]", r"should have a list of rows at '/items', found nothing there, only \[1, 2\]; is"),
        ('{"items": "abc", "next_cursor": null}', "should have a list of rows at '/items', found 'abc'"),
        ('{"items": [{"a": 1}]}', r"should have the next cursor \(or null\) at '/next_cursor', found"),
        ('{"items": [{"a": 1}]}', "if the whole list comes at once, say paging={'by': 'none'}; is"),
        (
            '{"items": [{"a": 1}], "next_cursor": {"x": 1}}',
            "should have a text as next cursor at '/next_cursor', found {'x': 1}",
        ),
    ],
)
def test_a_page_of_another_shape_is_named_with_what_was_found(
    answered: Callable[..., pa.Table], body: str, told: str
) -> None:
    with pytest.raises(LabError, match=told) as fault:
        answered(body)
    assert str(fault.value).startswith("GET /orders of sales, page 1 ") and len(str(fault.value)) < 300


def test_the_page_that_breaks_the_promise_is_numbered(answered: Callable[..., pa.Table]) -> None:
    with pytest.raises(LabError, match=r"GET /orders of sales, page 3 should have a list"):
        answered(page([{"a": 1}], "x"), page([{"a": 2}], "y"), page(None))


def test_cursors_that_go_round_are_noticed(answered: Callable[..., pa.Table]) -> None:
    with pytest.raises(LabError, match=r"page 3 gives a next cursor that an earlier page gave"):
        answered(page([{"a": 1}], "x"), page([{"a": 2}], "y"), page([{"a": 3}], "x"))


def test_an_api_that_ignores_the_order_is_noticed(answered: Callable[..., pa.Table]) -> None:
    rows = [{"at": "2026-01-01"}, {"at": "2026-01-03"}]
    assert len(answered(page(rows), order="oldest")) == 2
    with pytest.raises(
        LabError, match=r"GET /orders was asked for the newest first, but row 2 breaks that order in at"
    ):
        answered(page(rows), order="newest")


def test_a_redirect_is_not_followed_with_the_token(answered: Callable[..., pa.Table]) -> None:
    with pytest.raises(LabError, match=r"status 302.*It moved to 'http://elsewhere.example/'; a token isn't sent"):
        answered((302, {"Location": "http://elsewhere.example/"}, ""))


def test_a_server_that_repeats_the_token_does_not_get_it_into_the_message(answered: Callable[..., pa.Table]) -> None:
    answers: tuple[Answer | str, ...] = (
        *((400, {}, "bad header {auth}"), '{"items": "{auth}"}', '{"{auth}": 1}', (200, {}, "{auth}")),
        *(
            (200, {"Content-Type": "text/{auth}"}, "no JSON"),
            (302, {"Location": "http://elsewhere.example/?t={auth}"}, ""),
        ),
    )
    for answer in answers:
        with pytest.raises(LabError, match=r"\*\*\*") as fault:
            answered(answer)
        assert "sesame" not in str(fault.value)


def test_a_token_is_not_told_either_as_addresses_spell_it(
    answered: Callable[..., pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, "open/sesame+1")
    with pytest.raises(LabError, match=r"It moved to 'http://elsewhere.example/\?t=Bearer%20\*\*\*'") as fault:
        answered((302, {"Location": "http://elsewhere.example/?t={quoted}"}, ""))
    assert "sesame" not in str(fault.value)


def test_a_type_is_what_all_pages_say(answered: Callable[..., pa.Table]) -> None:
    first, second = '{"items": [{"p": 19.90, "q": 1}], "next_cursor": "x"}', page([{"p": "n/a", "q": 2.5, "new": True}])
    table = answered(first, second)
    assert table.to_pydict() == {"p": ["19.90", "n/a"], "q": [1.0, 2.5], "new": [None, True]}


def test_retry_after_may_be_a_date(answered: Callable[..., pa.Table]) -> None:
    past, far = ({"Retry-After": f"Sun, 01 Nov {year} 08:00:00 GMT"} for year in (2020, 2099))
    assert len(answered((429, past, ""), page([{"a": 1}]))) == 1
    with pytest.raises(LabError, match=r"asks to wait .* s at most"):
        answered((429, far, ""), page([{"a": 1}]))


def test_times_with_offsets_become_utc(answered: Callable[..., pa.Table]) -> None:
    table = answered(page([{"at": "2026-03-01T00:30:00+02:00"}, {"at": "2026-03-01"}]))
    assert table["at"].to_pylist() == [datetime(2026, 2, 28, 22, 30), datetime(2026, 3, 1)]
