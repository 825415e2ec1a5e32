"""Rules of the ingestion agent: where it writes, and that what it fetches is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from agentlab.actions import Action, DescribeSource, LoadFile, Pull, Sync
from agentlab.datafiles import data_file, leads_out
from agentlab.errors import PlanError, unknown
from agentlab.inference import readable
from agentlab.rules.base import Rule, missing
from agentlab.simulation import World, key_names

#: What puts rows into a table.
_Ingests = Pull | Sync | LoadFile


def staging_authority(action: Action, world: World) -> Iterator[str]:
    """Ingestion writes `staging.*` and nothing else.

    >>> list(staging_authority(Pull(source="crm", resource="people", into="sales.people"), None))
    ["ingestion writes staging.* only, not 'sales.people'"]
    """
    if isinstance(action, _Ingests) and "." in action.into and not action.into.startswith("staging."):
        yield f"ingestion writes staging.* only, not {action.into!r}"


def staging_name(action: Action, world: World) -> Iterator[str]:
    """A name without a group is a slip rather than a claim: it can be mended.

    >>> list(staging_name(Pull(source="crm", resource="people", into="people"), None))
    ["ingestion writes staging.* only; write 'staging.people', not 'people'"]
    """
    if isinstance(action, _Ingests) and "." not in action.into:
        yield f"ingestion writes staging.* only; write 'staging.{action.into}', not {action.into!r}"


def key_columns_exist(action: Action, world: World) -> Iterator[str]:
    """The key of an upsert is in the table that is there already."""
    upserts = isinstance(action, Sync) or (isinstance(action, Pull | LoadFile) and action.mode == "upsert")
    if isinstance(action, _Ingests) and upserts and (before := world.tables.get(action.into)):
        yield from missing(action.key, before, f"in {action.into}")


def sources_exist(action: Action, world: World) -> Iterator[str]:
    """The source is registered and has the resource."""
    if not isinstance(action, Pull | Sync | DescribeSource):
        return
    if world.entries.find("source", action.source) is None:
        yield unknown("source", action.source, [entry.name for entry in world.entries.entries("source")])
    elif not isinstance(action, DescribeSource) and action.resource not in (
        resources := world.resources(action.source)
    ):
        yield unknown("resource", action.resource, resources, f"in source {action.source}")


def files_inside(action: Action, world: World) -> Iterator[str]:
    """A file lies in the lab's folder, wherever its path leads.

    >>> list(files_inside(LoadFile(path="../passwd", into="staging.x"), None))
    ["'../passwd' leads out of the lab; a file must lie in the lab's folder"]
    """
    if isinstance(action, LoadFile) and leads_out(action.path):
        yield f"{action.path!r} leads out of the lab; a file must lie in the lab's folder"


def files_exist(action: Action, world: World) -> Iterator[str]:
    """A file that is loaded is there."""
    if isinstance(action, LoadFile) and not leads_out(action.path):
        try:
            data_file(world.root, action.path)
        except PlanError as fault:
            yield str(fault)


def source_when(action: Action, world: World) -> Iterator[str]:
    """Newest, since and until mean something only where a resource has times: by a parameter or in a column."""
    if not isinstance(action, Pull) or (doc := world.resources(action.source).get(action.resource)) is None:
        return
    asked = [name for name in ("order", "since", "until") if getattr(action, name) is not None]
    if lacking := [name for name in asked if not doc.get(name) and not doc.get("time_column")]:
        words = " and ".join(f"{name} {getattr(action, name)!r}" for name in lacking)
        place = f"{action.source}.{action.resource}"
        yield f"{place} names no time column, so {words} can't be told; which column is the time?"


def new_can_be_told(action: Action, world: World) -> Iterator[str]:
    """A sync knows by which column rows are new, and by which it tells one row from another."""
    if not isinstance(action, Sync) or (doc := world.resources(action.source).get(action.resource)) is None:
        return
    place, state = f"{action.source}.{action.resource}", world.entries.find("sync", action.into)
    if not (action.cursor or doc.get("time_column") or state):
        yield f"{place} names no time column, so what is new can't be told; which column tells it?"
    if not (action.key or doc.get("key") or _may_have_key(action, doc, world)):
        yield f"{place} names no key, so a row that comes again can't be told; which columns tell which row is which?"


def _may_have_key(action: Sync, doc: Mapping[str, Any], world: World) -> bool:
    """Whether a column is the key by its name, as far as the columns are known."""
    before = world.tables.get(action.into)
    columns = {*(doc.get("schema") or {}), *(before.schema if before and not doc.get("schema") else {})}
    return not columns or bool({column.lower() for column in columns} & {*key_names(action.resource)})


def when_valid(action: Action, world: World) -> Iterator[str]:
    """The days of a pull exist, and are in order.

    >>> list(when_valid(Pull(source="s", resource="r", into="staging.r", since="2024-02-30"), None))
    ["since: '2024-02-30' is no day; write YYYY-MM-DD"]
    """
    if not isinstance(action, Pull):
        return
    days = [(name, day) for name in ("since", "until") if (day := getattr(action, name)) is not None]
    wrong = [(name, day) for name, day in days if not readable(day, "timestamp")]
    yield from (f"{name}: {day!r} is no day; write YYYY-MM-DD" for name, day in wrong)
    if not wrong and any(one[:10] > two[:10] for (_, one), (_, two) in pairwise(days)):
        yield f"since {action.since!r} is after until {action.until!r}; exchange them"


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("refuse", staging_authority),
    Rule("refuse", files_inside),
    Rule("mend", staging_name),
    Rule("mend", key_columns_exist),
    Rule("mend", sources_exist),
    Rule("mend", files_exist),
    Rule("clarify", source_when),
    Rule("clarify", new_can_be_told),
    Rule("mend", when_valid),
)
