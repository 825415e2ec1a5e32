"""What a catalog holds: versioned entries of every kind, the documents of tables and runs, and how entries are read.

Nothing is stored here; `catalog.py` and `draft.py` answer from the database and from a run's pending effects.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agentlab.actions.base import ColumnType, Schema
from agentlab.errors import LabError, PlanError, unknown
from agentlab.events import now

EntryKind = Literal[
    "table", "source", "store", "schedule", "layout", "query", "report", "review", "pipeline",
    "check", "limit", "retention", "snapshot", "sync", "export",
]  # fmt: skip
KINDS: tuple[EntryKind, ...] = get_args(EntryKind)

#: What says which entry: its kind and its name.
Key = tuple[EntryKind, str]

#: In bytes. Names become folders and parts of file names, for which file systems allow 255.
LONGEST_NAME = 120
_TABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?")
_STORE = re.compile(r"[A-Za-z_]\w*")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Entry(BaseModel):
    """Version `n` (from 1) of something in the catalog, as `run` wrote it at `at` (ISO 8601, UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EntryKind
    name: str
    n: int
    doc: dict[str, Any]
    run: str
    at: str


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("must be relative to the lab's folder and inside it, like tables/orders/v1-r1")
    return path


class TableDoc(BaseModel):
    """What the catalog knows of one version of a table.

    `projection` lists (new name, name in the files, cast to) when the columns differ from the files' own. `call` is the
    tool call that made it. `lineage` maps a column to the (table, version, column) that it came from. `source` is
    `source.resource` for a pulled table. The schema is `schema` in JSON, `schema_` in Python.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    path: Annotated[str, AfterValidator(_inside)]
    schema_: Schema = Field(alias="schema")
    rows: int
    bytes: int = 0
    projection: list[tuple[str, str, ColumnType | None]] | None = None
    call: dict[str, Any] = {}
    lineage: dict[str, list[tuple[str, int, str]]] = {}
    source: str | None = None


class Run(BaseModel):
    """One intent and what became of it. Times are ISO 8601 in UTC, durations in milliseconds.

    `parent` is the run that caused it and `cause` the id of the event; `plan` is the plan's JSON.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    id: str
    intent: str
    agent: str | None = None
    status: Literal["planned", "running", "done", "clarify", "refuse", "approval", "failed", "undone"] = "planned"
    plan: str = ""
    parent: str | None = None
    cause: str | None = None
    message: str = ""
    started: str = Field(default_factory=now)
    ended: str | None = None
    plan_ms: float = 0.0
    act_ms: float = 0.0


class Entries(ABC):
    """Entries by kind and name: a catalog's current ones, or those as a draft would leave them."""

    #: The lab's folder.
    root: Path

    @abstractmethod
    def find(self, kind: EntryKind, name: str) -> Entry | None:
        """The current entry, or None."""

    @abstractmethod
    def entries(self, kind: EntryKind) -> list[Entry]:
        """Every current entry of a kind, by name."""

    def history(self, kind: EntryKind, name: str) -> list[Entry]:
        """Every version that is known, oldest first: only the current one, where no others are kept."""
        entry = self.find(kind, name)
        return [entry] if entry else []

    def get(self, kind: EntryKind, name: str) -> Entry:
        """The current entry; PlanError naming those that exist, nearest first."""
        if entry := self.find(kind, name):
            return entry
        raise PlanError(unknown(kind, name, [entry.name for entry in self.entries(kind)]))

    def table(self, name: str) -> TableDoc:
        """What is known of a table's current version; PlanError if there is none."""
        return TableDoc.model_validate(self.get("table", name).doc)

    def schemas(self) -> dict[str, Schema]:
        """Every table's columns and their types, by table name."""
        return {entry.name: entry.doc["schema"] for entry in self.entries("table")}


def check_name(name: str, kind: EntryKind = "table") -> str:
    """The name, if it may become an entry's; PlanError saying what would be right.

    Tables are `name` or `group.name`, stores a single `name`, since both become folders and SQL names.

    >>> check_name("staging.orders")
    'staging.orders'
    >>> check_name("../secrets")
    Traceback (most recent call last):
    agentlab.errors.PlanError: '../secrets' can't name a table; use letters, digits and _...
    """
    pattern = {"table": _TABLE, "store": _STORE}.get(kind)
    if pattern and not pattern.fullmatch(name):
        dots = "with at most one dot, like staging.orders" if kind == "table" else "without a dot, like sales_mart"
        raise PlanError(f"{name!r} can't name a {kind}; use letters, digits and _, {dots}")
    if not name or (pattern and len(name.encode()) > LONGEST_NAME):
        raise PlanError(f"a {kind}'s name has 1 to {LONGEST_NAME} bytes, this one {len(name.encode())}: {name[:80]!r}")
    return name


def twin(name: str, names: Iterable[str], kind: EntryKind = "table") -> str | None:
    """What is wrong with a name that SQL can't tell from one of `names`; None if nothing is, or if it is one of them.

    >>> twin("staging.X", ["staging.x"])
    "there is a table 'staging.x' already; names that differ only by case are one to SQL"
    >>> twin("staging.x", ["staging.x"])
    """
    alike = [other for other in names if other.lower() == name.lower()]
    if not alike or name in alike:
        return None
    return f"there is a {kind} {alike[0]!r} already; names that differ only by case are one to SQL"


def check_run(run: str) -> str:
    """The run's id, if it may be part of a folder's name; LabError otherwise."""
    if not _RUN.fullmatch(run) or len(run) > 100:
        raise LabError(f"{run[:120]!r} can't be a run's id; use up to 100 letters, digits, '-' and '_'")
    return run
