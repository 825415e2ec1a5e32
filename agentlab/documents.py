"""YAML files that people write: read safely, checked by pydantic, with the line of every fault."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from agentlab.errors import LabError

T = TypeVar("T")

#: A file that a person wrote isn't longer, in characters; a longer one may be made to exhaust memory.
LONGEST = 200_000


class _Loader(yaml.SafeLoader):
    """Safe, and with YAML 1.2's booleans: `on`, which is true in YAML 1.1, is a word."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


def read(path: Path, adapter: TypeAdapter[T], what: str) -> T:
    """What the file says, as `adapter` has it; LabError with `file:line` for each thing that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise LabError(f"can't read the {what} {path}: {fault}") from fault
    return parse(text, adapter, str(path))


def parse(text: str, adapter: TypeAdapter[T], name: str) -> T:
    """As `read`, of a text; `name` is what the file is called in errors.

    >>> parse("- 1\\n- two", TypeAdapter(list[int]), "numbers.yaml")
    Traceback (most recent call last):
    agentlab.errors.LabError: numbers.yaml:2: ...
    """
    root = _composed(text, name)
    try:
        return adapter.validate_python(yaml.load(text, _Loader))  # noqa: S506 (it is a safe loader)
    except ValidationError as fault:
        told = [f"{name}:{_line(root, e['loc'])}: {_reason(e['loc'], e['msg'])}" for e in fault.errors()]
        raise LabError("\n".join(dict.fromkeys(told))) from fault


def _composed(text: str, name: str) -> yaml.Node | None:
    if len(text) > LONGEST:
        raise LabError(f"{name} has {len(text):,} characters; at most {LONGEST:,} are read")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, _Loader)):
            raise LabError(f"{name}: write things out instead of pointing to them with '*'")
        return yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise LabError(f"{name}:{line}: {fault.problem}") from fault
    except yaml.YAMLError as fault:
        raise LabError(f"{name}: {fault}") from fault


def _line(node: yaml.Node | None, place: Iterable[int | str]) -> int:
    """The line of a place in the file, or of the last part of it that is there."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _reason(place: tuple[int | str, ...], message: str) -> str:
    names = [part for part in place if isinstance(part, str)]
    reason = message.removeprefix("Value error, ")
    return f"{names[-1]}: {reason}" if names else reason
