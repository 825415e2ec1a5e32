"""The demo shop and its server: defects exactly as the manifest says, a process that surely ends."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest

from agentlab.demo import SalesAPI, Shop, build, start
from agentlab.errors import LabError

PROC = Path("/proc")


@pytest.fixture(scope="module")
def shop() -> Shop:
    return build()


@pytest.fixture(scope="module")
def server() -> Iterator[SalesAPI]:
    with start(token="open sesame", throttle_every=0, fail_every=0) as api:
        yield api


@pytest.fixture
def client(server: SalesAPI) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, trust_env=False) as c:
        yield c


def test_the_same_seed_is_the_same_shop(shop: Shop) -> None:
    assert len(shop.orders) == 12_000
    assert shop == build(seed=7)
    assert shop.orders != build(seed=8).orders


def test_the_manifest_is_exactly_what_is_wrong(shop: Shop) -> None:
    rows, planted = shop.orders, shop.manifest
    assert sorted(r["order_id"] for r in rows if r["email"] is None) == list(planted.missing_email)
    assert sorted(r["order_id"] for r in rows if r["quantity"] < 0) == list(planted.negative_quantity)
    assert sorted(r["order_id"] for r in rows if isinstance(r["unit_price"], str)) == list(planted.text_price)
    dear = [r["order_id"] for r in rows if not isinstance(r["unit_price"], str) and r["unit_price"] > 1_000]
    assert sorted(dear) == list(planted.outlier_price)
    counted = Counter(tuple(r.items()) for r in rows)
    assert sorted(dict(row)["order_id"] for row, n in counted.items() if n == 2) == list(planted.duplicated)
    assert max(counted.values()) == 2


def test_about_three_percent_lack_an_email_and_no_order_has_two_defects(shop: Shop) -> None:
    planted = shop.manifest
    assert planted.counts() == {
        "missing_email": 360,
        "duplicated": 150,
        "negative_quantity": 120,
        "outlier_price": 24,
        "text_price": 36,
    }
    spoiled = (planted.missing_email, planted.duplicated, planted.negative_quantity, planted.outlier_price)
    every = [i for ids in (*spoiled, planted.text_price) for i in ids]
    assert len(every) == len(set(every))


def test_the_manifest_of_a_part_counts_a_duplicate_only_with_both_rows(shop: Shop) -> None:
    twin = shop.manifest.duplicated[0]
    at = next(n for n, row in enumerate(shop.orders) if row["order_id"] == twin)
    ids = [row["order_id"] for row in shop.orders]
    assert twin in shop.manifest.within(ids[at:]).duplicated
    assert twin not in shop.manifest.within(ids[at + 1 :]).duplicated


def test_orders_span_two_years_up_to_the_end_and_come_by_time(shop: Shop) -> None:
    times = [r["order_date"] for r in shop.orders]
    assert times == sorted(times)
    assert times[0] < "2024-11-04" and times[-1].startswith("2026-10-31")
    assert build(rows=500, end=date(2020, 2, 29)).orders[-1]["order_date"] <= "2020-02-29T23:59:59Z"


def test_only_planted_values_are_extreme(shop: Shop) -> None:
    planted = shop.manifest
    spoiled = {*planted.text_price, *planted.outlier_price, *planted.negative_quantity}
    clean = [r for r in shop.orders if r["order_id"] not in spoiled]
    for value in (lambda r: r["unit_price"], lambda r: r["quantity"], lambda r: r["quantity"] * r["unit_price"]):
        values = sorted(map(value, clean))
        low, high = values[len(values) // 4], values[len(values) * 3 // 4]
        assert values[-1] < high + 10 * (high - low)


def test_a_tiny_shop_is_refused_with_the_least_size() -> None:
    with pytest.raises(LabError, match=r"3 rows is too small.*500 or more"):
        build(rows=3)


def test_pages_by_cursor_give_every_order_once(client: httpx.Client, shop: Shop) -> None:
    rows, cursor = [], ""
    while cursor is not None:
        page = client.get("/orders", params={"limit": 500, **({"cursor": cursor} if cursor else {})}).json()
        rows, cursor = rows + page["items"], page["next_cursor"]
    assert rows == shop.orders


def test_newest_is_the_other_way_round(client: httpx.Client, shop: Shop) -> None:
    page = client.get("/orders", params={"limit": 7, "order": "newest"}).json()
    assert page["items"] == shop.orders[: -len(page["items"]) - 1 : -1]


def test_since_and_until_are_inclusive_and_may_be_days(client: httpx.Client, shop: Shop) -> None:
    asked = {"since": "2026-03-01", "until": "2026-03-02", "limit": 500}
    expected = [r for r in shop.orders if r["order_date"][:10] in ("2026-03-01", "2026-03-02")]
    assert expected and client.get("/orders", params=asked).json() == {"items": expected, "next_cursor": None}
    newest = client.get("/orders", params={**asked, "order": "newest"}).json()["items"]
    assert newest == expected[::-1]
    moment = expected[0]["order_date"]
    exact = client.get("/orders", params={"since": moment, "until": moment}).json()["items"]
    assert expected[0] in exact


def test_customers_and_products_are_small_resources(client: httpx.Client, shop: Shop) -> None:
    assert client.get("/products", params={"limit": 500}).json()["items"] == shop.products
    page = client.get("/customers").json()
    assert page["items"] == shop.customers[:100] and page["next_cursor"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"limit": 501}, "limit: .*500.*got '501'"),
        ({"limit": 0}, "limit"),
        ({"order": "fastest"}, "order: .*'newest'.*got 'fastest'"),
        ({"since": "yesterday"}, "since: write an ISO date.*'yesterday'"),
        ({"cursor": "££"}, "cursor: not one of ours"),
        ({"cursor": "MTIz"}, "cursor: not one of ours"),
    ],
)
def test_a_bad_question_is_a_422_that_says_why(client: httpx.Client, query: dict[str, str], told: str) -> None:
    answer = client.get("/orders", params=query)
    assert answer.status_code == 422
    assert re.search(told, answer.json()["error"]["message"])


def test_a_cursor_of_another_question_is_refused(client: httpx.Client) -> None:
    cursor = client.get("/orders", params={"order": "newest"}).json()["next_cursor"]
    answer = client.get("/orders", params={"order": "oldest", "cursor": cursor})
    assert answer.status_code == 422 and "another resource, order" in answer.json()["error"]["message"]


def test_tokens_are_asked_for(server: SalesAPI) -> None:
    def asked(path: str, **headers: str) -> tuple[int, str]:
        answer = httpx.get(server.url + path, headers=headers, trust_env=False)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    assert asked("/orders") == (401, "no_token")
    assert asked("/orders", Authorization="Basic eDp5") == (401, "no_token")
    assert asked("/orders", Authorization="Bearer guess") == (401, "bad_token")
    assert asked("/orders", Authorization=f"Bearer {server.guest_token}") == (403, "not_allowed")
    assert asked("/products", Authorization=f"Bearer {server.guest_token}") == (200, "")
    assert asked("/stats") == (401, "no_token")
    assert asked("/order", Authorization=f"Bearer {server.token}") == (404, "not_found")


def test_faults_come_by_request_count_and_are_counted() -> None:
    with start(rows=500, throttle_every=3, fail_every=4, retry_after=2) as api:
        with httpx.Client(
            base_url=api.url, headers={"Authorization": f"Bearer {api.token}"}, trust_env=False
        ) as client:
            answers = [client.get("/products") for _ in range(6)]
        assert [a.status_code for a in answers] == [200, 200, 429, 500, 200, 429]
        assert answers[2].headers["Retry-After"] == "2"
        assert api.stats() == {
            "requests": 6,
            "answers": {"/products 200": 3, "/products 429": 2, "/products 500": 1},
            "pages": {"/products?=0": 3},
        }


def test_a_port_in_use_is_named_with_the_remedy(server: SalesAPI) -> None:
    with pytest.raises(
        LabError, match=rf"port {server.port} on 127.0.0.1 is in use; choose another, 0 for any free one"
    ):
        start(port=server.port)


def test_a_port_out_of_range_is_named() -> None:
    with pytest.raises(LabError, match=r"70000 is no port; choose 1 to 65535"):
        start(port=70_000)


def test_leaving_ends_the_server_and_frees_the_port() -> None:
    with start(rows=500) as api:
        port = api.port
        assert _listens(port)
    assert not _listens(port) and not _lives(api.pid)
    api.stop()
    with start(port=port, rows=500) as again:
        assert again.port == port


def test_the_server_ends_when_its_parent_is_killed() -> None:
    program = "from agentlab.demo import start; a = start(rows=500); print(a.pid, a.port, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin and parent.stdout
    pid, port = map(int, parent.stdout.readline().split())
    assert _listens(port)
    parent.kill()
    parent.wait()
    assert _within(6, lambda: not _listens(port)) and _within(6, lambda: not _lives(pid))
    parent.stdin.close()
    parent.stdout.close()


@pytest.mark.skipif(not PROC.exists(), reason="command lines are read from /proc")
def test_the_token_is_in_no_command_line(server: SalesAPI) -> None:
    shown = (PROC / str(server.pid) / "cmdline").read_text()
    assert "agentlab.demo" in shown and server.token not in shown


def test_a_missing_extra_fails_with_the_pip_line() -> None:
    program = "import sys; sys.modules['fastapi'] = None; import agentlab.demo.api"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr
    assert 'LabError: the demo server needs fastapi: pip install "agentlab[serve]"' in told


def test_importing_the_demo_needs_no_server_library() -> None:
    program = "import sys, agentlab.demo; print({'fastapi', 'uvicorn'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # An orphan may wait as a zombie for a lazy init.
        return not PROC.exists() or (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not happened():
        time.sleep(0.05)
    return happened()
