"""Whether two tables' columns are distributed alike: tests with their effect sizes, so that size alone proves nothing.

Numbers and moments: the two-sample Kolmogorov-Smirnov test, whose statistic D is the effect size, on a sample of each
table of more than 100,000 rows. All else: Pearson's chi-squared on full counts, with Cramer's V. Both: the population
stability index. A column drifts if p < 0.01 (Bonferroni: divided by the number of columns tested) and the effect isn't
tiny: D >= 0.1, V >= 0.1 (Cohen 1988 calls less than that small), or PSI >= 0.2 (Siddiqi 2006: below 0.1 stable).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ibis
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from agentlab.cells import Cell, cell_of
from agentlab.errors import PlanError, unknown
from agentlab.measuring import Connected, Data, opened
from agentlab.quality import Finding
from agentlab.semantics import is_code, is_key

ALPHA = 0.01
EFFECT, PSI = 0.1, 0.2
#: A share of missing cells that changes by so much is drift, too (points of 1), if a test of two shares agrees.
MISSING = 0.05
SAMPLE = 100_000
#: Bins of the PSI by quantiles of the reference, and of the picture.
BINS, DRAWN = 10, 24
#: More categories than this are pooled; a column where nearly every value is its own has no distribution to compare.
CATEGORIES = 50

Floats = npt.NDArray[np.float64]


class ColumnDrift(BaseModel):
    """One column in both tables. `effect` is D or V; `missing` are the shares of empty cells, here and there, and
    `missing_p` the p of their being alike; with the test `missing` there is no more to compare.

    `bars` has the same bins or categories for both: of the table, of the reference, as shares of their rows.
    """

    model_config = ConfigDict(frozen=True)

    column: str
    type: str
    test: Literal["ks", "chi2", "missing"]
    statistic: float
    p: float
    effect: float
    psi: float
    missing: tuple[float, float]
    missing_p: float
    drifted: bool
    message: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    bars: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    @property
    def moved(self) -> list[tuple[str, float, float]]:
        """Each category with its share there and here, the most changed first."""
        found = zip(self.categories, self.bars[1], self.bars[0], strict=True)
        return sorted(found, key=lambda one: -abs(one[1] - one[2]))


class Drift(BaseModel):
    """How a table differs from a reference. `untested` says of each column that wasn't compared why not."""

    model_config = ConfigDict(frozen=True)

    table: str
    version: int
    reference: str
    rows: int
    reference_rows: int
    columns: list[ColumnDrift]
    untested: dict[str, str]
    findings: list[Finding]


def compare(
    engine: Connected,
    table: ibis.Table,
    reference: ibis.Table,
    name: str,
    against: str,
    columns: Sequence[str] = (),
    version: int = 1,
) -> Drift:
    """Compare the columns that both tables have; without `columns`, all but identifiers.

    PlanError for a column that either hasn't, and for tables without rows or without a column to compare.

    >>> import pyarrow as pa
    >>> from types import SimpleNamespace
    >>> low, high = (ibis.memtable(pa.table({"n": [n + more for n in range(100)]})) for more in (0, 60))
    >>> drift = compare(SimpleNamespace(con=ibis.duckdb.connect()), high, low, "june", "may")
    >>> [(f.column, f.kind) for f in drift.findings], drift.columns[0].effect
    ([('n', 'drift')], 0.6)
    """
    with opened(engine, table) as ours, opened(engine, reference) as theirs:
        rows, others = (int(data.measure(["COUNT(*)"])[0]) for data in (ours, theirs))
        if not (rows and others):
            raise PlanError(f"{against if rows else name} has no rows; there is nothing to compare")
        untested = _told_apart(ours, theirs, name, against, columns)
        found: list[ColumnDrift] = []
        for column in dict.fromkeys(c for c in (columns or ours.columns) if c not in untested):
            one = _compared(Side.of(ours, column, rows), Side.of(theirs, column, others), bool(columns))
            if isinstance(one, str):
                untested[column] = one
            else:
                found.append(one)
    judged = [_judged(one, len(found)) for one in found]
    if not judged:
        why = "; ".join(f"{column}: {reason}" for column, reason in untested.items())
        raise PlanError(f"{name} and {against} have no column to compare ({why})")
    findings = [_finding(one, name, against, rows) for one in judged if one.drifted]
    return Drift(
        **{"table": name, "version": version, "reference": against, "rows": rows, "reference_rows": others},
        **{"columns": judged, "untested": untested, "findings": findings},
    )


