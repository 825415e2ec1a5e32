"""Commit and undo: one run wins, a run commits once, and every way back is the way that was come."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentlab.catalog import Catalog, Run
from agentlab.errors import Conflict, LabError
from agentlab.events import Event

ORDERS = "staging.orders"


@pytest.fixture
def lab(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "lab")


def write(lab: Catalog, run: str, *names: str, rows: int = 1) -> list[Event]:
    """One run that writes a version of each table and says so."""
    draft = lab.draft(run)
    for name in names:
        draft.put("table", name, {"rows": rows})
        draft.emit(Event(type="transformed", subject=name))
    return draft.commit()


def rows(lab: Catalog, name: str) -> int:
    return int(lab.get("table", name).doc["rows"])


def process(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    told = [p.communicate(timeout=60)[0].strip() for p in processes]
    assert [p.returncode for p in processes] == [0] * len(processes)
    return told


# Compare and set


def test_of_two_runs_on_one_table_one_wins_and_the_other_writes_nothing(lab: Catalog) -> None:
    write(lab, "r0", ORDERS)
    first, second = lab.draft("r1"), lab.draft("r2")
    for draft in (first, second):
        draft.put("table", ORDERS, {"rows": 2})
        draft.put("table", f"of_{draft.run}", {"rows": 2})
        draft.emit(Event(type="transformed", subject=ORDERS))
    second.commit()
    with pytest.raises(Conflict, match=r"table staging.orders has changed .* \(version 1 -> version 2, by run r2\)"):
        first.commit()
    assert [e.name for e in lab.entries("table")] == ["of_r2", ORDERS]
    assert [e.run for e in lab.history("table", ORDERS)] == ["r0", "r2"]
    assert [e.run for e in lab.events()] == ["r0", "r2"]
    assert not lab.committed("r1")


def test_two_runs_on_different_tables_both_win(lab: Catalog) -> None:
    first, second = lab.draft("r1"), lab.draft("r2")
    first.put("table", "a", {"rows": 1})
    second.put("table", "b", {"rows": 1})
    second.commit()
    first.commit()
    assert [e.name for e in lab.entries("table")] == ["a", "b"]


def test_two_runs_that_make_the_same_table_conflict(lab: Catalog) -> None:
    first, second = lab.draft("r1"), lab.draft("r2")
    first.put("table", ORDERS, {"rows": 1})
    second.put("table", ORDERS, {"rows": 2})
    first.commit()
    with pytest.raises(Conflict, match="none -> version 1, by run r1"):
        second.commit()


def test_removing_what_another_run_has_changed_is_a_conflict(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    draft = lab.draft("r2")
    draft.remove("table", ORDERS)
    write(lab, "r3", ORDERS)
    with pytest.raises(Conflict):
        draft.commit()
    assert lab.get("table", ORDERS).n == 2


def test_a_version_number_is_never_given_twice_even_when_its_run_was_undone(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    early = lab.draft("r2")
    early.put("table", "customers", {"rows": 2})
    early.put("table", ORDERS, {"rows": 2})
    write(lab, "r3", ORDERS)
    lab.undo("r3")
    with pytest.raises(Conflict, match=r"version 2 of table staging.orders has been taken since run r2 began"):
        early.commit()
    assert lab.history("table", "customers") == []
    again = lab.draft("r4")
    assert again.put("table", ORDERS, {"rows": 4}) == 3
    again.commit()
    assert [e.n for e in lab.history("table", ORDERS)] == [1, 2, 3]


# A run commits once


def test_committing_twice_is_committing_once(lab: Catalog) -> None:
    draft = lab.draft("r1")
    draft.put("table", ORDERS, {"rows": 1})
    draft.emit(Event(type="data-ready", subject=ORDERS, body={"rows": 1}))
    draft.emit(Event(type="transformed", subject=ORDERS))
    told = draft.commit()
    assert [(e.id, e.seq) for e in told] == [("r1/1", 1), ("r1/2", 2)]
    assert draft.commit() == told
    assert write(lab, "r1", ORDERS, rows=99) == told
    assert rows(lab, ORDERS) == 1
    assert lab.events() == told
    assert lab.committed("r1")


def test_a_committed_draft_takes_nothing_more(lab: Catalog) -> None:
    draft = lab.draft("r1")
    draft.commit()
    for effect in (
        lambda: draft.put("table", ORDERS, {"rows": 1}),
        lambda: draft.emit(Event(type="transformed", subject=ORDERS)),
    ):
        with pytest.raises(LabError, match="a run commits once"):
            effect()


SAME_RUN = """
import sys
from pathlib import Path
from agentlab.catalog import Catalog
from agentlab.events import Event
draft = Catalog(Path(sys.argv[1])).draft("r1")
draft.put("table", "orders", {"by": sys.argv[2]})
draft.emit(Event(type="transformed", subject="orders", body={"by": sys.argv[2]}))
print(draft.commit()[0].model_dump_json())
"""


def test_two_processes_that_do_the_same_run_do_it_once(lab: Catalog) -> None:
    told = finish(*(process(SAME_RUN, str(lab.root), by) for by in ("a", "b")))
    assert told[0] == told[1]
    assert [e.n for e in lab.history("table", "orders")] == [1]
    assert len(lab.events()) == 1


# Undo


def test_undo_restores_everything_that_a_run_wrote_at_once(lab: Catalog) -> None:
    write(lab, "r1", ORDERS, "old")
    lab.save_run(Run(id="r2", intent="clean up", status="done"))
    draft = lab.draft("r2")
    draft.put("table", ORDERS, {"rows": 2})
    draft.put("schedule", "nightly", {"cron": "0 2 * * *"})
    draft.put("layout", "by_day", {"columns": ["day"]})
    draft.remove("table", "old")
    draft.commit()
    assert lab.undo("r2") == [
        "layout by_day: version 1 -> removed",
        "schedule nightly: version 1 -> removed",
        "table old: removed -> version 1",
        "table staging.orders: version 2 -> 1",
    ]
    assert [(e.name, e.n, e.run) for e in lab.entries("table")] == [("old", 1, "r1"), (ORDERS, 1, "r1")]
    assert lab.entries("schedule") == lab.entries("layout") == []
    assert lab.run("r2").status == "undone"


def test_undo_tells_of_itself(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    lab.undo("r1")
    [event] = lab.events(type="undone")
    assert (event.id, event.run, event.subject) == ("r1/undone", "r1", ORDERS)
    assert event.body == {"entries": [{"kind": "table", "name": ORDERS, "from": 1, "to": None}]}


def test_undo_of_an_older_run_names_the_later_ones_in_the_order_to_undo_them(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    write(lab, "r2", ORDERS, "daily")
    write(lab, "elsewhere", "customers")
    write(lab, "r3", "daily", "weekly")
    write(lab, "r4", "weekly")
    with pytest.raises(Conflict, match=r"can't undo run r1: .*; undo first r4, then r3, then r2$"):
        lab.undo("r1")
    assert lab.get("table", ORDERS).n == 2
    for run in ("r4", "r3", "r2", "r1"):
        lab.undo(run)
    assert [e.name for e in lab.entries("table")] == ["customers"]


def test_undo_waits_for_later_runs_even_if_the_head_looks_the_same(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    for run in ("r2", "r4"):
        draft = lab.draft(run)
        draft.remove("table", ORDERS)
        draft.commit()
        write(lab, run.replace("r", "w"), ORDERS)
    gone = lab.draft("r5")
    gone.remove("table", ORDERS)
    gone.commit()
    with pytest.raises(Conflict, match=r"undo first r5, then w4, then r4, then w2$"):
        lab.undo("r2")


def test_nothing_is_undone_twice_and_nothing_from_nothing(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    lab.undo("r1")
    with pytest.raises(LabError, match="r1 is undone already"):
        lab.undo("r1")
    with pytest.raises(LabError, match="nothing to undo: run r9 changed nothing"):
        lab.undo("r9")
    lab.emit(Event(type="error", subject=ORDERS, run="r2"))
    passing = lab.draft("r2")
    passing.put("table", "scratch", {"rows": 1})
    passing.remove("table", "scratch")
    passing.commit()
    with pytest.raises(LabError, match="nothing to undo"):
        lab.undo("r2")
    assert len(lab.events(type="undone")) == 1


def test_a_draft_built_on_what_was_undone_meanwhile_is_refused(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    write(lab, "r2", ORDERS)
    draft = lab.draft("r3")
    draft.put("table", ORDERS, {"rows": 3})
    lab.undo("r2")
    with pytest.raises(Conflict, match="version 2 -> version 1"):
        draft.commit()


# Kills and other processes

KILLED = """
import os, signal, sys
from pathlib import Path
from agentlab.catalog import Catalog
from agentlab.events import Event

