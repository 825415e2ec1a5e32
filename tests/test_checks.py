"""Every rule of a check on real data: what fails is counted exactly, shown, and told in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import ibis
import pytest
from conftest import Judged

from agentlab.actions import Check
from agentlab.checks import KINDS, RULES, Verdict, name_of, run_all
from agentlab.errors import PlanError

NOW = datetime(2026, 11, 22, 12)

#: Twelve orders, and what may be wrong with orders.
ORDERS = """
SELECT * FROM (VALUES
  (1, 10, 'ann@example.org',  'open',   3,  'https://a.org/x', DATE '2026-11-01', DATE '2026-11-03', '12.50', 1.5, 'a'),
  (2, 11, 'ben@example.org',  'paid',   0,  'https://b.org',   DATE '2026-11-02', DATE '2026-11-04', '7',     2.5, 'a'),
  (3, 12, NULL,               'Paid',  -2,  'http://c.org?q',  DATE '2026-11-03', DATE '2026-11-03', 'free',  nan, 'b'),
  (4, 99, 'cleo@@example.org','open',  11,  'www.d.org',       DATE '2026-11-04', DATE '2026-11-02', '',      3.5, 'b'),
  (4, 10, '  ',               NULL,     5,  NULL,              DATE '2026-11-05', NULL,              '1e3',   4.5, 'b'),
  (6, 98, 'dan@example',      'lost', NULL, 'ftp://e.org',     DATE '2026-11-06', DATE '2026-11-07', '12.5',  5.5, 'c')
) t(order_id, customer_id, email, status, quantity, page, ordered, shipped, price, weight, batch)
"""


class Bench:
    """A DuckDB connection with tables made by SQL, and what checks them."""

    def __init__(self, con: Any, judged: Judged) -> None:
        self.con, self.raw_sql, self.judged = con.con, con.raw_sql, lambda name: judged(con, name)


@pytest.fixture
def bench(judged: Judged) -> Iterator[Bench]:
    """Orders and their customers on a fresh connection."""
    con = ibis.duckdb.connect()
    con.raw_sql(f"CREATE TABLE orders AS {ORDERS.replace('nan', chr(39) + 'nan' + chr(39) + '::DOUBLE')}")
    con.raw_sql("CREATE TABLE customers AS SELECT UNNEST([10, 11, 12])::DOUBLE AS customer_id")
    con.raw_sql("CREATE TABLE people AS SELECT UNNEST(['10', '11', NULL, '98']) AS id")
    yield Bench(con, judged)
    con.disconnect()


def verdicts(bench: Bench, checks: list[Check]) -> list[Verdict]:
    engine, _ = bench.judged("orders")
    return run_all(engine, checks, lambda name: bench.judged(name)[1], 7, NOW)


def checked(bench: Bench, **arguments: Any) -> Verdict:
    (verdict,) = verdicts(bench, [Check(table="orders", **arguments)])
    return verdict


#: A check and how many rows fail it.
COUNTED: list[tuple[dict[str, Any], int]] = [
    ({"rule": "not_null", "columns": ["email"]}, 2),
    ({"rule": "not_null", "columns": ["weight"]}, 1),
    ({"rule": "not_null", "columns": ["ordered"]}, 0),
    ({"rule": "not_null", "columns": ["email", "status"]}, 2),
    ({"rule": "unique", "columns": ["order_id"]}, 1),
    ({"rule": "unique", "columns": ["email"]}, 0),
    ({"rule": "unique", "columns": ["batch"]}, 3),
    ({"rule": "unique", "columns": ["order_id", "batch"]}, 1),
    ({"rule": "unique", "columns": ["order_id", "customer_id"]}, 0),
    ({"rule": "in_range", "columns": ["quantity"], "min": 0, "max": 10}, 2),
    ({"rule": "in_range", "columns": ["quantity"], "max": 5}, 1),
    ({"rule": "in_range", "columns": ["price"], "min": 10}, 2),
    ({"rule": "in_range", "columns": ["weight"], "min": 2}, 1),
    ({"rule": "in_set", "columns": ["status"], "values": ["open", "paid"]}, 2),
    ({"rule": "in_set", "columns": ["quantity"], "values": [0, 3, "5"]}, 2),
    ({"rule": "in_set", "columns": ["ordered"], "values": ["2026-11-01", "2026-11-02"]}, 4),
    ({"rule": "matches", "columns": ["email"], "pattern": "email"}, 2),
    ({"rule": "matches", "columns": ["page"], "pattern": "url"}, 2),
    ({"rule": "matches", "columns": ["status"], "pattern": "[a-z]+"}, 1),
    ({"rule": "matches", "columns": ["order_id"], "pattern": "[1-5]"}, 1),
    ({"rule": "row_count", "min": 6, "max": 6}, 0),
    ({"rule": "row_count", "min": 7}, 1),
    ({"rule": "row_count", "max": 5}, 1),
    ({"rule": "fresh", "columns": ["ordered"], "within": "16 days"}, 0),
    ({"rule": "fresh", "columns": ["ordered"], "within": "15 days"}, 1),
    ({"rule": "references", "columns": ["customer_id"], "other": "customers"}, 2),
    ({"rule": "references", "columns": ["customer_id"], "other": "people", "other_column": "id"}, 2),
    ({"rule": "compares", "columns": ["ordered"], "operator": "<=", "than": "shipped"}, 1),
    ({"rule": "compares", "columns": ["ordered"], "operator": "!=", "than": "shipped"}, 1),
    ({"rule": "compares", "columns": ["price"], "operator": ">", "than": "quantity"}, 1),
    ({"rule": "has_type", "columns": ["price"], "type": "float"}, 1),
    ({"rule": "has_type", "columns": ["price"], "type": "int"}, 3),
    ({"rule": "has_type", "columns": ["weight"], "type": "int"}, 5),
    ({"rule": "has_type", "columns": ["ordered"], "type": "timestamp"}, 0),
    ({"rule": "has_type", "columns": ["email"], "type": "text"}, 0),
    ({"rule": "has_type", "columns": ["quantity"], "type": "bool"}, 4),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "failing"), COUNTED, ids=[f"{a['rule']} {n}" for a, n in COUNTED])
def test_what_fails_is_counted_exactly(bench: Bench, arguments: dict[str, Any], failing: int) -> None:
    verdict = checked(bench, **arguments)
    assert (verdict.failing, verdict.passed, verdict.rows, verdict.version) == (failing, not failing, 6, 7)
    if failing and len(arguments.get("columns", ())) < 2:
        (finding,) = verdict.findings
        assert (finding.kind, finding.count, finding.message) == (KINDS[arguments["rule"]], failing, verdict.message)
        assert len(finding.examples) >= (arguments["rule"] != "row_count")


def test_every_rule_is_tried() -> None:
    assert {a["rule"] for a, _ in COUNTED} == set(RULES) == set(KINDS)


def test_all_checks_together_say_what_each_says_alone(bench: Bench) -> None:
    checks = [Check(table="orders", **arguments) for arguments, _ in COUNTED]
    together = verdicts(bench, checks)
    assert together == [checked(bench, **arguments) for arguments, _ in COUNTED]


def test_examples_are_rows_that_fail(bench: Bench) -> None:
    (finding,) = checked(bench, rule="unique", columns=["order_id"]).findings
    assert [row["customer_id"] for row in finding.examples] in ([99, 10], [10, 99])
    (finding,) = checked(bench, rule="references", columns=["customer_id"], other="customers").findings
    assert {row["customer_id"] for row in finding.examples} == {99, 98}
    assert (finding.column, finding.kind) == ("customer_id", "reference")


def test_examples_are_found_wherever_the_failing_rows_are(bench: Bench) -> None:
    kind = "CASE WHEN i > 49990 THEN 'odd' WHEN i % 7 = 0 THEN NULL ELSE 'even' END AS kind"
    bench.raw_sql(f"CREATE OR REPLACE TABLE orders AS SELECT i AS id, i % 100 AS n, {kind} FROM range(50000) r(i)")
    asked = [
        {"rule": "in_range", "columns": ["n"], "max": 90.5},
        {"rule": "in_set", "columns": ["kind"], "values": ["even"]},
        {"rule": "matches", "columns": ["kind"], "pattern": "even|odd"},
    ]
    checks = [Check(table="orders", **arguments) for arguments in asked]
    often, late, never = verdicts(bench, checks)
    assert [often.failing, late.failing, never.failing] == [4500, 9, 0]
    assert [row["n"] > 90 for row in often.findings[0].examples] == [True] * 5
    assert [row["id"] > 49990 for row in late.findings[0].examples] == [True] * 5
    assert list(late.findings[0].examples[0]) == ["id", "n", "kind"]


@pytest.mark.parametrize(("low", "high", "failing"), [(0.5, 2.5, 2), (1, 2, 2), (-0.5, 3, 0), (None, 2.999, 1)])
def test_limits_between_whole_numbers_hold_for_whole_numbers(
    bench: Bench, low: float | None, high: float, failing: int
) -> None:
    bench.raw_sql("CREATE OR REPLACE TABLE orders AS SELECT i AS n FROM range(4) r(i)")
    ends = {"max": high} | ({} if low is None else {"min": low})
    assert checked(bench, rule="in_range", columns=["n"], **ends).failing == failing


@pytest.mark.parametrize("cell", ["", "   ", None])
def test_what_holds_nothing_breaks_no_rule_but_that_it_be_there(bench: Bench, cell: str | None) -> None:
    bench.con.execute("CREATE OR REPLACE TABLE orders AS SELECT ?::VARCHAR AS cell UNION ALL SELECT '\ttab'", [cell])
    assert checked(bench, rule="not_null", columns=["cell"]).failing == 1
    assert checked(bench, rule="in_set", columns=["cell"], values=["x"]).failing == 1
    assert checked(bench, rule="matches", columns=["cell"], pattern="[a-z]+").failing == 1


def test_several_columns_have_a_finding_each(bench: Bench) -> None:
    verdict = checked(bench, rule="not_null", columns=["email", "status"])
    assert [(f.column, f.count) for f in verdict.findings] == [("email", 2), ("status", 1)]
    assert verdict.message == "2 of 6 rows lack email or status"


def test_a_verdict_says_what_was_wanted(bench: Bench) -> None:
    told = {
        "1 of 6 values of status don't match [a-z]+": {"rule": "matches", "columns": ["status"], "pattern": "[a-z]+"},
        "there are 6 rows; the rule wants at least 7": {"rule": "row_count", "min": 7},
        "the latest ordered is 2026-11-06, more than 15 days ago": {
            **{"rule": "fresh", "columns": ["ordered"], "within": "15 days"}
        },
        "2 of 6 values of quantity are not from 0 to 10": {
            **{"rule": "in_range", "columns": ["quantity"], "min": 0, "max": 10}
        },
    }
    assert {checked(bench, **arguments).message for arguments in told.values()} == told.keys()


def test_the_share_of_rows_that_pass(bench: Bench) -> None:
    assert checked(bench, rule="in_range", columns=["quantity"], max=5).share == pytest.approx(5 / 6)
    assert checked(bench, rule="row_count", min=7).share == 0.0
    assert checked(bench, rule="row_count", min=1).share == 1.0


def test_a_verdict_survives_json(bench: Bench) -> None:
    verdict = checked(bench, rule="in_set", columns=["status"], values=["open"])
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.parametrize(
    ("cell", "form", "valid"),
    [
        *[(cell, "email", True) for cell in ("a@b.org", "a.b+c@sub.example.co.uk", "zoë@exämple.de")],
        *[(cell, "email", False) for cell in ("a@b", "@b.org", "a@b..org", "a b@c.org", "a@b.org;", "a@b@c.org")],
        *[(cell, "url", True) for cell in ("https://a.org", "HTTP://a.org/x?y=1#z", "http://localhost:80/")],
        *[(cell, "url", False) for cell in ("a.org", "htp://a.org", "https:/a.org", "https://", "https://a b.org")],
        *[(cell, "phone", True) for cell in ("+49 30 1234567", "(555) 123-4567", "030/123 45 67", "+1-555-010-0199")],
        *[(cell, "phone", False) for cell in ("12345", "call me", "+49", "555-CALL-NOW", "1234567890123456")],
        *[(cell, "uuid", True) for cell in ("123e4567-e89b-12d3-a456-426614174000",)],
        *[(cell, "uuid", False) for cell in ("123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-4266")],
        *[(cell, "date", True) for cell in ("2026-02-28", "28.02.2026", "02/28/2026", "2026-02-28 10:30:00")],
        *[(cell, "date", False) for cell in ("2026-02-30", "30.02.2026", "soon", "2026")],
    ],
)  # fmt: skip
def test_forms_are_what_a_careful_person_would_say(bench: Bench, cell: str, form: str, valid: bool) -> None:
    bench.con.execute("CREATE OR REPLACE TABLE orders AS SELECT ? AS cell", [cell])
    assert checked(bench, rule="matches", columns=["cell"], pattern=form).passed is valid


def test_texts_are_compared_as_what_they_read_as(bench: Bench) -> None:
    bench.raw_sql(
        "CREATE OR REPLACE TABLE orders AS SELECT * FROM (VALUES ('9', '10', '2026-01-02', '2026-01-10', 'b', 'a'),"
        " ('10', '9', '2026-01-09', '2026-01-10', 'a', 'b')) t(a, b, c, d, e, f)"
    )
    for one, two in (("a", "b"), ("e", "f")):
        assert checked(bench, rule="compares", columns=[one], operator="<", than=two).failing == 1
    assert checked(bench, rule="compares", columns=["c"], operator="<", than="d").passed


def test_fresh_finds_the_only_column_of_times(bench: Bench) -> None:
    bench.raw_sql("CREATE OR REPLACE TABLE orders AS SELECT 1 AS id, TIMESTAMP '2026-11-22 11:00' AS at")
    assert checked(bench, rule="fresh", within="2 hours").passed
    assert not checked(bench, rule="fresh", within="30 minutes").passed
    bench.raw_sql("CREATE OR REPLACE TABLE orders AS SELECT TIMESTAMP '2026-11-22 11:00' AS at WHERE false")
    assert checked(bench, rule="fresh", within="2 hours").failing == 1, "an empty table is not fresh"


def test_fresh_without_a_choice_of_columns_is_a_fault(bench: Bench) -> None:
    with pytest.raises(PlanError, match="name one of ordered, shipped"):
        checked(bench, rule="fresh", within="1 day")


@pytest.mark.parametrize("value", ["x'; DROP TABLE orders; --", 'a"b', "\\", "%", "ümläut", "a\nb"])
def test_a_value_is_never_sql(bench: Bench, value: str) -> None:
    bench.con.execute("CREATE OR REPLACE TABLE orders AS SELECT ? AS cell", [value])
    bench.raw_sql('ALTER TABLE orders RENAME cell TO "a ""cell\'; --"')
    name = "a \"cell'; --"
    assert checked(bench, rule="in_set", columns=[name], values=[value]).passed
    assert not checked(bench, rule="in_set", columns=[name], values=["x"]).passed
    assert checked(bench, rule="unique", columns=[name]).passed


def test_what_cannot_be_asked_is_told(bench: Bench) -> None:
    with pytest.raises(PlanError, match="did you mean 'email'"):
        checked(bench, rule="not_null", columns=["emial"])
    with pytest.raises(PlanError, match="'many' isn't a number"):
        checked(bench, rule="in_set", columns=["quantity"], values=["many"])
    with pytest.raises(PlanError, match="the data doesn't allow it"):
        checked(bench, rule="matches", columns=["email"], pattern="(")


def test_a_large_key_is_counted_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentlab.measuring.PART", 100)
    monkeypatch.setattr("agentlab.checks.PART", 100)
    keys = "'k' || (i % 950) AS key, i * 1000000007 AS far, i % 950 AS n"
    bench.raw_sql(f"CREATE OR REPLACE TABLE orders AS SELECT {keys} FROM range(1000) r(i)")
    assert checked(bench, rule="unique", columns=["key"]).failing == 50
    assert checked(bench, rule="unique", columns=["far"]).failing == 0
    assert checked(bench, rule="unique", columns=["n"]).failing == 50


def test_checks_are_named_by_all_that_they_ask() -> None:
    one = Check(table="t", rule="in_set", columns=("a",), values=("x", "y"))
    assert name_of(one) == "t: in_set a (values x, y)"
    assert name_of(Check(table="t", rule="row_count", min=1)) == "t: row_count (min 1)"
