"""Rows of JSON to typed columns: a type is what *all* values of a column are, not what the first page shows.

Nested objects are flattened by one level, what lies deeper is kept as JSON text. Numbers in a column that
holds text, too, keep the spelling they arrived in. Nothing is fetched or stored here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from agentlab.actions.base import ColumnType, Schema

ARROW: Mapping[ColumnType, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "bool": pa.bool_(),
    "json": pa.string(),
}
#: Marks a text column that holds JSON, since Arrow's own JSON type isn't read everywhere.
_JSON_MARK = {b"agentlab.type": b"json"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?")
#: Beyond these an integer isn't one of the engine's, or not exactly a float.
_INT = range(-(2**63), 2**63)
_EXACT = range(-(2**53), 2**53 + 1)

Path = tuple[str, ...]


class Spelled(float):
    """A float that remembers how it was written."""

    __slots__ = ("spelling",)

    def __new__(cls, spelling: str) -> Spelled:
        number = super().__new__(cls, spelling)
        number.spelling = spelling
        return number

    spelling: str


def loads(text: str | bytes) -> Any:
    """JSON whose floats remember their spelling; NaN, which isn't JSON but is sent, is a missing value."""
    return json.loads(text, parse_float=Spelled, parse_constant=_constant)


def _constant(name: str) -> Any:
    return None if name == "NaN" else Spelled(name)


def table_of(rows: Sequence[Mapping[str, Any]], schema: Schema | None = None) -> pa.Table:
    """Rows as a table, columns in order of first appearance; `schema` types a column as long as every value fits it.

    Without rows, the table has the schema's columns. Names that differ only in case get a number, as engines need.

    >>> table_of([{"a": {"b": 1}, "p": 2}, {"a": None, "p": "n/a"}]).to_pydict()
    {'a_b': [1, None], 'p': ['2', 'n/a']}
    """
    declared = schema or {}
    if not rows:
        return pa.table(
            [pa.array([], ARROW[t]) for t in declared.values()], pa.schema([field_of(*i) for i in declared.items()])
        )
    columns = {name: typed(values, declared.get(name)) for name, values in _named(gathered(rows)).items()}
    fields = [field_of(name, kind) for name, (kind, _) in columns.items()]
    if not fields:
        return pa.table({})
    return pa.table([array for _, array in columns.values()], pa.schema(fields))


def schema_of(table: pa.Table | pa.Schema) -> Schema:
    """The types of a table of our columns (`field_of`), in our own words."""
    kinds: dict[pa.DataType, ColumnType] = {arrow: kind for kind, arrow in ARROW.items() if kind != "json"}
    fields = table if isinstance(table, pa.Schema) else table.schema
    return {f.name: "json" if f.metadata and b"agentlab.type" in f.metadata else kinds[f.type] for f in fields}


def field_of(name: str, kind: ColumnType) -> pa.Field:
    """A column of this name and type, in Arrow's words."""
    return pa.field(name, ARROW[kind], metadata=_JSON_MARK if kind == "json" else None)


def gathered(rows: Sequence[Mapping[str, Any]], flatten: bool = True) -> dict[Path, list[Any]]:
    """The values of each column, None where a row has none; objects are flattened by one level if asked to."""
    columns: dict[Path, list[Any]] = {}
    for number, row in enumerate(rows):
        for path, value in cells(row, flatten):
            values = columns.setdefault(path, [])
            values.extend([None] * (number - len(values)))
            values.append(value)
    for values in columns.values():
        values.extend([None] * (len(rows) - len(values)))
    return columns


def _named(columns: Mapping[Path, list[Any]]) -> dict[str, list[Any]]:
    kept = with_values(columns, {path for path, values in columns.items() if any(x is not None for x in values)})
    return dict(zip(names_of(kept), (columns[path] for path in kept), strict=True))


def with_values(paths: Iterable[Path], filled: Set[Path]) -> list[Path]:
    """The paths without those of objects that were flattened, unless such a column has other values, too."""
    paths = list(paths)
    parents = {path[:1] for path in paths if len(path) > 1}
    return [path for path in paths if path not in parents or path in filled]


