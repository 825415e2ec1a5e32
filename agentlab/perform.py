"""Acting: one function an action, which prepares in a run's draft what the action does, and tells it in words.

Nothing is visible until the run commits. What a person must approve first is said in `Outcome.approval`; whether they
did is the orchestrator's question. Layouts and diagnoses are in `tuning.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import singledispatch
from pathlib import Path
from typing import Any

import ibis
from croniter import croniter

from agentlab import compile as forms
from agentlab import quality, stores
from agentlab.actions import (
    Action,
    Analyze,
    Cast,
    Clarify,
    Dedupe,
    Filter,
    Join,
    Provision,
    Publish,
    Pull,
    Quarantine,
    Refuse,
    Schedule,
    Schema,
    SuggestFixes,
    Transform,
    Union,
)
from agentlab.draft import Draft
from agentlab.engine import Engine, schema_of
from agentlab.entries import TableDoc
from agentlab.errors import PlanError, unknown
from agentlab.events import Event
from agentlab.expressions import parse
from agentlab.fixes import expected_score, suggest_fixes
from agentlab.rows import satisfying
from agentlab.rules import removal_needs_approval
from agentlab.simulation import united, writes
from agentlab.sources import pull as fetch
from agentlab.sources import read_doc
from agentlab.stores import StoreDoc

#: Output column to the (table, version, column) that its values come from.
Lineage = dict[str, list[tuple[str, int, str]]]


def _silent(words: str) -> None:
    """Nobody listens."""


@dataclass
class Workspace:
    """Where a run acts: its draft, the engine, and who hears of progress (in words)."""

    draft: Draft
    engine: Engine
    tell: Callable[[str], None] = _silent
    #: What part of each table's rows the run has kept so far, through all that takes rows out of the table.
    kept: dict[str, Fraction] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The lab's folder."""
        return self.draft.catalog.root

    def read(self, name: str) -> ibis.Table:
        """A table as the run has it so far."""
        return self.engine.read(self.draft.table(name), self.root)

    def version(self, name: str) -> int:
        """The version of a table that the run sees."""
        return self.draft.get("table", name).n

    def emit(self, type: Any, subject: str, **body: Any) -> None:
        """Tell of something, once the run commits."""
        self.draft.emit(Event(type=type, subject=subject, body=body))

    def write(
        self, name: str, table: ibis.Table, action: Action, lineage: Lineage, source: str | None = None
    ) -> TableDoc:
        """Store a table's next version and return its document."""
        path = self.draft.fresh(name)
        written = self.engine.write(table, path)
        doc = TableDoc(
            path=path.relative_to(self.root).as_posix(),
            schema_=written.schema,
            rows=written.rows,
            bytes=written.bytes,
            call=_call(action),
            lineage=lineage,
            source=source,
        )
        self.draft.put("table", name, doc)
        return doc


@dataclass(frozen=True)
class Outcome:
    """What one action did, in words and as JSON data; `approval`: why a person must agree before it counts."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    approval: str | None = None


def _call(action: Action) -> dict[str, Any]:
    return {"name": action.tool(), "arguments": action.arguments()}


@singledispatch
def perform(action: Action, workspace: Workspace) -> Outcome:
    """Do one action in the run's draft. PlanError and LabError say what went wrong; nothing is visible then."""
    raise PlanError(f"{action.tool()} can't be carried out")


@perform.register(Clarify)
@perform.register(Refuse)
def _(action: Clarify | Refuse, workspace: Workspace) -> Outcome:
    return Outcome(action.question if isinstance(action, Clarify) else action.reason)


# Ingestion


@perform.register
def _(action: Pull, workspace: Workspace) -> Outcome:
    workspace.tell(f"pulling {action.source}.{action.resource}")
    source = read_doc(workspace.draft.get("source", action.source).doc)
    table = workspace.engine.memtable(fetch(source, action, workspace.root, _pages(workspace)))
    if action.where:
        table = satisfying(table, parse(action.where, schema_of(table), boolean=True))
        table = table.limit(action.limit) if action.limit else table
    known = workspace.draft.find("table", action.into)
    kept = known if action.mode != "replace" else None
    lineage: Lineage = {column: [] for column in table.columns}
    if kept:
        table = _onto(workspace.read(action.into), table, action)
        lineage = {c: [(action.into, kept.n, c)] if c in kept.doc["schema"] else [] for c in table.columns}
    doc = workspace.write(action.into, table, action, lineage, f"{action.source}.{action.resource}")
    workspace.emit("data-ready", action.into, rows=doc.rows, source=doc.source, mode=action.mode)
    if drift := _drift(workspace, action.into, doc):
        workspace.emit("schema-drift", action.into, **drift)
    return Outcome(f"pulled {doc.source} into {action.into}: {doc.rows:,} rows", {"rows": doc.rows})


