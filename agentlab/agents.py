"""Agents: a role, a model and an authority; from an intent to a plan that may run, or to a question or a refusal.

What a plan does to tables is `perform.py`'s work; which plans may run at all, `rules.py`'s. Nothing here writes.
"""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Literal

import ibis

from agentlab.actions import ROLES, Clarify, Refuse, Role, Schema
from agentlab.ambiguity import rivals
from agentlab.catalog import Catalog
from agentlab.datafiles import data_files
from agentlab.draft import Draft
from agentlab.engine import Engine
from agentlab.entries import Entries, Entry, TableDoc
from agentlab.errors import LabError, PlanError, unknown
from agentlab.linking import parts
from agentlab.models import Model
from agentlab.plan import Origin, Plan
from agentlab.prompts import Ask
from agentlab.rules import Issue, check
from agentlab.slots import sighted
from agentlab.sources import peek
from agentlab.tasks import tasks as known_tasks
from agentlab.view import View

#: A text column with more distinct values than this isn't listed to models.
FEW_VALUES = 50

_Listed = dict[str, tuple[str, ...]]
#: Distinct values by engine, then by the files that hold them: versions don't change, so this is never stale.
_VALUES: weakref.WeakKeyDictionary[Engine, dict[tuple[str, int, str], _Listed]] = weakref.WeakKeyDictionary()

About = Literal[
    "column", "name", "type", "value", "how", "table", "source", "when", "store", "query", "task", "file", "snapshot"
]
_ABOUT: tuple[About, ...] = (
    *("when", "column", "table", "source", "store", "task", "file", "snapshot", "name", "type", "value"),
)


def role_of(name: str | None) -> Role | None:
    """The role of that name, None for None; LabError naming the nearest.

    >>> role_of("transform")
    Traceback (most recent call last):
    agentlab.errors.LabError: no agent 'transform'; did you mean 'transformation'?...
    """
    for role in ROLES:
        if role == name:
            return role
    if name is None:
        return None
    raise LabError(unknown("agent", name, ROLES))


class Agent:
    """Plans within one role's authority (None: any). The model may be wrong: what it plans is checked first."""

    def __init__(self, role: Role | None, model: Model) -> None:
        self.role = role
        self.model = model

    def plan(self, intent: str, view: View, entries: Entries) -> Plan:
        """A plan for the intent, checked against `entries`; asks the model again when a fault can be mended.

        What can't be mended becomes a plan of one `clarify` or `refuse` that says why. LabError: there is no model.
        """
        began = time.perf_counter()
        ask = Ask(intent, self.role, view)
        plan, fault = self._try(ask, entries)
        if fault:
            plan = self._again(ask, plan, fault, entries)
        if self.role and getattr(self.model, "tries", 1) > 1 and _declines_authority(plan):
            plan = self._unlimited(ask, plan, entries)
        if plan.status == "act" and plan.confidence < getattr(self.model, "asks_below", 0.0):
            plan = _instead(Clarify(question=_unsure(plan), about="how"), plan.origin, plan.confidence)
        # The time of all questions, if there were several.
        spent = round((time.perf_counter() - began) * 1000, 1)
        return plan.model_copy(update={"origin": plan.origin.model_copy(update={"milliseconds": spent})})

    def _unlimited(self, ask: Ask, refusal: Plan, entries: Entries) -> Plan:
        """What the model would plan for any agent, if that is within this one's authority; else its refusal."""
        plan, fault = self._try(replace(ask, role=None), entries)
        return refusal if fault or plan.abstention or plan.confidence < _SURE else plan

    def _again(self, ask: Ask, first: Plan, fault: str, entries: Entries) -> Plan:
        """The first other plan that may run, of as many as the model can think of; else what the first one came to."""
        most = getattr(self.model, "tries", 1)
        for tried in range(1, most + 1):
            plan, more = self._try(replace(ask, fault=fault, tried=tried), entries)
            if most == 1 or (not more and not any(action.tool() in _TAKES for action in plan.actions)):
                return plan
        return first

    def _try(self, ask: Ask, entries: Entries) -> tuple[Plan, str]:
        """A plan that may run or abstains, and the fault to feed back, if a model could mend it."""
        try:
            plan = self.model.plan(ask)
        except PlanError as fault:
            origin = Origin(intent=ask.intent, model=self.model.name)
            return _instead(Clarify(question=_lacking(fault)), origin, 0.0), str(fault)
        plan = plan.model_copy(update={"origin": plan.origin.model_copy(update={"intent": ask.intent})})
        if question := _two_meanings(ask, plan):
            return _instead(question, plan.origin, plan.confidence), ""
        issues = check(plan, entries, self.role)
        issues += _unexplained(ask, plan)
        mendable = ("mend", "clarify") if getattr(self.model, "tries", 1) > 1 else ("mend",)
        return settled(plan, issues), "; ".join(i.message for i in issues if i.severity in mendable)


