"""Commit and undo: the one mechanism by which heads move, forwards and backwards.

A commit is all that one run wrote. For every entry it notes the head before and after; undoing sets heads back.
A head may move only from where its run saw it; whoever comes second gets a Conflict and changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from agentlab.entries import Entry, Key, Run, check_run
from agentlab.errors import Conflict, LabError
from agentlab.events import Event, append, by_id, now


@dataclass(frozen=True)
class Change:
    """One head's move, from version `before` to version `after`; None where there is no such entry."""

    key: Key
    before: int | None
    after: int | None


def commit(
    connection: sqlite3.Connection,
    run: str,
    changes: Sequence[Change],
    written: Iterable[Entry],
    events: Iterable[Event],
) -> list[Event]:
    """Make a run's versions, heads and events visible; Conflict if a head isn't where `before` says.

    A run commits once: a second time nothing is written and the first time's events are returned. Conflict, too, when
    a run that caused it has been undone: what it would build on is gone.
    """
    done = connection.execute("SELECT events FROM commits WHERE run = ?", (run,)).fetchone()
    if done:
        return [by_id(connection, f"{run}/{k}") for k in range(1, done["events"] + 1)]
    _check_cause(connection, run)
    for change in changes:
        _check(connection, run, change)
    for entry in written:
        _add(connection, entry)
    told = [append(connection, e.model_copy(update={"id": f"{run}/{k}", "run": run})) for k, e in enumerate(events, 1)]
    _record(connection, run, changes, len(told))
    return told


def save_run(connection: sqlite3.Connection, run: Run) -> None:
    """Insert a run, or update the one with its id."""
    sql = "INSERT INTO runs (id, doc) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"
    connection.execute(sql, (check_run(run.id), run.model_dump_json()))


def undo(connection: sqlite3.Connection, run: str) -> list[str]:
    """Set every head that a run moved back to where it was; a line for each, like `table orders: version 3 -> 2`.

    What the run caused and what still waits for a person's answer gets a no, since what it would build on is gone.
    Conflict when later runs changed the same entries, naming what to undo first. LabError when there's nothing to undo.
    """
    seq = _undoable(connection, run)
    changes = _changes(connection, seq)
    if later := _later(connection, seq, changes):
        raise Conflict(f"can't undo run {run}: later runs changed the same entries; undo first {', then '.join(later)}")
    for change in changes:
        _move(connection, change.key, change.before)
    _say_no(connection, run)
    moment = now()
    connection.execute("UPDATE commits SET undone = ? WHERE seq = ?", (moment, seq))
    connection.execute("UPDATE runs SET doc = json_set(doc, '$.status', 'undone') WHERE id = ?", (run,))
    lines = [_line(change) for change in changes]
    body = {"entries": [{"kind": c.key[0], "name": c.key[1], "from": c.after, "to": c.before} for c in changes]}
    subject = changes[0].key[1]
    append(connection, Event(type="undone", subject=subject, body=body, run=run, id=f"{run}/undone", at=moment))
    return lines


def _say_no(connection: sqlite3.Connection, run: str) -> None:
    rows = connection.execute(
        "SELECT name, n, doc FROM versions JOIN head USING (kind, name, n) WHERE kind = 'review'"
        " AND json_extract(doc, '$.answer') IS NULL AND substr(name, 1, ?) = ?",
        (len(run) + 1, f"{run}-"),
    ).fetchall()
    for row in rows:
        _answer_no(connection, row, by=f"undo of run {run}")


def _answer_no(connection: sqlite3.Connection, row: sqlite3.Row, by: str) -> None:
    waits = row["name"]
    doc = {**from_json(row["doc"]), "answer": False, "by": by}
    entry = Entry(kind="review", name=waits, n=row["n"] + 1, doc=doc, run=f"{waits}-{row['n']}-answer", at=now())
    commit(connection, entry.run, [Change(("review", waits), row["n"], entry.n)], [entry], [])
    body, key = {"answer": False, "by": by}, f"{waits}-{row['n']}/review-answered"
    append(connection, Event(type="review-answered", subject=waits, run=waits, body=body, id=key))
    ended = {"status": "refuse", "message": f"{by} said no; nothing was changed", "ended": now()}
    connection.execute("UPDATE runs SET doc = json_patch(doc, ?) WHERE id = ?", (to_json(ended).decode(), waits))


def _check_cause(connection: sqlite3.Connection, run: str) -> None:
    parts = run.split("-")
    causes = ["-".join(parts[:n]) for n in range(1, len(parts))]
    for cause in causes:
        if connection.execute("SELECT 1 FROM commits WHERE run = ? AND undone IS NOT NULL", (cause,)).fetchone():
            raise Conflict(f"run {cause}, which caused run {run}, has been undone; nothing was written")


