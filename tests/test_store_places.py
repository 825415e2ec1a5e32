"""Stores of every format and place: what is published is there, for others too, and undo takes it back."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pytest
from moto_server import s3_url
from postgres_server import postgres_url

from agentlab.errors import PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.places import check_location
from agentlab.plan import Plan
from agentlab.runs import RunResult

__all__ = ["postgres_url", "s3_url"]

ORDERS = pd.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "day": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-02", None]).date,
        "code": ["01", "a/b = ü%", "x", None],
        "paid": [9.5, None, 0.25, -1.0],
        "at": pd.to_datetime(["2024-01-01 03:04:05.678", None, None, None]),
        "open": [True, False, None, True],
    }
)
T = "staging.orders"


def act(lab: Lab, *calls: tuple[str, dict[str, Any]], **more: Any) -> RunResult:
    return lab.run(Plan.from_calls([{"name": name, "arguments": given} for name, given in calls]), **more)


def done(lab: Lab, *calls: tuple[str, dict[str, Any]], **more: Any) -> RunResult:
    result = act(lab, *calls, **more)
    assert result.status == "done", result.message
    return result


@dataclass
class Place:
    """A lab, and how its store `mart` is provisioned; `outside` is what others see of its orders, None for nothing."""

    lab: Lab
    arguments: dict[str, Any]
    outside: Callable[[], list[int] | None] = lambda: None
    seen: bool = False
    tables: list[str] = field(default_factory=list)

    def provision(self, **more: Any) -> RunResult:
        return done(self.lab, ("provision", {"store": "mart", **self.arguments, **more}))

    def publish(self, mode: str = "replace") -> RunResult:
        return done(self.lab, ("publish", {"table": T, "store": "mart", "mode": mode}))

    def load(self, *ids: int) -> RunResult:
        rows = ORDERS.iloc[[n % 4 for n in range(len(ids))]].assign(id=list(ids))
        return self.lab.load(rows, "orders")

    def ids(self) -> list[int] | None:
        return sorted(self.lab.table("mart.orders")["id"]) if "orders" in self.lab.stores()["mart"].tables else None

    def holds(self, *ids: int) -> None:
        """The store holds these orders, and others see them, too."""
        assert self.ids() == list(ids)
        assert not self.seen or self.outside() == list(ids)


KINDS = ["parquet", "partitioned", "folder", "duckdb", "delta", "delta partitioned", "postgres", "s3", "s3 delta"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({}), approve=False) as lab:
        lab.load(ORDERS, "orders")
        yield lab


@pytest.fixture(params=KINDS)
def place(lab: Lab, request: pytest.FixtureRequest) -> Place:
    kind: str = request.param
    if kind == "postgres":
        return in_postgres(lab, request.getfixturevalue("postgres_url"))
    if kind.startswith("s3"):
        request.getfixturevalue("s3_url")
        return at_s3(lab, "delta" if "delta" in kind else "parquet")
    if kind.startswith("delta"):
        given = {"format": "delta", "partition_by": ["day"] if "partitioned" in kind else []}
        return Place(lab, given, lambda: delta_ids(str(lab.root / "stores/mart/orders")), seen=True)
    if kind == "folder":
        return Place(lab, {"location": "marts/sales"})
    return Place(lab, {"partition_by": ["code", "open"]} if kind == "partitioned" else {"format": kind})


def in_postgres(lab: Lab, url: str) -> Place:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS mart CASCADE")
        connection.execute("CREATE TABLE IF NOT EXISTS regions (id bigint)")
    lab.add_source("warehouse", kind="sql", driver="postgres", url=url)

    def outside() -> list[int] | None:
        with psycopg.connect(url) as connection:
            there = connection.execute("SELECT to_regclass('mart.orders') IS NOT NULL").fetchone()
            rows = connection.execute("SELECT id FROM mart.orders ORDER BY id").fetchall() if there == (True,) else None
        return rows if rows is None else [row[0] for row in rows]

    return Place(lab, {"format": "postgres", "location": "warehouse"}, outside, seen=True)


def at_s3(lab: Lab, format: str) -> Place:
    place = f"s3://acme-{secrets.token_hex(4)}/sales/eu"
    seen = format == "delta"
    return Place(lab, {"format": format, "location": place}, lambda: delta_ids(f"{place}/orders"), seen=seen)


def delta_ids(uri: str, **more: Any) -> list[int] | None:
    from deltalake import DeltaTable

    options = {"AWS_ALLOW_HTTP": "true"} if uri.startswith("s3:") else None
    if not DeltaTable.is_deltatable(uri, storage_options=options):
        return None
    table = DeltaTable(uri, storage_options=options, **more)
    if uri.startswith("s3:"):
        return sorted(row for part in table.file_uris() for row in s3_rows(part))
    return sorted(table.to_pyarrow_table()["id"].to_pylist())


def s3_rows(uri: str) -> list[int]:
    import pyarrow.fs as pafs

    files = pafs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"], region="eu-central-1")
    found: list[int] = ds.dataset(uri.removeprefix("s3://"), filesystem=files).to_table()["id"].to_pylist()
    return found


def test_what_is_published_comes_back_cell_for_cell(place: Place):
    place.provision()
    place.publish()
    table, lab = place.lab.table("mart.orders").sort_values("id", ignore_index=True), place.lab
    pd.testing.assert_frame_equal(table, lab.table(T).sort_values("id", ignore_index=True))
    place.holds(1, 2, 3, 4)
    doc = lab.stores()["mart"].tables["orders"]
    assert (doc.rows, doc.source, doc.bytes > 0) == (4, T, True)
    sums = lab.query("paid by day", "select day, count(*) n, sum(paid) paid from mart.orders group by day order by day")
    assert list(sums["n"]) == [1, 2, 1]


def test_every_publish_is_undone_by_one_call(place: Place):
    place.provision()
    runs = [place.publish().run]
    place.load(5, 6)
    runs.append(place.publish("append").run)
    place.holds(1, 2, 3, 4, 5, 6)
    place.load(7, 8, 9)
    runs.append(place.publish().run)
    place.holds(7, 8, 9)
    for run, ids in zip(reversed(runs), [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4], None], strict=True):
        place.lab.undo(run)
        assert place.ids() == ids
        assert not place.seen or (place.outside() or None) == ids
    place.load(10)
    place.publish("append")
    place.holds(10)


def test_nothing_is_seen_outside_of_what_did_not_come_to_be(place: Place):
    place.provision()
    place.publish()
    place.load(5)
    steps = [("publish", {"table": T, "store": "mart"}), ("filter", {"table": T, "where": "id < 0"})]
    assert act(place.lab, *steps).status == "refuse"
    place.holds(1, 2, 3, 4)
    place.publish()
    place.holds(5)


def test_what_a_kill_left_is_mended_by_the_next_opening(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.provision()
    place.publish()
    place.load(5)
    with monkeypatch.context() as patched:
        patched.setattr("agentlab.orchestrator.stores.settle", lambda *_: [])
        place.publish()
    assert place.ids() == [5] and (not place.seen or place.outside() == [1, 2, 3, 4]), "committed, but not yet seen"
    with Lab(place.lab.root, Scripted({})):
        place.holds(5)


def test_a_run_that_publishes_twice_keeps_the_last(place: Place):
    place.provision()
    again = ("publish", {"table": T, "store": "mart"})
    done(place.lab, again, ("limit", {"table": T, "n": 3}), again, ("publish", {**again[1], "mode": "append"}))
    place.holds(1, 1, 2, 2, 3, 3)


def test_columns_may_change_from_one_publish_to_the_next(place: Place):
    place.provision()
    first = place.publish()
    done(
        place.lab,
        ("rename", {"table": T, "column": "paid", "to": "amount"}),
        ("drop_columns", {"table": T, "columns": ["at"]}),
    )
    second = place.publish()
    assert list(place.lab.table("mart.orders").columns) == ["id", "day", "code", "amount", "open"]
    place.holds(1, 2, 3, 4)
    place.lab.undo(second.run)
    assert "paid" in place.lab.table("mart.orders").columns and first.status == "done"
    place.holds(1, 2, 3, 4)


def test_an_empty_table_is_published_too(place: Place):
    place.provision()
    done(place.lab, ("limit", {"table": T, "n": 0}))
    place.publish()
    assert place.ids() == []
    assert list(place.lab.table("mart.orders").columns) == list(ORDERS.columns)


def test_what_would_be_over_the_quota_is_not_kept(place: Place):
    place.provision(quota="0.1 KB")
    result = act(place.lab, ("publish", {"table": T, "store": "mart"}))
    assert result.status == "failed"
    assert "mart.orders needs " in result.message and "mart may hold 0.1 KB (102 bytes)" in result.message
    assert "Resize mart, archive old rows" in result.message
    assert place.lab.stores()["mart"].tables == {} and not place.outside()
    done(place.lab, ("resize", {"store": "mart", "quota": "40 MB"}))
    place.publish()
    place.holds(1, 2, 3, 4)


def test_dropping_a_store_can_be_undone(place: Place):
    place.provision()
    place.publish()
    dropped = done(place.lab, ("drop", {"store": "mart"}), approve=True)
    assert "mart" not in place.lab.stores() and not (place.seen and place.outside())
    place.lab.undo(dropped.run)
    place.holds(1, 2, 3, 4)


@pytest.mark.parametrize("location", ["stores", "stores/mart/eu", "Stores/mart", "sources/marts"])
def test_a_store_is_not_where_other_stores_or_the_lab_keep_theirs(location: str):
    with pytest.raises(PlanError, match="can't be at"):
        check_location(location, "parquet")
