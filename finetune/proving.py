"""Written requests proved: each plan is carried out in a real lab with made-up rows, and its end state is looked at.

    python -m finetune.proving data/intents/written/nora.txt
    python -m finetune.proving --sample 300 --seed 7 --json proved.json

A plan is performed as a run would, in a draft that is thrown away; of sources only those that are served here are asked.
What each action promises is computed a second time by a plain DuckDB that knows nothing of `agentlab`. Then the plan goes
through the model's form and back, and must come to the same end. What needs a bucket or a Postgres is not tried; that a
layout makes a query faster is not proved, 30 rows don't tell.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from agentlab import actions as a
from agentlab.acting import Workspace, perform
from agentlab.agents import said, settled
from agentlab.cleaning import discard
from agentlab.completion import complete
from agentlab.errors import AgentlabError, PlanError
from agentlab.evaluation.state import prepared
from agentlab.lab import Lab
from agentlab.linking import identifier
from agentlab.orchestrator import new_id
from agentlab.plan import Plan
from agentlab.rehearsal import reaches_out
from agentlab.rules import check
from agentlab.slots import decode, prompt_text, sighted
from agentlab.view import View
from finetune.dataset import id_of, plan_of
from finetune.marking import Unsayable
from finetune.peopling import peopled
from finetune.promises import PROMISES, Broken, Seen, cells
from finetune.written import FOLDER, Calls, Request, load, problems, shown, spelt

#: Labs are made where writing is quick, if there is such a place.
_QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None
Status = Literal["proved", "failed", "untried"]
#: What the model's form made of a plan: the same, another one with the same end, the same but for the spelling of a new name,
#: another end; or it has no words for it.
Trip = Literal["", "same plan", "same end", "other spelling", "other end", "unsayable"]


@dataclass(frozen=True)
class Proof:
    """What came of one request; `why` is empty where it is proved. `looked` are its actions whose promise was looked at."""

    id: str
    status: Status
    why: str = ""
    looked: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    trip: Trip = ""


# ---------------------------------------------------------------- carrying out


@dataclass
class End:
    """What a plan left in its draft: every table that it wrote, and the documents of what has no rows."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    docs: dict[tuple[str, str], Any] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)


#: Kinds whose entries two equal plans leave alike, and what of them tells the time or the run.
_KEPT = ("schedule", "retention", "limit", "snapshot", "check", "sync", "store")
_PASSING = ("next", "set_at", "at", "run", "tables", "version", "location")


class Outside(Exception):
    """Why a plan isn't tried."""


def ended(lab: Lab, plan: Plan, look: bool = True) -> End:
    """Where a plan leads, with its promises looked at on the way. Broken says which isn't kept; AgentlabError is as of a run."""
    told = settled(plan, check(plan, lab.catalog, None))
    if told.abstention:
        raise PlanError(f"the rules ask or refuse: {said(told.abstention)}")
    workspace = Workspace(lab.catalog.draft(new_id("t")), lab.engine, compute=lab.compute)
    end = End()
    try:
        for action in plan.actions:
            _step(action, workspace, end, look)
        for kind, name in workspace.draft.written:
            entry = workspace.draft.find(kind, name)
            if kind == "table" and entry:
                end.tables[name] = _rows(workspace, name)
            elif kind == "table" or kind in _KEPT:
                end.docs[kind, name] = {k: v for k, v in entry.doc.items() if k not in _PASSING} if entry else None
    finally:
        discard(lab.root, workspace.draft.run)
    return end


def _step(action: a.Action, workspace: Workspace, end: End, look: bool) -> None:
    if isinstance(action, a.Provision | a.Publish) and reaches_out(action, workspace.draft):
        raise Outside(f"{action.tool()} reaches out of the lab")
    promise = PROMISES.get(type(action)) if look else None
    names = [
        *action.references("table", "new_table"),
        f"quarantine.{str(getattr(action, 'table', '')).rpartition('.')[2]}",
    ]
    before = {name: _rows(workspace, name) for name in names if promise and workspace.draft.find("table", name)}
    outcome = perform(action, workspace)
    end.carried.append(action.tool())
    if promise:
        after = {name: _rows(workspace, name) for name in names if workspace.draft.find("table", name)}
        try:
            promise(Seen(action, workspace.draft, outcome, before, after))
        except Broken as why:
            raise Broken(f"{action}: {why}") from None
        except (duckdb.Error, KeyError, pa.ArrowException) as fault:
            raise Broken(f"{action}: {type(fault).__name__} {str(fault).splitlines()[0]}") from fault
        end.looked.append(action.tool())


def _rows(workspace: Workspace, name: str) -> pa.Table:
    table: pa.Table = workspace.engine.con.to_pyarrow(workspace.read(name))
    return table


def _differ(one: End, two: End) -> str:
    """What two ends don't have in common; "" if they are the same."""
    if one.tables.keys() != two.tables.keys():
        return f"tables {sorted(one.tables)} and {sorted(two.tables)}"
    for name, rows in one.tables.items():
        # The reason of rows set aside is the condition as it was spelt.
        columns = [c for c in rows.column_names if not (c == "reason" and name.startswith("quarantine."))]
        other = [c for c in two.tables[name].column_names if not (c == "reason" and name.startswith("quarantine."))]
        if columns != other:
            return f"{name} has the columns {columns} and {other}"
        if cells(rows, columns) != cells(two.tables[name], columns):
            return f"{name} has other rows ({len(rows)} and {len(two.tables[name])})"
    return next(
        (f"{key} differs" for key in one.docs.keys() | two.docs.keys() if one.docs.get(key) != two.docs.get(key)), ""
    )


