"""What is wrong with a table: missing, duplicate, outlying, unreadable, malformed and impossible values, and a score.

`CHECKS` are the rules, one a function; each names its failing rows by a SQL condition, and that condition is what is
counted, shown and, in `fixes`, set aside. Checks against a rule of one's own and drift are not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ibis
from pydantic import BaseModel, ConfigDict

from agentlab.errors import PlanError, unknown
from agentlab.measuring import Connected, Data, literal, opened, plain, quote, surplus
from agentlab.profiles import EXACT_ROWS, ColumnProfile, mostly, profile
from agentlab.semantics import PATTERNS, is_quantity

Kind = Literal[
    "missing", "duplicate", "outlier", "type", "format", "constant", "range",
    "set", "reference", "freshness", "row_count", "compare", "drift",
]  # fmt: skip
Severity = Literal["info", "warning", "error"]

EXAMPLES = 5
#: How many interquartile ranges beyond the quartiles a value is unusual (Tukey 1977), how many, absurd; see `absurd`.
UNUSUAL, ABSURD, TAIL = 1.5, 10.0, 2.8
#: So many spellings of other values are slips; more of them are a column of free text.
SPELLINGS = 40


class Finding(BaseModel):
    """One fault of one column, or of whole rows (`column` is None).

    `count` are the cells concerned (for duplicates, surplus rows; for a constant column, 1), `faults` those of them
    that lower the score: of outliers, only the absurd ones. `where` is a SQL condition that holds for exactly these
    rows, and keeps its meaning when the column is cast; None where no condition on a single row can say it.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    column: str | None
    kind: Kind
    count: int
    rows: int
    severity: Severity
    message: str
    faults: int = 0
    examples: list[dict[str, Any]] = []
    where: str | None = None


class Report(BaseModel):
    """The state of one version of a table: what its columns hold, what is wrong, and how good it is, as `score` says.

    `passed` means that no finding is an error.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    version: int
    rows: int
    columns: list[ColumnProfile]
    findings: list[Finding]
    score: float
    passed: bool

    def column(self, name: str) -> ColumnProfile:
        """The profile of one column; a PlanError if the report has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise PlanError(unknown("column", name, (c.name for c in self.columns), f"in the report on {self.table}"))


#: Where the documents of reports of each kind keep what has findings.
_WITHIN = {"quality": "report", "check": "verdict", "outliers": "outliers", "drift": "drift"}


def findings_in(doc: Mapping[str, Any]) -> list[Finding]:
    """The findings of a report as the catalog keeps it, of whatever kind it is; none of one without findings."""
    within = doc.get(_WITHIN.get(doc.get("kind", ""), ""), {})
    return [Finding.model_validate(finding) for finding in within.get("findings", ())]


@dataclass(frozen=True)
class Suspicion:
    """What a check asks to be counted: the rows it doubts, and among them those beyond doubt."""

    kind: Kind
    column: ColumnProfile
    where: str
    certain: str | None = None


def missing(column: ColumnProfile) -> Suspicion | None:
    """Empty cells: NULL, nothing but space, not-a-number."""
    if not column.missing:
        return None
    empty = [f"{column.sql} IS NULL"]
    empty += [f"TRIM({column.sql}) = ''"] if column.blank else []
    empty += [f"{column.sql} = CAST('nan' AS DOUBLE)"] if column.nans and column.type == "float" else []
    return Suspicion("missing", column, " OR ".join(empty))


def unreadable(column: ColumnProfile) -> Suspicion | None:
    """The exceptions in a text column that otherwise reads as numbers or dates."""
    if not column.reads_as:
        return None
    return Suspicion("type", column, f"{_filled(column)} AND {column.number or _moment(column)} IS NULL")


