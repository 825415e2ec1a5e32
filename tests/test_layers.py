"""Imports go down only. Every import counts: inside functions, under TYPE_CHECKING, relative, by `import_module`.

A module may use its own layer and those below it. Within a layer, modules don't go round in circles, but for the names
of types: `Catalog` may hand out a `Draft` that says in its signature whose it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import agentlab

ROOT = Path(agentlab.__file__).parents[1]

#: Modules and packages directly in agentlab/, by layer. A new one is added here, as low as its imports let it be.
LAYERS: dict[int, str] = {
    0: "actions errors plan shown",
    1: (
        "catalog cleaning commits database datafiles documents draft entries events expressions functions"
        " inference intents limits moments places placing snapshots sparkforms sparkqueries sparkwords tasks"
        " vetting view"
    ),
    2: (
        "ambiguity approvals completion fewshot grammar lexicon linking naming prompts rules simulation slot_grammar"
        " slots zones"
    ),
    3: (
        "blast cells checks compile conversion copies costs diagnosis drift engine exports fixes layouts"
        " measuring models outliers profiles projection quality queries results retention rows semantics"
        " sources stores trials tune workload"
    ),
    4: (
        "acting agents display durable enforcement orchestrator pipelines policy provenance recomputing"
        " refreshing rehearsal reviews runs talks"
    ),
    5: "evaluation lab",
    6: "__main__ cli demo report schedules serve story",
}
LAYER = {name: number for number, names in LAYERS.items() for name in names.split()}

#: The demo's API is a server of its own: it must not know the house that it is pulled into.
ONLY = {"demo": {"demo", "errors"}}


class Import(NamedTuple):
    """One import statement: `module` of agentlab, or another distribution's top-level name with `ours=False`."""

    line: int
    module: str
    ours: bool = True
    for_types: bool = False


def unit(path: Path, root: Path = ROOT) -> str:
    """The module of the table that a file belongs to: `sources` for agentlab/sources/rest.py."""
    return path.relative_to(root / "agentlab").parts[0].removesuffix(".py")


def imports(path: Path, root: Path = ROOT) -> Iterator[Import]:
    """Every import in a file; the door `agentlab` itself leads to the module behind the name that is taken from it."""
    package = path.relative_to(root).parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(node) for block in _type_blocks(tree) for line in block.body for node in ast.walk(line)}
    for node in ast.walk(tree):
        for name in _names(node, package):
            top, _, rest = name.partition(".")
            if top != "agentlab":
                yield Import(node.lineno, top, ours=False)
            elif rest and rest != "__version__":
                behind = agentlab._WHERE.get(rest, name).split(".")[1]
                yield Import(node.lineno, behind, for_types=id(node) in for_types)


def _type_blocks(tree: ast.Module) -> list[ast.If]:
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    return [b for b in blocks if isinstance(b.test, ast.Name) and b.test.id == "TYPE_CHECKING"]


def _names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Dotted names that a statement imports, absolute."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = ".".join([*package[: len(package) - level + 1], *filter(None, [module])] if level else [str(module)])
            return [f"{base}.{alias.name}" for alias in names] if base == "agentlab" else [base]
        case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
    return []


def upward(path: Path, root: Path = ROOT) -> list[str]:
    """The faults of a file, one sentence each; none is what we want."""
    me, where = unit(path, root), path.relative_to(root)
    return [
        f"{where}:{found.line}: {me} (layer {LAYER[me]}) imports {found.module} (layer {LAYER[found.module]})"
        for found in imports(path, root)
        if found.ours and found.module in LAYER
        if LAYER[found.module] > LAYER[me] or found.module not in ONLY.get(me, {found.module})
    ]


