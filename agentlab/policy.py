"""What a lab does by itself: rules, as data, from an event to the plan of a reaction.

The default is `policy.yaml` in this package; a lab may have its own. Carrying reactions out is `orchestrator.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from agentlab import documents
from agentlab.actions import Action, Analyze, Recommend, Schema
from agentlab.engine import Engine
from agentlab.entries import Entries
from agentlab.errors import PlanError, nearest, unknown
from agentlab.events import Event, EventType
from agentlab.expressions import parse
from agentlab.fixes import is_safe, suggest_fixes
from agentlab.plan import Origin, Plan
from agentlab.quality import Report
from agentlab.rows import satisfying

DEFAULT = Path(__file__).with_name("policy.yaml")

Do = Literal["fix", "tune", "ask", "alert"]

#: The figures of an event that a condition may speak of. `subject` is every event's.
FIGURES: Mapping[str, Schema] = {
    "data-ready": {"rows": "int"},
    "quality-pass": {"score": "float", "rows": "int", "errors": "int"},
    "quality-fail": {"score": "float", "rows": "int", "errors": "int"},
    "transformed": {"rows": "int", "action": "text"},
    "published": {"rows": "int", "bytes": "int", "store": "text"},
    "capacity-near": {"share": "float", "bytes": "int", "quota_bytes": "int"},
    "slow-query": {"ms": "float", "slowdown": "float"},
    "tuned": {"gain": "float", "before_ms": "float", "after_ms": "float"},
}
#: Which reactions an event can have, beside `alert`.
_REACTIONS: Mapping[str, tuple[str, ...]] = {"quality-fail": ("fix", "ask"), "slow-query": ("tune", "ask")}


def known_event(name: object) -> object:
    """The name, if there is such an event; ValueError naming the nearest."""
    if name not in get_args(EventType):
        raise ValueError(unknown("event", str(name), get_args(EventType)))
    return name


def _known_reaction(name: object) -> object:
    if name not in get_args(Do):
        raise ValueError(unknown("reaction", str(name), get_args(Do)))
    return name


def figures(event: str) -> Schema:
    """What a condition on an event may speak of, and of which type."""
    return {"subject": "text", **FIGURES.get(event, {})}


class Rule(BaseModel):
    """On an event, if the condition holds, do something; at most so many rounds, one caused by the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Annotated[EventType, BeforeValidator(known_event)]
    when: str | None = None
    do: Annotated[Do, BeforeValidator(_known_reaction)]
    most: Annotated[int, Field(ge=1, le=10)] = 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        can = (*_REACTIONS.get(self.on, ()), "alert")
        if self.do not in can:
            raise ValueError(f"{self.do} is no reaction to {self.on}; there are: {', '.join(nearest(self.do, can))}")
        if self.when is not None:
            try:
                parse(self.when, figures(self.on), boolean=True)
            except PlanError as fault:
                raise ValueError(f"when: {fault}") from fault
        return self


_NOTHING = Plan(actions=())


@dataclass(frozen=True)
class Reaction:
    """A run to be caused by an event. With `reasons` all of it waits for a person; an `alert` is only said."""

    intent: str
    event: Event
    plan: Plan = _NOTHING
    reasons: tuple[str, ...] = ()
    alert: str = ""


@dataclass(frozen=True)
class Policy:
    """The rules of a lab, in order. Every rule that fits an event applies."""

    rules: tuple[Rule, ...] = field(default=())

    def reactions(
        self, event: Event, rounds: int, entries: Entries, engine: Engine, tuned: bool = False
    ) -> list[Reaction]:
        """What the event causes. `rounds` is how many runs before it an event of this type has caused already.

        `tuned`: the run that tells that a query is slow has tuned it, too; then it isn't tuned once more.
        """
        fitting = [rule for rule in self.rules if rule.on == event.type and rounds < rule.most]
        if tuned:
            fitting = [rule for rule in fitting if rule.do == "alert"]
        return [r for rule in fitting if _holds(rule, event, engine) for r in _reactions(rule, event, entries)]


