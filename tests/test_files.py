"""Data files of the lab's folder: whatever the one who wrote them thought a table looks like, the rows come in."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentlab.datafiles import data_files
from agentlab.errors import AgentlabError, LabError, PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult
from agentlab.sources import excel
from agentlab.sources.fetched import Fetched
from agentlab.sources.files import load
from agentlab.sources.readings import kind_of_all

Rows = list[dict[str, Any]]


def read(root: Path, content: str | bytes, name: str = "x.csv", format: str | None = None) -> Fetched:
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(root, name, format)


def rows(root: Path, content: str | bytes, name: str = "x.csv") -> Rows:
    found: Rows = read(root, content, name).table().to_pylist()
    return found


# Delimited text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_any_delimiter_in_any_encoding(tmp_path: Path, delimiter: str, encoding: str):
    lines = ["id,name,note", '1,Zoë,"a,b"', "2,Jürgen,"]
    text = "".join(f"{line}\r\n" for line in lines).replace(",", delimiter)
    wanted = [{"id": 1, "name": "Zoë", "note": f"a{delimiter}b"}, {"id": 2, "name": "Jürgen", "note": None}]
    assert rows(tmp_path, text.encode(encoding)) == wanted
    assert rows(tmp_path, gzip.compress(text.encode(encoding)), "x.csv.gz") == wanted


def test_a_letter_far_down_decides_the_encoding(tmp_path: Path):
    text = "name\n" + "Ann\n" * 600_000 + "Zoë\n"
    for encoding in ("utf-8", "cp1252"):
        assert rows(tmp_path, text.encode(encoding))[-1] == {"name": "Zoë"}
    assert rows(tmp_path, b"name\n\x81\xe9\n") == [{"name": "\x81é"}], "what even Windows doesn't know is Latin-1"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,,c\n1,2,3\n", ["a", "column1", "c"]),
        ("a,a,A\n1,2,3\n", ["a", "a_1", "A_2"]),
        ("Order ID, Unit Price (€) ,x y\n1,2,3\n", ["Order ID", "Unit Price (€)", "x y"]),
        ("1,Ann\n2,Bob\n", ["column0", "column1"]),
        ("country,2019,2020\nFR,1,3\nDE,2.5,4\n", ["country", "2019", "2020"]),
        ("name,city\nAnn,Rome\n", ["name", "city"]),
        ("name\nAnn\nBob\n", ["name"]),
        ("id,a\n1,x,p\n2,y,q\n3,z,r\n", ["id", "a", "column2"]),
        ("Report of May\n\nid,amount\n1,5\n2,6\n", ["id", "amount"]),
        ("sep=;\nid;v\n1;2\n", ["id", "v"]),
        ("id,name\r1,Ann\r2,Bob\r", ["id", "name"]),
        ("id,name\n", ["id", "name"]),
        ('"first\nname",b\nx,1\n', ["first name", "b"]),
    ],
)
def test_headers(tmp_path: Path, text: str, columns: list[str]):
    assert list(read(tmp_path, text).types) == columns


def test_a_file_without_header_keeps_its_first_row(tmp_path: Path):
    assert [row["column0"] for row in rows(tmp_path, "1,Ann\n2,Bob\n")] == [1, 2]


def test_quotes_and_lines_within_a_cell(tmp_path: Path):
    text = 'id,note\n1,"a ""b"" c"\n2,"x\ny, z"\n3,""\n4,5" pipe\n\n'
    assert [row["note"] for row in rows(tmp_path, text)] == ['a "b" c', "x\ny, z", None, '5" pipe']


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", " 3 "], "int"),
        (["1", "2.5", ".5", "1e5"], "float"),
        (["1", "2", "n/a"], "text"),
        (["00123", "4"], "text"),
        (["+49123", "4"], "text"),
        (["12345678901234567890", "1"], "text"),
        (["9223372036854775807"], "int"),
        (["9223372036854775808"], "text"),
        (["true", "False"], "bool"),
        (["yes", "no"], "bool"),
        (["F", "M"], "text"),
        (["2024-01-31"], "date"),
        (["2024-02-30"], "text"),
        (["31/12/2024", "01/02/2024"], "date"),
        (["12/31/2024", "01/02/2024"], "date"),
        (["01/02/2024", "02/03/2024"], "text"),
        (["1.2.2024", "31.12.2024"], "date"),
        (["2024-01-31 10:00", "2024-01-31T11:00:05.25"], "timestamp"),
        (["2024-01-31", "2024-01-31T11:00:00+02:00"], "timestamp"),
        (["1,5", "2"], "text"),
        ([], "text"),
    ],
)
def test_a_type_is_what_all_values_are(tmp_path: Path, values: list[str], kind: str):
    """Few values are judged by one function, a file's columns by another: they must agree."""
    assert kind_of_all(values) == kind
    quoted = "".join(f'{n},"{value}"\n' for n, value in enumerate(values))
    assert read(tmp_path, "id,v\n" + quoted).types["v"] == kind
    late = "".join(f"{n},\n" for n in range(60)) + quoted
    assert read(tmp_path, "id,v\n" + late).types["v"] == kind


