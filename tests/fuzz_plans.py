"""The worst-case planner: plans made by chance from the real grammar, checked and carried out on live catalogs.

    make fuzz-plans PLANS=100000

Prints a table and, last, one line of JSON. None may write outside its authority, fail in a way that isn't one of our
errors, or change anything without a run in the log; else it ends with 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.audit import Log, changes, outside
from fuzzing.catalogs import ALL
from fuzzing.texts import text
from fuzzing.worst import Worst

from agentlab.actions import ROLES, Role
from agentlab.errors import AgentlabError, PlanError
from agentlab.evaluation.form import State
from agentlab.evaluation.state import prepared
from agentlab.lab import Lab
from agentlab.plan import Plan
from agentlab.prompts import Ask
from agentlab.rules import check

#: Plans to a lab, and plans between two looks at what is in it.
TO_A_LAB, TO_A_VIEW = 250, 25
#: In seconds: a plan that takes longer is told of.
LONG = 20.0
#: The part of the plans that the rules reject which is carried out all the same, to see that nothing comes of it.
REJECTED_TOO = 0.03

#: What measures queries several times takes long, and asking changes nothing: of such plans a part is carried out.
SLOW = ("index", "order_by", "partition", "materialize", "compact", "recommend", "diagnose", "clarify", "refuse")
SLOW_TOO = 0.08

#: The part of the runs that is undone at once. Those that slow a source down always are, or the rest would crawl.
UNDONE = 0.1

#: Of these a plan may have been stopped by the rules.
STOPS = ("mend", "refuse", "clarify")


def _throttles(plan: Plan) -> bool:
    return any(action.tool() == "throttle" for action in plan.actions)


@dataclass
class Tally:
    """What came of the plans."""

    counts: Counter[str] = field(default_factory=Counter)
    acted: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(
        default_factory=lambda: {"outside_authority": [], "crashes": [], "unlogged": []}
    )

    def fault(self, kind: str, what: str, plan: Plan | None) -> None:
        """Note one, with the plan that did it."""
        told = f"{what}\n    by {'; '.join(map(str, plan.actions)) if plan else 'no plan'}"
        if told.partition("\n")[0] not in [known.partition("\n")[0] for known in self.faults[kind]]:
            print(f"{kind}: {told}", file=sys.stderr)
        self.faults[kind].append(told)

    def to_dict(self) -> dict[str, int]:
        """The figures that matter."""
        return {"plans": self.counts["plans"], **{kind: len(found) for kind, found in self.faults.items()}}


class _Trouble(logging.Handler):
    """Hears of what failed inside a run in a way that isn't one of our errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        if fault is not None and not isinstance(fault, AgentlabError):
            self.heard.append(f"{type(fault).__name__}: {str(fault)[:300]}")


