"""A model that plans anything: every choice that the real grammar leaves is made by chance, with a bias to finish."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from agentlab.actions import Role, of
from agentlab.grammar import quoted, tools_grammar
from agentlab.plan import Plan
from agentlab.prompts import Ask, read_calls
from agentlab.view import View

#: Bytes that a plan may have.
LONGEST = 2_500
#: A choice among so many bytes is a text, a name or a number that the lab doesn't know.
FREE = 30
#: The chance that a text, a list or a plan ends where it may.
FINISH = 0.75

_TOKENIZER = LLTokenizer("byte")
_QUOTE, _BRACE, _BRACKET, _NEWLINE = b'"}]\n'


class Worst:
    """Plans at random, over the names of the lab that it is shown. `texts` makes the free texts from its view."""

    name = "worst"

    def __init__(self, chance: random.Random, texts: Callable[[random.Random, View], str]) -> None:
        self.chance, self.texts = chance, texts
        self._view: View | None = None
        self._matchers: dict[Role | None, LLMatcher] = {}

    def plan(self, ask: Ask) -> Plan:
        """A plan of the role's grammar; PlanError where an action's own validator refuses what the grammar allows."""
        return Plan.from_calls(read_calls(self.answer(ask.role, ask.view)))

    def answer(self, role: Role | None, view: View) -> str:
        """What a model would have written."""
        if view is not self._view:
            self._view, self._matchers = view, {}
        if role not in self._matchers:
            self._matchers[role] = _compiled(tools_grammar(role, view))
        walk = _Walk(self._matchers[role].deep_copy(), self.chance)
        while not walk.over and len(walk.said) < LONGEST:
            self._step(walk, role, view)
        return walk.said.decode("utf-8", "replace")

    def _step(self, walk: _Walk, role: Role | None, view: View) -> None:
        if walk.said.endswith(b'{"name": "'):
            # By name and not by letter: else half of the plans would begin with the same few actions.
            walk.try_all(f'{name}"'.encode() for name in self._shuffled(of(role)))
            return
        allowed = walk.allowed()
        if len(allowed) > FREE and walk.said.endswith(b'"'):
            text = quoted(self.texts(self.chance, view)).encode()[1:]
            walk.take(text) if self.chance.random() < 0.85 else walk.take(self._bytes(allowed))
        elif not walk.finish(allowed):
            walk.take(bytes([self.chance.choice(allowed)]))

    def _shuffled(self, names: Iterable[str]) -> list[str]:
        some = list(names)
        self.chance.shuffle(some)
        return some

    def _bytes(self, allowed: list[int]) -> bytes:
        return bytes(self.chance.choice(allowed) for _ in range(self.chance.randint(1, 30)))


class _Walk:
    """A way through a grammar: what was said, and what may come next."""

    def __init__(self, matcher: LLMatcher, chance: random.Random) -> None:
        self.matcher, self.chance = matcher, chance
        self.said = bytearray()
        self.over = False
        self._forced()

    def allowed(self) -> list[int]:
        """The bytes that may come next; none when the plan may only end."""
        bits = np.unpackbits(np.frombuffer(self.matcher.compute_bitmask(), np.uint8), bitorder="little")
        return [int(token) for token in np.flatnonzero(bits[:256])]

    def finish(self, allowed: list[int]) -> bool:
        """End what can be ended here, more often than not; whether it did."""
        if not allowed or (self.matcher.is_accepting() and self.chance.random() < FINISH):
            self.over = True
            return True
        ends = [byte for byte in (_QUOTE, _BRACKET, _BRACE) if byte in allowed]
        if len(allowed) > 1 and ends and self.chance.random() < FINISH:
            self.take(bytes([self.chance.choice(ends)]))
            return True
        return False

    def take(self, data: bytes) -> int:
        """Say as much of it as the grammar allows; how many bytes that was."""
        tokens = list(data)
        count = self.matcher.validate_tokens(tokens)
        if count:
            self.matcher.consume_tokens(tokens[:count])
            self.said += data[:count]
            self._forced()
        elif not self.matcher.is_stopped():
            # Nothing of it fits: one byte that does, so that the walk goes on.
            self.take(bytes([self.chance.choice(self.allowed())]))
        return int(count)

    def try_all(self, choices: Iterable[bytes]) -> None:
        """Say the first of them that the grammar allows as a whole."""
        for data in choices:
            if self.matcher.validate_tokens(list(data)) == len(data):
                self.take(data)
                return
        self.over = True

    def _forced(self) -> None:
        tokens = [token for token in self.matcher.compute_ff_tokens() if token < 256]
        if tokens:
            self.matcher.consume_tokens(tokens)
            self.said += bytes(tokens)
        self.over = self.matcher.is_stopped()


def _compiled(grammar: str) -> LLMatcher:
    matcher = LLMatcher(_TOKENIZER, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher
