"""Rules that a person sets, and what breaks them: counted exactly, all checks of a table in one aggregate.

Each rule is a function in `RULES`. Most say by a SQL condition which rows fail. What is wrong without anybody's rule is
`quality`'s to find.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import ibis
from pydantic import BaseModel, ConfigDict, computed_field

from agentlab.actions.amounts import before
from agentlab.actions.quality import Check, Rule
from agentlab.cells import Cell, cell_of
from agentlab.errors import PlanError, unknown
from agentlab.measuring import PART, Connected, Data, distinct_in_parts, literal, opened, plain
from agentlab.quality import EXAMPLES, Finding, Kind

KINDS: Mapping[Rule, Kind] = {
    **{"not_null": "missing", "unique": "duplicate", "in_range": "range", "in_set": "set", "matches": "format"},
    **{"row_count": "row_count", "fresh": "freshness", "references": "reference", "compares": "compare"},
    "has_type": "type",
}
#: Rules about the table as a whole: what fails is 0 or 1.
WHOLE: tuple[Rule, ...] = ("row_count", "fresh")


class Verdict(BaseModel):
    """What came of one check: `failing` are the rows that break the rule (surplus rows for unique, orphans for
    references; 1 or 0 where the rule is about the table as a whole). `call` is the check as a tool call."""

    model_config = ConfigDict(frozen=True)

    name: str
    table: str
    version: int
    call: dict[str, Any]
    rows: int
    failing: int
    message: str
    findings: list[Finding] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether nothing breaks the rule."""
        return not self.failing

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float:
        """The part of the rows that keep the rule, 0 to 1; of a rule about the whole table, 1 or 0."""
        if self.call["arguments"]["rule"] in WHOLE or not self.rows:
            return float(self.passed)
        return max(0.0, 1 - self.failing / self.rows)


@dataclass(frozen=True)
class Question:
    """What a check asks of the table: an aggregate, how to read the answer, and what to show of what fails.

    `where` is a condition for the rows that fail, `examples` a query for them where no condition says it. `each` are
    the aggregates of single columns where a check of several columns has a finding for each.
    """

    ask: str
    failing: Callable[[Any], int]
    broken: str
    where: str | None = None
    examples: str | None = None
    each: Mapping[str, str] | None = None
    #: An answer that is had apart from the one aggregate, since it would need too much memory there.
    apart: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Subject:
    """The table that is checked: its data, its rows, and how to read others."""

    data: Data
    rows: int
    #: The name of the table that a check refers to, as a query can say it, and the column.
    other: Callable[[Check], tuple[str, Cell]]
    now: datetime

    def cell(self, name: str | None) -> Cell:
        """A column; PlanError naming the nearest if there is none."""
        if name not in self.data.columns:
            raise PlanError(unknown("column", str(name), self.data.columns, "in the table"))
        return cell_of(name, self.data.columns[name])

    def failing(self, wrong: str, filled: str, broken: str) -> Question:
        """The question that counts the rows of which one condition holds, and where it does, the other too.

        In an aggregate, AND would compute both for every row, and CASE the second for few.
        """
        both = f"CASE WHEN {wrong} THEN {filled} ELSE FALSE END"
        return Question(f"COUNT(*) FILTER (WHERE {both})", int, broken, f"({wrong}) AND {filled}")


def name_of(check: Check) -> str:
    """What a check is called: its table, rule, columns and all that it was told.

    >>> name_of(Check(table="orders", rule="in_range", columns=("qty",), min=1))
    'orders: in_range qty (min 1)'
    """
    rest = {k: v for k, v in check.arguments().items() if k not in ("table", "rule", "columns")}
    told = "; ".join(f"{name} {', '.join(map(_said, v if isinstance(v, list) else [v]))}" for name, v in rest.items())
    return " ".join(filter(None, (f"{check.table}:", check.rule, ", ".join(check.columns), told and f"({told})")))


