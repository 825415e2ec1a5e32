"""From a quality report to a plan that mends what can be mended, in the order in which it must happen.

Only what has one right answer is mended: a surplus copy goes, an impossible value is set aside with its row, a number
written as text becomes a number. Nothing is invented: what is missing stays missing, and is said to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from agentlab.actions.base import Action
from agentlab.actions.quality import Quarantine
from agentlab.actions.transformation import Cast, Dedupe, Fill, NormalizeText
from agentlab.plan import Plan
from agentlab.quality import Finding, Report, absurd, score


class Fixes(NamedTuple):
    """A plan, why each of its actions is in it, and the findings that stay, whose messages say why they do."""

    plan: Plan
    why: list[str]
    left: list[Finding]


def suggest_fixes(report: Report) -> Fixes:
    """The plan to run on the table of the report, as it is: trim, set unreadable texts aside, cast, set impossible and
    absurd values aside, and last remove copies, since trimming and casting may make equal what wasn't.
    """
    steps = [step for stage in _stages(report) for finding in report.findings for step in stage(report, finding)]
    left = [_left(finding) for finding in report.findings if not _mended(report, finding)]
    return Fixes(Plan(actions=tuple(action for action, _ in steps)), [why for _, why in steps], left)


def expected_score(report: Report) -> float:
    """The score that the table would have after the suggested fixes, estimated without running them."""
    gone = sum(f.faults for f in report.findings if _mended(report, f) and _takes_rows(f))
    return score(suggest_fixes(report).left, report.rows - gone, len(report.columns))


def is_safe(action: Action) -> bool:
    """Whether a fix takes no row out of the table.

    >>> is_safe(Cast(table="t", column="a", type="int")), is_safe(Dedupe(table="t"))
    (True, False)
    """
    return isinstance(action, Cast | Fill | NormalizeText)


Step = tuple[Action, str]


def _trim(report: Report, finding: Finding) -> list[Step]:
    if finding.kind != "format" or not _padded(report, finding):
        return []
    action = NormalizeText(table=report.table, column=finding.column or "", trim=True)
    return [(action, f"space around {finding.column} makes equal values differ; no row leaves the table")]


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


#: The order of a cure. A stage looks at every finding before the next stage begins.
_STAGES = (_trim, _read, _possible, _plausible, _once)


def _stages(report: Report) -> Sequence[Callable[[Report, Finding], list[Step]]]:
    """What is in quarantine is set aside already, so there nothing can be."""
    return (_trim, _once) if report.table.startswith("quarantine.") else _STAGES


def _aside(finding: Finding, where: str | None, reason: str) -> Step:
    action = Quarantine(table=finding.table, where=where or "", reason=reason)
    return action, f"{finding.faults:,} rows in which {reason} wait in quarantine for a person"


def _padded(report: Report, finding: Finding) -> bool:
    return bool(finding.column) and report.column(finding.column or "").padded > 0


def _takes_rows(finding: Finding) -> bool:
    return finding.kind in ("type", "range", "outlier", "duplicate")


def _mended(report: Report, finding: Finding) -> bool:
    # Trimming may mend some malformed cells and not others, so of those nothing is promised.
    plain_space = finding.kind == "format" and not report.column(finding.column or "").pattern
    return plain_space or any(stage(report, finding) for stage in _stages(report)[1:])


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
