"""Whether the end state is what the story says, found out with SQL of its own on the files, past agentlab's engine.

Of the lab only the catalog's documents are used, to know which file is which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isclose
from pathlib import Path
from typing import Any

import duckdb

from agentlab.demo import Manifest, build
from agentlab.lab import Lab
from agentlab.runs import PipelineResult
from agentlab.story.script import QUERY, SQL, STORE, TABLE
from agentlab.workload import LayoutDoc

PULLED = 10_000


@dataclass(frozen=True)
class Claim:
    """One thing that must be so, whether it is, and what was found."""

    says: str
    holds: bool
    found: str


class Files:
    """The story's files, by plain SQL on a database in memory."""

    def __init__(self, lab: Lab, told: PipelineResult) -> None:
        self.lab = lab
        self.db = duckdb.connect(":memory:")
        self.told = told
        pulled = next((e for e in lab.catalog.history("table", TABLE) if e.run == told.runs[0].run), None)
        store = lab.stores().get(STORE)
        published = store.tables.get("orders") if store else None
        self.pulled = self._view("pulled", pulled.doc["path"] if pulled else None)
        self.store = self._view("store", published.parts[-1].path if published else None)
        aside = lab.catalog.find("table", "quarantine.orders")
        self.aside = self._view("aside", aside.doc["path"] if aside else None)

    def one(self, sql: str) -> Any:
        """The single value that the SQL gives."""
        row = self.db.execute(sql).fetchone()
        return row[0] if row else None

    def ids(self, sql: str) -> list[int]:
        """The order ids that the SQL gives."""
        return [row[0] for row in self.db.execute(sql).fetchall()]

    def _view(self, name: str, path: str | None) -> bool:
        files = sorted((self.lab.root / path).rglob("*.parquet")) if path else []
        if files:
            self.db.read_parquet([str(f) for f in files], hive_partitioning=True).create_view(name)
        return bool(files)


def verify(lab: Lab, told: PipelineResult) -> list[Claim]:
    """Every claim of the story, held or not."""
    files = Files(lab, told)
    claims = [
        Claim("every step is done", told.status == "done", f"{told.status}: {told.message.partition(chr(10))[0]}")
    ]
    if not (files.pulled and files.store and files.aside):
        there = {"the pulled table": files.pulled, "the store": files.store, "the quarantine": files.aside}
        lost = ", ".join(name for name, found in there.items() if not found)
        return [*claims, Claim("all tables have files", False, f"missing: {lost}")]
    return [*claims, *_rows(files), *_defects(files), *_columns(files), *_house(lab), *_query(lab, files)]


def _rows(files: Files) -> Iterator[Claim]:
    pulled, distinct = files.db.execute("SELECT count(*), count(DISTINCT order_id) FROM pulled").fetchone() or (0, 0)
    yield Claim(f"{PULLED:,} rows were pulled", pulled == PULLED, f"{pulled:,} rows")
    stored, aside = files.one("SELECT count(*) FROM store"), files.one("SELECT count(*) FROM aside")
    told = f"{stored:,} in the store + {aside:,} in quarantine + {pulled - distinct:,} copies"
    yield Claim("every pulled row is in one place", stored + aside + pulled - distinct == pulled, told)


def _defects(files: Files) -> Iterator[Claim]:
    planted = build().manifest.within(files.ids("SELECT order_id FROM pulled"))
    stored, aside = files.ids("SELECT order_id FROM store"), set(files.ids("SELECT order_id FROM aside"))
    for words, ids in _set_aside(planted):
        wrong = [i for i in ids if i not in aside] + sorted({*ids} & {*stored})
        yield Claim(
            f"{words}: in quarantine, none in the store",
            bool(ids) and not wrong,
            f"{len(ids) - len(wrong)} of {len(ids)}",
        )
    twice = len(stored) - len({*stored})
    lost = [i for i in planted.duplicated if i not in {*stored}]
    told = f"{len(planted.duplicated)} orders came twice; {twice} still do, {len(lost)} lost"
    yield Claim("copies are gone, one of each stays", not twice and not lost, told)
    empty = files.ids("SELECT order_id FROM store WHERE email IS NULL ORDER BY 1")
    yield Claim(
        "missing emails stay missing, nothing is made up", empty == list(planted.missing_email), f"{len(empty)} orders"
    )


def _set_aside(planted: Manifest) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "negative quantities", planted.negative_quantity
    yield "absurd prices", planted.outlier_price
    yield "prices that are no number", planted.text_price


def _columns(files: Files) -> Iterator[Claim]:
    columns = [row[0] for row in files.db.execute("DESCRIBE store").fetchall()]
    renamed = "cust_id" in columns and "customer_id" not in columns
    yield Claim("cust_id is there, customer_id isn't", renamed, ", ".join(columns))
    if "total_revenue" not in columns:
        yield Claim("total_revenue = quantity * unit_price", False, "there is no such column")
        return
    right = files.one("SELECT count(*) FROM store WHERE abs(total_revenue - quantity * unit_price) < 1e-6")
    rows = files.one("SELECT count(*) FROM store")
    yield Claim("total_revenue = quantity * unit_price", right == rows, f"in {right:,} of {rows:,} rows")


def _house(lab: Lab) -> Iterator[Claim]:
    nightly = [
        s for s in lab.schedules() if s["cron"].split()[2:] == ["*", "*", "*"] and s["cron"].split()[1].isdigit()
    ]
    yield Claim(
        "a nightly schedule exists", bool(nightly), ", ".join(f"{s['task']}: {s['cron']}" for s in nightly) or "none"
    )
    scores = [
        event.body["score"] for event in lab.events() if event.type.startswith("quality-") and event.subject == TABLE
    ]
    better = len(scores) > 1 and scores[-1] > scores[0]
    yield Claim("quality was judged, mended and judged again", better, " → ".join(f"{score:.4f}" for score in scores))


def _query(lab: Lab, files: Files) -> Iterator[Claim]:
    ours = files.db.execute(SQL.replace(TABLE, "store")).fetchall()
    theirs = [tuple(row) for row in lab.query(QUERY).itertuples(index=False)]
    equal = len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    yield Claim("the query's result is unchanged", equal, f"{len(ours):,} days, the same by SQL on the store's files")
    layouts = [LayoutDoc.model_validate(entry.doc) for entry in lab.catalog.entries("layout")]
    kept = next((layout for layout in layouts if layout.query == QUERY), None)
    told = (
        f"{kept.before_ms:.1f} ms → {kept.after_ms:.1f} ms, {kept.gain:.1f} times as fast" if kept else "no layout kept"
    )
    used = bool(lab.queries()[QUERY].runs[-1].layout)
    yield Claim("the query was measured before and after, and is faster", bool(kept) and used, told)


def _alike(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> bool:
    """The same day, and numbers that differ by no more than the order of adding up does."""
    return str(ours[0]) == str(theirs[0])[:10] and all(map(partial(isclose, rel_tol=1e-9), ours[1:], theirs[1:]))


def root_of(lab: Lab) -> Path:
    """The lab's folder, relative to here where it lies below."""
    here = Path.cwd().resolve()
    return lab.root.relative_to(here) if lab.root.is_relative_to(here) else lab.root