def _said(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def run_all(
    engine: Connected,
    checks: Sequence[Check],
    read: Callable[[str], ibis.Table],
    version: int = 1,
    now: datetime | None = None,
) -> list[Verdict]:
    """The verdicts on checks of one table, in their order: one aggregate for all of them, then examples of what fails.

    `read` gives a table by name: the one that is checked, and those that are referred to. `now` is UTC without a zone.
    PlanError for a column that the table hasn't, and for a value or pattern that can't be compared with the cells.

    >>> import pyarrow as pa
    >>> from types import SimpleNamespace
    >>> people = ibis.memtable(pa.table({"age": [34, -1, 58]}))
    >>> check = Check(table="people", rule="in_range", columns=("age",), min=0)
    >>> (verdict,) = run_all(SimpleNamespace(con=ibis.duckdb.connect()), [check], {"people": people}.get)
    >>> verdict.failing, verdict.message
    (1, '1 of 3 values of age are not at least 0')
    """
    if not checks:
        return []
    with ExitStack() as stack:
        data = stack.enter_context(opened(engine, read(checks[0].table)))
        rows: int = data.measure(["COUNT(*)"])[0]

        def other(check: Check) -> tuple[str, Cell]:
            known = stack.enter_context(opened(engine, read(check.other or "")))
            return known.name, Subject(known, 0, other, moment).cell(check.other_column or check.columns[0])

        moment = now or datetime.now(UTC).replace(tzinfo=None)
        subject = Subject(data, rows, other, moment)
        questions = [RULES[check.rule](check, subject) for check in checks]
        answers = iter(data.measure(sql for question in questions for sql in _asks(question)))
        answered = [_answered(question, [next(answers) for _ in _asks(question)]) for question in questions]
        shown = data.first_where({a.question.where: a.failing for a in answered if a.question.where}, EXAMPLES)
        return [_verdict(check, one, subject, shown, version) for check, one in zip(checks, answered, strict=True)]


@dataclass(frozen=True)
class Answered:
    """A question with its answer, how many fail, and how many of each column do."""

    question: Question
    answer: Any
    failing: int
    each: Mapping[str, int]

    def examples(self, data: Data, shown: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Rows that fail: of those `shown` for a condition, or had by a query of their own."""
        if not self.failing or not (self.question.where or self.question.examples):
            return []
        rows = shown[self.question.where] if self.question.where else data.ask(self.question.examples or "")
        return [plain(row) for row in rows]


def _answered(question: Question, answers: list[Any]) -> Answered:
    answer = question.apart() if question.apart else answers.pop(0)
    return Answered(question, answer, question.failing(answer), dict(zip(question.each or {}, answers, strict=True)))


def _asks(question: Question) -> list[str]:
    return [*([] if question.apart else [question.ask]), *(question.each or {}).values()]


def _verdict(check: Check, one: Answered, subject: Subject, shown: Mapping[str, Any], version: int) -> Verdict:
    message = _message(check, one.question.broken, one.failing, subject.rows, one.answer)
    finding = Finding(
        **{"table": check.table, "column": check.columns[0] if len(check.columns) == 1 else None},
        **{"kind": KINDS[check.rule], "count": one.failing, "rows": subject.rows, "severity": "error"},
        **{"message": message, "faults": one.failing, "examples": one.examples(subject.data, shown)},
    )
    findings = [_of_column(finding, column, count) for column, count in one.each.items() if count]
    return Verdict(
        name=name_of(check),
        table=check.table,
        version=version,
        call={"name": check.tool(), "arguments": check.arguments()},
        rows=subject.rows,
        failing=one.failing,
        message=message,
        findings=findings or ([finding] if one.failing else []),
    )


def _of_column(whole: Finding, column: str, count: int) -> Finding:
    message = f"{count:,} of {whole.rows:,} values of {column} are missing"
    return whole.model_copy(update={"column": column, "count": count, "faults": count, "message": message})


def _message(check: Check, broken: str, failing: int, rows: int, answer: Any) -> str:
    if check.rule == "row_count":
        return f"there are {rows:,} rows; the rule wants {broken}"
    if check.rule == "fresh":
        latest = f"the latest {check.columns[0] if check.columns else 'moment'} is {plain(answer) or 'missing'}"
        return f"{latest}, {'more than' if failing else 'within'} {check.within} ago"
    what = "rows" if check.rule in ("unique", "compares") or len(check.columns) > 1 else f"values of {check.columns[0]}"
    return f"{failing:,} of {rows:,} {what} {broken}"


def _not_null(check: Check, subject: Subject) -> Question:
    cells = [subject.cell(column) for column in check.columns]
    each = {c.name: f"COUNT(*) FILTER (WHERE {c.empty})" for c in cells}
    named = f"lack {' or '.join(check.columns)}" if len(cells) > 1 else "are missing"
    asked = subject.failing(" OR ".join(c.empty for c in cells), "TRUE", named)
    return replace(asked, each=each if len(cells) > 1 else None)


def _unique(check: Check, subject: Subject) -> Question:
    cells = [subject.cell(column) for column in check.columns]
    filled = " AND ".join(f"({c.filled})" for c in cells)
    key = cells[0].sql if len(cells) == 1 else f"ROW({', '.join(c.sql for c in cells)})"
    value = f"CASE WHEN {filled} THEN {key} END"
    broken = f"repeat the {' and '.join(check.columns)} of another row"
    examples = _repeated(subject, cells, filled)
    present = f"COUNT(*) FILTER (WHERE {filled})"
    if dense := _dense(cells, subject):
        return Question(f"{present} - COALESCE({dense}, 0)", int, broken, examples=examples)
    if subject.rows <= PART:
        return Question(f"{present} - COUNT(DISTINCT {value})", int, broken, examples=examples)

    def apart() -> int:
        return int(subject.data.measure([present])[0]) - distinct_in_parts(subject.data, value, subject.rows)

    return Question("", int, broken, examples=examples, apart=apart)


def _repeated(subject: Subject, cells: list[Cell], filled: str) -> str:
    keys, name = ", ".join(c.sql for c in cells), subject.data.name
    again = f"SELECT {keys} FROM {name} WHERE {filled} GROUP BY {keys} HAVING COUNT(*) > 1 LIMIT {EXAMPLES}"  # noqa: S608
    return f"SELECT * FROM {name} WHERE ({keys}) IN ({again}) ORDER BY {keys} LIMIT {EXAMPLES}"  # noqa: S608


def _dense(cells: list[Cell], subject: Subject) -> str | None:
    """The distinct whole numbers of one column, a bit for each that there could be; None where they lie too far apart.

    The ends come from the files' statistics, so that asking for them costs nothing.
    """
    cell = cells[0]
    if len(cells) > 1 or cell.type != "int":
        return None
    low, high = subject.data.measure([f"MIN({cell.sql})", f"MAX({cell.sql})"])
    if low is None or high - low >= 8 * max(subject.rows, 1) or abs(high) >= 2**62:
        return None
    return f"bit_count(bitstring_agg(CAST({cell.sql} AS BIGINT), {low}, {high}))"


def _in_range(check: Check, subject: Subject) -> Question:
    cell = subject.cell(check.columns[0])
    low, high = check.min, check.max
    if cell.type == "int":
        # Whole limits are compared without a cast to DOUBLE, and by the files' statistics where these suffice.
        low, high = low if low is None else math.ceil(low), high if high is None else math.floor(high)
    beyond = [f"{cell.number} < {literal(low)}"] if low is not None else []
    beyond += [f"{cell.number} > {literal(high)}"] if high is not None else []
    beyond += [f"{cell.number} IS NULL"] if cell.type == "text" else []
    return subject.failing(" OR ".join(beyond), cell.filled, f"are not {_limits(check)}")


def _limits(check: Check) -> str:
    low, high = (None if end is None else f"{end:,.15g}" for end in (check.min, check.max))
    return f"from {low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"


def _in_set(check: Check, subject: Subject) -> Question:
    cell = subject.cell(check.columns[0])
    shown = ", ".join(map(str, check.values[:10])) + (", ..." if len(check.values) > 10 else "")
    return subject.failing(cell.outside(check.values), cell.filled, f"are none of {shown}")


def _matches(check: Check, subject: Subject) -> Question:
    cell = subject.cell(check.columns[0])
    named = cell.has_form(check.pattern or "")
    form = named or f"regexp_full_match({cell.text}, {literal(check.pattern)})"
    broken = f"are no {check.pattern}" if named else f"don't match {check.pattern}"
    return subject.failing(f"NOT ({form})", cell.filled, broken)


def _row_count(check: Check, subject: Subject) -> Question:
    low, high = -math.inf if check.min is None else check.min, math.inf if check.max is None else check.max
    return Question("COUNT(*)", lambda rows: int(not low <= rows <= high), _limits(check))


def _fresh(check: Check, subject: Subject) -> Question:
    cell = subject.cell(check.columns[0]) if check.columns else _moment(subject)
    limit = before(subject.now, check.within or "")

    def stale(latest: Any) -> int:
        day = isinstance(latest, date) and not isinstance(latest, datetime)
        return int(latest is None or latest < (limit.date() if day else limit))

    query = f"SELECT * FROM {subject.data.name} ORDER BY {cell.moment} DESC NULLS LAST LIMIT 1"  # noqa: S608
    return Question(f"MAX({cell.moment})", stale, "", examples=query)


def _moment(subject: Subject) -> Cell:
    cells = [subject.cell(name) for name in subject.data.columns]
    found = [cell for cell in cells if cell.type in ("date", "timestamp")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(cell.name for cell in found)
    raise PlanError(f"fresh needs a column of times; {f'name one of {names}' if found else 'the table has none'}")


def _references(check: Check, subject: Subject) -> Question:
    cell, (source, other) = subject.cell(check.columns[0]), subject.other(check)
    numbers = {cell.type, other.type} & {"int", "float"}
    ours, theirs = (cell.number, other.number) if numbers else (cell.text, other.text)
    known = f"SELECT {theirs} FROM {source} WHERE {theirs} IS NOT NULL"  # noqa: S608
    orphans = f"FROM {subject.data.name} WHERE {cell.filled} AND ({ours} IN ({known})) IS NOT TRUE"

    def apart() -> int:
        return int(subject.data.ask(f"SELECT COUNT(*) AS n {orphans}")[0]["n"])

    broken = f"are not in {other.name} of {check.other}"
    return Question("", int, broken, examples=f"SELECT * {orphans} LIMIT {EXAMPLES}", apart=apart)


def _compares(check: Check, subject: Subject) -> Question:
    one, two = subject.cell(check.columns[0]), subject.cell(check.than)
    ours, theirs = _alike(one, two, subject)
    operator = {"!=": "<>"}.get(check.operator or "", check.operator)
    wrong, filled = f"({ours} {operator} {theirs}) IS NOT TRUE", f"{one.filled} AND {two.filled}"
    return subject.failing(wrong, filled, f"don't have {one.name} {check.operator} {two.name}")


def _alike(one: Cell, two: Cell, subject: Subject) -> tuple[str, str]:
    """Both cells as what can be compared: numbers or moments where either side holds or reads as such, else text."""
    kinds = {one.type, two.type}
    if kinds & {"int", "float"}:
        return one.number, two.number
    if kinds & {"date", "timestamp"}:
        return one.moment, two.moment
    if kinds != {"text"}:
        return one.text, two.text
    unread = [f"COUNT(*) FILTER (WHERE {c.filled} AND {read} IS NULL)" for c, read in
              ((one, one.number), (two, two.number), (one, one.moment), (two, two.moment))]  # fmt: skip
    found = subject.data.measure(unread)
    if not any(found[:2]):
        return one.number, two.number
    return (one.moment, two.moment) if not any(found[2:]) else (one.text, two.text)


def _has_type(check: Check, subject: Subject) -> Question:
    cell = subject.cell(check.columns[0])
    wrong = f"({cell.reads_as(check.type)}) IS NOT TRUE"
    return subject.failing(wrong, cell.filled, f"can't be read as {check.type}")


#: Every rule of `check`, and how it asks.
RULES: Mapping[Rule, Callable[[Check, Subject], Question]] = {
    "not_null": _not_null,
    "unique": _unique,
    "in_range": _in_range,
    "in_set": _in_set,
    "matches": _matches,
    "row_count": _row_count,
    "fresh": _fresh,
    "references": _references,
    "compares": _compares,
    "has_type": _has_type,
}
