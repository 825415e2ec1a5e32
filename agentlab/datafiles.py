"""The data files in a lab's folder: which there are, and which one a path means. What is in them is `sources/files.py`'s.

People's files lie anywhere in the lab but in the folders that are the lab's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from agentlab.errors import PlanError, unknown

#: The formats that can be read, by the ends of names; each may be followed by `.gz`, but for Excel's and Parquet.
FORMATS: dict[str, str] = {
    **{".csv": "csv", ".tsv": "csv", ".txt": "csv", ".tab": "csv", ".json": "json", ".jsonl": "jsonl"},
    **{".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet", ".xlsx": "excel", ".xlsm": "excel"},
    **{".xls": "excel", ".xlsb": "excel", ".ods": "excel"},
}
#: Folders of the lab's own.
OWN = frozenset({"tables", "stores", "layouts", "secrets", "tmp", "sources", "slots"})
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


def _hidden(parts: tuple[str, ...]) -> bool:
    return parts[0] in OWN or parts[0].startswith("catalog.") or any(part.startswith(".") for part in parts)


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
