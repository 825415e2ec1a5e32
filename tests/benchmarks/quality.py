"""The quality analysis against its peers: the same generated table of 12 columns, and the same 16 checks.

    python tests/benchmarks/quality.py [--rows 10000000] [--peer-rows 1000000] [--rounds 3]

At `--rows`: our 16 checks against one plain aggregate by hand that computes the same 16 counts, and our analysis
against one DuckDB `SUMMARIZE`. At `--peer-rows`, the same and pointblank (on polars, and on DuckDB by Ibis), pandera
(polars, eager and lazy) and Great Expectations (pandas), as their tutorials run them; of a library's two ways the one
that takes less counts as the peer. Every measurement is a process of its own, which imports first and then works once,
from the Parquet file on; the rounds are interleaved, and each figure is the median of the rounds (Great Expectations
has one). Seconds are told by the clock and of the processor, all threads together: on a busy machine only the latter
are steady.
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
from statistics import median
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


def _spent() -> float:
    """Seconds of the processor that this process and its children have had, in all their threads."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _timed(act: Callable[[], list[int]]) -> dict[str, Any]:
    """Seconds by the clock and of the processor, the counts, and the process's peak memory in MB."""
    began, spent = time.perf_counter(), _spent()
    counts = act()
    return {
        **{"wall": time.perf_counter() - began, "cpu": _spent() - spent, "counts": counts},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _view(path: str) -> Any:
    import ibis

    con = ibis.duckdb.connect()
    con.raw_sql(f"CREATE VIEW orders AS SELECT * FROM '{path}'")
    return con


def ours_checks(path: str) -> dict[str, Any]:
    """Our checks, all in one aggregate, with examples of what fails."""
    from agentlab.actions import Check
    from agentlab.checks import run_all

    con = _view(path)
    checks = [Check(table="orders", **arguments) for _, arguments, _ in CHECKS]
    return _timed(lambda: [v.failing for v in run_all(SimpleNamespace(con=con), checks, con.table)])


def ours_analysis(path: str) -> dict[str, Any]:
    """Our whole analysis: profile, findings, examples, score."""
    from agentlab.quality import analyze

    con = _view(path)
    return _timed(lambda: [f.count for f in analyze(SimpleNamespace(con=con), con.table("orders"), "orders").findings])


def plain_pass(path: str) -> dict[str, Any]:
    """One aggregate by hand: the same counts, no examples."""
    con = _view(path)
    query = f"SELECT {', '.join(sql for *_, sql in CHECKS)} FROM orders"
    return _timed(lambda: list(con.raw_sql(query).fetchone()))


def summarize(path: str) -> dict[str, Any]:
    """DuckDB's own summary."""
    con = _view(path)
    return _timed(lambda: [len(con.raw_sql("SUMMARIZE orders").fetchall())])


def pointblank_polars(path: str) -> dict[str, Any]:
    """Pointblank on polars."""
    import polars as pl

    return _pointblank(lambda: pl.read_parquet(path))


def pointblank_duckdb(path: str) -> dict[str, Any]:
    """Pointblank on DuckDB by Ibis, which needn't hold the table in memory."""
    import ibis

    return _pointblank(lambda: ibis.duckdb.connect().read_parquet(path))


def _pointblank(read: Callable[[], Any]) -> dict[str, Any]:
    import pointblank as pb

    def act() -> list[int]:
        steps = pb.Validate(read())
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

    return _timed(act)


def pandera_eager(path: str) -> dict[str, Any]:
    """Pandera on a polars frame, all failures collected."""
    import polars as pl

    return _pandera(lambda: pl.read_parquet(path))


def pandera_lazy(path: str) -> dict[str, Any]:
    """Pandera on a lazy polars frame, told to look at the data, too."""
    import polars as pl

    return _pandera(lambda: pl.scan_parquet(path))


def _pandera(read: Callable[[], Any]) -> dict[str, Any]:
    from pandera.config import ValidationDepth, config_context
    from pandera.errors import SchemaErrors

    schema = _schema()

    def act() -> list[int]:
        with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            try:
                schema.validate(read(), lazy=True)
            except SchemaErrors as found:
                cases = found.failure_cases.group_by("column", "check").len().rows()
                return _counted({(str(column), str(check).split("(")[0]): n for column, check, n in cases})
        return [0] * len(CHECKS)

    return _timed(act)


#: What pandera calls a rule where it says what failed.
FAILED = {"not_null": "not_nullable", "unique": "field_uniqueness", "in_range": "in_range", "in_set": "isin",
          "matches": "str_matches"}  # fmt: skip


def _counted(failed: dict[tuple[str, str], int]) -> list[int]:
    whole = {check: n for (_, check), n in failed.items()}
    return [
        failed.get((check["columns"][0], FAILED[check["rule"]]), 0)
        if check["rule"] in FAILED
        else whole.get(check["rule"], 0)
        for _, check, _ in CHECKS
    ]


def _schema() -> Any:
    import pandera.polars as pa
    import polars as pl

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
        pa.Check(lambda data: data.lazyframe.select(pl.col("ordered") <= pl.col("shipped")), name="compares"),
        pa.Check(lambda data: data.lazyframe.select(pl.len() >= 1), name="row_count"),
    ]
    return pa.DataFrameSchema({name: pa.Column(**spec) for name, spec in columns.items()}, checks=rows)


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

    return _timed(act)


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