class Trial:
    """Plans on one lab."""

    def __init__(self, lab: Lab, worst: Worst, chance: random.Random, tally: Tally, trouble: _Trouble) -> None:
        self.lab, self.worst, self.chance, self.tally, self.trouble = lab, worst, chance, tally, trouble
        self.log = Log(lab)
        self.view = lab.view()
        self.beside = set(lab.root.parent.iterdir())

    def go(self, plans: int) -> None:
        """Make so many plans, and carry out those that may run."""
        for number in range(plans):
            if number and number % TO_A_VIEW == 0:
                self.view = self.lab.view()
            self._one(self.chance.choice((*ROLES, None)))

    def _one(self, role: Role | None) -> None:
        self.tally.counts["plans"] += 1
        before, plan, began = self.lab.catalog.heads(), None, time.monotonic()
        try:
            plan = self.worst.plan(Ask("anything at all", role, self.view))
            self._carry_out(plan, role)
        except PlanError:
            self.tally.counts["not of the form"] += 1
        except AgentlabError as fault:
            self.tally.counts["failed, and said why"] += 1
            print(f"raised: {fault}"[:200], file=sys.stderr)
        except Exception as fault:
            self.tally.fault("crashes", f"{type(fault).__name__}: {str(fault)[:300]}", plan)
        if (spent := time.monotonic() - began) > LONG:
            print(f"{spent:.0f} s: {plan}", file=sys.stderr)
        self._look(before, plan, role)

    def _carry_out(self, plan: Plan, role: Role | None) -> None:
        stopped = [issue for issue in check(plan, self.lab.catalog, role) if issue.severity in STOPS]
        if stopped and self.chance.random() > REJECTED_TOO:
            self.tally.counts["rejected by the rules"] += 1
            return
        if any(action.tool() in SLOW for action in plan.actions) and self.chance.random() > SLOW_TOO:
            self.tally.counts["allowed, and left out"] += 1
            return
        result = self.lab.run(plan, agent=role, approve=self.chance.random() < 0.4 or None)
        told = (
            "rejected by the rules" if stopped else {"failed": "failed, and said why"}.get(result.status, result.status)
        )
        self.tally.counts[told] += 1
        self.tally.acted.update(action.tool() for action in plan.actions if result.status == "done")
        if stopped and result.status not in ("clarify", "refuse"):
            self.tally.fault("outside_authority", f"ran although {stopped[0].message}", plan)
        for heard in self.trouble.heard:
            self.tally.fault("crashes", heard, plan)
        self.trouble.heard.clear()

    def _undo(self, run: str, plan: Plan) -> None:
        """Take a run back: nothing may be left of it."""
        if self.lab.catalog.committed(run) and self.lab.catalog.events(run=run) and self._wrote(run):
            self.lab.undo(run)
            self.tally.counts["undone again"] += 1
            if left := self._wrote(run):
                self.tally.fault("unlogged", f"undo left {left}", plan)

    def _wrote(self, run: str) -> list[str]:
        """The entries whose present version is the run's."""
        sql = "SELECT kind || ' ' || name AS told FROM head JOIN versions USING (kind, name, n) WHERE run = ?"
        return [row["told"] for row in self.lab.catalog.database.query(sql, run)]

    def _look(self, before: dict[tuple[str, str], int], plan: Plan | None, role: Role | None) -> None:
        done = changes(before, self.lab.catalog.heads())
        for what in outside(self.lab, plan or Plan(actions=()), role, done):
            self.tally.fault("outside_authority", what, plan)
        for what in self.log.unlogged(done):
            self.tally.fault("unlogged", what, plan)
        if new := set(self.lab.root.parent.iterdir()) - self.beside:
            self.tally.fault("outside_authority", f"wrote outside the lab: {sorted(path.name for path in new)}", plan)
            self.beside |= new


def fuzz(
    plans: int, seed: int = 0, states: tuple[State, ...] = ALL, to_a_lab: int = TO_A_LAB, seconds: float = math.inf
) -> Tally:
    """So many plans, over fresh labs in turn; the same for the same seed. After so many seconds no lab is begun."""
    chance, tally = random.Random(seed), Tally()
    worst = Worst(chance, text)
    began = time.monotonic()
    with _listening() as trouble:
        for number, start in enumerate(range(0, plans, to_a_lab)):
            with _folder() as folder, prepared(states[number % len(states)], folder / "lab") as lab:
                Trial(lab, worst, chance, tally, trouble).go(min(to_a_lab, plans - start))
            print(f"{tally.counts['plans']:,} plans: {tally.to_dict()}", file=sys.stderr)
            if time.monotonic() - began > seconds:
                break
    return tally


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agentlab-fuzz-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _listening() -> Iterator[_Trouble]:
    log, trouble = logging.getLogger("agentlab"), _Trouble()
    log.addHandler(trouble)
    propagated, log.propagate = log.propagate, False
    try:
        yield trouble
    finally:
        log.removeHandler(trouble)
        log.propagate = propagated


def table(tally: Tally, seconds: float) -> str:
    """What came of it, a line each."""
    lines = [f"{name:24}{count:>10,}" for name, count in tally.counts.most_common()]
    lines += [f"{kind:24}{len(found):>10,}" for kind, found in tally.faults.items()]
    rate = f"{tally.counts['plans'] / max(seconds, 1e-9):,.0f} plans a second"
    acted = ", ".join(f"{name} {count}" for name, count in tally.acted.most_common())
    return "\n".join([*lines, f"carried out: {acted}", rate])


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no lab after so many seconds")
    parser.add_argument("--to-a-lab", type=int, default=TO_A_LAB, help="plans that one lab is tried with")
    asked = parser.parse_args()
    began = time.monotonic()
    tally = fuzz(asked.plans, asked.seed, to_a_lab=asked.to_a_lab, seconds=asked.seconds)
    print(table(tally, time.monotonic() - began))
    print(json.dumps(tally.to_dict()))
    return int(any(tally.faults.values()))


if __name__ == "__main__":
    sys.exit(main())
