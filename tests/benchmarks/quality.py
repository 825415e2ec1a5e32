"""The quality analysis against its peers: the same generated table of 12 columns, and the same 16 checks.

    python tests/benchmarks/quality.py [--rows 10000000] [--peer-rows 1000000]

(a) our analysis against one DuckDB `SUMMARIZE`; (b) our 16 checks against one plain aggregate by hand that computes the
same 16 counts; (c) our 16 checks against pointblank (polars), pandera (polars) and Great Expectations (pandas), each at
`--peer-rows`, as its tutorials run it. Every row runs in a process of its own, which prints its best of two (peers:
one), its counts and its peak memory; counts must agree. A ratio is the peer's seconds over ours: above 1 we are faster.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TABLE = """
COPY (SELECT i AS order_id, (hash(i) % 200000)::BIGINT AS customer_id,
  CASE WHEN hash(i + 1) % 50 = 0 THEN NULL WHEN hash(i + 1) % 997 = 1 THEN 'nobody'
       ELSE 'user' || (hash(i) % 200000) || '@example.org' END AS email,
  CASE WHEN hash(i + 2) % 5000 = 0 THEN 'XX' ELSE ['DE', 'FR', 'IT', 'ES', 'PL', 'NL'][1 + (hash(i + 2) % 6)::INT] END
    AS country,
  ['open', 'paid', 'shipped', 'returned'][1 + (hash(i + 3) % 4)::INT] AS status,
  CASE WHEN hash(i + 4) % 3000 = 0 THEN -1 ELSE 1 + (hash(i + 4) % 9)::BIGINT END AS quantity,
  round(exp(3 + sqrt(-2 * ln((hash(i + 5) % 1000000 + 1) / 1000001)) * cos(2 * pi() * (hash(i + 6) % 1000000) / 1e6)),
    2) AS unit_price,
  (hash(i + 7) % 30) / 100.0::DOUBLE AS discount,
  DATE '2024-01-01' + (hash(i + 8) % 700)::INT AS ordered,
  DATE '2024-01-01' + (hash(i + 8) % 700 + hash(i + 9) % 9)::INT - IF(hash(i + 9) % 2000 = 0, 9, 0) AS shipped,
  hash(i + 10) % 3 = 0 AS gift,
  'note ' || (hash(i + 11) % 1000000) || ' left at the door' AS note
FROM range({rows}) r(i)) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""

#: The 16 checks: a name, what it asks, and the count of what fails as plain SQL.
EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
CHECKS: list[tuple[str, dict[str, Any], str]] = [
    *((f"not_null {c}", {"rule": "not_null", "columns": [c]}, f"COUNT(*) - COUNT({c})")
      for c in ("order_id", "customer_id", "email", "unit_price", "ordered")),
    ("unique order_id", {"rule": "unique", "columns": ["order_id"]}, "COUNT(order_id) - COUNT(DISTINCT order_id)"),
    *((f"in_range {c}", {"rule": "in_range", "columns": [c], "min": low, "max": high},
       f"COUNT(*) FILTER (WHERE {c} < {low} OR {c} > {high})")
      for c, low, high in
      (("quantity", 1, 100), ("unit_price", 0, 1000), ("discount", 0, 0.25), ("customer_id", 0, 9e5))),
    ("in_set country", {"rule": "in_set", "columns": ["country"], "values": ["DE", "FR", "IT", "ES", "PL", "NL"]},
     "COUNT(*) FILTER (WHERE country NOT IN ('DE', 'FR', 'IT', 'ES', 'PL', 'NL'))"),
    ("in_set status", {"rule": "in_set", "columns": ["status"], "values": ["open", "paid", "shipped", "returned"]},
     "COUNT(*) FILTER (WHERE status NOT IN ('open', 'paid', 'shipped', 'returned'))"),
    ("matches email", {"rule": "matches", "columns": ["email"], "pattern": EMAIL},
     f"COUNT(*) FILTER (WHERE NOT regexp_matches(email, '{EMAIL}'))"),
    ("matches note", {"rule": "matches", "columns": ["note"], "pattern": "note [0-9]+ left at the door"},
     "COUNT(*) FILTER (WHERE NOT regexp_matches(note, '^note [0-9]+ left at the door$'))"),
    ("compares ordered", {"rule": "compares", "columns": ["ordered"], "operator": "<=", "than": "shipped"},
     "COUNT(*) FILTER (WHERE ordered > shipped)"),
    ("row_count", {"rule": "row_count", "min": 1}, "CAST(COUNT(*) < 1 AS INTEGER)"),
]  # fmt: skip


