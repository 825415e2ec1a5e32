"""Databases as sources: what is in them is found out, asked for in their own SQL, and never changed."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from postgres_server import PASSWORD, postgres_url

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError, PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.sources import Pace, SqlSource, discovered, fetch
from agentlab.sources.sql import apart, opened
from agentlab.sources.statements import Asked, statement

__all__ = ["postgres_url"]

Rows = list[dict[str, Any]]

#: The same table everywhere: what each has of it, and what must come of it.
CREATE = (
    'CREATE TABLE inv (id integer primary key, who text, amount numeric(10,2), paid boolean, day date, "at" timestamp)'
)
FILL = (
    "INSERT INTO inv VALUES (1, 'Ann', 10.00, true, '2024-01-01', '2024-01-01 10:00:00.123456'),"
    " (2, 'O''Brien; DROP', 2.50, false, '2024-02-29', '2024-02-01 10:00:00'), (3, NULL, NULL, NULL, NULL, NULL)"
)
FIRST, SECOND = datetime(2024, 1, 1, 10, 0, 0, 123456), datetime(2024, 2, 1, 10)
INVOICES: Rows = [
    {"id": 1, "who": "Ann", "amount": 10.0, "paid": True, "day": date(2024, 1, 1), "at": FIRST},
    {"id": 2, "who": "O'Brien; DROP", "amount": 2.5, "paid": False, "day": date(2024, 2, 29), "at": SECOND},
    {"id": 3, "who": None, "amount": None, "paid": None, "day": None, "at": None},
]
TYPES = {"id": "int", "who": "text", "amount": "float", "paid": "bool", "day": "date", "at": "timestamp"}


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def erp(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlSource:
    """The invoices, in a database of each kind."""
    if request.param == "postgres":
        return in_postgres(request.getfixturevalue("postgres_url"), monkeypatch, CREATE, FILL)
    if request.param == "sqlite":
        with sqlite3.connect(tmp_path / "erp.db") as connection:
            connection.execute(CREATE)
            connection.execute(FILL)
        connection.close()
    else:
        with duckdb.connect(str(tmp_path / "erp.db")) as base:
            base.execute(CREATE)
            base.execute(FILL)
    return SqlSource(driver=request.param, path="erp.db")


def in_postgres(url: str, monkeypatch: pytest.MonkeyPatch, *statements: str) -> SqlSource:
    """A source of the server, in which the schema `public` holds what the statements make."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS sub CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for sql in statements:
            connection.execute(sql)
    settings, password = apart({"driver": "postgres", "url": url})
    monkeypatch.setenv("ERP_PASSWORD", password or "")
    return SqlSource(**settings, token_env="ERP_PASSWORD")


def pulled(source: SqlSource, root: Path, resource: str = "inv", **asked: Any) -> Rows:
    action = Pull(source="erp", resource=resource, into="staging.x", **asked)
    rows: Rows = fetch(source, action, root, None, Pace()).table().to_pylist()
    return rows


def ids(source: SqlSource, root: Path, **asked: Any) -> list[int]:
    return [row["id"] for row in pulled(source, root, **asked)]


def test_tables_are_found_with_types_and_keys(erp: SqlSource, tmp_path: Path):
    found = discovered(erp, tmp_path).resources
    assert list(found) == ["inv"]
    assert (found["inv"].schema_, found["inv"].key) == (TYPES, ("id",))
    assert found["inv"].time_column is None, "there are two, and which one counts is for a person to say"


def test_rows_come_as_they_are(erp: SqlSource, tmp_path: Path):
    assert sorted(pulled(discovered(erp, tmp_path), tmp_path), key=lambda row: row["id"]) == INVOICES


