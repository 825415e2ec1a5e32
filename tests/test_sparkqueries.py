"""Reports on a table with planted defects: what Spark finds is what DuckDB finds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import ibis
import pytest
from pydantic import BaseModel

from agentlab.actions import Check
from agentlab.checks import run_all
from agentlab.engine import DuckDB, Engine
from agentlab.entries import TableDoc
from agentlab.outliers import find_outliers
from agentlab.quality import analyze

pytestmark = pytest.mark.spark

NOW = datetime(2026, 11, 22, 12)

#: Sales with missing, blank, unreadable, malformed, negative, misspelled and absurd cells; one row in 100 is copied.
SALES = """
SELECT i AS sale_id, i * 7919 % 50021 AS customer_id,
       CASE i % 1000 WHEN 3 THEN 'n/a' WHEN 5 THEN '  ' ELSE CAST(i * 104729 % 100003 / 100 AS VARCHAR) END AS amount,
       CASE WHEN i % 97 > 0 THEN (i * 104729 % 100003) / 100 + CASE i % 1500 WHEN 7 THEN 1e9 ELSE 0 END END AS price,
       CASE i % 500 WHEN 1 THEN 'bad@' ELSE 'user' || i % 900 || '@example.org' END AS email,
       CASE i % 300 WHEN 0 THEN 'ROME ' WHEN 1 THEN '\u00a0Oslo' ELSE ['Rome', 'Oslo', 'Köln'][1 + i % 3] END AS city,
       CASE i % 777 WHEN 0 THEN -1 ELSE i % 9 END AS qty,
       DATE '2024-01-01' + CAST(i % 366 AS INTEGER) AS day, TIMESTAMP '2024-01-01' + INTERVAL (i % 100000) MINUTE AS at,
       CASE i % 800 WHEN 0 THEN 'soon' ELSE (DATE '2024-01-01' + CAST(i % 366 AS INTEGER)) || '' END AS shipped,
       i % 2 = 0 AS paid, '{"a": ' || i % 3 || '}' AS doc
FROM (SELECT range AS i FROM range(ROWS) UNION ALL SELECT range AS i FROM range(0, ROWS, 100))
"""

CHECKS: list[dict[str, Any]] = [
    {"rule": "not_null", "columns": ("price", "amount")},
    {"rule": "unique", "columns": ("sale_id",)},
    {"rule": "unique", "columns": ("customer_id", "day")},
    {"rule": "in_range", "columns": ("amount",), "min": 0, "max": 900.5},
    {"rule": "in_set", "columns": ("city",), "values": ("Rome", "Oslo")},
    {"rule": "matches", "columns": ("email",), "pattern": "email"},
    {"rule": "matches", "columns": ("shipped",), "pattern": "date"},
    {"rule": "matches", "columns": ("city",), "pattern": r"[A-Z]\w+"},
    {"rule": "fresh", "columns": ("at",), "within": "1 day"},
    {"rule": "references", "columns": ("customer_id",), "other": "sales", "other_column": "qty"},
    {"rule": "compares", "columns": ("day",), "than": "at", "operator": "<="},
    *({"rule": "has_type", "columns": ("shipped",), "type": kind} for kind in ("date", "timestamp", "int", "json")),
]


@pytest.fixture(
    scope="module", params=[3_000, pytest.param(1_000_000, marks=pytest.mark.million)], ids="{:,} rows".format
)
def sales(request: pytest.FixtureRequest, both: tuple[DuckDB, Engine]) -> TableDoc:
    duck, _ = both
    rows = duck.con.raw_sql(SALES.replace("ROWS", str(request.param))).to_arrow_table()
    path = f"tables/{ibis.util.gen_name('sales')}"
    written = duck.write(duck.memtable(rows), duck.root / path)
    return TableDoc(path=path, schema=written.schema, rows=written.rows)


def on_both(
    both: tuple[DuckDB, Engine], sales: TableDoc, ask: Callable[[Engine, ibis.Table], list[Any]]
) -> tuple[list[Any], list[Any]]:
    found = []
    for engine in both:
        began = time.perf_counter()
        found.append([told(one) for one in ask(engine, engine.read(sales, engine.root))])
        print(f"{sales.rows:,} rows on {engine.con.name}: {time.perf_counter() - began:.1f} s")
    return found[0], found[1]


def told(report: BaseModel) -> Any:
    """A report without examples: of many rows at fault, it names any."""
    return _without_examples(report.model_dump())


def _without_examples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_examples(item) for key, item in value.items() if key != "examples"}
    return [_without_examples(item) for item in value] if isinstance(value, list | tuple) else value


def unlike(one: Any, two: Any, where: str = "") -> list[str]:
    """Where two reports differ; floats may by rounding, since sums depend on the order of adding."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return [fault for key in one for fault in unlike(one[key], two[key], f"{where}.{key}")]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return [fault for i, pair in enumerate(zip(one, two, strict=True)) for fault in unlike(*pair, f"{where}[{i}]")]
    alike = math.isclose(one, two, rel_tol=1e-9) if isinstance(one, float) and isinstance(two, float) else one == two
    return [] if alike else [f"{where}: {one!r} on DuckDB, {two!r} on Spark"]


def test_an_analysis_finds_the_same(both: tuple[DuckDB, Engine], sales: TableDoc):
    (duck,), (spark,) = on_both(both, sales, lambda engine, table: [analyze(engine, table, "sales")])
    for one, two in zip(duck["columns"], spark["columns"], strict=True):
        if sales.rows > 100_000 and one["distinct"] > 1000 and one["name"] != "sale_id":
            assert two.pop("distinct") == pytest.approx(one.pop("distinct"), rel=0.15), one["name"]
    for finding in [*duck["findings"], *spark["findings"]]:
        assert finding["kind"] != "outlier" or finding.pop("where")  # It names bounds to the last digit.
    assert not unlike(duck, spark)
    kinds = {(finding["column"], finding["kind"]) for finding in spark["findings"]}
    assert kinds >= {
        *{(None, "duplicate"), ("amount", "missing"), ("amount", "type"), ("price", "missing"), ("price", "outlier")},
        *{("email", "format"), ("city", "format"), ("qty", "range"), ("shipped", "type")},
    }


@pytest.mark.parametrize("method", ["iqr", "zscore", "mad"])
def test_outliers_are_the_same(method: Any, both: tuple[DuckDB, Engine], sales: TableDoc):
    duck, spark = on_both(
        both, sales, lambda engine, table: [find_outliers(engine, table, "sales", ("price", "amount"), method)]
    )
    for side in (duck, spark):
        for column in side[0]["columns"]:
            column["column"].pop("distinct")
        for finding in side[0]["findings"]:
            assert finding.pop("where")  # It names bounds to the last digit.
    assert not unlike(duck, spark)


def test_checks_fail_alike(both: tuple[DuckDB, Engine], sales: TableDoc):
    checks = [Check.model_validate({"table": "sales", **arguments}) for arguments in CHECKS]
    duck, spark = on_both(both, sales, lambda engine, table: run_all(engine, checks, lambda _: table, now=NOW))
    assert not unlike(duck, spark)
    assert sum(verdict["failing"] > 0 for verdict in spark) > 10
