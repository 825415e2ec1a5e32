"""Names of an intent that could mean two things: what a plan took one of, must be asked.

Of tables, resources, stores, queries, tasks, files and snapshots only: which of two columns is meant, a model tells
from the words around.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agentlab.actions import kind_of
from agentlab.completion import columns_named
from agentlab.linking import Linked, parts
from agentlab.plan import Plan
from agentlab.view import View

#: The placeholders' letters, by the kind of an argument.
_LETTER = {"table": "t", "store": "o", "query": "q", "file": "f", "snapshot": "p", "scheduled": "k"}
_RUN = re.compile(r"<[a-z]\d+>(?:[ ~=]*<[a-z]\d+>)*")
_SLOT = re.compile(r"<[a-z]\d+>")


def rivals(plan: Plan, linked: Linked, view: View) -> Iterator[tuple[str, list[str]]]:
    """Of each name that the plan took, and that the intent doesn't tell apart from others: its kind, and all of them.

    `linked` is the intent with its candidates marked, `view` the lab. A name is told apart by a word that only it has,
    by having all its words said, by its source, or by the columns that the plan uses.
    """
    used = set(_used(plan))
    runs = [set(_SLOT.findall(run)) for run in _RUN.findall(linked.text)]
    said = set(parts(linked.intent))
    for letter, name in sorted(used):
        slot = next((s for s in linked.of(letter) if linked.slots[s] == name), None)
        mine = [run for run in runs if slot in run]
        if slot is None or not mine:
            continue
        near = [linked.slots[s] for s in sorted(set.intersection(*mine) - {slot}) if s[1] == letter]
        near = [n for n in near if (letter, n) not in used and _alike(letter, name, n, linked, view, said)]
        if letter == "t":
            near = [n for n in near if n not in view.coming and (_aside(name) or not _aside(n))]
            needed = {c.lower() for c in _columns(plan, name)}
            near = [n for n in near if needed <= {c.lower() for c in view.tables.get(n, {})}]
        if near:
            yield letter, [name, *near]


def _aside(table: str) -> bool:
    return table.startswith(("quarantine.", "archive."))


def _literally(name: str, intent: str) -> bool:
    return bool(re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w/-]|\.\w)", intent, re.IGNORECASE))


def _alike(letter: str, name: str, other: str, linked: Linked, view: View, said: set[str]) -> bool:
    """Whether the words that are said fit another name as well."""
    for mine, its in ((name, other), (name.rpartition(".")[2], other.rpartition(".")[2])):
        if _literally(mine, linked.intent) and not _literally(its, linked.intent):
            return False
    if letter == "k" and (name in view.scheduled) and other not in view.scheduled:
        return False
    if letter == "r":
        sources = {linked.slots[s] for s in linked.of("s") if s in linked.text}
        mine, its = name.split(".", 1)[0], other.split(".", 1)[0]
        if mine != its and mine in sources and its not in sources:
            return False
    return not (_bare(letter, name) <= said) or _bare(letter, other) <= said


def _bare(letter: str, name: str) -> set[str]:
    """The words of a name without its place."""
    if letter == "f":
        name = PurePosixPath(name).stem
    return set(parts(name.removesuffix(" refresh").rpartition(".")[2] if letter in "trk" else name))


def _used(plan: Plan) -> Iterator[tuple[str, str]]:
    for action in plan.actions:
        for name, info in type(action).model_fields.items():
            value = getattr(action, name)
            if not isinstance(value, str):
                continue
            kind = kind_of(info)
            if kind == "resource":
                yield "r", f"{getattr(action, 'source', '')}.{value}"
            elif letter := "k" if name == "task" else _LETTER.get(kind or ""):
                yield letter, value


def _columns(plan: Plan, table: str) -> Iterator[str]:
    for action in plan.actions:
        if getattr(action, "table", None) == table:
            yield from columns_named(action.arguments())
