"""How often plans end in the right state: the shipped model beside a nearest phrasing, keywords, and the right plans.

    python -m finetune.accuracy                                  # every case of data/cases, four planners: 20 minutes and more
    python -m finetune.accuracy --limit 6 --models offline,rules
    python -m finetune.accuracy data/cases/blind.jsonl --models nearest --model http://127.0.0.1:8000/v1
    python -m finetune.accuracy --models offline,greedy,once,plain   # the offline model without one of its parts

Each case runs in a fresh lab and is judged by `agentlab.evaluation` alone, one planner after the other. What the columns count:

    single, multi   cases to be done or approved, by whether the right plan has one action or more, whose expectations all hold
    all             every case whose expectations all hold
    abstain right   cases that should end in a question or a refusal, and end in the one that they should
    abstain wrong   cases to be done or approved that end in a question or a refusal
    routing         cases to be done or approved that are planned without naming an agent, by the agents of the right plan
    unsafe          runs that changed what must stay as it is, or anything there was in a case that is not to be done
    p50, p95        milliseconds of planning, the planner's first plan left out

Without its parts the offline model is `greedy` (without the search: one answer, its likeliest tokens), `once` (what can't
run isn't planned otherwise, nor what another agent seems to be asked) and `plain` (asking and refusing need no probability of their own, nor does acting).

A cell is a share, its interval with 95% (Wilson 1927), and of how many cases. The lines by agent, the risk and the last
line, which is JSON, are the offline model's, or the first planner's where it isn't among them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from agentlab.actions import ACTIONS, ROLES
from agentlab.errors import AgentlabError
from agentlab.evaluation import SCRIPTED, Case, Judged, carry_out, load, plan_alone
from agentlab.evaluation.score import Result, Share
from agentlab.evaluation.state import Skipped
from agentlab.models import Model
from agentlab.models import load as load_model
from agentlab.models.base import OFFLINE
from agentlab.models.qwen import Qwen
from finetune.baselines import Nearest
from finetune.keywords import Rules

CASES = Path(__file__).parent.parent / "data" / "cases"
#: Of another form, or written to try the actions rather than the planner.
NOT_HERE = ("story_wordings.jsonl", "execution.jsonl")
PLANNERS = ("offline", "rules", "nearest", SCRIPTED)
ABLATED = ("greedy", "once", "plain")
HEADER = ("", "single", "multi", "all", "abstain right", "abstain wrong", "routing", "unsafe", "p50 ms", "p95 ms")
RISKS = (0.05, 0.1)


@dataclass(frozen=True)
class Tried:
    """What came of one case; `routed`: planned without an agent's name it took the right agents (None: not asked)."""

    told: Judged
    routed: bool | None = None

    @property
    def acts(self) -> bool:
        """Whether something is to be done, or to wait for approval."""
        return not self.told.should_abstain


@dataclass(frozen=True)
class Row:
    """One line of the table: shares, and how the planner behaved."""

    name: str
    single: Share
    multi: Share
    all: Share
    abstain_right: Share
    abstain_wrong: Share
    routing: Share
    unsafe: int
    plan_p50_ms: float
    plan_p95_ms: float

    def cells(self) -> tuple[str, ...]:
        """The line's texts, as `HEADER` names them."""
        shares = (self.single, self.multi, self.all, self.abstain_right, self.abstain_wrong, self.routing)
        times = (f"{self.plan_p50_ms:.1f}", f"{self.plan_p95_ms:.1f}")
        return (self.name, *map(cell, shares), str(self.unsafe), *times)

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures alone, shares from 0 to 1, None where there was no case."""
        shares = ("single", "multi", "abstain_right", "abstain_wrong", "routing")
        told: dict[str, float | int | None] = {name: rate(getattr(self, name)) for name in shares}
        return told | {"unsafe": self.unsafe, "plan_p50_ms": self.plan_p50_ms, "plan_p95_ms": self.plan_p95_ms}


def rate(share: Share) -> float | None:
    """The share as a number."""
    return round(share.passed / share.total, 4) if share.total else None


def cell(share: Share) -> str:
    """A share in the table: percent, interval, of how many.

    >>> cell(Share(8, 10)), cell(Share(0, 0))
    ('80.0% 49-94 /10', '-')
    """
    if not share.total:
        return "-"
    low, high = share.interval
    return f"{share.passed / share.total:.1%} {low * 100:.0f}-{high * 100:.0f} /{share.total}"


# ---------------------------------------------------------------- trying


def planner_of(name: str) -> Model | None:
    """A planner by its name, else whatever model a lab can be given; None replays each case's own plan."""
    if name == SCRIPTED:
        return None
    if name in ("nearest", "rules"):
        return Nearest() if name == "nearest" else Rules()
    return ablated(name) if name in ABLATED else load_model(None if name == "offline" else name)


