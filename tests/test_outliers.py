"""Outliers by each method, against figures that were worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest

from agentlab.errors import PlanError
from agentlab.outliers import Outliers, find_outliers

WEIGHTS = [10, 11, 12, 13, 14, 15, 16, 25, 9000]


def found(data: dict[str, list[Any]], **more: Any) -> Outliers:
    con = ibis.duckdb.connect()
    outliers = find_outliers(SimpleNamespace(con=con), ibis.memtable(pa.table(data)), "parcels", **more)
    con.disconnect()
    return outliers


@pytest.mark.parametrize(
    ("method", "threshold", "count"),
    [("iqr", None, 2), ("iqr", 3, 1), ("zscore", None, 0), ("zscore", 2, 1), ("mad", None, 2)],
)  # fmt: skip
def test_each_method_counts_what_lies_outside_its_bounds(method: Any, threshold: float | None, count: int) -> None:
    outliers = found({"weight": WEIGHTS}, method=method, threshold=threshold)
    assert sum(f.count for f in outliers.findings) == outliers.columns[0].count == count


def test_bounds_are_those_of_the_textbook() -> None:
    values = np.array(WEIGHTS, dtype=float)
    (iqr,), (z,), (mad,) = (found({"w": WEIGHTS}, method=m).columns for m in ("iqr", "zscore", "mad"))
    q1, q3 = np.quantile(values, (0.25, 0.75))
    assert (iqr.low, iqr.high) == pytest.approx((q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)))
    assert z.high == pytest.approx(values.mean() + 3 * values.std(ddof=1))
    deviation = np.median(np.abs(values - np.median(values)))
    assert mad.high == pytest.approx(np.median(values) + 3.5 * deviation / 0.6745)


def test_where_most_values_are_equal_mad_goes_by_the_mean_deviation() -> None:
    (column,) = found({"w": [5.0] * 9 + [6.0]}, method="mad").columns
    assert column.high == pytest.approx(5 + 3.5 * 1.253314 * 0.1)
    assert column.count == 1


def test_identifiers_are_left_out_unless_named_and_text_may_be_numbers() -> None:
    data = {"item_id": WEIGHTS, "price": [str(w) for w in WEIGHTS], "name": list("abcdefghi")}
    assert [c.column.name for c in found(data).columns] == ["price"]
    assert [f.column for f in found(data, columns=["item_id"]).findings] == ["item_id"]
    with pytest.raises(PlanError, match="name is text"):
        found(data, columns=["name"])
    with pytest.raises(PlanError, match="did you mean 'price'"):
        found(data, columns=["prise"])


def test_the_farthest_come_first_and_the_condition_holds_for_all() -> None:
    (finding,) = found({"weight": WEIGHTS}).findings
    assert [row["weight"] for row in finding.examples] == [9000, 25]
    assert finding.where and '"weight"' in finding.where
    assert "2 of 9 values of weight are outliers by iqr 1.5" in finding.message


def test_an_empty_table_and_an_empty_column_have_none() -> None:
    assert found({"w": pa.array([], pa.float64())}).columns == []
    assert found({"w": pa.array([None, None], pa.float64()), "v": [1.0, 2.0]}).findings == []
