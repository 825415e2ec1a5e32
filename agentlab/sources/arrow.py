"""Arrow data of any types as ours, batch by batch: what databases, Parquet files and Hugging Face data sets bring.

Decimals become floats, moments UTC without a zone, nested data JSON; what we have no type for becomes text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from agentlab.actions.base import ColumnType, Schema
from agentlab.errors import LabError
from agentlab.sources.columns import ARROW, field_of, names_of
from agentlab.sources.fetched import Fetched

_KINDS: tuple[tuple[Callable[[pa.DataType], bool], ColumnType], ...] = (
    (pa.types.is_boolean, "bool"),
    (pa.types.is_integer, "int"),
    (pa.types.is_floating, "float"),
    (pa.types.is_decimal, "float"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "date"),
    (pa.types.is_nested, "json"),
)


def kind_of(type: pa.DataType) -> ColumnType:
    """Our type for one of Arrow's; times of day, durations, bytes and the like are text.

    >>> kind_of(pa.decimal128(10, 2)), kind_of(pa.list_(pa.int8())), kind_of(pa.time64("us"))
    ('float', 'json', 'text')
    """
    if pa.types.is_dictionary(type):
        return kind_of(type.value_type)
    if isinstance(type, pa.JsonType):
        return "json"
    if isinstance(type, pa.BaseExtensionType):
        return kind_of(type.storage_type)
    return next((kind for test, kind in _KINDS if test(type)), "text")


def kinds_of(schema: pa.Schema) -> Schema:
    """Our columns for an Arrow schema, each with a name of its own."""
    return dict(zip(names_of([(f.name,) for f in schema]), (kind_of(f.type) for f in schema), strict=True))


def fetched(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Fetched:
    """Batches of an Arrow schema as what was fetched, in our types. LabError for a value that no type of ours holds."""
    kinds = kinds_of(schema)
    return Fetched(schema_for(kinds), fitted(batches, kinds))


def schema_for(kinds: Schema) -> pa.Schema:
    """Our columns as Arrow's."""
    return pa.schema([field_of(name, kind) for name, kind in kinds.items()])


def fitted(batches: Iterable[pa.RecordBatch], kinds: Schema) -> Iterator[pa.RecordBatch]:
    """The same batches with columns of these names and types, in this order."""
    schema = schema_for(kinds)
    for batch in batches:
        columns = zip(batch.columns, kinds.items(), strict=True)
        yield pa.record_batch([fit(array, kind, name) for array, (name, kind) in columns], schema)


def fit(array: pa.Array, kind: ColumnType, name: str) -> pa.Array:
    """The values as one of our types; LabError naming the column where one doesn't fit."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(array.type, pa.BaseExtensionType) and not isinstance(array.type, pa.UuidType):
        array = array.storage
    try:
        return _fit(array, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, OverflowError) as fault:
        raise LabError(f"column {name!r} holds {array.type} that fits no {kind}: {fault}") from None


def _fit(array: pa.Array, kind: ColumnType) -> pa.Array:
    if kind == "json" and not _is_text(array.type):
        return pa.array([None if v is None else _json(v) for v in array.to_pylist()], pa.string())
    if kind == "text" and not _is_text(array.type):
        return pa.array([None if v is None else _text(v) for v in array.to_pylist()], pa.string())
    # Nanoseconds are cut to microseconds; everything else fits.
    return array.cast(ARROW[kind], safe=kind not in ("timestamp", "float"))


def _is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_text)