def malformed(column: ColumnProfile) -> Suspicion | None:
    """The exceptions in a column of emails, web addresses, UUIDs, phone numbers or dates; elsewhere, space around the
    text, and unusual spellings that differ from the usual one by case or space only."""
    if column.pattern:
        regex = PATTERNS[column.pattern]
        return Suspicion("format", column, f"{_filled(column)} AND NOT regexp_matches({column.sql}, '{regex}')")
    if column.reads_as or not (column.padded or column.variants):
        return None
    unlike = [f"{column.sql} <> TRIM({column.sql})"] if column.padded else []
    spellings = ", ".join(literal(spelling) for spelling, _ in misspelled(column))
    unlike += [f"{column.sql} IN ({spellings})"] if spellings else []
    return Suspicion("format", column, f"{_filled(column)} AND ({' OR '.join(unlike)})")


def misspelled(column: ColumnProfile) -> list[tuple[str, str]]:
    """The spellings to mend, each with the usual one; none where there are so many that they may well be meant."""
    few = len(column.variants) <= SPELLINGS and sum(len(v) + 4 for v, _ in column.variants) <= 1500
    return column.variants if few else []


def negative(column: ColumnProfile) -> Suspicion | None:
    """Numbers below zero in a column whose name speaks of an amount."""
    return Suspicion("range", column, f"{column.number} < 0") if column.number and is_quantity(column.name) else None


def outlying(column: ColumnProfile) -> Suspicion | None:
    """Numbers beyond 1.5 interquartile ranges from the quartiles; beyond doubt are those that `absurd` names."""
    flag = column.distinct <= 2 and column.min == 0 and column.max == 1
    if column.number is None or not column.quantiles or column.identifies or flag:
        return None
    low, high = fences(column)
    return Suspicion("outlier", column, f"{column.number} < {low!r} OR {column.number} > {high!r}", absurd(column))


#: Every check of a column. Whole rows (duplicates) and constants are judged apart: they need no condition.
CHECKS = (missing, unreadable, malformed, negative, outlying)


def fences(column: ColumnProfile) -> tuple[float, float]:
    """The values beyond which Tukey's rule calls a number of this column an outlier."""
    q1, q3 = column.quantiles[0.25], column.quantiles[0.75]
    return q1 - UNUSUAL * (q3 - q1), q3 + UNUSUAL * (q3 - q1)


def absurd(column: ColumnProfile) -> str:
    """The condition for values that no spread of this column explains: 10 interquartile ranges beyond the quartiles.

    Sums of money are often skewed, and a long tail is no fault: above, a value must also lie 2.8 times as far from the
    median as the 95% quantile does, on a logarithmic scale. Of lognormal data that is 1 in 500,000.
    """
    q1, median, q3, q95 = (column.quantiles[q] for q in (0.25, 0.5, 0.75, 0.95))
    if q3 <= q1:
        return "FALSE"
    low, high = q1 - ABSURD * (q3 - q1), q3 + ABSURD * (q3 - q1)
    # In a small table the 95% quantile may be an absurd value itself, and then tells nothing of the tail.
    if median > 0 and q95 < high:
        high = max(high, median * (q95 / median) ** TAIL)
    return f"{column.number} < {float(f'{low:.6g}')!r} OR {column.number} > {float(f'{high:.6g}')!r}"


def analyze(engine: Connected, table: ibis.Table, name: str, version: int = 1, columns: Sequence[str] = ()) -> Report:
    """Profile a table and find its faults; with `columns`, only theirs, and no duplicate rows.

    Counts are exact. PlanError for a column that the table hasn't.

    >>> con = ibis.duckdb.connect()
    >>> from types import SimpleNamespace
    >>> table = con.create_table("t", schema={"a": "int", "b": "string"})
    >>> _ = con.raw_sql("INSERT INTO t VALUES (1, NULL), (2, 'x')")
    >>> report = analyze(SimpleNamespace(con=con), table, "t")
    >>> [(f.column, f.kind, f.count) for f in report.findings], report.score
    ([('b', 'missing', 1)], 0.875)
    """
    with opened(engine, table) as data:
        for column in columns:
            if column not in data.columns:
                raise PlanError(unknown("column", column, data.columns, f"in {name}"))
        return _report(data, name, version, tuple(dict.fromkeys(columns)))