def _timed(act: Callable[[], list[int] | None], rounds: int) -> dict[str, Any]:
    """Seconds of the best round, the counts, and the process's peak memory in MB."""
    times: list[float] = []
    counts: list[int] | None = None
    for _ in range(rounds):
        began = time.perf_counter()
        counts = act()
        times.append(time.perf_counter() - began)
    return {
        "seconds": min(times),
        "counts": counts,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _view(path: str) -> Any:
    import ibis

    con = ibis.duckdb.connect()
    con.raw_sql(f"CREATE VIEW orders AS SELECT * FROM '{path}'")
    return con


def ours_checks(path: str) -> dict[str, Any]:
    """Our checks, all in one aggregate."""
    from agentlab.actions import Check
    from agentlab.checks import run_all

    con = _view(path)
    checks = [Check(table="orders", **arguments) for _, arguments, _ in CHECKS]
    return _timed(lambda: [v.failing for v in run_all(SimpleNamespace(con=con), checks, con.table)], 2)


def ours_analysis(path: str) -> dict[str, Any]:
    """Our whole analysis: profile, findings, examples, score."""
    from agentlab.quality import analyze

    con = _view(path)
    return _timed(
        lambda: [f.count for f in analyze(SimpleNamespace(con=con), con.table("orders"), "orders").findings], 2
    )


def plain_pass(path: str) -> dict[str, Any]:
    """One aggregate by hand: the same counts, no examples."""
    con = _view(path)
    query = f"SELECT {', '.join(sql for *_, sql in CHECKS)} FROM orders"
    return _timed(lambda: list(con.raw_sql(query).fetchone()), 2)


def summarize(path: str) -> dict[str, Any]:
    """DuckDB's own summary."""
    con = _view(path)
    return _timed(lambda: [len(con.raw_sql("SUMMARIZE orders").fetchall())], 2)


def pointblank(path: str) -> dict[str, Any]:
    """Pointblank on polars, the fastest of its backends here."""
    import pointblank as pb
    import polars as pl

    def act() -> list[int]:
        steps = pb.Validate(pl.read_parquet(path))
        for _, check, _ in CHECKS:
            column = check.get("columns", [""])[0]
            match check["rule"]:
                case "not_null":
                    steps = steps.col_vals_not_null(column)
                case "unique":
                    steps = steps.rows_distinct([column])
                case "in_range":
                    steps = steps.col_vals_between(column, check["min"], check["max"])
                case "in_set":
                    steps = steps.col_vals_in_set(column, check["values"])
                case "matches":
                    steps = steps.col_vals_regex(column, check["pattern"], na_pass=True)
                case "compares":
                    steps = steps.col_vals_le(column, pb.col(check["than"]))
                case "row_count":
                    steps = steps.row_count_match(1, tol=(0, 10**12))
        failed = steps.interrogate().n_failed()
        return [int(failed[number]) for number in range(1, len(CHECKS) + 1)]

    return _timed(act, 1)


def pandera(path: str) -> dict[str, Any]:
    """Pandera on polars, all failures collected."""
    import pandera.polars as pa
    import polars as pl
    from pandera.errors import SchemaErrors

    columns: dict[str, dict[str, Any]] = {}
    for _, check, _ in CHECKS:
        name = check.get("columns", [""])[0]
        spec = columns.setdefault(name, {"checks": [], "nullable": True})
        match check["rule"]:
            case "not_null":
                spec["nullable"] = False
            case "unique":
                spec["unique"] = True
            case "in_range":
                spec["checks"].append(pa.Check.in_range(check["min"], check["max"]))
            case "in_set":
                spec["checks"].append(pa.Check.isin(check["values"]))
            case "matches":
                spec["checks"].append(pa.Check.str_matches(check["pattern"]))
    columns.pop("", None)
    rows = [
        pa.Check(lambda data: data.lazyframe.select(pl.col("ordered") <= pl.col("shipped"))),
        pa.Check(lambda data: data.lazyframe.select(pl.len() >= 1)),
    ]
    schema = pa.DataFrameSchema({name: pa.Column(**spec) for name, spec in columns.items()}, checks=rows)

    def act() -> None:
        try:
            schema.validate(pl.read_parquet(path), lazy=True)
        except SchemaErrors as found:
            assert len(found.failure_cases)

    return _timed(act, 1)


def great_expectations(path: str) -> dict[str, Any]:
    """Great Expectations on pandas, with its summaries as results."""
    import great_expectations as gx
    import pandas as pd

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("orders")
    batches = asset.add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(name="checks")
    for number, (_, check, _) in enumerate(CHECKS):
        suite.add_expectation(_expectation(gx.expectations, check, {"number": number}))

    def act() -> list[int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = batches.get_batch({"dataframe": pd.read_parquet(path)}).validate(suite)
        inorder = sorted(result.results, key=lambda r: r.expectation_config.meta["number"])
        return [int(r.result.get("unexpected_count", not r.success)) for r in inorder]

    return _timed(act, 1)


def _expectation(known: Any, check: dict[str, Any], meta: dict[str, Any]) -> Any:
    column = check.get("columns", [""])[0]
    match check["rule"]:
        case "not_null":
            return known.ExpectColumnValuesToNotBeNull(column=column, meta=meta)
        case "unique":
            return known.ExpectColumnValuesToBeUnique(column=column, meta=meta)
        case "in_range":
            ends = {"min_value": check["min"], "max_value": check["max"]}
            return known.ExpectColumnValuesToBeBetween(column=column, meta=meta, **ends)
        case "in_set":
            return known.ExpectColumnValuesToBeInSet(column=column, value_set=check["values"], meta=meta)
        case "matches":
            return known.ExpectColumnValuesToMatchRegex(column=column, regex=check["pattern"], meta=meta)
        case "compares":
            pair = {"column_A": check["than"], "column_B": column, "or_equal": True}
            skip = {"ignore_row_if": "either_value_is_missing"}
            return known.ExpectColumnPairValuesAToBeGreaterThanB(meta=meta, **pair, **skip)
    return known.ExpectTableRowCountToBeBetween(min_value=1, meta=meta)


OURS = (ours_checks, plain_pass, ours_analysis, summarize)
PEERS = (ours_checks, pointblank, pandera, great_expectations)


def _alone(act: Callable[[str], dict[str, Any]], path: Path) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", act.__name__, "--path", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{act.__name__} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _made(folder: Path, rows: int) -> Path:
    import duckdb

    path = folder / f"orders_{rows}.parquet"
    if not path.exists():
        duckdb.connect().execute(TABLE.format(rows=rows, path=path))
    return path


def _shown(acts: tuple[Callable[..., Any], ...], path: Path, rows: int) -> dict[str, dict[str, Any]]:
    print(f"\n{rows:,} rows x 12 columns, {path.stat().st_size / 1e6:,.0f} MB of Parquet")
    print(f"{'':24}{'seconds':>9}{'peak MB':>10}")
    found: dict[str, dict[str, Any]] = {}
    for act in acts:
        found[act.__name__] = got = _alone(act, path)
        print(f"{act.__name__.replace('_', ' '):24}{got['seconds']:>9.2f}{got['peak_mb']:>10,.0f}", flush=True)
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--peer-rows", type=int, default=1_000_000, help="rows for (c); ours runs at as many")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        known = {act.__name__: act for act in (*OURS, *PEERS)}
        print(json.dumps(known[options.one](options.path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        large = _shown(OURS, _made(Path(folder), options.rows), options.rows)
        small = _shown(PEERS, _made(Path(folder), options.peer_rows), options.peer_rows)
    assert large["ours_checks"]["counts"] == large["plain_pass"]["counts"], "the counts differ from those by hand"
    for peer in ("pointblank", "great_expectations"):
        unlike = [
            (name, a, b)
            for (name, *_), a, b in zip(CHECKS, small["ours_checks"]["counts"], small[peer]["counts"], strict=True)
            if a != b
        ]
        print(f"{peer}: {'the same 16 counts' if not unlike else f'other counts (check, ours, theirs): {unlike}'}")
    over = {peer: small[peer]["seconds"] / small["ours_checks"]["seconds"] for peer in small}
    analysis = large["ours_analysis"]["seconds"] / large["summarize"]["seconds"]
    result = {
        "rows": options.rows,
        "peer_rows": options.peer_rows,
        "quality_vs_pass": round(large["ours_checks"]["seconds"] / large["plain_pass"]["seconds"], 2),
        "quality_vs_pointblank": round(over["pointblank"], 1),
        "quality_vs_pandera": round(over["pandera"], 1),
        "quality_vs_gx": round(over["great_expectations"], 1),
        "quality_peak_mb": round(max(large[name]["peak_mb"] for name in ("ours_checks", "ours_analysis"))),
        "analysis_vs_summarize": round(analysis, 2),
    }
    print("\nours against one plain pass (goal: at most 2): {quality_vs_pass}; our analysis against SUMMARIZE: "
          "{analysis_vs_summarize}\ntimes as fast as pointblank (goal 3): {quality_vs_pointblank}, pandera: "
          "{quality_vs_pandera}, Great Expectations (goal 10): {quality_vs_gx}; peak {quality_peak_mb} MB (goal: under "
          "1,000)".format(**result))  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
