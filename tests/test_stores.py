"""Stores on the real engine, in real folders: what is published comes back, older documents stay true."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest

from agentlab.actions import Provision
from agentlab.engine import DuckDB
from agentlab.errors import LabError, PlanError
from agentlab.stores import StoreDoc, provision, publish, read_store

ORDERS: dict[str, list[Any]] = {
    "id": [1, 2, 3, 4],
    "day": [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 2), None],
    "code": ["01", "a/b = ü%", "", None],
    "paid": [9.5, None, float("nan"), -0.0],
    "at": [dt.datetime(2024, 1, 1, 3, 4, 5, 678), None, None, None],
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDB]:
    engine = DuckDB(tmp_path)
    yield engine
    engine.close()


def orders(engine: DuckDB, **changes: list[Any]) -> ibis.Table:
    return engine.memtable(pa.table({**ORDERS, **changes}))


def mart(format: str = "parquet", *partition_by: str) -> StoreDoc:
    return provision(Provision.model_validate({"store": "mart", "format": format, "partition_by": partition_by}))


def rows(engine: DuckDB, store: StoreDoc, root: Path, table: str = "orders") -> list[dict[str, Any]]:
    return engine.con.to_pyarrow(read_store(engine, store, table, root=root).order_by("id")).to_pylist()


def told(engine: DuckDB, table: ibis.Table) -> list[dict[str, Any]]:
    return engine.con.to_pyarrow(table.order_by("id")).to_pylist()


@pytest.mark.parametrize("store", [mart(), mart("duckdb"), mart("parquet", "day"), mart("parquet", "day", "code")])
def test_what_is_published_comes_back(store: StoreDoc, engine: DuckDB, tmp_path: Path):
    table = orders(engine)
    store = publish(engine, table, store, "staging.orders", "r1", root=tmp_path, version=3)
    assert str(rows(engine, store, tmp_path)) == str(told(engine, table))  # as text, since nan is not nan
    assert read_store(engine, store, "orders", root=tmp_path).schema() == table.schema()
    published = store.tables["orders"]
    assert (published.source, published.version, published.rows) == ("staging.orders", 3, 4)
    assert published.bytes > 0 and published.schema_["day"] == "date"
    assert StoreDoc.model_validate_json(store.model_dump_json(by_alias=True)) == store


def test_partitions_are_hive_folders(engine: DuckDB, tmp_path: Path):
    store = publish(engine, orders(engine), mart("parquet", "day"), "orders", "r1", root=tmp_path)
    folders = {path.name for path in (tmp_path / store.tables["orders"].parts[0].path).iterdir()}
    assert folders == {"day=2024-01-01", "day=2024-01-02", "day=__HIVE_DEFAULT_PARTITION__"}


def test_a_duckdb_store_is_read_by_any_duckdb(engine: DuckDB, tmp_path: Path):
    store = publish(engine, orders(engine), mart("duckdb"), "staging.orders", "r1", root=tmp_path)
    with duckdb.connect(str(tmp_path / store.tables["orders"].parts[0].path / "orders.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from orders").fetchall() == [(4,)]


@pytest.mark.parametrize("format", ["parquet", "duckdb"])
def test_replacing_and_appending_leave_older_documents_true(format: str, engine: DuckDB, tmp_path: Path):
    first = publish(engine, orders(engine), mart(format), "orders", "r1", root=tmp_path)
    more = publish(engine, orders(engine, id=[5, 6, 7, 8]), first, "orders", "r2", "append", root=tmp_path)
    other = publish(engine, orders(engine, id=[9, 9, 9, 9]), more, "orders", "r3", root=tmp_path)
    assert [row["id"] for row in rows(engine, first, tmp_path)] == [1, 2, 3, 4]
    assert [row["id"] for row in rows(engine, more, tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [row["id"] for row in rows(engine, other, tmp_path)] == [9, 9, 9, 9]
    assert more.tables["orders"].rows == 8
    assert more.tables["orders"].parts[0] == first.tables["orders"].parts[0]


def test_a_repeated_step_overwrites_nothing(engine: DuckDB, tmp_path: Path):
    once = publish(engine, orders(engine), mart(), "orders", "r1", root=tmp_path)
    again = publish(engine, orders(engine, id=[5, 6, 7, 8]), mart(), "orders", "r1", root=tmp_path)
    assert [row["id"] for row in rows(engine, once, tmp_path)] == [1, 2, 3, 4]
    assert [row["id"] for row in rows(engine, again, tmp_path)] == [5, 6, 7, 8]


def test_a_write_that_fails_leaves_nothing(engine: DuckDB, tmp_path: Path):
    bad = orders(engine).mutate(id=ibis.literal("x").cast("int64"))
    with pytest.raises(PlanError):
        publish(engine, bad, mart(), "orders", "r1", root=tmp_path)
    assert not list(tmp_path.rglob("stores/mart/orders/*"))


def test_rows_that_do_not_fit_are_not_appended(engine: DuckDB, tmp_path: Path):
    store = publish(engine, orders(engine), mart(), "orders", "r1", root=tmp_path)
    with pytest.raises(PlanError, match=r"can't append to mart\.orders: id is string, not int64; .*mode replace"):
        publish(engine, orders(engine, id=["a", "b", "c", "d"]), store, "orders", "r2", "append", root=tmp_path)


def test_columns_in_another_order_fit(engine: DuckDB, tmp_path: Path):
    store = publish(engine, orders(engine), mart(), "orders", "r1", root=tmp_path)
    turned = orders(engine).select("at", "paid", "code", "day", "id")
    store = publish(engine, turned, store, "orders", "r2", "append", root=tmp_path)
    assert [row["id"] for row in rows(engine, store, tmp_path)] == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("value", ["NULL", "__HIVE_DEFAULT_PARTITION__"])
def test_values_that_folders_would_confuse_are_refused(value: str, engine: DuckDB, tmp_path: Path):
    table = orders(engine, code=["a", value, None, None])
    with pytest.raises(PlanError, match="code"):
        publish(engine, table, mart("parquet", "code"), "orders", "r1", root=tmp_path)
    assert not list(tmp_path.glob("stores/mart/orders/*"))


def test_too_many_folders_are_refused(engine: DuckDB, tmp_path: Path):
    table = engine.memtable(pa.table({"id": list(range(1001)), "n": list(range(1001))}))
    with pytest.raises(PlanError, match="over 1,000 different values"):
        publish(engine, table, mart("parquet", "id"), "orders", "r1", root=tmp_path)


def test_errors_name_what_there_is(engine: DuckDB, tmp_path: Path):
    with pytest.raises(PlanError, match="did you mean 'day'"):
        publish(engine, orders(engine), mart("parquet", "dya"), "orders", "r1", root=tmp_path)
    with pytest.raises(PlanError, match="no partitions; use format parquet"):
        mart("duckdb", "day")
    store = publish(engine, orders(engine), mart(), "staging.orders", "r1", root=tmp_path)
    with pytest.raises(PlanError, match="no table 'order' in store mart; did you mean 'orders'"):
        read_store(engine, store, "order", root=tmp_path)
    with pytest.raises(PlanError, match=r"published from staging\.orders, not from raw\.orders"):
        publish(engine, orders(engine), store, "raw.orders", "r2", root=tmp_path)


def test_a_copy_whose_files_are_gone_says_so(engine: DuckDB, tmp_path: Path):
    store = publish(engine, orders(engine), mart(), "orders", "r1", root=tmp_path)
    (tmp_path / store.tables["orders"].parts[0].path).rename(tmp_path / "elsewhere")
    with pytest.raises(LabError, match="files of a copy are gone: stores/mart/orders/r1"):
        read_store(engine, store, "orders", root=tmp_path)
