"""The policy is data: read with lines for its faults, and carried out in rounds that end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab import policy
from agentlab.errors import LabError
from agentlab.events import Event
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.workload import QueryDoc

CHECK = {"check": [{"name": "analyze", "arguments": {"table": "staging.items"}}]}

#: One value that isn't a number, one impossible one, and space to trim.
DIRTY = pd.DataFrame(
    {"id": range(60), "qty": [*map(str, range(1, 59)), "n/a", "-4"], "city": [" Rome", "Oslo"] * 30},
)


def opened(path: Path, **options: Any) -> Lab:
    lab = Lab(path, Scripted(CHECK), **options)
    lab.load(DIRTY, "items")
    return lab


def written(path: Path, text: str) -> Path:
    file = path / "policy.yaml"
    file.write_text(text)
    return file


def test_the_default_mends_and_tunes():
    rules = policy.load().rules
    assert [(rule.on, rule.do, rule.most) for rule in rules][:2] == [
        ("quality-fail", "fix", 2),
        ("slow-query", "tune", 1),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "- on: quality-fail\n  do: fix\n- on: quality-fial\n  do: fix",
            "policy.yaml:3: on: no event 'quality-fial'; did you",
        ),
        ("- on: quality-fail\n  do: mend", "policy.yaml:2: do: no reaction 'mend'"),
        ("- on: slow-query\n  do: fix", "policy.yaml:1: fix is no reaction to slow-query; there are: "),
        (
            "- on: quality-fail\n  do: fix\n  when: scor < 1",
            "policy.yaml:1: when: no column 'scor'; did you mean 'score'",
        ),
        ("- on: quality-fail\n  do: fix\n  most: 0", "policy.yaml:3: most: "),
        ("- on: quality-fail\n  do: fix\n  often: 2", "policy.yaml:3: often: Extra inputs"),
        ("- on: [\n", "policy.yaml:2: "),
        ("- &a {on: error, do: alert}\n- *a", "policy.yaml: write things out"),
        ("on: error", "policy.yaml:1: Input should be a valid list"),
    ],
)
def test_faults_are_told_with_their_line(tmp_path: Path, text: str, fault: str):
    with pytest.raises(LabError) as told:
        policy.load(written(tmp_path, text))
    assert fault in str(told.value)


def test_every_fault_of_a_file_is_told(tmp_path: Path):
    with pytest.raises(LabError) as told:
        policy.load(written(tmp_path, "- on: a\n  do: fix\n- on: error\n  do: b\n"))
    assert [line.split("policy.yaml:")[1][0] for line in str(told.value).splitlines()] == ["1", "4"]


def test_a_labs_own_policy_replaces_the_default(tmp_path: Path):
    written(tmp_path, "- {on: error, do: alert}")
    assert [rule.do for rule in policy.of_lab(tmp_path).rules] == ["alert"]


def test_safe_fixes_run_at_once_the_others_wait(tmp_path: Path):
    with opened(tmp_path) as lab:
        result = lab.run("check")
        safe, held = f"{result.run}-r1", f"{result.run}-r2"
        assert [(run.id, run.status, run.parent) for run in reversed(lab.history(2))] == [
            (safe, "done", result.run),
            (held, "approval", result.run),
        ]
        assert lab.table("staging.items")["city"].tolist() == ["Rome", "Oslo"] * 30
        # The cast would have wiped the value that is to be set aside, so it waits, too.
        assert "n/a" in lab.table("staging.items")["qty"].tolist()
        done = lab.approve(held)
        assert [event.type for event in done.events if event.run == held][-1] == "quality-pass"
        assert lab.table("quarantine.items")["qty"].tolist() == ["n/a", "-4"]
        assert len(lab.table("staging.items")) == 58
        assert lab.tables()["staging.items"].schema_["qty"] == "int"


def test_with_a_yes_beforehand_all_is_mended_at_once(tmp_path: Path):
    with opened(tmp_path, approve=True) as lab:
        result = lab.run("check")
        assert [event.type for event in result.events if event.type.startswith("quality")] == [
            "quality-fail",
            "quality-pass",
        ]


def test_rounds_end(tmp_path: Path):
    """A repeated id with differing rows can't be mended, so mending the rest never makes the table pass."""
    frame = pd.DataFrame({"id": [*range(59), 58], "item_id": [*range(59), 58], "qty": [*range(1, 60), -1]})
    with Lab(tmp_path, Scripted(CHECK), approve=True) as lab:
        lab.load(frame, "items")
        result = lab.run("check")
        assert result.status == "done"
        assert len(lab.history()) <= 4
        assert not [event for event in result.events if event.type == "error"]


