"""Rich renderables for terminals. Strangers' text goes into `Text`, never through rich's markup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agentlab.actions import Action, Clarify, Refuse
from agentlab.display import words
from agentlab.display.words import Change, seconds, visible
from agentlab.events import Event
from agentlab.plan import Plan
from agentlab.provenance import Step
from agentlab.quality import Finding, Report
from agentlab.runs import PipelineResult, Review, RunResult
from agentlab.workload import Diagnosis, Measured, Tuning

_STATUS = {"done": "green", "failed": "red", "refuse": "red", "approval": "yellow", "clarify": "yellow"}
_EVENT = {
    **dict.fromkeys(("quality-fail", "error"), "red"),
    **dict.fromkeys(("slow-query", "review-asked", "schema-drift", "undone"), "yellow"),
    **dict.fromkeys(("data-ready", "scheduled", "review-answered"), "blue"),
}
_SEVERITY = {"error": "red", "warning": "yellow", "info": "dim"}
_BLOCKS = " ▁▂▃▄▅▆▇█"


def plan(plan: Plan) -> RenderableType:
    """A plan: its actions, who acts, how sure the model was."""
    if plan.abstention:
        return _abstained(plan.abstention)
    lines = [_action(number, action) for number, action in enumerate(plan.actions, 1)]
    broken = [Text(f"  ! {words.paragraph(line)}", "yellow") for line in plan.breaks]
    return Group(*lines, *broken, Text.assemble("  ", *_sure(plan), style="dim"))


def _abstained(action: Clarify | Refuse) -> Text:
    if isinstance(action, Clarify):
        return Text.assemble(("? ", "bold yellow"), words.paragraph(action.question))
    return Text.assemble(("× ", "bold red"), words.paragraph(action.reason))


def _action(number: int, action: Action) -> Text:
    line = Text.assemble((f"  {number} ", "dim"), (action.tool().replace("_", " "), "bold"))
    for name, value in words.arguments(action):
        line.append(f"  {name} ", "dim").append(value, "cyan")
    return line


def _sure(plan: Plan) -> Iterator[str]:
    if plan.origin.model not in words.SURE:
        yield f"{words.share(plan.confidence)} sure · "
    yield f"planned by {visible(plan.origin.model)}"
    if plan.agents:
        yield f" · {', '.join(plan.agents)}"


def run(result: RunResult) -> RenderableType:
    """A run: what became of it, its plan, what it wrote and told, and how to undo it."""
    parts: list[RenderableType] = [_headline(result)]
    if not result.plan.abstention and result.plan.actions:
        parts.append(plan(result.plan))
    if result.events:
        parts.append(events(result.events))
    parts += [Text(f"  {visible(name)}: {words.plural(rows, 'row')}", "cyan") for name, rows in result.tables.items()]
    told = f"  run {result.run} · planned in {seconds(result.plan_ms)}, done in {seconds(result.act_ms)}"
    told += f" · undo: agentlab undo {result.run}" if result.status == "done" else ""
    return Group(*parts, Text(told, "dim"))


def _headline(result: RunResult) -> Text:
    return Text.assemble(
        (f"{result.status}", f"bold {_STATUS.get(result.status, '')}"), " ", words.paragraph(result.message)
    )


def pipeline(result: PipelineResult) -> RenderableType:
    """A pipeline: the sentence and the plan of each step, and what became of the whole."""
    colour = {**_STATUS, "stopped": "red"}[result.status]
    head = Text.assemble(
        (result.status, f"bold {colour}"), f" {visible(result.name)}: {words.paragraph(result.message)}"
    )
    return Group(*map(step, result.runs), head)


def step(result: RunResult) -> RenderableType:
    """A run in short: its sentence, its plan, its times; its message where it isn't done."""
    mark = Text.assemble(("● ", _STATUS.get(result.status, "")), (words.paragraph(result.plan.origin.intent), "bold"))
    parts: list[RenderableType] = [mark, plan(result.plan)]
    if result.status != "done":
        parts.append(Text(f"  {result.status}: {words.paragraph(result.message)}", _STATUS.get(result.status, "")))
    times = f"  planned in {seconds(result.plan_ms)}, done in {seconds(result.act_ms)} · run {result.run}"
    return Group(*parts, Text(times, "dim"))


