"""Which layouts are kept: by a clock that says what each way to answer takes, so that no busy machine decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from agentlab.actions import Compact, Index, Materialize, OrderBy, Partition
from agentlab.engine import DuckDB, Engine
from agentlab.layouts import Candidate, Extent, candidate_of
from agentlab.queries import Query, check
from agentlab.trials import LOOK_UP, Bench, Timed
from agentlab.tune import SMALL, recompute, try_layout, tune

T = "staging.orders"
MB = 2**20
LOOK = f"SELECT id, city FROM {T} WHERE id = 5"
SUMS = f"SELECT city, sum(qty) AS total FROM {T} GROUP BY city ORDER BY total DESC"
INDEX, ORDER = candidate_of(Index(table=T, columns=("id",))), candidate_of(OrderBy(table=T, columns=("id",)))


def kind_of(sql: str) -> str:
    """From what a statement answers."""
    if "copy_" in sql:
        return "index"
    if "hive_types" in sql:
        return "partition"
    return "base" if ".trying" not in sql else "other" if '"table ' in sql else "materialized"


def clock(base: float = 100.0, **ways: float) -> Timed:
    """Milliseconds by what a statement answers from; everything else takes as long as the tables themselves."""
    return lambda engine, sql: ways.get(kind_of(sql), base)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A table that is said to have a million rows, of which there are 1,200."""
    engine = DuckDB(tmp_path)
    rows = pa.table(
        {
            "id": range(1200),
            "city": [["Rome", "Oslo", "Kyiv"][i % 3] for i in range(1200)],
            "qty": [i * 7919 % 1200 for i in range(1200)],
        }
    )
    engine.write(engine.memtable(rows), tmp_path / "tables/staging.orders/v1-r1")
    extent = Extent(files=1, bytes=40 * MB, rows=1_000_000)
    yield Bench(engine, tmp_path, "r2", {T: engine.memtable(rows)}, {T: 1}, {T: extent}, timed=clock())
    engine.close()


@pytest.fixture
def queries(bench: Bench) -> dict[str, Query]:
    return {"look": check(LOOK, bench.views), "sums": check(SUMS, bench.views)}


def left(bench: Bench) -> list[str]:
    folder = bench.root / "layouts"
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


@pytest.mark.parametrize(("after", "kept"), [(86.0, True), (88.0, False), (100.0, False), (200.0, False)])
def test_a_wish_is_kept_from_1_15_times_on(bench: Bench, queries: dict[str, Query], after: float, kept: bool):
    tuning = try_layout(replace(bench, timed=clock(index=after)), INDEX, queries)
    assert bool(tuning.kept) == kept == bool(left(bench))
    assert [m.query for m in tuning.measured] == ["look", "sums"]
    assert ("less than 1.15 times" in str(tuning)) != kept
    assert tuning.measured[0].gain == pytest.approx(100 / after)


def test_a_query_that_a_layout_slows_down_is_not_answered_from_it(bench: Bench, queries: dict[str, Query]):
    def timed(engine: Engine, sql: str) -> float:
        return {"base": 100.0}.get(kind_of(sql), 10.0 if " = 5" in sql else 300.0)

    tuning = try_layout(replace(bench, timed=timed), INDEX, queries)
    assert tuning.kept and [m.status for m in tuning.measured] == ["kept", "slower"]
    assert (tuning.kept.faster, tuning.kept.slower) == ((queries["look"].sql,), (queries["sums"].sql,))


def test_what_looked_faster_once_by_chance_is_measured_again_and_not_kept(bench: Bench, queries: dict[str, Query]):
    asked = list[str]()

    def timed(engine: Engine, sql: str) -> float:
        asked.append(kind_of(sql))
        return 50.0 if asked.count("index") <= 5 and asked[-1] == "index" else 100.0

    tuning = try_layout(replace(bench, timed=timed), INDEX, {"look": queries["look"]})
    assert tuning.kept is None and tuning.measured[0].gain == 1.0
    assert (asked.count("index"), asked.count("base")) == (10, 10), "twice five pairs"
    assert asked[:4] == ["index", "base", "base", "index"], "the sides take turns in who goes first"


