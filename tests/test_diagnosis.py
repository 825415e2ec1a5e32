"""What a diagnosis reads off the engine's plan: files, row groups, and the trend of the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from agentlab import copies
from agentlab.copies import Shape
from agentlab.diagnosis import diagnose
from agentlab.engine import DuckDB
from agentlab.workload import QueryDoc

ROWS = 50_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDB]:
    engine = DuckDB(tmp_path)
    yield engine
    engine.close()


def test_of_a_table_in_folders_only_the_files_that_are_opened_count(engine: DuckDB, tmp_path: Path):
    rows = engine.memtable(pa.table({"day": [i % 10 for i in range(ROWS)], "n": range(ROWS)}))
    copy = copies.write(engine, rows, tmp_path, tmp_path / "stores/days", Shape(partition_by=("day",)))
    views = {"days": copies.read(engine, tmp_path, [copy])}
    some = diagnose(engine, QueryDoc(name="some", sql="SELECT sum(n) FROM days WHERE day = 3"), views)
    every = diagnose(engine, QueryDoc(name="every", sql="SELECT sum(n) FROM days"), views)
    assert (some.files, every.files) == (1, 10) and some.row_groups == 1 and every.row_groups == 10
    assert "from 1 file(s) with 1 row group(s), for 1 rows of result" in some.message


def test_row_groups_are_counted(engine: DuckDB, tmp_path: Path):
    rows = engine.memtable(pa.table({"n": range(ROWS)}))
    copy = copies.write(engine, rows, tmp_path, tmp_path / "stores/sorted", Shape(order_by=("n",)))
    told = diagnose(
        engine, QueryDoc(name="q", sql="SELECT sum(n) FROM t"), {"t": copies.read(engine, tmp_path, [copy])}
    )
    assert (told.files, told.row_groups, told.rows_read, told.rows) == (1, 3, ROWS, 1)


def test_a_query_that_got_slower_is_said_to(engine: DuckDB):
    doc = QueryDoc(name="q", sql="SELECT 1 AS one")
    for ms in (*[10.0] * 6, *[40.0] * 5):
        doc = doc.logged(ms, 1)
    told = diagnose(engine, doc, {})
    assert told.slowdown == 4.0 and told.message.endswith("Its last runs were 4.0 times slower than before.")
    assert "of no table" in told.message and told.files == 0
