"""Blast radius: what counts on a column or a table, and would break if it went, got another name or another type.

It informs, from what is recorded: saved queries, checks, layouts, stores, retention, pipelines' last plans, schedules,
and the tables that were made from it. What pipelines make themselves before they use it doesn't break.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

from agentlab.actions import Action, Drop, Join, Schema
from agentlab.catalog import Catalog
from agentlab.draft import Draft
from agentlab.entries import Entries, Entry, EntryKind, TableDoc
from agentlab.errors import PlanError, unknown
from agentlab.expressions import parse
from agentlab.plan import Plan
from agentlab.queries import check, inner
from agentlab.shown import Listed, Shown
from agentlab.simulation import World, writes
from agentlab.tasks import find

#: So many of the latest runs are searched for what pipelines did last.
_RUNS = 500

#: The columns that are used of each table, in lower case; of a table that is read as a whole none need be named.
Used = dict[str, set[str]]


class Broken(Shown, BaseModel):
    """Something that would break: what it is, its name, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EntryKind
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} ({self.why})"


class Blast(Listed[Broken]):
    """All that would break, queries first."""

    def __str__(self) -> str:
        return f"breaks: {', '.join(map(str, self))}" if self else "breaks nothing that is known here"


@dataclass(frozen=True)
class _Loss:
    """What happens to a table: all of it goes (`gone` is None), or some columns go and others change their type."""

    table: str
    gone: frozenset[str] | None
    retyped: frozenset[str] = frozenset()

    def hits(self, used: Mapping[str, Collection[str]], verb: str = "uses") -> str:
        """Why something that uses these columns breaks; "" if it doesn't."""
        if self.table not in used:
            return ""
        if self.gone is None:
            return f"{verb} {self.table}"
        columns = used[self.table]
        lost, changed = sorted(self.gone.intersection(columns)), sorted(self.retyped.intersection(columns))
        told = [f"{verb} {', '.join(lost)}"] if lost else []
        told += [f"{verb} {', '.join(changed)}, of another type then"] if changed else []
        return "; ".join(told)


def radius(entries: Entries, table: str, columns: Iterable[str] | None = None, retyped: Iterable[str] = ()) -> Blast:
    """What would break if a table lost these columns (None: the table itself), or if others changed their type.

    PlanError for a table or column that isn't there.
    """
    schema = entries.table(table).schema_
    gone = None if columns is None else list(columns)
    for column in (*(gone or ()), *retyped):
        if column not in schema:
            raise PlanError(unknown("column", column, schema, f"in {table}"))
    lowered = None if gone is None else frozenset(column.lower() for column in gone)
    return _blast(entries, _Loss(table, lowered, frozenset(column.lower() for column in retyped)))


def radius_of_store(entries: Entries, store: str) -> Blast:
    """What would break if a store went; PlanError if there is none."""
    names = [f"{store}.{table}" for table in entries.get("store", store).doc["tables"]]
    queries, reads = _queries(entries), f"{store} refresh"
    found = [Broken(kind="query", name=q, why=f"uses {n}") for n in names for q, used in queries.items() if n in used]
    found += [
        Broken(kind="schedule", name=entry.name, why=f"refreshes {store}")
        for entry in entries.entries("schedule")
        if entry.doc["task"] == reads
    ]
    return Blast(dict.fromkeys(found))


def of_change(entries: Entries, table: str, before: Schema, after: Schema) -> Blast:
    """What breaks when a table's schema becomes another one; nothing when it only grows."""
    gone = [column for column in before if column not in after]
    retyped = [column for column, kind in before.items() if after.get(column, kind) != kind]
    known = entries.schemas().get(table, {})
    gone, retyped = [c for c in gone if c in known], [c for c in retyped if c in known]
    return radius(entries, table, gone, retyped) if gone or retyped else Blast()


def forecast(plan: Plan, entries: Entries) -> tuple[str, ...]:
    """What each action of a plan would break, in words; the actions that break nothing are left out."""
    world, told = World(entries), list[str]()
    for action in plan.actions:
        target = writes(action) or ""
        before = world.tables.get(target)
        blast = _of_drop(action, entries)
        world.apply(action)
        after = world.tables.get(target)
        if before and after and not before.open and not after.open:
            blast = of_change(entries, target, before.schema, after.schema)
        told += [f"{action.tool()} {target or action.references('table', 'store')[0]} {blast}"] if blast else []
    return tuple(told)


