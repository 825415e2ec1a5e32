"""Hugging Face data sets: from the notebook, a folder or files; a split is a resource, and no code of theirs runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agentlab.errors import LabError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult

hub = pytest.importorskip("datasets", reason="needs datasets: pip install 'agentlab[datasets]'")

TYPES = {"id": "int", "text": "text", "tags": "json", "at": "timestamp", "label": "int"}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    hub.disable_progress_bars()
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        yield lab


def reviews(*ids: int) -> Any:
    """Reviews, the latest in the middle."""
    days = {1: 2, 2: 3, 3: 1}
    rows: dict[str, list[Any]] = {
        **{"id": [*ids], "text": [f"review {n}" for n in ids], "tags": [["x"] if n == 1 else None for n in ids]},
        **{"at": [datetime(2024, 1, days[n]) for n in ids], "label": [n % 2 for n in ids]},
    }
    features = hub.Features(
        **{"id": hub.Value("int32"), "text": hub.Value("string"), "tags": hub.List(hub.Value("string"))},
        **{"at": hub.Value("timestamp[s]"), "label": hub.ClassLabel(names=["bad", "good"])},
    )
    return hub.Dataset.from_dict(rows, features=features)


def pull(lab: Lab, resource: str, **asked: Any) -> RunResult:
    given = {"source": "reviews", "resource": resource, "into": "staging.reviews", **asked}
    return lab.run(Plan.from_calls([{"name": "pull", "arguments": given}]), approve=True)


def ids(lab: Lab, resource: str, **asked: Any) -> list[int]:
    result = pull(lab, resource, **asked)
    assert result.status == "done", result.message
    found: list[int] = lab.table("staging.reviews")["id"].tolist()
    return found


def test_one_from_the_notebook(lab: Lab):
    before = reviews(1, 2, 3).filter(lambda row: row["id"] != 3)
    registered = lab.add_source("reviews", kind="dataset", dataset=before)
    assert lab.sources() == {"reviews": ["reviews"]}
    assert ids(lab, "reviews") == [1, 2], "rows that were filtered out stay out"
    assert lab.tables()["staging.reviews"].schema_ == TYPES
    assert lab.table("staging.reviews")["tags"].tolist()[0] == '["x"]'
    lab.add_source("reviews", kind="dataset", dataset=reviews(3))
    assert ids(lab, "reviews") == [3]
    for run in [run.id for run in lab.history() if run.id != registered.run]:
        lab.undo(run)
    assert ids(lab, "reviews") == [1, 2], "the older one is still there"


def test_splits_of_a_folder(lab: Lab):
    splits = hub.DatasetDict({"train": reviews(1, 2, 3), "test": reviews(3)})
    splits.save_to_disk(str(lab.root / "data"))
    reviews(2).save_to_disk(str(lab.root / "one"))
    lab.add_source("reviews", kind="dataset", path="data")
    assert lab.sources() == {"reviews": ["train", "test"]}
    assert ids(lab, "test") == [3]
    assert ids(lab, "train", order="newest") == [2, 1, 3]
    assert ids(lab, "train", order="newest", limit=1) == [2]
    assert ids(lab, "train", since="2024-01-02", until="2024-01-02") == [1]
    assert ids(lab, "train", where="label = 1 and text like '%3'") == [3]
    assert ids(lab, "train", limit=2) == [1, 2]
    lab.add_source("reviews", kind="dataset", path=str(lab.root / "one"))
    assert lab.sources() == {"reviews": ["train"]}
    assert not list((lab.root / "tmp").glob("datasets-*"))


def test_files_and_what_is_said_of_them(lab: Lab):
    (lab.root / "a.csv").write_text("id,text\n1,x\n")
    (lab.root / "b.csv").write_text("id,text\n2,y\n")
    lab.add_source("reviews", kind="dataset", path="csv", data_files=["a.csv", "b.csv"])
    assert ids(lab, "train") == [1, 2]
    described = lab.run(Plan.from_calls([{"name": "describe_source", "arguments": {"source": "reviews"}}]))
    assert "train: pages: whole; id int, text text" in described.message
    assert pull(lab, "train", order="newest").status == "clarify", "it has no times"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dataset": [1, 2]}, "not a list"),
        ({"path": "nobody/nothing"}, "the data set 'nobody/nothing' can't be loaded"),
        ({"path": "csv"}, "needs data_files"),
        ({"path": "csv", "data_files": ["../x.csv"]}, "leads out of the lab"),
        ({"path": "csv", "data_files": ["no.csv"]}, "can't be loaded"),
        ({"path": "one", "resources": {"dev": {}}}, "no split 'dev'; it has train"),
        ({"path": "one", "resources": {"train": {"time_column": "text"}}}, "'text' is no column of times"),
        ({"path": "one", "trust_remote_code": True}, "trust_remote_code"),
        ({}, "needs a path"),
    ],
)
def test_what_is_no_data_set(lab: Lab, settings: dict[str, Any], told: str):
    reviews(2).save_to_disk(str(lab.root / "one"))
    with pytest.raises(LabError, match=told):
        lab.add_source("reviews", kind="dataset", **settings)


def test_a_folder_that_has_changed_is_said_to_have(lab: Lab):
    reviews(2).save_to_disk(str(lab.root / "one"))
    lab.add_source("reviews", kind="dataset", path="one")
    reviews(2).rename_column("text", "words").save_to_disk(str(lab.root / "two"))
    (lab.root / "one").rename(lab.root / "old")
    (lab.root / "two").rename(lab.root / "one")
    result = pull(lab, "train")
    assert (result.status, "register the source again" in result.message) == ("failed", True)
