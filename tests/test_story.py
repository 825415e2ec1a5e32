"""The whole story, on a real API and real files, with the right answers in the model's place; and how it can fail."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from agentlab.errors import LabError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import PipelineResult
from agentlab.story import script, tell
from agentlab.story.verify import verify

ISSUE = [
    "Pull the latest 10,000 rows from the sales API and store them in a temporary staging table.",
    "Analyze the staging table for data quality issues and suggest remediation steps.",
    "Add a calculated column for total revenue and rename the customer_id field to cust_id.",
    "Provision a new columnar store for the sales data and set up a nightly refresh.",
    "The daily revenue query got slow, fix it.",
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """The lab's folder, the exit code, and what was printed."""
    folder, said = tmp_path_factory.mktemp("story") / "demo-lab", io.StringIO()
    code = tell(folder, model="scripted", console=Console(file=said, width=140))
    return folder, code, said.getvalue()


@pytest.fixture
def lab(told: tuple[Path, int, str]) -> Iterator[Lab]:
    with Lab(told[0], model=Scripted({})) as lab:
        yield lab


def result_of(lab: Lab) -> PipelineResult:
    """The story's result, as the catalog tells it later."""
    whole = next(run for run in lab.history(200) if run.intent == "pipeline sales")
    steps = tuple(lab.result(f"{whole.id}-s{number}") for number in range(1, 6))
    events = lab.result(whole.id).events
    return PipelineResult(run=whole.id, name="sales", status="done", message="", runs=steps, events=events)


def test_the_pipeline_holds_the_sentences_of_the_issue() -> None:
    doc = yaml.safe_load(script.pipeline().read_text())
    assert [step["say"] for step in doc["steps"]] == ISSUE == list(script.PLANS)


def test_the_story_ends_as_it_says(told: tuple[Path, int, str]) -> None:
    _, code, said = told
    assert code == 0, said
    assert "✗" not in said and said.count("✓") == 14
    for sentence in ISSUE:
        assert said.count(sentence) >= 2  # when it began, and in the end with its plan
    assert "approval of" in said and "moved 101 of" in said and "approved by the demo" in said
    assert re.search(r"score 0\.98\d\d → 0\.99\d\d", said)
    assert "total_revenue in staging.orders" in said and "from the source sales_api.orders" in said
    assert said.count("agentlab undo") == 6


def test_the_page_tells_it_too(told: tuple[Path, int, str]) -> None:
    page = (told[0] / "report.html").read_text()
    for sentence in ISSUE:
        assert sentence in page
    assert "nightly" in page and "times as fast" in page and "agentlab undo" in page and "quality-fail" in page
    assert "stores/sales/orders/" in page


def test_the_token_of_the_api_is_nowhere_but_in_its_file(told: tuple[Path, int, str]) -> None:
    (kept,) = (told[0] / "secrets").glob("sales_api-*")
    secret = kept.read_bytes()
    holding = [
        f.name for f in told[0].rglob("*") if f.is_file() and f.parent.name != "secrets" and secret in f.read_bytes()
    ]
    assert holding == []
    assert secret.decode() not in told[2]


def test_what_is_not_as_claimed_is_found(lab: Lab) -> None:
    story = result_of(lab)
    assert all(claim.holds for claim in verify(lab, story))
    lab.undo(story.runs[4].run)
    lab.run(Plan.from_calls([{"name": "limit", "arguments": {"table": "quarantine.orders", "n": 5}}]))
    lost = {claim.says for claim in verify(lab, story) if not claim.holds}
    assert "the query was measured before and after, and is faster" in lost
    assert "every pulled row is in one place" in lost
    assert {"negative quantities: in quarantine, none in the store"} <= lost
    assert "10,000 rows were pulled" not in lost and "cust_id is there, customer_id isn't" not in lost


def test_a_model_that_plans_wrongly_makes_the_demo_fail_with_the_reason(tmp_path: Path) -> None:
    wrong = {**script.PLANS, ISSUE[0]: [{"name": "clarify", "arguments": {"question": "From which source?"}}]}
    said = io.StringIO()
    assert tell(tmp_path / "demo", model=Scripted(wrong), console=Console(file=said, width=140)) == 1
    assert "not as claimed: every step is done (clarify: step 1" in said.getvalue()
    assert "From which source?" in said.getvalue()


def test_without_a_checkout_the_demo_says_what_to_do_and_makes_nothing(tmp_path: Path) -> None:
    package = Path(script.__file__).parents[1]
    shutil.copytree(package, tmp_path / "site" / "agentlab", ignore=shutil.ignore_patterns("tiny", "__pycache__"))
    ran = subprocess.run(
        [sys.executable, "-c", "from agentlab.cli import main; main()", "demo", "--lab", "shown"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(tmp_path / "site")},
    )
    assert ran.returncode == 1 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1
    assert "data/pipelines/sales.yaml" in ran.stderr and "run `make demo` in it" in ran.stderr
    assert "agentlab sources add" in ran.stderr
    assert not (tmp_path / "shown").exists()


def test_a_folder_that_the_demo_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LabError, match=r"holds something that the demo didn't make; name another folder with --lab"):
        tell(tmp_path, model="scripted")
    ran = subprocess.run(
        [sys.executable, "-m", "agentlab.story", "--lab", str(tmp_path), "--model", "scripted"],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert ran.returncode == 1 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