def cells(row: Mapping[str, Any], flatten: bool = True) -> Iterable[tuple[Path, Any]]:
    """Where each value of a row goes, and the value."""
    for key, value in row.items():
        if flatten and isinstance(value, dict) and value:
            for inner, deep in value.items():
                yield (key, inner), deep
        else:
            yield (key,), None if value == {} else value


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name of its own for each path, regardless of case; plain columns choose before flattened ones.

    >>> names_of([("a", "b"), ("a_b",), ("ID",), ("id",)])
    ['a_b_2', 'a_b', 'ID', 'id_2']
    """
    taken, names = set[str](), dict[int, str]()
    for place in sorted(range(len(paths)), key=lambda p: len(paths[p])):
        wanted = "_".join(paths[place]) or "column"
        name, number = wanted, 1
        while name.lower() in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name.lower())
        names[place] = name
    return [names[place] for place in range(len(paths))]


def typed(values: Sequence[Any], declared: ColumnType | None = None) -> tuple[ColumnType, pa.Array]:
    """The narrowest type that holds every value, or the declared one if that does, and the values in it.

    >>> typed([1, None, 2.5])[0], typed(["2026-01-31", None])[0], typed(["2026-01-31"], "text")[0]
    ('float', 'date', 'text')
    """
    present = [v for v in values if v is not None]
    wanted = [declared] if declared else []
    for kind in (*wanted, *_candidates(present, declared)):
        try:
            return kind, read_as(values, kind)
        except (ValueError, OverflowError):
            continue
    return "text", pa.array([None if v is None else spelled(v) for v in values], pa.string())


def read_as(values: Sequence[Any], kind: ColumnType) -> pa.Array:
    """The values in a type, as they are; ValueError or OverflowError if one doesn't fit."""
    reader = _READERS[kind]
    return pa.array([None if v is None else reader(v) for v in values], ARROW[kind])


def fits(value: Any, kind: ColumnType) -> bool:
    """Whether a value of JSON is one of the type.

    >>> fits(7, "float"), fits("7", "float")
    (True, False)
    """
    try:
        _READERS[kind](value)
    except (ValueError, OverflowError):
        return False
    return True


def _candidates(present: Sequence[Any], declared: ColumnType | None) -> tuple[ColumnType, ...]:
    found = {type(v) for v in present}
    if not found:
        return ()
    if found <= {bool}:
        return ("bool",)
    if found <= {int, float, Spelled}:
        return ("int", "float")
    if found <= {str}:
        return ("date", "timestamp") if declared != "text" else ()
    return ("json",) if found <= {dict, list} else ()


def _refuse(value: Any) -> Any:
    raise ValueError(value)


def _int(value: Any) -> int:
    return value if type(value) is int and value in _INT else _refuse(value)


def _float(value: Any) -> float:
    if isinstance(value, float):
        return float(value)
    return float(value) if type(value) is int and value in _EXACT else _refuse(value)


def _bool(value: Any) -> bool:
    return value if isinstance(value, bool) else _refuse(value)


def _date(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) and _DATE.fullmatch(value) else _refuse(value)


def _timestamp(value: Any) -> datetime:
    """UTC without a zone; a moment without an offset is taken as UTC, a date as its midnight."""
    if not isinstance(value, str) or not (_TIMESTAMP.fullmatch(value) or _DATE.fullmatch(value)):
        _refuse(value)
    moment = datetime.fromisoformat(value)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _json(value: Any) -> str:
    return spelled(value) if isinstance(value, dict | list) else _refuse(value)


def _text(value: Any) -> str:
    return spelled(value) if isinstance(value, str) else _refuse(value)


def spelled(value: Any) -> str:
    """A value of JSON as text: numbers as they were written, nested data as JSON."""
    if isinstance(value, str):
        # JSON may escape half of a surrogate pair, which no UTF-8 text can hold.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Spelled):
        return value.spelling
    return spelled(json.dumps(value, ensure_ascii=False, default=str))


_READERS: Mapping[ColumnType, Callable[[Any], Any]] = {
    "int": _int,
    "float": _float,
    "text": _text,
    "date": _date,
    "timestamp": _timestamp,
    "bool": _bool,
    "json": _json,
}
