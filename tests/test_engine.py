"""Tables in, tables out: real files, a real engine, and nothing outside the lab's folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import OpenEngine

from agentlab.engine import DuckDB, Engine, Written, schema_of
from agentlab.entries import TableDoc
from agentlab.errors import LabError, PlanError


@pytest.fixture
def lab(tmp_path: Path, open_engine: OpenEngine) -> Iterator[Engine]:
    engine = open_engine(tmp_path / "lab")
    yield engine
    engine.close()


@pytest.fixture
def duck(tmp_path: Path) -> Iterator[DuckDB]:
    """For what only DuckDB promises: it alone is given SQL of others, and is shared by threads."""
    engine = DuckDB(tmp_path / "lab")
    yield engine
    engine.close()


def written(lab: Engine, columns: dict[str, Any], name: str = "orders/v1-r1") -> Written:
    return lab.write(lab.memtable(pa.table(columns)), lab.root / "tables" / name)


def read(lab: Engine, schema: dict[str, Any], projection: Any = None) -> list[dict[str, Any]]:
    doc = TableDoc(path="tables/orders/v1-r1", schema=schema, rows=0, projection=projection)
    rows: list[dict[str, Any]] = lab.con.to_pyarrow(lab.read(doc, lab.root)).to_pylist()
    return rows


# Written and read.


def test_what_is_written_is_read_back(lab: Engine):
    rows = {
        **{"i": [1, None], "f": [0.5, None], "t": ["ü", None], "b": [True, None]},
        **{"d": [date(2024, 1, 5), None], "at": [datetime(2024, 1, 5, 10, 30), None]},
    }
    found = written(lab, rows)
    assert found.schema == {"i": "int", "f": "float", "t": "text", "b": "bool", "d": "date", "at": "timestamp"}
    assert found.rows == 2
    assert found.bytes == sum(file.stat().st_size for file in (lab.root / "tables/orders/v1-r1").iterdir())
    assert read(lab, found.schema) == [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]


def test_types_that_we_do_not_have_become_those_that_we_have(lab: Engine):
    at = datetime(2024, 1, 5, 10, 30, tzinfo=UTC)
    found = written(
        lab, {"money": [Decimal("1.50")], "tags": [["a", "b"]], "at": [at], "who": [{"id": 7}], "no": [None]}
    )
    assert found.schema == {"money": "float", "tags": "json", "at": "timestamp", "who": "json", "no": "text"}
    assert read(lab, found.schema) == [
        {"money": 1.5, "tags": '["a","b"]', "at": at.replace(tzinfo=None), "who": '{"id":7}', "no": None}
    ]


def test_a_table_without_rows_keeps_its_columns(lab: Engine):
    found = written(lab, {"id": pa.array([], "int64"), "name": pa.array([], "string")})
    assert (found.schema, found.rows) == ({"id": "int", "name": "text"}, 0)
    assert read(lab, found.schema) == []


def test_files_are_compressed_parquet_that_anyone_can_read(duck: DuckDB):
    written(duck, {"id": list(range(200_000))})
    (file,) = (duck.root / "tables/orders/v1-r1").glob("*.parquet")
    shown = pq.ParquetFile(file)
    assert shown.metadata.num_row_groups > 1
    assert shown.metadata.row_group(0).column(0).compression == "ZSTD"
    assert shown.read()["id"].to_pylist() == list(range(200_000))


def test_names_with_quotes_and_folders_that_look_like_partitions_are_just_names(lab: Engine):
    found = written(lab, {'say "hi"': [1], "it's": [2]}, name="it's/day=1")
    doc = TableDoc(path="tables/it's/day=1", schema=found.schema, rows=1)
    assert lab.con.to_pyarrow(lab.read(doc, lab.root)).to_pylist() == [{'say "hi"': 1, "it's": 2}]


def test_a_projection_renames_drops_reorders_and_casts_what_is_in_the_files(lab: Engine):
    written(lab, {"a": [1, 2], "b": ["x", "7"], "c": [0, 0]})
    shown = read(lab, {"number": "int", "id": "float"}, projection=[("number", "b", "int"), ("id", "a", "float")])
    assert shown == [{"number": None, "id": 1.0}, {"number": 7, "id": 2.0}]


def test_a_version_whose_files_are_gone_is_a_matter_for_a_person(lab: Engine):
    with pytest.raises(LabError, match="files of a table are gone: tables/orders/v1-r1"):
        read(lab, {"a": "int"})


# Whole or not at all.


def test_a_write_that_fails_leaves_nothing(lab: Engine):
    texts = lab.memtable(pa.table({"a": ["1", "two"]}))
    with pytest.raises(PlanError, match=r"the data doesn't allow it: .*two"):
        lab.write(texts.mutate(a=texts.a.cast("int64")), lab.root / "tables/orders/v1-r1")
    assert list((lab.root / "tables/orders").iterdir()) == []


def test_what_a_crashed_write_left_is_replaced(lab: Engine):
    part = lab.root / "tables/orders/v1-r1.part"
    part.mkdir(parents=True)
    (part / "data.parquet").write_text("half")
    assert written(lab, {"a": [1]}).rows == 1
    assert [path.name for path in (lab.root / "tables/orders").iterdir()] == ["v1-r1"]


def test_a_version_is_written_once(lab: Engine):
    (lab.root / "tables/orders/v1-r1").mkdir(parents=True)
    written(lab, {"a": [1]})
    with pytest.raises(LabError, match="v1-r1 is written already"):
        written(lab, {"a": [2]})
    assert read(lab, {"a": "int"}) == [{"a": 1}]


def test_nothing_outside_the_lab_can_be_read(duck: DuckDB, tmp_path: Path):
    pq.write_table(pa.table({"secret": [1]}), tmp_path / "outside.parquet")
    for statement in (
        f"select * from read_parquet('{tmp_path}/outside.parquet')",
        f"select * from read_parquet('{duck.root}/../outside.parquet')",
        f"copy (select 1) to '{tmp_path}/x.csv'",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "install httpfs",
    ):
        with pytest.raises(duckdb.Error):
            duck.con.raw_sql(statement)


def test_each_thread_has_its_own_connection_to_the_same_lab(duck: DuckDB):
    def work(number: int) -> None:
        for turn in range(3):
            written(duck, {"n": [number] * 10}, name=f"t{number}/v{turn}")
            doc = TableDoc(path=f"tables/t{number}/v{turn}", schema={"n": "int"}, rows=10)
            found.append(duck.con.to_pyarrow(duck.read(doc, duck.root).n.sum()).as_py() == number * 10)

    found: list[bool] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 12


def test_a_schema_is_in_our_types():
    table = ibis.table(
        {"a": "uint8", "b": "decimal(10, 2)", "c": "time", "d": "timestamp('UTC')", "e": "map<string, int>"}
    )
    assert schema_of(table) == {"a": "int", "b": "float", "c": "text", "d": "timestamp", "e": "json"}
