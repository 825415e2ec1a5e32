"""Many small files become one, here and in a store, with the same rows in the same order, and back by undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.entries import TableDoc
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult
from agentlab.schedules import do

T, FILES = "staging.events", 12


def act(lab: Lab, *calls: tuple[str, dict[str, Any]]) -> RunResult:
    result = lab.run(Plan.from_calls([{"name": name, "arguments": arguments} for name, arguments in calls]))
    assert result.status == "done", result.message
    return result


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        yield lab


def scatter(lab: Lab, name: str = T) -> None:
    """The table's version as another writer leaves it: its rows in many files, in their order."""
    doc, table = lab.tables()[name], lab.table(name)
    folder = lab.root / "tables" / name / "v9-scattered"
    folder.mkdir(parents=True)
    size = -(-len(table) // FILES)
    for number in range(FILES):
        table.iloc[number * size : (number + 1) * size].to_parquet(folder / f"part-{number:03}.parquet")
    path = folder.relative_to(lab.root).as_posix()
    draft = lab.catalog.draft("scattered")
    draft.put("table", name, TableDoc(path=path, schema_=doc.schema_, rows=doc.rows))
    draft.commit()


def events(rows: int = 240) -> pd.DataFrame:
    return pd.DataFrame({"n": [i * 37 % rows for i in range(rows)], "day": [f"d{i % 3}" for i in range(rows)]})


def state(lab: Lab) -> dict[Any, int]:
    return {key: n for key, n in lab.catalog.heads().items() if key[0] != "query"}


def files(lab: Lab, store: str) -> int:
    parts = lab.stores()[store].tables["events"].parts
    return sum(len([*(lab.root / part.path).rglob("*.parquet")]) for part in parts)


def test_a_table_in_many_files_is_read_from_one_and_back(lab: Lab):
    lab.load(events(), "events")
    scatter(lab)
    lab.query("whole", f"select n, day from {T}")
    before, rows = state(lab), lab.table(T)
    run = act(lab, ("compact", {"table": T}))
    layout = lab.layouts()["compact_staging_events"]
    assert (layout.kind, layout.table, layout.versions) == ("compact", T, {T: 2})
    assert "staging.events lay in 12 files, now in few" in run.message
    assert [path.name for path in (lab.root / layout.path).iterdir()] == ["data.parquet"]
    found = lab.query("whole")
    assert lab.queries()["whole"].runs[-1].layout == layout.name
    pd.testing.assert_frame_equal(found, rows)
    lab.undo(run.run)
    assert state(lab) == before
    lab.query("whole")
    assert lab.queries()["whole"].runs[-1].layout == ""


def test_a_table_in_one_file_stays_and_it_is_said(lab: Lab):
    lab.load(events(), "events")
    run = act(lab, ("compact", {"table": T}))
    assert "there is nothing to bring together" in run.message and lab.layouts() == {}


def published(lab: Lab, **store: Any) -> None:
    """Three runs publish a third each, the last with what the catalog has."""
    act(lab, ("provision", {"store": "mart", **store}))
    whole = events()
    for start in range(0, 240, 80):
        lab.load(whole.iloc[start : start + 80], "events")
        act(lab, ("publish", {"table": T, "store": "mart", "mode": "append"}))


def test_a_store_s_parts_become_one_with_the_rows_in_their_order(lab: Lab):
    published(lab)
    before, rows = state(lab), lab.table("mart.events")
    run = act(lab, ("compact", {"table": T}))
    (part,) = lab.stores()["mart"].tables["events"].parts
    assert part.rows == 240 and files(lab, "mart") == 1
    layout = lab.layouts()["compact_mart_events"]
    assert (layout.table, layout.store, layout.kind) == (T, "mart", "compact")
    pd.testing.assert_frame_equal(lab.table("mart.events"), rows)
    assert "staging.events lies in 1 file(s)" in run.message
    lab.undo(run.run)
    assert state(lab) == before and files(lab, "mart") == 3
    pd.testing.assert_frame_equal(lab.table("mart.events"), rows)


def test_here_and_in_a_store_at_once(lab: Lab):
    published(lab)
    scatter(lab)
    act(lab, ("compact", {"table": T}))
    assert {(layout.table, layout.store) for layout in lab.layouts().values()} == {(T, ""), (T, "mart")}


def test_folders_of_a_store_stay(lab: Lab):
    published(lab, partition_by=["day"])
    assert files(lab, "mart") == 9
    act(lab, ("compact", {"table": T}))
    (part,) = lab.stores()["mart"].tables["events"].parts
    assert part.partition_by == ("day",) and files(lab, "mart") == 3
    assert sorted(lab.table("mart.events")["n"]) == sorted(events()["n"])


def test_what_is_published_later_comes_below_and_can_be_compacted_again(lab: Lab):
    published(lab)
    act(lab, ("compact", {"table": T}))
    lab.load(events().iloc[:10], "events")
    act(lab, ("publish", {"table": T, "store": "mart", "mode": "append"}))
    assert len(lab.table("mart.events")) == 250
    act(lab, ("compact", {"table": T}))
    assert files(lab, "mart") == 1 and len(lab.table("mart.events")) == 250
    assert [*lab.layouts()] == ["compact_mart_events"]


def test_a_refresh_still_knows_that_the_store_was_appended_to(lab: Lab):
    published(lab)
    act(lab, ("compact", {"table": T}))
    assert do(lab, "mart refresh") == [], "the rows of earlier runs would be lost by publishing anew"
    assert len(lab.table("mart.events")) == 240