def _of_drop(action: Action, entries: Entries) -> Blast:
    if isinstance(action, Drop) and action.table and entries.find("table", action.table):
        return radius(entries, action.table)
    if isinstance(action, Drop) and action.store and entries.find("store", action.store):
        return radius_of_store(entries, action.store)
    return Blast()


def _blast(entries: Entries, loss: _Loss) -> Blast:
    stores = list(_stores(entries, loss))
    pipelines = list(_pipelines(entries, loss))
    found = [
        *_broken("query", loss, _queries(entries)),
        *_broken("check", loss, {e.name: _of_check(e.doc) for e in entries.entries("check")}),
        *_later_queries(entries, loss),
        *stores,
        *_broken("table", loss, dict(_downstream(entries, loss.table)), "is made from"),
        *_broken("retention", loss, {e.name: _of_retention(e.doc) for e in entries.entries("retention")}, "goes by"),
        *_broken("layout", loss, _layouts(entries), "is laid out by"),
        *_broken("sync", loss, {e.name: _of_sync(e) for e in entries.entries("sync")}),
        *pipelines,
        *_schedules(entries, loss, [*stores, *pipelines]),
    ]
    return Blast(dict.fromkeys(found))


def _broken(kind: EntryKind, loss: _Loss, uses: Mapping[str, Used], verb: str = "uses") -> Iterator[Broken]:
    for name, used in uses.items():
        lowered = {table: {column.lower() for column in columns} for table, columns in used.items()}
        if why := loss.hits(lowered, verb):
            yield Broken(kind=kind, name=name, why=why)


# Queries


def _queries(entries: Entries) -> dict[str, Used]:
    schemas = {**entries.schemas(), **_published(entries)}
    return {entry.name: columns_used(entry.doc["sql"], schemas) for entry in entries.entries("query")}


def _published(entries: Entries) -> dict[str, Schema]:
    return {f"{s.name}.{name}": copy["schema"] for s in entries.entries("store") for name, copy in _copies(s.doc)}


