"""Frames as sources: kept in the lab as they are, pulled like an API."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError, PlanError
from agentlab.sources import FrameSource, pull, read_doc, save_frame, schema_of


def asking(**arguments: Any) -> Pull:
    return Pull(**{"source": "visits", "resource": "visits", "into": "staging.visits", **arguments})


@pytest.fixture
def visits() -> pd.DataFrame:
    days = pd.to_datetime(["2026-01-02", "2026-01-05", None, "2026-01-01"])
    return pd.DataFrame({"day": days, "n": [2, 5, 0, 1]})


def test_a_frame_comes_back_as_it_was(tmp_path: Path, visits: pd.DataFrame) -> None:
    source = read_doc(save_frame(tmp_path, "visits", visits).model_dump(by_alias=True))
    assert pull(source, asking(), tmp_path)["n"].to_pylist() == [2, 5, 0, 1]


def test_newest_first_with_a_limit(tmp_path: Path, visits: pd.DataFrame) -> None:
    source = save_frame(tmp_path, "visits", visits, time_column="day")
    assert pull(source, asking(order="newest", limit=2), tmp_path)["n"].to_pylist() == [5, 2]
    assert pull(source, asking(order="oldest"), tmp_path)["n"].to_pylist() == [1, 2, 5, 0]
    assert pull(source, asking(since="2026-01-02", until="2026-01-05"), tmp_path)["n"].to_pylist() == [2, 5]


def test_all_kinds_of_columns_get_one_of_our_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "mixed": [1, "x", None],
            "money": [Decimal("1.50"), Decimal("2"), None],
            "zone": pd.to_datetime(["2026-03-01T00:30:00.123456789+02:00"] * 3),
            "day": [dt.date(2026, 1, 1), None, dt.date(2026, 1, 3)],
            "kind": pd.Categorical(["a", "b", "a"]),
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "huge": np.array([2**64 - 1, 0, 1], dtype="uint64"),
            "tags": [["x"], None, {"k": 1}],
            "wait": pd.to_timedelta(["1h", "2h", "3h"]),
            "month": pd.PeriodIndex(["2026-01", None, "2026-03"], freq="M"),
            "yes": [True, False, True],
            "Yes": [0.5, None, 1.5],
        }
    )
    table = pull(save_frame(tmp_path, "visits", frame), asking(), tmp_path)
    assert schema_of(table) == {
        **{"mixed": "text", "money": "float", "zone": "timestamp", "day": "date", "kind": "text", "whole": "int"},
        **{"huge": "text", "tags": "json", "wait": "text", "month": "text", "yes": "bool", "Yes_2": "float"},
    }
    assert table["mixed"].to_pylist() == ["1", "x", None]
    assert table["zone"][0].as_py() == dt.datetime(2026, 2, 28, 22, 30, 0, 123456)
    assert table["whole"].to_pylist() == [1, None, 3]
    assert table["month"].to_pylist() == ["2026-01", None, "2026-03"]


def test_a_named_index_is_a_column_and_an_unnamed_one_is_not(tmp_path: Path, visits: pd.DataFrame) -> None:
    assert list(save_frame(tmp_path, "visits", visits).resources["visits"].schema_ or {}) == ["day", "n"]
    indexed = visits.set_index("day")
    assert list(save_frame(tmp_path, "visits", indexed).resources["visits"].schema_ or {}) == ["day", "n"]


def test_registering_again_leaves_the_older_rows_for_an_undo(tmp_path: Path, visits: pd.DataFrame) -> None:
    old = save_frame(tmp_path, "visits", visits)
    new = save_frame(tmp_path, "visits", visits.head(1))
    assert len(pull(old, asking(), tmp_path)) == 4 and len(pull(new, asking(), tmp_path)) == 1
    assert save_frame(tmp_path, "visits", visits) == old


def test_faults_are_named(tmp_path: Path, visits: pd.DataFrame) -> None:
    with pytest.raises(LabError, match=r"time column 'date' isn't in the frame; there are: day, n"):
        save_frame(tmp_path, "visits", visits, time_column="date")
    with pytest.raises(LabError, match=r"'../x' is no name for a source"):
        save_frame(tmp_path, "../x", visits)
    with pytest.raises(LabError, match=r"without columns"):
        save_frame(tmp_path, "visits", pd.DataFrame())
    source = save_frame(tmp_path, "visits", visits)
    with pytest.raises(PlanError, match=r"visits.visits has no time column"):
        pull(source, asking(order="newest"), tmp_path)
    (tmp_path / source.resources["visits"].path).unlink()
    with pytest.raises(LabError, match=r"can't be read.*Register the frame again"):
        pull(source, asking(), tmp_path)


def test_a_file_outside_the_lab_is_not_read(tmp_path: Path) -> None:
    source = FrameSource(resources={"visits": {"path": "../visits.parquet"}})
    with pytest.raises(LabError, match=r"leads out of the lab"):
        pull(source, asking(), tmp_path)
