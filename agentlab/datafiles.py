"""The data files in a lab's folder: which there are, and which one a path means. `sources/files.py` reads them.

People's files lie anywhere in the lab but in the folders that are the lab's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from agentlab.actions import Export
from agentlab.errors import PlanError, unknown

#: The formats that can be read, by the ends of names; each may be followed by `.gz`, but for Excel's and Parquet.
FORMATS: dict[str, str] = {
    **{".csv": "csv", ".tsv": "csv", ".txt": "csv", ".tab": "csv", ".json": "json", ".jsonl": "jsonl"},
    **{".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet", ".xlsx": "excel", ".xlsm": "excel"},
    **{".xls": "excel", ".xlsb": "excel", ".ods": "excel"},
}
#: Folders of the lab's own.
OWN = frozenset({"tables", "stores", "layouts", "secrets", "tmp", "sources", "slots"})
#: What a lab is set up by; a table written there would be taken for its settings when it is next opened.
_SETTINGS = frozenset({"policy.yaml", "prices.yaml"})
#: What the lab's own databases end with.
_DATABASES = (".sqlite", ".sqlite-wal", ".sqlite-shm")
#: The formats that a table can be exported in, and how such files are called.
Format = Literal["csv", "jsonl", "parquet", "excel"]
_ENDS: Mapping[Format, str] = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet", "excel": "xlsx"}
#: How many files a planner is shown.
MOST = 200


def format_of(path: str) -> str | None:
    """The format that a file's name tells; None if it tells none.

    >>> format_of("exports/visits.CSV.gz"), format_of("notes.md")
    ('csv', None)
    """
    name = PurePosixPath(path.lower().removesuffix(".gz"))
    found = FORMATS.get(name.suffix)
    return None if path.lower().endswith(".gz") and found in ("excel", "parquet") else found


def data_files(root: Path, most: int = MOST) -> tuple[str, ...]:
    """The data files in the lab's folder, relative to it, newest first. A folder of Parquet files alone is one."""
    found = sorted(((_changed(root / path), path) for path in _found(root)), key=lambda pair: (-pair[0], pair[1]))
    return tuple(path for _, path in found[:most])


def leads_out(path: str) -> bool:
    """Whether a path is no path inside the lab, as it is written.

    >>> leads_out("exports/visits.csv"), leads_out("exports/../../x"), leads_out("/etc/passwd")
    (False, True, True)
    """
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def data_file(root: Path, path: str) -> Path:
    """The file, or folder of Parquet files, that a path in the lab means; PlanError naming the nearest.

    A path that leads out of the lab, or into a folder of the lab's own, is none.
    """
    full = (root / PurePosixPath(path)).resolve()
    if not full.is_relative_to(root.resolve()):
        raise PlanError(f"{path!r} leads out of the lab; a file must lie in the lab's folder")
    parts = full.relative_to(root.resolve()).parts
    if full.exists() and parts and not _hidden(parts):
        return full
    raise PlanError(unknown("file", path, data_files(root), "in the lab's folder"))


def export_place(action: Export) -> tuple[str, Format]:
    """Where an export goes, relative to the lab, and in which format. PlanError for a place that no export may have.

    >>> export_place(Export(table="core.orders")), export_place(Export(table="t", path="out/t.xlsx"))
    (('exports/orders.csv', 'csv'), ('out/t.xlsx', 'excel'))
    """
    told = format_of(action.path or "")
    format = action.format or next((f for f in _ENDS if f == told), None)
    if action.path is None:
        format = format or "csv"
        return f"exports/{action.table.rpartition('.')[2]}.{_ENDS[format]}", format
    if told and told != (format or told):
        end = _ENDS[format or "csv"]
        raise PlanError(f"{action.path!r} would be {format}; name it with .{end}, or leave the format out")
    if told and format is None:
        raise PlanError(f"a table can't be exported as {told}; write {', '.join(_ENDS)}")
    return _inside(action.path), format or "csv"


def _inside(path: str) -> str:
    """The path, if it is a place for people's files in the lab."""
    parts = PurePosixPath(path).parts
    if leads_out(path):
        raise PlanError(f"{path!r} leads out of the lab; an export goes into the lab's folder, like exports/orders.csv")
    if path.endswith("/") or not path.isprintable() or not parts or any(len(part.encode()) > 200 for part in parts):
        raise PlanError(f"{path[:100]!r} is no file's name; write e.g. exports/orders.csv")
    if _hidden(parts) or _is_setting(parts):
        raise PlanError(f"{path!r} is in a place of the lab's own; write e.g. exports/{parts[-1].lstrip('.')}")
    return PurePosixPath(path).as_posix()


def is_for_people(root: Path, place: Path) -> bool:
    """Whether a place is one for people's files in the lab, wherever links lead from it."""
    full = place.resolve()
    parts = full.relative_to(root.resolve()).parts if full.is_relative_to(root.resolve()) else ()
    return bool(parts) and not _hidden(parts) and not _is_setting(parts)


def _is_setting(parts: tuple[str, ...]) -> bool:
    return len(parts) == 1 and parts[0].lower() in _SETTINGS


def _hidden(parts: tuple[str, ...]) -> bool:
    # There are disks to which Secrets is secrets.
    first, last = parts[0].lower(), parts[-1].lower()
    return first in OWN or last.endswith(_DATABASES) or any(part.startswith(".") for part in parts)


def _found(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        inner = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not _hidden((*inner.parts, name)))
        shown = [name for name in names if not _hidden((*inner.parts, name))]
        if inner.parts and len(shown) > 1 and all(name.endswith(".parquet") for name in shown):
            yield inner.as_posix()
        else:
            yield from ((inner / name).as_posix() for name in shown if format_of(name))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