def test_values_are_read_as_their_type(tmp_path: Path):
    text = "d,t,b\n31/12/2024,2024-01-31T11:00:00+02:00,yes\n01/02/2024,2024-01-31,NO\n,,\n"
    first, second, third = rows(tmp_path, text)
    assert first == {"d": date(2024, 12, 31), "t": datetime(2024, 1, 31, 9), "b": True}
    assert second == {"d": date(2024, 2, 1), "t": datetime(2024, 1, 31), "b": False}
    assert set(third.values()) == {None}


def test_ragged_rows_are_rejected_and_the_others_go_on(tmp_path: Path):
    found = read(tmp_path, "id|name\n1|a\n2|b|x\n3\n4|d\n")
    assert [row["id"] for row in found.table().to_pylist()] == [1, 4]
    assert [(r.row, r.reason) for r in found.rejected] == [
        ('["2", "b", "x"]', "row 3: 3 fields, where the header has 2"),
        ('["3"]', "row 4: 1 fields, where the header has 2"),
    ]


def test_thousands_of_columns(tmp_path: Path):
    names = [f"c{n}" for n in range(3000)]
    found = read(tmp_path, "".join(f"{','.join(line)}\n" for line in (names, *[["1"] * 3000] * 3)))
    assert (list(found.types), set(found.types.values()), found.table().num_rows) == (names, {"int"}, 3)


# JSON, Parquet, Excel


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("x.json", '[{"a": 1, "b": {"c": "x"}}, {"a": 2.5}]', [{"a": 1.0, "b_c": "x"}, {"a": 2.5, "b_c": None}]),
        ("x.json", '{"page": 1, "items": [{"a": 1}], "tags": ["x"]}', [{"a": 1}]),
        ("x.json", '{"a": 1, "b": [1, 2]}', [{"a": 1, "b": "[1, 2]"}]),
        ("x.json", '{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("x.jsonl", '\ufeff{"a": "2024-01-31"}\n\n{"a": null}\n', [{"a": date(2024, 1, 31)}, {"a": None}]),
        ("x", '[{"a": true}]', [{"a": True}]),
        ("x", "a;b\n1;2\n", [{"a": 1, "b": 2}]),
    ],
)
def test_json_and_files_without_an_ending(tmp_path: Path, name: str, text: str, wanted: Rows):
    assert rows(tmp_path, text, name) == wanted


def test_broken_lines_of_json_are_rejected(tmp_path: Path):
    found = read(tmp_path, '{"a": 1}\n{broken\n[1]\n{"a": 2}\n', "x.jsonl")
    assert found.table().to_pylist() == [{"a": 1}, {"a": 2}]
    assert [r.reason.partition(":")[0] for r in found.rejected] == [
        *("line 2 is no JSON", "row 3 is no object but [1]")
    ]
    assert [r.row for r in found.rejected] == ['"{broken"', "[1]"]