def _report(data: Data, name: str, version: int, chosen: tuple[str, ...]) -> Report:
    rows: int = data.measure(["COUNT(*)"])[0]
    profiles = profile(data, rows, chosen or data.columns)
    findings = _column_findings(data, name, profiles, rows)
    if rows:
        findings = _duplicates(data, name, profiles, rows, whole=not chosen) + findings
    return Report(
        table=name,
        version=version,
        rows=rows,
        columns=profiles,
        findings=findings,
        score=score(findings, rows, len(profiles)),
        passed=all(f.severity != "error" for f in findings),
    )


def score(findings: Iterable[Finding], rows: int, columns: int) -> float:
    """How good a table is, 0 to 1: half the share of cells without a fault, half the share of rows without an error.

    A cell is at fault if it is missing, unreadable, malformed, impossible or absurd; a row, if it is a surplus copy or
    has an error. A row with two errors counts twice, so the score is a lower bound. Nothing of severity info counts.

    >>> score([], 100, 3)
    1.0
    """
    if not rows or not columns:
        return 1.0
    found = list(findings)
    cells = sum(f.faults for f in found if f.column) / (rows * columns)
    bad_rows = sum(f.faults for f in found if f.severity == "error") / rows
    return round((max(0.0, 1 - cells) + max(0.0, 1 - bad_rows)) / 2, 6)


def _filled(column: ColumnProfile) -> str:
    # The cast lets the condition hold its meaning once the column is no longer text.
    return f"TRIM(CAST({column.sql} AS VARCHAR)) <> ''" if column.blank else f"{column.sql} IS NOT NULL"


def _moment(column: ColumnProfile) -> str:
    return f"TRY_CAST({column.sql} AS TIMESTAMP)"


def _column_findings(data: Data, table: str, columns: list[ColumnProfile], rows: int) -> list[Finding]:
    suspicions = [s for column in columns for check in CHECKS if (s := check(column))]
    asked = [where for s in suspicions for where in (s.where, s.certain) if where]
    counted = iter(data.measure(f"COUNT(*) FILTER (WHERE {where})" for where in asked))
    findings = []
    for suspicion in suspicions:
        count = next(counted)
        finding = _judged(table, suspicion, count, next(counted) if suspicion.certain else count, rows)
        if finding:
            findings.append(finding.model_copy(update={"examples": _examples(data, suspicion)}))
    return findings + [f for column in columns if (f := _constant(table, column, rows))]


def _judged(table: str, suspicion: Suspicion, count: int, certain: int, rows: int) -> Finding | None:
    column = suspicion.column
    present = rows - column.missing
    if not count or (suspicion.kind == "range" and not mostly(present - count, present)):
        return None
    severity = _severity(suspicion, count, certain, rows)
    return Finding(
        table=table,
        column=column.name,
        kind=suspicion.kind,
        count=count,
        rows=rows,
        severity=severity,
        message=f"{count:,} of {rows:,} {_TELLS[suspicion.kind](column)}{_absurdity(suspicion, certain)}",
        faults=0 if severity == "info" else certain,
        where=suspicion.where,
    )


_TELLS: dict[Kind, Any] = {
    "missing": lambda c: f"values of {c.name} are missing",
    "type": lambda c: f"values of {c.name} can't be read as {c.reads_as}, as the others can",
    "format": lambda c: f"values of {c.name} {_ill_formed(c)}",
    "range": lambda c: f"values of {c.name} are negative, which its name rules out",
    "outlier": lambda c: "values of {} are outliers (below {:g} or above {:g})".format(c.name, *fences(c)),
}


def _ill_formed(column: ColumnProfile) -> str:
    if column.pattern:
        return f"are no {column.pattern}"
    return "differ from others by case or space only" if misspelled(column) else "have space around them"


def _absurdity(suspicion: Suspicion, certain: int) -> str:
    return f", {certain:,} of them absurdly far" if suspicion.kind == "outlier" and certain else ""


