"""Where things come from: from a column back to the source's resource, and all that a run did.

Everything is read from the catalog; nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from agentlab.catalog import Catalog
from agentlab.entries import Entry, Run, TableDoc
from agentlab.errors import LabError, PlanError, unknown
from agentlab.plan import Plan, action_from
from agentlab.runs import plan_of
from agentlab.shown import Listed


class Step(BaseModel):
    """One version of a table on a column's way. `source` is `source.resource` where the values were pulled.

    `intent`, `model` and `confidence` are of the run that made the version.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    version: int
    column: str
    action: str
    run: str
    intent: str
    model: str
    confidence: float
    at: str
    source: str | None = None

    def __str__(self) -> str:
        came = f" from {self.source}" if self.source else ""
        why = f"run {self.run}: {self.intent!r}, {self.model}"
        return f"{self.table} v{self.version} {self.column}{came}: {self.action} ({why})"


class Lineage(Listed[Step]):
    """A column's way, newest step first."""


def lineage(catalog: Catalog, table: str, column: str) -> Lineage:
    """The versions and columns that a column's values went through, newest first, back to the sources.

    PlanError for a table or column that isn't there.
    """
    entry = catalog.get("table", table)
    if column not in entry.doc["schema"]:
        raise PlanError(unknown("column", column, entry.doc["schema"], f"in {table}"))
    return Lineage(_walk(catalog, table, entry.n, column))


def _walk(catalog: Catalog, table: str, n: int, column: str) -> Iterator[Step]:
    pending, seen = [(table, n, column)], set[tuple[str, int, str]]()
    while pending:
        at = pending.pop(0)
        if at in seen:
            continue
        seen.add(at)
        entry = catalog.version("table", at[0], at[1])
        doc = TableDoc.model_validate(entry.doc)
        yield _step(catalog, entry, doc, at[2])
        pending += doc.lineage.get(at[2], [])


def _step(catalog: Catalog, entry: Entry, doc: TableDoc, column: str) -> Step:
    run = run_of(catalog, entry.run)
    plan = plan_of(run) if run else Plan(actions=())
    return Step(
        table=entry.name,
        version=entry.n,
        column=column,
        action=str(action_from(doc.call)) if doc.call else "",
        run=entry.run,
        intent=run.intent if run else "",
        model=plan.origin.model,
        confidence=plan.confidence,
        at=entry.at,
        source=doc.source,
    )


def run_of(catalog: Catalog, run_id: str) -> Run | None:
    """A run, or None where somebody wrote to the catalog without one."""
    try:
        return catalog.run(run_id)
    except LabError:
        return None
