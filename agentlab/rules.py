"""Every check of a plan against the catalog, one function a rule: `RULES`. All problems come back at once.

A plan is walked action by action over simulated schemas (`simulation.py`), so an action may use what an earlier one of
the same plan makes. What only the data can tell is left to those who act; `removal_needs_approval` is their yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agentlab import naming
from agentlab.actions import (
    Action,
    Aggregate,
    Cast,
    ColumnType,
    Derive,
    DropColumns,
    Fill,
    Filter,
    Join,
    NormalizeText,
    Pivot,
    Publish,
    Pull,
    Quarantine,
    Replace,
    Role,
    Schedule,
    Split,
    Union,
    of,
)
from agentlab.actions.base import Scalar
from agentlab.approvals import removal_needs_approval, replaces_work
from agentlab.entries import Entries
from agentlab.errors import PlanError, unknown
from agentlab.inference import readable
from agentlab.plan import Plan
from agentlab.simulation import Sight, World, writes

__all__ = ["RULES", "Issue", "Rule", "Severity", "check", "removal_needs_approval"]

Severity = Literal["mend", "clarify", "refuse", "approval"]


class Issue(BaseModel):
    """Why a plan can't run as it is. `action` counts from 1; 0 is the plan as a whole.

    `mend`: a model may, told the message. `clarify`: only the asker can. `refuse`: it must not run. `approval`: it may,
    when a person agrees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    severity: Severity
    message: str
    action: int


@dataclass(frozen=True)
class Rule:
    """A check of one action; it yields a message for every problem."""

    severity: Severity
    problems: Callable[[Action, World], Iterator[str]]

    @property
    def name(self) -> str:
        return self.problems.__name__


def check(plan: Plan, catalog: Entries, role: Role | None) -> list[Issue]:
    """Every problem of a plan, in the order of its actions; none for a plan that abstains, since nothing runs.

    `role` is whose authority the plan is made with; None has everyone's.
    """
    if plan.abstention:
        return []
    if not plan.actions:
        return [Issue(rule="says_something", severity="clarify", message="the plan has no action", action=0)]
    world, issues = World(catalog), list[Issue]()
    for number, action in enumerate(plan.actions, 1):
        found = [*_authority(action, role, number), *_broken(action, world, number)]
        issues += found
        world.apply(action, sound=not any(issue.severity in ("mend", "refuse") for issue in found))
    return issues


def _authority(action: Action, role: Role | None, number: int) -> Iterator[Issue]:
    if role is not None and action.agent not in (role, None):
        allowed = ", ".join(of(role))
        message = f"{action.tool()} is for the {action.agent} agent; the {role} agent may {allowed}"
        yield Issue(rule="authority", severity="refuse", message=message, action=number)


def _broken(action: Action, world: World, number: int) -> Iterator[Issue]:
    for rule in RULES:
        for message in rule.problems(action, world):
            yield Issue(rule=rule.name, severity=rule.severity, message=message, action=number)


# Authority that depends on the arguments.


def staging_authority(action: Action, world: World) -> Iterator[str]:
    """Ingestion writes `staging.*` and nothing else.

    >>> list(staging_authority(Pull(source="crm", resource="people", into="sales.people"), None))
    ["ingestion writes staging.* only, not 'sales.people'"]
    """
    if isinstance(action, Pull) and "." in action.into and not action.into.startswith("staging."):
        yield f"ingestion writes staging.* only, not {action.into!r}"


def staging_name(action: Action, world: World) -> Iterator[str]:
    """A name without a group is a slip rather than a claim: it can be mended.

    >>> list(staging_name(Pull(source="crm", resource="people", into="people"), None))
    ["ingestion writes staging.* only; write 'staging.people', not 'people'"]
    """
    if isinstance(action, Pull) and "." not in action.into:
        yield f"ingestion writes staging.* only; write 'staging.{action.into}', not {action.into!r}"


def aside_once(action: Action, world: World) -> Iterator[str]:
    """What is in quarantine isn't set aside once more: there is no place where it could wait but the one it is in.

    >>> list(aside_once(Quarantine(table="quarantine.orders", where="id = 0"), None))
    ['the rows of quarantine.orders are set aside already; filter them, or put the result into another table']
    """
    if isinstance(action, Quarantine) and writes(action) == action.table:
        yield f"the rows of {action.table} are set aside already; filter them, or put the result into another table"


# What is named exists.


