"""The tables that a query can read: what they hold, at which version they are, and how they lie on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ibis

from agentlab.copies import Copy
from agentlab.engine import Engine
from agentlab.entries import Entries, TableDoc
from agentlab.layouts import Extent
from agentlab.stores import StoreDoc, read_store


class Views(Mapping[str, ibis.Table]):
    """Every table that a query can read, by name, read when asked for: the catalog's, and in stores `store.table`."""

    def __init__(self, entries: Entries, engine: Engine, root: Any) -> None:
        self.versions: dict[str, int] = {}
        self._entries, self._engine, self._root = entries, engine, root
        self._stores: dict[str, tuple[StoreDoc, str]] = {}
        for entry in entries.entries("store"):
            store = StoreDoc.model_validate(entry.doc)
            self._stores |= {f"{store.name}.{table}": (store, table) for table in store.tables}
            self.versions |= {f"{store.name}.{table}": entry.n for table in store.tables}
        self._tables = {entry.name: entry.n for entry in entries.entries("table")}
        self.versions |= self._tables

    def __getitem__(self, name: str) -> ibis.Table:
        if name in self._tables:
            return self._engine.read(self._entries.table(name), self._root)
        store, table = self._stores[name]
        return read_store(self._engine, store, table, root=self._root)

    def __iter__(self) -> Iterator[str]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self.versions)

    def extents(self) -> dict[str, Extent]:
        """How each of the tables lies."""
        inside = {name: _extent(self._entries.table(name), Path(self._root)) for name in self._tables}
        return {**{name: self._published(name) for name in self._stores}, **inside}

    def copies_of(self, table: str) -> list[str]:
        """The names of a table's copies in stores, as queries call them."""
        return [name for name, (store, short) in self._stores.items() if store.tables[short].source == table]

    def store_of(self, name: str) -> tuple[StoreDoc, str]:
        """The store that has a copy, and what the table is called in it."""
        return self._stores[name]

    def _published(self, name: str) -> Extent:
        store, short = self._stores[name]
        table = store.tables[short]
        if store.outside:
            return Extent(files=len(table.parts), bytes=table.bytes, rows=table.rows)
        places = [place for part in table.parts for place in _files(part, Path(self._root))]
        folders = {place.parent for place in places}
        return Extent(files=len(places), bytes=table.bytes, rows=table.rows, folders=max(len(folders), 1))


def _extent(doc: TableDoc, root: Path) -> Extent:
    path = root / doc.path
    files = [*path.glob("*.parquet")] if path.is_dir() else [path]
    size = doc.bytes or sum(file.stat().st_size for file in files if file.exists())
    return Extent(files=len(files), bytes=size, rows=doc.rows)


def _files(part: Copy, root: Path) -> list[Path]:
    """The data files of a copy, relative to it."""
    folder = root / part.path
    return [file.relative_to(folder) for file in folder.rglob(f"*.{part.format}")]
