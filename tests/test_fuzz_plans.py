"""The worst-case planner: it plans anything, and whoever writes outside its authority or the log is found out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_plans import fuzz
from fuzzing.audit import Log, changes, outside
from fuzzing.catalogs import AWKWARD, EMPTY, SHOP
from fuzzing.texts import text
from fuzzing.worst import Worst

from agentlab.actions import ROLES, of
from agentlab.errors import PlanError
from agentlab.evaluation.state import prepared
from agentlab.lab import Lab
from agentlab.plan import Plan
from agentlab.prompts import Ask


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with prepared(AWKWARD, tmp_path / "lab") as lab:
        yield lab


def call(action: str, **arguments: object) -> Plan:
    return Plan.from_calls([{"name": action, "arguments": arguments}])


def test_it_plans_every_action_of_a_role_and_no_other(tmp_path: Path):
    worst = Worst(random.Random(3), text)
    with prepared(SHOP, tmp_path / "lab") as lab:
        view = lab.view()
    for role in (*ROLES, None):
        planned = set[str]()
        for _ in range(150):
            try:
                planned |= {action.tool() for action in worst.plan(Ask("", role, view)).actions}
            except PlanError:
                continue
        assert planned <= set(of(role)) and len(planned) > 0.8 * len(of(role))


def test_the_same_seed_makes_the_same_plans(tmp_path: Path):
    with prepared(AWKWARD, tmp_path / "lab") as lab:
        view = lab.view()
    one, two = (Worst(random.Random(9), text) for _ in range(2))
    assert [one.answer(None, view) for _ in range(20)] == [two.answer(None, view) for _ in range(20)]


def test_plans_by_chance_stay_within_authority_fail_by_name_and_are_logged():
    tally = fuzz(240, seed=1, states=(SHOP, AWKWARD, EMPTY), to_a_lab=80)
    assert tally.faults == {"outside_authority": [], "crashes": [], "unlogged": []}
    assert tally.to_dict()["plans"] == 240 and tally.counts["done"] > 10 and tally.counts["rejected by the rules"] > 20


@pytest.mark.parametrize(
    ("role", "plan"),
    [
        ("storage", call("rename", table="x", column="id", to="no")),
        ("quality", call("filter", table="x", where="id = 1", into="core.other")),
        ("optimization", call("rename", table="x", column="id", to="no")),
        ("transformation", call("snapshot", table="x", name="s")),
    ],
)
def test_a_write_outside_the_roles_authority_is_found(role: str, plan: Plan, lab: Lab):
    before = lab.catalog.heads()
    assert lab.run(plan).status == "done", "as anybody it may"
    done = changes(before, lab.catalog.heads())
    assert outside(lab, plan, role, done) and not outside(lab, plan, None, done)


def test_ingestion_writes_no_other_group(lab: Lab):
    before = lab.catalog.heads()
    lab.run(call("rename", table="x", column="id", to="no"))
    assert outside(lab, Plan(actions=()), "ingestion", changes(before, lab.catalog.heads()))


def test_a_change_that_no_run_of_the_log_made_is_found(lab: Lab):
    log, before = Log(lab), lab.catalog.heads()
    lab.run(call("snapshot", table="x", name="s"))
    assert list(log.unlogged(changes(before, lab.catalog.heads()))) == []
    before = lab.catalog.heads()
    draft = lab.catalog.draft("ghost")
    draft.put("schedule", "nightly", {"cron": "0 2 * * *"})
    draft.commit()
    assert list(log.unlogged(changes(before, lab.catalog.heads()))) == ["schedule nightly changed None -> 1 by ghost"]
