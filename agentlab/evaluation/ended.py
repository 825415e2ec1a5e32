"""A run that is over, as expectations look at it: its result, the lab as it is now, and the lab as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from agentlab.acting.optimization import Views
from agentlab.actions import Action
from agentlab.entries import Entries, Entry, EntryKind
from agentlab.evaluation.form import Json, State
from agentlab.lab import Lab
from agentlab.plan import Plan
from agentlab.runs import Review, RunResult

#: What the lab keeps for itself in its folder.
_OWN = ("tables", "stores", "layouts", "tmp", "slots", "secrets", "databases", "frames")
#: The kinds of entries that a run which should have waited or asked must leave as they are.
_HELD = ("table", "store", "schedule", "layout")
_DATABASES = ("catalog.sqlite", "dbos.sqlite")


@dataclass(frozen=True)
class Before:
    """What there was before a run: every entry's version, and the files that people see."""

    heads: Mapping[tuple[EntryKind, str], int]
    files: Mapping[str, tuple[int, int]]


def remember(lab: Lab) -> Before:
    """The lab as it is."""
    return Before(dict(lab.catalog.heads()), seen(lab.root))


def seen(root: Path) -> dict[str, tuple[int, int]]:
    """The files in a lab's folder that aren't its own, with their size and time."""
    files = [path for path in root.rglob("*") if path.is_file()]
    there = [(path, path.relative_to(root)) for path in files]
    return {
        inner.as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path, inner in there
        if inner.parts[0] not in _OWN and not inner.name.startswith(_DATABASES)
    }


class Past(Entries):
    """The entries of a lab as they were."""

    def __init__(self, lab: Lab, before: Before) -> None:
        self.lab, self.before = lab, before

    def find(self, kind: EntryKind, name: str) -> Entry | None:
        n = self.before.heads.get((kind, name))
        return None if n is None else self.lab.catalog.version(kind, name, n)

    def entries(self, kind: EntryKind) -> list[Entry]:
        found = (self.find(*key) for key in sorted(self.before.heads) if key[0] == kind)
        return [entry for entry in found if entry]


@dataclass(frozen=True)
class Ended:
    """A case's run, over: what expectations are judged by."""

    state: State
    lab: Lab
    before: Before
    result: RunResult

    @property
    def plan(self) -> Plan:
        """The plan as it was made, whatever became of it."""
        return self.result.plan

    @property
    def acting(self) -> list[Action]:
        """The plan's actions, without questions and refusals."""
        return [action for action in self.plan.actions if action.agent is not None]

    @cached_property
    def views(self) -> Views:
        """Every table now, by name, and `store.table`."""
        return Views(self.lab.catalog, self.lab.engine, self.lab.root)

    @cached_property
    def past(self) -> Views:
        """Every table as it was."""
        return Views(Past(self.lab, self.before), self.lab.engine, self.lab.root)

    @cached_property
    def review(self) -> Review | None:
        """What the run asks a person, if it waits."""
        entry = self.lab.catalog.find("review", self.result.run)
        return Review.model_validate(entry.doc) if entry else None

    def docs(self, kind: EntryKind) -> dict[str, Json]:
        """The entries of a kind as they are now, by name."""
        return {entry.name: entry.doc for entry in self.lab.catalog.entries(kind)}

    def rows(self, views: Views, name: str) -> pa.Table:
        """All the rows of a table or a store's table, in their stored order."""
        return self.lab.engine.con.to_pyarrow(views[name])

    def made(self, kind: EntryKind) -> dict[str, Json]:
        """The entries of a kind that are new, or of another version than before."""
        heads, was = self.lab.catalog.heads(), self.before.heads
        return {name: doc for name, doc in self.docs(kind).items() if was.get((kind, name)) != heads[kind, name]}

    @property
    def altered(self) -> list[tuple[EntryKind, str]]:
        """The tables, stores, schedules and layouts of before that are of another version now, or gone."""
        heads = self.lab.catalog.heads()
        return [key for key, n in sorted(self.before.heads.items()) if key[0] in _HELD and heads.get(key) != n]

    def ask(self, sql: str) -> tuple[list[str], list[list[Any]]]:
        """The columns and rows of a query over the end state, in a DuckDB that has its tables as views."""
        with duckdb.connect() as database:
            for number, name in enumerate(_read(sql, self.views)):
                database.register(f"given_{number}", self.rows(self.views, name))
                group, _, short = name.rpartition(".")
                if group:
                    database.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(group)}")
                place = f"{_name(group)}.{_name(short)}" if group else _name(short)
                database.execute(f"CREATE VIEW {place} AS FROM given_{number}")
            told = database.execute(sql)
            return [column[0] for column in told.description or ()], [list(row) for row in told.fetchall()]


def _read(sql: str, views: Views) -> Iterator[str]:
    """The tables and stores' tables that a query names."""
    known = {name.lower(): name for name in views}
    said = dict.fromkeys(
        ".".join(part.name for part in table.parts).lower()
        for statement in sqlglot.parse(sql, dialect="duckdb")
        if statement
        for table in statement.find_all(exp.Table)
    )
    yield from (known[name] for name in said if name in known)


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
