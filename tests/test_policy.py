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


def test_an_alert_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    written(tmp_path, "- {on: quality-fail, do: alert}")
    heard: list[Event | str] = []
    with opened(tmp_path) as lab:
        lab.run("check", on_event=heard.append)
        assert any(str(told).startswith("alert: quality-fail: staging.items") for told in heard)
        lab.run("check")
        assert "quality-fail: staging.items" in caplog.text
