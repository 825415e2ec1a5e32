"""Data frames as sources: kept once as Parquet inside the lab, then pulled like any other source.

A file is named by its content and never overwritten, so undoing a registration finds the older one still there.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from agentlab.actions.base import ColumnType
from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError
from agentlab.sources.base import FrameResource, FrameSource, Progress, arrange, inside, resource_of
from agentlab.sources.columns import ARROW, Spelled, field_of, names_of, schema_of, typed
from agentlab.sources.fetched import Fetched
from agentlab.sources.pacing import Pace, paced

_TESTS: tuple[tuple[Any, ColumnType], ...] = (
    (pa.types.is_boolean, "bool"),
    (pa.types.is_integer, "int"),
    (pa.types.is_floating, "float"),
    (pa.types.is_decimal, "float"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_date, "date"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_string_view, "text"),
    (pa.types.is_null, "text"),
)


def save_frame(root: Path, name: str, frame: pd.DataFrame, time_column: str | None = None) -> FrameSource:
    """Keep a frame in the lab as a source with one resource of the same name; a named index becomes a column.

    Moments with a zone become UTC without one, decimals floats, periods text. LabError for what no table can hold.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise LabError(f"{name!r} is no name for a source; use letters, digits and '_', a letter first")
    table = _table(frame)
    if time_column is not None and time_column not in table.column_names:
        raise LabError(f"time column {time_column!r} isn't in the frame; there are: {', '.join(table.column_names)}")
    path = _written(table, root, name)
    resource = FrameResource(path=path, time_column=time_column, schema_=schema_of(table))
    return FrameSource(resources={name: resource})


def fetch(source: FrameSource, action: Pull, root: Path, progress: Progress | None, pace: Pace) -> Fetched:
    """See `agentlab.sources.fetch`."""
    resource = resource_of(source.resources, action)
    try:
        table = pq.read_table(inside(root, resource.path))
    except (OSError, pa.ArrowInvalid) as fault:
        message = f"{resource.path}, the rows of {action.source}.{action.resource}, can't be read: {fault}"
        raise LabError(f"{message}. Register the frame again") from fault
    table = arrange(table, action, resource.time_column)
    if progress:
        progress(len(table), 1, 0)
    return Fetched(table.schema, paced(table.to_batches(), pace))


def describe(source: FrameSource, name: str, root: Path) -> dict[str, dict[str, Any]]:
    """See `agentlab.sources.describe`."""
    return {resource: _described(doc, root) for resource, doc in source.resources.items()}


def _described(resource: FrameResource, root: Path) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "paging": "whole",
        "time_column": resource.time_column,
        "key": [],
        "schema": resource.schema_,
    }
    try:
        return {**doc, "columns": schema_of(pq.read_schema(inside(root, resource.path)))}
    except (OSError, pa.ArrowInvalid) as fault:
        return {**doc, "fault": f"{resource.path} can't be read: {fault}"}


def _written(table: pa.Table, root: Path, name: str) -> str:
    folder = root / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.{os.getpid()}.part"
    pq.write_table(table, part, compression="zstd")
    digest = hashlib.sha256(part.read_bytes()).hexdigest()[:12]
    part.replace(folder / f"{name}-{digest}.parquet")
    return f"sources/{name}-{digest}.parquet"


def _table(frame: pd.DataFrame) -> pa.Table:
    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index(allow_duplicates=True)
    if not len(frame.columns):
        raise LabError("a frame without columns can't be a source")
    labels = [label if isinstance(label, tuple) else (label,) for label in frame.columns]
    names = names_of([(*(str(part) for part in label if part != ""),) for label in labels])
    columns = [_column(frame.iloc[:, place], name) for place, name in enumerate(names)]
    return pa.table(
        [array for _, array in columns], pa.schema([field_of(n, k) for n, (k, _) in zip(names, columns, strict=True)])
    )


def _column(series: pd.Series[Any], name: str) -> tuple[ColumnType, pa.Array]:
    if series.dtype == object or isinstance(series.dtype, pd.PeriodDtype):
        return typed([_plain(value) for value in series])
    try:
        return _ours(pa.Array.from_pandas(series))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as fault:
        raise LabError(f"column {name!r} of type {series.dtype} fits no table: {fault}") from fault


def _ours(array: Any) -> tuple[ColumnType, pa.Array]:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        return _ours(array.dictionary_decode())
    if pa.types.is_uint64(array.type):
        return typed(array.to_pylist())
    for test, kind in _TESTS:
        if test(array.type):
            # Nanoseconds are cut to microseconds; everything else fits.
            return kind, array.cast(ARROW[kind], safe=kind not in ("timestamp", "float"))
    return typed([_plain(value) for value in array.to_pylist()])


def _plain(value: Any) -> Any:
    """A Python object as what JSON would have brought: None, bool, number, text, list or dict."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    if isinstance(value, decimal.Decimal):
        return Spelled(str(value))
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | list | dict) else str(value)
