"""The catalog: what runs write, what others see of it, and the way back, with real files and real processes."""

from __future__ import annotations

import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentlab import database
from agentlab.catalog import FORMAT, Catalog, Run, TableDoc, check_name
from agentlab.errors import Conflict, LabError, PlanError
from agentlab.events import Event

ORDERS = "staging.orders"


@pytest.fixture
def lab(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "lab")


def orders(rows: int, path: str = "tables/staging.orders/v1-r1") -> TableDoc:
    return TableDoc(path=path, schema_={"order_id": "int", "amount": "float"}, rows=rows)


def write(lab: Catalog, run: str, *names: str, rows: int = 1) -> list[Event]:
    """One run that writes a version of each table and says so."""
    draft = lab.draft(run)
    for name in names:
        draft.put("table", name, orders(rows))
        draft.emit(Event(type="transformed", subject=name))
    return draft.commit()


# A draft, and what others see of it


def test_a_draft_sees_its_own_effects_and_nobody_else_does_until_it_commits(lab: Catalog) -> None:
    draft = lab.draft("r1")
    assert draft.put("table", ORDERS, orders(3)) == 1
    assert draft.table(ORDERS).rows == 3
    assert draft.schemas() == {ORDERS: {"order_id": "int", "amount": "float"}}
    assert (lab.find("table", ORDERS), lab.entries("table"), lab.schemas()) == (None, [], {})
    draft.commit()
    assert lab.table(ORDERS) == orders(3)
    assert lab.schemas() == {ORDERS: {"order_id": "int", "amount": "float"}}
    assert lab.get("table", ORDERS).run == "r1"


