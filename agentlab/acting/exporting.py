"""What `export` does: a table into a file that nobody sees before the run commits.

A file that is there already is kept for undo, and a person must agree to its being replaced, unless it is an earlier
export of the same table, unchanged.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentlab import exports
from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.actions import Export, Schema
from agentlab.datafiles import Format, export_place, is_for_people
from agentlab.errors import PlanError
from agentlab.placing import FOLDER, ExportDoc, Mark


@perform.register
def _(action: Export, workspace: Workspace) -> Outcome:
    file, format = export_place(action)
    workspace.tell(f"exporting {action.table} to {file}")
    before, found = _before(workspace, file), Mark.of(workspace.root / file)
    if before and before.path == _folder(workspace):
        found = before.found
    doc = _written(action, workspace, file, format, found)
    workspace.draft.put("export", file, doc)
    body = {"path": file, "format": format, "rows": doc.rows, "bytes": doc.mark.bytes, "table": action.table}
    text = f"exported {action.table} to {file} ({format}): {doc.rows:,} rows, {doc.mark.bytes:,} bytes"
    return Outcome(text, body, _replaces(action, file, before, found))


def _folder(workspace: Workspace) -> str:
    return f"{FOLDER}/{workspace.draft.run}"


def _before(workspace: Workspace, file: str) -> ExportDoc | None:
    """The export that is in that place now, also one of this run. PlanError where no file can be."""
    if (workspace.root / file).is_dir():
        raise PlanError(f"{file} is a folder; name a file in it, like {file}/data.csv")
    for folder in (workspace.root / file).parents:
        if folder.is_file():
            raise PlanError(f"{file} can't be in {folder.name}, which is a file")
    if not is_for_people(workspace.root, workspace.root / file):
        raise PlanError(f"{file!r} leads by a link out of the lab, or into what is the lab's own; name another place")
    entry = workspace.draft.find("export", file)
    return ExportDoc.model_validate(entry.doc) if entry else None


def _written(action: Export, workspace: Workspace, file: str, format: Format, found: Mark | None) -> ExportDoc:
    folder = _folder(workspace)
    (workspace.root / folder).mkdir(parents=True, exist_ok=True)
    others = [name for kind, name in workspace.draft.written if kind == "export"]
    number = others.index(file) if file in others else len(others)
    staged = f"{folder}/{number}-new"
    (workspace.root / staged).unlink(missing_ok=True)
    rows = workspace.draft.table(action.table).rows
    with _stored(workspace, action.table, workspace.root / folder / "rows") as (files, kinds):
        exports.write(files, kinds, rows, workspace.root / staged, format)
    mark = Mark.of(workspace.root / staged)
    assert mark is not None, "it has just been written"
    kept = f"{folder}/{number}-before" if found else None
    version = workspace.version(action.table)
    return ExportDoc(
        **{"file": file, "format": format, "table": action.table, "version": version, "rows": rows},
        **{"mark": mark, "path": folder, "staged": staged, "found": found, "kept": kept},
    )


@contextmanager
def _stored(workspace: Workspace, table: str, fresh: Path) -> Iterator[tuple[Path, Schema]]:
    """Where a table's rows lie as they are: in its own files, or in new ones that are gone after the block."""
    doc = workspace.draft.table(table)
    if doc.projection is None:
        workspace.read(table)
        yield workspace.root / doc.path, doc.schema_
        return
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        yield fresh, workspace.engine.write(workspace.read(table), fresh).schema
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _replaces(action: Export, file: str, before: ExportDoc | None, found: Mark | None) -> str | None:
    """Why a person must agree to the file's being replaced; None where nothing of theirs is."""
    if found is None:
        return None
    if before is None or (before.mark != found and before.found != found):
        return f"{file} is there already, and no export has made it what it is; it would be replaced"
    if before.table != action.table:
        return f"{file} holds an export of {before.table}, which would be replaced"
    return None