def tables_exist(action: Action, world: World) -> Iterator[str]:
    """Every table that is read exists, or an earlier action makes it."""
    for name in action.references("table"):
        if name not in world.tables:
            yield unknown("table", name, world.tables)


def columns_exist(action: Action, world: World) -> Iterator[str]:
    """Every column is one of the action's table."""
    if (sight := world.read(action)) is not None:
        columns = action.on if isinstance(action, Join) else action.references("column")
        yield from _missing(columns, sight, f"in {_table(action)}")


def columns_exist_in_other(action: Action, world: World) -> Iterator[str]:
    """A join's keys, and the columns that it brings, are those of the other table."""
    if isinstance(action, Join) and (other := world.tables.get(action.other)) is not None:
        yield from _missing((*action.on, *action.columns), other, f"in {action.other}")


def key_columns_exist(action: Action, world: World) -> Iterator[str]:
    """The key of an upsert is in the table that is there already."""
    if isinstance(action, Pull) and action.mode == "upsert" and (before := world.tables.get(action.into)):
        yield from _missing(action.key, before, f"in {action.into}")


def partition_columns_exist(action: Action, world: World) -> Iterator[str]:
    """A table has the columns that its store is split by."""
    if isinstance(action, Publish) and (sight := world.read(action)) is not None:
        yield from _missing(
            world.stores.get(action.store, ()), sight, f"in {action.table}; {action.store} is split by it"
        )


def sources_exist(action: Action, world: World) -> Iterator[str]:
    """A pull's source is registered and has the resource."""
    if not isinstance(action, Pull):
        return
    if world.entries.find("source", action.source) is None:
        yield unknown("source", action.source, [entry.name for entry in world.entries.entries("source")])
    elif action.resource not in (resources := world.resources(action.source)):
        yield unknown("resource", action.resource, resources, f"in source {action.source}")


def stores_exist(action: Action, world: World) -> Iterator[str]:
    """Every store exists, or an earlier action provisions it."""
    for name in action.references("store"):
        if name not in world.stores:
            yield unknown("store", name, world.stores)


def queries_exist(action: Action, world: World) -> Iterator[str]:
    """Every query is a logged one."""
    for name in action.references("query"):
        if world.entries.find("query", name) is None:
            yield unknown("query", name, [entry.name for entry in world.entries.entries("query")])


def union_of_two(action: Action, world: World) -> Iterator[str]:
    """A table's rows aren't put below themselves.

    >>> list(union_of_two(Union(table="staging.orders", other="staging.orders"), None))
    ['this would double every row of staging.orders; which other table?']
    """
    if isinstance(action, Union) and action.other == action.table:
        yield f"this would double every row of {action.table}; which other table?"


def source_when(action: Action, world: World) -> Iterator[str]:
    """Newest, since and until mean something only where a resource has times: by a parameter or in a column."""
    if not isinstance(action, Pull) or (doc := world.resources(action.source).get(action.resource)) is None:
        return
    asked = [name for name in ("order", "since", "until") if getattr(action, name) is not None]
    if lacking := [name for name in asked if not doc.get(name) and not doc.get("time_column")]:
        words = " and ".join(f"{name} {getattr(action, name)!r}" for name in lacking)
        place = f"{action.source}.{action.resource}"
        yield f"{place} names no time column, so {words} can't be told; which column is the time?"


def tasks_exist(action: Action, world: World) -> Iterator[str]:
    """A schedule's task is a saved pipeline, or the refresh of a store that exists or is provisioned before."""
    if isinstance(action, Schedule):
        tasks = [entry.name for entry in world.entries.entries("pipeline")] + [f"{s} refresh" for s in world.stores]
        if action.task not in tasks:
            yield unknown("task", action.task, tasks)


def columns_left(action: Action, world: World) -> Iterator[str]:
    """A table keeps a column at least."""
    sight = world.read(action)
    if isinstance(action, DropColumns) and sight and not sight.open and set(sight.schema) <= set(action.columns):
        yield f"that would drop every column of {action.table}; keep at least one"


# What is said fits.


def expressions_parse(action: Action, world: World) -> Iterator[str]:
    """Expressions and conditions are allowed ones over columns that exist, and their types fit."""
    sight = world.resource(action) if isinstance(action, Pull) else world.read(action)
    if sight is None:
        return
    for sql, boolean in _expressions(action):
        try:
            sight.parse(sql, boolean=boolean)
        except PlanError as fault:
            yield str(fault)


def _expressions(action: Action) -> Iterator[tuple[str, bool]]:
    if isinstance(action, Derive):
        yield action.expr, False
    if isinstance(action, Filter | Quarantine) or (isinstance(action, Pull) and action.where is not None):
        yield action.where or "", True


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


