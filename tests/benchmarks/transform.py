"""Each transformation against the same by hand: DuckDB's own SQL, from one Parquet file into another, zstd both.

    python tests/benchmarks/transform.py [--rows 10000000] [--pairs 5] [--seconds 600] [--only derive,sort]

Ours reads a version, compiles the action and writes the next version; by hand it is one COPY that keeps the order of
rows, too. First both must leave the same rows in the same order, on a small table. Then they take turns, and the median
of their ratios counts: 1 is as fast, above 1 slower. A ratio is of the processor's time, all threads of the process
together, since on a busy machine the clock on the wall tells of others; its ratio stands beside. An action gets so many
pairs as fit into its share of `--seconds`, one at least. The last line is JSON: `transform_worst_vs_sql`, the ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from agentlab.actions import Transform
from agentlab.compile import compile
from agentlab.engine import DuckDB
from agentlab.entries import TableDoc
from agentlab.plan import action_from

TABLE = """SELECT i AS id, (hash(i) % 200000)::BIGINT AS customer, (hash(i + 1) % 100000) / 100.0::DOUBLE AS total,
  CASE WHEN hash(i + 2) % 20 > 0 THEN (hash(i + 2) % 1000)::BIGINT END AS qty,
  ' ' || ['rome', 'OSLO', 'Paris', 'Bern'][1 + (hash(i + 3) % 4)::INT] AS city,
  'user' || (hash(i) % 200000) || '@example.org' AS email, (hash(i + 4) % 500)::VARCHAR AS code,
  DATE '2024-01-01' + (hash(i + 5) % 700)::INT AS day FROM range({rows}) r(i)"""
OTHER = "SELECT i AS customer, 'name ' || i AS name, (i % 7)::BIGINT AS grade FROM range(200000) r(i)"

#: Rows of the table on which both must agree.
CHECKED = 5_000

#: An action and what a person would write; {t} and {u} are the files. `row` is the order that both keep.
NUMBERED = "(SELECT *, row_number() OVER () - 1 AS row FROM {t})"
ACTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("cast", {"column": "code", "type": "int"}, "SELECT * REPLACE (TRY_CAST(code AS BIGINT) AS code) FROM {t}"),
    ("derive", {"column": "gross", "expr": "total * 1.2 + qty"}, "SELECT *, total * 1.2 + qty AS gross FROM {t}"),
    ("filter", {"where": "total > 250 and city <> ' Bern'"}, "SELECT * FROM {t} WHERE total > 250 AND city <> ' Bern'"),
    (
        "dedupe",
        {"by": ["customer"]},
        f"SELECT * EXCLUDE row FROM {NUMBERED} QUALIFY row_number() OVER (PARTITION BY customer ORDER BY row) = 1"
        " ORDER BY row",
    ),
    ("sort", {"by": ["day", "total"]}, f"SELECT * EXCLUDE row FROM {NUMBERED} ORDER BY day, total, row"),
    ("limit", {"n": 1_000_000}, "SELECT * FROM {t} LIMIT 1000000"),
    (
        "sample",
        {"fraction": 0.1},
        f"SELECT * EXCLUDE row FROM {NUMBERED} QUALIFY row_number() OVER (ORDER BY md5(row || '|0'), row)"
        " <= (SELECT round(count(*) * 0.1) FROM {t}) ORDER BY row",
    ),
    ("fill", {"column": "qty", "value": 0}, "SELECT * REPLACE (coalesce(qty, 0) AS qty) FROM {t}"),
    (
        "fill",
        {"column": "qty", "method": "median"},
        "SELECT * REPLACE (coalesce(qty, (SELECT round(median(qty))::BIGINT FROM {t})) AS qty) FROM {t}",
    ),
    (
        "fill",
        {"column": "qty", "method": "previous"},
        "SELECT * EXCLUDE row REPLACE (last_value(qty IGNORE NULLS) OVER (ORDER BY row) AS qty) FROM "
        f"{NUMBERED} ORDER BY row",
    ),
    ("replace", {"column": "qty", "old": 7, "new": 8}, "SELECT * REPLACE (IF(qty = 7, 8, qty) AS qty) FROM {t}"),
    (
        "normalize_text",
        {"column": "city", "case": "lower", "trim": True},
        "SELECT * REPLACE (lower(trim(city)) AS city) FROM {t}",
    ),
    (
        "split",
        {"column": "email", "into_columns": ["user", "host"], "separator": "@"},
        "SELECT *, split_part(email, '@', 1) AS user, split_part(email, '@', 2) AS host FROM {t}",
    ),
    (
        "join",
        {"other": "staging.u", "on": ["customer"], "how": "left"},
        f"SELECT a.* EXCLUDE row, u.* EXCLUDE customer FROM {NUMBERED} a LEFT JOIN {{u}} u USING (customer)"
        " ORDER BY a.row",
    ),
    ("union", {"other": "staging.t"}, "FROM {t} UNION ALL FROM {t}"),
    (
        "aggregate",
        {"by": ["customer"], "measures": [{"function": f, "column": "total"} for f in ("sum", "avg", "max")]},
        "SELECT customer, sum(total), avg(total), max(total) FROM {t} GROUP BY customer ORDER BY customer",
    ),
    (
        "pivot",
        {"index": ["customer"], "columns": "city", "values": "total", "function": "sum"},
        "FROM (PIVOT {t} ON city USING sum(total) GROUP BY customer) ORDER BY customer",
    ),
    (
        "unpivot",
        {"columns": ["total", "qty"]},
        "SELECT * EXCLUDE (total, qty), unnest(['total', 'qty']) AS name, unnest([total, qty]) AS value FROM {t}",
    ),
]


def made(engine: DuckDB, name: str, query: str) -> TableDoc:
    """A version from a query, in one file with many row groups."""
    table = engine.memtable(engine.con.raw_sql(query).to_arrow_table())
    written = engine.write(table, engine.root / "tables" / name)
    return TableDoc(path=f"tables/{name}", schema=written.schema, rows=written.rows)


class Case(NamedTuple):
    """An action on tables that are there, and the SQL that does the same."""

    label: str
    action: Transform
    sql: str
    table: TableDoc
    other: TableDoc | None


class Spent(NamedTuple):
    """Seconds: of the processor, and on the wall."""

    cpu: float
    wall: float


def cases(engine: DuckDB, docs: dict[str, TableDoc], only: set[str]) -> list[Case]:
    """The actions that were asked for, on these tables."""
    files = {key: f"read_parquet('{engine.root / doc.path}/data.parquet')" for key, doc in docs.items()}
    found = []
    for name, arguments, sql in ACTIONS:
        action = action_from({"name": name, "arguments": {"table": "staging.t", **arguments}})
        assert isinstance(action, Transform)
        other = docs[arguments["other"][-1]] if "other" in arguments else None
        label = f"{name} {arguments.get('method', '')}".strip()
        found += [Case(label, action, sql.format(**files), docs["t"], other)] if not only or name in only else []
    return found


def ours(engine: DuckDB, case: Case) -> None:
    one = engine.read(case.table, engine.root)
    two = engine.read(case.other, engine.root) if case.other else None
    engine.write(compile(case.action, one, two), engine.root / "tables/ours")


def by_hand(engine: DuckDB, case: Case) -> None:
    (engine.root / "tables/hand").mkdir()
    copy = f"COPY ({case.sql}) TO '{engine.root}/tables/hand/data.parquet' (FORMAT parquet, COMPRESSION zstd)"
    engine.con.con.execute(copy).fetchall()


SIDES: dict[str, Callable[[DuckDB, Case], None]] = {"ours": ours, "hand": by_hand}


def spent(engine: DuckDB, case: Case, side: str) -> Spent:
    """What one side takes."""
    shutil.rmtree(engine.root / "tables" / side, ignore_errors=True)
    cpu, wall = time.process_time(), time.perf_counter()
    SIDES[side](engine, case)
    return Spent(time.process_time() - cpu, time.perf_counter() - wall)


def pairs(engine: DuckDB, case: Case, most: int, seconds: float) -> list[tuple[Spent, Spent]]:
    """What ours and the hand's take, in turns: at most so many, and after the first only what time allows."""
    began = time.perf_counter()
    found: list[tuple[Spent, Spent]] = []
    while (len(found) < most and (time.perf_counter() - began) * (len(found) + 1) <= seconds * len(found)) or not found:
        order = ("ours", "hand") if len(found) % 2 == 0 else ("hand", "ours")
        got = {side: spent(engine, case, side) for side in order}
        found.append((got["ours"], got["hand"]))
    mine, theirs = (pq.read_metadata(engine.root / f"tables/{side}/data.parquet").num_rows for side in SIDES)
    assert mine == theirs, f"{case.label}: {mine} rows, by hand {theirs}"
    return found


