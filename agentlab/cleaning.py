"""Files of a run that didn't commit: what it wrote of tables, stores and layouts is removed, so that no trace stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path


def discard(root: Path, run: str) -> None:
    """Remove every folder that a run wrote in the lab at `root`. Only for a run that hasn't committed."""
    for path in [*_of_run(root, run)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _remove_empty(path.parent, root)


def _of_run(root: Path, run: str) -> Iterator[Path]:
    # `v3-<run>`, `order_t_c-<run>.2`, `.trying-<run>`: what stands before the first dash never has one itself.
    for path in (*root.glob("tables/*/v*-*"), *root.glob("layouts/*-*")):
        if path.name.partition("-")[2].partition(".")[0] == run:
            yield path
    for path in root.glob("stores/*/*/*"):
        if path.name.partition(".")[0] == run:
            yield path


def _remove_empty(folder: Path, root: Path) -> None:
    while folder not in (root, root / "tables", root / "stores", root / "layouts") and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
