"""What the quality agent does: reports, verdicts, and failing rows set aside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ibis

from agentlab import checks, drift, outliers, quality
from agentlab import compile as forms
from agentlab.acting.base import Lineage, Outcome, Workspace, perform, too_many
from agentlab.actions import (
    Analyze,
    Check,
    Compare,
    FindOutliers,
    Quarantine,
    SuggestFixes,
    Union,
)
from agentlab.errors import PlanError
from agentlab.expressions import parse
from agentlab.fixes import expected_score, suggest_fixes
from agentlab.rows import satisfying
from agentlab.simulation import united, writes


@perform.register
def _(action: Analyze, workspace: Workspace) -> Outcome:
    report = _analyzed(workspace, action.table, action.columns)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    body = {"score": report.score, "rows": report.rows, "version": report.version, "errors": len(errors)}
    verdict = "quality-pass" if report.passed else "quality-fail"
    workspace.emit(verdict, action.table, **body, findings=_told(report.findings))
    lines = "".join(f"\n- {f.severity}: {f.message}" for f in report.findings) or "\n- nothing found"
    verdict = "passed" if report.passed else "failed"
    return Outcome(f"{action.table} {verdict}, score {report.score:.3f}, {report.rows:,} rows{lines}", body)


def _told(findings: Iterable[quality.Finding]) -> list[dict[str, Any]]:
    return [f.model_dump(include={"column", "kind", "count", "severity", "message"}) for f in findings]


@perform.register
def _(action: Check, workspace: Workspace) -> Outcome:
    workspace.tell(f"checking {action.table}")
    (verdict,) = checks.run_all(workspace.computing, [action], workspace.operand, workspace.version(action.table))
    workspace.draft.put("report", f"check of {verdict.name}", {"kind": "check", "verdict": verdict})
    # The check is remembered without the rows that fail it, which are the report's.
    kept = verdict.model_dump(mode="json", exclude={"findings"})
    workspace.draft.put("check", verdict.name, kept)
    body = {key: kept[key] for key in ("rows", "failing", "passed", "share", "version", "message")}
    event = "quality-pass" if verdict.passed else "quality-fail"
    workspace.emit(event, action.table, check=verdict.name, **body, findings=_told(verdict.findings))
    return Outcome(f"{verdict.name} {'passed' if verdict.passed else 'failed'}: {verdict.message}", body)


@perform.register
def _(action: FindOutliers, workspace: Workspace) -> Outcome:
    workspace.tell(f"looking for outliers in {action.table}")
    table, version = workspace.operand(action.table), workspace.version(action.table)
    found = outliers.find_outliers(
        workspace.computing, table, action.table, action.columns, action.method, action.threshold, version
    )
    workspace.draft.put("report", f"outliers of {action.table}", {"kind": "outliers", "outliers": found})
    bounds = [one.model_dump(include={"low", "high", "count"}) | {"column": one.column.name} for one in found.columns]
    lines = [f"- {finding.message}" for finding in found.findings] or ["- none was found"]
    head = f"outliers of {action.table} in {len(bounds)} columns by {found.method} {found.threshold:g}"
    data = {"rows": found.rows, "columns": bounds, "findings": _told(found.findings)}
    return Outcome("\n".join([head, *lines]), data)


@perform.register
def _(action: Compare, workspace: Workspace) -> Outcome:
    workspace.tell(f"comparing {action.table} with {action.reference}")
    tables = workspace.read(action.table), workspace.read(action.reference)
    version = workspace.version(action.table)
    found = drift.compare(workspace.engine, *tables, action.table, action.reference, action.columns, version)
    name = f"drift of {action.table} against {action.reference}"
    workspace.draft.put("report", name, {"kind": "drift", "drift": found})
    lines = [f"- {one.message}" for one in sorted(found.columns, key=lambda one: not one.drifted)]
    lines += [f"- {column} wasn't compared: {why}" for column, why in found.untested.items()]
    head = f"{len(found.findings)} of {len(found.columns)} columns of {action.table} drifted from {action.reference}"
    columns = [one.model_dump(mode="json", exclude={"edges", "categories", "bars"}) for one in found.columns]
    data = {"columns": columns, "untested": found.untested, "findings": _told(found.findings)}
    return Outcome("\n".join([head, *lines]), data)


@perform.register
def _(action: SuggestFixes, workspace: Workspace) -> Outcome:
    fixes = suggest_fixes(report := _report(workspace, action.table), guess=True)
    lines = [f"- {step}: {why}" for step, why in zip(fixes.plan.actions, fixes.why, strict=True)]
    lines += [f"- left: {finding.message}" for finding in fixes.left if finding.severity != "info"]
    expected = expected_score(report, guess=True)
    data = {"fixes": fixes.plan.to_calls(), "why": fixes.why, "expected_score": expected}
    workspace.draft.put("report", f"fixes of {action.table}", {"kind": "fixes", "left": fixes.left, **data})
    head = f"{len(fixes.plan.actions)} fixes for {action.table}; expected score {expected:.3f}, now {report.score:.3f}"
    return Outcome("\n".join([head, *lines]), data)


def _report(workspace: Workspace, table: str) -> quality.Report:
    """The report on the table as it is now: that in the catalog if it is of this version and of all columns."""
    entry = workspace.draft.find("report", table)
    if entry and entry.doc.get("kind") == "quality" and entry.doc["report"]["version"] == workspace.version(table):
        report = quality.Report.model_validate(entry.doc["report"])
        if [column.name for column in report.columns] == list(workspace.draft.table(table).schema_):
            return report
    return _analyzed(workspace, table, ())


def _analyzed(workspace: Workspace, table: str, columns: Iterable[str]) -> quality.Report:
    workspace.tell(f"analyzing {table}")
    version, read = workspace.version(table), workspace.operand(table)
    report = quality.analyze(workspace.computing, read, table, version, tuple(columns))
    fixes = suggest_fixes(report)
    doc = {
        **{"kind": "quality", "report": report, "fixes": fixes.plan.to_calls(), "why": fixes.why},
        **{"left": fixes.left, "expected_score": expected_score(report)},
    }
    workspace.draft.put("report", table, doc)
    return report


@perform.register
def _(action: Quarantine, workspace: Workspace) -> Outcome:
    doc, n = workspace.draft.table(action.table), workspace.version(action.table)
    table = workspace.read(action.table)
    condition = parse(action.where, doc.schema_, boolean=True)
    same: Lineage = {column: [(action.table, n, column)] for column in doc.schema_}
    target = writes(action) or ""
    if target == action.table:
        raise PlanError(f"the rows of {target} are set aside already")
    aside = _with_reason(satisfying(table, condition), action.reason or action.where)
    moved = int(workspace.engine.con.to_pyarrow(aside.count()).as_py())
    if not moved:
        return Outcome(f"no row of {action.table} meets {action.where}; none was moved", {"moved": 0})
    known = workspace.draft.find("table", target)
    sides = united(known.doc["schema"] if known else (), aside.columns)
    earlier: Lineage = {c: [(target, known.n, one)] for c, (one, _) in sides.items() if known and one}
    lineage = {c: [*earlier.get(c, []), *same.get(two or "", [])] for c, (_, two) in sides.items()}
    if known:
        aside = forms.compile(Union(table=target, other=target), workspace.read(target), aside)
    kept = parse(f"CASE WHEN {condition.sql} THEN FALSE ELSE TRUE END", doc.schema_, boolean=True)
    workspace.write(target, aside, action, lineage)
    after = workspace.write(action.table, satisfying(table, kept), action, same)
    workspace.emit("transformed", action.table, action="quarantine", rows=after.rows, moved=moved, to=target)
    text = f"moved {moved:,} of {doc.rows:,} rows of {action.table} to {target}: {action.reason or action.where}"
    return Outcome(text, {"moved": moved, "rows": after.rows}, too_many(workspace, action, doc.rows, after.rows))


def _with_reason(table: ibis.Table, reason: str) -> ibis.Table:
    name = "reason"
    while name in {column.lower() for column in table.columns}:
        name += "_"
    return table.mutate(**{name: ibis.literal(reason, type="string")})
