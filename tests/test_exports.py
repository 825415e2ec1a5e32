"""Exports: files for other programs, which come with the commit, go with the undo, and replace nothing unasked."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest

from agentlab import exports, placing
from agentlab.datafiles import export_place
from agentlab.errors import LabError, PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.placing import ExportDoc, Mark
from agentlab.plan import Plan, action_from
from agentlab.runs import RunResult

FRAME = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "note": ["=1+1", 'a "b", c\nd', None],
        "paid": [9.5, None, 1e20],
        "day": [date(2024, 1, 31), date(1850, 1, 1), None],
        "at": [datetime(2024, 1, 31, 10, 0, 5), None, None],
        "ok": [True, False, None],
        "tags": [["x"], {"a": 1}, None],
        "big": [2**60, 1, 0],
    }
)
T = "staging.orders"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(FRAME, "orders")
        yield lab


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def act(lab: Lab, *calls: dict[str, Any], approve: bool | None = None) -> RunResult:
    return lab.run(Plan.from_calls(calls), approve=approve)


def export(lab: Lab, path: str | None = None, approve: bool | None = None, **arguments: Any) -> RunResult:
    given = {**({"path": path} if path else {}), "table": T, **arguments}
    return act(lab, call("export", **given), approve=approve)


def files(lab: Lab) -> dict[str, bytes]:
    """People's files in the lab, and what is in them."""
    found = [path for path in lab.root.rglob("*") if path.is_file()]
    inner = {path.relative_to(lab.root): path for path in found}
    own = ("tables", "stores", "tmp", "sources", "slots", ".exports")
    return {
        str(name): path.read_bytes()
        for name, path in inner.items()
        if name.parts[0] not in own and ".sqlite" not in name.name
    }


# What is written


def test_csv_has_the_cells_as_they_are(lab: Lab):
    result = export(lab)
    assert (result.status, list(files(lab))) == ("done", ["exports/orders.csv"])
    assert "exported staging.orders to exports/orders.csv (csv): 3 rows" in result.message
    with (lab.root / "exports/orders.csv").open(newline="") as file:
        header, first, second, third = csv.reader(file)
    assert header == list(FRAME.columns)
    assert first == ["1", "=1+1", "9.5", "2024-01-31", "2024-01-31 10:00:05.000000", "true", '["x"]', str(2**60)]
    assert (second[1], third[1:7]) == ('a "b", c\nd', ["", "100000000000000000000", "", "", "", ""]) or third[
        2
    ] == "1e+20"


def test_json_lines_nest_what_is_nested(lab: Lab):
    export(lab, format="jsonl")
    first, second, third = map(json.loads, (lab.root / "exports/orders.jsonl").read_text().splitlines())
    assert (first["tags"], second["tags"], third["tags"]) == (["x"], {"a": 1}, None)
    assert (first["day"], first["at"], first["ok"], second["paid"]) == ("2024-01-31", "2024-01-31T10:00:05", True, None)


def test_parquet_has_the_types(lab: Lab):
    export(lab, "out/orders.parquet")
    found = pq.read_table(lab.root / "out/orders.parquet")
    assert [str(field.type) for field in found.schema] == [
        *("int64", "string", "double", "date32[day]", "timestamp[us]", "bool", "string", "int64")
    ]
    assert found.num_rows == 3


def test_no_cell_of_excel_is_a_formula(lab: Lab):
    export(lab, format="excel")
    sheet = openpyxl.load_workbook(lab.root / "exports/orders.xlsx")["data"]
    header, first, second, _ = sheet.iter_rows()
    assert [cell.value for cell in header] == list(FRAME.columns)
    assert (first[1].value, first[1].data_type) == ("=1+1", "s")
    assert [cell.value for cell in first][2:] == [
        *(9.5, datetime(2024, 1, 31), datetime(2024, 1, 31, 10, 0, 5), True, '["x"]', str(2**60))
    ]
    assert second[3].value == "1850-01-01", "before Excel's calendar begins"


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "excel"])
def test_what_goes_out_comes_back_in(lab: Lab, format: str):
    act(
        lab, call("drop_columns", table=T, columns=["tags", "ok", "big"]), call("rename", table=T, column="id", to="ID")
    )
    path = f"exports/back.{'xlsx' if format == 'excel' else format}"
    assert export(lab, path).status == "done"
    assert path in lab.view().files
    act(lab, call("load_file", path=path, into="staging.back"))
    there, back = lab.table(T), lab.table("staging.back")
    assert list(back.columns) == ["ID", "note", "paid", "day", "at"]
    assert back["ID"].tolist() == there["ID"].tolist()
    assert back["note"].fillna("").tolist() == there["note"].fillna("").tolist()
    assert back["paid"].fillna(0).tolist() == there["paid"].fillna(0).tolist()


