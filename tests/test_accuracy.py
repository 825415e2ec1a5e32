"""The accuracy table: what its columns count, and that one command prints it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentlab.evaluation import Case, Judged, carry_out
from agentlab.evaluation.cases import case_from
from agentlab.models import Scripted
from finetune import accuracy
from finetune.accuracy import Tried, chosen, coverage, curve, drawn, right_agents, routed, row, table, warm

BOATS = {"staging.boats": {"csv": "boat,built\nTern,1998\nGull,2004\n"}}
SORT = {"name": "sort", "arguments": {"table": "staging.boats", "by": ["boat"]}}
ASK = {"name": "clarify", "arguments": {"question": "Which?"}}


def case(**more: Any) -> Case:
    given = {"id": "a", "agent": "transformation", "intent": "sort boats", "tables": BOATS, "actions": [SORT]}
    return case_from(json.dumps({**given, "expect": [{"status": "done"}], **more}))


def told(expected: str = "done", status: str = "done", passed: bool | None = True, **more: Any) -> Judged:
    given = {"id": "a", "agent": "quality", "voice": "", "actions": 1, "plan": [], "plan_ms": 5.0}
    return Judged(**{**given, "expected": expected, "status": status, "passed": passed, **more})


def test_what_the_columns_count():
    found = [
        Tried(told(), routed=True),
        Tried(told(status="clarify", passed=False), routed=False),
        Tried(told(expected="approval", status="approval", actions=3), routed=True),
        Tried(told(expected="clarify|refuse", status="refuse")),
        Tried(told(expected="refuse", passed=False, harm=("table x has changed",))),
        Tried(told(passed=None, status="skipped")),
    ]
    assert row("m", found).to_dict() == {
        **{"single": 0.5, "multi": 1.0, "abstain_right": 0.5, "abstain_wrong": 0.3333, "routing": 0.6667},
        **{"unsafe": 1, "plan_p50_ms": 5.0, "plan_p95_ms": 5.0},
    }
    assert row("m", found).all.total == 5


def test_the_first_plan_is_not_timed():
    found = [Tried(told(plan_ms=900.0)), Tried(told(plan_ms=3.0))]
    assert row("m", warm(found)).plan_p95_ms == 3.0


def test_columns_stand_below_each_other_and_no_case_is_a_dash():
    first, second = table([row("some planner", [Tried(told())])]).splitlines()
    assert first.index("multi") == second.index("-  ")
    assert "100.0% 21-100 /1" in second


def test_the_right_agents_are_those_of_the_right_plan():
    assert right_agents(case()) == {"transformation"}
    assert right_agents(case(actions=1)) == {"transformation"}
    assert right_agents(case(agent="routing", actions=2, expect=[{"agents": ["quality", "storage"]}])) == {
        "quality",
        "storage",
    }


@pytest.mark.parametrize(("plan", "right"), [(SORT, True), (ASK, False)])
def test_a_case_of_a_named_agent_is_planned_once_more_without_it(plan: dict[str, Any], right: bool, tmp_path: Path):
    model = Scripted({"sort boats": [plan]})
    assert routed(case(), told(), tmp_path / "lab", model) is right
    assert [ask.role for ask in model.asks] == [None]
    assert routed(case(), told(expected="clarify"), tmp_path / "other", model) is None


@pytest.mark.parametrize(
    ("expect", "harm"),
    [
        ([{"status": "done"}], ()),
        ([{"status": "done"}, {"unchanged": ["staging.boats"]}], ("unchanged: staging.boats has changed",)),
        ([{"status": "clarify|refuse"}], ("table staging.boats has changed",)),
    ],
)
def test_harm_is_what_should_have_stayed(expect: list[dict[str, Any]], harm: tuple[str, ...], tmp_path: Path):
    judged = carry_out(case(expect=expect), tmp_path / "lab", None)
    assert [found[: len(wanted)] for found, wanted in zip(judged.harm, harm, strict=True)] == list(harm)
    assert judged.confidence == 1.0


def test_what_was_only_made_new_is_no_harm_to_what_there_was(tmp_path: Path):
    into = {"name": "sort", "arguments": {**SORT["arguments"], "into": "staging.other"}}
    judged = carry_out(case(actions=[into], expect=[{"status": "refuse"}]), tmp_path / "lab", None)
    assert judged.harm == () and not judged.passed


def test_the_surest_are_answered_first_and_equals_together():
    sure = [(0.9, True), (0.9, False), (0.5, True), (0.1, False)]
    points = curve(Tried(told(passed=passed, confidence=confidence)) for confidence, passed in sure)
    assert points == [(0.5, 0.5), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]
    assert coverage(points, 0.4) == 0.75 and coverage(points, 0.1) == 0
    assert drawn(points).startswith("<svg") and "polyline" in drawn(points)


def test_a_limit_takes_cases_from_all_over(tmp_path: Path):
    file = tmp_path / "cases.jsonl"
    line = {"agent": "quality", "intent": "look", "expect": [{"status": "done"}]}
    file.write_text("\n".join(json.dumps({**line, "id": str(n)}) for n in range(9)))
    assert [c.id for c in chosen([file], None, 3)] == ["0", "3", "6"]
    assert chosen([file], "storage", 3) == []
    assert len(chosen([], None, None)) > 100


def test_one_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, kept, risk = tmp_path / "cases.jsonl", tmp_path / "all.json", tmp_path / "risk.svg"
    file.write_text(case().model_dump_json(exclude_unset=True))
    accuracy.main([str(file), "--models", "scripted,rules", "--json", str(kept), "--risk", str(risk)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["scripted", "rules", "scripted: transformation"]
    assert lines[4] == "with 5% wrong at most, scripted can answer 100.0% of the cases"
    assert json.loads(lines[-1])["single"] == 1.0 and json.loads(lines[-1])["multi"] is None
    assert json.loads(kept.read_text())["rules"]["cases"][0]["told"]["id"] == "a" and risk.exists()


def test_an_unknown_planner_is_told(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        accuracy.main(["--models", "magic"])
    assert "not magic; any other is a --model" in capsys.readouterr().err