def test_of_quick_queries_more_pairs_are_run_when_chance_might_decide(bench: Bench, queries: dict[str, Query]):
    asked = list[str]()

    def timed(engine: Engine, sql: str) -> float:
        asked.append(kind_of(sql))
        return {"index": 1.9}.get(asked[-1], 2.0)

    try_layout(replace(bench, timed=timed), INDEX, {"look": queries["look"]})
    assert asked.count("base") == 15


@pytest.mark.parametrize(
    ("rows", "after", "kept"),
    [(SMALL, 100.0, True), (SMALL, 104.0, True), (SMALL + 1, 100.0, False), (SMALL, 120.0, False)],
)
def test_a_wish_on_a_table_too_small_to_tell_is_kept_unless_it_harms(
    bench: Bench, queries: dict[str, Query], rows: int, after: float, kept: bool
):
    bench = replace(bench, extents={T: Extent(1, MB, rows)}, timed=clock(other=after))
    tuning = try_layout(bench, ORDER, queries)
    assert bool(tuning.kept) == kept
    assert ("too few to tell layouts apart by their time" in str(tuning)) == kept
    if tuning.kept:
        assert tuning.kept.faster, "it answers, or it were for nothing"


def test_a_wish_that_no_saved_query_speaks_of_is_measured_on_a_look_up_only_and_that_is_said(bench: Bench):
    tuning = try_layout(bench, INDEX, {})
    assert tuning.kept and [m.query for m in tuning.measured] == [LOOK_UP]
    assert "no saved query reads the table, so it could be measured on that only" in str(tuning)
    slow = try_layout(replace(bench, timed=clock(partition=200.0)), candidate_of(Partition(table=T, by="city")), {})
    assert slow.kept is None


def test_files_that_become_one_are_kept_when_no_query_is_slower(bench: Bench, queries: dict[str, Query]):
    compact = candidate_of(Compact(table=T))
    tuning = try_layout(bench, compact, queries)
    assert tuning.kept and "it makes one file of many, and no query is slower" in str(tuning)
    assert tuning.kept.faster == (queries["look"].sql, queries["sums"].sql)
    assert try_layout(replace(bench, timed=clock(other=200.0)), compact, queries).kept is None
    assert [m.query for m in try_layout(bench, compact, {}).measured] == ["reading of the whole table"]


def test_what_takes_too_much_is_refused_by_name(bench: Bench, queries: dict[str, Query]):
    fast = replace(bench, timed=clock(index=1.0))
    huge = replace(fast, extents={T: Extent(1, 1000, 1_000_000)}, free=1000)
    tuning = try_layout(huge, INDEX, queries)
    assert tuning.kept is None and tuning.measured[0].status == "too large" and left(bench) == []
    assert "of what all layouts of the lab may take 0.00 MB are left" in tuning.measured[0].why
    again = replace(huge, freed={INDEX.key(""): MB})
    assert try_layout(again, INDEX, queries).kept, "one that takes the place of its like needs little more"