# ---------------------------------------------------------------- proving


def prove(request: Request, lab: Lab, view: View) -> Proof:
    """One request in its lab."""
    name = id_of(request)
    if fault := next(problems(request), None):
        return Proof(name, "untried", f"it doesn't fit its lab: {fault}")
    if any(call["name"] in ("clarify", "refuse") for call in request.calls):
        trip = _abstained(request, view)
        lost = trip == "other end"
        return Proof(
            name, "failed" if lost else "proved", "round trip: it asks or declines otherwise" * lost, trip=trip
        )
    try:
        plan = plan_of(request)
        end = ended(lab, plan)
        trip, why = _round_trip(request, plan, end, lab, view)
    except Outside as why_not:
        return Proof(name, "untried", str(why_not))
    except Broken as broken:
        return Proof(name, "failed", f"promise: {broken}")
    except AgentlabError as fault:
        return Proof(name, "failed", f"carrying out: {fault}")
    return Proof(name, "failed" if why else "proved", why, tuple(end.looked), tuple(end.carried), trip)


def _back(request: Request, view: View) -> Calls:
    """The plan through the model's form and back. PlanError or Unsayable where that form has no words for it."""
    _, answer = shown(request, spelt(request), view)
    linked, view = sighted(request.text, view, None)
    prompt_text(linked, view, None)  # What the prompt lists has its marks, too.
    return complete(decode(answer, linked), linked, view)


def _abstained(request: Request, view: View) -> Trip:
    try:
        back = _back(request, view)
    except (PlanError, Unsayable):
        return "unsayable"
    told = [(c["name"], c["arguments"].get("about"), c["arguments"].get("because")) for c in (*back, *request.calls)]
    return "same plan" if len(told) == 2 and told[0] == told[1] else "other end"


def _round_trip(request: Request, plan: Plan, end: End, lab: Lab, view: View) -> tuple[Trip, str]:
    try:
        back = Plan.from_calls(_back(request, view))
    except (PlanError, Unsayable):
        return "unsayable", ""
    if back.to_calls() == plan.to_calls():
        return "same plan", ""
    try:
        again = ended(lab, back, look=False)
        other, cased = _differ(end, again), _differ(_spelt_alike(end), _spelt_alike(again))
    except AgentlabError as fault:
        other = cased = str(fault)
    if cased:
        return "other end", f"round trip: {cased}; it became {back}"
    return ("other spelling" if other else "same end"), ""


def _spelt_alike(end: End) -> End:
    """The same with the names of columns as `identifier` spells them: `Length min` is `length_min`."""
    tables = {
        name: rows.rename_columns([identifier(c) for c in rows.column_names]) for name, rows in end.tables.items()
    }
    return End(tables, end.docs)


def proved(requests: Sequence[Request]) -> Iterator[Proof]:
    """Every request, lab by lab; what can't be made of a lab leaves its requests untried."""
    labs: dict[int, list[Request]] = {}
    for request in requests:
        labs.setdefault(id(request.lab), []).append(request)
    for together in labs.values():
        yield from _in_lab(together)


def _in_lab(requests: list[Request]) -> Iterator[Proof]:
    written, done = requests[0].lab, 0
    with tempfile.TemporaryDirectory(prefix="agentlab-proving-", dir=_QUICK, ignore_cleanup_errors=True) as folder:
        try:
            with prepared(peopled(written, requests), Path(folder) / "lab") as lab:
                view = written.view()
                for request in requests:
                    yield prove(request, lab, view)
                    done += 1
        except (AgentlabError, ValueError) as fault:
            for request in requests[done:]:
                yield Proof(id_of(request), "untried", f"its lab can't be made: {' '.join(str(fault).split())}")


def sampled(requests: list[Request], size: int, seed: int) -> list[Request]:
    """Whole labs by chance, until they have so many requests."""
    labs: dict[str, list[Request]] = {}
    for request in requests:
        labs.setdefault(request.lab.name, []).append(request)
    order = sorted(labs)
    random.Random(seed).shuffle(order)
    return [request for name in order for request in labs[name]][:size]


def summary(proofs: Sequence[Proof], seconds: float) -> dict[str, Any]:
    """The figures, as they are printed last."""
    many = Counter(proof.status for proof in proofs)
    return {
        "requests": len(proofs),
        **{status: many[status] for status in ("proved", "failed", "untried")},
        "actions_looked_at": sum(len(proof.looked) for proof in proofs),
        "actions_only_carried_out": sum(len(proof.carried) - len(proof.looked) for proof in proofs),
        "round_trips": dict(Counter(proof.trip for proof in proofs if proof.trip)),
        "seconds": round(seconds, 1),
        "requests_a_second": round(len(proofs) / seconds, 1) if seconds else None,
    }


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--sample", type=int, help="that many requests only, of labs by chance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every proof there")
    options = parser.parse_args()
    faults: list[str] = []
    requests = [r for path in options.files or sorted(FOLDER.glob("*.txt")) for r in load(path, faults)]
    if options.sample:
        requests = sampled(requests, options.sample, options.seed)
    began, proofs = time.perf_counter(), list[Proof]()
    for proof in proved(requests):
        proofs.append(proof)
        if proof.status != "proved":
            print(f"{proof.status} {proof.id}: {proof.why}", flush=True)
    figures = {**summary(proofs, time.perf_counter() - began), "unreadable": len(faults)}
    if options.json:
        options.json.write_text(
            json.dumps({**figures, "proofs": [asdict(p) for p in proofs]}, indent=1), encoding="utf-8"
        )
    print(json.dumps(figures))
    sys.exit(bool(figures["failed"]))


if __name__ == "__main__":
    main()
