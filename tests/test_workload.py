"""From a saved query to a kept layout: what is tried, what wins, what loses and why, and who answers afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest

from agentlab.actions import Index, Materialize, Partition, Rename, Schema
from agentlab.engine import DuckDB
from agentlab.entries import TableDoc
from agentlab.errors import PlanError
from agentlab.queries import check
from agentlab.results import difference
from agentlab.workload import (
    Bench,
    QueryDoc,
    Tuning,
    answer,
    candidate_of,
    candidates,
    diagnose,
    is_current,
    ranked,
    run_query,
    try_layout,
    tune,
)

ROWS = 300_000
BY_DAY = "SELECT order_date::date AS day, sum(quantity*unit_price) AS revenue FROM staging.orders GROUP BY 1 ORDER BY 1"
LOOK_UP = "SELECT * FROM staging.orders WHERE customer_id = 4242"
VERSIONS = {"staging.orders": 1}
SCHEMAS: dict[str, Schema] = {
    "staging.orders": {
        "id": "int",
        "order_date": "timestamp",
        "Status": "text",
        "total": "float",
        "customer_id": "int",
    },
    "customers": {"customer_id": "int", "country": "text"},
}
MADE = """
    SELECT i AS order_id, (i * 7919) % 20000 AS customer_id, i % 9 + 1 AS quantity,
        TIMESTAMP '2024-01-01' + to_days((i % 300)::int) + to_seconds(i % 86400) AS order_date,
        (hash(i) % 100000) / 100.0::double AS unit_price, ['open', 'paid', NULL][1 + i % 3] AS status
    FROM range({rows}) t(i)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("lab")
    engine = DuckDB(root)
    data = engine.con.raw_sql(MADE.format(rows=ROWS)).to_arrow_table()
    written = engine.write(engine.memtable(data), root / "tables/staging.orders/v1-r1")
    doc = TableDoc(path="tables/staging.orders/v1-r1", schema_=written.schema, rows=written.rows, bytes=written.bytes)
    yield Bench(engine, root, "r2", {"staging.orders": engine.read(doc, root)}, VERSIONS)
    engine.close()


@pytest.fixture(scope="module")
def by_day(bench: Bench) -> Tuning:
    return tune(bench, {"by_day": check(BY_DAY, bench.views)})


def left(bench: Bench) -> set[str]:
    return {path.relative_to(bench.root).as_posix() for path in (bench.root / "layouts").glob("*")}


def test_the_structure_of_a_query_says_what_to_try():
    sql = """
        WITH recent AS (SELECT * FROM staging.orders WHERE staging.orders.status = 'open' AND order_date > '2024-06-01')
        SELECT c.country, sum(total) FROM recent r JOIN customers c ON r.customer_id = c.customer_id
        WHERE c.country IN ('NL', 'BE') GROUP BY 1
    """
    told = [str(candidate) for candidate in candidates(check(sql, SCHEMAS), SCHEMAS)]
    assert told == [
        "the query's result, materialized",
        "staging.orders indexed on Status",
        "staging.orders sorted by Status, order_date",
        "staging.orders in folders by Status",
        "staging.orders in folders by order_date",
        "customers indexed on country",
        "customers sorted by country",
        "customers in folders by country",
        "customers sorted by customer_id",
    ]


@pytest.mark.parametrize(
    ("condition", "indexed"),
    [
        ("id = 5", True),
        ("5 = id AND total > 3", True),
        ("id IN (1, 2)", True),
        ("id = 5 OR total > 3", False),
        ("NOT (id = 5)", False),
        ("id > 5", False),
        ("id = customer_id", False),
        ("id IN (SELECT customer_id FROM customers)", False),
    ],
)
def test_an_index_is_tried_for_look_ups_only(condition: str, indexed: bool):
    query = check(f"SELECT total FROM staging.orders WHERE {condition}", SCHEMAS)
    assert ("staging.orders indexed on id" in map(str, candidates(query, SCHEMAS))) == indexed


def test_what_depends_on_the_moment_is_not_materialized():
    query = check("SELECT count(*) FROM staging.orders WHERE order_date < current_date", SCHEMAS)
    assert "materialized" not in [candidate.kind for candidate in candidates(query, SCHEMAS)]