def _check(connection: sqlite3.Connection, run: str, change: Change) -> None:
    row = connection.execute("SELECT n FROM head WHERE kind = ? AND name = ?", change.key).fetchone()
    head = row["n"] if row else None
    if head != change.before:
        moved = f"{_shown(change.before, 'none')} -> {_shown(head, 'none')}, by run {_last_run(connection, change.key)}"
        what = " ".join(change.key)
        raise Conflict(f"{what} has changed since run {run} began ({moved}); nothing was written, start {run} afresh")


def _add(connection: sqlite3.Connection, entry: Entry) -> None:
    values = (entry.kind, entry.name, entry.n, to_json(entry.doc).decode(), entry.run, now())
    try:
        connection.execute("INSERT INTO versions (kind, name, n, doc, run, at) VALUES (?, ?, ?, ?, ?, ?)", values)
    except sqlite3.IntegrityError as fault:
        # The head is back where it was, but only because another run was undone meanwhile. Its versions stay.
        taken = f"version {entry.n} of {entry.kind} {entry.name} has been taken since run {entry.run} began"
        raise Conflict(f"{taken}; nothing was written, start {entry.run} afresh") from fault


def _record(connection: sqlite3.Connection, run: str, changes: Iterable[Change], events: int) -> None:
    seq = connection.execute("INSERT INTO commits (run, events, at) VALUES (?, ?, ?)", (run, events, now())).lastrowid
    for change in changes:
        if change.before != change.after:
            _move(connection, change.key, change.after)
            values = (seq, *change.key, change.before, change.after)
            connection.execute("INSERT INTO changes (seq, kind, name, before, after) VALUES (?, ?, ?, ?, ?)", values)


def _move(connection: sqlite3.Connection, key: Key, n: int | None) -> None:
    if n is None:
        connection.execute("DELETE FROM head WHERE kind = ? AND name = ?", key)
    else:
        connection.execute("INSERT OR REPLACE INTO head (kind, name, n) VALUES (?, ?, ?)", (*key, n))


def _undoable(connection: sqlite3.Connection, run: str) -> int:
    found = connection.execute(
        "SELECT seq, undone, EXISTS (SELECT 1 FROM changes WHERE changes.seq = commits.seq) AS moved"
        " FROM commits WHERE run = ?",
        (run,),
    ).fetchone()
    if found and found["undone"]:
        raise LabError(f"run {run} is undone already, since {found['undone']}")
    if not found or not found["moved"]:
        raise LabError(f"there is nothing to undo: run {run} changed nothing in this lab")
    seq: int = found["seq"]
    return seq


def _changes(connection: sqlite3.Connection, seq: int) -> list[Change]:
    rows = connection.execute("SELECT * FROM changes WHERE seq = ? ORDER BY kind, name", (seq,))
    return [Change((row["kind"], row["name"]), row["before"], row["after"]) for row in rows]


def _later(connection: sqlite3.Connection, seq: int, changes: Iterable[Change]) -> list[str]:
    """The runs to undo before that of `seq`, newest first: those that changed its entries, and those in their way."""
    rows = connection.execute(
        "SELECT run, kind, name FROM changes JOIN commits USING (seq) WHERE seq > ? AND undone IS NULL ORDER BY seq",
        (seq,),
    )
    touched = {change.key for change in changes}
    moved: dict[str, set[Key]] = {}
    for row in rows:
        moved.setdefault(row["run"], set()).add((row["kind"], row["name"]))
    return list(reversed(_entangled(moved, touched)))


def _entangled(moved: Mapping[str, set[Key]], touched: set[Key]) -> list[str]:
    runs = []
    for run, keys in moved.items():
        if keys & touched:
            runs.append(run)
            touched = touched | keys
    return runs


def _last_run(connection: sqlite3.Connection, key: Key) -> str:
    """The run that changed an entry last, whether undone since or not."""
    row = connection.execute(
        "SELECT run FROM changes JOIN commits USING (seq) WHERE kind = ? AND name = ? ORDER BY seq DESC LIMIT 1", key
    ).fetchone()
    return str(row["run"]) if row else "(none)"


def _line(change: Change) -> str:
    kind, name = change.key
    if change.before is None or change.after is None:
        return f"{kind} {name}: {_shown(change.after)} -> {_shown(change.before)}"
    return f"{kind} {name}: version {change.after} -> {change.before}"


def _shown(n: int | None, missing: str = "removed") -> str:
    return missing if n is None else f"version {n}"