def test_time_order_and_limit_are_the_databases_work(erp: SqlSource, tmp_path: Path):
    timed = discovered(SqlSource(**{**erp.model_dump(), "resources": {"inv": {"time_column": "at"}}}), tmp_path)
    assert ids(timed, tmp_path, order="newest") == [2, 1, 3], "a row without a time is last in either order"
    assert ids(timed, tmp_path, order="oldest", limit=2) == [1, 2]
    assert ids(timed, tmp_path, since="2024-01-01", until="2024-01-01") == [1], "a day is all of it"
    assert ids(timed, tmp_path, since="2024-01-02T00:00:00+02:00") == [2]
    by_day = discovered(SqlSource(**{**erp.model_dump(), "resources": {"inv": {"time_column": "day"}}}), tmp_path)
    assert ids(by_day, tmp_path, until="2024-02-28") == [1]


@pytest.mark.parametrize(
    ("where", "wanted", "limit"),
    [
        ("who = 'O''Brien; DROP'", [2], 1),
        ("amount between 2 and 3 and not paid is null", [2], None),
        ("id in (1, 3) and (amount > 5 or amount < -1)", [1], 1),
    ],
)
def test_a_condition_goes_along(erp: SqlSource, tmp_path: Path, where: str, wanted: list[int], limit: int | None):
    assert ids(discovered(erp, tmp_path), tmp_path, where=where, limit=limit) == wanted


def test_what_a_database_would_judge_otherwise_stays_here(erp: SqlSource, tmp_path: Path):
    from agentlab.expressions import parse

    with opened(erp, tmp_path) as database:
        (relation,) = database.relations()
        where = parse("who > 'B' and id < 3", relation.schema, boolean=True)
        sql = statement(database, relation, Asked(where=where, limit=1))
    assert ("< 3" in sql, "> 'B'" in sql, "LIMIT" in sql) == (True, erp.driver == "duckdb", erp.driver == "duckdb")


def test_nothing_can_be_written(erp: SqlSource, tmp_path: Path):
    with opened(erp, tmp_path) as database, pytest.raises(LabError, match=r"(?i)read-?\s?only"):
        list(database.batches("CREATE TABLE stray (id integer)", {"id": "int"}))


def test_faults_are_named(erp: SqlSource, tmp_path: Path):
    known = discovered(erp, tmp_path)
    with pytest.raises(PlanError, match="no resource 'invoice' in erp; did you mean 'inv'"):
        pulled(known, tmp_path, "invoice")
    with pytest.raises(PlanError, match=r"erp\.inv has no time column"):
        pulled(known, tmp_path, order="newest")
    for resources, told in (
        ({"inw": {}}, "no table 'inw' in the database; did you mean 'inv'"),
        ({"inv": {"time_column": "dey"}}, "no column 'dey' in inv; did you mean 'day'"),
        ({"inv": {"time_column": "who"}}, "'who' of inv holds text"),
    ):
        with pytest.raises(LabError, match=told):
            discovered(SqlSource(**{**erp.model_dump(), "resources": resources}), tmp_path)


def test_a_lab_pulls_and_undoes(erp: SqlSource, tmp_path: Path):
    settings = {k: v for k, v in erp.model_dump().items() if v and k != "kind"}
    with Lab(tmp_path, Scripted({})) as lab:
        lab.add_source("erp", kind="sql", **settings)
        calls = [{"name": "pull", "arguments": {"source": "erp", "resource": "inv", "into": "staging.inv"}}]
        result = lab.run(Plan.from_calls(calls))
        assert (result.status, lab.tables()["staging.inv"].schema_) == ("done", TYPES)
        where = {**calls[0]["arguments"], "into": "staging.few", "where": "who > 'B'", "limit": 1}
        assert lab.run(Plan.from_calls([{"name": "pull", "arguments": where}])).tables == {"staging.few": 1}
        described = [{"name": "describe_source", "arguments": {"source": "erp"}}]
        assert "inv: pages: whole; key: id; id int, who text" in lab.run(Plan.from_calls(described)).message
        lab.undo(result.run)
        assert "staging.inv" not in lab.tables()


# What is each one's own


