"""The written requests as chats with tool calls, for the supervised fine-tuning of a model that knows language already.

    python -m finetune.chats OUT --size 20000              # said again in other labs, with other names and values
    python -m finetune.chats OUT --size 5000 --as-written  # each at most once, in its own lab and its writer's words

Writes OUT/train.jsonl, OUT/validation.jsonl (labs that training never sees), rows of `{"messages": [system, user,
assistant], "tools": [...]}` through `agentlab.prompts`, so that a model is trained on the prompt that it is served with; and
OUT/solved.jsonl, the requests of training as written, for `agentlab evaluate --examples`. `datasets` reads the rows with
`features=FEATURES`. A row is about 19 KB, nearly all of it the tools that it may call. Nothing here knows a tokenizer.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlglot
from datasets import Features, Json, List
from sqlglot import exp

from agentlab.actions import ACTIONS, ROLES, Restore, Role, kind_of
from agentlab.completion import complete
from agentlab.errors import PlanError
from agentlab.linking import Linked
from agentlab.plan import Plan
from agentlab.prompts import Ask, catalog, messages, tools
from agentlab.rules import check
from agentlab.view import View
from finetune.examples import held_out
from finetune.marking import Unsayable
from finetune.respeaking import Resaid, written
from finetune.written import Calls, Held, Request, WrittenLab, corpus, spelt

#: What the columns of a row are: JSON as it is. Arrow's own types would give every call the arguments of all the others.
FEATURES = Features({"messages": List(Json()), "tools": List(Json())})
#: How many rows the validation has at most.
MOST_HELD = 500


class Unfit(ValueError):
    """Why a request can't be a row this time."""


def row(ask: Ask, plan: Plan) -> dict[str, Any]:
    """One chat: the ask's own turns, then the plan as tool calls in its order, arguments in their class's order."""
    calls = [{"type": "function", "function": call} for call in plan.to_calls()]
    answer = {"role": "assistant", "content": "", "tool_calls": calls}
    return {"messages": [*messages(ask), answer], "tools": tools(ask.role)}


# ---------------------------------------------------------------- from requests to plans


def as_written(request: Request, r: random.Random) -> tuple[Ask, Plan]:
    """A request in its own lab and words; Unfit when its plan can't run there."""
    view = request.lab.view()
    return asked(request.text, plan_of(request.calls, view), view, r)


def said_again(request: Request, r: random.Random) -> tuple[Ask, Plan]:
    """A request in another lab or with other names and values; Unfit when that comes to nothing.

    Now and then the lab lacks a column that the text names, which is to be asked about.
    """
    try:
        marked = spelt(request)
    except Unsayable:  # The offline model's form lacks the SQL; this one doesn't.
        return as_written(request, r)
    try:
        said = Resaid(request, marked, r)
    except (ValueError, KeyError) as fault:
        raise Unfit(str(fault)) from fault
    text = written(said.text, r)
    if r.random() < 0.06 and (lacking := said.without()):
        missing = plan_of([{"name": "clarify", "arguments": {"about": "column"}}], lacking)
        return Ask(text, None, lacking), missing
    plan = plan_of([_renamed(old, new, said) for old, new in zip(request.calls, said.calls, strict=True)], said.view)
    return asked(text, plan, said.view, r)


def asked(text: str, plan: Plan, view: View, r: random.Random) -> tuple[Ask, Plan]:
    """Who is asked: nobody in particular, the agent whose work it is, or, rarely, one who must decline."""
    if len(plan.agents) != 1:
        return Ask(text, None, view), plan
    own = plan.agents[0]
    chance = r.random()
    if chance < 0.025:
        other: Role = r.choice([role for role in ROLES if role != own])
        refused = plan_of([{"name": "refuse", "arguments": {"because": "authority"}}], view)
        return Ask(text, other, view), refused
    return Ask(text, own if chance < 0.5 else None, view), plan


def plan_of(calls: Calls, view: View) -> Plan:
    """The whole plan that calls mean in a lab; Unfit when something is missing there or a rule forbids it."""
    copied = [{"name": call["name"], "arguments": _kept(call)} for call in calls]
    try:
        plan = Plan.from_calls(complete(copied, Linked(""), view))
    except (PlanError, LookupError) as fault:
        raise Unfit(str(fault)) from fault
    if plan.abstention and calls[0]["name"] not in ("clarify", "refuse"):
        raise Unfit(f"something is missing: {plan.abstention}")
    if why := next(_faults(plan, view), ""):
        raise Unfit(why)
    return plan


