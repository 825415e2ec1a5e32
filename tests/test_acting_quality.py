"""Checks, outliers and drift in a lab: reports, verdicts that are remembered, events, and undo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.quality import findings_in
from agentlab.report import page, session

T = "staging.orders"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Forty orders, one of whom costs too much, and as many of a better month."""
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        orders = {"id": range(40), "email": [f"u{n}@x.org" if n else "<b>me</b>" for n in range(40)]}
        lab.load(pd.DataFrame({**orders, "price": [9000.0, *range(1, 40)]}), "orders")
        lab.load(pd.DataFrame({**orders, "price": [n + 100.0 for n in range(40)]}), "better")
        yield lab


CHECK = call("check", table=T, rule="matches", columns=["email"], pattern="email")
PASSES = call("check", table=T, rule="unique", columns=["id"])
OUTLIERS = call("find_outliers", table=T)
COMPARE = call("compare", table=T, reference="staging.better")


def test_a_failed_check_is_reported_remembered_and_told(lab: Lab) -> None:
    result = lab.run(Plan.from_calls([CHECK, PASSES]))
    assert result.status == "done", result.message
    assert [(e.type, e.body["failing"]) for e in result.events] == [("quality-fail", 1), ("quality-pass", 0)]
    name = f"{T}: matches email (pattern email)"
    assert {n: v.passed for n, v in lab.checks().items()} == {name: False, f"{T}: unique id": True}
    (finding,) = findings_in(result.reports[f"check of {name}"])
    assert (finding.column, finding.kind, finding.count) == ("email", "format", 1)
    assert f"{name} failed: 1 of 40 values of email are no email" in result.message


def test_a_failed_check_mends_nothing_by_what_an_analysis_found(lab: Lab) -> None:
    lab.run(Plan.from_calls([call("analyze", table=T)]), approve=False)
    runs = len(lab.history())
    assert lab.run(Plan.from_calls([CHECK])).status == "done"
    assert len(lab.history()) == runs + 1


def test_outliers_and_drift_are_reported_with_their_figures(lab: Lab) -> None:
    result = lab.run(Plan.from_calls([OUTLIERS, COMPARE]))
    assert result.status == "done", result.message
    found = {f.kind: (f.column, f.count) for doc in result.reports.values() for f in findings_in(doc)}
    assert found == {"outlier": ("price", 1), "drift": ("price", 1)}
    assert "id wasn't compared: it names things" in result.message


@pytest.mark.parametrize("action", [CHECK, OUTLIERS, COMPARE], ids=lambda action: action["name"])
def test_undo_brings_back_what_was(lab: Lab, action: dict[str, Any]) -> None:
    before = lab.catalog.heads()
    result = lab.run(Plan.from_calls([action]))
    assert lab.catalog.heads() != before
    lab.undo(result.run)
    assert lab.catalog.heads() == before


def test_the_results_are_shown_in_notebooks_and_on_the_page(lab: Lab) -> None:
    result = lab.run(Plan.from_calls([CHECK, OUTLIERS, COMPARE]))
    for seen in (result._repr_html_(), page(session(lab))):
        assert "are no email" in seen and "drifted" in seen and "al-out" in seen and "al-there" in seen
        assert "<b>me</b>" not in seen and "&lt;b&gt;me&lt;/b&gt;" in seen and "<script" not in seen
