"""Pages kept on disk as they came, until the last one has told what types the columns have.

Only then are they turned into batches, one page at a time: memory holds a page, however many there are.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path as Folder

import pyarrow as pa

from agentlab.actions.base import ColumnType, Schema
from agentlab.sources.columns import ARROW, Path, field_of, names_of, with_values
from agentlab.sources.fetched import Rejected
from agentlab.sources.kinds import PageKind, in_kind, kind_of, settled
from agentlab.sources.pages import Page, PageReader


class Spool:
    """The pages of one list. Its file has no name, so that nothing is left of it whatever happens."""

    def __init__(self, folder: Folder, reader: PageReader, declared: Schema | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self.rejected: list[Rejected] = []
        self._reader, self._declared = reader, declared or {}
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._pages: list[tuple[int, bool]] = []
        self._kinds: dict[Path, set[PageKind]] = {}

    def keep(self, content: bytes, page: Page) -> None:
        """Add a page, its bytes and what the reader made of them."""
        self._file.write(content)
        self._pages.append((len(content), page.quick))
        self.rows += page.rows
        self.rejected += page.rejected
        for path, values in page.columns.items():
            kinds = self._kinds.setdefault(path, set())
            if kind := kind_of(values):
                kinds.add(kind)

    def columns(self) -> dict[Path, tuple[str, ColumnType]]:
        """Each column's name and type, in order of first appearance."""
        filled = {path for path, kinds in self._kinds.items() if kinds}
        paths = with_values([path for path in self._reader.order if path in self._kinds], filled)
        names = names_of(paths)
        return {p: (n, settled(self._kinds[p], self._declared.get(n))) for p, n in zip(paths, names, strict=True)}

    def schema(self) -> pa.Schema:
        """The columns of every batch; those that the source declares where no row came."""
        columns = list(self.columns().values()) if self.rows else list(self._declared.items())
        return pa.schema([field_of(name, kind) for name, kind in columns])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, a batch a page, in the order in which the pages were kept. The file is gone afterwards."""
        schema, columns = self.schema(), self.columns()
        kinds = {path: kind for path, (_, kind) in columns.items()}
        with self._file:
            self._file.seek(0)
            for size, quick in self._pages:
                content = self._file.read(size)
                page = self._reader.read(content, quick)
                if page.rows:
                    arrays = _arrays(page, kinds) or _arrays(self._reader.read(content, quick=False), kinds)
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrays(page: Page, kinds: dict[Path, ColumnType]) -> list[pa.Array] | None:
    """The page's columns in their types; None where numbers must be read again, for how they were written."""
    arrays = []
    for path, kind in kinds.items():
        values = page.columns.get(path)
        array = pa.nulls(page.rows, ARROW[kind]) if values is None else in_kind(values, kind)
        if array is None:
            return None
        arrays.append(array)
    return arrays
