"""Makes each notebook from its percent script: `python notebooks/build.py`.

The scripts are the truth. `--check` writes nothing: it says which notebook's cells differ from its script's, and
executes the scripts. In the kept outputs runs are numbered (r1, r2) instead of their ids, and the time of day and
progress on stderr are left out; durations are kept as they were measured.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
#: In seconds, for one cell: loading a model on a busy machine takes its time.
PATIENCE = 300

_RUN = re.compile(r"\b([rpq])(\d{6}T\d{6})[0-9a-f]{4}\b")
_CLOCK = re.compile(r"\b\d\d:\d\d:\d\d · (?=[rpq]\d)")


def scripts() -> list[Path]:
    """The percent scripts, in the order in which they are read."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def convert(script: Path) -> NotebookNode:
    """The notebook of a script, without outputs. Its cells' ids follow from their places, so that they stay."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02d}"
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """Execute all cells, in place, in a kernel of its own; CellExecutionError with the traceback of the first fault."""
    kept = notebook.metadata.copy()
    place = {"metadata": {"path": str(HERE)}}
    NotebookClient(notebook, timeout=PATIENCE, record_timing=False, coalesce_streams=True, resources=place).execute()
    notebook.metadata = kept
    return notebook


def settle(notebook: NotebookNode) -> NotebookNode:
    """Even out, in place, what differs in the outputs from one execution to the next."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    told = dict.fromkeys(found[0] for cell in cells for found in _RUN.finditer(str(cell.outputs)))
    by_time = sorted(told, key=lambda run: run[1:14])
    names = {run: f"{run[0]}{number}" for number, run in enumerate(by_time, 1)}
    for cell in cells:
        cell.outputs = _settled(cell.outputs, names)
    return notebook


def _settled(thing: Any, names: dict[str, str]) -> Any:
    if isinstance(thing, str):
        return _RUN.sub(lambda found: names[found[0]], _CLOCK.sub("", thing))
    if isinstance(thing, dict):
        return type(thing)({key: _settled(value, names) for key, value in thing.items()})
    return [_settled(value, names) for value in thing] if isinstance(thing, list) else thing


def drift(script: Path) -> list[str]:
    """What differs between a script's cells and those of the notebook beside it, in words; nothing if they agree."""
    path = script.with_suffix(".ipynb")
    if not path.exists():
        return [f"{path.name} isn't there; python notebooks/build.py makes it"]
    ours, theirs = (list(_sources(notebook)) for notebook in (convert(script), nbformat.read(path, as_version=4)))
    count = [f"{script.name} has {len(ours)} cells, {path.name} {len(theirs)}"] if len(ours) != len(theirs) else []
    unlike = [n for n, (our, their) in enumerate(zip(ours, theirs, strict=False), 1) if our != their]
    return count + [f"cell {n} of {path.name} isn't that of {script.name}" for n in unlike]


def _sources(notebook: NotebookNode) -> Iterator[tuple[str, str, list[str]]]:
    return ((cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells)


def main() -> int:
    """1 when a notebook has drifted; a cell that fails ends it with its traceback."""
    parser = argparse.ArgumentParser("python notebooks/build.py", description="Make the notebooks from their scripts.")
    parser.add_argument("--check", action="store_true", help="write nothing; compare, and execute")
    check = parser.parse_args().check
    drifted = [line for script in scripts() for line in drift(script)] if check else []
    for line in drifted:
        print(line, file=sys.stderr)
    for script in scripts():
        notebook = settle(execute(convert(script)))
        if not check:
            nbformat.write(notebook, script.with_suffix(".ipynb"))
        print(f"{script.stem}: {len(notebook.cells)} cells executed")
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main())