#: What takes something away is only done when it is the best plan, never instead of one that can't run.
_TAKES = ("drop", "drop_columns", "restore", "retain", "unschedule", "quarantine")
#: Into how many files a planner looks for their columns.
_PEEKED = 20
#: How many columns of what isn't loaded a planner is told.
_COLUMNS = 40
#: How sure a plan must be that a model first held to be another agent's.
_SURE = 0.8
#: A name as only programs have them: `blood_pressure`.
_SNAKE = re.compile(r"(?<![\w./@-])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?![\w/@-]|\.\w)")


#: What a question is about, by the letter of a placeholder.
_LETTERS: dict[str, About] = {
    "t": "table", "r": "source", "o": "store", "q": "query", "f": "file", "p": "snapshot", "k": "task",
}  # fmt: skip


def _two_meanings(ask: Ask, plan: Plan) -> Clarify | None:
    """The question, where the plan took one of several things that the intent may mean."""
    if plan.abstention:
        return None
    linked, view = sighted(ask.intent, ask.view, ask.role)
    for letter, names in rivals(plan, linked, view):
        about = _LETTERS[letter]
        return Clarify(question=f"Which {about} do you mean: {' or '.join(names)}?", about=about)
    return None


def _unexplained(ask: Ask, plan: Plan) -> list[Issue]:
    """Names that the intent has, the plan hasn't, and that nothing here is like: what they are must be asked.

    Of the 8,981 plans of the written requests that act, three leave such a name out (2026-11-22).
    """
    if plan.abstention:
        return []
    view = ask.view
    known = [
        *view.tables,
        *view.columns(),
        *view.sources,
        *view.stores,
        *view.queries,
        *view.tasks,
        *view.files,
        *view.snapshots,
        *(column for schema in view.incoming.values() for column in schema),
    ]
    known += [resource for resources in view.sources.values() for resource in resources]
    near = {part for name in known for part in parts(name)}
    told = str(plan).lower()
    strange = [
        n for n in dict.fromkeys(_SNAKE.findall(ask.intent)) if n.lower() not in told and not near & set(parts(n))
    ]
    message = f"the intent names {', '.join(map(repr, strange))}, and there is nothing like it here"
    return [Issue(rule="names_explained", severity="clarify", message=message, action=1)] if strange else []


def settled(plan: Plan, issues: Sequence[Issue]) -> Plan:
    """The plan itself when no issue keeps it from running, else one that refuses or asks, and says why."""
    if refused := [issue for issue in issues if issue.severity == "refuse"]:
        because = "authority" if any("authority" in issue.rule for issue in refused) else "unsafe"
        return _instead(Refuse(reason=_told(refused), because=because), plan.origin, plan.confidence)
    if open_ := [issue for issue in issues if issue.severity in ("mend", "clarify")]:
        return _instead(Clarify(question=_told(open_), about=_about(open_[0])), plan.origin, plan.confidence)
    return plan


def _declines_authority(plan: Plan) -> bool:
    return any(isinstance(action, Refuse) and action.because == "authority" for action in plan.actions)


def _lacking(fault: PlanError) -> str:
    """What a plan lacks, as something that a person can say.

    >>> _lacking(PlanError("action 2: check: the rule unique needs columns"))
    'For a plan something is missing: the rule unique needs columns. Please say that, too.'
    """
    lacking, calls = re.subn(r"\baction \d+: \w+: ", "", str(fault).strip().rstrip("."))
    return (
        f"For a plan something is missing: {lacking}. Please say that, too." if calls else f"I found no plan: {fault}"
    )


def _unsure(plan: Plan) -> str:
    meant = "; ".join(map(str, plan.actions))
    return f"I'm not sure that I understood ({plan.confidence:.0%}). Did you mean: {meant}? If not, say it otherwise."


def said(told: Clarify | Refuse) -> str:
    """The question or the reason."""
    return told.question if isinstance(told, Clarify) else told.reason


def _instead(action: Clarify | Refuse, origin: Origin, confidence: float = 1.0) -> Plan:
    return Plan(actions=(action,), origin=origin, confidence=confidence)


def _told(issues: Sequence[Issue]) -> str:
    return "; ".join(dict.fromkeys(issue.message for issue in issues))


def _about(issue: Issue) -> About:
    return next((about for about in _ABOUT if about in issue.rule), "how")


