"""The catalog of a lab: what exists, every version of it, who made it, and how to go back.

Tables, sources, stores, schedules and the rest are all entries, versioned and undone by one mechanism (`commits.py`);
writing goes through a run's `Draft`. The files of tables are written by others; here they are only named and swept.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Row

from pydantic_core import from_json

from agentlab import commits, events, placing
from agentlab.cleaning import DEPTHS, run_of, written
from agentlab.database import FORMAT, Database
from agentlab.draft import Draft
from agentlab.entries import KINDS, Entries, Entry, EntryKind, Key, Run, TableDoc, check_name
from agentlab.errors import LabError, PlanError, unknown
from agentlab.events import Event, EventType

#: What others need to name what is in a catalog, beside the catalog itself.
__all__ = ["FORMAT", "KINDS", "Catalog", "Draft", "Entry", "EntryKind", "Event", "Key", "Run", "TableDoc", "check_name"]

FILE = "catalog.sqlite"


class Catalog(Entries):
    """The catalog in a lab's folder, made if there is none. Safe to share between threads and between processes.

    LabError when a newer version of agentlab wrote it, or where no folder can be made or written.

    >>> import tempfile
    >>> catalog = Catalog(Path(tempfile.mkdtemp()))
    >>> draft = catalog.draft("r1")
    >>> draft.put("schedule", "nightly", {"cron": "0 2 * * *"})
    1
    >>> catalog.find("schedule", "nightly") is None  # nothing is visible until the commit
    True
    >>> events = draft.commit()
    >>> catalog.get("schedule", "nightly").doc
    {'cron': '0 2 * * *'}
    >>> catalog.undo("r1")
    ['schedule nightly: version 1 -> removed']
    """

    def __init__(self, root: Path) -> None:
        self.root = _folder(Path(root))
        self.database = Database(self.root / FILE)

    def find(self, kind: EntryKind, name: str) -> Entry | None:
        """The current entry, or None."""
        rows = self.database.query(
            "SELECT v.* FROM head JOIN versions v USING (kind, name, n) WHERE kind = ? AND name = ?", kind, name
        )
        return _entry(rows[0]) if rows else None

    def entries(self, kind: EntryKind) -> list[Entry]:
        """Every current entry of a kind, by name."""
        sql = "SELECT v.* FROM head JOIN versions v USING (kind, name, n) WHERE kind = ? ORDER BY name"
        return [_entry(row) for row in self.database.query(sql, kind)]

    def history(self, kind: EntryKind, name: str) -> list[Entry]:
        """Every version there has been, oldest first, those undone or removed too; empty if there was none."""
        sql = "SELECT * FROM versions WHERE kind = ? AND name = ? ORDER BY n"
        return [_entry(row) for row in self.database.query(sql, kind, name)]

    def version(self, kind: EntryKind, name: str, n: int) -> Entry:
        """One version of an entry, current or not; PlanError naming those that exist."""
        rows = self.database.query("SELECT * FROM versions WHERE kind = ? AND name = ? AND n = ?", kind, name, n)
        if rows:
            return _entry(rows[0])
        numbers = [str(entry.n) for entry in self.history(kind, name)]
        raise PlanError(unknown("version", str(n), numbers, f"of {kind} {name}"))

    def last(self, kind: EntryKind, name: str) -> int:
        """The highest version number ever given to an entry, 0 if it never was. Numbers are not used twice."""
        rows = self.database.query("SELECT max(n) AS n FROM versions WHERE kind = ? AND name = ?", kind, name)
        return rows[0]["n"] or 0

    def heads(self) -> dict[Key, int]:
        """Which version of everything is current, all at one moment."""
        return {(row["kind"], row["name"]): row["n"] for row in self.database.query("SELECT * FROM head")}

    def draft(self, run_id: str) -> Draft:
        """A run's own view of the catalog as it is now, in which it prepares what it will commit."""
        return Draft(self, run_id)

    def undo(self, run_id: str) -> list[str]:
        """Restore all that a run wrote to what it was, in one transaction, and tell so by an `undone` event.

        One line for each entry, like `table staging.orders: version 3 -> 2`. Conflict naming the later runs to undo
        first; LabError when the run changed nothing or is undone already.
        """
        with self.database.transaction() as connection:
            return placing.undo(connection, self.root, [run_id])

    def committed(self, run_id: str) -> bool:
        """Whether a run has committed, also if it was undone since."""
        return bool(self.database.query("SELECT 1 FROM commits WHERE run = ?", run_id))

    def save_run(self, run: Run) -> None:
        """Insert a run, or update the one with its id."""
        with self.database.transaction() as connection:
            commits.save_run(connection, run)

    def run(self, run_id: str) -> Run:
        """A run by its id; LabError naming the nearest of the latest hundred."""
        rows = self.database.query("SELECT doc FROM runs WHERE id = ?", run_id)
        if rows:
            return Run.model_validate_json(rows[0]["doc"])
        raise LabError(unknown("run", run_id, [run.id for run in self.runs(100)]))

    def runs(self, limit: int = 50) -> list[Run]:
        """The latest runs, newest first."""
        rows = self.database.query("SELECT doc FROM runs ORDER BY number DESC LIMIT ?", limit)
        return [Run.model_validate_json(row["doc"]) for row in rows]

    def emit(self, event: Event) -> Event:
        """Write an event outside a run's commit, such as a failure; one whose id is there already is written once.

        Without an id it gets `<run>/<type>/<subject>`; LabError without a run either.
        """
        with self.database.transaction() as connection:
            return events.append(connection, event)

    def events(self, after: int = 0, run: str | None = None, type: EventType | None = None) -> list[Event]:
        """The events whose `seq` is greater than `after`, oldest first; only a run's or a type's, if given."""
        return list(events.read(self.database.connection(), after, run, type))

    def sweep(self, older_than: float = 3600.0) -> list[str]:
        """Remove folders of tables, stores and layouts that no entry names and nobody wrote to for so many seconds.

        A run that is planned, running or waiting for approval keeps its folders. Returns what was removed, relative to
        the lab. The write lock is held meanwhile, so that no commit can name a folder that is just going.
        """
        if not self._orphans(older_than):
            return []
        with self.database.transaction():
            swept = self._orphans(older_than)
            for path in swept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return sorted(path.relative_to(self.root).as_posix() for path in swept)

    def mend_places(self) -> None:
        """Bring back the files that a killed process had replaced by exports for a commit that it never made."""
        if any(self.root.glob(f"{placing.FOLDER}/*/*")):
            with self.database.transaction() as connection:
                placing.recover(connection, self.root)

    def close(self) -> None:
        """Let go of the file. The catalog opens it again when it is used again."""
        self.database.close()

    def _orphans(self, older_than: float) -> list[Path]:
        kept = set(self._named())
        unnamed = [path for path in written(self.root) if path not in kept and self._ours(path)]
        return [path for path in unnamed if not self._live(path) and time.time() - _touched(path) > older_than]

    def _named(self) -> Iterator[Path]:
        """The folder that each path in a document is, or is inside of; stores name one for each part of a table."""
        sql = (
            "SELECT DISTINCT found.atom AS path FROM versions, json_tree(versions.doc) AS found"
            " WHERE versions.kind IN ('table', 'store', 'layout', 'export')"
            " AND found.key = 'path' AND found.type = 'text'"
        )
        for row in self.database.query(sql):
            place, *_ = parts = Path(row["path"]).parts or ("",)
            yield self.root.joinpath(*parts[: DEPTHS.get(place, len(parts))])

    def _ours(self, path: Path) -> bool:
        """Whether a run wrote it: all in the lab's own folders is; where a store is elsewhere, others may write."""
        sql = "SELECT 1 FROM runs WHERE id = ?"
        return path.relative_to(self.root).parts[0] in DEPTHS or bool(self.database.query(sql, run_of(self.root, path)))

    def _live(self, path: Path) -> bool:
        sql = "SELECT json_extract(doc, '$.status') AS status FROM runs WHERE id = ?"
        rows = self.database.query(sql, run_of(self.root, path))
        return bool(rows) and rows[0]["status"] in ("planned", "running", "approval")


def _folder(root: Path) -> Path:
    """The lab's folder, absolute, made if there is none."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except FileExistsError as fault:
        raise LabError(f"{root} is a file, a lab is a folder; name another place") from fault
    except OSError as fault:
        raise LabError(f"the folder {root} can't be made: {fault.strerror}; name another place for the lab") from fault
    if not os.access(root, os.W_OK | os.X_OK):
        raise LabError(f"the folder {root} can't be written to, and a lab must be; name another or change its rights")
    return root.resolve()


def _entry(row: Row) -> Entry:
    return Entry.model_validate({**dict(row), "doc": from_json(row["doc"])})


def _touched(path: Path) -> float:
    """When anything in a folder was last written, in seconds since 1970; the present when a file goes while we look."""
    try:
        return max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()
