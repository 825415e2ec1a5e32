"""What a plan would leave in the catalog, action by action, by schemas only: nothing is read or computed.

Where only the data can tell (what an API returns, which columns a pivot makes), a table is *open*: it may have columns
beside those that are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple, cast

from agentlab.actions import (
    Action,
    ColumnType,
    Derive,
    Drop,
    Join,
    LoadFile,
    Pivot,
    Provision,
    Pull,
    Quarantine,
    Restore,
    Schedule,
    Schema,
    Sync,
    TakeSnapshot,
    Transform,
    Union,
    Unpivot,
    Unschedule,
)
from agentlab.entries import Entries
from agentlab.errors import PlanError
from agentlab.expressions import Expression, parse
from agentlab.snapshots import chosen

#: Stands for the type of a column that an open table may have.
_UNKNOWN = cast(ColumnType, "unknown")


class Sight(NamedTuple):
    """What is known of a table: its columns, and whether there may be more."""

    schema: Schema
    open: bool = False

    def may_have(self, column: str) -> bool:
        """Whether the table has the column, or could have it."""
        return self.open or column in self.schema

    def parse(self, sql: str, *, boolean: bool = False) -> Expression:
        """The expression, its types checked where they are known. PlanError names its faults."""
        if self.open and not {c.lower() for c in parse(sql, None, boolean=boolean).columns} <= self._lower():
            return parse(sql, None, boolean=boolean)
        return parse(sql, self.schema, boolean=boolean)

    def _lower(self) -> set[str]:
        return {column.lower() for column in self.schema}


class World:
    """The catalog as the actions before the present one would leave it."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.tables: dict[str, Sight] = {name: Sight(schema) for name, schema in entries.schemas().items()}
        self.stores: dict[str, tuple[str, ...]] = {
            entry.name: tuple(entry.doc.get("partition_by", ())) for entry in entries.entries("store")
        }
        #: The tables that weren't there before the plan: whatever they hold is its own.
        self.created: set[str] = set()
        #: The tables that the plan has written.
        self.changed: set[str] = set()
        #: The snapshots that the plan takes: of each its table, as it is then.
        self.snapshots: dict[str, tuple[str, Sight]] = {}
        #: The tasks that have a schedule.
        self.scheduled: set[str] = {entry.name for entry in entries.entries("schedule")}

    @property
    def root(self) -> Path:
        """The lab's folder."""
        return self.entries.root

    def read(self, action: Action) -> Sight | None:
        """The table that an action is about; None if it is about none, or about one that doesn't exist."""
        return self.tables.get(getattr(action, "table", None) or "")

    def resources(self, source: str) -> Mapping[str, Any]:
        """The documents of a source's resources by name; none for an unknown source."""
        entry = self.entries.find("source", source)
        return entry.doc.get("resources", {}) if entry else {}

    def resource(self, action: Pull | Sync) -> Sight:
        """What is known of a resource's columns; an API may always return more."""
        doc = self.resources(action.source).get(action.resource, {})
        return Sight(doc.get("schema") or {}, open=True)

    def apply(self, action: Action, sound: bool = True) -> None:
        """Let an action take effect. One that isn't sound leaves its table open, so that a fault is told only once."""
        if isinstance(action, Provision):
            self.stores.setdefault(action.store, action.partition_by)
        self._keep(action)
        if (target := writes(action)) is not None:
            if target not in self.tables:
                self.created.add(target)
            self.tables[target] = effect(action, self) if sound else Sight({}, open=True)
            self.changed.add(target)

    def _keep(self, action: Action) -> None:
        """What goes, what gets a name, and what is done when."""
        if isinstance(action, Drop):
            self.tables.pop(action.table or "", None)
            self.changed.add(action.table or "")
            self.stores.pop(action.store or "", None)
        elif isinstance(action, TakeSnapshot) and action.name:
            self.snapshots[action.name] = (action.table, self.tables.get(action.table, Sight({}, open=True)))
        elif isinstance(action, Schedule):
            self.scheduled.add(action.task)
        elif isinstance(action, Unschedule):
            self.scheduled.discard(action.task)


def writes(action: Action) -> str | None:
    """The table that an action writes, or the quarantine of the one that it takes rows out of; None if it writes none.

    >>> writes(Quarantine(table="staging.orders", where="quantity < 0"))
    'quarantine.orders'
    """
    if isinstance(action, Pull | Sync | LoadFile):
        return action.into
    if isinstance(action, Quarantine):
        return f"quarantine.{action.table.rpartition('.')[2]}"
    if isinstance(action, Restore):
        return action.table
    return (action.into or action.table) if isinstance(action, Transform) else None


@singledispatch
def effect(action: Action, world: World) -> Sight:
    """The table that an action writes, by the schemas of those that it reads."""
    before = world.read(action) or Sight({}, open=True)
    if not before.open:
        return Sight(action.effect(before.schema))
    known = action.effect({**dict.fromkeys(action.references("column"), _UNKNOWN), **before.schema})
    return Sight({c: t for c, t in known.items() if t != _UNKNOWN}, open=True)


