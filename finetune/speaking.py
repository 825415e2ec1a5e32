"""One random person in one scene: how they word things, by the hand-written phrasings of `phrasings/<author>.yaml`."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from hashlib import md5
from typing import Any

import yaml

from finetune import speech
from finetune.scenes import HERE, Column, Scene

Calls = list[dict[str, Any]]
Filled = tuple[dict[str, str], Calls]


class Unfit(Exception):
    """The scene lacks what a key needs; try another."""


@cache
def phrasings() -> dict[str, list[tuple[str, str]]]:
    """Key to (author, template), all authors together."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((HERE / "phrasings").glob("*.yaml")):
        for key, templates in yaml.safe_load(path.read_text()).items():
            found.setdefault(key, []).extend((path.stem, template) for template in templates)
    return found


def held_out(template: str) -> bool:
    """Whether a template is kept from training, to see what unseen wordings do."""
    return md5(template.encode(), usedforsecurity=False).digest()[0] < 10


class Speaker:
    """One random person in one scene. `unseen` speaks with the held-out templates only."""

    def __init__(self, scene: Scene, r: random.Random, unseen: bool = False) -> None:
        self.scene, self.r, self.unseen = scene, r, unseen
        self.used: set[str] = set()

    # ---- wordings

    def template(self, key: str, imperative: bool = False, unseen: bool | None = None) -> str:
        unseen = self.unseen if unseen is None else unseen
        pool = [t for _, t in phrasings()[key] if held_out(t) == unseen and not (imperative and t.startswith("~"))]
        if not pool:
            pool = [t for _, t in phrasings()[key] if not (imperative and t.startswith("~"))]
        chosen = self.r.choice(pool)
        return re.sub(r"\[([^\[\]]*\|[^\[\]]*)\]", lambda m: self.r.choice(m[1].split("|")), chosen)

    def fragment(self, key: str) -> str:
        """A part of a sentence; held-out ones come only in unseen speech, half of the time."""
        return self.template(key, unseen=self.unseen and self.r.random() < 0.5)

    # ---- things of the scene

    def pick(self, fits: Callable[[Column], bool] = lambda c: True) -> Column:
        pool = [c for c in self.scene.columns if fits(c) and c.name not in self.used]
        if not pool:
            raise Unfit
        chosen = self.r.choice(pool)
        self.used.add(chosen.name)
        return chosen

    def number_column(self) -> Column:
        return self.pick(lambda c: c.type in ("int", "float") and c.what != "id")

    def text_column(self) -> Column:
        return self.pick(lambda c: c.type == "text")

    def date_column(self) -> Column:
        return self.pick(lambda c: c.type in ("date", "timestamp"))

    def several(self, most: int = 3) -> list[Column]:
        return [self.pick() for _ in range(self.r.choice([1, 1, 1, 2, 2, most]))]

    def say(self, *columns: Column) -> str:
        return speech.listing(self.r, [speech.column(self.r, c.name) for c in columns])


def call(name: str, /, **arguments: Any) -> Calls:
    return [{"name": name, "arguments": {k: v for k, v in arguments.items() if v is not None}}]
