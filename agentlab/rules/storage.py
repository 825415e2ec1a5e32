"""Rules of the storage agent: stores and files that there are."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.actions import (
    Action,
    Export,
    Provision,
    Publish,
    Resize,
)
from agentlab.actions.amounts import bytes_of
from agentlab.datafiles import export_place, leads_out
from agentlab.errors import PlanError, unknown
from agentlab.places import unfit
from agentlab.rules.base import Rule, missing
from agentlab.simulation import World


def partition_columns_exist(action: Action, world: World) -> Iterator[str]:
    """A table has the columns that its store is split by."""
    if isinstance(action, Publish) and (sight := world.read(action)) is not None:
        yield from missing(
            world.stores.get(action.store, ()), sight, f"in {action.table}; {action.store} is split by it"
        )


def stores_exist(action: Action, world: World) -> Iterator[str]:
    """Every store exists, or an earlier action provisions it."""
    for name in action.references("store"):
        if name not in world.stores:
            yield unknown("store", name, world.stores)


def stores_fit(action: Action, world: World) -> Iterator[str]:
    """A new store's format, place and columns to split by go together.

    >>> list(stores_fit(Provision(store="mart", format="duckdb", partition_by=("day",)), None))
    ['a duckdb store is one file for each table and has no partitions; use format parquet or delta for them']
    """
    if isinstance(action, Provision) and (fault := unfit(action)):
        yield fault


def databases_exist(action: Action, world: World) -> Iterator[str]:
    """A Postgres store is in a registered Postgres database."""
    if isinstance(action, Provision) and action.format == "postgres" and action.location:
        known = [e.name for e in world.entries.entries("source") if e.doc.get("driver") == "postgres"]
        if action.location not in known:
            yield unknown("database", action.location, known, "is registered")


def quotas_suffice(action: Action, world: World) -> Iterator[str]:
    """A store may hold at least what it holds."""
    entry = world.entries.find("store", action.store) if isinstance(action, Resize) else None
    if entry is None or not isinstance(action, Resize):
        return
    held = sum(table.get("bytes", 0) for table in (entry.doc.get("tables") or {}).values())
    if held > bytes_of(action.quota):
        yield (
            f"{action.store} holds {held:,} bytes already, over {action.quota} ({bytes_of(action.quota):,} bytes); "
            "how much may it hold, or what should go?"
        )


def exports_inside(action: Action, world: World) -> Iterator[str]:
    """A file is exported into the lab's folder, wherever its path leads.

    >>> list(exports_inside(Export(table="t", path="/etc/cron.d/x"), None))
    ["'/etc/cron.d/x' leads out of the lab; export into the lab's folder, like exports/t.csv"]
    """
    if isinstance(action, Export) and action.path is not None and leads_out(action.path):
        yield f"{action.path!r} leads out of the lab; export into the lab's folder, like exports/t.csv"


def exports_fit(action: Action, world: World) -> Iterator[str]:
    """A file is exported to a place for people's files, under a name that goes with its format.

    >>> list(exports_fit(Export(table="t", path="out/t.csv", format="excel"), None))
    ["'out/t.csv' would be excel; name it with .xlsx, or leave the format out"]
    """
    if isinstance(action, Export) and not leads_out(action.path or ""):
        try:
            export_place(action)
        except PlanError as fault:
            yield str(fault)


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("refuse", exports_inside),
    Rule("mend", exports_fit),
    Rule("mend", partition_columns_exist),
    Rule("mend", stores_exist),
    Rule("mend", stores_fit),
    Rule("mend", databases_exist),
    Rule("clarify", quotas_suffice),
)