def test_a_copy_of_more_than_twice_the_table_is_too_large(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("agentlab.trials.LEAST_BYTES", 0)
    small = replace(bench, extents={T: Extent(1, 1000, 10)}, timed=clock(index=1.0))
    (tried,) = try_layout(small, INDEX, {}).measured
    assert tried.status == "too large" and "(2 times staging.orders)" in tried.why


def test_rows_in_another_order_than_asked_are_another_result(bench: Bench, queries: dict[str, Query]):
    by_qty = check(f"SELECT id FROM {T} LIMIT 1100", bench.views)
    other = candidate_of(OrderBy(table=T, columns=("qty",)))
    tuning = try_layout(replace(bench, timed=clock(other=1.0)), other, {**queries, "some": by_qty})
    assert tuning.kept is None and "differs" in {m.status for m in tuning.measured}
    assert "not kept, since it changes another query's result" in str(tuning)


@pytest.mark.parametrize(
    ("objective", "kept"), [("speed", "index"), ("cost", "materialized"), ("balance", "materialized")]
)
def test_the_objective_chooses(bench: Bench, queries: dict[str, Query], objective: str, kept: str):
    times = clock(index=10.0, materialized=40.0, partition=95.0)
    tuning = tune(replace(bench, timed=times), {"look": queries["look"]}, objective=objective)  # type: ignore[arg-type]
    assert tuning.kept and tuning.kept.kind == kept and tuning.others == ()
    assert tuning.measured[0].candidate.kind == kept, "the best is told first"
    assert f"{tuning.kept.candidate} is better" in str(tuning)


def test_a_set_is_chosen_by_the_time_saved_over_all_runs(bench: Bench, queries: dict[str, Query]):
    def timed(engine: Engine, sql: str) -> float:
        looks = '"id" = 5' in sql or "id = 5" in sql
        return {"index": 10.0 if looks else 100.0, "materialized": 50.0}.get(kind_of(sql), 100.0)

    bench = replace(bench, timed=timed)
    told = tune(bench, queries, weights={"look": 1, "sums": 100})
    assert [(layout.kind, layout.query) for layout in told.layouts] == [("materialized", "sums"), ("index", "look")]
    told = tune(replace(bench, run="r3"), queries, weights={"look": 100, "sums": 1})
    assert [(layout.kind, layout.query) for layout in told.layouts] == [("index", "look"), ("materialized", "sums")]
    assert len(left(bench)) == 4


def test_a_set_stays_within_the_budget(bench: Bench, queries: dict[str, Query]):
    times = clock(index=10.0, materialized=50.0)
    whole = tune(replace(bench, timed=times), queries, keep=False)
    sizes = {m.candidate.kind: m.bytes for m in whole.measured}
    little = replace(bench, timed=times, free=sizes["materialized"] + 10, run="r3")
    told = tune(little, queries)
    assert [layout.kind for layout in told.layouts] == ["materialized"]
    reasons = {m.candidate.kind: m.why for m in told.measured}
    assert "may take" in reasons["index"]
    assert "layouts may take no more bytes together" in str(told)


def test_a_recommendation_ranks_tells_what_each_costs_and_leaves_nothing(bench: Bench, queries: dict[str, Query]):
    told = tune(replace(bench, timed=clock(index=10.0, materialized=50.0)), queries, keep=False)
    assert told.kept is None and left(bench) == []
    first = told.measured[0]
    assert first.candidate.kind == "index" and first.bytes > 0 and first.build_ms > 0
    assert "MB, built in" in str(first) and "it was only measured, as asked" in first.why


def test_a_narrow_copy_serves_the_queries_whose_columns_it_has(bench: Bench, queries: dict[str, Query]):
    narrow = {"look": queries["look"], "more": check(f"SELECT max(id) FROM {T}", bench.views)}
    told = tune(replace(bench, timed=clock(other=10.0)), {**narrow, "all": check(f"FROM {T}", bench.views)}, keep=False)
    pruned = [m for m in told.measured if m.candidate.kind == "pruned" and m.candidate.columns == ("id", "city")]
    assert {m.query for m in pruned} == {"look", "more"}


def test_what_there_was_is_tried_again(bench: Bench, queries: dict[str, Query]):
    asked = Candidate(kind="order", table=T, columns=("qty",))
    other = Candidate(kind="order", table="gone", columns=("x",))
    told = tune(bench, {"look": queries["look"]}, more=[asked, other], keep=False)
    assert asked in [m.candidate for m in told.measured] and other not in [m.candidate for m in told.measured]


def test_a_result_is_computed_again_of_the_tables_as_they_are(bench: Bench, queries: dict[str, Query]):
    sums = {"sums": queries["sums"]}
    kept = try_layout(replace(bench, timed=clock(materialized=1.0)), candidate_of(Materialize(query="sums")), sums).kept
    assert kept
    changed = bench.engine.memtable(pa.table({"id": [1], "city": ["Rome"], "qty": [7]}))
    later = replace(bench, views={T: changed}, versions={T: 2}, run="r3")
    again = recompute(later, kept)
    assert (again.versions, again.data.rows, again.gain) == ({T: 2}, 1, kept.gain)
    assert again.path != kept.path and len(left(bench)) == 2


def test_a_copy_that_lost_rows_would_be_found(bench: Bench, queries: dict[str, Query]):
    key = (T, "id", "city", "qty")
    tuning = try_layout(replace(bench, prints={key: (1199, 0)}), INDEX, queries)
    assert tuning.kept is None and "doesn't hold the same rows" in tuning.measured[0].why
