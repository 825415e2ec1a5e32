"""The package as a stranger meets it: quick to import, one version, pins that fit, docs that run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import agentlab

ROOT = Path(agentlab.__file__).parents[1]
DOCTESTS = ROOT / "tests" / "doctests.txt"

#: What `import agentlab` must not bring in: it would take seconds, or be one of the extras.
HEAVY = (
    *("torch", "transformers", "tokenizers", "llguidance", "pandas", "numpy", "scipy", "pyarrow", "duckdb", "ibis"),
    *("sqlglot", "dbos", "sqlalchemy", "httpx", "fastapi", "uvicorn", "jupyter_core", "jupyterlab", "IPython"),
    *("ipywidgets", "nbclient", "datasets", "peft", "trl", "accelerate", "locust", "pyspark", "psycopg", "boto3"),
)

#: What conda users should see by name in environment.yml.
CORE = (
    *("datasets", "ipywidgets", "jupyterlab", "locust", "pandas"),
    *("peft", "scipy", "torch", "transformers", "trl"),
)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, Version]:
    return dict(read_pins((ROOT / "constraints.txt").read_text()))


def read_pins(text: str) -> Iterator[tuple[str, Version]]:
    for line in filter(None, (row.partition("#")[0].strip() for row in text.splitlines())):
        found = re.fullmatch(r"([\w.-]+)==([\w.!]+)", line)
        assert found, f"constraints.txt: {line!r} is not of the form name==version, without a local label or a path"
        yield canonicalize_name(found[1]), Version(found[2])


def declared(project: dict[str, Any]) -> list[Requirement]:
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    everything = [Requirement(text) for group in groups for text in group]
    return [r for r in everything if r.name != "agentlab"]


# --- importing


def test_import_agentlab_brings_in_nothing_heavy():
    ran = python("-c", "import sys, agentlab; print(*sys.modules, sep='\\n')")
    assert ran.returncode == 0, ran.stderr
    heavy = {name.partition(".")[0] for name in ran.stdout.split()} & set(HEAVY)
    assert not heavy, f"`import agentlab` imports {sorted(heavy)}; import them late, or name them in agentlab._WHERE"


def test_every_name_at_the_door_opens():
    assert all(getattr(agentlab, name) for name in agentlab.__all__)
    assert set(agentlab._WHERE) == set(agentlab.__all__) - {"__version__"}


def test_a_wrong_name_at_the_door_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'Labb'; there are: .*Lab"):
        agentlab.Labb  # noqa: B018


# --- versions and pins


def test_the_version_is_said_once_and_everywhere_the_same(project: dict[str, Any]):
    assert agentlab.__version__ == project["version"]
    assert re.search(rf"^## \[?{re.escape(project['version'])}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_pins_satisfy_what_pyproject_asks_for(project: dict[str, Any], pins: dict[str, Version]):
    for wanted in declared(project):
        pin = pins.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{wanted.name} is in pyproject.toml, but not in constraints.txt"
        assert pin in wanted.specifier, f"constraints.txt has {wanted.name}=={pin}, pyproject.toml asks for {wanted}"


def test_the_pins_are_those_needed_and_no_others(project: dict[str, Any], pins: dict[str, Version]):
    """Whatever the declared packages need in turn is pinned, too: one resolver run, the same everywhere."""
    needed = closure(declared(project))
    missing, strays = sorted(needed - pins.keys()), sorted(pins.keys() - needed)
    assert not missing, f"not in constraints.txt: {missing}; the command at its top makes it anew"
    assert not strays, f"in constraints.txt, but no package of pyproject.toml needs: {strays}"


def closure(wanted: list[Requirement]) -> set[str]:
    """The names that these need, and what those need, as read from the installed packages' metadata."""
    seen: set[tuple[str, str]] = set()
    queue = [(canonicalize_name(r.name), extra) for r in wanted for extra in ("", *r.extras)]
    while queue:
        name, extra = queue.pop()
        if (name, extra) not in seen and not is_cuda(name):
            seen.add((name, extra))
            queue += [(canonicalize_name(r.name), e) for r in needs(name, extra) for e in ("", *r.extras)]
    return {name for name, _ in seen}


def needs(name: str, extra: str) -> Iterator[Requirement]:
    """What an installed package needs where the pins were made: Linux, Python 3.11."""
    place = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
    python = {"python_version": "3.11", "python_full_version": "3.11.7", "implementation_name": "cpython"}
    try:
        texts = requires(name) or []
    except PackageNotFoundError:  # on another system: what only Linux installs
        texts = []
    for wanted in map(Requirement, texts):
        if wanted.marker is None or wanted.marker.evaluate({**place, **python, "extra": extra}):
            yield wanted


def is_cuda(name: str) -> bool:
    """PyTorch's default Linux build asks for these; its CPU build, which we pin, doesn't."""
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


def test_no_pin_brings_cuda(pins: dict[str, Version]):
    assert pins["torch"] == Version("2.13.0")
    assert not [name for name in pins if is_cuda(name)]


def test_conda_installs_the_same_set(project: dict[str, Any], pins: dict[str, Version]):
    [rows] = [
        d["pip"] for d in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if isinstance(d, dict)
    ]
    assert rows[:2] == ["-c constraints.txt", "-e .[all]"]
    assert set(CORE) <= set(rows)
    assert {canonicalize_name(row) for row in rows[2:]} <= {canonicalize_name(r.name) for r in declared(project)}


def test_all_names_every_extra(project: dict[str, Any]):
    extras = project["optional-dependencies"]
    [everything] = [Requirement(text) for text in extras["all"]]
    assert everything.extras == extras.keys() - {"all"}


# --- docs that run


def test_no_doctest_was_lost():
    """They run with all other tests; here they are counted, so that none goes missing unseen."""
    folders = [f for f in ("agentlab", "finetune") if any((ROOT / f).rglob("*.py"))]
    ran = python("-m", "pytest", "-qq", "--collect-only", "--doctest-modules", "-p", "no:cacheprovider", *folders)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = sum(int(line.rpartition(": ")[2]) for line in ran.stdout.splitlines() if re.fullmatch(r"\S+: \d+", line))
    least = int(DOCTESTS.read_text())
    assert found >= least, (
        f"{found} doctests, last time there were {least}; if that is meant, say so in {DOCTESTS.name}"
    )


# --- commands


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, timeout=60
    )


def test_make_alone_lists_what_there_is():
    assert {"setup", "demo", "test", "lint", "lab"} <= set(re.findall(r"make (\w+)", make().stdout))


def test_an_old_python_is_named_with_the_way_out(tmp_path: Path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.2' && exit 0\nexit 1\n")
    old.chmod(0o755)
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    ran = make("-C", str(tmp_path), "setup", f"PYTHON={old}")
    assert ran.returncode != 0
    assert "needs Python 3.11 or newer" in ran.stderr and "says: Python 3.9.2" in ran.stderr
    assert "make PYTHON=python3.12 setup" in ran.stderr
    assert not (tmp_path / ".venv").exists()