def _told_apart(ours: Data, theirs: Data, name: str, against: str, columns: Sequence[str]) -> dict[str, str]:
    for column in columns:
        for data, where in ((ours, name), (theirs, against)):
            if column not in data.columns:
                raise PlanError(unknown("column", column, data.columns, f"in {where}"))
    apart = {c: f"only {name} has it" for c in ours.columns if c not in theirs.columns}
    apart |= {c: f"only {against} has it" for c in theirs.columns if c not in ours.columns}
    for column in (c for c in ours.columns if c in theirs.columns):
        one, two = cell_of(column, ours.columns[column]), cell_of(column, theirs.columns[column])
        if _ordered(one) != _ordered(two):
            apart[column] = f"{one.type} in {name}, {two.type} in {against}"
        elif not columns and (is_key(column) or is_code(column)):
            apart[column] = "it names things"
    return apart if not columns else {c: why for c, why in apart.items() if c in columns}


def _ordered(cell: Cell) -> str:
    kinds = {"int": "number", "float": "number", "date": "moment", "timestamp": "moment"}
    return kinds.get(cell.type, cell.type)


@dataclass(frozen=True)
class Side:
    """One column in one of the tables: `filled` are its cells that hold something."""

    data: Data
    cell: Cell
    rows: int
    filled: int

    @classmethod
    def of(cls, data: Data, column: str, rows: int) -> Side:
        cell = cell_of(column, data.columns[column])
        return cls(data, cell, rows, int(data.measure([f"COUNT(*) FILTER (WHERE {cell.filled})"])[0]))

    @property
    def missing(self) -> float:
        return 1 - self.filled / self.rows

    @property
    def scattered(self) -> bool:
        """Whether nearly every value is its own."""
        many = int(self.data.measure([f"APPROX_COUNT_DISTINCT({self.cell.sql})"])[0])
        return many > CATEGORIES and 2 * many > self.filled

    def values(self) -> Floats:
        """The column's numbers, of moments seconds since 1970; of a large table a sample, the same every time."""
        sql, name = self.cell.sql, self.data.name
        number = f"epoch({sql})" if self.cell.type in ("date", "timestamp") else f"CAST({sql} AS DOUBLE)"
        source = name
        if self.rows > SAMPLE:
            # Rows are drawn by a hash of their place, so neither chance nor the number of threads has a say.
            numbered = f"SELECT {sql}, hash(row_number() OVER ()) AS place FROM {name}"  # noqa: S608
            source = f"(SELECT {sql} FROM ({numbered}) WHERE place < {2**64 * SAMPLE // self.rows})"  # noqa: S608
        query = f"SELECT {number} AS x FROM {source} WHERE {self.cell.filled} AND isfinite({number})"  # noqa: S608
        found: Floats = self.data.arrow(query)["x"].to_numpy().astype(np.float64)
        return found


def _compared(ours: Side, theirs: Side, named: bool) -> ColumnDrift | str:
    """One column's figures, not judged yet; or why it has no distribution to compare."""
    if not (ours.filled or theirs.filled):
        return "it has no value"
    if not (ours.filled and theirs.filled):
        return _emptied(ours, theirs)
    if _ordered(ours.cell) in ("number", "moment"):
        values = ours.values(), theirs.values()
        return _of_numbers(ours, theirs, *values) if all(map(len, values)) else "it has no finite value in one of them"
    if not named and (ours.scattered or theirs.scattered):
        return "nearly every value is its own"
    return _of_categories(ours, theirs)


def _described(ours: Side, theirs: Side, test: str, statistic: float, p: float, **more: Any) -> ColumnDrift:
    table = np.array([[side.rows - side.filled, side.filled] for side in (ours, theirs)], dtype=np.float64)
    return ColumnDrift(
        **{"column": ours.cell.name, "type": ours.cell.type, "test": test, "statistic": statistic, "p": p},
        **{"missing": (ours.missing, theirs.missing), "missing_p": _chi_squared(table)[1]},
        **{"drifted": False, "message": "", **more},
    )


def _emptied(ours: Side, theirs: Side) -> ColumnDrift:
    """A column that has values in one table only: all that there is to compare is that."""
    return _described(ours, theirs, "missing", 0.0, 1.0, effect=0.0, psi=0.0)


def _of_numbers(ours: Side, theirs: Side, here: Floats, there: Floats) -> ColumnDrift:
    from scipy import stats  # 60 MB that only a comparison needs

    tested = stats.ks_2samp(here, there, method="exact" if max(len(here), len(there)) <= 1000 else "asymp")
    cuts = np.unique(np.quantile(there, np.linspace(0, 1, BINS + 1)[1:-1]))
    edges = _edges(here, there, whole=ours.cell.type == theirs.cell.type == "int")
    bars = tuple(tuple(_shares(np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0])) for v in (here, there))
    figures = {"effect": round(float(tested.statistic), 6), "psi": psi(_binned(here, cuts), _binned(there, cuts))}
    shown = {"edges": tuple(edges.tolist()), "bars": bars}
    return _described(ours, theirs, "ks", float(tested.statistic), float(tested.pvalue), **figures, **shown)


