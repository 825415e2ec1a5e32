"""HTML for notebooks and pages, made by the templates beside this file, which escape whatever they are given.

Each function returns a fragment that brings its own styles; `report.py` uses the same parts within one page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agentlab.checks import Verdict
from agentlab.display import charts, words
from agentlab.drift import Drift
from agentlab.events import Event, Events
from agentlab.outliers import Outliers
from agentlab.plan import Plan
from agentlab.provenance import Lineage, Step
from agentlab.quality import Report
from agentlab.runs import PipelineResult, Review, Reviews, RunResult
from agentlab.shown import plain
from agentlab.workload import Diagnosis, Tuning


def plan(plan: Plan) -> str:
    """A plan: its actions, who acts, how sure the model was."""
    return _fragment("plan", plan)


def run(result: RunResult) -> str:
    """A run: what became of it, its plan, what it wrote and told, and how to undo it."""
    return _fragment("run", result)


def pipeline(result: PipelineResult) -> str:
    """A pipeline: what became of it, and of each of its steps."""
    return _fragment("pipeline", result)


def reviews(reviews: Sequence[Review]) -> str:
    """What waits for a person, or has waited: why, what would be, and how to answer."""
    return _fragment("reviews", reviews)


def shown(thing: object) -> str:
    """Whatever came back from a lab; its words, if there is no better form for it."""
    forms: dict[type, Callable[[Any], str]] = {Plan: plan, RunResult: run, PipelineResult: pipeline}
    forms |= {Events: events, Lineage: lineage, Reviews: reviews, Review: lambda review: reviews([review])}
    forms |= {Report: report, Outliers: outliers, Drift: drift, Verdict: lambda verdict: checks([verdict])}
    return next((form(thing) for kind, form in forms.items() if isinstance(thing, kind)), plain(thing))


def reports(
    docs: Mapping[str, Mapping[str, Any]],
) -> Iterator[Report | Verdict | Outliers | Drift | Diagnosis | Tuning]:
    """The reports of a run's result, read from their documents."""
    for doc in docs.values():
        match doc.get("kind"):
            case "quality":
                yield Report.model_validate(doc["report"])
            case "check":
                yield Verdict.model_validate(doc["verdict"])
            case "outliers":
                yield Outliers.model_validate(doc["outliers"])
            case "drift":
                yield Drift.model_validate(doc["drift"])
            case "diagnosis":
                yield Diagnosis.model_validate(doc["diagnosis"])
            case "tuning":
                yield Tuning.model_validate(doc["tuning"])


def report(report: Report) -> str:
    """A quality report: the score, the findings, and a card with a small histogram for each column."""
    return _fragment("report", report)


def checks(verdicts: Sequence[Verdict]) -> str:
    """The verdicts on checks as a table: what was asked, which part of the rows passes, and rows that don't."""
    return _fragment("checks", verdicts)


def outliers(found: Outliers) -> str:
    """Outliers: a card a column with what lies outside the bounds in another colour, and rows that do."""
    return _fragment("outliers", found)


def drift(found: Drift) -> str:
    """Drift: a card a column with both distributions, one over the other, and how far they are apart."""
    return _fragment("drift", found)


def events(events: Sequence[Event]) -> str:
    """Events as a timeline, oldest first."""
    return _fragment("events", events)


def lineage(steps: Sequence[Step]) -> str:
    """Where a column comes from, step by step."""
    return _fragment("lineage", steps)


def change(change: words.Change) -> str:
    """What an action did to a table."""
    return _fragment("change", change)


def diagnosis(diagnosis: Diagnosis) -> str:
    """Where a query's time goes."""
    return _fragment("diagnosis", diagnosis)


def tuning(tuning: Tuning) -> str:
    """Every layout that was tried, measured before and after."""
    return _fragment("tuning", tuning)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Plain rows as a table."""
    return _fragment("table", list(rows))


def styles() -> Markup:
    """The styles that every part needs, once for a page."""
    return Markup((Path(__file__).parent / "styles.html").read_text(encoding="utf-8"))  # noqa: S704 (our own file)


@cache
def templates() -> Environment:
    """The templates of this package, with what they may call."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(histogram=charts.histogram, meter=charts.meter, tone=charts.tone)
    made.globals.update(overlaid=charts.overlaid, between=charts.between)
    made.globals.update(reports=reports, landmarks=words.landmarks, sure_of_themselves=words.SURE)
    for helper in (words.visible, words.paragraph, words.seconds, words.size, words.share, words.plural, words.clock):
        made.filters[helper.__name__] = helper
    for of_many in (words.arguments, words.figures, words.columns_of, words.day):
        made.filters[of_many.__name__] = of_many
    for kind in (Report, Verdict, Outliers, Drift, Diagnosis, Tuning):
        made.tests[kind.__name__.lower()] = _kind(kind)
    return made


def _kind(kind: type) -> Callable[[object], bool]:
    return lambda thing: isinstance(thing, kind)


def _fragment(part: str, thing: object) -> str:
    parts: Any = templates().get_template("parts.html").module
    body = getattr(parts, part)(thing)
    return str(Markup('{}<div class="agentlab">{}</div>').format(styles(), body))
