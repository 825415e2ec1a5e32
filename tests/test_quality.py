"""The story of a dirty table: 10,000 orders, and what a good pair of eyes finds in them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import ibis
import pyarrow as pa
import pytest
from conftest import Judged

from agentlab import expressions
from agentlab.actions import Cast, Dedupe, NormalizeText, Quarantine
from agentlab.compile import compile
from agentlab.demo.shop import build
from agentlab.engine import schema_of
from agentlab.errors import PlanError
from agentlab.fixes import expected_score, is_safe, suggest_fixes
from agentlab.quality import Finding, Report, analyze

# 7 and 10,000 share no factor, so every planted defect falls on rows of its own, spread over the table.
ORDERS = """
CREATE TABLE orders AS
WITH base AS (SELECT i, (i * 7) % 10000 AS k FROM range(10000) r(i))
SELECT i + 1 AS order_id,
       1 + (i * 37) % 900 AS customer_id,
       CASE WHEN k >= 300 THEN 'customer' || (i % 900) || '@example.org' END AS email,
       ['Köln', 'São Paulo', '東京', 'Oslo'][1 + i % 4] AS city,
       CASE WHEN k BETWEEN 400 AND 459 THEN -1 ELSE 1 END * (1 + i % 5) AS quantity,
       CASE WHEN k BETWEEN 500 AND 524 THEN ['N/A', 'free'][1 + i % 2]
            WHEN k BETWEEN 600 AND 639 THEN CAST(100 * (20 + (i * 13) % 80) AS VARCHAR)
            ELSE CAST(20 + (i * 13) % 80 + 0.5 AS VARCHAR) END AS unit_price,
       DATE '2026-01-01' + CAST(i % 300 AS INTEGER) AS ordered,
       i % 3 = 0 AS paid
FROM base;
INSERT INTO orders SELECT * FROM orders WHERE order_id BETWEEN 5001 AND 5150
"""
ANYTHING = '''
SELECT i AS "Größe ""cm""", [i, 1] AS list, {'a': i} AS "struct", MAP {'k': i} AS map,
       ('{"a": ' || i || '}')::JSON AS j,
       uuid() AS u, TIME '10:00' AS "at time", INTERVAL 1 DAY AS iv, 'a'::BLOB AS b, i::DECIMAL(9, 2) AS d,
       i::FLOAT AS f, i::HUGEINT AS h, now() AS moment, 'x; DROP TABLE t; --' AS "order"
FROM range(20) r(i)
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
'''
BROKEN = '''
SELECT i AS id, CASE i WHEN 1 THEN '' WHEN 2 THEN 'free' WHEN 3 THEN 'NaN' ELSE i || '' END AS price,
       CASE i WHEN 1 THEN '' WHEN 2 THEN 'soon' ELSE '2026-01-01' END AS due,
       CASE WHEN i = 7 THEN 'nan'::FLOAT ELSE i END AS f,
       CASE WHEN i = 5 THEN 'me at home' ELSE 'a@b.org' END AS email,
       CASE WHEN i = 5 THEN 'me' ELSE 'http://b.org' END AS url,
       CASE WHEN i = 5 THEN 'me' ELSE uuid() || '' END AS "the ""uuid""", i::DECIMAL(9, 3) ** 4 AS d,
       CASE WHEN i = 5 THEN ' me ' ELSE 'you' END AS name