def check_same(engine: DuckDB, case: Case) -> None:
    """Both leave the same values in the same order; the last digit of a sum of floats depends on the threads."""
    for side in SIDES:
        spent(engine, case, side)
    mine, theirs = (pq.read_table(engine.root / f"tables/{side}/data.parquet") for side in SIDES)
    assert mine.shape == theirs.shape, f"{case.label}: {mine.shape}, by hand {theirs.shape}"
    for name, one, two in zip(mine.column_names, mine.columns, theirs.columns, strict=True):
        for row, (a, b) in enumerate(zip(one.to_pylist(), two.to_pylist(), strict=True)):
            alike = a == b or (isinstance(a, float) and isinstance(b, float) and math.isclose(a, b))
            assert alike, f"{case.label}: row {row} of {name} is {a!r}, by hand {b!r}"


def compared(engine: DuckDB, case: Case, most: int, seconds: float) -> tuple[float, float]:
    """The ratios of the processor's time and of the wall's, printed and returned."""
    took = pairs(engine, case, most, seconds)
    mine, theirs = (statistics.median(side.cpu for side in sides) for sides in zip(*took, strict=True))
    cpu = statistics.median(a.cpu / b.cpu for a, b in took)
    wall = statistics.median(a.wall / b.wall for a, b in took)
    print(f"{case.label:<16} {mine:8.2f} s {theirs:8.2f} s {cpu:8.2f} {wall:8.2f} {len(took):6}", flush=True)
    return round(cpu, 3), round(wall, 3)


