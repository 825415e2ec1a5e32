"""What an intent leaves unsaid, filled in from the catalog: the only table that fits, the only resource of a source.

Where two would fit, the plan becomes a question that names them. Nothing here reads the intent's words; the model has
decided what is asked, this says on what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from agentlab.actions import ACTIONS, Transform
from agentlab.errors import PlanError
from agentlab.linking import Linked, identifier
from agentlab.view import View

_ABOUT = {
    "column": "Which column do you mean?",
    "name": "What should the new name be?",
    "type": "To which type: int, float, text, date, timestamp or bool?",
    "value": "Which value should it get?",
    "how": "What exactly should change, and how?",
    "table": "Which table do you mean?",
    "source": "From which source?",
    "when": "When, or how often?",
    "store": "Into which store?",
    "query": "Which query do you mean?",
    "task": "What should run then?",
    "file": "Which file?",
    "snapshot": "Which snapshot or version?",
}
_REASON = {
    "scope": "That is outside what the data agents do: ingest, check, transform, store and optimize tables.",
    "authority": "That is outside this agent's authority; ask without naming an agent, or name the right one.",
    "unsafe": "That would be unsafe, and no agent may do it.",
}


def complete(calls: list[dict[str, Any]], linked: Linked, view: View) -> list[dict[str, Any]]:
    """The calls with what they leave out; a single `clarify` where that is ambiguous or missing.

    PlanError for columns that no table has.

    >>> view = View(tables={"orders": {"id": "int"}, "users": {"age": "int"}})
    >>> fill = {"name": "fill", "arguments": {"column": "age", "value": 0}}
    >>> complete([fill], Linked(""), view)[0]["arguments"]["table"]
    'users'
    """
    context = _Context(linked, view)
    completed: list[dict[str, Any]] = []
    if not context.here and not any(call["name"] in _BRINGING for call in calls):
        # A new store for data that isn't there yet is still wanted; there is only nothing to put in.
        calls = [call for call in calls if call["name"] != "publish" or call["arguments"]]
    for number, call in enumerate(calls):
        question = context.fill(call, calls[number:])
        if question:
            return [question]
        if not (completed and call["name"] in _ONCE and json.dumps(call) == json.dumps(completed[-1])):
            completed.append(call)
    return completed


def clarify(about: str, choices: Iterable[str] = ()) -> dict[str, Any]:
    """A question about one thing, with the choices that exist."""
    known = list(choices)[:8]
    question = _ABOUT[about] + (f" There are: {', '.join(known)}." if known else "")
    return {"name": "clarify", "arguments": {"question": question, "about": about}}


#: After these, what names no table speaks of theirs.
_OF_TABLES = ("pull", "sync", "load_file", "analyze", "suggest_fixes", "quarantine", "check", "find_outliers")
_BRINGING = ("pull", "sync", "load_file")
_DATES = {"date", "timestamp"}
#: What said twice in a row is meant once.
_ONCE = (
    *_BRINGING,
    "sort",
    "export",
    "publish",
    "select",
    "drop_columns",
    "filter",
    "dedupe",
    "check",
    "analyze",
    "schedule",
)
#: What a word only may mean.
_LIKELY = re.compile(r" *[~=] *(<[a-z]\d+> *)+")
_SLOTS = re.compile(r"(?:<[a-z]\d+>)+")
#: Whose columns may be another table's.
_OF_TWO = ("join", "union", "compare", "check")
_FROM_SOURCES = ("pull", "sync", "describe_source", "throttle")
_OF_SCHEDULES = ("unschedule", "pause", "resume")
_INTO_STORES = ("publish", "resize", "schedule", *_OF_SCHEDULES)


class _Context:
    """What earlier calls of the plan made, and what the intent mentions."""

    def __init__(self, linked: Linked, view: View) -> None:
        self.view = view
        #: The tables that are there: what is coming is none until a call of the plan brings it.
        self.here = [t for t in view.tables if t not in view.coming]
        self.mentioned = [t for t in self.here if t in (linked.slots[s] for s in linked.of("t")) and _said(t, linked)]
        self.columns = {linked.slots[slot] for slot in linked.of("c") if slot in linked.text}
        #: Columns that the intent names outright: by words that name nothing else.
        self.named = {
            linked.slots[slot]
            for run in _SLOTS.findall(_LIKELY.sub("", linked.text))
            for slot in linked.of("c")
            if slot in run and not re.search("<[trfsoqk]", run)
        }
        self.said = {word.lower() for word in re.findall(r"\w+", linked.intent)}
        self.stores = [linked.slots[slot] for slot in linked.of("o") if slot in linked.text]
        self.table: str | None = None
        self.store: str | None = None
        #: The tables that the plan has made, brought or changed so far, those it brought by the names they usually get.
        self.touched: set[str] = set()
        self.brought: dict[str, str] = {}
        #: Columns that the plan has made or changed.
        self.made: set[str] = set()

    def fill(self, call: dict[str, Any], rest: list[dict[str, Any]]) -> dict[str, Any] | None:
        name, arguments = call["name"], call["arguments"]
        if name in ("clarify", "refuse"):
            self._abstain(name, arguments)
            return None
        if name in _FROM_SOURCES and (question := self._source(name, arguments)):
            return question
        if name == "load_file":
            self._into(arguments, identifier(PurePosixPath(arguments["path"]).name.partition(".")[0]))
        if name in _INTO_STORES and (question := self._stored(name, arguments)):
            return question
        if name == "derive" and "column" not in arguments:
            arguments["column"] = _derived_name(arguments.get("expr", ""))
        if name == "restore" and arguments.get("snapshot") in self.view.snapshots:
            arguments.setdefault("table", self.view.snapshots[arguments["snapshot"]])
        for field in ("table", "other", "reference"):
            self._present(name, arguments, field)
        self._having(name, arguments)
        fields = ACTIONS[name].model_fields
        if "table" in fields and fields["table"].is_required() and "table" not in arguments:
            fitting = self._fitting(rest)
            if not fitting and self.here and (lacking := set(_columns(rest)) & set(self.view.columns())):
                raise PlanError(f"no table here has the columns {', '.join(map(repr, sorted(lacking)))} together")
            if len(fitting) != 1:
                return clarify("table", fitting or self.here)
            arguments["table"] = fitting[0]
        if name == "retain" and not self._is_dated(arguments) and (question := self._dated(arguments)):
            return question
        for sql in {"where", "expr"} & arguments.keys():
            arguments[sql] = of_dates(arguments[sql], self._types(arguments))
        self._remember(name, arguments)
        return None

    def _types(self, arguments: dict[str, Any]) -> dict[str, set[str]]:
        """The types of the columns that a call is about; not of those that the plan itself has made or changed."""
        origin = f"{arguments.get('source')}.{arguments.get('resource')}"
        schema = self.view.tables.get(arguments.get("table", "")) or self.view.incoming.get(origin, {})
        return {column: {kind} for column, kind in schema.items() if column not in self.made}

    def _present(self, name: str, arguments: dict[str, Any], field: str) -> None:
        """What isn't there until it is brought can't be meant before: the table of that name that is there is.

        Unless the intent speaks of staging; what goes for good is never taken for something else.
        """
        named = arguments.get(field, "")
        if named in self.brought and named not in {*self.here, *self.touched}:
            arguments[field] = self.brought[named]
        elif named in self.view.coming and named not in self.touched and "staging" not in self.said and name != "drop":
            bare = named.rpartition(".")[2].lower()
            there = [table for table in self.here if table.rpartition(".")[2].lower() == bare]
            if len(there) == 1:
                arguments[field] = there[0]
            elif not there and field == "table" and ACTIONS[name].model_fields[field].is_required():
                del arguments[field]

    def _having(self, name: str, arguments: dict[str, Any]) -> None:
        """A table that isn't mentioned and lacks columns that are isn't meant, where one other has them all."""
        table = arguments.get("table")
        if table not in self.here or table in {*self.touched, *self.mentioned} or name in _OF_TWO:
            return
        if not self.columns & set(columns_named(arguments)):
            return
        needed = set(columns_named(arguments)) & {column for t in self.here for column in self.view.tables[t]}
        fitting = [t for t in self.here if needed <= set(self.view.tables[t])]
        if table not in fitting and len(fitting) == 1:
            arguments["table"] = fitting[0]

    def _is_dated(self, arguments: dict[str, Any]) -> bool:
        schema = self.view.tables.get(arguments["table"], {})
        column = arguments.get("column")
        told = column in self.named or arguments["table"] in self.touched
        return column is not None and (told or schema.get(column, "date") in _DATES)

    def _dated(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """How old a row is, its only date tells."""
        schema = self.view.tables.get(arguments["table"], {})
        dates = [column for column, kind in schema.items() if kind in _DATES]
        if len(dates) != 1:
            return clarify("column", dates)
        arguments["column"] = dates[0]
        return None

    def _abstain(self, name: str, arguments: dict[str, Any]) -> None:
        if name == "clarify":
            about = arguments.get("about", "how")
            choices = {"column": self.view.columns(), "table": self.here, "source": self.view.sources}
            choices |= {"store": self.view.stores, "query": self.view.queries, "file": self.view.files}
            choices |= {"snapshot": self.view.snapshots, "task": self.view.scheduled or self.view.tasks}
            arguments["question"] = clarify(about, choices.get(about, ()))["arguments"]["question"]
        else:
            arguments["reason"] = _REASON[arguments.get("because", "scope")]

    def _source(self, name: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        sources = self.view.sources
        if "source" not in arguments:
            fitting = [s for s, known in sources.items() if arguments.get("resource", "") in (*known, "")]
            if len(fitting) != 1:
                return clarify("source", fitting or sources)
            arguments["source"] = fitting[0]
        if name in ("describe_source", "throttle"):
            return None
        resources = sources.get(arguments["source"], ())
        if "resource" not in arguments:
            if not resources:
                return clarify("source", sources)
            # A source's first resource is its main one: registering a source says so.
            arguments["resource"] = resources[0]
        self._into(arguments, arguments["resource"])
        return None

    def _into(self, arguments: dict[str, Any], name: str) -> None:
        into = arguments.setdefault("into", name)
        # A place that is no staging table stays what it is: it is for the rules to refuse.
        place, dot, bare = into.rpartition(".")
        if not dot or place.lower() == "staging":
            into = f"staging.{bare}"
            arguments["into"] = next((table for table in self.here if table.lower() == into.lower()), into)
        self.brought[f"staging.{name}"] = arguments["into"]

    def _stored(self, name: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        field = "store" if name in ("publish", "resize") else "task"
        if field not in arguments:
            listed = {"store": self.view.stores, "task": _tasks(self.view)}
            known = list(self.view.scheduled if name in _OF_SCHEDULES else listed[field])
            if self.store or len(self.stores) == 1:
                store = self.store or self.stores[0]
                known = [store if field == "store" else f"{store} refresh"]
            elif field == "task" and len(self.mentioned) == 1:
                known = [f"{self.mentioned[0]} refresh"]
            if len(known) != 1:
                return clarify(field, known)
            arguments[field] = known[0]
        return None

    def _fitting(self, rest: list[dict[str, Any]]) -> list[str]:
        """Tables that have every column named until the next call that names a table."""
        if self.table:
            return [self.table]
        if len(self.mentioned) == 1:
            return self.mentioned
        needed = set(_columns(rest))
        tables = self.mentioned or [t for t in self.here if not t.startswith("quarantine.")]
        return [t for t in tables if needed & set(self.view.columns()) <= set(self.view.tables[t])]

    def _remember(self, name: str, arguments: dict[str, Any]) -> None:
        if issubclass(ACTIONS[name], Transform) or name in (*_BRINGING, "quarantine", "retain", "restore", "drop"):
            self.touched |= {arguments[field] for field in ("table", "into") if arguments.get(field)}
        for field in ("column", "to", "into_columns", "name_to", "value_to"):
            value = arguments.get(field, ())
            self.made |= {value} if isinstance(value, str) else set(value)
        self.made |= {measure.get("name") or measure.get("column", "") for measure in arguments.get("measures", ())}
        if issubclass(ACTIONS[name], Transform) or name in _OF_TABLES:
            self.table = arguments.get("into") or arguments.get("table")
        if name == "provision":
            self.store = arguments["store"]


def _tasks(view: View) -> list[str]:
    """What is mostly scheduled: pipelines and refreshes of stores; of tables, where there is nothing else."""
    tables = {f"{table} refresh" for table in view.tables}
    return [task for task in view.tasks if task not in tables] or list(view.tasks)


def _derived_name(expr: str) -> str:
    """A name for a column that the intent gave none: the expression's own words.

    >>> _derived_name('round( "unit_price" , 2 )')
    'round_unit_price_2'
    """
    return "_".join(re.findall(r"\w+", expr.lower()))[:60].strip("_") or "derived"


#: Whole numbers that are years where a date is compared with them.
_YEARS = range(1900, 2100)


def of_dates(sql: str, types: Mapping[str, Collection[str]]) -> str:
    """What is said of dates as people do: before 1990 is the year's, "not signed yet" is an empty day of signing.

    `types` are those of each column. Any other SQL stays as it is, also what can't be read.

    >>> of_dates('"launched" < 1990 AND "signed" = FALSE', {"launched": {"date"}, "signed": {"date"}})
    'YEAR("launched") < 1990 AND "signed" IS NULL'
    """
    dated = {name for name, known in types.items() if known and set(known) <= _DATES}
    if not any(f'"{name}"' in sql for name in dated):
        return sql
    try:
        tree = parse_one(sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return sql

    def is_dated(node: exp.Expression | None) -> bool:
        return isinstance(node, exp.Column) and node.name in dated

    def meant(node: exp.Expression) -> exp.Expression:
        told = node.args.get("expression"), node.args.get("low"), node.args.get("high"), *node.expressions
        values = [value for value in told if value is not None]
        if not isinstance(node, _COMPARING) or not is_dated(node.this) or not values:
            return node
        if all(isinstance(value, exp.Literal) and value.is_int and int(value.this) in _YEARS for value in values):
            node.set("this", exp.Year(this=node.this))
        elif isinstance(node, (exp.EQ, exp.NEQ)) and isinstance(values[0], exp.Boolean):
            empty = exp.Is(this=node.this, expression=exp.Null())
            return empty if isinstance(node, exp.EQ) != values[0].this else exp.Not(this=empty)
        return node

    changed = tree.transform(meant)
    return sql if changed == tree else changed.sql(dialect="duckdb")


_COMPARING = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)


def _said(table: str, linked: Linked) -> bool:
    """Whether the intent's text, not only the list of tables below it, has the table's mark."""
    slot = next(s for s in linked.of("t") if linked.slots[s] == table)
    return slot in linked.text


def _columns(calls: list[dict[str, Any]]) -> Iterator[str]:
    for call in calls:
        if "table" in call["arguments"]:
            return
        yield from columns_named(call["arguments"])


def columns_named(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The columns that a call's arguments name, in SQL too.

    >>> list(columns_named({"by": ["day"], "where": '"qty" > 3'}))
    ['day', 'qty']
    """
    for field in ("column", "columns", "by", "on", "index", "key", "order"):
        value = arguments.get(field)
        yield from [value] if isinstance(value, str) else value or []
    yield from (measure["column"] for measure in arguments.get("measures", ()) if measure.get("column"))
    for sql in ("expr", "where"):
        yield from (part.replace('""', '"') for part in arguments.get(sql, "").split('"')[1::2])
