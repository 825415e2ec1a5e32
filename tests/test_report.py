"""The report page of a small session: everything that happened is on it, and nothing on it is more than text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from agentlab import report
from agentlab.lab import Lab
from agentlab.models import Scripted

SAID = "add the total & <b>be quick</b>"
PLANS = {
    SAID: [{"name": "derive", "arguments": {"table": "staging.sales", "column": "total", "expr": "n * price"}}],
    "judge it": [{"name": "analyze", "arguments": {"table": "staging.sales"}}],
    "publish it nightly": [
        {"name": "provision", "arguments": {"store": "mart"}},
        {"name": "publish", "arguments": {"table": "staging.sales", "store": "mart"}},
        {"name": "schedule", "arguments": {"task": "mart refresh", "when": "nightly"}},
    ],
    "what about it?": [{"name": "clarify", "arguments": {"question": "About <what>?"}}],
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", model=Scripted(PLANS), approve=True) as lab:
        names = ["<script>alert(1)</script>", "Ann", "Ben", "Cleo"] * 5
        lab.load(pd.DataFrame({"name": names, "n": range(20), "price": [1.5] * 20}), "sales")
        for sentence in PLANS:
            lab.run(sentence)
        yield lab


def test_the_page_holds_the_whole_session(lab: Lab) -> None:
    page = report.page(report.session(lab, title="A <small> session", lineage=("staging.sales", "total")))
    assert "A &lt;small&gt; session" in page and "add the total &amp; &lt;b&gt;be quick&lt;/b&gt;" in page
    assert "About &lt;what&gt;?" in page
    for told in ("mart.sales", "staging.sales", "nightly", "0 2 * * *", "stores/mart/sales/", "quality-pass", "derive"):
        assert told in page
    first = lab.history()[-1].id
    assert f"agentlab undo {first} --lab lab" in page
    assert "<script" not in page


def test_the_page_needs_nothing_beside_it(lab: Lab, tmp_path: Path) -> None:
    path = report.write(lab, tmp_path / "page.html")
    page = path.read_text()
    assert not re.search(r"src=|href=|@import|url\(", page)
    assert "default-src 'none'" in page and str(tmp_path) not in page


def test_only_the_chosen_runs_are_told(lab: Lab) -> None:
    judged = next(run.id for run in lab.history() if run.intent == "judge it")
    told = report.session(lab, [judged])
    assert [step.result.run for step in told.steps] == [judged]
    assert {event.run for event in told.events} == {judged}


def test_an_empty_lab_has_a_page_too(tmp_path: Path) -> None:
    with Lab(tmp_path / "empty", model=Scripted({})) as lab:
        assert "What was done" in report.page(report.session(lab))