def _edges(here: Floats, there: Floats, whole: bool) -> Floats:
    """The picture's bins: over the middle 98% of both, so that no giant hides the rest; few whole numbers, one each."""
    ends = [np.quantile(values, (0.01, 0.99)) for values in (here, there)]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    if whole and high - low < DRAWN:
        return np.arange(np.floor(low), np.ceil(high) + 2)
    return np.linspace(low, high, DRAWN + 1) if high > low else np.array([low - 0.5, low + 0.5])


def _binned(values: Floats, cuts: Floats) -> Floats:
    return np.bincount(np.searchsorted(cuts, values, side="left"), minlength=len(cuts) + 1).astype(np.float64)


def _shares(counts: npt.NDArray[Any]) -> list[float]:
    return [round(float(share), 6) for share in counts / max(counts.sum(), 1)]


def psi(ours: Floats, theirs: Floats) -> float:
    """The population stability index of two lists of counts: the sum of (a - b) ln(a / b) over their shares a and b.

    Each count has 0.5 added, so that an empty bin is no infinity.

    >>> psi(np.array([50.0, 50.0]), np.array([50.0, 50.0]))
    0.0
    """
    a, b = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (ours, theirs))
    return round(float(np.sum((a - b) * np.log(a / b))), 6)


def _counts(ours: Side, theirs: Side) -> list[tuple[str | None, int, int]]:
    """Each frequent value with its counts here and there; all others in one, None. Too few to expect one are others."""
    part = min(ours.filled, theirs.filled) / (ours.filled + theirs.filled)
    found = (
        f"SELECT {side.cell.text} AS cell, {amounts} FROM {side.data.name} WHERE {side.cell.filled} GROUP BY 1"  # noqa: S608
        for side, amounts in ((ours, "COUNT(*) AS a, 0 AS b"), (theirs, "0 AS a, COUNT(*) AS b"))
    )
    both = f"SELECT cell, SUM(a) AS a, SUM(b) AS b FROM ({' UNION ALL '.join(found)}) GROUP BY 1"  # noqa: S608
    ranked = f"SELECT *, row_number() OVER (ORDER BY a + b DESC, cell) AS place FROM ({both})"  # noqa: S608
    kept = f"CASE WHEN place <= {CATEGORIES} AND (a + b) * {part!r} >= 1 THEN cell END"
    sums = f"SELECT {kept} AS kept, SUM(a) AS a, SUM(b) AS b FROM ({ranked}) GROUP BY 1"  # noqa: S608
    query = f"SELECT * FROM ({sums}) ORDER BY kept IS NULL, a + b DESC, kept"  # noqa: S608
    return [(row["kept"], int(row["a"]), int(row["b"])) for row in ours.data.ask(query)]


def _of_categories(ours: Side, theirs: Side) -> ColumnDrift:
    counted = _counts(ours, theirs)
    table = np.array([[a for _, a, _ in counted], [b for _, _, b in counted]], dtype=np.float64)
    statistic, p = _chi_squared(table)
    # Of two rows, the smaller dimension less one is 1.
    figures = {"effect": round(float(np.sqrt(statistic / table.sum())), 6), "psi": psi(table[0], table[1])}
    names = tuple("others" if name is None else name[:60] for name, _, _ in counted)
    shown = {"categories": names, "bars": tuple(tuple(_shares(row)) for row in table)}
    return _described(ours, theirs, "chi2", statistic, p, **figures, **shown)


def _chi_squared(table: Floats) -> tuple[float, float]:
    """Pearson's statistic and p of two rows of counts, without Yates's correction."""
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 0.0, 1.0
    from scipy import stats  # 60 MB that only a comparison needs

    tested = stats.chi2_contingency(table, correction=False)
    return float(tested.statistic), float(tested.pvalue)


def _judged(one: ColumnDrift, tests: int) -> ColumnDrift:
    """The column with its verdict, among so many columns tested at once."""
    unlike = one.p < ALPHA / tests and (one.effect >= EFFECT or one.psi >= PSI)
    gone = one.missing_p < ALPHA / tests and abs(one.missing[0] - one.missing[1]) >= MISSING
    name = "Kolmogorov-Smirnov D" if one.test == "ks" else "Cramer's V"
    told = [] if one.test == "missing" else [f"{name} {one.effect:.3f}, p {one.p:.2g}, PSI {one.psi:.3f}"]
    told += [f"missing {one.missing[1]:.1%} there, {one.missing[0]:.1%} here"] if gone or not told else []
    verdict = "drifted" if unlike or gone else "is distributed alike"
    message = f"{one.column} {verdict}: {'; '.join(told)}"
    return one.model_copy(update={"drifted": unlike or gone, "message": message})


def _finding(one: ColumnDrift, table: str, against: str, rows: int) -> Finding:
    return Finding(
        table=table,
        column=one.column,
        kind="drift",
        count=1,
        rows=rows,
        severity="warning",
        message=f"{one.message} (against {against})",
    )