def _pages(workspace: Workspace) -> Callable[[int, int, int], None]:
    def told(rows: int, pages: int, retries: int) -> None:
        tried = f", {retries} retries" if retries else ""
        workspace.tell(f"{rows:,} rows in {pages} pages{tried}")

    return told


def _onto(before: ibis.Table, pulled: ibis.Table, action: Pull) -> ibis.Table:
    pulled = forms.spelled(pulled, before.columns)
    if action.mode == "upsert":
        for column in action.key:
            if column not in before.columns or column not in pulled.columns:
                raise PlanError(unknown("key column", column, pulled.columns, f"in {action.source}.{action.resource}"))
        before = before.anti_join(pulled, list(action.key))
    return forms.compile(Union(table=action.into, other=action.into), before, pulled)


def _drift(workspace: Workspace, name: str, doc: TableDoc) -> dict[str, Any]:
    """How the schema differs from that of the last pull from the same place; nothing if it doesn't."""
    history = workspace.draft.catalog.history("table", name)
    before = next((e.doc["schema"] for e in reversed(history) if e.doc.get("source") == doc.source), doc.schema_)
    added = [column for column in doc.schema_ if column not in before]
    removed = [column for column in before if column not in doc.schema_]
    retyped = {c: [before[c], kind] for c, kind in doc.schema_.items() if c in before and before[c] != kind}
    found = {"added": added, "removed": removed, "retyped": retyped}
    return found if any(found.values()) else {}


# Quality


@perform.register
def _(action: Analyze, workspace: Workspace) -> Outcome:
    report = _analyzed(workspace, action.table, action.columns)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    body = {"score": report.score, "rows": report.rows, "version": report.version, "errors": len(errors)}
    found = [
        finding.model_dump(include={"column", "kind", "count", "severity", "message"}) for finding in report.findings
    ]
    workspace.emit("quality-pass" if report.passed else "quality-fail", action.table, **body, findings=found)
    lines = "".join(f"\n- {f.severity}: {f.message}" for f in report.findings) or "\n- nothing found"
    verdict = "passed" if report.passed else "failed"
    return Outcome(f"{action.table} {verdict}, score {report.score:.3f}, {report.rows:,} rows{lines}", body)


@perform.register
def _(action: SuggestFixes, workspace: Workspace) -> Outcome:
    fixes = suggest_fixes(report := _report(workspace, action.table))
    lines = [f"- {step}: {why}" for step, why in zip(fixes.plan.actions, fixes.why, strict=True)]
    lines += [f"- left: {finding.message}" for finding in fixes.left if finding.severity != "info"]
    expected = expected_score(report)
    data = {"fixes": fixes.plan.to_calls(), "why": fixes.why, "expected_score": expected}
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
    report = quality.analyze(workspace.engine, workspace.read(table), table, workspace.version(table), tuple(columns))
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
    return Outcome(text, {"moved": moved, "rows": after.rows}, _too_many(workspace, action, doc.rows, after.rows))


def _with_reason(table: ibis.Table, reason: str) -> ibis.Table:
    name = "reason"
    while name in {column.lower() for column in table.columns}:
        name += "_"
    return table.mutate(**{name: ibis.literal(reason, type="string")})


def _too_many(workspace: Workspace, action: Quarantine | Transform, before: int, after: int) -> str | None:
    """Why a person must agree, now that the action has taken rows out of its table; None if more than half stay.

    All that the run has taken out of the table counts together, so that many small steps are no way round. Only what
    goes by the data counts: a condition, or equal rows, may meet more than the asker thought. `limit` and `sample` say
    in the plan how many rows stay; `join` and `aggregate` make rows of another kind. Those are free, in place too.
    """
    earlier = workspace.kept.get(action.table, Fraction(1))
    kept = workspace.kept[action.table] = earlier * (Fraction(after, before) if before else 1)
    if before == after or not removal_needs_approval(kept.denominator, kept.numerator):
        return None
    if earlier == 1:
        return f"{action} takes {before - after:,} of {before:,} rows out of the table, more than half"
    gone = f"{float(1 - kept):.0%} of the rows"
    return f"{action}, with what came before it, takes {gone} out of {action.table}, more than half"


