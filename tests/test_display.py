"""What people see: everything that matters is there, and nothing that a stranger wrote is more than text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from jupyter_core.paths import jupyter_path
from rich.console import Console, RenderableType

from agentlab import quality
from agentlab.checks import Verdict
from agentlab.display import Change, Progress, html, terminal, visible
from agentlab.drift import ColumnDrift, Drift
from agentlab.engine import DuckDB
from agentlab.events import Event
from agentlab.fixes import suggest_fixes
from agentlab.layouts import Candidate
from agentlab.outliers import Outliers, Outlying
from agentlab.plan import Origin, Plan
from agentlab.profiles import ColumnProfile, Histogram
from agentlab.provenance import Step
from agentlab.quality import Finding, Report
from agentlab.runs import PipelineResult, Review, RunResult
from agentlab.tune import Measured, Tuning
from agentlab.workload import Diagnosis, Hotspot

EVIL = '<script>alert("x")</script>'
#: What a stranger may put into a cell, a column's name or an API's answer.
HOSTILE = (EVIL, "<img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "{{ 7 * 7 }}", "</style><h1>", "&amp;")
CODES = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil\x07link\x1b]8;;\x07",
    "[bold red]big[/]",
    "a\x00b",
    "\u202eevil",
    "\x9b2J",
)


class Read(HTMLParser):
    """The tags, the attributes and the text of a fragment."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]

    def handle_data(self, data: str) -> None:
        self.text += data


def printed(thing: RenderableType) -> str:
    console = Console(width=140, force_terminal=True, color_system="truecolor")
    with console.capture() as seen:
        console.print(thing)
    return seen.get()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    engine = DuckDB(tmp_path_factory.mktemp("lab"))
    texts = [*HOSTILE, *CODES] * 10
    data = pa.table(
        {
            "id": list(range(len(texts))),
            EVIL: texts,
            "quantity": [-1, *[n % 7 + 1 for n in range(len(texts) - 1)]],
            "[bold]name": [None, *["x"] * (len(texts) - 1)],
        }
    )
    found = quality.analyze(engine, engine.memtable(data), "staging.orders")
    engine.close()
    return found


def plan_of(text: str) -> Plan:
    calls = [{"name": "filter", "arguments": {"table": text, "where": text}}]
    return Plan.from_calls(calls, 0.87, Origin(intent=text, model=text, milliseconds=12.0))


def event_of(text: str) -> Event:
    body = {"rows": 1234, "store": text, "message": text}
    return Event(type="quality-fail", subject=text, body=body, run="r1", at="2026-11-22T08:30:05.100+00:00")


def result_of(text: str, report: Report) -> RunResult:
    return RunResult(
        run="r1",
        status="done",
        message=text,
        agents=("transformation",),
        plan=plan_of(text),
        events=(event_of(text),),
        tables={text: 9725},
        plan_ms=210.0,
        act_ms=1500.0,
        reports={text: {"kind": "quality", "report": report.model_dump(mode="json")}},
    )


def steps_of(text: str) -> list[Step]:
    common = {"table": text, "run": "r1", "intent": text, "model": text, "confidence": 0.9, "at": ""}
    made = Step(version=2, column="total", action=f"derive(column='total', expr={text!r})", **common)
    return [made, Step(version=1, column=text, action="", source=text, **common)]


def tuning_of(text: str) -> Tuning:
    trial = Candidate(kind="order", table=text, columns=(text,))
    return Tuning(
        measured=(
            Measured(query=text, candidate=trial, status="slower", why=text, before_ms=9.0, after_ms=8, gain=1.1),
        )
    )


def diagnosis_of(text: str) -> Diagnosis:
    return Diagnosis(
        query=text,
        ms=26.1,
        previous_ms=None,
        tables=(text,),
        rows=5,
        rows_read=100,
        bytes_read=1000,
        hotspots=(Hotspot(what=text, ms=1.0, share=0.55, rows=1),),
        message=text,
    )


def review_of(text: str) -> Review:
    return Review(run=text, intent=text, plan="", reasons=[text], preview=[text, text], answer=True, by=text)