def view_of(catalog: Catalog | Draft, engine: Engine) -> View:
    """What a planner sees of a lab, or of a run's draft: of tables, names, types and short lists of values."""
    root = catalog.catalog if isinstance(catalog, Draft) else catalog
    tables = sorted(catalog.entries("table"), key=lambda entry: entry.at, reverse=True)
    tables.sort(key=lambda entry: entry.name.startswith(("quarantine.", "archive.")))
    stores = [entry.name for entry in catalog.entries("store")]
    files = data_files(root.root)
    peeks = {path: peek(root.root, path, FEW_VALUES) for path in files[:_PEEKED]}
    return View(
        tables={entry.name: entry.doc["schema"] for entry in tables},
        sources={entry.name: tuple(entry.doc["resources"]) for entry in catalog.entries("source")},
        stores=tuple(stores),
        queries=tuple(entry.name for entry in catalog.entries("query")),
        tasks=tuple(known_tasks(catalog, tables=[entry.name for entry in tables])),
        snapshots={entry.name: entry.doc["table"] for entry in catalog.entries("snapshot")},
        scheduled=tuple(entry.name for entry in catalog.entries("schedule")),
        values=dict(_texts(catalog))
        | {path: found.values for path, found in peeks.items() if found.values}
        | {entry.name: _values(entry, engine, root) for entry in tables},
        files=files,
        incoming=_resources(catalog) | {path: _bounded(found.schema) for path, found in peeks.items() if found.schema},
        origins={entry.name: names for entry in tables if (names := tuple(_origins(entry, root)))},
    )


def _resources(catalog: Catalog | Draft) -> dict[str, Schema]:
    """The columns of every resource that tells them."""
    listed = {
        f"{entry.name}.{resource}": doc.get("schema") or doc.get("seen")
        for entry in catalog.entries("source")
        for resource, doc in entry.doc["resources"].items()
    }
    return {name: _bounded(schema) for name, schema in listed.items() if schema}


def _texts(catalog: Catalog | Draft) -> Iterator[tuple[str, _Listed]]:
    """The texts that the first rows of a resource had, in columns where they come again and again."""
    for entry in catalog.entries("source"):
        for resource, doc in entry.doc["resources"].items():
            if doc.get("texts"):
                yield f"{entry.name}.{resource}", {column: tuple(texts) for column, texts in doc["texts"].items()}


def _bounded(schema: Schema) -> Schema:
    return dict(islice(schema.items(), _COLUMNS))


def _origins(entry: Entry, catalog: Catalog) -> list[str]:
    """The source's and the resource's names of every pull that a table has had, the latest first; a file's own name."""
    versions = [version for version in catalog.history("table", entry.name) if version.n < entry.n]
    pulled = [version.doc for version in (entry, *reversed(versions)) if version.doc.get("source")]
    return list(dict.fromkeys(part for doc in pulled for part in _names_in(doc)))


def _names_in(doc: Mapping[str, Any]) -> list[str]:
    source = str(doc["source"])
    is_file = doc.get("call", {}).get("name") == "load_file"
    return [PurePosixPath(source).name.partition(".")[0]] if is_file else source.split(".", 1)


def _values(entry: Entry, engine: Engine, catalog: Catalog) -> _Listed:
    known = _VALUES.setdefault(engine, {})
    key = (entry.name, entry.n, entry.run)
    if key not in known:
        doc = TableDoc.model_validate(entry.doc)
        known[key] = dict(_few(engine, engine.read(doc, catalog.root), doc.schema_))
    return known[key]


def _few(engine: Engine, table: ibis.Table, schema: Schema) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The text columns with few distinct values, and the values, most frequent first. One pass says which they are."""
    texts = [column for column, kind in schema.items() if kind == "text"]
    if not texts:
        return
    counted = table.aggregate(**{f"n{i}": table[column].approx_nunique() for i, column in enumerate(texts)})
    (sizes,) = engine.con.to_pyarrow(counted).to_pylist()
    for i, column in enumerate(texts):
        # The quick count may err by a few percent; the list itself is exact.
        if (sizes[f"n{i}"] or 0) <= FEW_VALUES * 1.2:
            values = _distinct(engine, table, column)
            if 0 < len(values) <= FEW_VALUES:
                yield column, values


def _distinct(engine: Engine, table: ibis.Table, column: str) -> tuple[str, ...]:
    counted = table.filter(table[column].notnull()).group_by(value=table[column]).aggregate(times=lambda t: t.count())
    ordered = counted.order_by(ibis.desc("times"), "value").limit(FEW_VALUES + 1)
    return tuple(engine.con.to_pyarrow(ordered)["value"].to_pylist())