def test_a_name_that_sql_cannot_tell_from_another_is_refused(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    draft = lab.draft("r2")
    with pytest.raises(PlanError, match=r"there is a table 'staging\.orders' already; names that differ only by case"):
        draft.put("table", "staging.Orders", orders(1))
    draft.remove("table", ORDERS)
    assert draft.put("table", "staging.Orders", orders(1)) == 1, "the other one is gone"


def test_a_place_where_no_lab_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, told in (
        ("file", "file is a file, a lab is a folder"),
        ("file/lab", "can't be made"),
        ("n" * 300, "long"),
    ):
        with pytest.raises(LabError, match=told):
            Catalog(tmp_path / place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir(mode=0o500)
    with pytest.raises(LabError, match="can't be written to"):
        Catalog(tmp_path / "lab")


def test_a_draft_that_is_dropped_leaves_nothing(lab: Catalog) -> None:
    lab.draft("r1").put("table", ORDERS, orders(3))
    assert lab.history("table", ORDERS) == []
    assert not lab.committed("r1")


def test_a_plan_that_writes_a_table_twice_keeps_both_versions_and_shows_the_last(lab: Catalog) -> None:
    draft = lab.draft("r1")
    assert [draft.put("table", ORDERS, orders(rows)) for rows in (5, 4)] == [1, 2]
    draft.commit()
    assert [TableDoc.model_validate(e.doc).rows for e in lab.history("table", ORDERS)] == [5, 4]
    assert lab.get("table", ORDERS).n == 2
    assert lab.version("table", ORDERS, 1).doc["rows"] == 5
    assert lab.undo("r1") == ["table staging.orders: version 2 -> removed"]


def test_a_draft_reads_everything_as_it_was_when_it_began(lab: Catalog) -> None:
    write(lab, "r1", ORDERS, "customers", rows=1)
    draft = lab.draft("r2")
    write(lab, "r3", ORDERS, "products", rows=2)
    assert draft.table(ORDERS).rows == 1
    assert [(e.name, e.n) for e in draft.entries("table")] == [("customers", 1), (ORDERS, 1)]
    assert draft.find("table", "products") is None


def test_removing_hides_an_entry_and_its_versions_stay(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    draft = lab.draft("r2")
    draft.remove("table", ORDERS)
    assert draft.find("table", ORDERS) is None
    assert draft.entries("table") == []
    draft.commit()
    assert lab.find("table", ORDERS) is None
    assert [e.n for e in lab.history("table", ORDERS)] == [1]
    assert lab.draft("r3").put("table", ORDERS, orders(9)) == 2


def test_what_a_draft_has_written_is_told_once_in_order(lab: Catalog) -> None:
    draft = lab.draft("r1")
    for name in ("b", "a", "b"):
        draft.put("table", name, orders(1))
    draft.remove("table", "a")
    assert draft.written == [("table", "b"), ("table", "a")]
    draft.commit()
    assert [e.name for e in lab.entries("table")] == ["b"]


def test_entries_of_every_kind_go_the_same_way_and_kinds_do_not_mix(lab: Catalog) -> None:
    draft = lab.draft("r1")
    draft.put("query", "top", {"sql": "select 1", "runs": [(1, float("nan"))]})
    draft.put("report", "top", {"score": 0.5})
    assert draft.get("query", "top").doc == {"sql": "select 1", "runs": [[1, None]]}
    draft.commit()
    assert lab.get("query", "top").doc == {"sql": "select 1", "runs": [[1, None]]}
    assert [e.doc for e in lab.entries("report")] == [{"score": 0.5}]


# What can't be named


def test_an_unknown_entry_is_answered_with_the_nearest_there_is(lab: Catalog) -> None:
    write(lab, "r1", ORDERS, "customers")
    draft = lab.draft("r2")
    draft.put("table", "order_lines", orders(1))
    with pytest.raises(PlanError, match=r"no table 'staging.order'; did you mean 'staging.orders'"):
        lab.table("staging.order")
    with pytest.raises(PlanError, match="did you mean 'order_lines'"):
        draft.get("table", "order_line")
    with pytest.raises(PlanError, match="no version '7' of table customers; did you mean '1'"):
        lab.version("table", "customers", 7)
    with pytest.raises(PlanError, match="no store 'mart'; there are none yet"):
        draft.remove("store", "mart")


@pytest.mark.parametrize("name", ["../orders", "a.b.c", "1st", "a b", "", "a/b", "orders\n", "o" * 121])
def test_a_table_is_not_named_like_that(lab: Catalog, name: str) -> None:
    with pytest.raises(PlanError):
        lab.draft("r1").put("table", name, orders(1))
    with pytest.raises(PlanError):
        lab.draft("r1").fresh(name)


def test_names_of_stores_have_no_dot_and_names_of_reports_are_free() -> None:
    assert check_name("sales_mart", "store") == "sales_mart"
    assert check_name("staging.orders @ 3", "report") == "staging.orders @ 3"
    with pytest.raises(PlanError, match="without a dot"):
        check_name("sales.mart", "store")


def test_a_run_is_not_named_like_a_path(lab: Catalog) -> None:
    with pytest.raises(LabError, match="can't be a run's id"):
        lab.draft("../r1")


@pytest.mark.parametrize("path", ["/data/orders", "../orders", "tables/../../orders"])
def test_files_of_a_table_are_inside_the_lab(path: str) -> None:
    with pytest.raises(ValueError, match="relative to the lab's folder"):
        orders(1, path)


# Files


def test_fresh_is_the_same_clean_path_until_the_table_is_put(lab: Catalog) -> None:
    draft = lab.draft("r1")
    path = draft.fresh(ORDERS)
    assert path == lab.root / "tables" / ORDERS / "v1-r1"
    assert path.parent.is_dir()
    path.mkdir()
    (path / "half.parquet").write_text("half")
    path.with_name("v1-r1.part").write_text("half")
    neighbour = path.with_name("v1-r10")
    neighbour.mkdir()
    assert draft.fresh(ORDERS) == path
    assert list(path.parent.iterdir()) == [neighbour]
    draft.put("table", ORDERS, orders(1))
    assert draft.fresh(ORDERS).name == "v2-r1"


def test_fresh_never_clears_what_is_committed(lab: Catalog) -> None:
    first, repeated = lab.draft("r1"), lab.draft("r1")
    repeated.fresh(ORDERS)
    first.fresh(ORDERS).write_text("whole")
    first.put("table", ORDERS, orders(1))
    first.commit()
    with pytest.raises(Conflict, match=r"version 1 of table staging.orders has been committed meanwhile"):
        repeated.fresh(ORDERS)
    assert (lab.root / "tables" / ORDERS / "v1-r1").read_text() == "whole"


def test_sweep_takes_old_folders_that_nobody_names_or_is_still_making(lab: Catalog) -> None:
    for run, status in (("waits", "approval"), ("broke", "failed")):
        lab.save_run(Run(id=run, intent="", status=status))
        lab.draft(run).fresh(ORDERS).mkdir()
    kept = lab.draft("r1")
    kept.fresh(ORDERS).mkdir()
    kept.put("table", ORDERS, orders(1, f"tables/{ORDERS}/v1-r1/data.parquet"))
    kept.commit()
    lab.undo("r1")
    lab.draft("young").fresh("customers").mkdir()
    for path in lab.root.glob(f"tables/{ORDERS}/v*"):
        os.utime(path, (time.time() - 7200,) * 2)
    assert lab.sweep() == [f"tables/{ORDERS}/v1-broke"]
    assert lab.sweep() == []
    assert sorted(p.name for p in lab.root.glob("tables/*/v*")) == ["v1-r1", "v1-waits", "v1-young"]


def test_sweep_knows_stores_and_layouts(lab: Catalog) -> None:
    kept, left = (
        ("stores/mart/orders/r1", "layouts/order_t_c-r1"),
        ("stores/mart/orders/gone.2", "layouts/order_t_c-gone"),
    )
    for path in (*kept, *left, "layouts/README"):
        (lab.root / path).mkdir(parents=True)
        os.utime(lab.root / path, (0, 0))
    draft = lab.draft("r1")
    draft.put("store", "mart", {"tables": {"orders": {"parts": [{"path": kept[0]}]}}})
    draft.put("layout", "order_t_c", {"path": kept[1], "data": {"path": kept[1]}})
    draft.commit()
    lab.undo("r1")
    assert lab.sweep() == sorted(left)
    assert (lab.root / "layouts/README").exists()


def test_sweep_leaves_a_folder_in_which_a_file_still_grows(lab: Catalog) -> None:
    path = lab.draft("r1").fresh(ORDERS)
    path.mkdir()
    (path / "data.parquet").write_text("grows")
    os.utime(path, (0, 0))
    assert lab.sweep() == []
    os.utime(path / "data.parquet", (0, 0))
    os.utime(path, (0, 0))
    assert lab.sweep() == [f"tables/{ORDERS}/v1-r1"]


# Sharing


def test_threads_share_a_catalog(lab: Catalog) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: write(lab, f"r{k}", f"t{k}"), range(20)))
    assert len(lab.entries("table")) == len(lab.events()) == 20


def test_a_writer_that_waits_too_long_says_so(lab: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with (
        Catalog(lab.root).database.transaction(),
        pytest.raises(LabError, match=r"can't write to the catalog .*locked"),
    ):
        Catalog(lab.root).draft("r1").commit()


# The file itself


def test_a_closed_catalog_opens_again_with_all_it_had(lab: Catalog) -> None:
    write(lab, "r1", ORDERS)
    lab.close()
    assert [p.name for p in lab.root.iterdir()] == ["catalog.sqlite"]
    assert Catalog(lab.root).table(ORDERS) == lab.table(ORDERS) == orders(1)


def test_a_lab_written_by_a_newer_version_is_refused_and_left_alone(lab: Catalog) -> None:
    with lab.database.transaction() as connection:
        connection.execute("UPDATE meta SET format = ?", (FORMAT + 1,))
    lab.close()
    before = (lab.root / "catalog.sqlite").read_bytes()
    with pytest.raises(LabError, match=f"has format {FORMAT + 1}, this agentlab reads up to {FORMAT}"):
        Catalog(lab.root)
    assert (lab.root / "catalog.sqlite").read_bytes() == before


def test_an_older_lab_is_brought_up_to_date(lab: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    write(lab, "r1", ORDERS)
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, ("ALTER TABLE runs ADD COLUMN note TEXT",)))
    monkeypatch.setattr(database, "FORMAT", FORMAT + 1)
    newer = Catalog(lab.root)
    assert newer.database.query("SELECT format FROM meta")[0]["format"] == FORMAT + 1
    assert newer.database.query("SELECT note FROM runs") == []
    assert newer.table(ORDERS) == orders(1)


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_text("not a database, but long enough to look like one\n" * 50)
    with pytest.raises(LabError, match=r"can't open the catalog .*catalog.sqlite: file is not a database"):
        Catalog(tmp_path)


def test_the_catalog_is_in_wal_mode_so_that_readers_never_wait(lab: Catalog) -> None:
    with lab.database.transaction() as connection:
        connection.execute("INSERT INTO head VALUES ('table', 'half_done', 1)")
        reader = sqlite3.connect(lab.root / "catalog.sqlite", timeout=0)
        assert reader.execute("SELECT count(*) FROM head").fetchone() == (0,)
        reader.close()


# Runs


def test_runs_are_saved_updated_and_listed_newest_first(lab: Catalog) -> None:
    for k in range(3):
        lab.save_run(Run(id=f"r{k}", intent=f"intent {k}"))
    run = lab.run("r0")
    run.status, run.message = "done", "3 rows"
    lab.save_run(run)
    assert lab.run("r0") == run
    assert [r.id for r in lab.runs()] == ["r2", "r1", "r0"]
    assert [r.id for r in lab.runs(limit=1)] == ["r2"]


def test_an_unknown_run_is_answered_with_the_nearest(lab: Catalog) -> None:
    lab.save_run(Run(id="monday", intent="x"))
    with pytest.raises(LabError, match="no run 'mondag'; did you mean 'monday'"):
        lab.run("mondag")