def test_a_daily_sum_is_answered_from_its_kept_result(bench: Bench, by_day: Tuning):
    kept = by_day.kept
    assert kept is not None and kept.kind == "materialized" and kept.versions == VERSIONS
    assert kept.gain == pytest.approx(kept.before_ms / kept.after_ms, rel=0.5) and kept.gain >= 1.15
    query = check(BY_DAY.lower(), bench.views)
    found = answer(bench.engine, query, bench.views, [kept], VERSIONS, root=bench.root)
    assert found.layout == "materialized_by_day"
    plain, _ = run_query(bench.engine, bench.views, BY_DAY)
    assert difference(plain, found.rows) == ""
    assert found.rows.column("day").to_pylist() == sorted(plain.column("day").to_pylist())


def test_all_that_was_tried_is_told_and_only_the_best_is_left(bench: Bench, by_day: Tuning):
    told = {str(measured.candidate): measured for measured in by_day.measured}
    sorted_rows = told["staging.orders sorted by order_date"]
    assert sorted_rows.status in ("slower", "beaten") and sorted_rows.before_ms > 0 and sorted_rows.bytes > 0
    assert " ms before, " in sorted_rows.why
    assert [m.status for m in by_day.measured].count("kept") == 1
    assert by_day.kept and by_day.kept.path in left(bench)
    assert not [path for path in left(bench) if "order_staging" in path or ".trying" in path]


def test_a_layout_of_an_older_version_does_not_answer(bench: Bench, by_day: Tuning):
    assert by_day.kept and not is_current(by_day.kept, {"staging.orders": 2}) and not is_current(by_day.kept, {})
    query = check(BY_DAY, bench.views)
    found = answer(bench.engine, query, bench.views, [by_day.kept], {"staging.orders": 2}, root=bench.root)
    assert found.layout == ""


def test_a_layout_whose_files_are_gone_does_not_answer(bench: Bench, by_day: Tuning):
    assert by_day.kept
    gone = by_day.kept.model_copy(update={"path": "layouts/gone"})
    found = answer(bench.engine, check(BY_DAY, bench.views), bench.views, [gone], VERSIONS, root=bench.root)
    assert found.layout == ""


def test_a_recommendation_measures_and_keeps_nothing(bench: Bench):
    before = left(bench)
    told = tune(replace(bench, run="r3"), {"by_day": check(BY_DAY, bench.views)}, keep=False)
    assert told.kept is None and left(bench) == before
    assert "it was only measured, as asked" in str(told)


def test_an_index_answers_look_ups_of_any_value(bench: Bench):
    asked = candidate_of(Index(table="staging.orders", columns=("customer_id",)))
    tried = try_layout(replace(bench, run="r4"), asked, {"look_up": check(LOOK_UP, bench.views)})
    assert tried.kept and tried.kept.kind == "index" and tried.kept.gain >= 1.15
    other = check(LOOK_UP.replace("4242", "17"), bench.views)
    found = answer(bench.engine, other, bench.views, [tried.kept], VERSIONS, root=bench.root)
    assert found.layout == "index_staging_orders_customer_id"
    assert found.rows.num_rows == ROWS // 20_000
    assert difference(run_query(bench.engine, bench.views, other.sql)[0], found.rows) == ""


def test_a_layout_is_measured_even_when_no_query_was_saved(bench: Bench):
    tried = try_layout(replace(bench, run="r5"), candidate_of(Partition(table="staging.orders", by="status")), {})
    assert [measured.query for measured in tried.measured] == ["look-up of one value"]
    assert tried.measured[0].status in ("kept", "slower")


def test_a_layout_that_changes_a_result_is_not_kept(bench: Bench):
    first = check("SELECT order_id FROM staging.orders LIMIT 5", bench.views)
    asked = candidate_of(Index(table="staging.orders", columns=("unit_price",)))
    tried = try_layout(replace(bench, run="r6"), asked, {"some": first})
    assert tried.kept is None and "differs" in [measured.status for measured in tried.measured]
    assert not [path for path in left(bench) if "unit_price" in path]


def test_a_layout_that_cannot_be_built_says_why(bench: Bench):
    query = check("SELECT count(*) FROM staging.orders WHERE order_id < 5", bench.views)
    told = tune(replace(bench, run="r7"), {"few": query})
    failed = next(m for m in told.measured if m.candidate.kind == "partition")
    assert failed.status == "failed" and "over 1,000 different values" in failed.why


