"""Data files of the lab's folder as rows: what format a file has, and JSON, JSON lines and Parquet themselves.

Delimited text is read by `delimited.py`, Excel by `excel.py`. Nothing is written here.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from agentlab.datafiles import data_file, format_of
from agentlab.errors import LabError, PlanError
from agentlab.sources import delimited, excel
from agentlab.sources.arrow import fetched
from agentlab.sources.columns import loads, table_of
from agentlab.sources.fetched import Fetched, Rejected

_BATCH = 50_000
#: Rows that are named in an error, and characters of one.
_SHOWN = 80


def load(root: Path, path: str, format: str | None = None) -> Fetched:
    """The rows of a data file of the lab; without `format` its name tells it, or else its content.

    PlanError for a file that isn't there, naming the nearest; LabError for one that can't be read.
    """
    file = data_file(root, path)
    format = format or format_of(path) or _sniffed(file)
    if file.is_dir() and (format != "parquet" or not any(file.rglob("*.parquet"))):
        raise PlanError(f"{path!r} is a folder; only one of Parquet files can be read, else name a file in it")
    try:
        return _READERS[format](file)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, RecursionError) as fault:
        raise LabError(f"{path} can't be read as {format}: {fault}") from None


def _sniffed(file: Path) -> str:
    if file.is_dir():
        return "parquet"
    start = _bytes(file, 4096)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return "excel"
    return "json" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")) else "csv"


def _bytes(file: Path, most: int = -1) -> bytes:
    with file.open("rb") as raw:
        start = raw.read(2)
    with gzip.open(file) if start == b"\x1f\x8b" else file.open("rb") as opened:
        return opened.read(most)


def _text(file: Path) -> str:
    data = _bytes(file)
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return data.decode(encoding)


def _json(file: Path) -> Fetched:
    text = _text(file)
    try:
        body = loads(text)
    except ValueError as fault:
        if isinstance(fault, json.JSONDecodeError) and fault.msg == "Extra data":
            return _lines(file)
        raise LabError(f"{file.name} is no JSON: {fault}") from None
    return _of_rows(file, list(enumerate(_array(file, body), 1)), [])


def _array(file: Path, body: Any) -> list[Any]:
    """The rows: the array itself, the only array in an object, or the object as a single row."""
    if isinstance(body, list):
        return body
    if not isinstance(body, dict):
        raise LabError(f"{file.name} holds {_shown(body)}, no array of objects")
    arrays = {name: value for name, value in body.items() if isinstance(value, list) and _objects(value)}
    if len(arrays) > 1:
        raise LabError(f"{file.name} holds several arrays ({', '.join(arrays)}); keep one of them in the file")
    return next(iter(arrays.values())) if arrays else [body]


def _objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _lines(file: Path) -> Fetched:
    rows, rejected = list[tuple[int, Any]](), list[Rejected]()
    for number, line in enumerate(_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append((number, loads(line)))
        except (ValueError, RecursionError) as fault:
            rejected.append(Rejected(json.dumps(line, ensure_ascii=False), f"line {number} is no JSON: {fault}"))
    return _of_rows(file, rows, rejected)


def _of_rows(file: Path, rows: list[tuple[int, Any]], rejected: list[Rejected]) -> Fetched:
    """Objects as a table; what is no object is rejected."""
    for number, row in rows:
        if not isinstance(row, dict):
            text = json.dumps(row, ensure_ascii=False, default=str)
            rejected.append(Rejected(text, f"row {number} is no object but {_shown(row)}"))
    table = table_of([row for _, row in rows if isinstance(row, dict)])
    if not table.column_names:
        first = f"; {rejected[0].reason}" if rejected else ""
        raise LabError(f"{file.name} holds no row with a column; there is nothing to make a table of{first}")
    return Fetched(table.schema, table.to_batches(), rejected)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _parquet(file: Path) -> Fetched:
    try:
        data = pads.dataset(file, format="parquet", partitioning="hive" if file.is_dir() else None)
        return fetched(data.schema, data.to_batches(batch_size=_BATCH))
    except pa.ArrowException as fault:
        raise LabError(f"{file.name} can't be read as Parquet: {str(fault)[:300]}") from None


_READERS: Mapping[str, Callable[[Path], Fetched]] = {
    **{"csv": delimited.read, "json": _json, "jsonl": _lines, "parquet": _parquet, "excel": excel.read}
}
