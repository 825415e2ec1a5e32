"""The quick reader and the patient one give the same table, and neither changes a value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentlab.sources.columns import schema_of
from agentlab.sources.pages import PageReader
from agentlab.sources.spool import Spool

#: Pages of one list, as JSON text, and the types and values of their columns. A page in brackets needs patience.
LISTS: list[tuple[list[str], dict[str, str], dict[str, list[Any]]]] = [
    (['[{"a": 1, "b": "x"}]', '[{"b": null, "c": true}]'], {"a": "int", "b": "text", "c": "bool"}, {"a": [1, None]}),
    (['[{"p": 19.90}]', '[{"p": "n/a"}]'], {"p": "text"}, {"p": ["19.90", "n/a"]}),
    (['[{"p": 1}, {"p": 2.50}]', '[{"p": 3}]'], {"p": "float"}, {"p": [1.0, 2.5, 3.0]}),
    (['[{"n": 9007199254740993}]', '[{"n": 0.5}]'], {"n": "text"}, {"n": ["9007199254740993", "0.5"]}),
    (['[{"n": 9007199254740993}]', '[{"n": 1}]'], {"n": "int"}, {"n": [9007199254740993, 1]}),
    (['[{"n": 9223372036854775808}]'], {"n": "text"}, {"n": ["9223372036854775808"]}),
    (['[{"z": "007"}, {"z": "12"}]'], {"z": "text"}, {"z": ["007", "12"]}),
    (['[{"d": "2026-01-31"}]', '[{"d": "soon"}]'], {"d": "text"}, {"d": ["2026-01-31", "soon"]}),
    (['[{"d": "2026-02-30"}]'], {"d": "text"}, {"d": ["2026-02-30"]}),
    (['[{"d": "2026-01-31"}]', '[{"d": "2026-02-01T08:00:00+02:00"}]'], {"d": "timestamp"}, {}),
    (['[{"d": "0000-01-01"}]'], {"d": "text"}, {"d": ["0000-01-01"]}),
    (['[{"v": NaN}, {"v": 1.0}]'], {"v": "float"}, {"v": [None, 1.0]}),
    (['[{"v": true}, {"v": 1}]'], {"v": "text"}, {"v": ["true", "1"]}),
    (['[{"c": {"id": 1, "tags": [1.10, "x"]}}]'], {"c_id": "int", "c_tags": "json"}, {"c_tags": ['[1.1, "x"]']}),
    (['[{"c": {"e": {}}}, {"c": {}}, {"c": null}]'], {"c_e": "json"}, {"c_e": ["{}", None, None]}),
    (['[{"c": {"id": 1}, "c_id": 2}]'], {"c_id_2": "int", "c_id": "int"}, {"c_id": [2], "c_id_2": [1]}),
    (['[{"t": [{"at": "2026-01-31"}]}]'], {"t": "json"}, {"t": ['[{"at": "2026-01-31"}]']}),
    (['[{"t": [{"a": 1}, {"b": 2}]}]'], {"t": "json"}, {"t": ['[{"a": 1}, {"b": 2}]']}),
    (['[{"x": "Zoë\\ud800"}]'], {"x": "text"}, {"x": ["Zoë?"]}),
    (['[{"a": 1, "a": 2}]'], {"a": "int"}, {"a": [2]}),
    (
        ['[{"s": "2026-01-31", "n": 1, "t": "2026-01-31T10:00:00Z"}]'] * 2,
        {"s": "date", "n": "int", "t": "timestamp"},
        {},
    ),
]


def read(pages: list[str], folder: Path, quick: bool, **settings: Any) -> Any:
    reader = PageReader("", **settings)
    spool = Spool(folder, reader, None)
    for text in pages:
        spool.keep(text.encode(), reader.read(text.encode(), quick))
    batches = list(spool.batches())
    rows = {name: [v for b in batches for v in b.column(name).to_pylist()] for name in spool.schema().names}
    return schema_of(spool.schema()), rows


@pytest.mark.parametrize(("pages", "kinds", "values"), LISTS, ids=[pages[0][:40] for pages, _, _ in LISTS])
def test_both_readers_agree(
    tmp_path: Path, pages: list[str], kinds: dict[str, str], values: dict[str, list[Any]]
) -> None:
    quick, patient = (read(pages, tmp_path, quick) for quick in (True, False))
    assert quick == patient
    assert list(quick[0].items()) == list(kinds.items())
    assert {name: quick[1][name] for name in values} == values


def test_what_can_be_read_quickly_is() -> None:
    reader = PageReader("/items")
    page = json.dumps({"items": [{"id": 1, "at": "2026-01-31", "c": {"x": [1]}}], "next": "2026-02-01"}).encode()
    read = [reader.read(page) for _ in range(2)]
    assert [p.quick for p in read] == [True, True]
    assert [p.at("/next") for p in read] == ["2026-02-01"] * 2, "a cursor that looks like a day is a text"
    assert read[0].digest != b"" and not reader.read(b'{"items": [{"id": 1}, {"id": "x"}]}').quick


def test_flattening_can_be_switched_off(tmp_path: Path) -> None:
    pages = ['[{"c": {"id": 1}, "n": 2}]']
    for quick in (True, False):
        assert read(pages, tmp_path, quick, flatten=False) == (
            {"c": "json", "n": "int"},
            {"c": ['{"id": 1}'], "n": [2]},
        )
