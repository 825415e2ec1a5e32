"""The catalog's database: one SQLite file, its tables, and how an older file is brought up to date.

WAL mode: readers never wait, writers wait for each other. What the tables mean is `catalog.py`'s and `commits.py`'s.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agentlab.errors import LabError

#: How long a writer waits for another process's write to end, in seconds.
BUSY_SECONDS = 30.0

#: What made each format from the one before. Only ever append: files written by every step exist somewhere.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE versions (kind TEXT, name TEXT, n INTEGER, doc TEXT NOT NULL, run TEXT NOT NULL,"
        " at TEXT NOT NULL, PRIMARY KEY (kind, name, n))",
        "CREATE INDEX versions_run ON versions (run)",
        "CREATE TABLE head (kind TEXT, name TEXT, n INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID",
        "CREATE TABLE commits (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL UNIQUE,"
        " events INTEGER NOT NULL, at TEXT NOT NULL, undone TEXT)",
        "CREATE TABLE changes (seq INTEGER REFERENCES commits, kind TEXT, name TEXT, before INTEGER, after INTEGER,"
        " PRIMARY KEY (seq, kind, name)) WITHOUT ROWID",
        "CREATE INDEX changes_entry ON changes (kind, name, seq)",
        "CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, doc TEXT NOT NULL)",
        "CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,"
        " subject TEXT NOT NULL, body TEXT NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL)",
        "CREATE INDEX events_run ON events (run, seq)",
        "CREATE INDEX events_type ON events (type, seq)",
    ),
)

#: The format that this version of agentlab writes.
FORMAT = len(MIGRATIONS)


class _Connection(sqlite3.Connection):
    """A connection that closes itself when its thread ends, without a ResourceWarning."""

    def __del__(self) -> None:
        self.close()


class Database:
    """A SQLite file with a connection for each thread; made, or brought up to date, when opened.

    LabError when a newer version of agentlab wrote the file, or when it is no database; the file is left as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        try:
            with closing(self._connect()) as connection:
                _prepare(connection, path)
        except sqlite3.DatabaseError as fault:
            raise LabError(f"can't open the catalog {path}: {fault}") from fault

    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def query(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of one statement: what was committed before it, and nothing half done."""
        return self.connection().execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing. It holds the only write lock, so what is read inside stays true until the end.

        LabError when the lock can't be had within `BUSY_SECONDS`.
        """
        connection = self.connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as fault:
            raise LabError(f"can't write to the catalog {self.path}: {fault}") from fault
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def close(self) -> None:
        """Close every thread's connection. The next use opens a new one."""
        for connection in list(self._open):
            connection.close()
        self._local = threading.local()

    def _connect(self) -> _Connection:
        connection = sqlite3.connect(
            self.path, BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        connection.row_factory = sqlite3.Row
        self._open.add(connection)
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if _format(connection, path) == FORMAT:
        return
    _use_wal(connection)
    connection.execute("BEGIN IMMEDIATE")
    for step in MIGRATIONS[_format(connection, path) :]:
        for statement in step:
            connection.execute(statement)
    connection.execute("CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL)")
    connection.execute("DELETE FROM meta")
    connection.execute("INSERT INTO meta VALUES (?)", (FORMAT,))
    connection.execute("COMMIT")


def _format(connection: sqlite3.Connection, path: Path) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return 0
    found: int = connection.execute("SELECT format FROM meta").fetchone()["format"]
    if found > FORMAT:
        raise LabError(
            f"{path} has format {found}, this agentlab reads up to {FORMAT}; a newer version wrote it: upgrade"
        )
    return found


def _use_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            # Two processes that make the same lab at once: SQLite refuses one of them at once, whatever its timeout.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