FROM range(40) r(i)
'''
CLEAN = "SELECT i AS id, 'user' || i || '@example.org' AS email, 10 + i % 7 AS quantity FROM range(500) r(i)"


class Bench:
    """A DuckDB connection with tables made by SQL, and the analysis of any of them."""

    def __init__(self, judged: Judged) -> None:
        self.con, self.judged = ibis.duckdb.connect(), judged

    def make(self, name: str, sql: str) -> Bench:
        self.con.raw_sql(f"CREATE TABLE {name} AS {sql}")
        return self

    def tables(self) -> list[str]:
        found = self.con.raw_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
        ).fetchall()
        return [name for (name,) in found if not name.startswith("ibis_")]

    def report(self, name: str, columns: tuple[str, ...] = ()) -> Report:
        return analyze(*self.judged(self.con, name), name, 1, columns)

    def count(self, name: str, where: str) -> int:
        return self.con.raw_sql(f"SELECT COUNT(*) FROM {name} WHERE {where}").fetchone()[0]


@pytest.fixture
def bench(judged):
    bench = Bench(judged)
    yield bench
    bench.con.disconnect()


@pytest.fixture
def orders(bench):
    bench.con.raw_sql(ORDERS)
    return bench


def found(report: Report) -> dict[tuple[str | None, str], Finding]:
    return {(f.column, f.kind): f for f in report.findings}


def counts(report: Report) -> dict[tuple[str | None, str], int]:
    return {key: finding.count for key, finding in found(report).items()}


def test_every_planted_defect_is_counted_and_nothing_else(orders):
    report = orders.report("orders")
    missing = orders.count("orders", "email IS NULL")
    outliers = orders.count("orders", "TRY_CAST(unit_price AS DOUBLE) > 200")
    assert report.rows == 10_150
    assert outliers >= 40
    assert counts(report) == {
        (None, "duplicate"): 150,
        ("email", "missing"): missing,
        ("quantity", "range"): orders.count("orders", "quantity < 0"),
        ("unit_price", "type"): orders.count("orders", "unit_price IN ('N/A', 'free')"),
        ("unit_price", "outlier"): outliers,
        ("quantity", "outlier"): orders.count("orders", "quantity < -1"),
    }
    assert not report.passed
    assert 0.9 < report.score < 1


def test_the_condition_of_a_finding_holds_for_exactly_its_rows(orders):
    for finding in orders.report("orders").findings:
        if finding.where:
            assert orders.count("orders", finding.where) == finding.count
            assert 0 < len(finding.examples) <= 5


def test_conditions_are_sql_that_a_plan_may_contain(orders):
    schema = schema_of(orders.con.table("orders"))
    report = orders.report("orders")
    plan = suggest_fixes(report).plan
    conditions = [f.where for f in report.findings if f.where]
    conditions += [a.where for a in plan.actions if isinstance(a, Quarantine)]
    assert len(conditions) == 8
    for condition in conditions:
        again = expressions.parse(condition, schema, boolean=True).sql
        assert orders.count("orders", again) == orders.count("orders", condition)


def test_conditions_of_every_kind_are_sql_that_a_plan_may_contain(bench):
    bench.make("t", BROKEN)
    schema = schema_of(bench.con.table("t"))
    findings = [f for f in bench.report("t").findings if f.where]
    assert {f.kind for f in findings} == {"missing", "type", "format", "outlier"}
    for finding in findings:
        again = expressions.parse(finding.where, schema, boolean=True).sql
        assert bench.count("t", again) == finding.count


def test_examples_show_the_worst_first_and_are_plain_json(orders):
    examples = found(orders.report("orders"))["unit_price", "outlier"].examples
    prices = [float(row["unit_price"]) for row in examples]
    assert prices == sorted(prices, reverse=True)
    assert examples[0]["ordered"].startswith("2026-")
    assert json.loads(json.dumps(examples)) == examples


def test_a_report_survives_json(orders):
    report = orders.report("orders")
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_text_column_of_numbers_is_profiled_as_numbers(orders):
    price = orders.report("orders").column("unit_price")
    assert (price.type, price.reads_as) == ("text", "float")
    assert price.min == 20.5
    assert 50 < price.quantiles[0.5] < 70
    assert price.histogram and len(price.histogram.counts) <= 20
    assert sum(price.histogram.counts) == orders.count("orders", "TRY_CAST(unit_price AS DOUBLE) IS NOT NULL")


def test_profiles_tell_what_columns_hold(orders):
    report = orders.report("orders")
    assert report.column("city").top[0][0] in ("Köln", "São Paulo", "東京", "Oslo")
    assert sum(n for _, n in report.column("city").top) == report.rows
    assert report.column("ordered").min == "2026-01-01"
    assert (report.column("order_id").distinct, report.column("paid").distinct) == (10_000, 2)
    with pytest.raises(PlanError, match="did you mean 'email'"):
        report.column("mail")


def _execute(bench: Bench, table: str, action) -> None:
    """What the executor does, in DuckDB's own words."""
    match action:
        case Quarantine():
            kept = f"SELECT * FROM {table} WHERE ({action.where}) IS NOT TRUE"
        case Cast():
            sql = {"int": "BIGINT", "float": "DOUBLE", "date": "DATE", "timestamp": "TIMESTAMP"}[action.type]
            kept = f'SELECT * REPLACE (TRY_CAST("{action.column}" AS {sql}) AS "{action.column}") FROM {table}'
        case NormalizeText():
            kept = f'SELECT * REPLACE (TRIM("{action.column}") AS "{action.column}") FROM {table}'
        case Dedupe():
            kept = f"SELECT DISTINCT * FROM {table}"
    bench.con.raw_sql(f"CREATE OR REPLACE TABLE {table} AS {kept}")


def test_the_suggested_fixes_mend_what_can_be_mended_and_say_why(orders):
    before = orders.report("orders")
    plan, why, left = suggest_fixes(before)
    assert [a.tool() for a in plan.actions] == ["quarantine", "cast", "quarantine", "quarantine", "dedupe"]
    assert len(why) == len(plan.actions)
    assert [(f.column, f.kind) for f in left] == [("email", "missing"), ("quantity", "outlier")]
    assert "can't be inferred" in left[0].message

    for action in plan.actions:
        _execute(orders, "orders", action)
    after = orders.report("orders")
    assert after.score > before.score
    assert after.passed
    assert after.score == pytest.approx(expected_score(before), abs=0.001)
    assert after.column("unit_price").type == "float"
    assert set(counts(after)) == {("email", "missing")}
    assert suggest_fixes(after).plan.actions == ()


def test_conditions_keep_their_meaning_whatever_the_order(orders):
    """A person may leave the cast out, or run it first; the conditions still run and no good row goes."""
    plan = suggest_fixes(orders.report("orders")).plan
    for action in sorted(plan.actions, key=lambda a: not isinstance(a, Cast)):
        _execute(orders, "orders", action)
    assert orders.report("orders").passed


def test_fixes_that_take_no_row_are_safe(orders):
    plan = suggest_fixes(orders.report("orders")).plan
    assert [is_safe(a) for a in plan.actions] == [False, True, False, False, False]


def test_nothing_in_quarantine_is_set_aside_once_more(bench):
    bench.make("aside", "SELECT i AS id, IF(i = 3, -5, i) AS quantity FROM range(1, 101) t(i)")
    report = analyze(SimpleNamespace(con=bench.con), bench.con.table("aside"), "quarantine.orders", 1)
    plan, _, left = suggest_fixes(report)
    assert plan.actions == ()
    assert [f.message.rpartition(": ")[2] for f in left if f.kind == "range"] == [
        "it is set aside already, and waits for a person"
    ]


def test_a_clean_table_scores_one_and_needs_nothing(bench):
    report = bench.make("clean", CLEAN).report("clean")
    assert (report.findings, report.score, report.passed) == ([], 1.0, True)
    assert suggest_fixes(report) == (suggest_fixes(report).plan, [], [])
    assert expected_score(report) == 1.0


def test_a_skewed_but_honest_table_passes(bench):
    """A long tail of sums of money is no fault: outliers are told, and cost nothing."""
    normal = "SQRT(-2 * LN((i + 0.5) / 5000)) * COS(2 * PI() * ((i * 0.6180339887) % 1))"
    bench.make("skewed", f"SELECT i AS id, ROUND(EXP(3 + 1.2 * {normal}), 2) AS amount FROM range(5000) r(i)")
    report = bench.report("skewed")
    assert found(report)["amount", "outlier"].severity == "info"
    assert (report.passed, report.score) == (True, 1.0)


def test_outliers_are_counted_by_the_interquartile_range(bench):
    bench.make("t", "SELECT UNNEST([10, 11, 12, 13, 14, 15, 16, 25, 9000]) AS weight")
    finding = found(bench.report("t"))["weight", "outlier"]
    assert (finding.count, finding.faults, finding.severity) == (2, 1, "error")
    fixes = suggest_fixes(bench.report("t"))
    assert bench.count("t", fixes.plan.actions[0].where) == 1


def test_identifiers_and_flags_have_no_outliers(bench):
    bench.make("t", "SELECT CASE WHEN i = 0 THEN 99999999 ELSE i END AS item_id, i // 99 AS gift FROM range(100) r(i)")
    assert bench.report("t").findings == []


@pytest.mark.parametrize("sql", ["SELECT 1 AS a, 'x' AS b, 1.5 AS c, DATE '2026-01-01' AS d, true AS e WHERE false"])
def test_an_empty_table_is_neither_good_nor_bad(bench, sql):
    report = bench.make("t", sql).report("t")
    assert (report.rows, report.findings, report.score, report.passed) == (0, [], 1.0, True)
    assert suggest_fixes(report).plan.actions == ()


def test_one_row_is_enough(bench):
    report = bench.make("t", "SELECT 1 AS a, 'x' AS b, 1.5 AS c, DATE '2026-01-01' AS d, true AS e").report("t")
    assert (report.findings, report.score) == ([], 1.0)


def test_a_column_without_any_value_is_missing_and_not_constant(bench):
    bench.make("t", "SELECT i AS id, NULL::VARCHAR AS note, NULL::DOUBLE AS price FROM range(10) r(i)")
    assert counts(bench.report("t")) == {("note", "missing"): 10, ("price", "missing"): 10}


def test_a_constant_column_counts_once(bench):
    bench.make("t", "SELECT i AS id, 'DE' AS country, 7 AS n, true AS ok FROM range(10) r(i)")
    report = bench.report("t")
    assert counts(report) == {("country", "constant"): 1, ("n", "constant"): 1, ("ok", "constant"): 1}
    assert report.score == 1.0


def test_blank_text_and_not_a_number_are_missing(bench):
    bench.make(
        "t", "SELECT UNNEST(['a', '', '  ', NULL, 'b']) AS name, UNNEST(['1', 'nan', '2', '3', NULL]::DOUBLE[]) AS x"
    )
    report = bench.report("t")
    assert counts(report) == {("name", "missing"): 3, ("x", "missing"): 2}
    assert [bench.count("t", f.where) for f in report.findings] == [3, 2]
    assert (report.column("x").max, report.column("name").distinct) == (3.0, 2)


def test_infinity_is_absurd_but_breaks_nothing(bench):
    bench.make("t", "SELECT CASE WHEN i = 3 THEN 'inf'::DOUBLE ELSE i END AS x FROM range(50) r(i)")
    report = bench.report("t")
    assert counts(report) == {("x", "outlier"): 1}
    assert report.column("x").max == 49.0
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_blank_texts_among_numbers_are_missing_not_unreadable(bench):
    bench.make("t", "SELECT i AS id, CASE i WHEN 1 THEN '' WHEN 2 THEN 'free' WHEN 3 THEN '-5' "
               "ELSE CAST(100 + i AS VARCHAR) END AS price FROM range(40) r(i)")  # fmt: skip
    report = bench.report("t")
    assert counts(report) == {("price", kind): 1 for kind in ("missing", "type", "range", "outlier")}
    for action in reversed(suggest_fixes(report).plan.actions):
        _execute(bench, "t", action)
    assert set(counts(bench.report("t"))) == {("price", "missing")}


def test_text_that_is_mostly_dates_is_read_as_dates(bench):
    bench.make("t", "SELECT CASE WHEN i = 5 THEN 'soon' ELSE CAST(DATE '2026-01-01' + i::INT AS VARCHAR) END AS due "
               "FROM range(60) r(i)")  # fmt: skip
    report = bench.report("t")
    assert counts(report) == {("due", "type"): 1}
    assert report.column("due").reads_as == "date"
    for action in suggest_fixes(report).plan.actions:
        _execute(bench, "t", action)
    assert (bench.report("t").column("due").type, bench.report("t").score) == ("date", 1.0)


def test_codes_in_digits_stay_text(bench):
    bench.make("t", "SELECT '0' || (10000 + i) AS depot, CASE WHEN i < 2 THEN 'SW1A' ELSE 1000 + i || '' END AS zip "
               "FROM range(50) r(i)")  # fmt: skip
    assert bench.report("t").findings == []


def test_broken_emails_are_counted_and_left(bench):
    bench.make("t", "SELECT i AS id, CASE WHEN i < 4 THEN 'nobody at home' ELSE 'u' || i || '@x.org' END AS email "
               "FROM range(50) r(i)")  # fmt: skip
    report = bench.report("t")
    assert (counts(report), report.passed) == ({("email", "format"): 4}, True)
    fixes = suggest_fixes(report)
    assert fixes.plan.actions == ()
    assert "can't be inferred" in fixes.left[0].message


def test_space_around_text_is_trimmed(bench):
    bench.make("t", "SELECT i AS id, CASE WHEN i % 10 = 0 THEN ' Oslo ' ELSE 'Oslo, ' || i % 3 END AS city "
               "FROM range(50) r(i)")  # fmt: skip
    report = bench.report("t")
    assert counts(report) == {("city", "format"): 5}
    (action,) = suggest_fixes(report).plan.actions
    assert isinstance(action, NormalizeText) and is_safe(action)
    _execute(bench, "t", action)
    assert bench.report("t").score == expected_score(report) == 1.0


def test_negative_numbers_are_wrong_only_where_the_name_rules_them_out(bench):
    bench.make("t", "SELECT i AS id, CASE WHEN i = 0 THEN -1 ELSE i % 9 END AS stock, i % 9 - 1 AS change, "
               "i % 9 - 4 AS amount FROM range(90) r(i)")  # fmt: skip
    report = bench.report("t")
    assert counts(report) == {("stock", "range"): 1}


def test_one_key_for_two_different_rows_is_left_to_a_person(bench):
    bench.make("orders", "SELECT LEAST(i, 97) AS order_id, i AS amount FROM range(100) r(i)")
    report = bench.report("orders")
    assert counts(report) == {("order_id", "duplicate"): 2}
    assert [row["order_id"] for row in found(report)["order_id", "duplicate"].examples] == [97, 97, 97]
    assert suggest_fixes(report).plan.actions == ()


def test_a_foreign_key_may_repeat(bench):
    bench.make("orders", "SELECT i AS order_id, i % 90 AS customer_id FROM range(100) r(i)")
    assert bench.report("orders").findings == []


def test_only_the_columns_asked_about_are_judged(orders):
    report = orders.report("orders", ("quantity",))
    assert [c.name for c in report.columns] == ["quantity"]
    assert set(counts(report)) == {("quantity", "range"), ("quantity", "outlier")}
    with pytest.raises(PlanError, match="did you mean 'quantity'"):
        orders.report("orders", ("quantiti",))


def test_any_type_and_any_name_is_analyzed(bench):
    bench.make("t", ANYTHING)
    report = bench.report("t")
    assert {kind: n for (_, kind), n in counts(report).items() if kind == "missing"} == {"missing": 1}
    assert len([f for f in report.findings if f.kind == "missing"]) == 14
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert bench.report("t") == report


def test_an_expression_is_analyzed_like_a_table(orders):
    table = orders.con.table("orders").filter(ibis._.quantity < 0)
    report = analyze(SimpleNamespace(con=orders.con), table, "negatives", 1)
    assert report.rows == orders.count("orders", "quantity < 0")
    assert orders.tables() == ["orders"]


def test_data_in_memory_is_analyzed_too(bench):
    table = ibis.memtable(pa.table({"quantity": [1, 2, -3, 4, 5, 6]}))
    assert counts(analyze(SimpleNamespace(con=bench.con), table, "t")) == {("quantity", "range"): 1}
    assert bench.tables() == []


def test_the_demo_shop_has_what_its_manifest_says(bench):
    shop = build(rows=3000)
    orders = [{**row, "unit_price": str(row["unit_price"])} for row in shop.orders]
    report = analyze(SimpleNamespace(con=bench.con), ibis.memtable(pa.Table.from_pylist(orders)), "staging.orders")
    planted = shop.manifest.counts()
    faults = {key: finding.faults for key, finding in found(report).items() if finding.faults}
    assert faults == {
        (None, "duplicate"): planted["duplicated"],
        ("email", "missing"): planted["missing_email"],
        ("quantity", "range"): planted["negative_quantity"],
        ("unit_price", "outlier"): planted["outlier_price"],
        ("unit_price", "type"): planted["text_price"],
    }


@pytest.mark.parametrize(
    ("cities", "unlike", "tools"),
    [
        (["Paris"] * 9 + [" paris ", "PARIS"] + ["New York"] * 5 + ["NEW YORK"], 3, ["normalize_text"]),
        (["de"] * 9 + ["DE", "fr"], 1, ["normalize_text"]),
        (["McDonald"] * 9 + ["mcdonald", " Mcdonald", "IBM"], 2, ["normalize_text", "replace", "replace"]),
        (["Paris", "Pariser Platz", "Rome"] * 3, 0, []),
    ],
)
def test_one_value_in_several_spellings_is_found_and_mended(bench, cities, unlike, tools):
    bench.con.create_table("t", pa.table({"id": range(len(cities)), "city": cities}))
    report = bench.report("t")
    assert counts(report) == ({("city", "format"): unlike} if unlike else {})
    plan = suggest_fixes(report).plan
    assert [action.tool() for action in plan.actions] == tools and all(map(is_safe, plan.actions))
    for finding in report.findings:
        assert bench.count("t", finding.where) == unlike
    table = bench.con.table("t")
    for action in plan.actions:
        table = compile(action, table)
    after = analyze(SimpleNamespace(con=bench.con), table, "t")
    assert (after.score, after.findings) == (expected_score(report), [])


def test_a_large_table_is_judged_as_a_small_one_is(bench, monkeypatch):
    """Above 100,000 rows text is sampled, values are counted in parts and copies sought among alike hashes."""
    bench.con.raw_sql(ORDERS)
    small = bench.report("orders")
    for place, name, value in (
        ("profiles", "EXACT_ROWS", 99),
        ("quality", "EXACT_ROWS", 99),
        ("measuring", "PART", 900),
    ):
        monkeypatch.setattr(f"agentlab.{place}.{name}", value)
    large = bench.report("orders")
    assert counts(large) == counts(small)
    assert (large.score, large.column("order_id").distinct) == (small.score, small.column("order_id").distinct)


def test_who_asks_for_suggestions_gets_typical_values_too_and_is_told_that_they_are_guesses(bench: Bench) -> None:
    hours = "CASE WHEN n % 7 = 1 THEN NULL ELSE n % 5 + 2 END"
    role = "CASE WHEN n = 3 THEN NULL ELSE ['garden', 'driving', 'kitchen'][n % 3 + 1] END"
    note = "CASE WHEN n = 9 THEN NULL ELSE 'note ' || n END"
    bench.make("t", f"SELECT n AS id, {hours} AS hours, {role} AS role, {note} AS note FROM range(30) AS r(n)")
    report = bench.report("t")
    assert suggest_fixes(report).plan.actions == ()
    plan, why, left = suggest_fixes(report, guess=True)
    assert [str(a) for a in plan.actions] == [
        "fill(table='t', column='hours', method='median')",
        "fill(table='t', column='role', method='mode')",
    ]
    assert all(reason.startswith("a guess") for reason in why)
    assert [finding.column for finding in left if finding.kind == "missing"] == ["note"]
    assert expected_score(report) < expected_score(report, guess=True)
