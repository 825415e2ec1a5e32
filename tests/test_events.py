"""The event log: in order, once each, and never one without what it tells of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from agentlab.catalog import Catalog
from agentlab.errors import LabError
from agentlab.events import Event, by_id


@pytest.fixture
def lab(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path)


def test_an_event_is_of_a_known_type_and_does_not_change() -> None:
    event = Event(type="data-ready", subject="staging.orders")
    with pytest.raises(ValidationError):
        event.subject = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Event(type="party", subject="staging.orders")  # type: ignore[arg-type]


def test_a_committed_event_gets_its_place_its_id_and_its_time(lab: Catalog) -> None:
    draft = lab.draft("r1")
    draft.emit(Event(type="data-ready", subject="orders", body={"rows": 3, "score": float("nan")}))
    assert lab.events() == []
    [event] = draft.commit()
    assert (event.seq, event.id, event.run) == (1, "r1/1", "r1")
    assert event.body == {"rows": 3, "score": None}
    assert event.at.endswith("+00:00")
    assert lab.events() == [event]


def test_events_are_read_after_a_place_by_run_and_by_type(lab: Catalog) -> None:
    for run in ("r1", "r2"):
        draft = lab.draft(run)
        draft.emit(Event(type="data-ready", subject=run))
        draft.emit(Event(type="published", subject=run))
        draft.commit()
    assert [e.id for e in lab.events()] == ["r1/1", "r1/2", "r2/1", "r2/2"]
    assert [e.id for e in lab.events(after=2)] == ["r2/1", "r2/2"]
    assert [e.id for e in lab.events(run="r1")] == ["r1/1", "r1/2"]
    assert [e.id for e in lab.events(after=1, type="published")] == ["r1/2", "r2/2"]


def test_an_event_outside_a_commit_is_written_once_however_often_it_is_told(lab: Catalog) -> None:
    failure = Event(type="error", subject="orders", run="r1", body={"message": "no such file"})
    told = lab.emit(failure)
    assert told.id == "r1/error/orders"
    assert lab.emit(failure.model_copy(update={"body": {"message": "again"}})) == told
    own = lab.emit(Event(type="slow-query", subject="top", id="monitor/7"))
    assert lab.events() == [told, own]


def test_an_event_that_nobody_could_recognise_again_is_refused(lab: Catalog) -> None:
    with pytest.raises(LabError, match="error of 'orders' has no run; give it an id"):
        lab.emit(Event(type="error", subject="orders"))
    with pytest.raises(LabError, match="no event 'r1/1'"):
        by_id(lab.database.connection(), "r1/1")


def test_events_told_outside_a_commit_do_not_count_as_the_commits_own(lab: Catalog) -> None:
    lab.emit(Event(type="review-asked", subject="orders", run="r1"))
    draft = lab.draft("r1")
    draft.emit(Event(type="transformed", subject="orders"))
    told = draft.commit()
    assert [e.type for e in told] == ["transformed"]
    assert draft.commit() == told


WRITER = """
import sys
from pathlib import Path
from agentlab.catalog import Catalog
from agentlab.events import Event
catalog = Catalog(Path(sys.argv[1]))
for k in range(50):
    catalog.emit(Event(type="data-ready", subject="orders", id=f"{sys.argv[2]}-{k}"))
"""


def test_a_reader_that_goes_by_seq_misses_nothing_while_others_write(lab: Catalog) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(lab.root), who]) for who in "abc"]
    seen: list[Event] = []
    while any(w.poll() is None for w in writers) or lab.events(after=seen[-1].seq if seen else 0):
        seen += lab.events(after=seen[-1].seq if seen else 0)
    assert [w.returncode for w in writers] == [0, 0, 0]
    assert seen == lab.events()
    assert len({e.id for e in seen}) == 150