def shown(text: str, report: Report) -> dict[str, tuple[str, RenderableType]]:
    """Each thing in both forms, with the text wherever a text can be."""
    change = Change(text, (10, 9), (text,), ("gone",), {text: "new"}, [{text: text, "n": 1}], text)
    result = result_of(text, report)
    whole = PipelineResult(run="p1", name=text, status="done", message=text, runs=(result,), events=result.events)
    return {
        "plan": (html.plan(plan_of(text)), terminal.plan(plan_of(text))),
        "run": (html.run(result), terminal.run(result)),
        "pipeline": (html.pipeline(whole), terminal.pipeline(whole)),
        "report": (html.report(report), terminal.report(report)),
        "events": (html.events([event_of(text)]), terminal.events([event_of(text)])),
        "lineage": (html.lineage(steps_of(text)), terminal.lineage(steps_of(text))),
        "change": (html.change(change), terminal.change(change)),
        "diagnosis": (html.diagnosis(diagnosis_of(text)), terminal.diagnosis(diagnosis_of(text))),
        "tuning": (html.tuning(tuning_of(text)), terminal.tuning(tuning_of(text))),
        "reviews": (html.reviews([review_of(text)]), terminal.review(review_of(text))),
        "table": (html.table([{text: text}]), terminal.rows([{text: text}])),
        **{kind: (fragment, terminal.rows([{text: text}])) for kind, fragment in judged(text).items()},
    }


def judged(text: str) -> dict[str, str]:
    """A check that fails, outliers and drift of a table whose names and cells are this text."""
    finding = Finding(
        table=text, column=text, kind="set", count=1, rows=9, severity="error", message=text, examples=[{text: text}]
    )
    arguments = {"table": text, "rule": "in_set", "columns": [text], "values": [text]}
    verdict = Verdict(
        **{"name": text, "table": text, "version": 1, "call": {"name": "check", "arguments": arguments}},
        **{"rows": 9, "failing": 1, "message": text, "findings": [finding]},
    )
    bins = Histogram(edges=(0.0, 1.0, 2.0), counts=(3, 4))
    profile = ColumnProfile(name=text, type="float", missing=0, distinct=3, min=0.0, max=2.0, histogram=bins)
    outlying = Outlying(column=profile, low=0.0, high=1.0, center=0.5, count=1, below=0, above=1)
    found = Outliers(
        **{"table": text, "version": 1, "rows": 9, "method": "iqr", "threshold": 1.5},
        **{"columns": [outlying], "findings": [finding]},
    )
    one = ColumnDrift(
        **{"column": text, "type": "text", "test": "chi2", "statistic": 1.0, "p": 0.001, "effect": 0.5, "psi": 0.3},
        **{"missing": (0.1, 0.0), "missing_p": 0.5, "drifted": True, "message": text, "categories": (text,)},
        bars=((1.0,), (0.5,)),
    )
    drifted = Drift(
        **{"table": text, "version": 1, "reference": text, "rows": 9, "reference_rows": 9, "columns": [one]},
        **{"untested": {text: text}, "findings": [finding]},
    )
    return {"checks": html.checks([verdict]), "outliers": html.outliers(found), "drift": html.drift(drifted)}


