"""The notebooks: made from their scripts, executed from a clean state, with self-checks that know right from wrong."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

import agentlab

NOTEBOOKS = Path(agentlab.__file__).parents[1] / "notebooks"
QUICKSTART = NOTEBOOKS / "00_quickstart.py"

#: By the exercise's number: an answer that is wrong. The right one is the solution in the notebook's own text.
WRONG = {1: 'answer = lab.run("Rename the channel column to sales_channel.")', 2: 'winner = "Poland"'}


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_build", NOTEBOOKS / "build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "00_small.py"
    path.write_text(
        QUICKSTART.read_text().partition("# %% [markdown]")[0] + "# %%\n6 * 7\n\n# %% [markdown]\n# words\n"
    )
    return path


@pytest.fixture(scope="module")
def executed() -> NotebookNode:
    """The notebook as it is, and after its own cells each self-check again, on a wrong answer and on a right one."""
    notebook = build.convert(QUICKSTART)
    *_, closing = (n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    for number, wrong in WRONG.items():
        check = tagged(notebook, f"check-{number}").source
        for kind, answer in (("wrong", wrong), ("right", solution(notebook, number))):
            cells = [new_code_cell(answer), new_code_cell(check, metadata={"tags": [f"{kind}-{number}"]})]
            notebook.cells[closing:closing] = cells
            closing += 2
    executed: NotebookNode = build.execute(notebook)
    return executed


def tagged(notebook: NotebookNode, tag: str) -> NotebookNode:
    (cell,) = (cell for cell in notebook.cells if tag in cell.metadata.get("tags", []))
    return cell


def solution(notebook: NotebookNode, number: int) -> str:
    (text,) = (cell.source for cell in notebook.cells if cell.source.startswith(f"## Exercise {number}"))
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found, f"exercise {number} has no solution"
    return found[1]


def printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


@pytest.mark.parametrize("path", build.scripts(), ids=lambda path: path.stem)
def test_a_notebook_is_that_of_its_script(path: Path):
    assert build.drift(path) == [], "python notebooks/build.py makes it anew"


@pytest.mark.parametrize("path", build.scripts(), ids=lambda path: path.stem)
def test_a_notebook_fits_in_half_an_hour(path: Path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert 20 <= len(notebook.cells) <= 35
    long = [cell.source for cell in notebook.cells if cell.cell_type == "code" and len(cell.source.splitlines()) > 15]
    assert not long


@pytest.mark.parametrize("path", build.scripts(), ids=lambda path: path.stem)
def test_kept_outputs_are_small_and_tell_nothing_of_the_machine(path: Path):
    text = path.with_suffix(".ipynb").read_text()
    assert len(text) < 400_000
    assert not re.search(r"/(tmp|home|root|work|Users)/|127\.0\.0\.1|localhost|[A-Z]:\\\\", text)
    assert not re.search(r"\d{6}T\d{6}[0-9a-f]{4}", text), "ids of runs are evened out"
    kept = nbformat.reads(text, as_version=4)
    outputs = [output for cell in kept.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs and all(output.get("name") != "stderr" and output.output_type != "error" for output in outputs)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("6 * 7", "6 * 8"), "cell 1 of 00_small.ipynb isn't that of 00_small.py"),
        (lambda text: text.replace("words", "other words"), "cell 2 of 00_small.ipynb"),
        (lambda text: text + "\n# %%\nmore\n", "00_small.py has 3 cells, 00_small.ipynb 2"),
    ],
)
def test_drift_is_noticed(script: Path, change: Callable[[str], str], told: str):
    nbformat.write(build.convert(script), script.with_suffix(".ipynb"))
    assert build.drift(script) == []
    script.write_text(change(script.read_text()))
    assert told in build.drift(script)[0]


def test_a_notebook_that_is_not_there_has_drifted(script: Path):
    assert "00_small.ipynb isn't there; python notebooks/build.py makes it" in build.drift(script)


def test_it_executes_from_a_clean_state(executed: NotebookNode):
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("number", WRONG)
def test_the_self_checks_know_right_from_wrong(executed: NotebookNode, number: int):
    assert printed(tagged(executed, f"check-{number}")).startswith("hint: "), "nothing was answered yet"
    assert printed(tagged(executed, f"wrong-{number}")).startswith("hint: ")
    assert printed(tagged(executed, f"right-{number}")).startswith("pass: ")


def test_every_sentence_does_what_it_says(executed: NotebookNode):
    """The numbers that the text speaks of."""
    told = "\n".join(str(cell.get("outputs", "")) for cell in executed.cells)
    for words in (
        "rows in staging.orders now: 10,000",
        "quality-pass",
        "total_revenue",
        "version 8 -> 6",
        "the same 583 days",
    ):
        assert words in told, words