Act = Callable[[str], dict[str, Any]]
OURS: tuple[Act, ...] = (ours_checks, plain_pass, ours_analysis, summarize)
POLARS: tuple[Act, ...] = (pointblank_polars, pointblank_duckdb, pandera_eager, pandera_lazy)
#: A library and its ways to run.
PEERS = {
    "pointblank": ("pointblank_polars", "pointblank_duckdb"),
    "pandera": ("pandera_eager", "pandera_lazy"),
    "gx": ("great_expectations",),
}
Measured = dict[str, dict[str, Any]]


def _alone(act: Act, path: Path) -> dict[str, Any]:
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


def _measured(acts: tuple[Act, ...], path: Path, rows: int, rounds: int) -> Measured:
    """The medians of interleaved rounds; every round begins with another contestant."""
    runs: dict[str, list[dict[str, Any]]] = {act.__name__: [] for act in acts}
    for turn in range(rounds):
        for act in (*acts[turn % len(acts) :], *acts[: turn % len(acts)]):
            if turn == 0 or act is not great_expectations:
                runs[act.__name__].append(_alone(act, path))
    print(f"\n{rows:,} rows x 12 columns, {path.stat().st_size / 1e6:,.0f} MB of Parquet, medians of {rounds}")
    print(f"{'':24}{'wall s':>9}{'cpu s':>9}{'peak MB':>10}  counts")
    found = {}
    for name, got in runs.items():
        middle = {key: median(one[key] for one in got) for key in ("wall", "cpu")}
        found[name] = one = {**middle, "counts": got[0]["counts"], "peak_mb": max(run["peak_mb"] for run in got)}
        row = f"{name.replace('_', ' '):24}{one['wall']:>9.2f}{one['cpu']:>9.2f}{one['peak_mb']:>10,.0f}"
        print(f"{row}  {_unlike(name, one['counts'], runs)}", flush=True)
    return found


def _unlike(name: str, counts: list[int], runs: dict[str, list[dict[str, Any]]]) -> str:
    """How the 16 counts differ from those by hand."""
    if len(counts) != len(CHECKS):
        return ""
    by_hand = runs["plain_pass"][0]["counts"]
    unlike = [
        f"{check} {b:,} (by hand {a:,})"
        for (check, *_), a, b in zip(CHECKS, by_hand, counts, strict=True)
        if a != b
    ]  # fmt: skip
    if unlike and name.startswith("ours"):
        raise SystemExit(f"our counts differ from those by hand: {unlike}")
    return "; ".join(unlike) or "the same 16"


def _figures(large: Measured, small: Measured) -> dict[str, Any]:
    """The ratios, by the clock and of the processor: of passes ours over theirs, of peers theirs over ours."""
    ours, figures = small["ours_checks"], {}
    for kind, suffix in (("wall", ""), ("cpu", "_cpu")):
        figures[f"quality_vs_pass{suffix}"] = large["ours_checks"][kind] / large["plain_pass"][kind]
        figures[f"analysis_vs_summarize{suffix}"] = large["ours_analysis"][kind] / large["summarize"][kind]
        for peer, ways in PEERS.items():
            figures[f"quality_vs_{peer}{suffix}"] = min(small[way][kind] for way in ways) / ours[kind]
    peak = max(large[name]["peak_mb"] for name in ("ours_checks", "ours_analysis"))
    return {name: round(value, 2) for name, value in figures.items()} | {"quality_peak_mb": round(peak)}


#: A goal: its figure, whether it must be at most or at least so much, and what it says.
GOALS: tuple[tuple[str, str, float, str], ...] = (
    ("quality_vs_pass", "at most", 2, "our checks over one plain pass"),
    ("quality_vs_pointblank", "at least", 3, "times as fast as pointblank"),
    ("quality_vs_gx", "at least", 10, "times as fast as Great Expectations"),
    ("quality_peak_mb", "at most", 1000, "MB of memory at most, ours"),
)


def _told(figures: dict[str, Any]) -> None:
    print(f"\n{'':42}{'wall':>8}{'cpu':>8}")
    for name, limit, goal, what in GOALS:
        found, spent = figures[name], figures.get(f"{name}_cpu")
        met = [value <= goal if limit == "at most" else value >= goal for value in (found, spent) if value is not None]
        verdict = "met" if all(met) else "not met" if not any(met) else f"met by {'wall' if met[0] else 'cpu'} only"
        print(f"{what:42}{found:>8}{spent if spent is not None else '':>8}  goal: {limit} {goal:g}, {verdict}")
    for name, what in (("quality_vs_pandera", "times as fast as pandera"),
                       ("analysis_vs_summarize", "our analysis over SUMMARIZE")):  # fmt: skip
        print(f"{what:42}{figures[name]:>8}{figures[f'{name}_cpu']:>8}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--peer-rows", type=int, default=1_000_000, help="rows for the peers; ours runs at as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the tables are kept for another run; by default they go")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        known = {act.__name__: act for act in (*OURS, *POLARS, great_expectations)}
        print(json.dumps(known[options.one](options.path)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        peers = (*OURS, *POLARS, great_expectations)
        small = _measured(peers, _made(folder, options.peer_rows), options.peer_rows, options.rounds)
        large = _measured(OURS, _made(folder, options.rows), options.rows, options.rounds)
    figures = {"rows": options.rows, "peer_rows": options.peer_rows} | _figures(large, small)
    _told(figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
