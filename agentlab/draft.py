"""The pending effects of one run: what its later actions see, and nobody else until it commits."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from agentlab import placing
from agentlab.commits import Change, commit, save_run
from agentlab.entries import Entries, Entry, EntryKind, Key, Run, check_name, check_run, twin
from agentlab.errors import Conflict, LabError, PlanError
from agentlab.events import Event, now

if TYPE_CHECKING:
    from agentlab.catalog import Catalog


class Draft(Entries):
    """A run's own view of a catalog: everything as it was when the draft began, plus what the run has put since.

    A run commits once, however many drafts are made for it. A step that may be repeated asks `Catalog.committed` first,
    since a draft made after the commit starts from its results. What must be told outside that one commit (a failure, a
    question to a person) goes through `Catalog.emit`.
    """

    def __init__(self, catalog: Catalog, run: str) -> None:
        self.catalog = catalog
        self.root = catalog.root
        self.run = check_run(run)
        #: What the run has put or removed, in the order of the first time.
        self.written: list[tuple[EntryKind, str]] = []
        self._base: Mapping[Key, int] = catalog.heads()
        self._pending: dict[Key, Entry | None] = {}
        self._versions: list[Entry] = []
        self._next: dict[Key, int] = {}
        self._events: list[Event] = []
        self._committed = False

    def find(self, kind: EntryKind, name: str) -> Entry | None:
        """The entry as this run left it, else as it was when the draft began; None if there is none."""
        if (kind, name) in self._pending:
            return self._pending[kind, name]
        n = self._base.get((kind, name))
        return None if n is None else self.catalog.version(kind, name, n)

    def entries(self, kind: EntryKind) -> list[Entry]:
        """Every entry of a kind as the draft has it, by name."""
        current = {(e.name, e.n): e for e in self.catalog.entries(kind)}
        found = (self._of(kind, name, current) for name in self._names(kind))
        return [entry for entry in found if entry]

    def history(self, kind: EntryKind, name: str) -> list[Entry]:
        """Every version there has been, oldest first, with those that this run has written so far."""
        own = [entry for entry in self._versions if (entry.kind, entry.name) == (kind, name)]
        return [*self.catalog.history(kind, name), *([] if self._committed else own)]

    def put(self, kind: EntryKind, name: str, doc: Mapping[str, Any] | BaseModel) -> int:
        """Write the entry's next version and return its number. PlanError for a name that can't be one, or
        that SQL can't tell from another.

        The document is kept as JSON would give it back; numbers that aren't finite become None.
        """
        if kind in ("table", "store") and (fault := twin(check_name(name, kind), self._names(kind), kind)):
            raise PlanError(fault)
        self._write(kind, check_name(name, kind))
        n = self._number(kind, name)
        plain = from_json(to_json(doc, by_alias=True, inf_nan_mode="null"))
        entry = Entry(kind=kind, name=name, n=n, doc=plain, run=self.run, at=now())
        self._pending[kind, name] = entry
        self._versions.append(entry)
        self._next[kind, name] = n + 1
        return n

    def remove(self, kind: EntryKind, name: str) -> None:
        """Take the entry out of the catalog; its versions stay for undo. PlanError if there is none."""
        self.get(kind, name)
        self._write(kind, name)
        self._pending[kind, name] = None

    def emit(self, event: Event) -> None:
        """Tell of something, if and when the run commits."""
        self._still_open()
        self._events.append(event)

    def fresh(self, table: str) -> Path:
        """Where the files of the table's next version go: `<lab>/tables/<table>/v<n>-<run>`, absolute.

        The folder above exists, the path itself doesn't: whatever a crashed try of the same run left there is removed.
        Until the next `put` of the table it is the same path. Conflict if another run has taken the version.
        """
        n = self._number("table", check_name(table))
        if n <= self.catalog.last("table", table):
            raise Conflict(f"version {n} of table {table} has been committed meanwhile; start run {self.run} afresh")
        path = self.catalog.root / "tables" / table / f"v{n}-{self.run}"
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (path, *path.parent.glob(f"{path.name}.*")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        return path

    def commit(self, row: Run | None = None) -> list[Event]:
        """Make everything visible at once, with `row`, the run's, and return the events as the log has them.

        Conflict, and nothing written, when another run has changed since what this one writes. A run that has committed
        before, in this process or another, gets that commit's events again and writes nothing.
        """
        changes = [Change(key, self._base.get(key), e.n if (e := self._pending[key]) else None) for key in self.written]
        try:
            with self.catalog.database.transaction() as connection:
                before = placing.heads(connection)
                told = commit(connection, self.run, changes, self._versions, self._events)
                if row:
                    save_run(connection, row)
                placing.settle(self.root, before, placing.heads(connection))
        except BaseException:
            placing.take_back(self.root, self.run)
            raise
        placing.keep(self.root, self.run)
        self._committed = True
        return told

    def _names(self, kind: EntryKind) -> list[str]:
        """The names of a kind's entries as the draft has them, sorted."""
        gone = {key for key, entry in self._pending.items() if entry is None}
        return sorted({key[1] for key in (*self._base, *self._pending) if key[0] == kind and key not in gone})

    def _of(self, kind: EntryKind, name: str, current: Mapping[tuple[str, int], Entry]) -> Entry | None:
        if (kind, name) in self._pending:
            return self._pending[kind, name]
        n = self._base[kind, name]
        return current.get((name, n)) or self.catalog.version(kind, name, n)

    def _number(self, kind: EntryKind, name: str) -> int:
        if (kind, name) not in self._next:
            self._next[kind, name] = self.catalog.last(kind, name) + 1
        return self._next[kind, name]

    def _write(self, kind: EntryKind, name: str) -> None:
        self._still_open()
        if (kind, name) not in self.written:
            self.written.append((kind, name))

    def _still_open(self) -> None:
        if self._committed:
            raise LabError(f"run {self.run} is committed, and a run commits once; begin another run")