def load(path: Path = DEFAULT) -> Policy:
    """The policy of a file; LabError with file and line for each thing that is wrong."""
    return Policy(tuple(documents.read(path, TypeAdapter(list[Rule]), "policy")))


def of_lab(root: Path) -> Policy:
    """A lab's own policy, `policy.yaml` in its folder, or the default."""
    own = root / "policy.yaml"
    return load(own if own.exists() else DEFAULT)


def tuned_by_itself(event: Event, plan: Plan, told: Iterable[Event]) -> bool:
    """Whether the run of a `slow-query` has tuned that query: by its plan, even if no layout was worth keeping.

    `told` are the run's events.
    """
    if event.type != "slow-query":
        return False
    kept = any(other.type == "tuned" and other.subject == event.subject for other in told)
    return kept or any(isinstance(action, Recommend) and _tunes(action, event) for action in plan.actions)


def _tunes(action: Recommend, event: Event) -> bool:
    if action.query is not None or not action.apply:
        return action.apply and action.query == event.subject
    return action.table is None or action.table in event.body.get("tables", ())


def _holds(rule: Rule, event: Event, engine: Engine) -> bool:
    if rule.when is None:
        return True
    told = {"subject": event.subject, **event.body}
    schema = figures(event.type)
    row = engine.memtable(pa.table({name: [told.get(name)] for name in schema}))
    found = satisfying(row, parse(rule.when, schema, boolean=True))
    return int(engine.con.to_pyarrow(found.count()).as_py()) > 0


def _reactions(rule: Rule, event: Event, entries: Entries) -> Iterator[Reaction]:
    if rule.do == "alert":
        yield Reaction(f"say that {event.subject} had {event.type}", event, alert=_words(event))
    elif event.type == "quality-fail":
        yield from _fixes(event, entries, ask=rule.do == "ask")
    else:
        tune = Recommend(query=event.subject, apply=True)
        reasons = (f"the policy asks before {event.subject} is tuned",) if rule.do == "ask" else ()
        yield Reaction(f"make {event.subject} faster", event, _plan((tune,)), reasons)


def _words(event: Event) -> str:
    about = event.body.get("message") or ", ".join(f"{key} {value}" for key, value in event.body.items() if value)
    return f"{event.type}: {event.subject}: {about}"


def _fixes(event: Event, entries: Entries, ask: bool) -> Iterator[Reaction]:
    """First what keeps every row, at once, then what waits for a person; after the last, the table is judged anew."""
    entry = entries.find("report", event.subject)
    # A check of a rule of somebody's own has failed, not an analysis: what that once found is no cure.
    if entry is None or entry.doc.get("kind") != "quality" or "check" in event.body:
        return
    report = Report.model_validate(entry.doc["report"])
    actions = suggest_fixes(report).plan.actions
    now, later = ((), actions) if ask else _parted(actions)
    again = Analyze(table=event.subject)
    if now:
        yield Reaction(f"mend {event.subject}, keeping every row", event, _plan(now if later else (*now, again)))
    if later:
        why = "the policy asks before a table is mended" if ask else "rows would leave the table"
        yield Reaction(f"mend {event.subject}, setting rows aside", event, _plan((*later, again)), (why,))


def _parted(actions: Iterable[Action]) -> tuple[tuple[Action, ...], tuple[Action, ...]]:
    """The fixes that may run at once, and those to hold: unsafe ones, and those that count on one that is held.

    A cast after a quarantine must wait for it: alone it would wipe the very values that were to be set aside.
    """
    now: list[Action] = []
    later: list[Action] = []
    for action in actions:
        held = {word for other in later for word in _touched(other)}
        (now if is_safe(action) and not held & _touched(action) else later).append(action)
    return tuple(now), tuple(later)


def _touched(action: Action) -> set[str]:
    columns = set(action.references("column", "new_column"))
    for where in action.references("where"):
        columns |= set(parse(where, None, boolean=True).columns)
    return columns


def _plan(actions: tuple[Action, ...]) -> Plan:
    return Plan(actions=actions, origin=Origin(model="policy"))