def test_parquet_files_and_folders(tmp_path: Path):
    for day, number in (("2024-01-01", 1), ("2024-01-02", 2)):
        (folder := tmp_path / "events" / f"day={day}").mkdir(parents=True)
        table = pa.table({"id": [number], "tags": [["x"]], "at": pa.array([datetime(2024, 1, 1)], pa.timestamp("ns"))})
        pq.write_table(table, folder / "part.parquet")
    found = load(tmp_path, "events").table().to_pylist()
    assert [(row["id"], row["tags"], str(row["day"])) for row in found] == [
        *((1, '["x"]', "2024-01-01"), (2, '["x"]', "2024-01-02"))
    ]
    one = load(tmp_path, "events/day=2024-01-01/part.parquet")
    assert one.types == {"id": "int", "tags": "json", "at": "timestamp"}


def workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Data")
    for row in (
        *([None, "Visits of May"], []),
        [None, "id", "when", "at", "x", None, "zip", "ok"],
        [None, 1, date(2024, 1, 2), datetime(2024, 1, 2, 3, 4), 1.5, "q", "007", True],
        [None, 2, date(2024, 1, 3), None, 2, None, None, False],
    ):
        sheet.append(row)
    book.save(path)
    return path


def test_excel_is_its_first_sheet_with_anything_in_it(tmp_path: Path):
    workbook(tmp_path / "b.xlsx")
    wanted = [
        {"id": 1, "when": date(2024, 1, 2), "at": datetime(2024, 1, 2, 3, 4), "x": 1.5, "column4": "q", "zip": "007"},
        {"id": 2, "when": date(2024, 1, 3), "at": None, "x": 2.0, "column4": None, "zip": None},
    ]
    found = load(tmp_path, "b.xlsx").table().to_pylist()
    assert found == [{**wanted[0], "ok": True}, {**wanted[1], "ok": False}]
    (tmp_path / "b.xlsx").rename(tmp_path / "b")
    assert load(tmp_path, "b").table().to_pylist() == found, "without an ending its content tells it"


def test_both_libraries_read_the_same_sheet(tmp_path: Path):
    path = workbook(tmp_path / "b.xlsx")
    filled = [[row for row in sheet if any(row)] for sheet in excel._by_openpyxl(path)]
    assert excel._table(filled[1]).to_pylist() == load(tmp_path, "b.xlsx").table().to_pylist()


# What can't be read


@pytest.mark.parametrize(
    ("name", "content", "format", "told"),
    [
        ("x.csv", b"", None, "x.csv is empty"),
        ("x.csv", b"\n \n", None, "x.csv is empty"),
        ("x.json", b"[1, 2", None, "x.json is no JSON"),
        ("x.json", b"[]", None, "holds no row with a column"),
        ("x.json", b'"x"', None, "holds 'x', no array of objects"),
        ("x.json", b'{"a": [{"x": 1}], "b": [{"x": 1}]}', None, r"several arrays \(a, b\)"),
        ("x.jsonl", b"1\n2\n", None, "row 1 is no object but 1"),
        ("x.parquet", b"PAR1 no", None, "can't be read as Parquet"),
        ("x.xlsx", b"no", None, "can't be read as an Excel workbook"),
        ("x.csv.gz", b"\x1f\x8b\x08broken", None, "can't be read"),
        ("x.csv", b"a,b\n1,2\n", "parquet", "can't be read as Parquet"),
    ],
)
def test_what_is_broken_is_said_to_be(tmp_path: Path, name: str, content: bytes, format: str | None, told: str):
    with pytest.raises(LabError, match=told) as fault:
        read(tmp_path, content, name, format).table()
    assert str(tmp_path) not in str(fault.value).replace(f"{tmp_path}/{name}", "")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("exports/visit.csv", "no file 'exports/visit.csv' in the lab's folder; did you mean 'exports/visits.csv'"),
        ("../other.csv", "leads out of the lab"),
        ("/etc/passwd", "leads out of the lab"),
        ("secrets/token", "no file"),
        ("catalog.sqlite", "no file"),
        ("exports", "is a folder"),
        ("link.csv", "leads out of the lab"),
    ],
)
def test_files_lie_in_the_labs_folder(tmp_path: Path, path: str, told: str):
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        for name in ("exports/visits.csv", "secrets/token", "../other.csv"):
            (lab.root / name).parent.mkdir(exist_ok=True)
            (lab.root / name).write_text("a,b\n1,2\n")
        (lab.root / "link.csv").symlink_to(tmp_path / "other.csv")
        with pytest.raises(PlanError, match=told):
            load(lab.root, path)


