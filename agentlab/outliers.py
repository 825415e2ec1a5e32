"""Numbers far from the others, by three methods, with the bounds that each draws.

Bounds come from exact figures, so the same rows are counted whoever counts them. Whether an outlier is a fault is not
said here: `quality.analyze` tells the absurd ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import ibis
from pydantic import BaseModel, ConfigDict

from agentlab.errors import PlanError, unknown
from agentlab.measuring import Connected, Data, opened, plain
from agentlab.profiles import ColumnProfile, profile
from agentlab.quality import EXAMPLES, Finding

Method = Literal["iqr", "zscore", "mad"]
THRESHOLDS: dict[Method, float] = {"iqr": 1.5, "zscore": 3.0, "mad": 3.5}

#: What makes a median absolute deviation, and a mean one, agree with a normal distribution's standard deviation: the
#: modified z-score is 0.6745 |x - median| / MAD, or |x - median| / (1.253314 MeanAD) where the MAD is 0
#: (Iglewicz and Hoaglin 1993).
MEDIAN_TO_SIGMA, MEAN_TO_SIGMA = 1 / 0.6745, 1.253314


class Outlying(BaseModel):
    """What lies outside one column's bounds. `center` is the median, for zscore the mean."""

    model_config = ConfigDict(frozen=True)

    column: ColumnProfile
    low: float
    high: float
    center: float
    count: int
    below: int
    above: int


class Outliers(BaseModel):
    """Outliers of one version of a table, a column at a time, with a finding for each column that has any."""

    model_config = ConfigDict(frozen=True)

    table: str
    version: int
    rows: int
    method: Method
    threshold: float
    columns: list[Outlying]
    findings: list[Finding]


def find_outliers(
    engine: Connected,
    table: ibis.Table,
    name: str,
    columns: Sequence[str] = (),
    method: Method = "iqr",
    threshold: float | None = None,
    version: int = 1,
) -> Outliers:
    """Count the numbers outside the bounds; all columns of numbers, or text that reads as numbers, but identifiers.

    iqr: below the first or above the third quartile by more than `threshold` (1.5) interquartile ranges (Tukey 1977);
    quartiles are interpolated (DuckDB's `quantile_cont`, R's type 7). zscore: more than `threshold` (3) sample standard
    deviations from the mean. mad: a modified z-score above `threshold` (3.5). PlanError for a column without numbers.

    >>> import pyarrow as pa
    >>> from types import SimpleNamespace
    >>> table = ibis.memtable(pa.table({"weight": [10, 11, 12, 13, 14, 15, 16, 25, 9000]}))
    >>> found = find_outliers(SimpleNamespace(con=ibis.duckdb.connect()), table, "parcels")
    >>> [(f.column, f.count) for f in found.findings], found.columns[0].high
    ([('weight', 2)], 22.0)
    """
    limit = THRESHOLDS[method] if threshold is None else threshold
    with opened(engine, table) as data:
        rows: int = data.measure(["COUNT(*)"])[0]
        chosen = _numeric(data, name, rows, tuple(dict.fromkeys(columns)))
        found = [_outlying(data, column, method, limit) for column in chosen]
        findings = [_finding(data, name, rows, one, method, limit) for one in found if one.count]
    return Outliers(
        table=name,
        version=version,
        rows=rows,
        method=method,
        threshold=limit,
        columns=found,
        findings=sorted(findings, key=lambda f: -f.count),
    )


def _numeric(data: Data, table: str, rows: int, named: Sequence[str]) -> list[ColumnProfile]:
    for column in named:
        if column not in data.columns:
            raise PlanError(unknown("column", column, data.columns, f"in {table}"))
    profiles = profile(data, rows, named or data.columns)
    numbers = [c for c in profiles if c.number is not None]
    if words := [c for c in profiles if c.number is None and c.name in named and c.distinct]:
        kinds = ", ".join(f"{c.name} is {c.reads_as or c.type}" for c in words)
        raise PlanError(f"outliers are sought among numbers; {kinds}")
    return [c for c in numbers if c.min is not None and (named or not c.identifies)]


def _outlying(data: Data, column: ColumnProfile, method: Method, threshold: float) -> Outlying:
    low, high, center = _BOUNDS[method](data, column, threshold)
    below, above = (f"COUNT(*) FILTER (WHERE {_of(column)} {side})" for side in (f"< {low!r}", f"> {high!r}"))
    under, over = data.measure([below, above])
    return Outlying(
        column=column, low=low, high=high, center=center, count=under + over, below=int(under), above=int(over)
    )


def _of(column: ColumnProfile) -> str:
    return column.number or "NULL"


def _finite(column: ColumnProfile) -> str:
    return f"CASE WHEN isfinite(CAST({_of(column)} AS DOUBLE)) THEN CAST({_of(column)} AS DOUBLE) END"


def _by_iqr(data: Data, column: ColumnProfile, threshold: float) -> tuple[float, float, float]:
    if column.quantiles:
        q1, median, q3 = (column.quantiles[q] for q in (0.25, 0.5, 0.75))
    else:
        ((q1, median, q3),) = data.measure([f"QUANTILE_CONT({_finite(column)}, [0.25, 0.5, 0.75])"])
    return q1 - threshold * (q3 - q1), q3 + threshold * (q3 - q1), median


def _by_zscore(data: Data, column: ColumnProfile, threshold: float) -> tuple[float, float, float]:
    number = _finite(column)
    mean, sigma = data.measure([f"AVG({number})", f"STDDEV_SAMP({number})"])
    return mean - threshold * (sigma or 0.0), mean + threshold * (sigma or 0.0), mean


def _by_mad(data: Data, column: ColumnProfile, threshold: float) -> tuple[float, float, float]:
    number = _finite(column)
    median: float = data.measure([f"MEDIAN({number})"])[0]
    away = f"ABS({number} - ({median!r}))"
    deviation, mean = data.measure([f"MEDIAN({away})", f"AVG({away})"])
    sigma = deviation * MEDIAN_TO_SIGMA or mean * MEAN_TO_SIGMA
    return median - threshold * sigma, median + threshold * sigma, median


_BOUNDS = {"iqr": _by_iqr, "zscore": _by_zscore, "mad": _by_mad}


def _finding(data: Data, table: str, rows: int, found: Outlying, method: Method, threshold: float) -> Finding:
    column, number = found.column, _of(found.column)
    where = f"{number} < {found.low!r} OR {number} > {found.high!r}"
    query = f"SELECT * FROM {data.name} WHERE {where} ORDER BY ABS({number} - ({found.center!r})) DESC LIMIT {EXAMPLES}"  # noqa: S608
    examples: list[dict[str, Any]] = [plain(row) for row in data.ask(query)]
    bounds = f"below {found.low:,.6g} ({found.below:,}) or above {found.high:,.6g} ({found.above:,})"
    return Finding(
        table=table,
        column=column.name,
        kind="outlier",
        count=found.count,
        rows=rows,
        severity="warning",
        message=f"{found.count:,} of {rows:,} values of {column.name} are outliers by {method} {threshold:g}: {bounds}",
        examples=examples,
        where=where,
    )