def test_a_condition_decides(tmp_path: Path):
    written(tmp_path, "- {on: quality-fail, do: fix, when: score < 0.1}")
    with opened(tmp_path) as lab:
        lab.run("check")
        assert len(lab.history()) == 2


def test_ask_holds_everything(tmp_path: Path):
    written(tmp_path, "- {on: quality-fail, do: ask}")
    with opened(tmp_path) as lab:
        result = lab.run("check")
        (run, *_) = lab.history(1)
        assert (run.id, run.status) == (f"{result.run}-r1", "approval")
        assert " Rome" in lab.table("staging.items")["city"].tolist()


def slowed(lab: Lab) -> None:
    """A saved query whose log says that it has become nine times slower."""
    lab.load(DIRTY, "items")
    doc = QueryDoc(name="by_city", sql="select city, count(*) as n from staging.items group by city")
    for ms in (1.0,) * 5 + (9.0,) * 5:
        doc = doc.logged(ms, 2, "")
    draft = lab.catalog.draft("logged")
    draft.put("query", doc.name, doc)
    draft.commit()


def recommends(**arguments: Any) -> list[dict[str, Any]]:
    diagnose = {"name": "diagnose", "arguments": {"query": "by_city"}}
    return [diagnose, {"name": "recommend", "arguments": arguments}]


@pytest.mark.parametrize("arguments", [{"query": "by_city"}, {"table": "staging.items"}, {}])
def test_what_a_run_has_tuned_itself_is_not_tuned_again(tmp_path: Path, arguments: dict[str, Any]):
    written(tmp_path, "- {on: slow-query, do: tune}\n- {on: slow-query, do: alert}")
    heard: list[Event | str] = []
    with Lab(tmp_path, Scripted({"fix it": recommends(**arguments, apply=True)}), on_event=heard.append) as lab:
        slowed(lab)
        result = lab.run("fix it")
        assert [event.type for event in result.events].count("slow-query") == 1
        assert lab.history(1)[0].id == result.run
        assert any(str(told).startswith("alert: slow-query") for told in heard)


def test_what_a_run_has_only_looked_at_is_tuned(tmp_path: Path):
    with Lab(tmp_path, Scripted({"look": recommends(query="by_city")})) as lab:
        slowed(lab)
        result = lab.run("look")
        assert (lab.history(1)[0].id, lab.history(1)[0].parent) == (f"{result.run}-r1", result.run)


@pytest.mark.parametrize(
    ("calls", "told", "itself"),
    [
        ([("order_by", {"table": "staging.items", "columns": ["city"]})], ("tuned", "by_city"), True),
        ([("order_by", {"table": "staging.items", "columns": ["city"]})], ("tuned", "other"), False),
        ([("order_by", {"table": "staging.items", "columns": ["city"]})], None, False),
        ([("recommend", {"query": "other", "apply": True})], None, False),
        ([("recommend", {"table": "staging.other", "apply": True})], None, False),
        ([("recommend", {"query": "by_city", "apply": True})], None, True),
    ],
)
def test_which_tuning_counts_as_a_runs_own(calls: list[Any], told: tuple[Any, str] | None, itself: bool):
    slow = Event(type="slow-query", subject="by_city", body={"tables": ["staging.items"]})
    plan = Plan.from_calls([{"name": name, "arguments": arguments} for name, arguments in calls])
    events = [slow, *([Event(type=told[0], subject=told[1])] if told else [])]
    assert policy.tuned_by_itself(slow, plan, events) is itself


def test_an_alert_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    written(tmp_path, "- {on: quality-fail, do: alert}")
    heard: list[Event | str] = []
    with opened(tmp_path) as lab:
        lab.run("check", on_event=heard.append)
        assert any(str(told).startswith("alert: quality-fail: staging.items") for told in heard)
        lab.run("check")
        assert "quality-fail: staging.items" in caplog.text