def test_sqlite_columns_are_what_their_values_are(tmp_path: Path):
    with sqlite3.connect(tmp_path / "odd.db") as connection:
        connection.executescript(
            """CREATE TABLE odd (mixed, price NUMERIC, raw BLOB, doc JSON, zoned TEXT, `a "b"` INT, feb TEXT);
            INSERT INTO odd VALUES (1, 10, x'AB', '{"a":1}', '2024-01-01T12:00:00+02:00', 5, '2024-02-30');
            INSERT INTO odd VALUES ('x', 20, NULL, NULL, '2024-01-02', 6, '2024-01-01');
            CREATE TABLE empty (n INTEGER, t DATETIME, x); CREATE VIEW few AS SELECT price FROM odd"""
        )
    connection.close()
    source = discovered(SqlSource(driver="sqlite", path=str(tmp_path / "odd.db")), tmp_path)
    assert list(source.resources) == ["empty", "few", "odd"]
    assert source.resources["empty"].schema_ == {"n": "int", "t": "timestamp", "x": "text"}
    assert source.resources["odd"].time_column == "zoned", "the only one"
    assert source.resources["odd"].schema_ == {
        **{"mixed": "text", "price": "float", "raw": "text", "doc": "json", "zoned": "timestamp", 'a "b"': "int"},
        "feb": "text",
    }
    first, second = pulled(source, tmp_path, "odd")
    assert (first["mixed"], first["raw"], first["zoned"]) == ("1", "ab", datetime(2024, 1, 1, 10))
    assert (second["raw"], second["zoned"]) == (None, datetime(2024, 1, 2))


def test_duckdb_types_become_ours(tmp_path: Path):
    with duckdb.connect(str(tmp_path / "odd.duckdb")) as base:
        base.execute(
            "CREATE TABLE t AS SELECT 7::DECIMAL(9,0) AS whole, [1, 2] AS list, {'a': 1} AS rec, "
            " INTERVAL 3 DAY AS span, 'ab'::BLOB AS raw,"
            " TIMESTAMPTZ '2024-01-01 10:00:00+02' AS zoned, TIMESTAMP 'infinity' AS never, TIME '10:11' AS clock"
        )
        base.execute("CREATE SCHEMA sub; CREATE TABLE sub.orders (k integer); CREATE VIEW v AS SELECT whole FROM t")
    source = discovered(SqlSource(driver="duckdb", path="odd.duckdb"), tmp_path)
    assert list(source.resources) == ["t", "v", "sub.orders"]
    (row,) = pulled(source, tmp_path, "t")
    assert row == {
        **{"whole": 7, "list": "[1,2]", "rec": '{"a":1}', "span": "3 days", "raw": "6162"},
        **{"zoned": datetime(2024, 1, 1, 8), "never": None, "clock": "10:11:00"},
    }


ODD = """
CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN euro AS numeric(10,2); CREATE SCHEMA sub;
CREATE TABLE sub.orders (k bigint primary key, at timestamptz);
CREATE TABLE odd (n numeric, whole numeric(9,0), doc jsonb, u uuid, list int[], span interval, zoned timestamptz,
  never timestamp, m mood, cash money, e euro, raw bytea, "we""ird" text);
INSERT INTO odd VALUES (1.5, 7, '{"a": 1}', '00000000-0000-0000-0000-000000000001', '{1,NULL}', '3 days',
  '2024-01-01 10:00+02', 'infinity', 'ok', '$1,234.50', 3.5, 'ab', 'q');
INSERT INTO odd DEFAULT VALUES
"""


