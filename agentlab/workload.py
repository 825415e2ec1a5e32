"""The workload: saved queries, how long each run of them took, where the time goes, and answers from kept layouts.

`check`, `candidates`, `tune` and the like are part of this front; they live in `queries.py`, `layouts.py`, `tune.py`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ibis
import pyarrow as pa
import sqlglot
from pydantic import BaseModel, ConfigDict
from sqlglot import exp

from agentlab.engine import Engine, explained, schema_of
from agentlab.events import now
from agentlab.layouts import Candidate, LayoutDoc, candidate_of, candidates, choose, is_current
from agentlab.queries import PATIENCE, Query, bind, check, fetch
from agentlab.tune import Bench, Measured, Tuning, laid_out, try_layout, tune

__all__ = [
    "Answer",
    "Bench",
    "Candidate",
    "Diagnosis",
    "Hotspot",
    "LayoutDoc",
    "Measured",
    "Query",
    "QueryDoc",
    "QueryRun",
    "Tuning",
    "answer",
    "candidate_of",
    "candidates",
    "check",
    "diagnose",
    "is_current",
    "run_query",
    "try_layout",
    "tune",
]

#: Runs that a saved query remembers.
REMEMBERED = 50

#: Operators in plain words; one that isn't here goes by its own name.
_WORDS = {
    **{"TABLE_SCAN": "reading", "SEQ_SCAN": "reading", "FILTER": "filtering by", "PROJECTION": "computing"},
    **{"HASH_GROUP_BY": "grouping", "PERFECT_HASH_GROUP_BY": "grouping", "UNGROUPED_AGGREGATE": "summing up"},
    **{"ORDER_BY": "sorting by", "TOP_N": "finding the first by", "HASH_JOIN": "joining on", "WINDOW": "windows of"},
    **{"STREAMING_WINDOW": "windows of", "NESTED_LOOP_JOIN": "joining each row with each", "UNION": "putting together"},
}
_ABOUT = {"FILTER": "Expression", "ORDER_BY": "Order By", "TOP_N": "Order By", "HASH_JOIN": "Conditions"}


class QueryRun(BaseModel):
    """One run of a saved query: milliseconds in the engine, rows of the result, when, and the layout that answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ms: float
    rows: int
    at: str
    layout: str = ""


class QueryDoc(BaseModel):
    """A saved query over catalog tables and `store.table`, and its last runs, oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sql: str
    runs: tuple[QueryRun, ...] = ()

    def logged(self, ms: float, rows: int, layout: str = "") -> QueryDoc:
        """The document with one more run.

        >>> QueryDoc(name="by_day", sql="select 1").logged(3.5, 1).median_ms
        3.5
        """
        run = QueryRun(ms=round(ms, 3), rows=rows, at=now(), layout=layout)
        return self.model_copy(update={"runs": (*self.runs, run)[-REMEMBERED:]})

    @property
    def median_ms(self) -> float | None:
        """The median of the logged runs; None before the first."""
        return statistics.median(run.ms for run in self.runs) if self.runs else None


class Answer(NamedTuple):
    """A query's rows, the engine's milliseconds, and the layout that they came from; "" for the tables themselves."""

    rows: pa.Table
    ms: float
    layout: str


class Hotspot(BaseModel):
    """One operator of a query's plan: its time in milliseconds over all threads, its share of the whole, rows out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    ms: float
    share: float
    rows: int


class Diagnosis(BaseModel):
    """Where a query's time goes. `ms` is a median, measured now; `previous_ms` the logged one, None without a log.

    `rows_read` are those of the tables that it reads; `bytes_read` what the columns that it needs take up
    in Parquet files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    ms: float
    previous_ms: float | None
    tables: tuple[str, ...]
    rows: int
    rows_read: int
    bytes_read: int
    hotspots: tuple[Hotspot, ...]
    message: str


def run_query(
    engine: Engine, views: Mapping[str, ibis.Table], sql: str, seconds: float = PATIENCE
) -> tuple[pa.Table, float]:
    """Check and run a stranger's SELECT over the tables of `views`: its rows, and the engine's milliseconds."""
    return fetch(engine, bind(engine, check(sql, views), views), seconds)


def answer(
    engine: Engine,
    query: Query,
    views: Mapping[str, ibis.Table],
    layouts: Iterable[LayoutDoc],
    versions: Mapping[str, int],
    *,
    root: Path,
    seconds: float = PATIENCE,
) -> Answer:
    """Answer from the best layout that was made of the tables' current versions, else from the tables themselves."""
    layout = choose(query, layouts, versions, {table: schema_of(views[table]) for table in query.tables}, root)
    if layout is None:
        return Answer(*fetch(engine, bind(engine, query, views), seconds), "")
    made = Candidate(kind=layout.kind, table=layout.table, columns=layout.columns)
    return Answer(*fetch(engine, laid_out(engine, root, query, views, made, layout.data), seconds), layout.name)


