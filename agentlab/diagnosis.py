"""Where a query's time goes: its plan as the engine measured it, what it reads for what it returns, and the trend.

Nothing is changed and nothing is kept. What is read is told of the tables themselves, not of a layout.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import ibis
import sqlglot
from pydantic import BaseModel, ConfigDict
from sqlglot import exp

from agentlab.engine import Engine, explained
from agentlab.queries import bind, check, fetch

#: The last runs of a query that are compared with those before them, and how many times slower is slow.
LATEST, SLOWER = 5, 1.5

#: Operators in plain words; one that isn't here goes by its own name.
_WORDS = {
    **{"TABLE_SCAN": "reading", "SEQ_SCAN": "reading", "FILTER": "filtering by", "PROJECTION": "computing"},
    **{"HASH_GROUP_BY": "grouping", "PERFECT_HASH_GROUP_BY": "grouping", "UNGROUPED_AGGREGATE": "summing up"},
    **{"ORDER_BY": "sorting by", "TOP_N": "finding the first by", "HASH_JOIN": "joining on", "WINDOW": "windows of"},
    **{"STREAMING_WINDOW": "windows of", "NESTED_LOOP_JOIN": "joining each row with each", "UNION": "putting together"},
}
_ABOUT = {"FILTER": "Expression", "ORDER_BY": "Order By", "TOP_N": "Order By", "HASH_JOIN": "Conditions"}


class Logged(Protocol):
    """What is diagnosed: a query's name, its SQL, and what its log tells of the time before."""

    @property
    def name(self) -> str: ...
    @property
    def sql(self) -> str: ...
    @property
    def median_ms(self) -> float | None: ...
    @property
    def slowdown(self) -> float: ...


class Hotspot(BaseModel):
    """One operator of a query's plan: its time in milliseconds over all threads, its share of the whole, rows out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    ms: float
    share: float
    rows: int


class Diagnosis(BaseModel):
    """Where a query's time goes. `ms` is a median, measured now; `previous_ms` the logged one, None without a log.

    `rows_read` are those of the tables that it reads; `bytes_read` what the columns that it needs take up in Parquet
    files; `files` those that the engine opened and `row_groups` the row groups in them. `slowdown` is how many times
    slower its last runs were than those before.
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
    files: int = 0
    row_groups: int = 0
    slowdown: float = 1.0


def trend(times: Sequence[float]) -> float:
    """How many times slower the last runs were than those before, by medians; 1 while there are too few.

    >>> trend([10, 10, 20, 20, 20, 20, 20]), trend([10, 20])
    (2.0, 1.0)
    """
    latest, earlier = times[-LATEST:], times[:-LATEST]
    return statistics.median(latest) / statistics.median(earlier) if earlier else 1.0


def diagnose(engine: Engine, doc: Logged, views: Mapping[str, ibis.Table], rounds: int = 5) -> Diagnosis:
    """Run a saved query on the tables themselves, and say in words where its time goes. Changes nothing."""
    query = check(doc.sql, views)
    sql = bind(engine, query, views)
    results = [fetch(engine, sql) for _ in range(rounds)]
    profile = _profile(engine, sql)
    volume = _volume(engine, sql, profile)
    told = Diagnosis(
        query=doc.name,
        ms=statistics.median(ms for _, ms in results),
        previous_ms=doc.median_ms,
        tables=query.tables,
        rows=len(results[0][0]),
        rows_read=sum(int(engine.con.to_pyarrow(views[table].count()).as_py()) for table in query.tables),
        bytes_read=volume.bytes,
        hotspots=tuple(_hotspots(profile)),
        message="",
        files=volume.files,
        row_groups=volume.row_groups,
        slowdown=doc.slowdown,
    )
    return told.model_copy(update={"message": _sentences(told)})


def _profile(engine: Engine, sql: str) -> dict[str, Any]:
    with explained():
        ((_, text),) = engine.con.raw_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").fetchall()
    profile: dict[str, Any] = json.loads(text)
    return profile


class _Volume(NamedTuple):
    bytes: int
    files: int
    row_groups: int


class _Column(NamedTuple):
    name: str
    bytes: int


def _volume(engine: Engine, sql: str, profile: Mapping[str, Any]) -> _Volume:
    """The size on disk of the columns that are scanned. (The engine's own `total_bytes_read` misses most of it.)"""
    scans = [node["extra_info"] for node in _operators(profile) if node["operator_type"] == "TABLE_SCAN"]
    said = json.dumps([(scan.get("Projections"), scan.get("Filters")) for scan in scans])
    words = set(re.findall(r"\w+", said.lower()))
    columns, there, groups = [], 0, 0
    for call in sqlglot.parse_one(sql, dialect="duckdb").find_all(exp.ReadParquet):
        columns += _stored(engine, call)
        files, inside = _groups(engine, call)
        there, groups = there + files, groups + inside
    read = sum(column.bytes for column in columns if set(re.findall(r"\w+", column.name.lower())) <= words)
    opened = sum(int(scan.get("Total Files Read", 0)) for scan in scans)
    # Of a table in folders only some are opened; its row groups are spread over them evenly, as far as we know.
    return _Volume(read, opened, round(groups * opened / there) if there > opened else groups)


def _stored(engine: Engine, call: exp.ReadParquet) -> list[_Column]:
    """Each column of the Parquet files that the SQL names, with its compressed size in bytes."""
    files = call.expressions[0].sql("duckdb")
    sizes = f"FROM parquet_metadata({files}) SELECT path_in_schema, sum(total_compressed_size) GROUP BY ALL"
    return [_Column(*row) for row in engine.con.raw_sql(sizes).fetchall()]


def _groups(engine: Engine, call: exp.ReadParquet) -> tuple[int, int]:
    files = call.expressions[0].sql("duckdb")
    counted = f"FROM parquet_file_metadata({files}) SELECT count(*), coalesce(sum(num_row_groups), 0)"
    ((there, groups),) = engine.con.raw_sql(counted).fetchall()
    return int(there), int(groups)


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
    places = f", from {told.files:,} file(s) with {told.row_groups:,} row group(s)," if told.files else ""
    where = "; ".join(f"{spot.what} {spot.share:.0%}" for spot in told.hotspots)
    slower = f" Its last runs were {told.slowdown:.1f} times slower than before." if told.slowdown > SLOWER else ""
    return (
        f"{told.query} takes {told.ms:.1f} ms{before}. It reads {volume}{places} for {told.rows:,} rows of result. "
        f"Most of the time goes to: {where}.{slower}"
    )
