"""Drift is told where it is, and not where it isn't, however large or small the tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from agentlab.drift import Drift, compare, psi
from agentlab.errors import PlanError

CHANCE = np.random.default_rng(7)


def drift(here: dict[str, Any], there: dict[str, Any], **more: Any) -> Drift:
    con = ibis.duckdb.connect()
    tables = (ibis.memtable(pa.table(data)) for data in (here, there))
    found = compare(SimpleNamespace(con=con), *tables, "june", "may", **more)
    con.disconnect()
    return found


def test_figures_are_those_of_scipy() -> None:
    here, there = CHANCE.normal(0.5, 1, 400), CHANCE.normal(0, 1, 300)
    (one,) = drift({"x": here}, {"x": there}).columns
    tested = stats.ks_2samp(here, there)
    assert (one.effect, one.p) == pytest.approx((tested.statistic, tested.pvalue), rel=1e-4)
    (two,) = drift({"c": ["a"] * 60 + ["b"] * 40}, {"c": ["a"] * 30 + ["b"] * 70}).columns
    expected = stats.chi2_contingency([[60, 40], [30, 70]], correction=False)
    assert (two.statistic, two.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert two.effect == pytest.approx(np.sqrt(expected.statistic / 200), abs=1e-6)
    assert two.psi == pytest.approx(psi(np.array([60.0, 40.0]), np.array([30.0, 70.0])), abs=1e-6)


def test_a_shift_is_drift_and_a_tiny_one_in_a_large_table_is_not() -> None:
    large = CHANCE.normal(0, 1, 50_000)
    found = drift({"x": large + 0.05, "y": large + 0.5}, {"x": large, "y": large})
    assert [(f.column, f.kind, f.count) for f in found.findings] == [("y", "drift", 1)]
    tiny = found.columns[0]
    assert tiny.p < 0.01 and tiny.effect < 0.1, "significant, and too small to matter"


def test_large_tables_are_sampled_the_same_every_time() -> None:
    con = ibis.duckdb.connect()
    con.raw_sql("CREATE TABLE june AS SELECT (i % 1000) + 300 AS n FROM range(250000) r(i)")
    con.raw_sql("CREATE TABLE may AS SELECT i % 1000 AS n FROM range(250000) r(i)")
    one, two = (compare(SimpleNamespace(con=con), con.table("june"), con.table("may"), "june", "may") for _ in range(2))
    assert one == two
    assert one.columns[0].effect == pytest.approx(0.3, abs=0.02)
    con.disconnect()


def test_what_is_not_compared_is_told() -> None:
    here = {"id": [1, 2], "n": [1, 2], "new": [1, 2], "kind": ["1", "2"]}
    found = drift(here, {"id": [1, 2], "n": [1, 2], "old": [1, 2], "kind": [1, 2]})
    assert found.untested == {
        **{"id": "it names things", "new": "only june has it", "old": "only may has it"},
        "kind": "text in june, int in may",
    }
    assert [one.column for one in drift(here, here, columns=["id"]).columns] == ["id"]
    with pytest.raises(PlanError, match="no column 'x'"):
        drift(here, here, columns=["x"])
    with pytest.raises(PlanError, match="no column to compare"):
        drift({"a": [1]}, {"b": [1]})
    with pytest.raises(PlanError, match="june has no rows"):
        drift({"a": pa.array([], pa.int64())}, {"a": [1]})


def test_a_column_that_lost_its_values_has_drifted() -> None:
    there = {"x": [float(n % 7) for n in range(200)]}
    half = {"x": [None if n % 2 else float(n % 7) for n in range(200)]}
    (finding,) = drift(half, there).findings
    assert "missing 0.0% there, 50.0% here" in finding.message
    (finding,) = drift({"x": pa.array([None] * 200, pa.float64())}, there).findings
    assert "missing 0.0% there, 100.0% here" in finding.message


def test_moments_are_compared_as_numbers_and_truth_as_categories() -> None:
    days = np.arange("2026-01-01", "2026-04-11", dtype="datetime64[D]")
    found = drift({"at": days + 60, "ok": [True] * 100}, {"at": days, "ok": [n % 2 == 0 for n in range(100)]})
    assert {one.column: (one.test, one.drifted) for one in found.columns} == {"at": ("ks", True), "ok": ("chi2", True)}
    assert {name: shares for name, *shares in found.columns[1].moved} == {"false": [0.5, 0.0], "true": [0.5, 1.0]}
