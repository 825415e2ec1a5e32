"""Strangers' queries: what may run, what may not, and what runs reads only the tables it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from agentlab.engine import DuckDB
from agentlab.errors import LabError, PlanError
from agentlab.queries import check, fetch
from agentlab.workload import run_query

TABLES = ["staging.orders", "customers"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckDB]:
    engine = DuckDB(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def views(engine: DuckDB) -> Mapping[str, ibis.Table]:
    orders = pa.table({"id": [1, 2, 3], "customer_id": [7, 7, 8], "Amount": [1.0, 2.0, 4.0]})
    customers = pa.table({"customer_id": [7, 8], "name": ["Ann", "Bob"]})
    return {"staging.orders": engine.memtable(orders), "customers": engine.memtable(customers)}


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT sum(amount) AS s FROM Staging.Orders", [7.0]),
        ("SELECT staging.orders.amount FROM staging.orders WHERE orders.id = 3", [4.0]),
        ("SELECT o.amount FROM staging.orders o JOIN customers USING (customer_id) WHERE name = 'Bob'", [4.0]),
        ("WITH customers AS (SELECT * FROM customers WHERE name = 'Ann') SELECT name FROM customers", ["Ann"]),
        ("WITH a AS (SELECT 1 AS x), b AS (SELECT x + 1 AS y FROM a) SELECT y FROM b", [2]),
        ("SELECT name FROM (WITH c AS (SELECT * FROM customers) SELECT * FROM c) ORDER BY 1 DESC", ["Bob", "Ann"]),
        ("SELECT id FROM staging.orders UNION ALL SELECT customer_id FROM customers ORDER BY 1", [1, 2, 3, 7, 8]),
        ("(SELECT id FROM staging.orders ORDER BY id DESC LIMIT 2) LIMIT 1", [3]),
        ("SELECT id FROM staging.orders QUALIFY row_number() OVER (ORDER BY amount DESC) = 1", [3]),
        ("SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM staging.orders o WHERE o.id = 3 "
         "AND o.customer_id = c.customer_id)", ["Bob"]),
        ("SELECT CASE WHEN count(*) > 2 AND max(amount) > 1 THEN 'many' ELSE 'few' END FROM staging.orders", ["many"]),
        ("FROM customers SELECT upper(name) -- a comment\n ORDER BY 1", ["ANN", "BOB"]),
    ],
)  # fmt: skip
def test_a_select_runs(sql: str, rows: list[object], engine: DuckDB, views: Mapping[str, ibis.Table]):
    result, milliseconds = run_query(engine, views, sql)
    assert result.column(0).to_pylist() == rows
    assert milliseconds > 0


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("", "this is nothing"),
        ("SELECT 1; SELECT 2", "one SELECT, this is SELECT and SELECT"),
        ("DROP TABLE customers", "one SELECT"),
        ("COPY customers TO 'x.csv'", "one SELECT"),
        ("SUMMARIZE customers", "one SELECT"),
        ("SHOW TABLES", "one SELECT"),
        ("SELECT FROM WHERE", "can't read"),
        ("SELECT * FROM 'secrets.csv'", "no table 'secrets.csv'"),
        ('SELECT * FROM "/etc/passwd"', "no table '/etc/passwd'"),
        ("SELECT * FROM read_csv('/etc/passwd')", "can't read from read_csv"),
        ("SELECT * FROM read_text('/etc/passwd')", "read_text"),
        ("SELECT * FROM glob('*')", "glob"),
        ("SELECT * FROM query('select 1')", "query"),
        ("SELECT * FROM range(1000000000000)", "can't read from"),
        ("SELECT unnest([1, 2])", "can't call"),
        ("SELECT getenv('HOME')", "can't call getenv"),
        ("SELECT main.getvariable('x')", "can't call getvariable"),
        ("SELECT current_setting('temp_directory')", "can't call current_setting"),
        ("SELECT repeat('a', 999999999)", "can't call repeat"),
        ("SELECT rpad('a', 999999999, 'b')", "can't call"),
        ("SELECT \"read_text\"('x')", "can't call read_text"),
        ("SELECT 'x'.read_text()", "can't call read_text"),
        ("SELECT COLUMNS('.*') FROM customers", "can't call columns"),
        ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
        ("SELECT * FROM information_schema.tables", "no table 'information_schema.tables'"),
        ("SELECT * FROM duckdb_tables", "no table 'duckdb_tables'"),
        ("SELECT * FROM memory.main.customers", "no table 'memory.main.customers'"),
        ("SELECT * FROM (DESCRIBE customers)", "DESCRIBE"),
        ("SELECT * INTO other FROM customers", "INTO"),
        ("SELECT * FROM customers FOR UPDATE", "LOCK"),
        ("SELECT * FROM customers USING SAMPLE 5", "TABLESAMPLE"),
        ("SELECT * FROM customers WHERE name = ?", "PLACEHOLDER"),
        ("WITH x AS (DELETE FROM customers RETURNING *) SELECT * FROM x", "DELETE"),
        ("WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x) SELECT * FROM x", "recursive"),
        ("SELECT * FROM (WITH hidden AS (SELECT 1) SELECT 1), hidden", "no table 'hidden'"),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", "no table 'b'"),
        ("SELECT * FROM custmers", "did you mean 'customers'"),
        ("SELECT summ(id) FROM staging.orders", "did you mean 'sum'"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "can't read"),
        ("SELECT '" + "x" * 30_000 + "'", "20,000 characters, this one 30,009"),
    ],
)
def test_anything_else_does_not(sql: str, fault: str):
    with pytest.raises(PlanError) as told:
        check(sql, TABLES)
    assert fault in str(told.value)


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT nme FROM customers", 'column "nme" not found'),
        ("SELECT name::int FROM customers", "Could not convert string 'Ann'"),
        ("SELECT sum(name) FROM customers", "No function matches"),
    ],
)
def test_a_fault_that_the_engine_finds_can_be_mended(
    sql: str, fault: str, engine: DuckDB, views: Mapping[str, ibis.Table]
):
    with pytest.raises(PlanError, match=fault):
        run_query(engine, views, sql)


def test_a_query_that_takes_too_long_is_stopped(engine: DuckDB):
    endless = "SELECT count(*) FROM range(100000000) a, range(100000000) b"
    with pytest.raises(LabError, match=r"stopped after 0\.2 seconds"):
        fetch(engine, endless, seconds=0.2)
    assert fetch(engine, "SELECT 1")[0].num_rows == 1


def test_a_query_says_what_it_reads_and_whether_it_is_steady():
    query = check("select o.id from staging.orders o, customers c, staging.orders p where o.id = c.customer_id", TABLES)
    assert query.tables == ("staging.orders", "customers")
    assert query.steady
    assert not check("select id from staging.orders where current_date > '2024-01-01'", TABLES).steady


def test_the_way_a_query_is_written_does_not_matter():
    spaced = check("select  id\nfrom staging.orders -- all of them", TABLES)
    assert spaced.sql == check("SELECT id FROM staging.orders", TABLES).sql
