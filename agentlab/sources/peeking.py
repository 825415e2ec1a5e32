"""Which columns a data file of the lab would bring, told by its beginning."""

from __future__ import annotations

import gzip
import tempfile
from functools import lru_cache
from pathlib import Path

from agentlab.actions.base import Schema
from agentlab.datafiles import data_file, format_of
from agentlab.errors import AgentlabError
from agentlab.sources.columns import schema_of
from agentlab.sources.files import load

#: In bytes. A smaller file is read whole, of a larger one that comes in lines so much.
_BEGINNING = 1 << 18
_IN_LINES = ("csv", "jsonl")


def columns_of(root: Path, path: str) -> Schema:
    """The columns and types that a load of the file would bring, as far as its beginning tells; none if it can't.

    Kept until the file changes. `path` is relative to the lab `root`.
    """
    try:
        file = data_file(root, path)
        state = file.stat()
        return _columns(str(root), path, state.st_mtime_ns, state.st_size)
    except (AgentlabError, OSError, ValueError, ImportError):
        return {}


@lru_cache(maxsize=512)
def _columns(root: str, path: str, _changed: int, size: int) -> Schema:
    form = format_of(path)
    file = Path(root) / path
    if form in _IN_LINES and (size > _BEGINNING or path.lower().endswith(".gz")):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / f"beginning.{form}").write_bytes(_beginning(file))
            return schema_of(load(Path(folder), f"beginning.{form}").schema)
    return schema_of(load(Path(root), path).schema) if size <= _BEGINNING or form == "parquet" else {}


def _beginning(file: Path) -> bytes:
    """The first whole lines."""
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as lines:
        start = lines.read(_BEGINNING)
        more = bool(lines.read(1))
    return start[: start.rfind(b"\n") + 1] if more and b"\n" in start else start