def _copies(store: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(store.get("tables", {}).items())


def columns_used(sql: str, schemas: Mapping[str, Schema]) -> Used:
    """Which columns of which tables a query names, through aliases, subqueries and stars; none if it can't be read.

    >>> columns_used("select sum(o.qty) from (select * from orders) o", {"orders": {"id": "int", "qty": "int"}})
    {'orders': {'qty'}}
    """
    try:
        query = check(sql, schemas)
    except PlanError:
        return {}
    named = {node.name.lower() for node in query.tree.find_all(exp.Column)}
    named |= {key.name.lower() for join in query.tree.find_all(exp.Join) for key in join.args.get("using") or ()}
    used: Used = {table: set() for table in query.tables}
    tables = {inner(table).lower(): table for table in query.tables}
    try:
        known: dict[str, object] = {inner(table): dict(schemas[table]) for table in query.tables}
        tree = qualify(query.tree.copy(), schema=known, dialect="duckdb", validate_qualify_columns=False)
        scopes = traverse_scope(tree)
    except SqlglotError:  # A form that sqlglot can't resolve: whoever has a column of the name may be meant.
        return {table: named & {column.lower() for column in schemas[table]} for table in query.tables}
    for column, source in ((c, scope.sources.get(c.table)) for scope in scopes for c in scope.columns):
        if isinstance(source, exp.Table) and column.name.lower() in named:
            used[tables[source.name.lower()]].add(column.name.lower())
    return used


def _later_queries(entries: Entries, loss: _Loss) -> Iterator[Broken]:
    """Queries of published copies: they break when the table is published again."""
    copies = [f"{s.name}.{n}" for s in entries.entries("store") for n, c in _copies(s.doc) if c["source"] == loss.table]
    if loss.gone is None:
        return
    for name in copies:
        for broken in _broken("query", _Loss(name, loss.gone, loss.retyped), _queries(entries)):
            yield broken.model_copy(update={"why": f"{broken.why} of {name}, once it is published again"})


# What else names columns


def _of_check(doc: Mapping[str, Any]) -> Used:
    said = doc["call"]["arguments"]
    columns = [*said.get("columns", ()), said.get("than")]
    used: Used = {said["table"]: {column for column in columns if column}}
    if "other" in said:
        used.setdefault(said["other"], set()).update({said.get("other_column") or columns[0]})
    return used


def _of_retention(doc: Mapping[str, Any]) -> Used:
    return {doc["table"]: {doc["column"]}}


def _of_sync(entry: Entry) -> Used:
    return {entry.name: {entry.doc["cursor"], *entry.doc["key"]}}


def _layouts(entries: Entries) -> dict[str, Used]:
    queries, found = _queries(entries), dict[str, Used]()
    for entry in entries.entries("layout"):
        table, columns = entry.doc.get("table"), set(entry.doc.get("columns") or ())
        found[entry.name] = {table: columns} if table else queries.get(entry.doc.get("query", ""), {})
    return found


def _stores(entries: Entries, loss: _Loss) -> Iterator[Broken]:
    for entry in entries.entries("store"):
        copies = [(name, copy) for name, copy in _copies(entry.doc) if copy["source"] == loss.table]
        for name, copy in copies:
            split = {column.lower() for column in entry.doc.get("partition_by") or ()}
            why = loss.hits({loss.table: split}, f"splits {entry.name}.{name} by")
            why = why or loss.hits({loss.table: {column.lower() for column in copy["schema"]}}, "publishes")
            if why:
                yield Broken(kind="store", name=entry.name, why=why)


def _downstream(entries: Entries, table: str) -> Iterator[tuple[str, Used]]:
    """The tables whose columns come from those of a table."""
    for entry in entries.entries("table"):
        origins = TableDoc.model_validate(entry.doc).lineage.values()
        columns = {column for each in origins for other, _, column in each if other == table}
        if columns and entry.name != table:
            yield entry.name, {table: columns}


def _pipelines(entries: Entries, loss: _Loss) -> Iterator[Broken]:
    names = {f"pipeline {entry.name}": entry.name for entry in entries.entries("pipeline")}
    catalog = entries.catalog if isinstance(entries, Draft) else entries
    if not names or not isinstance(catalog, Catalog):
        return
    runs = catalog.runs(_RUNS)
    last = {run.intent: run.id for run in reversed(runs) if run.intent in names and "-" not in run.id}
    for intent, run_id in last.items():
        plans = [Plan.from_json(run.plan) for run in reversed(runs) if run.id.startswith(f"{run_id}-s") and run.plan]
        actions = [action for plan in plans for action in plan.actions]
        if why := _why(actions, loss):
            yield Broken(kind="pipeline", name=names[intent], why=why)


def _why(actions: Iterable[Action], loss: _Loss) -> str:
    """Why actions in a row break by the loss; those that make the table themselves don't."""
    for action in actions:
        if (why := loss.hits(used_by(action))) or (writes(action) == loss.table and not reads(action, loss.table)):
            return why
    return ""


def reads(action: Action, table: str) -> bool:
    """Whether an action needs what is in a table."""
    return table in action.references("table") or getattr(action, "mode", "replace") != "replace"


def used_by(action: Action) -> Used:
    """Which columns of which tables an action names, in lower case."""
    tables = action.references("table")
    used: Used = {table: set() for table in tables}
    if not tables:
        return used
    columns = set(action.on if isinstance(action, Join) else action.references("column"))
    for kind in ("expr", "where"):
        for sql in action.references(kind):
            columns |= set(parse(sql, None, boolean=kind == "where").columns)
    used[tables[0]] |= {column.lower() for column in columns}
    if isinstance(action, Join):
        used[action.other] |= {column.lower() for column in (*action.on, *action.columns)}
    return used


def _schedules(entries: Entries, loss: _Loss, broken: Iterable[Broken]) -> Iterator[Broken]:
    hit = {(each.kind, each.name) for each in broken}
    for entry in entries.entries("schedule"):
        try:
            task = find(entry.doc["task"], entries)
        except PlanError:
            continue
        if (task.kind, task.name) in hit:
            yield Broken(kind="schedule", name=entry.name, why=f"its {task.kind} is {task.name}")
        elif task.kind == "table" and task.name == loss.table and loss.gone is None:
            yield Broken(kind="schedule", name=entry.name, why=f"refreshes {loss.table}")