KINDS = (
    "checks",
    "outliers",
    "drift",
    "plan",
    "run",
    "pipeline",
    "report",
    "events",
    "lineage",
    "change",
    "diagnosis",
    "tuning",
    "reviews",
    "table",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stranger_wrote_is_text_in_html(kind: str, report: Report) -> None:
    usual = Read(shown("orders", report)[kind][0])
    for text in (*HOSTILE, *CODES):
        page = shown(text, report)[kind][0]
        read = Read(page)
        assert set(read.tags) == set(usual.tags), text
        assert not [name for name in read.attributes if name.startswith("on")], text
        assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert visible(EVIL)[:20] in Read(shown(EVIL, report)[kind][0]).text


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stranger_wrote_is_text_in_a_terminal(kind: str, report: Report) -> None:
    for text in (*HOSTILE, *CODES):
        seen = printed(shown(text, report)[kind][1])
        # What rich itself writes are colours; nothing moves the cursor, makes a link or clears the screen.
        assert not re.sub(r"\x1b\[[\d;]*m", "", seen).count("\x1b"), text
        assert not set(seen) & {"\x07", "\x00", "\x9b", "\u202e"}, text
    bold = "[bold red]big[/]"
    assert kind == "report" or bold[:9] in re.sub(r"\x1b\[[\d;]*m", "", printed(shown(bold, report)[kind][1]))


def test_a_plan_says_who_does_what_and_how_sure_the_model_was() -> None:
    text = Read(html.plan(plan_of("staging.orders"))).text
    assert "transformation" in text and "87% sure" in text and "filter" in text
    assert "87% sure" in printed(terminal.plan(plan_of("staging.orders")))


def test_a_plan_of_the_policy_claims_no_confidence() -> None:
    plan = plan_of("x").model_copy(update={"origin": Origin(model="policy")})
    assert "sure" not in Read(html.plan(plan)).text
    assert "sure" not in printed(terminal.plan(plan))


def test_a_question_and_a_refusal_show_their_words() -> None:
    asks = Plan.from_calls([{"name": "clarify", "arguments": {"question": "Which table?"}}])
    declines = Plan.from_calls([{"name": "refuse", "arguments": {"reason": "out of scope"}}])
    assert "Which table?" in html.plan(asks) and "Which table?" in printed(terminal.plan(asks))
    assert "out of scope" in html.plan(declines) and "out of scope" in printed(terminal.plan(declines))


def test_a_report_has_a_card_and_a_histogram_for_its_columns(report: Report) -> None:
    page = html.report(report)
    assert page.count('class="al-card"') == len(report.columns)
    assert page.count("<svg") == sum(c.histogram is not None for c in report.columns) > 0
    assert "1 of 120 values of quantity are negative" in Read(page).text
    assert f"{report.score:.4f}" in page and f"{report.score:.4f}" in printed(terminal.report(report))


def test_a_result_of_a_lab_shows_itself_in_a_notebook(report: Report) -> None:
    result = result_of("staging.orders", report)
    assert result._repr_html_() == html.run(result)
    assert 'lab.undo("r1")' in Read(html.run(result)).text


def test_a_page_needs_nothing_beside_it_and_no_script(report: Report) -> None:
    for page, _ in shown("orders", report).values():
        assert not re.search(r"src=|href=|<script|<link|@import|url\(", page)


def weight(selector: str) -> tuple[int, int, int]:
    """How strong a CSS selector is: ids, classes (attributes, pseudo-classes), elements. `:not` is what is in it."""
    plain = re.sub(r":not\(([^)]*)\)", r"\1", selector)
    counted = (r"#[\w-]+", r"\.[\w-]+|\[|(?<!:):[\w-]+", r"(?<![\w.#:-])[a-z][\w-]*|::[\w-]+")
    return tuple(len(re.findall(kind, plain)) for kind in counted)  # type: ignore[return-value]


def rules(styles: str, names: str, sets: str) -> list[str]:
    """The selectors of rules that end in one of these names and set this property."""
    found = [(s.strip(), body) for heads, body in re.findall(r"([^{}]+){([^{}]*)}", styles) for s in heads.split(",")]
    return [s for s, body in found if re.search(rf"(?:^| )(?:{names})$", s) and re.search(rf"(?:^|[;\s]){sets}:", body)]


def test_text_in_a_notebooks_tables_is_set_to_the_left_and_numbers_to_the_right() -> None:
    """JupyterLab sets all cells to the right; ours come later in a page, so as much strength is enough."""
    assert weight(":not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td") == (0, 2, 1)
    folder = next(p for p in jupyter_path("nbconvert", "templates", "lab", "static") if Path(p).is_dir())
    theirs = [s for s in rules(Path(folder, "index.css").read_text(), "td|th", "text-align") if ".jp-Rendered" in s]
    text, numbers = (rules(html.styles(), names, "text-align") for names in ("th|td", r"t[hd]\.num"))
    assert theirs and len(text) == len(numbers) == 2
    assert max(map(weight, theirs)) <= min(map(weight, text)) < min(map(weight, numbers))


def test_a_transformation_says_which() -> None:
    event = Event(type="transformed", subject="staging.orders", body={"action": "drop_columns", "rows": 2})
    assert "drop columns · 2 rows" in Read(html.events([event])).text
    assert "drop columns · 2 rows" in printed(terminal.events([event]))


def test_lineage_leaves_out_versions_that_only_carried_a_column_on() -> None:
    steps = steps_of("staging.orders")
    carried = steps[0].model_copy(update={"version": 3, "action": "dedupe(table='staging.orders')"})
    text = Read(html.lineage([carried, *steps])).text
    assert "version 2" in text and "version 1" in text and "version 3" not in text


def test_a_suggested_plan_can_be_shown(report: Report) -> None:
    assert "quarantine" in Read(html.plan(suggest_fixes(report).plan)).text


def test_progress_keeps_events_and_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "seen").open("w") as file:
        console = Console(file=file, width=100)
        monkeypatch.setattr("builtins.input", lambda *_: "y")
        review = Review(run="r1", intent="mend it", plan="", reasons=["rows leave"], preview=["moved 3 rows"])
        with Progress(console, sentences=True) as progress:
            progress.hear("planning: pull the orders")
            progress.hear("200 rows in 1 pages")
            progress.hear(event_of("staging.orders"))
            assert progress.ask(review)
            monkeypatch.setattr("builtins.input", lambda *_: "")
            assert not progress.ask(review)
    seen = (tmp_path / "seen").read_text()
    assert "pull the orders" in seen and "quality-fail" in seen and "moved 3 rows" in seen and "rows leave" in seen
    assert "200 rows in 1 pages" not in seen