def test_postgres_types_become_ours(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = discovered(in_postgres(postgres_url, monkeypatch, *ODD.strip().split(";\n")), tmp_path)
    assert list(source.resources) == ["odd", "sub.orders"]
    assert (source.resources["sub.orders"].key, source.resources["sub.orders"].time_column) == (("k",), "at")
    first, second = pulled(source, tmp_path, "odd")
    assert first == {
        **{"n": 1.5, "whole": 7, "doc": '{"a": 1}', "u": "00000000-0000-0000-0000-000000000001", "list": "[1, null]"},
        **{"span": "3 days", "zoned": datetime(2024, 1, 1, 8), "never": None, "m": "ok", "cash": 1234.5, "e": 3.5},
        **{"raw": "6162", 'we"ird': "q"},
    }
    assert set(second.values()) == {None}


def test_postgres_streams(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    big = "CREATE TABLE big AS SELECT g AS id, repeat(md5(g::text), 8) AS text FROM generate_series(1, 200000) g"
    source = discovered(in_postgres(postgres_url, monkeypatch, big), tmp_path)
    heard = list[tuple[int, int, int]]()
    action = Pull(source="erp", resource="big", into="staging.x")
    rows = [b.num_rows for b in fetch(source, action, tmp_path, lambda *told: heard.append(told), Pace()).batches]
    assert (sum(rows), heard[-1][0]) == (200_000, 200_000)
    assert len(rows) > 1 and max(rows) < 200_000


def test_a_password_is_in_no_document_and_no_error(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    in_postgres(postgres_url, monkeypatch, CREATE)
    with Lab(tmp_path, Scripted({})) as lab:
        lab.add_source("erp", kind="sql", driver="postgres", url=postgres_url)
        doc = str(lab.catalog.get("source", "erp").doc)
        assert not any(spelled in doc for spelled in (PASSWORD, "p%40ss")) and "agentlab@127.0.0.1" in doc
        (kept,) = (tmp_path / "secrets").iterdir()
        assert (kept.read_text(), kept.stat().st_mode & 0o777) == (PASSWORD, 0o600)
        with pytest.raises(LabError, match="password authentication failed") as fault:
            lab.add_source("other", kind="sql", driver="postgres", url=postgres_url.replace("p%40ss", "p%40xx"))
        assert "p@xx" not in str(fault.value) and "p%40xx" not in str(fault.value)
        with pytest.raises(LabError, match="the url must hold no password"):
            lab.add_source("third", kind="sql", driver="postgres", url=postgres_url, token="x")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"driver": "sqlite", "path": "no.db"}, "there is no database file"),
        ({"driver": "sqlite", "path": "text.db"}, "file is not a database"),
        ({"driver": "duckdb", "path": "text.db"}, "can't be read"),
        ({"driver": "sqlite", "path": "../up.db"}, "leads out of the lab"),
        ({"driver": "sqlite"}, "needs path"),
        ({"driver": "postgres", "path": "x"}, "needs a url like"),
        ({"driver": "postgres", "url": "postgresql://nobody@127.0.0.1:1/x"}, "can't be read"),
        ({"driver": "oracle", "url": "x"}, "driver"),
    ],
)
def test_what_is_no_database_is_said_to_be(tmp_path: Path, settings: dict[str, str], told: str):
    (tmp_path / "text.db").write_text("not a database at all, but long enough to have a header" * 9)
    with Lab(tmp_path, Scripted({})) as lab, pytest.raises(LabError, match=told):
        lab.add_source("erp", kind="sql", **settings)


def test_an_empty_database_is_no_source(tmp_path: Path):
    sqlite3.connect(tmp_path / "none.db").close()
    (tmp_path / "none.db").touch()
    with pytest.raises(LabError, match="no table or view"):
        discovered(SqlSource(driver="sqlite", path="none.db"), tmp_path)


def test_a_database_that_grows_a_column_has_it_pulled(tmp_path: Path):
    path = tmp_path / "erp.db"
    change(path, "CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1)")
    source = discovered(SqlSource(driver="sqlite", path="erp.db"), tmp_path)
    change(path, "ALTER TABLE t ADD COLUMN city text DEFAULT 'Rome'")
    assert pulled(source, tmp_path, "t") == [{"id": 1, "city": "Rome"}]
    change(path, "DROP TABLE t", "CREATE TABLE tt (id integer)")
    with pytest.raises(LabError, match="no table 't' in the database; did you mean 'tt'"):
        pulled(source, tmp_path, "t")


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for sql in statements:
            connection.execute(sql)
    connection.close()
