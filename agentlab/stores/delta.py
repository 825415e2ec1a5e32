"""Delta stores: the log beside a table's files that says to others (Spark, Trino, pandas) which of them are the table.

The files are written as those of any Parquet store, each publish's in a folder of its own. `settle` makes the log's
latest version be what the catalog says: a publish is a new commit, an undo one that goes back to the earlier files.
Nothing is committed before the run is, and the commit names its folders, so that settling twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from agentlab.copies import Copy
from agentlab.errors import LabError, PlanError
from agentlab.places import bucket_of
from agentlab.stores import buckets
from agentlab.stores.base import StoreDoc
from agentlab.stores.streams import arrow_schema

#: Where a commit says which folders it is made of.
_PARTS = "agentlabParts"

#: The folder name that stands for no value.
_NULL = "__HIVE_DEFAULT_PARTITION__"


@contextmanager
def explained(table: str) -> Iterator[None]:
    """Turn what delta-rs raises into a LabError."""
    try:
        from deltalake.exceptions import DeltaError
    except ImportError as fault:
        raise LabError("a delta store needs deltalake; install it with: pip install 'agentlab[delta]'") from fault
    try:
        yield
    except (DeltaError, OSError) as fault:
        raise LabError(f"the Delta log of {table} can't be written: {str(fault).strip().splitlines()[0]}") from fault


def check(folder: Path, copy: Copy) -> None:
    """PlanError when folders stand for an empty text: to Delta that is no value at all."""
    for path in folder.rglob("*="):
        raise PlanError(f"Delta can't tell an empty {path.name[:-1]} from none; clean it, or use format parquet")


def settle(root: Path, store: StoreDoc, table: str) -> bool:
    """Bring the log of a table to what the store's document says, an empty table if it isn't there; whether it wasn't.

    LabError when the log can't be written; the catalog is right then all the same, and settling can be repeated.
    """
    published = store.tables.get(table)
    wanted = published.parts if published else ()
    with explained(f"{store.name}.{table}"):
        known = _open(root, store, table)
        if known is None:
            if wanted:
                _create(root, store, table, wanted)
            return bool(wanted)
        present = str(known.history(1)[0].get(_PARTS))
        if present == _named(wanted):
            return False
        _commit(known, root, store, table, wanted, appended=len(wanted) > 1 and present == _named(wanted[:-1]))
        return True


def _commit(known: Any, root: Path, store: StoreDoc, table: str, wanted: Sequence[Copy], *, appended: bool) -> None:
    added = wanted[-1:] if appended else wanted
    known.create_write_transaction(
        [action for part in added for action in _adds(root, store, table, part)],
        "append" if appended else "overwrite",
        _schema(wanted[0]) if wanted else known.schema(),
        list(store.partition_by),
        commit_properties=_properties(wanted),
    )


def _create(root: Path, store: StoreDoc, table: str, wanted: Sequence[Copy]) -> None:
    from deltalake.transaction import create_table_with_add_actions

    create_table_with_add_actions(
        _uri(root, store, table),
        _schema(wanted[0]),
        [action for part in wanted for action in _adds(root, store, table, part)],
        partition_by=list(store.partition_by),
        storage_options=_options(store),
        commit_properties=_properties(wanted),
    )


def _open(root: Path, store: StoreDoc, table: str) -> Any:
    from deltalake import DeltaTable

    uri = _uri(root, store, table)
    if not DeltaTable.is_deltatable(uri, storage_options=_options(store)):
        return None
    return DeltaTable(uri, storage_options=_options(store))


def _uri(root: Path, store: StoreDoc, table: str) -> str:
    return f"{store.location}/{table}" if store.remote else str((root / store.location / table).resolve())


def _options(store: StoreDoc) -> dict[str, str] | None:
    return buckets.options() if store.remote else None


def _properties(wanted: Sequence[Copy]) -> Any:
    from deltalake import CommitProperties

    return CommitProperties(custom_metadata={_PARTS: _named(wanted)})


def _named(parts: Sequence[Copy]) -> str:
    return ",".join(part.path.rpartition("/")[2] for part in parts)


def _schema(part: Copy) -> Any:
    from deltalake import Schema

    return Schema.from_arrow(arrow_schema(part))


def _adds(root: Path, store: StoreDoc, table: str, part: Copy) -> Iterator[Any]:
    from deltalake.transaction import AddAction

    files, above = _place(root, store, table)
    folder = f"{above}/{part.path.rpartition('/')[2]}"
    for info in files.get_file_info(pafs.FileSelector(folder, recursive=True)):
        if info.is_file and info.extension == "parquet":
            inner = info.path[len(above) + 1 :]
            rows = pq.read_metadata(info.path, filesystem=files).num_rows
            stats = json.dumps({"numRecords": rows})
            # The names of folders are encoded on disk already, and in the log once more.
            yield AddAction(quote(inner, safe="/="), info.size, _values(inner), info.mtime_ns // 10**6, True, stats)


def _values(path: str) -> dict[str, str | None]:
    """The values that a file's folders stand for.

    >>> _values("r1/day=2024-01-01/code=a%2Fb/part-1.parquet")
    {'day': '2024-01-01', 'code': 'a/b'}
    """
    pairs = [folder.partition("=") for folder in path.split("/")[1:-1]]
    return {unquote(column): None if value == _NULL else unquote(value) for column, _, value in pairs}


def _place(root: Path, store: StoreDoc, table: str) -> tuple[pafs.FileSystem, str]:
    if store.remote:
        return buckets.filesystem(store.location), bucket_of(f"{store.location}/{table}").path
    return pafs.LocalFileSystem(), (root / store.location / table).resolve().as_posix()
