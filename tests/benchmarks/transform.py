"""Each transformation against the same by hand: DuckDB's own SQL, from one Parquet file into another, zstd both.

    python tests/benchmarks/transform.py [--rows 10000000] [--repeat 3] [--only derive,sort]

Ours reads a version, compiles the action and writes the next version; by hand it is one COPY that keeps the order of
rows, too. The two take turns, and the median of their ratios counts: 1 is as fast, above 1 slower. Both must leave as
many rows. The last line is JSON: `transform_worst_vs_sql`, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

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

#: An action and what a person would write; {t} and {u} are the files. `row` is the order that both keep.
NUMBERED = "(SELECT *, row_number() OVER () AS row FROM {t})"
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


def ours(engine: DuckDB, action: Transform, table: TableDoc, other: TableDoc | None) -> tuple[float, int]:
    path = engine.root / "tables/ours"
    shutil.rmtree(path, ignore_errors=True)
    began = time.perf_counter()
    one = engine.read(table, engine.root)
    two = engine.read(other, engine.root) if other else None
    written = engine.write(compile(action, one, two), path)
    return time.perf_counter() - began, written.rows


def by_hand(engine: DuckDB, query: str) -> tuple[float, int]:
    path = engine.root / "tables/hand"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    began = time.perf_counter()
    copy = f"COPY ({query}) TO '{path}/data.parquet' (FORMAT parquet, COMPRESSION zstd)"
    ((rows,),) = engine.con.raw_sql(copy).fetchall()
    return time.perf_counter() - began, int(rows)


def compared(engine: DuckDB, name: str, arguments: dict[str, Any], sql: str, repeat: int) -> tuple[str, float]:
    docs = {"t": DOCS["t"], "u": DOCS["u"]}
    files = {key: f"read_parquet('{engine.root / doc.path}/data.parquet')" for key, doc in docs.items()}
    action = action_from({"name": name, "arguments": {"table": "staging.t", **arguments}})
    assert isinstance(action, Transform)
    other = docs[arguments["other"][-1]] if "other" in arguments else None
    query = sql.format(**files)
    times = []
    for turn in range(repeat):
        first, second = ("ours", "hand") if turn % 2 == 0 else ("hand", "ours")
        got = {
            side: ours(engine, action, docs["t"], other) if side == "ours" else by_hand(engine, query)
            for side in (first, second)
        }
        assert got["ours"][1] == got["hand"][1], f"{name}: {got['ours'][1]} rows, by hand {got['hand'][1]}"
        times.append((got["ours"][0], got["hand"][0]))
    mine, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    label = f"{name} {arguments.get('method', '')}".strip()
    print(f"{label:<16} {mine:8.2f} s {theirs:8.2f} s by hand {ratio:6.2f}", flush=True)
    return label, round(ratio, 3)


DOCS: dict[str, TableDoc] = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    only = set(filter(None, asked.only.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        engine = DuckDB(Path(folder))
        DOCS["t"] = made(engine, "t", TABLE.format(rows=asked.rows))
        DOCS["u"] = made(engine, "u", OTHER)
        print(f"{asked.rows:,} rows; median of {asked.repeat}: ours, by hand, ratio (1 is as fast)")
        ratios = dict(compared(engine, *each, asked.repeat) for each in ACTIONS if not only or each[0] in only)
        engine.close()
    print(json.dumps({"transform_worst_vs_sql": max(ratios.values()), "rows": asked.rows, "ratios": ratios}))


if __name__ == "__main__":
    main()
