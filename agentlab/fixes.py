"""From a quality report to a plan that mends what can be mended, in the order in which it must happen.

Only what has one right answer is mended by itself: a surplus copy goes, an impossible value is set aside with its row,
a number written as text becomes a number. Values are invented only for who asks for suggestions, as guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from agentlab.actions.base import Action
from agentlab.actions.quality import Quarantine
from agentlab.actions.transformation import Cast, Dedupe, Fill, NormalizeText, Replace
from agentlab.plan import Plan
from agentlab.profiles import ColumnProfile
from agentlab.quality import Finding, Report, absurd, misspelled, score

#: A column with a larger share of missing values than this isn't filled by a guess.
MOST_GUESSED = 0.5

#: So many single values are replaced at most; a longer plan is nobody's to read.
RESPELLED = 10


class Fixes(NamedTuple):
    """A plan, why each of its actions is in it, and the findings that stay, whose messages say why they do."""

    plan: Plan
    why: list[str]
    left: list[Finding]


def suggest_fixes(report: Report, guess: bool = False) -> Fixes:
    """The plan to run on the table of the report, as it is: trim and respell, set unreadable texts aside, cast, set
    impossible and absurd values aside, and then remove copies, since trimming and casting may make equal what wasn't.

    With `guess` it ends with typical values for missing ones: the median of numbers, the most frequent of categories.
    """
    stages = (*_stages(report), *([_typical] if guess else []))
    steps = [step for stage in stages for finding in report.findings for step in stage(report, finding)]
    stays = [f for f in report.findings if _unpromised(report, f) or not any(stage(report, f) for stage in stages)]
    left = [_left(finding) for finding in stays]
    return Fixes(Plan(actions=tuple(action for action, _ in steps)), [why for _, why in steps], left)


def expected_score(report: Report, guess: bool = False) -> float:
    """The score that the table would have after the suggested fixes, estimated without running them."""
    gone = sum(f.faults for f in report.findings if _mended(report, f) and _takes_rows(f))
    return score(suggest_fixes(report, guess).left, report.rows - gone, len(report.columns))


def is_safe(action: Action) -> bool:
    """Whether a fix takes no row out of the table.

    >>> is_safe(Cast(table="t", column="a", type="int")), is_safe(Dedupe(table="t"))
    (True, False)
    """
    return isinstance(action, Cast | Fill | NormalizeText | Replace)


Step = tuple[Action, str]


def _trim(report: Report, finding: Finding) -> list[Step]:
    if finding.kind != "format":
        return []
    column = report.column(finding.column or "")
    if column.pattern or not misspelled(column):
        action = NormalizeText(table=report.table, column=column.name, trim=True)
        why = f"space around {column.name} makes equal values differ; no row leaves the table"
        return [(action, why)] if column.padded else []
    return _respelled(report.table, column)


def _respelled(table: str, column: ColumnProfile) -> list[Step]:
    """One case for all where the usual spellings have one and no other value would change, else value by value."""
    why = f"values of {column.name} that differ by case or space only are one; no row leaves the table"
    if case := _case(column):
        return [(NormalizeText(table=table, column=column.name, case=case, trim=True), why)]
    trim = NormalizeText(table=table, column=column.name, trim=True)
    pairs = dict.fromkeys((old.strip(" "), new) for old, new in misspelled(column) if old.strip(" ") != new)
    if len(pairs) > RESPELLED:
        return []
    changes = [Replace(table=table, column=column.name, old=old, new=new) for old, new in pairs]
    return [(action, why) for action in ([trim] if column.padded else []) + changes]


def _case(column: ColumnProfile) -> Literal["lower", "upper", "title"] | None:
    unusual = dict(column.variants)
    if len(column.top) < column.distinct:
        return None
    kept = {unusual.get(value, value).strip(" ") for value, _ in column.top}
    if all(value == value.lower() for value in kept):
        return "lower"
    if all(value == value.upper() for value in kept):
        return "upper"
    return "title" if all(word.isalpha() and word.istitle() for value in kept for word in value.split(" ")) else None


def _read(report: Report, finding: Finding) -> list[Step]:
    if finding.kind != "type":
        return []
    column = report.column(finding.column or "")
    aside = _aside(finding, finding.where, f"{column.name} can't be read as {column.reads_as}")
    cast = Cast(table=report.table, column=column.name, type=column.reads_as or "text")
    return [aside, (cast, f"what is left in {column.name} reads as {column.reads_as}")]


def _possible(report: Report, finding: Finding) -> list[Step]:
    if finding.kind != "range":
        return []
    return [_aside(finding, finding.where, f"{finding.column} is negative")]


def _plausible(report: Report, finding: Finding) -> list[Step]:
    if finding.kind != "outlier" or finding.severity != "error":
        return []
    column = report.column(finding.column or "")
    return [_aside(finding, absurd(column), f"{finding.column} is absurdly far from the other values")]


def _once(report: Report, finding: Finding) -> list[Step]:
    if finding.kind != "duplicate" or finding.column:
        return []
    return [(Dedupe(table=report.table), f"{finding.count:,} rows are copies; one of each stays")]


def _typical(report: Report, finding: Finding) -> list[Step]:
    """A value for the missing ones, where few are missing and one is typical."""
    if finding.kind != "missing" or finding.count > MOST_GUESSED * report.rows:
        return []
    column = report.column(finding.column or "")
    if column.identifies or column.pattern or finding.severity == "error":
        return []
    if column.number and column.quantiles:
        method: Literal["median", "mode"] = "median"
    elif column.type in ("text", "bool") and column.top and column.distinct * 2 <= report.rows - column.missing:
        method = "mode"
    else:
        return []
    why = f"a guess: nobody knows the {finding.count:,} missing values of {column.name}, and the {method} is typical"
    return [(Fill(table=report.table, column=column.name, method=method), why)]


#: The order of a cure. A stage looks at every finding before the next stage begins.
_STAGES = (_trim, _read, _possible, _plausible, _once)


def _stages(report: Report) -> Sequence[Callable[[Report, Finding], list[Step]]]:
    """What is in quarantine is set aside already, so there nothing can be."""
    return (_trim, _once) if report.table.startswith("quarantine.") else _STAGES


def _aside(finding: Finding, where: str | None, reason: str) -> Step:
    action = Quarantine(table=finding.table, where=where or "", reason=reason)
    return action, f"{finding.faults:,} rows in which {reason} wait in quarantine for a person"


def _takes_rows(finding: Finding) -> bool:
    return finding.kind in ("type", "range", "outlier", "duplicate")


def _mended(report: Report, finding: Finding) -> bool:
    return not _unpromised(report, finding) and any(stage(report, finding) for stage in _stages(report))


def _unpromised(report: Report, finding: Finding) -> bool:
    """Trimming may mend some malformed cells and not others, so of those nothing is promised."""
    return finding.kind == "format" and bool(report.column(finding.column or "").pattern)


def _left(finding: Finding) -> Finding:
    return finding.model_copy(update={"message": f"{finding.message}; left as it is: {_reason(finding)}"})


def _reason(finding: Finding) -> str:
    if finding.table.startswith("quarantine.") and _takes_rows(finding) and finding.kind != "duplicate":
        return "it is set aside already, and waits for a person"
    reasons = {
        "missing": f"a missing {finding.column} can't be inferred from the other columns; fill it if you know a value",
        "format": f"the right {finding.column} can't be inferred from a broken one",
        "outlier": "a value that is neither impossible nor absurd may well be true",
        "constant": "it does no harm; drop the column if it isn't needed",
        "duplicate": "which of the differing rows is right can't be inferred",
    }
    return reasons.get(finding.kind, "a person must judge it")