# Transformation


@perform.register
def _(action: Transform, workspace: Workspace) -> Outcome:
    target = action.into or action.table
    doc, n = workspace.draft.table(action.table), workspace.version(action.table)
    other = action.other if isinstance(action, Join | Union) else None
    table = workspace.read(action.table)
    result = forms.compile(action, table, workspace.read(other) if other else None)
    lineage = _lineage(action, doc, n, workspace, other, result.columns)
    view = forms.projection(action, doc)
    if view is not None:
        after = doc.model_copy(
            update={
                "projection": view,
                "schema_": schema_of(result),
                "call": _call(action),
                "lineage": lineage,
                "source": None,
            }
        )
        workspace.draft.put("table", target, after)
    else:
        after = workspace.write(target, result, action, lineage)
    data = {"rows_before": doc.rows, "rows": after.rows, "made_missing": 0}
    if view is None and isinstance(action, Cast):
        data["made_missing"] = forms.counts(action, table, workspace.read(target))["made_missing"]
    workspace.emit("transformed", target, action=action.tool(), rows=after.rows, columns=list(after.schema_))
    removes = isinstance(action, Filter | Dedupe) and target == action.table
    why = _too_many(workspace, action, doc.rows, after.rows) if removes else None
    return Outcome(_said(action, target, data), data, why)


def _lineage(
    action: Transform, doc: TableDoc, n: int, workspace: Workspace, other: str | None, columns: Iterable[str]
) -> Lineage:
    schema: Schema | None = workspace.draft.table(other).schema_ if other else None
    places = {"this": (action.table, n), "other": (other or "", workspace.version(other) if other else 0)}
    traced = forms.lineage(action, doc.schema_, schema, columns)
    return {column: [(*places[side], origin) for side, origin in traced.get(column, [])] for column in columns}


def _said(action: Transform, target: str, data: dict[str, Any]) -> str:
    rows = f"{data['rows']:,} rows" + (
        "" if data["rows"] == data["rows_before"] else f", before {data['rows_before']:,}"
    )
    lost = f", {data['made_missing']:,} values could not be read and are missing now" if data["made_missing"] else ""
    return f"{action}: {target} has {rows}{lost}"


# Storage


@perform.register
def _(action: Provision, workspace: Workspace) -> Outcome:
    store = stores.provision(action)
    workspace.draft.put("store", store.name, store)
    return Outcome(f"store {store.name} ({store.format}) is ready", {"store": store.name, "format": store.format})


@perform.register
def _(action: Publish, workspace: Workspace) -> Outcome:
    workspace.tell(f"publishing {action.table} to {action.store}")
    before = StoreDoc.model_validate(workspace.draft.get("store", action.store).doc)
    version, table = workspace.version(action.table), workspace.read(action.table)
    after = stores.publish(
        *(workspace.engine, table, before, action.table, workspace.draft.run, action.mode),
        root=workspace.root,
        version=version,
    )
    workspace.draft.put("store", action.store, after)
    done = after.tables[stores.published_name(action.table)]
    body = {"store": action.store, "format": after.format, "rows": done.rows, "bytes": done.bytes, "version": version}
    workspace.emit("published", action.table, **body)
    return Outcome(f"published {action.table} to {action.store}: {done.rows:,} rows, {done.bytes:,} bytes", body)


@perform.register
def _(action: Schedule, workspace: Workspace) -> Outcome:
    moments = upcoming(action.cron)
    doc = {"task": action.task, "when": action.when, "cron": action.cron, "next": moments}
    workspace.draft.put("schedule", action.task, doc)
    workspace.emit("scheduled", action.task, cron=action.cron, next=moments)
    return Outcome(f"{action.task} runs {action.when} ({action.cron}), next at {moments[0]}", doc)


def upcoming(cron: str, after: datetime | None = None, many: int = 5) -> list[str]:
    """The next moments of a schedule, ISO 8601 in UTC; PlanError if there are none.

    >>> upcoming("0 2 * * *", datetime(2026, 1, 1, tzinfo=UTC), many=2)
    ['2026-01-01T02:00:00+00:00', '2026-01-02T02:00:00+00:00']
    """
    try:
        moments = croniter(cron, after or datetime.now(UTC))
        return [moments.get_next(datetime).isoformat() for _ in range(many)]
    except ValueError as fault:
        raise PlanError(f"{cron!r} is no time that comes: {fault}") from fault