def _kept(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments, its SQL as it should run: rows that "not x" leaves undecided are no rows that go."""
    fields = ACTIONS[call["name"]].model_fields
    given = {name: value for name, value in call["arguments"].items() if value is not None}
    return {name: decided(sql) if kind_of(fields[name]) == "where" else sql for name, sql in given.items()}


def decided(sql: str) -> str:
    """A condition; one that is `NOT (x)` as a whole is `(x) IS NOT TRUE`, as the offline model's answers are read.

    >>> decided("NOT (status = 'void')"), decided("NOT status IS NULL")
    ("(status = 'void') IS NOT TRUE", 'NOT status IS NULL')
    """
    tree = sqlglot.parse_one(sql, into=exp.Condition, dialect="duckdb")
    whole = isinstance(tree, exp.Not) and isinstance(tree.this, exp.Paren)
    return f"{tree.this.sql(dialect='duckdb')} IS NOT TRUE" if whole else sql


def _faults(plan: Plan, view: View) -> Iterator[str]:
    """What the rules have against a plan, but for which versions a table has had: that is no part of a view."""
    acting = tuple(action for action in plan.actions if not isinstance(action, Restore))
    if plan.abstention or not acting:
        return
    own = [task for task in view.tasks if task not in view.scheduled and not task.endswith((" refresh", " pull"))]
    lab = WrittenLab(
        "",
        tables={table: dict(schema) for table, schema in view.tables.items()},
        sources=dict(view.sources),
        stores=[*view.stores],
        queries=[*view.queries],
        pipelines=own,
        schedules=[*view.scheduled],
        files=[*view.files],
        snapshots=dict(view.snapshots),
    )
    with tempfile.TemporaryDirectory() as root:
        for issue in check(plan.model_copy(update={"actions": acting}), Held(lab, Path(root)), None):
            if issue.severity != "approval":
                yield issue.message


# ---------------------------------------------------------------- SQL with other names and values


def _renamed(old: Mapping[str, Any], new: Mapping[str, Any], said: Resaid) -> dict[str, Any]:
    """The call said again, its SQL from the written one: the marked form is the offline model's own."""
    fields = ACTIONS[old["name"]].model_fields
    arguments = {
        name: respelt(old["arguments"][name], said.names, said.literals) if _is_sql(kind_of(fields[name])) else value
        for name, value in new["arguments"].items()
    }
    return {"name": old["name"], "arguments": arguments}


def _is_sql(kind: str | None) -> bool:
    return kind in ("expr", "where")


def respelt(sql: str, names: Mapping[str, str], literals: Mapping[str, str]) -> str:
    """SQL with other columns and values, quoted where DuckDB needs it.

    >>> respelt("net > 100 AND state = 'open'", {"net": "Net Total"}, {"100": "250", "open": "new"})
    '"Net Total" > 250 AND state = \\'new\\''
    """

    def changed(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Identifier) and isinstance(node.parent, exp.Column):
            return exp.to_identifier(names.get(node.name, node.name), quoted=node.quoted or None)
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal) and f"-{node.this.name}" in literals:
            return exp.Literal.number(literals[f"-{node.this.name}"])
        if isinstance(node, exp.Literal):
            text = node.name if node.is_string else format(float(node.name), ".15g")
            new = literals.get(text, node.name)
            return exp.Literal.string(new) if node.is_string else exp.Literal.number(new)
        return node

    if not names and not literals:
        return sql
    return sqlglot.parse_one(sql, into=exp.Condition, dialect="duckdb").transform(changed).sql(dialect="duckdb")


# ---------------------------------------------------------------- files


def rows(requests: list[Request], size: int, seed: int, again: bool) -> Iterator[dict[str, Any]]:
    """So many rows, of requests said again, or as they are written; of these there may be fewer."""
    r = random.Random(seed)
    made = 0
    for request in _endlessly(requests, r) if again else r.sample(requests, len(requests)):
        if made == size:
            return
        try:
            yield row(*(said_again if again else as_written)(request, r))
        except Unfit:
            continue
        made += 1


def _endlessly(requests: list[Request], r: random.Random) -> Iterator[Request]:
    """Each request once, in a new order every time."""
    while requests:
        yield from r.sample(requests, len(requests))


def solved(requests: list[Request]) -> Iterator[dict[str, Any]]:
    """Intents as written with their calls and their lab's catalog, as `agentlab.fewshot` reads them."""
    for request in requests:
        view = request.lab.view()
        try:
            yield {"intent": request.text, "calls": plan_of(request.calls, view).to_calls(), "lab": catalog(view)}
        except Unfit:
            continue


def write(path: Path, made: Iterator[dict[str, Any]]) -> None:
    """One JSON object a line, and how many there are."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, one in enumerate(made, 1):  # noqa: B007
            file.write(json.dumps(one, ensure_ascii=False) + "\n")
    print(f"{path.name}: {count} rows", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=20_000, help="rows to train on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--as-written", action="store_true", help="each request at most once, as it is")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    requests = corpus()
    kept = [request for request in requests if not held_out(request)]
    held = [request for request in requests if held_out(request)]
    again = not options.as_written
    write(options.out / "train.jsonl", rows(kept, options.size, options.seed, again))
    write(options.out / "validation.jsonl", rows(held, min(MOST_HELD, options.size), 900_000_000, again))
    write(options.out / "solved.jsonl", solved(kept))


if __name__ == "__main__":
    main()