class Once(Qwen):
    """The offline model, asked once."""

    tries = 1  # type: ignore[assignment]


def ablated(name: str) -> Model:
    """The offline model without one of its parts."""
    model = Once(OFFLINE) if name == "once" else Qwen(OFFLINE)
    if name == "greedy":
        model._decoder.steps = 0
    elif name == "plain":
        model._decoder.declines_from, model.asks_below = None, 0.0
    return model


def tried(name: str, cases: Sequence[Case], planner: Model | None) -> list[Tried]:
    """Every case that the planner can be asked, carried out; progress goes to standard error."""
    asked = [case for case in cases if planner is not None or case.calls is not None]
    found = []
    for number, case in enumerate(asked, 1):
        with tempfile.TemporaryDirectory(prefix="agentlab-case-", ignore_cleanup_errors=True) as folder:
            told = carry_out(case, Path(folder) / "lab", planner)
            found.append(Tried(told, routed(case, told, Path(folder) / "unnamed", planner)))
        print(f"\r{name}: {number} of {len(asked)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def routed(case: Case, told: Judged, folder: Path, planner: Model | None) -> bool | None:
    """Whether the plan takes the right agents when none is named; a case that names one is planned once more."""
    if told.should_abstain or told.passed is None:
        return None
    names = [call["name"] for call in told.plan]
    if case.role is not None:
        try:
            names = [action.tool() for action in plan_alone(case, folder, planner).actions]
        except Skipped:
            return None
        except AgentlabError:
            return False
    return agents(names) == right_agents(case)


def agents(names: Iterable[str]) -> set[str]:
    """The agents of actions by their names; a question or a refusal has none."""
    return {agent for name in names if (agent := ACTIONS[name].agent) is not None}


def right_agents(case: Case) -> set[str]:
    """The agents of the right plan: by its actions, else as expected; the named one may do no other's work."""
    if case.calls is not None:
        return agents(str(call["name"]) for call in case.calls)
    said = next((set(e.agents or agents(e.plan or ())) for e in case.expect if e.agents or e.plan), set[str]())
    return said or ({case.role} if case.role else set())


# ---------------------------------------------------------------- counting


def row(name: str, found: Sequence[Tried]) -> Row:
    """The figures of some cases; skipped ones aren't counted."""
    found = [one for one in found if one.told.passed is not None]
    acting = [one for one in found if one.acts]
    asking = [one.told for one in found if not one.acts]
    times = Result(name, tuple(one.told for one in found)).plan_ms
    return Row(
        name=name,
        single=_share(one.told.passed for one in acting if one.told.actions == 1),
        multi=_share(one.told.passed for one in acting if one.told.actions > 1),
        all=_share(one.told.passed for one in found),
        abstain_right=_share(told.status in told.expected.split("|") for told in asking),
        abstain_wrong=_share(one.told.abstained for one in acting),
        routing=_share(one.routed for one in found if one.routed is not None),
        unsafe=sum(bool(one.told.harm) for one in found),
        plan_p50_ms=times["p50"],
        plan_p95_ms=times["p95"],
    )


def _share(held: Iterable[bool | None]) -> Share:
    counted = list(map(bool, held))
    return Share(sum(counted), len(counted))


def warm(found: Sequence[Tried]) -> list[Tried]:
    """The same without the time of the first plan, in which a planner still gets ready."""
    return [replace(one, told=replace(one.told, plan_ms=None)) if n == 0 else one for n, one in enumerate(found)]


def by_agent(name: str, found: Sequence[Tried]) -> Iterator[Row]:
    """A line for each agent that has cases, and for those that name none."""
    for agent in (*ROLES, "routing"):
        if some := [one for one in found if one.told.agent == agent]:
            yield row(f"{name}: {agent}", some)


def table(rows: Iterable[Row]) -> str:
    """The lines under their header, in columns."""
    lines = [HEADER, *(line.cells() for line in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([f"{text:{width}}" for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in padded)


# ---------------------------------------------------------------- risk and coverage


def curve(found: Iterable[Tried]) -> list[tuple[float, float]]:
    """Share answered, and share wrong of those, by falling confidence; plans of one confidence come together.

    The surest are answered first (El-Yaniv and Wiener 2010). A question or a refusal is an answer, too.
    """
    counted = [one.told for one in found if one.told.passed is not None]
    ordered = sorted(counted, key=_sureness, reverse=True)
    points, answered, wrong = list[tuple[float, float]](), 0, 0
    for _, some in groupby(ordered, key=_sureness):
        group = list(some)
        answered, wrong = answered + len(group), wrong + sum(not told.passed for told in group)
        points.append((answered / len(ordered), wrong / answered))
    return points


def _sureness(told: Judged) -> float:
    return told.confidence or 0.0


def coverage(points: Iterable[tuple[float, float]], risk: float) -> float:
    """The greatest share that can be answered with no more than this share wrong.

    >>> coverage([(0.25, 0.0), (0.5, 0.2), (0.75, 0.1), (1.0, 0.3)], 0.1)
    0.75
    """
    return max((answered for answered, wrong in points if wrong <= risk), default=0.0)


def drawn(points: Sequence[tuple[float, float]]) -> str:
    """The curve as SVG: answered to the right, wrong upwards."""
    left, top, wide, high = 56, 16, 420, 260
    most = max(0.1, *(wrong for _, wrong in points)) if points else 1.0
    line = " ".join(f"{left + wide * x:.1f},{top + high * (1 - y / most):.1f}" for x, y in points)
    marks = "".join(
        f'<text x="{left + wide * n / 4:.0f}" y="{top + high + 18}" text-anchor="middle">{n / 4:.0%}</text>'
        f'<text x="{left - 6}" y="{top + high * (1 - n / 4) + 4:.0f}" text-anchor="end">{most * n / 4:.0%}</text>'
        for n in range(5)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="330" font-family="sans-serif" font-size="12">'
        f'<rect width="500" height="330" fill="white"/>'
        f'<path d="M{left} {top}V{top + high}H{left + wide}" fill="none" stroke="#555"/>{marks}'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>'
        f'<text x="{left + wide / 2:.0f}" y="{top + high + 42}" text-anchor="middle">answered, the surest first</text>'
        f'<text transform="translate(14 {top + high / 2:.0f}) rotate(-90)" text-anchor="middle">wrong among them</text></svg>\n'
    )


# ---------------------------------------------------------------- the command


def chosen(files: Sequence[Path], agent: str | None, limit: int | None) -> list[Case]:
    """The cases of the files, of one agent; with a limit so many of them, evenly spread."""
    paths = files or [path for path in sorted(CASES.glob("*.jsonl")) if path.name not in NOT_HERE]
    cases = [case for path in paths for case in load(path) if agent in (None, case.agent)]
    if limit is None or limit >= len(cases):
        return cases
    return [cases[n * len(cases) // limit] for n in range(limit)]


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="files of cases; by default those of data/cases")
    parser.add_argument("--models", default=",".join(PLANNERS), help=f"some of {', '.join(PLANNERS + ABLATED)}")
    parser.add_argument("--model", action="append", default=[], help="one more: a folder, a hub id or a URL")
    parser.add_argument("--agent", choices=(*ROLES, "routing"))
    parser.add_argument("--limit", type=int, help="a quick look at so many cases")
    parser.add_argument("--json", type=Path, help="everything that was counted, and every case")
    parser.add_argument("--risk", type=Path, help="risk by coverage, as SVG")
    options = parser.parse_args(arguments)
    names = [name for name in options.models.split(",") if name]
    if strange := [name for name in names if name not in PLANNERS + ABLATED]:
        parser.error(
            f"--models knows {', '.join(PLANNERS + ABLATED)}, not {', '.join(strange)}; any other is a --model"
        )
    names += options.model
    cases = chosen(options.files, options.agent, options.limit)
    if not names or not cases:
        parser.error("there is no planner or no case to try")

    results = {name: warm(tried(name, cases, planner_of(name))) for name in names}
    rows = [row(name, found) for name, found in results.items()]
    shown = "offline" if "offline" in names else names[0]
    first = results[shown]
    print(table([*rows, *by_agent(shown, first)]))
    if options.risk:
        points = curve(first)
        options.risk.write_text(drawn(points), encoding="utf-8")
        for risk in RISKS:
            print(f"with {risk:.0%} wrong at most, {shown} can answer {coverage(points, risk):.1%} of the cases")
    if options.json:
        everything: dict[str, Any] = {
            name: {**rows[n].to_dict(), "cases": [asdict(one) for one in found]}
            for n, (name, found) in enumerate(results.items())
        }
        options.json.write_text(json.dumps(everything, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row(shown, first).to_dict()))


if __name__ == "__main__":
    main()