def tables(engine: DuckDB, rows: int, name: str) -> dict[str, TableDoc]:
    return {"t": made(engine, f"{name}_t", TABLE.format(rows=rows)), "u": made(engine, f"{name}_u", OTHER)}


def measured(engine: DuckDB, asked: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """The ratios of each action."""
    only = set(filter(None, asked.only.split(",")))
    for case in cases(engine, tables(engine, CHECKED, "small"), only):
        check_same(engine, case)
    chosen = cases(engine, tables(engine, asked.rows, "large"), only)
    print(f"{asked.rows:,} rows, processor time: {'ours':>7} {'by hand':>10} {'ratio':>8} {'on wall':>8} {'pairs':>6}")
    ends = time.perf_counter() + asked.seconds
    return {
        case.label: compared(engine, case, asked.pairs, (ends - time.perf_counter()) / (len(chosen) - place))
        for place, case in enumerate(chosen)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--pairs", type=int, default=5, help="of each action, at most")
    parser.add_argument("--seconds", type=float, default=600, help="for all actions together")
    parser.add_argument("--only", default="", help="names of actions, with commas between")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = DuckDB(Path(folder))
        ratios = measured(engine, asked)
        engine.close()
    cpu, wall = ({label: both[side] for label, both in ratios.items()} for side in (0, 1))
    found = {"transform_worst_vs_sql": max(cpu.values()), "transform_worst_vs_sql_wall": max(wall.values())}
    print(json.dumps({**found, "rows": asked.rows, "ratios": cpu, "ratios_wall": wall}))


if __name__ == "__main__":
    main()
