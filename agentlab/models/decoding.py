"""Decoding under a grammar: what the grammar forces goes through the model as one chunk, prompts share prefixes.

Answers come the likeliest first: greedily, or by a best-first search among whole answers. For one causal model on CPU.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, Protocol

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from agentlab.errors import LabError, PlanError

#: How many prompts' keys and values are kept. For Qwen2.5-0.5B a prompt takes 24 KB a token, so 60 MB for 2,500.
MOST_PREFIXES = 6
#: How many ways to go on are kept of each beginning.
_WIDTH = 8


@dataclass(frozen=True)
class Answer:
    """Tokens without the end mark, how sure the model was of its choices (0 to 1), and the prompt's tokens.

    `chance` is the probability of the whole answer, among those that the grammar allows; `confidence` the geometric
    mean of its free choices'.
    """

    tokens: list[int]
    confidence: float
    prompt_tokens: int
    cached_tokens: int
    chance: float = 1.0


class Body(Protocol):
    """A causal model as the decoder takes it: `small.SmallQwen2`, or one of transformers (`hub.HubQwen2`)."""

    vocab_size: int

    def cache(self) -> Any:
        """Keys and values of no token."""

    def view(self, cache: Any, count: int) -> Any:
        """The first `count` tokens of a cache; what is then fed to one of the two, the other doesn't see."""

    def feed(self, cache: Any, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The logits (vocabulary) after these tokens; the cache grows by them."""


class Prefixes:
    """The keys and values of the last prompts, by their tokens. A kept cache is never changed: what is taken is a view.

    A prompt replaces one with which it shares more than half, so that each agent's catalog keeps its place.
    """

    def __init__(self, body: Body, most: int = MOST_PREFIXES) -> None:
        self.body, self.most = body, most
        self._kept: list[tuple[list[int], Any]] = []

    def take(self, tokens: Sequence[int]) -> tuple[Any, int]:
        """A cache of the longest known beginning of `tokens`, and how many that is; never all of them."""
        best, cache = 0, self.body.cache()
        for known, kept in self._kept:
            count = min(_common(known, tokens), len(tokens) - 1)
            if count > best:
                best, cache = count, kept
        return (self.body.view(cache, best), best) if best else (cache, 0)

    def keep(self, tokens: Sequence[int], cache: Any) -> None:
        """Remember what `cache` now holds: the keys and values of exactly these tokens."""
        others = [entry for entry in self._kept if 2 * _common(entry[0], tokens) <= len(tokens)]
        self._kept = [*others, (list(tokens), self.body.view(cache, len(tokens)))][-self.most :]

    def clear(self) -> None:
        """Forget them all."""
        self._kept = []


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


@dataclass
class _Begun:
    """The beginning of an answer: its tokens, the grammar after them, what the model makes of them."""

    tokens: list[int]
    matcher: LLMatcher
    #: None where the answer is whole, and once what may follow is queued.
    logits: NDArray[np.float32] | None
    #: The log-probabilities of the free choices so far.
    chances: tuple[float, ...] = ()


@dataclass
class _Search:
    """What a search knows. Entries of the heaps: cost in nats, a number that makes them comparable, and the rest."""

    prompt: Sequence[int]
    most: int
    cached: int = 0
    #: Keys and values of the prompt. Those of a beginning are made again at its turn: many would fill the memory.
    known: Any = None
    number: Iterator[int] = field(default_factory=count)
    #: Beginnings, each with the token that it could go on with.
    open: list[tuple[float, int, _Begun, int, float]] = field(default_factory=list)
    whole: list[tuple[float, int, list[int], tuple[float, ...]]] = field(default_factory=list)


class Decoder:
    """Decodes one answer at a time; calls from several threads wait for each other.

    `tokenizer` is its JSON, as `tokenizer.json` has it; `ends` are the tokens that end an answer. With the tokens
    `declines` an answer begins that does nothing; one is taken if, and only if, all together have at least the
    probability `declines_from` (None: as likely as any other token).

    Greedy decoding takes the likeliest token again and again. With `steps` more than 0, so many more beginnings an
    answer are looked at, the likeliest first, which finds whole answers that are likelier; they are in order as far as
    the steps reach. (Best-first search: Meister, Vieira, Cotterell, "Best-First Beam Search", TACL 2020.)
    """

    def __init__(
        self,
        body: Body,
        tokenizer: str,
        ends: Sequence[int],
        declines: Collection[int] = (),
        declines_from: float | None = None,
        steps: int = 0,
    ) -> None:
        self.declines, self.declines_from = frozenset(declines), declines_from
        self.body, self.steps = body, steps
        self.ends = frozenset(ends)
        self.prefixes = Prefixes(body)
        self._size = body.vocab_size
        self._vocabulary = LLTokenizer(tokenizer, n_vocab=self._size, eos_token=list(ends))
        self._matcher = lru_cache(maxsize=8)(self._compiled)
        self._turn = threading.Lock()

    def answers(self, prompt: Sequence[int], grammar: str, most: int) -> Iterator[Answer]:
        """Answers that the grammar allows, the likeliest first. PlanError when the first one exceeds `most` tokens."""
        search = _Search(prompt, most)
        with self._turn:
            cache, search.cached = self.prefixes.take(prompt)
            self._dive(search, cache, self._matcher(grammar).deep_copy())
        while True:
            with self._turn:
                answer = self._next(search)
            if answer is None:
                return
            yield answer

    def _dive(self, search: _Search, cache: Any, matcher: LLMatcher) -> None:
        """The greedy answer; the other choices are kept for later. PlanError when it is too long."""
        tokens = self._forced(matcher)
        if len(tokens) > search.most:
            raise self._too_long(search)
        logits = self.body.feed(cache, [*search.prompt[search.cached :], *tokens])
        self.prefixes.keep([*search.prompt, *tokens], cache)
        search.known = self.body.view(cache, len(search.prompt))
        begun: _Begun | None = _Begun(tokens, matcher, None if matcher.is_stopped() else logits)
        while begun is not None:
            choice = self._branch(search, begun, best_too=False)
            if choice is None:
                return
            begun = self._grown(search, begun, *choice, cache)

    def _too_long(self, search: _Search) -> PlanError:
        return PlanError(f"the answer was cut off at {search.most} tokens; ask for fewer steps at once")

    def _next(self, search: _Search) -> Answer | None:
        """The likeliest whole answer that isn't told yet: none of the beginnings left can become a likelier one."""
        for _ in range(self.steps):
            if not search.open or (search.whole and search.whole[0][0] <= search.open[0][0]):
                break
            _, _, begun, token, chance = heapq.heappop(search.open)
            grown = self._grown(search, begun, token, chance)
            if grown is not None:
                self._branch(search, grown)
        if not search.whole:
            return None
        cost, _, tokens, chances = heapq.heappop(search.whole)
        confidence = math.exp(sum(chances) / len(chances)) if chances else 1.0
        return Answer(tokens, confidence, len(search.prompt), search.cached, math.exp(-cost))

    def _branch(self, search: _Search, begun: _Begun, best_too: bool = True) -> tuple[int, float] | None:
        """Queue what may follow, and say which is the likeliest; None where the answer is whole: that is noted."""
        if begun.logits is None:
            self._note(search, begun.tokens, begun.chances)
            return None
        allowed, chances = self._choices(begun.logits, begun.matcher, first=not begun.tokens)
        begun.logits = None
        order = np.argsort(-chances, kind="stable")[: _WIDTH if self.steps else 1]
        best = (int(allowed[order[0]]), float(chances[order[0]]))
        cost = -sum(begun.chances)
        for at in order if best_too else order[1:]:
            if chances[at] > -math.inf:
                entry = (cost - float(chances[at]), next(search.number), begun, int(allowed[at]), float(chances[at]))
                heapq.heappush(search.open, entry)
        return best

    def _note(self, search: _Search, tokens: list[int], chances: tuple[float, ...]) -> None:
        heapq.heappush(search.whole, (-sum(chances), next(search.number), tokens, chances))

    def _grown(self, search: _Search, begun: _Begun, token: int, chance: float, cache: Any = None) -> _Begun | None:
        """A beginning, one choice and what that forces further; None where it is whole then, which is noted.

        `cache` holds the beginning's keys and values, where they are at hand. What gets too long is dropped, or a
        PlanError, if it is the greedy answer.
        """
        chances = (*begun.chances, chance)
        if token in self.ends:
            self._note(search, begun.tokens, chances)
            return None
        free = begun.matcher.deep_copy()
        self._consume(free, [token])
        chunk = [token, *self._forced(free)]
        tokens = [*begun.tokens, *chunk]
        if len(tokens) > search.most:
            if cache is not None:
                raise self._too_long(search)
            return None
        if free.is_stopped():
            return _Begun(tokens, free, None, chances)
        if cache is None:
            cache, chunk = self.body.view(search.known, len(search.prompt)), tokens
        return _Begun(tokens, free, self.body.feed(cache, chunk), chances)

    def _compiled(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0)
        if matcher.is_error():
            raise LabError(f"the grammar can't be compiled: {matcher.get_error()[:500]}")
        return matcher

    def _forced(self, matcher: LLMatcher) -> list[int]:
        tokens = [token for token in matcher.compute_ff_tokens() if token not in self.ends]
        self._consume(matcher, tokens)
        return tokens

    def _consume(self, matcher: LLMatcher, tokens: list[int]) -> None:
        if not matcher.consume_tokens(tokens):
            raise LabError(f"the grammar refuses its own tokens {tokens}: {matcher.get_error()[:500]}")

    def _decided(self, chances: NDArray[np.float64], allowed: NDArray[np.int64]) -> NDArray[np.float64]:
        """The chances of the first token, those who act or those who decline left out."""
        declining = np.isin(allowed, list(self.declines))
        if declining.all() or not declining.any() or self.declines_from is None:
            return chances
        declines = float(np.exp(chances[declining]).sum()) >= self.declines_from
        return np.where(declining == declines, chances, -math.inf)

    def _choices(
        self, logits: NDArray[np.float32], matcher: LLMatcher, first: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The tokens that the grammar allows, and their log-probabilities among them."""
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[: self._size]
        allowed = np.flatnonzero(bits)
        if matcher.is_error() or not len(allowed):
            raise LabError(f"the grammar leaves no token to go on with: {matcher.get_error()[:500]}")
        chances = logits[allowed].astype(np.float64)
        chances -= np.logaddexp.reduce(chances)
        return allowed, self._decided(chances, allowed) if first else chances