def test_a_lab_shows_its_data_files_newest_first(tmp_path: Path):
    with Lab(tmp_path, Scripted({})) as lab:
        lab.load(pd.DataFrame({"id": [1]}), "orders")
        import os

        for age, name in enumerate(("new.csv", "exports/old.tsv.gz", "notes.md", ".hidden.csv", "tmp/x.csv")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("a\n1\n")
            os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
        assert lab.view().files == data_files(tmp_path) == ("new.csv", "exports/old.tsv.gz")


# Loaded into a lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        (lab.root / "exports").mkdir()
        (lab.root / "exports/visits.csv").write_text("id;name\n1;Ann\n2;Bob;x\n3;Cem\n")
        yield lab


def loaded(lab: Lab, approve: bool | None = None, **arguments: Any) -> RunResult:
    given = {"path": "exports/visits.csv", "into": "staging.visits", **arguments}
    return lab.run(Plan.from_calls([{"name": "load_file", "arguments": given}]), approve=approve)


def test_a_file_becomes_a_table_and_its_ragged_rows_are_set_aside(lab: Lab):
    result = loaded(lab)
    assert (result.status, "1 rows that no table could take are in quarantine" in result.message) == ("done", True)
    assert lab.table("staging.visits").to_dict("list") == {"id": [1, 3], "name": ["Ann", "Cem"]}
    (aside,) = lab.table("quarantine.visits").to_dict("records")
    assert (aside["row"], aside["reason"]) == ('["2", "Bob", "x"]', "row 3: 3 fields, where the header has 2")
    assert lab.lineage("staging.visits", "id")[-1].source == "exports/visits.csv"


def test_loading_is_undone(lab: Lab):
    first = loaded(lab)
    before = {name: lab.table(name).to_dict("list") for name in lab.tables()}
    (lab.root / "exports/visits.csv").write_text("id;name;city\n3;Dora;Rome\n4;Eve\n")
    second = loaded(lab, mode="upsert", key=["id"])
    assert lab.table("staging.visits")["name"].tolist() == ["Ann", "Dora"]
    assert len(lab.table("quarantine.visits")) == 2
    lab.undo(second.run)
    assert {name: lab.table(name).to_dict("list") for name in lab.tables()} == before
    lab.undo(first.run)
    assert not lab.tables()


def test_modes(lab: Lab):
    loaded(lab)
    assert loaded(lab, mode="append").tables["staging.visits"] == 4
    assert loaded(lab, mode="upsert", key=["id"]).tables["staging.visits"] == 2
    lab.load(pd.DataFrame({"id": [1]}), "orders")
    assert loaded(lab, into="staging.orders").status == "approval", "another run's table isn't replaced unasked"


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ({"path": "exports/visit.csv"}, "clarify", "did you mean 'exports/visits.csv'"),
        ({"path": "../visits.csv"}, "refuse", "leads out of the lab"),
        ({"into": "core.visits"}, "refuse", "ingestion writes staging"),
        ({"format": "excel"}, "failed", "can't be read as an Excel workbook"),
        ({"mode": "upsert", "key": ["nr"]}, "failed", "no key column 'nr'"),
    ],
)
def test_faults_of_loading(lab: Lab, arguments: dict[str, Any], status: str, told: str):
    result = loaded(lab, **arguments)
    assert (result.status, lab.tables()) == (status, {})
    assert told in result.message


def test_errors_are_ours(lab: Lab):
    (lab.root / "odd.csv").write_bytes(b'a,b\n1,"2\n' + b"\x00" * 40)
    try:
        assert load(lab.root, "odd.csv").table().num_rows >= 0
    except AgentlabError as fault:
        assert "odd.csv" in str(fault)