def _severity(suspicion: Suspicion, count: int, certain: int, rows: int) -> Severity:
    column = suspicion.column
    if suspicion.kind == "missing":
        key = column.identifies and column.distinct == rows - count > 1
        return "error" if key else "warning"
    if suspicion.kind == "format":
        return "warning"
    if suspicion.kind == "outlier":
        # So many can't be slips of the hand: that is how the column is spread.
        return "info" if not certain else "error" if certain <= max(1, rows // 20) else "info"
    return "error"


def _constant(table: str, column: ColumnProfile, rows: int) -> Finding | None:
    if column.distinct != 1 or rows - column.missing < 2:
        return None
    message = f"{column.name} has the same value in every row that has one"
    return Finding(
        table=table, column=column.name, kind="constant", count=1, rows=rows, severity="info", message=message
    )


def _examples(data: Data, suspicion: Suspicion) -> list[dict[str, Any]]:
    number, order = suspicion.column.number, ""
    if suspicion.kind == "outlier":
        order = f" ORDER BY ABS({number} - {suspicion.column.quantiles[0.5]!r}) DESC"
    found = data.ask(f"SELECT * FROM {data.name} WHERE {suspicion.where}{order} LIMIT {EXAMPLES}")  # noqa: S608
    return [plain(row) for row in found]


def _duplicates(data: Data, table: str, columns: list[ColumnProfile], rows: int, whole: bool) -> list[Finding]:
    copies = _surplus(data, columns, rows) if whole else 0
    findings = [_whole_rows(data, table, copies, rows)] if copies else []
    key = _key(data, table, columns, rows)
    repeated = rows - key.missing - key.distinct if key else 0
    if key and repeated > copies and mostly(key.distinct, rows - key.missing, expected=True):
        findings.append(_repeated_key(data, table, key, repeated, repeated - copies, rows))
    return findings


def _key(data: Data, table: str, columns: list[ColumnProfile], rows: int) -> ColumnProfile | None:
    """The column that tells rows apart: by its name, or as the first that is named like a key and hardly repeats."""
    named = next((c for c in columns if c.name.lower() in _key_names(table)), None)
    first = next((c for c in columns if c.name == next(iter(data.columns)) and c.identifies), None)
    if named or first is None:
        return named
    return first if 10 * first.distinct >= 9 * (rows - first.missing) else None


def _surplus(data: Data, columns: list[ColumnProfile], rows: int) -> int:
    if any(column.distinct == rows for column in columns if _exact(column, rows)):
        return 0
    most = max(columns, key=lambda c: c.distinct)
    return surplus(data, [most.name] if 2 * most.distinct >= rows else list(data.columns), rows)


def _exact(column: ColumnProfile, rows: int) -> bool:
    return rows <= EXACT_ROWS or column.identifies or column.type == "int"


def _whole_rows(data: Data, table: str, surplus: int, rows: int) -> Finding:
    names = ", ".join(map(quote, data.columns))
    query = f"SELECT {names} FROM {data.name} GROUP BY {names} HAVING COUNT(*) > 1 LIMIT {EXAMPLES}"  # noqa: S608
    return Finding(
        table=table,
        column=None,
        kind="duplicate",
        count=surplus,
        rows=rows,
        severity="error",
        message=f"{surplus:,} of {rows:,} rows are copies of another",
        faults=surplus,
        examples=[plain(row) for row in data.ask(query)],
    )


def _key_names(table: str) -> set[str]:
    stem = table.rsplit(".", 1)[-1].lower()
    singular = f"{stem[:-3]}y" if stem.endswith("ies") else stem.removesuffix("s")
    return {"id", f"{stem}_id", f"{singular}_id"}


def _repeated_key(data: Data, table: str, key: ColumnProfile, count: int, faults: int, rows: int) -> Finding:
    again = f"SELECT {key.sql} FROM {data.name} GROUP BY {key.sql} HAVING COUNT({key.sql}) > 1"  # noqa: S608
    query = f"SELECT * FROM {data.name} WHERE {key.sql} IN ({again}) ORDER BY {key.sql} LIMIT {EXAMPLES}"  # noqa: S608
    return Finding(
        table=table,
        column=key.name,
        kind="duplicate",
        count=count,
        rows=rows,
        severity="error",
        message=f"{count:,} of {rows:,} rows repeat a {key.name} that another row has",
        faults=faults,
        examples=[plain(row) for row in data.ask(query)],
    )