def test_when_the_time_is_over_nothing_more_is_begun(bench: Bench):
    told = tune(replace(bench, run="r8"), {"by_day": check(BY_DAY, bench.views)}, seconds=0.0)
    assert {measured.status for measured in told.measured} == {"untried"} and told.kept is None


def test_errors_name_what_there_is(bench: Bench):
    with pytest.raises(PlanError, match="did you mean 'customer_id'"):
        try_layout(bench, candidate_of(Index(table="staging.orders", columns=("custmer_id",))), {})
    with pytest.raises(PlanError, match=r"did you mean 'staging\.orders'"):
        try_layout(bench, candidate_of(Index(table="orders", columns=("customer_id",))), {})
    with pytest.raises(PlanError, match="one query, not of 0"):
        try_layout(bench, candidate_of(Materialize(query="by_day")), {})
    with pytest.raises(PlanError, match="rename makes no layout"):
        candidate_of(Rename(table="staging.orders", column="a", to="b"))


def test_a_diagnosis_says_where_the_time_goes(bench: Bench):
    doc = QueryDoc(name="by_day", sql=BY_DAY).logged(12.0, 300).logged(14.0, 300)
    told = diagnose(bench.engine, doc, bench.views)
    assert (told.previous_ms, told.rows, told.rows_read, told.tables) == (13.0, 300, ROWS, ("staging.orders",))
    whole = sum(path.stat().st_size for path in (bench.root / "tables").rglob("*.parquet"))
    assert whole / 10 < told.bytes_read < whole
    assert sum(spot.share for spot in told.hotspots) == pytest.approx(1, abs=0.2)
    (reading,) = [spot.what for spot in told.hotspots if spot.what.startswith("reading")]
    assert sorted(reading.removeprefix("reading ").split(", ")) == ["order_date", "quantity", "unit_price"]
    assert told.message.startswith(f"by_day takes {told.ms:.1f} ms, 13.0 ms in the runs before. It reads 300,000 rows")


def test_the_log_keeps_the_last_fifty_runs():
    doc = QueryDoc(name="q", sql="SELECT 1")
    assert doc.median_ms is None
    for ms in range(60):
        doc = doc.logged(ms, 1, layout="index" if ms == 59 else "")
    assert len(doc.runs) == 50 and doc.median_ms == 34.5 and doc.runs[-1].layout == "index"
    assert QueryDoc.model_validate_json(doc.model_dump_json()) == doc


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"a": [0.1 + 0.2, 5.0], "b": ["x", "y"]}, {"a": [5.0, 0.3], "b": ["y", "x"]}, True),
        ({"a": [1.0, None]}, {"a": [None, 1.0]}, True),
        ({"a": [float("nan"), float("inf")]}, {"a": [float("inf"), float("nan")]}, True),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 2}, {"x": 1}]}, True),
        ({"a": [[1], None]}, {"a": [None, [1]]}, True),
        ({"a": [None, None]}, {"a": [None, None]}, True),
        ({"a": []}, {"a": []}, True),
        ({"a": [1, 1, 2]}, {"a": [1, 2, 2]}, False),
        ({"a": [1.0]}, {"a": [1.0 + 1e-8]}, False),
        ({"a": [1.0, None]}, {"a": [1.0, float("nan")]}, False),
        ({"a": ["x", None]}, {"a": ["x", "y"]}, False),
        ({"a": [1]}, {"a": [1.0]}, False),
        ({"a": [1]}, {"b": [1]}, False),
        ({"a": [1]}, {"a": [1, 1]}, False),
    ],
)
def test_results_are_compared_as_multisets(left: dict[str, list[object]], right: dict[str, list[object]], same: bool):
    assert (difference(pa.table(left), pa.table(right)) == "") == same


def test_how_often_a_query_is_asked_is_what_was_said_or_how_often_it_ran():
    doc = QueryDoc(name="q", sql="SELECT 1")
    assert doc.weight == 1
    for _ in range(60):
        doc = doc.logged(2.0, 1)
    assert (doc.weight, len(doc.runs)) == (60, 50)
    assert doc.model_copy(update={"freq": 3.0}).weight == 3
    assert [cost.query for cost in ranked([doc, QueryDoc(name="r", sql="")], {"r": 50.0})] == ["q", "r"]