def test_an_excel_sheet_is_only_so_large(lab: Lab, tmp_path: Path):
    with pytest.raises(LabError, match=r"holds 1,048,575 rows below its header .* has 1,048,576"):
        exports.write(tmp_path, {"id": "int"}, 1_048_576, tmp_path / "x.xlsx", "excel")
    lab.load(pd.DataFrame({"t": ["x" * 40_000]}), "long")
    result = export(lab, table="staging.long", format="excel")
    assert (result.status, files(lab)) == ("failed", {})
    assert "a text of 40,000 characters; a cell of Excel has 32,767" in result.message


# Where it goes


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, ("exports/orders.csv", "csv")),
        ({"format": "excel"}, ("exports/orders.xlsx", "excel")),
        ({"path": "a/b.jsonl"}, ("a/b.jsonl", "jsonl")),
        ({"path": "a/b", "format": "parquet"}, ("a/b", "parquet")),
        ({"path": "a/b"}, ("a/b", "csv")),
        ({"path": "a/b.tsv", "format": "csv"}, ("a/b.tsv", "csv")),
    ],
)
def test_places(arguments: dict[str, Any], wanted: tuple[str, str]):
    assert export_place(action_from(call("export", table=T, **arguments))) == wanted


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ({"path": "../x.csv"}, "refuse", "leads out of the lab"),
        ({"path": "/tmp/x.csv"}, "refuse", "leads out of the lab"),
        ({"path": "out/link/x.csv"}, "failed", "leads by a link out of the lab"),
        ({"path": "tables/x.csv"}, "clarify", "a place of the lab's own"),
        ({"path": ".exports/x.csv"}, "clarify", "a place of the lab's own"),
        ({"path": "catalog.sqlite"}, "clarify", "a place of the lab's own"),
        ({"path": "policy.yaml"}, "clarify", "a place of the lab's own"),
        ({"path": "./prices.yaml", "format": "csv"}, "clarify", "a place of the lab's own"),
        ({"path": "a.xlsx", "format": "csv"}, "clarify", "'a.xlsx' would be csv; name it with .csv"),
        ({"path": "a.json"}, "clarify", "can't be exported as json"),
        ({"path": "out/"}, "clarify", "is no file's name"),
        ({"path": "out"}, "failed", "out is a folder"),
        ({"table": "staging.order"}, "clarify", "did you mean 'staging.orders'"),
    ],
)
def test_where_nothing_can_be_exported(lab: Lab, arguments: dict[str, Any], status: str, told: str):
    (lab.root / "out").mkdir()
    (lab.root / "out/link").symlink_to(lab.root.parent)
    result = export(lab, **arguments)
    assert (result.status, files(lab)) == (status, {})
    assert told in result.message


# Undo, and what was there


def test_an_export_is_undone(lab: Lab):
    first = export(lab)
    before = files(lab)
    second = act(lab, call("filter", table=T, where="id <= 2"), call("export", table=T))
    assert second.status == "done", "an earlier export of the same table may be replaced"
    assert files(lab).keys() == before.keys() and files(lab) != before
    assert "file exports/orders.csv: the one before is back" in lab.undo(second.run)
    assert files(lab) == before
    assert "file exports/orders.csv: removed" in lab.undo(first.run)
    assert files(lab) == {} and not (lab.root / "exports").exists()


def test_a_file_of_somebody_else_waits_for_them_and_comes_back(lab: Lab):
    (lab.root / "exports").mkdir()
    (lab.root / "exports/orders.csv").write_text("mine")
    waits = export(lab)
    assert (waits.status, files(lab)) == ("approval", {"exports/orders.csv": b"mine"})
    assert "exports/orders.csv is there already" in waits.message
    assert lab.reject(waits.run).status == "refuse"
    agreed = export(lab, approve=True)
    assert files(lab)["exports/orders.csv"] != b"mine"
    lab.undo(agreed.run)
    assert files(lab) == {"exports/orders.csv": b"mine"}