def types_fit(action: Action, world: World) -> Iterator[str]:
    """Functions get the types that they can work on: sums get numbers, letter case gets text."""
    if (sight := world.read(action)) is None:
        return
    for column, allowed, what in _demands(action):
        found = sight.schema.get(column)
        if found is not None and found not in allowed:
            yield f"{what} needs {' or '.join(allowed)}; column {column!r} is {found}: cast it first"


_NUMBERS: tuple[ColumnType, ...] = ("int", "float")
_NUMERIC = ("sum", "avg", "median", "stddev")


def _demands(action: Action) -> Iterator[tuple[str, tuple[ColumnType, ...], str]]:
    match action:
        case Aggregate(measures=measures):
            yield from ((m.column, _NUMBERS, m.function) for m in measures if m.column and m.function in _NUMERIC)
        case Pivot(values=values, function=function) if function in _NUMERIC:
            yield values, _NUMBERS, function
        case Fill(column=column, method="mean" | "median"):
            yield column, _NUMBERS, f"fill by {action.method}"
        case NormalizeText(column=column) | Split(column=column):
            yield column, ("text",), action.tool()


def cast_types_fit(action: Action, world: World) -> Iterator[str]:
    """A column can become the type that it is cast to."""
    sight = world.read(action)
    found = sight.schema.get(action.column) if isinstance(action, Cast) and sight else None
    if isinstance(action, Cast) and found and not _convertible(found, action.type):
        yield f"a {found} can't become a {action.type}; cast {action.column!r} to text, or derive a column from it"


def join_types_fit(action: Action, world: World) -> Iterator[str]:
    """The keys of a join can be compared."""
    if not isinstance(action, Join):
        return
    this, other = world.tables.get(action.table, Sight({})), world.tables.get(action.other, Sight({}))
    for key in action.on:
        one, two = this.schema.get(key), other.schema.get(key)
        if one and two and not _convertible(two, one):
            yield f"{key!r} is {one} in {action.table} and {two} in {action.other}; cast one of them first"


def _convertible(found: ColumnType, to: ColumnType) -> bool:
    groups: tuple[set[ColumnType], ...] = ({"int", "float", "bool"}, {"date", "timestamp"})
    return found == to or to == "text" or found in ("text", "json") or any({found, to} <= group for group in groups)


def values_fit(action: Action, world: World) -> Iterator[str]:
    """A value is of the type of the column that it goes into."""
    sight = world.read(action)
    if sight is None or not isinstance(action, Fill | Replace) or (kind := sight.schema.get(action.column)) is None:
        return
    values = (action.old, action.new) if isinstance(action, Replace) else (action.value,)
    for value in values:
        if value is not None and not _is(value, kind):
            yield f"column {action.column!r} is {kind}, and {value!r} isn't; give one, or cast the column first"


def _is(value: Scalar, kind: ColumnType) -> bool:
    if isinstance(value, bool):
        return kind in ("bool", "text", "json")
    if kind == "int" and isinstance(value, float):
        return value.is_integer()
    return kind in ("text", "json") or readable(str(value), kind)


def _table(action: Action) -> str:
    return str(getattr(action, "table", ""))


def _missing(columns: tuple[str, ...] | list[str], sight: Sight, where: str) -> Iterator[str]:
    for column in dict.fromkeys(columns):
        if not sight.may_have(column):
            yield unknown("column", column, sight.schema, where)


#: Every rule, in the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    *(Rule("refuse", rule) for rule in (staging_authority, aside_once)),
    *(Rule("mend", rule) for rule in (staging_name, tables_exist, sources_exist, stores_exist)),
    *(Rule("mend", rule) for rule in (queries_exist, tasks_exist)),
    *(
        Rule("mend", rule)
        for rule in (columns_exist, columns_exist_in_other, key_columns_exist, partition_columns_exist)
    ),
    *(Rule("mend", rule) for rule in (naming.names_valid, naming.column_names_valid, naming.names_free)),
    *(Rule("mend", rule) for rule in (naming.names_differ, naming.rename_changes, naming.column_names_free)),
    *(Rule("mend", rule) for rule in (naming.columns_once, columns_left, union_of_two, expressions_parse, when_valid)),
    *(Rule("mend", rule) for rule in (types_fit, cast_types_fit, join_types_fit, values_fit)),
    Rule("clarify", source_when),
    Rule("approval", replaces_work),
)
