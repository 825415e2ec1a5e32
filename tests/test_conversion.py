"""Values from a plan as values of a column. Casts of columns are cases in cases/compile.yaml."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import OpenEngine

from agentlab.actions import ColumnType
from agentlab.conversion import common, literal
from agentlab.errors import PlanError

#: Given values, a column's type, and what they become.
VALUES: list[tuple[Any, ColumnType, Any]] = [
    (3.0, "int", 3),
    ("12", "int", 12),
    (9007199254740993, "int", 9007199254740993),
    (3, "float", 3.0),
    (5, "text", "5"),
    (True, "text", "true"),
    ("no", "bool", False),
    (1, "bool", True),
    ("2024-01-05", "date", date(2024, 1, 5)),
    ("2024-01-05", "timestamp", datetime(2024, 1, 5)),
    ("2024-01-05T10:30:00+02:00", "timestamp", datetime(2024, 1, 5, 8, 30)),
]


@pytest.mark.parametrize(("value", "kind", "expected"), VALUES)
def test_a_value_becomes_one_of_the_columns_type(value: Any, kind: ColumnType, expected: Any):
    found = literal(value, kind, "x").op()
    assert (found.value, type(found.value)) == (expected, type(expected))


def test_the_engine_computes_with_the_same_value(tmp_path: Path, open_engine: OpenEngine):
    engine = open_engine(tmp_path / "lab")
    given = {f"v{place}": literal(value, kind, "x") for place, (value, kind, _) in enumerate(VALUES)}
    (row,) = engine.con.to_pyarrow(engine.memtable(pa.table({"n": [1]})).select(**given)).to_pylist()
    assert [*row.values()] == [expected for _, _, expected in VALUES]
    engine.close()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2.5, "int"),
        ("many", "int"),
        (True, "int"),
        ("x", "float"),
        (2, "bool"),
        ("5 May", "date"),
        (1, "timestamp"),
        (2**70, "int"),
    ],
)
def test_a_value_that_is_not_one_is_told_with_the_column(value: Any, kind: ColumnType):
    with pytest.raises(PlanError, match=f"column 'x' holds {kind}, and .* isn't"):
        literal(value, kind, "x")


def test_types_meet_in_the_narrowest_that_holds_both():
    assert [common("int", "int"), common("float", "int"), common("timestamp", "date")] == ["int", "float", "timestamp"]
    assert {common("bool", "int"), common("date", "int"), common("json", "text")} == {"text"}