@effect.register
def _(action: Pull, world: World) -> Sight:
    before = world.tables.get(action.into) if action.mode != "replace" else None
    return Sight(_stacked(before.schema if before else {}, world.resource(action).schema), open=True)


@effect.register
def _(action: Sync, world: World) -> Sight:
    before = world.tables.get(action.into)
    return Sight(_stacked(before.schema if before else {}, world.resource(action).schema), open=True)


@effect.register
def _(action: LoadFile, world: World) -> Sight:
    before = world.tables.get(action.into) if action.mode != "replace" else None
    return Sight(before.schema if before else {}, open=True)


@effect.register
def _(action: Quarantine, world: World) -> Sight:
    before, aside = world.read(action), world.tables.get(writes(action) or "")
    moved: Schema = {**(before.schema if before else {}), "reason": "text"}
    return Sight(_stacked(aside.schema if aside else {}, moved), open=True)


@effect.register
def _(action: Restore, world: World) -> Sight:
    if action.snapshot in world.snapshots:
        return world.snapshots[action.snapshot][1]
    if action.version is not None and action.version < 0 and action.table in world.changed:
        # How many versions the plan itself makes of the table only its run will know.
        return Sight({}, open=True)
    try:
        return Sight(chosen(world.entries, action.table, action.snapshot, action.version).doc["schema"])
    except PlanError:
        return Sight({}, open=True)


@effect.register
def _(action: Derive, world: World) -> Sight:
    before = world.read(action) or Sight({}, open=True)
    rest: Schema = {c: t for c, t in before.schema.items() if c != action.column}
    expression = before.parse(action.expr)
    if not set(expression.columns) <= before.schema.keys():
        return Sight(rest, open=True)
    return Sight({**before.schema, action.column: expression.type}, before.open)


@effect.register
def _(action: Join, world: World) -> Sight:
    this, other = world.tables[action.table], world.tables[action.other]
    brought = {c: other.schema[c] for c in action.columns or other.schema if c in other.schema and c not in action.on}
    taken = {column.lower() for column in this.schema}
    suffix = f"_{action.other.rpartition('.')[2]}"
    renamed: Schema = {c + suffix if c.lower() in taken else c: t for c, t in brought.items()}
    told = action.columns and set(action.columns) <= other.schema.keys()
    return Sight({**this.schema, **renamed}, this.open or (other.open and not told))


@effect.register
def _(action: Union, world: World) -> Sight:
    this, other = world.tables[action.table], world.tables[action.other]
    return Sight(_stacked(this.schema, other.schema), this.open or other.open)


def _stacked(above: Schema, below: Schema) -> Schema:
    """The columns of a table that has rows of one schema above rows of another."""
    names = united(above, below).items()
    return {c: common([s[n] for s, n in ((above, one), (below, two)) if n is not None]) for c, (one, two) in names}


def united(one: Iterable[str], other: Iterable[str]) -> dict[str, tuple[str | None, str | None]]:
    """The columns of two tables' rows in one table: each with its name in either, None where there is none.

    Names that differ by case only are one column, as they are to an engine; it is spelled as in the first table.

    >>> united(["id", "Email"], ["email", "city"])
    {'id': ('id', None), 'Email': ('Email', 'email'), 'city': (None, 'city')}
    """
    theirs = {column.lower(): column for column in other}
    both: dict[str, tuple[str | None, str | None]] = {c: (c, theirs.pop(c.lower(), None)) for c in one}
    return both | {column: (None, column) for column in theirs.values()}


@effect.register
def _(action: Pivot, world: World) -> Sight:
    schema = world.tables[action.table].schema
    return Sight({c: schema[c] for c in action.index if c in schema}, open=True)


@effect.register
def _(action: Unpivot, world: World) -> Sight:
    before = world.tables[action.table]
    rest: Schema = {c: t for c, t in before.schema.items() if c not in action.columns}
    kinds = [before.schema[c] for c in action.columns if c in before.schema]
    values: Schema = {action.value_to: common(kinds)} if len(kinds) == len(action.columns) else {}
    return Sight({**rest, action.name_to: "text", **values}, before.open)


def key_names(resource: str) -> tuple[str, ...]:
    """What the column that tells one row of a resource from another is called where nobody says it, in lower case.

    >>> key_names("orders"), key_names("categories")
    (('id', 'order_id', 'orders_id'), ('id', 'category_id', 'categories_id'))
    """
    stem = resource.lower()
    one = f"{stem[:-3]}y" if stem.endswith("ies") else stem.removesuffix("s")
    return tuple(dict.fromkeys(("id", f"{one}_id", f"{stem}_id")))


def common(types: Iterable[ColumnType]) -> ColumnType:
    """The narrowest type that holds values of all these.

    >>> common(["int", "float"]), common(["int", "date"])
    ('float', 'text')
    """
    found = set(types)
    if len(found) == 1:
        return found.pop()
    if found == {"int", "float"}:
        return "float"
    return "timestamp" if found == {"date", "timestamp"} else "text"
