"""The rules of names that a plan makes: they can be names, they are new, and SQL can tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agentlab.actions import (
    Action,
    Aggregate,
    Derive,
    Materialize,
    Provision,
    Rename,
    Schema,
    Split,
    Unpivot,
)
from agentlab.entries import check_name, twin
from agentlab.errors import PlanError
from agentlab.simulation import World, writes

#: The groups that tables have from the first day on; a store of such a name would hide them from queries.
GROUPS = frozenset({"staging", "core", "quarantine", "archive"})


def names_valid(action: Action, world: World) -> Iterator[str]:
    """New tables and stores have names that can be folders and SQL names."""
    names = [*action.references("new_table"), *action.references("new_store")]
    for name in names:
        try:
            check_name(name, "store" if isinstance(action, Provision) else "table")
        except PlanError as fault:
            yield str(fault)


def column_names_valid(action: Action, world: World) -> Iterator[str]:
    """New columns have names that can be read.

    >>> list(column_names_valid(Rename(table="t", column="a", to=" "), None))
    ["' ' can't name a column; use up to 120 printable characters, e.g. 'unit_price'"]
    """
    for name in action.references("new_column"):
        if not name.strip() or len(name) > 120 or not name.isprintable():
            yield f"{name[:120]!r} can't name a column; use up to 120 printable characters, e.g. 'unit_price'"


def names_free(action: Action, world: World) -> Iterator[str]:
    """A new name isn't taken; a new table may replace one (see `replaces_work`)."""
    if isinstance(action, Provision) and action.store in world.stores:
        yield f"there is a store {action.store!r} already; publish to it, or give the new one another name"
    if isinstance(action, Materialize) and action.name in world.tables:
        yield f"there is a table {action.name!r} already; give the result another name"


def names_differ(action: Action, world: World) -> Iterator[str]:
    """A new table or store is told from the others whatever the case, as SQL does, and a store from tables' groups."""
    for name in (writes(action), *action.references("new_table")):
        if other := twin(name or "", world.tables):
            yield other
            return
    if isinstance(action, Provision):
        groups = GROUPS | {name.partition(".")[0].lower() for name in world.tables if "." in name}
        if other := twin(action.store, world.stores, "store"):
            yield other
        elif action.store.lower() in groups:
            yield f"{action.store!r} is a group of tables, like {action.store.lower()}.orders; name the store otherwise"


def rename_changes(action: Action, world: World) -> Iterator[str]:
    """A column isn't renamed to the name that it has.

    >>> list(rename_changes(Rename(table="t", column="country", to="country"), None))
    ["'country' has that name already; what should it be called?"]
    """
    if isinstance(action, Rename) and action.to == action.column:
        yield f"{action.column!r} has that name already; what should it be called?"


def column_names_free(action: Action, world: World) -> Iterator[str]:
    """No two columns of a result have one name; names that differ by case only are one to an engine."""
    if (sight := world.read(action)) is None:
        return
    counts = Counter(name.lower() for name in (*_staying(action, sight.schema), *_added(action, sight.schema)))
    for name in dict.fromkeys(_added(action, sight.schema)):
        if counts[name.lower()] > 1:
            yield f"{getattr(action, 'table', '')} would have two columns {name!r}; give the new one another name"


def _added(action: Action, schema: Schema) -> tuple[str, ...]:
    match action:
        case Rename(column=column, to=to):
            return () if to == column else (to,)
        case Derive(column=column):
            return () if column in schema else (column,)
        case Split(into_columns=columns):
            return columns
        case Aggregate(measures=measures):
            return tuple(measure.label for measure in measures)
        case Unpivot(name_to=name, value_to=value):
            return (name, value)
    return ()


def _staying(action: Action, schema: Schema) -> tuple[str, ...]:
    if isinstance(action, Aggregate):
        return action.by
    gone = {action.column} if isinstance(action, Rename) else set(action.columns if isinstance(action, Unpivot) else ())
    return tuple(column for column in schema if column not in gone)


def columns_once(action: Action, world: World) -> Iterator[str]:
    """No column is listed twice.

    >>> from agentlab.actions import Select
    >>> list(columns_once(Select(table="t", columns=("a", "b", "a")), None))
    ["columns lists 'a' more than once"]
    """
    for field in ("columns", "by", "on", "key", "index"):
        names = getattr(action, field, ())
        for name in dict.fromkeys(n for n in names if isinstance(names, tuple) and names.count(n) > 1):
            yield f"{field} lists {name!r} more than once"