def die(statement=""):
    if statement in ("", "COMMIT"):
        os.kill(os.getpid(), signal.SIGKILL)

catalog = Catalog(Path(sys.argv[1]))
draft = catalog.draft("r2")
draft.fresh("staging.orders").write_text("written")
draft.put("table", "staging.orders", {"rows": 2})
draft.emit(Event(type="transformed", subject="staging.orders"))
if sys.argv[2] == "before":
    die()
catalog.database.connection().set_trace_callback(die)
draft.commit()
"""


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_kill_between_the_file_and_the_commit_leaves_no_visible_change(lab: Catalog, when: str) -> None:
    write(lab, "r1", ORDERS, rows=1)
    killed = process(KILLED, str(lab.root), when)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    leftover = lab.root / "tables" / ORDERS / "v2-r2"
    assert leftover.read_text() == "written"
    assert (rows(lab, ORDERS), lab.last("table", ORDERS), len(lab.events())) == (1, 1, 1)
    again = lab.draft("r2")
    assert again.fresh(ORDERS) == leftover
    assert not leftover.exists()
    again.put("table", ORDERS, {"rows": 2})
    again.commit()
    assert rows(lab, ORDERS) == 2


COUNTING = """
import sys
from pathlib import Path
from agentlab.catalog import Catalog
from agentlab.errors import Conflict
from agentlab.events import Event
catalog, who = Catalog(Path(sys.argv[1])), sys.argv[2]
for turn in range(10):
    for attempt in range(1000):
        draft = catalog.draft(f"{who}-{turn}-{attempt}")
        found = draft.find("table", "counter")
        draft.put("table", "counter", {"count": found.doc["count"] + 1 if found else 1})
        draft.emit(Event(type="transformed", subject="counter"))
        try:
            draft.commit()
            break
        except Conflict:
            pass
"""


def test_processes_that_make_one_lab_and_count_in_one_table_lose_no_count(tmp_path: Path) -> None:
    root = tmp_path / "made-by-all-at-once"
    finish(*(process(COUNTING, str(root), who) for who in "abcd"))
    lab = Catalog(root)
    assert lab.get("table", "counter").doc == {"count": 40}
    assert [e.doc["count"] for e in lab.history("table", "counter")] == list(range(1, 41))
    assert [e.seq for e in lab.events()] == list(range(1, 41))


def test_what_an_undone_run_caused_cannot_commit_any_more(lab: Catalog) -> None:
    write(lab, "r1", "a")
    late = lab.draft("r1-r2-r1")
    late.put("table", "b", {"rows": 1})
    other = lab.draft("r10")
    other.put("table", "c", {"rows": 1})
    lab.undo("r1")
    with pytest.raises(Conflict, match="run r1, which caused run r1-r2-r1, has been undone; nothing was written"):
        late.commit()
    other.commit()
    assert [entry.name for entry in lab.entries("table")] == ["c"]