def circle(paths: list[Path], root: Path = ROOT) -> list[str]:
    """The first circle of modules that import each other at run time; none is what we want."""
    graph: dict[str, set[str]] = {}
    for path in paths:
        others = {i.module for i in imports(path, root) if i.ours and not i.for_types}
        graph.setdefault(unit(path, root), set()).update(others - {unit(path, root)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as fault:
        return list(fault.args[1])
    return []


def files(folder: str) -> list[Path]:
    return [p for p in sorted((ROOT / folder).rglob("*.py")) if p != ROOT / "agentlab/__init__.py"]


def test_the_table_lists_every_module_and_no_other():
    there = {unit(path) for path in files("agentlab")}
    new, gone = sorted(there - LAYER.keys()), sorted(LAYER.keys() - there)
    assert not new, f"add to LAYERS in {Path(__file__).relative_to(ROOT)}, as low as their imports allow: {new}"
    assert not gone, f"in LAYERS of {Path(__file__).relative_to(ROOT)}, but not in agentlab/: {gone}"


def test_imports_go_down_only():
    faults = [fault for path in files("agentlab") if unit(path) in LAYER for fault in upward(path)]
    assert not faults, "imports go down only (see DESIGN, Layout):\n" + "\n".join(faults)


def test_modules_of_a_layer_do_not_go_round_in_circles():
    found = circle(files("agentlab"))
    assert not found, f"these modules import each other in a circle: {' -> '.join(found)}"


def test_the_house_does_not_know_its_users():
    outside = {"finetune", "loadtests", "notebooks", "tests", "locust"}
    faults = [(str(p), i) for p in files("agentlab") for i in imports(p) if not i.ours and i.module in outside]
    assert not faults, f"agentlab/ may import none of {sorted(outside)}"


def test_load_tests_speak_http_only():
    faults = [(str(path), found) for path in files("loadtests") for found in imports(path) if found.ours]
    assert not faults, "loadtests/ talk to a server, they don't import agentlab"


@pytest.mark.parametrize(
    "line",
    [
        "from agentlab.lab import Lab",
        "import agentlab.lab",
        "from agentlab import lab",
        "from agentlab import Lab",
        "from . import lab",
        "from .lab import Lab",
        "def late():\n    from agentlab.lab import Lab",
        "if TYPE_CHECKING:\n    from agentlab.lab import Lab",
        "import_module('agentlab.lab')",
        "importlib.import_module('agentlab.lab')",
    ],
)
def test_an_upward_import_is_found_however_it_is_written(line: str, tmp_path: Path):
    path = tmp_path / "agentlab" / "rules.py"
    path.parent.mkdir()
    path.write_text(line)
    assert upward(path, tmp_path) == [
        f"agentlab/rules.py:{line.count(chr(10)) + 1}: rules (layer 2) imports lab (layer 5)"
    ]


def test_a_module_inside_a_package_counts_as_the_package(tmp_path: Path):
    path = tmp_path / "agentlab" / "sources" / "rest.py"
    path.parent.mkdir(parents=True)
    path.write_text("from ..lab import Lab\nfrom .base import pull\nfrom agentlab import __version__\nimport httpx")
    assert [(i.module, i.ours) for i in imports(path, tmp_path)] == [
        ("lab", True),
        ("sources", True),
        ("httpx", False),
    ]
    assert len(upward(path, tmp_path)) == 1


def test_the_demo_may_know_nothing_but_the_errors(tmp_path: Path):
    path = tmp_path / "agentlab" / "demo" / "api.py"
    path.parent.mkdir(parents=True)
    path.write_text("from agentlab.errors import LabError\nfrom agentlab.catalog import Catalog")
    assert upward(path, tmp_path) == ["agentlab/demo/api.py:2: demo (layer 6) imports catalog (layer 1)"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("def late():\n    from agentlab.catalog import Catalog", {"catalog", "draft"}),
        ("if TYPE_CHECKING:\n    from agentlab.catalog import Catalog", set()),
    ],
)
def test_a_circle_is_one_of_imports_that_run(line: str, found: set[str], tmp_path: Path):
    catalog, draft = tmp_path / "agentlab" / "catalog.py", tmp_path / "agentlab" / "draft.py"
    catalog.parent.mkdir()
    catalog.write_text("from agentlab.draft import Draft")
    draft.write_text(line)
    assert set(circle([catalog, draft], tmp_path)) == found