def review(review: Review) -> Panel:
    """What a person is asked: what would happen, and why it waits."""
    lines = [Text.assemble(("· ", "yellow"), words.paragraph(line)) for line in review.preview]
    why = Text(words.paragraph("; ".join(review.reasons)), "dim")
    body = Group(Text(words.paragraph(review.intent), "bold"), *lines, why)
    return Panel(
        body,
        title=Text(f"approval of {visible(review.run)}"),
        title_align="left",
        border_style="yellow",
        box=box.ROUNDED,
    )


def events(events: Sequence[Event]) -> RenderableType:
    """Events as lines, oldest first."""
    return Group(*map(event, events))


def event(event: Event) -> Text:
    """One event as a line."""
    line = Text.assemble((f"  ● {event.type:<15}", _EVENT.get(event.type, "green")), " ", visible(event.subject))
    if told := words.figures(event):
        line.append(f"  {told}", "dim")
    return line


def report(report: Report) -> RenderableType:
    """A quality report: the score, a line for each column with a small histogram, and the findings."""
    tone = "green" if report.passed else "red"
    head = Text.assemble(
        ("quality ", "bold"),
        visible(report.table),
        f" version {report.version}, {words.plural(report.rows, 'row')}  ",
        (f"score {report.score:.4f} {'passed' if report.passed else 'not passed'}", f"bold {tone}"),
    )
    return Group(head, _columns(report), *(finding(f) for f in _worst_first(report.findings)))


def _worst_first(findings: Sequence[Finding]) -> list[Finding]:
    order = list(_SEVERITY)
    return sorted(findings, key=lambda f: order.index(f.severity))


def finding(found: Finding) -> Text:
    """One finding as a line."""
    return Text.assemble((f"  {found.severity:<8}", _SEVERITY[found.severity]), visible(found.message, 400))


def _columns(report: Report) -> Table:
    table = _table("column", "type", ">missing", ">distinct", "values")
    for c in report.columns:
        shown = _blocks(c.histogram.counts) if c.histogram else ", ".join(visible(v, 14) for v, _ in c.top[:3])
        cells = (visible(c.name), c.type, visible(c.missing) if c.missing else "", visible(c.distinct), shown)
        table.add_row(*map(Text, cells))
    return table


def _blocks(counts: Sequence[int]) -> str:
    most = max(counts, default=0) or 1
    return "".join(_BLOCKS[max(1, round(count / most * 8)) if count else 0] for count in counts)


def lineage(steps: Sequence[Step]) -> RenderableType:
    """Where a column comes from, newest first: the steps at which something happened to it."""
    lines: list[RenderableType] = []
    for number, mark in enumerate(words.landmarks(steps)):
        step, columns = mark.step, ", ".join(map(visible, mark.columns))
        place = f" in {visible(step.table)} version {step.version}"
        lines.append(Text.assemble(("  ← " if number else "    ", "dim"), (columns, "bold"), place))
        lines += [Padding(line, (0, 0, 0, 6)) for line in _origin(step)]
    return Group(*lines)


def _origin(step: Step) -> Iterator[Text]:
    if step.source:
        yield Text(f"from the source {visible(step.source)}")
    if step.action:
        yield Text(visible(step.action, 400), "cyan")
    sure = "" if step.model in words.SURE else f", {words.share(step.confidence)} sure"
    yield Text.assemble(f"“{words.paragraph(step.intent)}”", (f"  run {step.run}, {visible(step.model)}{sure}", "dim"))


