"""A request is proved in a real lab: what its plan promises holds, or the plan is told."""

from pathlib import Path

import pyarrow as pa
import pytest

from agentlab.acting import perform
from agentlab.actions import Filter
from agentlab.evaluation.state import prepared
from agentlab.linking import Index
from finetune import promises, proving
from finetune.dataset import plan_of
from finetune.peopling import peopled
from finetune.promises import cells
from finetune.proving import Proof, ended, proved, sampled, summary
from finetune.written import Request, load

LAB = """== harbour
table staging.berths: berth_no int; ship text [Ada, Bo]; dues float; left_on date
table ships: ship text [Ada, Bo]; flag text
source pilots: jobs

"""
SOUND = """- keep the {staging.berths|berths} of {Ada}
  filter(table="staging.berths", where="ship = 'Ada'")
- newest {20} {jobs} from {pilots}, where {fee} is over {7}
  pull(source="pilots", resource="jobs", limit=20, order="newest", where="fee > 7")
- make it nicer
  clarify(about="how")
"""


def _written(folder: Path, requests: str) -> list[Request]:
    path = folder / "ivy.txt"
    path.write_text(LAB + requests, encoding="utf-8")
    return load(path)


def test_sound_requests_are_proved(tmp_path: Path) -> None:
    proofs = list(proved(_written(tmp_path, SOUND)))
    assert [(proof.id, proof.status, proof.why) for proof in proofs] == [
        ("ivy:6", "proved", ""),
        ("ivy:8", "proved", ""),
        ("ivy:10", "proved", ""),
    ]
    assert [proof.looked for proof in proofs] == [("filter",), ("pull",), ()]
    assert summary(proofs, 2.0)["requests_a_second"] == 1.5


def test_a_plan_that_does_not_fit_is_not_tried(tmp_path: Path) -> None:
    (proof,) = proved(_written(tmp_path, '- fewer\n  drop_columns(table="ships", columns=["mast"])\n'))
    assert proof.status == "untried"
    assert "no column 'mast'" in proof.why


def test_a_lab_that_cannot_be_made_leaves_its_requests_untried(tmp_path: Path) -> None:
    path = tmp_path / "ivy.txt"
    path.write_text("== odd\ntable t: x int\nschedule a refresh, b refresh\n- why?\n" + '  clarify(about="how")\n')
    (proof,) = proved(load(path))
    assert (proof.status, proof.why.partition(":")[0]) == ("untried", "its lab can't be made")


def test_an_action_that_does_something_else_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if filter kept the rows that it should drop."""

    def wrong(action: object, workspace: object) -> object:
        if isinstance(action, Filter):
            action = action.model_copy(update={"where": f"NOT ({action.where})"})
        return perform(action, workspace)  # type: ignore[arg-type]

    monkeypatch.setattr(proving, "perform", wrong)
    first, *_ = proved(_written(tmp_path, SOUND))
    assert first.status == "failed"
    assert "not as many as WHERE finds" in first.why


def test_a_plan_whose_form_means_something_else_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the model's form had lost the condition for another."""
    other = [{"name": "filter", "arguments": {"table": "staging.berths", "where": "ship = 'Bo'"}}]
    monkeypatch.setattr(proving, "_back", lambda *_: other)
    first, *_ = proved(_written(tmp_path, SOUND))
    assert (first.status, first.trip) == ("failed", "other end")
    assert "round trip: staging.berths has other rows" in first.why


def test_rows_are_the_same_every_time_and_hold_what_is_asked_for(tmp_path: Path) -> None:
    requests = _written(tmp_path, SOUND)
    state = peopled(requests[0].lab, requests)
    assert state == peopled(requests[0].lab, requests)
    with prepared(state, tmp_path / "lab") as lab:
        berths = lab.table("staging.berths")
        assert len(berths) == 30
        assert berths.duplicated().any()
        assert {"Ada", "Bo"} <= set(berths["ship"])
        assert berths["dues"].isna().any()
        assert {"Ada", "Bo"} & set(lab.table("ships")["ship"])


def test_nothing_is_left_of_what_was_tried(tmp_path: Path) -> None:
    requests = _written(tmp_path, SOUND)
    with prepared(peopled(requests[0].lab, requests), tmp_path / "lab") as lab:
        before = {name: doc.path for name, doc in lab.tables().items()}
        end = ended(lab, plan_of(requests[0]))
        assert set(end.tables) == {"staging.berths"}
        assert {name: doc.path for name, doc in lab.tables().items()} == before
        assert Index(lab.view()) is not None


def test_cells_compare_what_they_mean() -> None:
    assert cells(pa.table({"x": [1, None]})) == cells(pa.table({"x": [1.0, float("nan")]}))
    assert cells(pa.table({"x": ["1"]})) == cells(pa.table({"x": [1]}))


def test_whole_labs_are_sampled(tmp_path: Path) -> None:
    requests = _written(tmp_path, SOUND)
    assert sampled(requests, 2, 1) == requests[:2]


def test_every_transformation_has_a_promise() -> None:
    from agentlab.actions import ACTIONS

    lacking = {name for name, cls in ACTIONS.items() if cls.agent == "transformation" and cls not in promises.PROMISES}
    assert lacking == set()
    assert Proof("a:1", "proved").why == ""