def diagnose(engine: Engine, doc: QueryDoc, views: Mapping[str, ibis.Table], rounds: int = 5) -> Diagnosis:
    """Run a saved query on the tables themselves, and say in words where its time goes. Changes nothing."""
    query = check(doc.sql, views)
    sql = bind(engine, query, views)
    results = [fetch(engine, sql) for _ in range(rounds)]
    profile = _profile(engine, sql)
    told = Diagnosis(
        query=doc.name,
        ms=statistics.median(ms for _, ms in results),
        previous_ms=doc.median_ms,
        tables=query.tables,
        rows=len(results[0][0]),
        rows_read=sum(int(engine.con.to_pyarrow(views[table].count()).as_py()) for table in query.tables),
        bytes_read=_bytes(engine, sql, profile),
        hotspots=tuple(_hotspots(profile)),
        message="",
    )
    return told.model_copy(update={"message": _sentences(told)})


def _profile(engine: Engine, sql: str) -> dict[str, Any]:
    with explained():
        ((_, text),) = engine.con.raw_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").fetchall()
    profile: dict[str, Any] = json.loads(text)
    return profile


def _bytes(engine: Engine, sql: str, profile: Mapping[str, Any]) -> int:
    """The size on disk of the columns that are scanned. (The engine's own `total_bytes_read` misses most of it.)"""
    scans = [node["extra_info"] for node in _operators(profile) if node["operator_type"] == "TABLE_SCAN"]
    said = json.dumps([(scan.get("Projections"), scan.get("Filters")) for scan in scans])
    words = set(re.findall(r"\w+", said.lower()))
    return sum(size for column, size in _stored(engine, sql) if set(re.findall(r"\w+", column.lower())) <= words)


def _stored(engine: Engine, sql: str) -> Iterator[tuple[str, int]]:
    """Each column of each Parquet file that the SQL names, with its compressed size in bytes."""
    for call in sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.ReadParquet):
        files = call.expressions[0].sql("duckdb")
        sizes = f"FROM parquet_metadata({files}) SELECT path_in_schema, sum(total_compressed_size) GROUP BY ALL"
        yield from engine.con.raw_sql(sizes).fetchall()


def _hotspots(profile: Mapping[str, Any], most: int = 3) -> list[Hotspot]:
    operators = [node for node in _operators(profile) if node["operator_timing"] > 0]
    whole = sum(node["operator_timing"] for node in operators) or 1.0
    dearest = sorted(operators, key=lambda node: -node["operator_timing"])[:most]
    return [
        Hotspot(
            what=_in_words(node),
            ms=node["operator_timing"] * 1000,
            share=node["operator_timing"] / whole,
            rows=node["operator_cardinality"],
        )
        for node in dearest
    ]


def _operators(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if node.get("operator_type", "EXPLAIN_ANALYZE") != "EXPLAIN_ANALYZE":
        yield node
    for child in node.get("children", []):
        yield from _operators(child)


def _in_words(node: Mapping[str, Any]) -> str:
    kind = node["operator_type"]
    words = _WORDS.get(kind, kind.lower().replace("_", " "))
    about = node.get("extra_info", {}).get(_ABOUT.get(kind, "Projections"), [])
    told = about if isinstance(about, str) else ", ".join(about)
    # Numbered references (#0) mean nothing outside the plan.
    told = "" if "#" in told else told if len(told) <= 100 else f"{told[:97]}..."
    return f"{words} {told}" if told else words.removesuffix(" by").removesuffix(" on").removesuffix(" of")


def _sentences(told: Diagnosis) -> str:
    before = f", {told.previous_ms:.1f} ms in the runs before" if told.previous_ms is not None else ""
    volume = f"{told.rows_read:,} rows ({told.bytes_read / 1e6:,.1f} MB) of {', '.join(told.tables) or 'no table'}"
    where = "; ".join(f"{spot.what} {spot.share:.0%}" for spot in told.hotspots)
    return (
        f"{told.query} takes {told.ms:.1f} ms{before}. It reads {volume} for {told.rows:,} rows of result. "
        f"Most of the time goes to: {where}."
    )
