"""What an intent leaves unsaid, filled in from the catalog: the only table that fits, the only resource of a source.

Where two would fit, the plan becomes a question that names them. Nothing here reads the intent's words; the model has
decided what is asked, this says on what.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from agentlab.actions import ACTIONS, Transform
from agentlab.linking import Linked
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

    >>> view = View(tables={"orders": {"id": "int"}, "users": {"age": "int"}})
    >>> fill = {"name": "fill", "arguments": {"column": "age", "value": 0}}
    >>> complete([fill], Linked(""), view)[0]["arguments"]["table"]
    'users'
    """
    context = _Context(linked, view)
    completed = []
    if not view.tables:
        # A new store for data that isn't there yet is still wanted; there is only nothing to put in.
        calls = [call for call in calls if call["name"] != "publish" or call["arguments"]]
    for number, call in enumerate(calls):
        question = context.fill(call, calls[number:])
        if question:
            return [question]
        completed.append(call)
    return completed


def clarify(about: str, choices: Iterable[str] = ()) -> dict[str, Any]:
    """A question about one thing, with the choices that exist."""
    known = list(choices)[:8]
    question = _ABOUT[about] + (f" There are: {', '.join(known)}." if known else "")
    return {"name": "clarify", "arguments": {"question": question, "about": about}}


class _Context:
    """What earlier calls of the plan made, and what the intent mentions."""

    def __init__(self, linked: Linked, view: View) -> None:
        self.view = view
        self.mentioned = [t for t in view.tables if t in (linked.slots[s] for s in linked.of("t")) and _said(t, linked)]
        self.table: str | None = None
        self.store: str | None = None
        self.new: set[str] = set()

    def fill(self, call: dict[str, Any], rest: list[dict[str, Any]]) -> dict[str, Any] | None:
        name, arguments = call["name"], call["arguments"]
        if name in ("clarify", "refuse"):
            self._abstain(name, arguments)
            return None
        if name == "pull" and (question := self._pull(arguments)):
            return question
        if name in ("publish", "schedule") and (question := self._stored(name, arguments)):
            return question
        if name == "derive" and "column" not in arguments:
            arguments["column"] = _derived_name(arguments.get("expr", ""))
        fields = ACTIONS[name].model_fields
        if "table" in fields and fields["table"].is_required() and "table" not in arguments:
            fitting = self._fitting(rest)
            if len(fitting) != 1:
                return clarify("table", fitting or self.view.tables)
            arguments["table"] = fitting[0]
        self._remember(name, arguments)
        return None

    def _abstain(self, name: str, arguments: dict[str, Any]) -> None:
        if name == "clarify":
            about = arguments.get("about", "how")
            choices = {"column": self.view.columns(), "table": self.view.tables, "source": self.view.sources}
            choices |= {"store": self.view.stores, "query": self.view.queries}
            arguments["question"] = clarify(about, choices.get(about, ()))["arguments"]["question"]
        else:
            arguments["reason"] = _REASON[arguments.get("because", "scope")]

    def _pull(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        sources = self.view.sources
        if "source" not in arguments:
            fitting = [s for s, known in sources.items() if arguments.get("resource", "") in (*known, "")]
            if len(fitting) != 1:
                return clarify("source", fitting or sources)
            arguments["source"] = fitting[0]
        resources = sources.get(arguments["source"], ())
        if "resource" not in arguments:
            if not resources:
                return clarify("source", sources)
            # A source's first resource is its main one: registering a source says so.
            arguments["resource"] = resources[0]
        into = arguments.setdefault("into", arguments["resource"])
        if not into.startswith("staging."):
            arguments["into"] = "staging." + into.rsplit(".", 1)[-1]
        return None

    def _stored(self, name: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        field = "store" if name == "publish" else "task"
        if field not in arguments:
            known = list(self.view.stores if name == "publish" else self.view.tasks)
            if self.store:
                known = [self.store if name == "publish" else f"{self.store} refresh"]
            if len(known) != 1:
                return clarify("store" if name == "publish" else "task", known)
            arguments[field] = known[0]
        return None

    def _fitting(self, rest: list[dict[str, Any]]) -> list[str]:
        """Tables that have every column named until the next call that names a table."""
        if self.table:
            return [self.table]
        if len(self.mentioned) == 1:
            return self.mentioned
        needed = set(_columns(rest))
        tables = self.mentioned or [t for t in self.view.tables if not t.startswith("quarantine.")]
        return [t for t in tables if needed & set(self.view.columns()) <= set(self.view.tables[t])]

    def _remember(self, name: str, arguments: dict[str, Any]) -> None:
        if issubclass(ACTIONS[name], Transform) or name in ("pull", "analyze", "suggest_fixes", "quarantine"):
            self.table = arguments.get("into") or arguments.get("table")
        if name == "provision":
            self.store = arguments["store"]


def _derived_name(expr: str) -> str:
    """A name for a column that the intent gave none: the expression's own words.

    >>> _derived_name('round( "unit_price" , 2 )')
    'round_unit_price_2'
    """
    return "_".join(re.findall(r"\w+", expr.lower()))[:60].strip("_") or "derived"


def _said(table: str, linked: Linked) -> bool:
    """Whether the intent's text, not only the list of tables below it, has the table's mark."""
    slot = next(s for s in linked.of("t") if linked.slots[s] == table)
    return slot in linked.text


def _columns(calls: list[dict[str, Any]]) -> Iterator[str]:
    for call in calls:
        arguments = call["arguments"]
        if "table" in arguments:
            return
        for field in ("column", "columns", "by", "on", "index", "key", "order"):
            value = arguments.get(field)
            yield from [value] if isinstance(value, str) else value or []
        for sql in ("expr", "where"):
            yield from (part.replace('""', '"') for part in arguments.get(sql, "").split('"')[1::2])
