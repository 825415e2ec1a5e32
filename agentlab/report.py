"""A session in one HTML page that needs nothing beside it: sentences, plans, scores, events, places, lineage, undo.

It reads the lab and writes one file. How the parts look is `display`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentlab.checks import Verdict
from agentlab.display import html
from agentlab.drift import Drift
from agentlab.entries import Entry
from agentlab.events import Event, now
from agentlab.lab import Lab
from agentlab.layouts import LayoutDoc
from agentlab.outliers import Outliers
from agentlab.provenance import Step
from agentlab.quality import Report
from agentlab.runs import RunResult
from agentlab.stores import StoreDoc
from agentlab.workload import QueryDoc


@dataclass(frozen=True)
class Told:
    """One step: its run, and the runs that it caused by the policy."""

    result: RunResult
    caused: Sequence[RunResult] = ()


@dataclass(frozen=True)
class Judged:
    """A table's score when it was first judged and when it was last."""

    table: str
    before: float
    after: float
    latest: Report


@dataclass(frozen=True)
class Tuned:
    """A saved query, and the layout that it is answered from; times in milliseconds."""

    query: QueryDoc
    layout: LayoutDoc | None


@dataclass(frozen=True)
class Session:
    """All that the page shows."""

    title: str
    folder: str
    at: str
    steps: Sequence[Told]
    events: Sequence[Event]
    judged: Sequence[Judged]
    tables: Sequence[Entry]
    stores: Sequence[StoreDoc]
    schedules: Sequence[dict[str, Any]]
    queries: Sequence[Tuned]
    checks: Sequence[Verdict] = ()
    compared: Sequence[Outliers | Drift] = ()
    lineage: Sequence[Step] = ()
    undo: Sequence[str] = field(default=())


def session(
    lab: Lab,
    runs: Iterable[str] | None = None,
    *,
    title: str = "What was done",
    lineage: tuple[str, str] | None = None,
) -> Session:
    """What there is to tell of these runs (default: the latest fifty, without those that others caused).

    `lineage` is the table and the column whose way from its source is shown.
    """
    chosen = list(runs) if runs is not None else [r.id for r in reversed(lab.history()) if r.plan and not r.parent]
    steps = [_told(lab, run) for run in chosen]
    kept = list(html.reports({name: entry.doc for name, entry in lab.reports().items()}))
    return Session(
        title=title,
        folder=lab.root.name,
        at=now(),
        steps=steps,
        events=_events(lab, chosen),
        judged=list(_judged(lab)),
        tables=lab.catalog.entries("table"),
        stores=list(lab.stores().values()),
        schedules=lab.schedules(),
        queries=[Tuned(doc, _layout(lab, doc)) for doc in lab.queries().values()],
        checks=[found for found in kept if isinstance(found, Verdict)],
        compared=[found for found in kept if isinstance(found, Outliers | Drift)],
        lineage=lab.lineage(*lineage) if lineage else (),
        undo=[told.result.run for told in reversed(steps) if told.result.status == "done"],
    )


def page(told: Session) -> str:
    """The page as text."""
    return html.templates().get_template("page.html").render(told=told, styles=html.styles())


def write(lab: Lab, path: Path, runs: Iterable[str] | None = None, **more: Any) -> Path:
    """Write the page of a lab's runs; `more` as in `session`."""
    path.write_text(page(session(lab, runs, **more)), encoding="utf-8")
    return path


def _told(lab: Lab, run: str) -> Told:
    caused = [row.id for row in reversed(lab.history(1000)) if row.id.startswith(f"{run}-") and row.cause]
    return Told(lab.result(run), [lab.result(key) for key in caused])


def _events(lab: Lab, runs: Sequence[str]) -> list[Event]:
    return [e for e in lab.events() if any(e.run == run or e.run.startswith(f"{run}-") for run in runs)]


def _judged(lab: Lab) -> Iterable[Judged]:
    for entry in lab.catalog.entries("report"):
        if entry.doc.get("kind") == "quality":
            # Versions that were undone since stay in the history; what counts is what the log of events says.
            scores = [
                e.body["score"]
                for e in lab.events()
                if e.subject == entry.name and e.type.startswith("quality-") and "score" in e.body
            ]
            report = Report.model_validate(entry.doc["report"])
            yield Judged(entry.name, scores[0] if scores else report.score, report.score, report)


def _layout(lab: Lab, doc: QueryDoc) -> LayoutDoc | None:
    layouts = [LayoutDoc.model_validate(entry.doc) for entry in lab.catalog.entries("layout")]
    last = doc.runs[-1].layout if doc.runs else ""
    # One layout may answer several queries, of which it names the one that gained most.
    return next((layout for layout in layouts if layout.query == doc.name or layout.name == last), None)
