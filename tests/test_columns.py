"""Types come from all the values, and no value changes on the way."""

from __future__ import annotations

from typing import Any

import pytest

from agentlab.sources.columns import loads, schema_of, table_of, typed


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("[1, null, 2]", "int", [1, None, 2]),
        ("[1, 2.5]", "float", [1.0, 2.5]),
        ("[1.0, NaN]", "float", [1.0, None]),
        ("[true, false]", "bool", [True, False]),
        ("[true, 1]", "text", ["true", "1"]),
        ('[1.50, 1e3, 7, "n/a"]', "text", ["1.50", "1e3", "7", "n/a"]),
        ("[9223372036854775808, 1]", "text", ["9223372036854775808", "1"]),
        ("[9007199254740993, 0.5]", "text", ["9007199254740993", "0.5"]),
        ('["007", "12"]', "text", ["007", "12"]),
        ('["2026-02-30"]', "text", ["2026-02-30"]),
        ('["20260101", "2026-W01-1"]', "text", ["20260101", "2026-W01-1"]),
        ('["2026-01-31", ""]', "text", ["2026-01-31", ""]),
        ('["0001-01-01T00:00:00+05:00"]', "text", ["0001-01-01T00:00:00+05:00"]),
        ('[{"a": [1.10]}, [2]]', "json", ['{"a": [1.1]}', "[2]"]),
        ('[[1], "x"]', "text", ["[1]", "x"]),
        ("[null, null]", "text", [None, None]),
        (r'["a\ud800b", "Zoë"]', "text", ["a?b", "Zoë"]),
    ],
)
def test_the_narrowest_type_that_holds_every_value(text: str, kind: str, values: list[Any]) -> None:
    found, array = typed(loads(text))
    assert (found, array.to_pylist()) == (kind, values)


def test_a_declared_type_holds_while_every_value_fits() -> None:
    assert typed([1, 2], "float")[0] == "float"
    assert typed(["2026-01-31"], "text")[0] == "text"
    assert typed(["2026-01-31"], "timestamp")[0] == "timestamp"
    assert typed([None], "date")[0] == "date"
    assert typed([1, "x"], "int")[0] == "text"
    assert typed([1.5], "int")[0] == "float"


def test_one_level_is_flattened_and_deeper_ones_stay_json() -> None:
    table = table_of([{"id": 1, "a": {"b": 2, "c": {"d": [3]}}}, {"id": 2, "a": None}, {"id": 3, "a": {}}])
    assert table.to_pydict() == {"id": [1, 2, 3], "a_b": [2, None, None], "a_c": ['{"d": [3]}', None, None]}
    assert schema_of(table) == {"id": "int", "a_b": "int", "a_c": "json"}


def test_a_key_that_is_sometimes_an_object_keeps_both() -> None:
    assert table_of([{"a": 5}, {"a": {"b": 1}}]).to_pydict() == {"a": [5, None], "a_b": [None, 1]}


def test_late_columns_and_missing_keys_are_null() -> None:
    assert table_of([{"a": 1}, {"b": 2}]).to_pydict() == {"a": [1, None], "b": [None, 2]}


def test_no_rows_take_the_declared_columns() -> None:
    assert schema_of(table_of([], {"a": "int", "j": "json"})) == {"a": "int", "j": "json"}
    assert table_of([]).column_names == []
