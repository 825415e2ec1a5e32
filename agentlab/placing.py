"""Exported files at the places that people look at: put there when a run commits, taken away when it is undone.

A run writes into `.exports/<run>/`, which nobody sees. With its commit the file is moved to its place, and what was
there is kept beside the run's other files, so that undoing it moves that back. Which file is whose is told by its size
and the time of its last change: one that somebody changed since isn't ours any more, and stays.

Before files are moved the run's folder says which, and until the commit is there, `take_back` moves them back: at once
when it fails, and when the lab is opened after a process was killed in between.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from agentlab import commits
from agentlab.errors import Conflict, LabError

#: The folder of the lab in which runs write what they export.
FOLDER = ".exports"

#: In a run's folder: the exports whose files are being moved, one a line, as long as it isn't sure that they stay.
_MOVING = "moving"


class Mark(BaseModel):
    """What tells a file from another one in its place: its size in bytes, its last change in nanoseconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Mark | None:
        """That of a file; None if there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(bytes=found.st_size, modified=found.st_mtime_ns)


class ExportDoc(BaseModel):
    """An exported file: its place in the lab, what it holds, and what was in that place before.

    `path` is the run's folder, `staged` and `kept` are in it: the file until the commit, and what it replaced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    format: str
    table: str
    version: int
    rows: int
    mark: Mark
    path: str
    staged: str
    found: Mark | None = None
    kept: str | None = None


#: The current export of every place, with its number.
Heads = Mapping[str, tuple[int, ExportDoc]]


def heads(connection: sqlite3.Connection) -> Heads:
    """Which export is current in each place."""
    sql = "SELECT name, n, doc FROM versions JOIN head USING (kind, name, n) WHERE kind = 'export'"
    return {name: (n, ExportDoc.model_validate(from_json(doc))) for name, n, doc in connection.execute(sql)}


def undo(connection: sqlite3.Connection, root: Path, runs: Iterable[str]) -> list[str]:
    """Undo runs as `commits.undo` does, and take back the files that they exported; a line for each entry and file."""
    lines, moves = list[str](), list[tuple[Heads, Heads]]()
    for run in runs:
        before = heads(connection)
        lines += commits.undo(connection, run)
        moves.append((before, heads(connection)))
    # Last, since only now nothing of the runs can keep them from being undone.
    return [*lines, *(line for before, after in moves for line in settle(root, before, after))]


def settle(root: Path, before: Heads, after: Heads) -> list[str]:
    """Move files as the exports have moved from `before` to `after`; a line for each that stays since it was changed.

    Conflict where a place isn't as the run found it; LabError where a file can't be moved. Nothing has moved then.
    """
    lines, done = list[str](), list[Callable[[], object]]()
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    new = [after[n][1] for n in changed if n in after and (n not in before or after[n][0] > before[n][0])]
    for each in new:
        _check(root, each)
    try:
        _announce(root, new)
        for name in changed:
            lines += _moved(root, before.get(name), after.get(name), done)
    except OSError as fault:
        for back in reversed(done):
            with contextlib.suppress(OSError):
                back()
        raise LabError(f"an exported file can't be put in its place: {fault.strerror}; nothing was changed") from None
    return lines


def keep(root: Path, run: str) -> None:
    """A run has committed: its files stay where they are now."""
    moving = root / FOLDER / run / _MOVING
    if moving.exists():
        moving.unlink()
        _tidy(moving.parent, root)


def take_back(root: Path, run: str) -> None:
    """A run hasn't committed: where its files are in their places already, bring back what was there."""
    moving = root / FOLDER / run / _MOVING
    for line in moving.read_text(encoding="utf-8").splitlines() if moving.exists() else ():
        doc = ExportDoc.model_validate_json(line)
        place, kept = root / doc.file, root / doc.kept if doc.kept else None
        if Mark.of(place) != doc.mark:
            continue
        if kept and kept.exists():
            kept.replace(place)
        elif not kept:
            place.unlink()
    keep(root, run)


def recover(connection: sqlite3.Connection, root: Path) -> None:
    """Finish what killed processes left: inside a transaction, so that nobody is just moving files."""
    for moving in root.glob(f"{FOLDER}/*/{_MOVING}"):
        run = moving.parent.name
        done = connection.execute("SELECT 1 FROM commits WHERE run = ?", (run,)).fetchone()
        (keep if done else take_back)(root, run)


def _announce(root: Path, new: Iterable[ExportDoc]) -> None:
    for doc in new:
        with (root / doc.path / _MOVING).open("a", encoding="utf-8") as file:
            file.write(f"{doc.model_dump_json()}\n")


def _check(root: Path, new: ExportDoc) -> None:
    if Mark.of(root / new.file) != new.found:
        raise Conflict(f"{new.file} has been changed since the run began; nothing was written, start it afresh")


def _moved(
    root: Path, old: tuple[int, ExportDoc] | None, new: tuple[int, ExportDoc] | None, done: list[Callable[[], object]]
) -> Iterator[str]:
    if new and (old is None or new[0] > old[0]):
        _put(root, new[1], done)
    elif old:
        yield from _taken_back(root, old[1], done)


def _put(root: Path, new: ExportDoc, done: list[Callable[[], object]]) -> None:
    place, staged = root / new.file, root / new.staged
    place.parent.mkdir(parents=True, exist_ok=True)
    kept = root / new.kept if new.kept else None
    if kept:
        _keep(place, kept)
    staged.replace(place)
    done.append(lambda: kept.replace(place) if kept else place.unlink())
    _tidy(staged.parent, root)


def _taken_back(root: Path, old: ExportDoc, done: list[Callable[[], object]]) -> Iterator[str]:
    place, aside = root / old.file, root / old.staged
    if Mark.of(place) != old.mark:
        yield f"file {old.file}: changed since, left as it is"
        return
    aside.parent.mkdir(parents=True, exist_ok=True)
    place.replace(aside)
    done.append(lambda: aside.replace(place))
    if old.kept:
        (root / old.kept).replace(place)
        done.append(lambda: place.replace(root / (old.kept or "")))
    else:
        _tidy(place.parent, root)
    yield f"file {old.file}: {'the one before is back' if old.kept else 'removed'}"


def _keep(place: Path, kept: Path) -> None:
    """Give a file a second name, so that it is never away from its place; a copy where the disk has no such names."""
    kept.unlink(missing_ok=True)
    try:
        os.link(place, kept)
    except OSError:
        shutil.copy2(place, kept)


def _tidy(folder: Path, root: Path) -> None:
    """Remove folders that hold nothing any more."""
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
