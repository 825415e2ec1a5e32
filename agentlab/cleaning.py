"""Files that runs wrote: whose they are, and how those of a run that didn't commit are removed without a trace."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Where runs write: for each folder of the lab, how many names lead to what one run wrote.
DEPTHS: Mapping[str, int] = {"tables": 3, "stores": 4, "layouts": 2, ".exports": 2}

#: The file that names the folders which stores have elsewhere in the lab, one a line.
_NOTED = "stores/.elsewhere"


def discard(root: Path, run: str) -> None:
    """Remove every folder that a run wrote in the lab at `root`. Only for a run that hasn't committed."""
    for path in [path for path in written(root) if run_of(root, path) == run]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        _remove_empty(path.parent, root)


def note(root: Path, folder: str) -> None:
    """Remember a folder of the lab, relative to it, in which runs write as they do in that of a store."""
    if folder not in (known := _noted(root)) and not folder.startswith("stores/"):
        (root / "stores").mkdir(exist_ok=True)
        (root / _NOTED).write_text("\n".join([*known, folder]), encoding="utf-8")


def written(root: Path) -> Iterator[Path]:
    """All that runs have written in the lab at `root`, finished or not."""
    elsewhere = {folder: len(Path(folder).parts) + 2 for folder in _noted(root)}
    for folder, depth in {**DEPTHS, **elsewhere}.items():
        found = root.glob("/".join([folder, *["*"] * (depth - len(Path(folder).parts))]))
        yield from (path for path in found if run_of(root, path))


def run_of(root: Path, path: Path) -> str:
    """The run that wrote one of `written`; "" for anything else that somebody put there.

    >>> run_of(Path("lab"), Path("lab/layouts/order_t_c-r1-s2.2")), run_of(Path("lab"), Path("lab/stores/m/t/r1-s2"))
    ('r1-s2', 'r1-s2')
    """
    # `v3-<run>`, `order_t_c-<run>.2`, `.trying-<run>`: what stands before the first dash never has one itself.
    name = path.name.partition("-")[2] if path.relative_to(root).parts[0] in ("tables", "layouts") else path.name
    # A Delta table has its log beside what runs wrote, and a run's id begins with a letter or a digit.
    return "" if name.startswith("_") else name.partition(".")[0]


def _noted(root: Path) -> list[str]:
    """The folders that stores have elsewhere in the lab."""
    path = root / _NOTED
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _remove_empty(folder: Path, root: Path) -> None:
    while folder not in (root, *(root / name for name in DEPTHS)) and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