def test_approval_given_later(lab: Lab):
    (lab.root / "mine.csv").write_text("mine")
    waits = export(lab, "mine.csv")
    assert lab.approve(waits.run).status == "done"
    assert files(lab)["mine.csv"].startswith(b"id,note")
    assert lab.undo(waits.run) and files(lab) == {"mine.csv": b"mine"}


def test_an_export_that_somebody_has_changed_is_theirs(lab: Lab):
    first = export(lab)
    (lab.root / "exports/orders.csv").write_text("worked on")
    assert export(lab).status == "approval"
    assert "file exports/orders.csv: changed since, left as it is" in lab.undo(first.run)
    assert files(lab) == {"exports/orders.csv": b"worked on"}


def test_another_tables_export_waits(lab: Lab):
    lab.load(FRAME[["id"]], "other")
    export(lab, "out.csv")
    result = export(lab, "out.csv", table="staging.other")
    assert (result.status, "holds an export of staging.orders" in result.message) == ("approval", True)


def test_several_files_of_one_run_come_and_go_together(lab: Lab):
    paths = ("a.csv", "b.jsonl", "a.csv")
    result = act(lab, *(call("export", table=T, path=path) for path in paths))
    assert (result.status, sorted(files(lab))) == ("done", ["a.csv", "b.jsonl"])
    lab.undo(result.run)
    assert files(lab) == {}


def test_a_run_that_fails_exports_nothing(lab: Lab):
    result = act(
        lab,
        call("export", table=T),
        call("cast", table=T, column="note", type="int"),
        call("export", table=T, path="exports"),
    )
    assert (result.status, files(lab)) == ("failed", {})
    assert not list((lab.root / ".exports").glob("*/*"))


def test_a_place_that_is_taken_before_the_commit_is_a_conflict(lab: Lab):
    (lab.root / "a.csv").write_text("mine")

    def meanwhile(review: Any) -> bool:
        (lab.root / "a.csv").write_text("mine, and changed")
        return True

    result = lab.run(Plan.from_calls([call("export", table=T, path="a.csv")]), approve=meanwhile)
    assert (result.status, files(lab)) == ("failed", {"a.csv": b"mine, and changed"})
    assert "a.csv has been changed since the run began" in result.message
    assert lab.catalog.find("export", "a.csv") is None


def test_a_place_that_cannot_be_written_changes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    (lab.root / "out.csv").write_text("mine")
    monkeypatch.setattr(Path, "replace", failing(Path.replace, "z.csv"))
    calls = [call("export", table=T, path=path) for path in ("out.csv", "z.csv")]
    result = act(lab, *calls, approve=True)
    assert (result.status, files(lab)) == ("failed", {"out.csv": b"mine"})
    assert not lab.catalog.entries("export")


def failing(replace: Any, name: str) -> Any:
    """A full disk, as far as one file goes."""

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    return full


def test_what_is_exported_is_swept_with_its_run_only(lab: Lab):
    (lab.root / "mine.csv").write_text("mine")
    kept = export(lab, "mine.csv", approve=True)
    stray = lab.root / ".exports/rgone/0-new"
    stray.parent.mkdir(parents=True)
    stray.write_text("left by a killed run")
    for path in (lab.root / ".exports").rglob("*"):
        os.utime(path, (0, 0))
    assert lab.catalog.sweep() == [".exports/rgone"]
    lab.undo(kept.run)
    assert files(lab) == {"mine.csv": b"mine"}


def test_a_file_replaced_for_a_commit_that_never_came_is_brought_back(lab: Lab):
    (lab.root / "mine.csv").write_text("mine")
    draft, folder = lab.catalog.draft("rkilled"), lab.root / ".exports" / "rkilled"
    folder.mkdir(parents=True)
    (folder / "0-new").write_text("ours, not theirs")
    new, found = Mark.of(folder / "0-new"), Mark.of(lab.root / "mine.csv")
    assert new and found
    places = {"path": ".exports/rkilled", "staged": ".exports/rkilled/0-new", "kept": ".exports/rkilled/0-before"}
    told = {"format": "csv", "table": T, "version": 1, "rows": 3, "mark": new, "found": found}
    placing.settle(draft.root, {}, {"mine.csv": (1, ExportDoc(file="mine.csv", **told, **places))})
    assert (lab.root / "mine.csv").read_text() == "ours, not theirs"
    lab.recover()
    assert (lab.root / "mine.csv").read_text() == "mine"


def test_place_errors_are_for_the_model(lab: Lab):
    with pytest.raises(PlanError, match="leads out of the lab"):
        export_place(action_from(call("export", table=T, path="../x")))
