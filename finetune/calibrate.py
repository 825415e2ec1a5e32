"""How sure must the model be? Two thresholds, chosen on written requests of labs that training never saw.

    python -m finetune.calibrate CHECKPOINT [--size 400] [--write]

`declines_from` is the probability that asking or refusing needs, and `asks_below` the confidence below which a plan becomes a question. Requests are planned as in serving, grammar, rules and second thoughts included, and a plan is right when it
equals the writer's. `--write` puts the chosen ones into the checkpoint's config.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sqlglot import parse_one
from sqlglot.optimizer.simplify import simplify

from agentlab.agents import Agent
from agentlab.completion import complete
from agentlab.errors import PlanError
from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.rules import check
from agentlab.slots import decode, prompt_text, sighted
from finetune.examples import held_out
from finetune.marking import Unsayable
from finetune.written import Held, Request, WrittenLab, corpus, shown, spelt

DECLINES = (0.35, 0.5, 0.65, 0.8)
#: A plan is asked about rather than run where at most this share of its like is right.
STILL_RIGHT = 0.05


@dataclass(frozen=True)
class Told:
    """What became of one request: how sure the plan was, whether it is right, whether it acts, and whether it should."""

    confidence: float
    right: bool
    acts: bool
    should_act: bool
    actions: int


def known(size: int, seed: int = 4242) -> list[tuple[Request, Plan]]:
    """Held-out requests and the plans that their writers meant, as the model's form says them."""
    requests = [request for request in corpus() if held_out(request)]
    random.Random(seed).shuffle(requests)
    found = []
    for request in requests:
        view = request.lab.view()
        try:
            _, answer = shown(request, spelt(request), view)
            linked, view = sighted(request.text, view, None)
            prompt_text(linked, view, None)
            plan = Plan.from_calls(complete(decode(answer, linked), linked, view))
        except (PlanError, Unsayable):
            continue
        if may_run(plan, request.lab):
            found.append((request, plan))
        if len(found) == size:
            break
    return found


def may_run(plan: Plan, lab: WrittenLab) -> bool:
    """Whether the rules allow a plan. (A written lab has no earlier versions of its tables.)"""
    with tempfile.TemporaryDirectory() as root:
        issues = check(plan, Held(lab, Path(root)), None)
    return all(issue.severity == "approval" for issue in issues)


def said_alike(plan: Plan) -> list[dict[str, Any]]:
    """The plan's actions in full; conditions that differ only in the order of ANDs and ORs made the same."""
    return [
        {"action": action.tool()}
        | {
            name: simplify(parse_one(value, dialect="duckdb")).sql("duckdb")
            if name in ("where", "expr") and value
            else value
            for name, value in action.model_dump().items()
        }
        for action in plan.actions
    ]


def told(model: Qwen, requests: list[tuple[Request, Plan]]) -> Iterator[Told]:
    """Each request, planned."""
    agent = Agent(None, model)
    for request, wanted in requests:
        with tempfile.TemporaryDirectory() as root:
            plan = agent.plan(request.text, request.lab.view(), Held(request.lab, Path(root)))
        right = plan.abstention is not None if wanted.abstention else said_alike(plan) == said_alike(wanted)
        yield Told(plan.confidence, right, plan.status == "act", wanted.status == "act", len(wanted.actions))


def shares(rows: list[Told]) -> str:
    """A line of figures."""

    def share(some: list[bool]) -> str:
        return f"{sum(some) / len(some):6.1%}" if some else "     -"

    return (
        f"right {share([t.right for t in rows])}, of one action {share([t.right for t in rows if t.should_act and t.actions == 1])}, "
        f"of several {share([t.right for t in rows if t.should_act and t.actions > 1])}; "
        f"asked rightly {share([not t.acts for t in rows if not t.should_act])}, "
        f"needlessly {share([not t.acts for t in rows if t.should_act])}"
    )


def asks_below(rows: list[Told]) -> float:
    """The greatest confidence below which at most `STILL_RIGHT` of the plans that act are right."""
    acting = sorted((t for t in rows if t.acts), key=lambda t: t.confidence)
    floor, right = 0.0, 0
    for count, row in enumerate(acting, 1):
        right += row.right
        if right <= STILL_RIGHT * count and count < len(acting):
            floor = acting[count].confidence
    return round(floor, 3)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, requests = Qwen(options.checkpoint), known(options.size)
    model.asks_below = 0.0
    found: dict[float, list[Told]] = {}
    for threshold in DECLINES:
        model._decoder.declines_from = threshold
        found[threshold] = list(told(model, requests))
        print(f"asking or refusing from {threshold}: {shares(found[threshold])}", flush=True)
    declines = max(found, key=lambda t: (sum(row.right for row in found[t]), t))
    floor = asks_below(found[declines])
    after = [
        row if row.confidence >= floor else Told(row.confidence, not row.should_act, False, row.should_act, row.actions)
        for row in found[declines]
    ]
    print(f"a question below {floor}: {shares(after)}")
    if options.write:
        path = options.checkpoint / "config.json"
        config = json.loads(path.read_text())
        config["agentlab"] |= {"declines_from": declines, "asks_below": floor}
        path.write_text(json.dumps(config, indent=2) + "\n")
        print(f"{path}: declines_from = {declines}, asks_below = {floor}")


if __name__ == "__main__":
    main()
