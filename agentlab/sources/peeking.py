"""What a data file of the lab would bring, told by its beginning."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from agentlab.actions.base import Schema
from agentlab.datafiles import data_file, format_of
from agentlab.sources.columns import schema_of
from agentlab.sources.fetched import Fetched
from agentlab.sources.files import load

#: In bytes. A smaller file is read whole, of a larger one that comes in lines so much.
_BEGINNING = 1 << 18
_IN_LINES = ("csv", "jsonl")


class Peek(NamedTuple):
    """What a file would bring: columns and types, and the distinct texts of those columns that have few."""

    schema: Schema
    values: Mapping[str, tuple[str, ...]]


def peek(root: Path, path: str, few: int) -> Peek:
    """What a load of the file would bring, as far as its beginning tells; nothing if it can't be read.

    Kept until the file changes. `path` is relative to the lab `root`; more than `few` texts of a column aren't told.
    """
    try:
        state = data_file(root, path).stat()
        return _peeked(str(root), path, few, state.st_mtime_ns, state.st_size)
    except Exception:  # whatever a stranger's file makes its reader say, a plan needn't know its columns
        return Peek({}, {})


@lru_cache(maxsize=512)
def _peeked(root: str, path: str, few: int, _changed: int, size: int) -> Peek:
    form = format_of(path)
    file = Path(root) / path
    if form in _IN_LINES and (size > _BEGINNING or path.lower().endswith(".gz")):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / f"beginning.{form}").write_bytes(_beginning(file))
            return _told(load(Path(folder), f"beginning.{form}"), few)
    if form == "parquet":
        # A few bytes may hold millions of rows.
        return Peek(schema_of(load(Path(root), path).schema), {})
    return (
        _told(load(Path(root), path), few) if size <= _BEGINNING and not path.lower().endswith(".gz") else Peek({}, {})
    )


def _told(fetched: Fetched, few: int) -> Peek:
    rows, schema = fetched.table(), fetched.types
    distinct = {c: pc.unique(rows.column(c)).drop_null() for c, kind in schema.items() if kind == "text"}
    return Peek(schema, {c: tuple(texts.to_pylist()) for c, texts in distinct.items() if 0 < len(texts) <= few})


def _beginning(file: Path) -> bytes:
    """The first whole lines."""
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as lines:
        start = lines.read(_BEGINNING)
        more = bool(lines.read(1))
    return start[: start.rfind(b"\n") + 1] if more and b"\n" in start else start