def change(change: Change) -> RenderableType:
    """What an action did to a table."""
    before, after = change.rows
    parts: list[RenderableType] = [
        Text.assemble((visible(change.title, 400), "bold"), f"  {before:,} → {after:,} rows")
    ]
    colours = {"added": "green", "removed": "red", "renamed": "blue"}
    parts += [Text.assemble("  ", (what, colours[what]), " ", visible(names)) for what, names in change.columns]
    return Group(*parts, *([rows(change.sample)] if change.sample else []))


def rows(sample: Sequence[Mapping[str, Any]]) -> Table:
    """Plain rows as a table."""
    columns = words.columns_of(sample)
    table = _table(*columns)
    for row in sample:
        table.add_row(*(Text(visible(row.get(column), 40)) for column in columns))
    return table


def diagnosis(found: Diagnosis) -> RenderableType:
    """Where a query's time goes."""
    spots = [
        Text.assemble("  ", (_bar(spot.share), "blue"), f" {words.share(spot.share):>4} ", visible(spot.what, 80))
        for spot in found.hotspots
    ]
    return Group(Text(words.paragraph(found.message)), *spots)


def tuning(tuning: Tuning) -> RenderableType:
    """Every layout that was tried, measured before and after."""
    table = _table("", "layout", ">before", ">after", ">gain")
    for trial in tuning.measured:
        table.add_row(*_trial(trial))
    kept = compared(tuning.kept.before_ms, tuning.kept.after_ms) if tuning.kept else Text("  no layout was kept")
    return Group(table, kept)


def _trial(trial: Measured) -> list[Text]:
    times = (seconds(trial.before_ms), seconds(trial.after_ms), f"{trial.gain:.1f}×") if trial.gain else ("", "", "")
    style = "green" if trial.status == "kept" else "dim"
    return [Text(trial.status, style), Text(visible(trial.candidate)), *(Text(t, justify="right") for t in times)]


def compared(before: float, after: float) -> RenderableType:
    """Two times in milliseconds, as bars on one scale."""
    most = max(before, after, 0.001)
    return Group(
        Text.assemble("  before ", (_bar(before / most), "yellow"), f" {seconds(before)}"),
        Text.assemble("  after  ", (_bar(after / most), "green"), f" {seconds(after)}"),
    )


def scores(before: float, after: float) -> RenderableType:
    """A table's score, first and now."""
    told = Text.assemble("  score ", (f"{before:.4f}", "bold yellow"), " → ", (f"{after:.4f}", "bold green"))
    return told.append("  (1 is a table without a fault)", "dim")


def _bar(part: float, width: int = 30) -> str:
    return "█" * max(1, round(part * width)) + " " * (width - max(1, round(part * width)))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            Text(visible(column.removeprefix(">") if right else column)), justify="right" if right else "left"
        )
    return table


def lines(lines: Sequence[str]) -> RenderableType:
    """Plain lines of text."""
    return Group(*(Text(words.paragraph(line)) for line in lines))


def listing(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> Table:
    """A plain list; a column whose name begins with `>` is set to the right."""
    table = _table(*columns)
    for line in lines:
        table.add_row(*(Text(visible(cell, 400)) for cell in line))
    return table


def table(told: Mapping[str, Any]) -> RenderableType:
    """One table: how much of it there is, its columns with their types, and its first rows."""
    head = (
        f"version {told['version']}, {words.plural(told['rows'], 'row')}, {words.size(told['bytes'])} in {told['path']}"
    )
    columns = Text("  ")
    for name, kind in told["schema"].items():
        columns.append(visible(name), "cyan").append(f" {kind}   ", "dim")
    return Group(Text.assemble((visible(told["table"]), "bold"), f"  {head}"), columns, rows(told["first"]))


def answer(found: Sequence[Mapping[str, Any]], told: str) -> RenderableType:
    """The first rows of a query's result, and what there is to say of it."""
    return Group(rows(found), Text(words.paragraph(told), "dim"))
