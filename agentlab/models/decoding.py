"""Greedy decoding under a grammar: what the grammar forces goes through the model as one chunk, prompts share prefixes.

For one causal model on CPU. Sampling, batches and other devices are not for here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from agentlab.errors import LabError, PlanError

#: How many prompts' keys and values are kept. For Qwen2.5-0.5B a prompt takes 24 KB a token, so 60 MB for 2,500.
MOST_PREFIXES = 6


class Doubt(NamedTuple):
    """A free choice: the answer's length before it, the token chosen, and by how much (in nats) the next best lost."""

    at: int
    token: int
    lead: float


@dataclass(frozen=True)
class Answer:
    """Tokens without the end mark, how sure the model was of its choices (0 to 1), and the prompt's tokens.

    `doubts` are the choices, the closest first.
    """

    tokens: list[int]
    confidence: float
    prompt_tokens: int
    cached_tokens: int
    doubts: tuple[Doubt, ...] = ()


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


class Decoder:
    """Decodes one answer at a time; calls from several threads wait for each other.

    `tokenizer` is its JSON, as `tokenizer.json` has it; `ends` are the tokens that end an answer. `stops` maps a token
    that goes on with one more action to the one that ends here instead; it is taken unless the model gives going on at
    least the probability `sure`. With the tokens `declines` an answer begins that does nothing; one is taken if,
    and only if, all together have at least the probability `declines_from` (None: as likely as any other token).
    """

    def __init__(
        self,
        body: Body,
        tokenizer: str,
        ends: Sequence[int],
        stops: Mapping[int, int] | None = None,
        sure: float = 0.0,
        declines: Collection[int] = (),
        declines_from: float | None = None,
    ) -> None:
        self.stops, self.sure = dict(stops or {}), sure
        self.declines, self.declines_from = frozenset(declines), declines_from
        self.body = body
        self.ends = frozenset(ends)
        self.prefixes = Prefixes(body)
        self._size = body.vocab_size
        self._vocabulary = LLTokenizer(tokenizer, n_vocab=self._size, eos_token=list(ends))
        self._matcher = lru_cache(maxsize=8)(self._compiled)
        self._turn = threading.Lock()

    def decode(self, prompt: Sequence[int], grammar: str, most: int, avoid: Doubt | None = None) -> Answer:
        """The answer, by the likeliest token that the grammar allows. PlanError when it exceeds `most` tokens.

        `avoid` is a doubt of another answer: there the second likeliest token is taken.
        """
        with self._turn:
            cache, cached = self.prefixes.take(prompt)
            told, choices = self._walk(cache, prompt, cached, self._matcher(grammar).deep_copy(), most, avoid)
        chances = [chance for _, chance in choices]
        confidence = math.exp(sum(chances) / len(chances)) if chances else 1.0
        doubts = sorted((doubt for doubt, _ in choices), key=lambda doubt: doubt.lead)
        return Answer(told, confidence, len(prompt), cached, tuple(doubts))

    def _walk(
        self,
        cache: Any,
        prompt: Sequence[int],
        cached: int,
        matcher: LLMatcher,
        most: int,
        avoid: Doubt | None,
    ) -> tuple[list[int], list[tuple[Doubt, float]]]:
        """The answer and its free choices, with their log-probabilities."""
        answer, choices = self._forced(matcher), list[tuple[Doubt, float]]()
        self._short(answer, most)
        logits = self.body.feed(cache, [*prompt[cached:], *answer])
        self.prefixes.keep([*prompt, *answer], cache)
        while not matcher.is_stopped():
            shunned = avoid.token if avoid and avoid.at == len(answer) else None
            token, chance, lead = self._choose(logits, matcher, shunned, first=not answer)
            if lead is not None:
                choices.append((Doubt(len(answer), token, lead), chance))
            if token in self.ends:
                break
            self._consume(matcher, [token])
            chunk = [token, *self._forced(matcher)]
            answer += chunk
            self._short(answer, most)
            if not matcher.is_stopped():
                logits = self.body.feed(cache, chunk)
        return answer, choices

    def _short(self, answer: list[int], most: int) -> None:
        if len(answer) > most:
            raise PlanError(f"the answer was cut off at {most} tokens; ask for fewer steps at once")

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

    def _choose(
        self, logits: NDArray[np.float32], matcher: LLMatcher, shunned: int | None, first: bool = False
    ) -> tuple[int, float, float | None]:
        """The likeliest allowed token but `shunned`, its log-probability, and its lead; None if it is the only one."""
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[: self._size]
        allowed = np.flatnonzero(bits)
        if matcher.is_error() or not len(allowed):
            raise LabError(f"the grammar leaves no token to go on with: {matcher.get_error()[:500]}")
        chances = logits[allowed].astype(np.float64)
        chances -= np.logaddexp.reduce(chances)
        if shunned is not None and len(allowed) > 1:
            chances[allowed == shunned] = -math.inf
        if first and self.declines_from is not None:
            chances = self._decided(chances, allowed)
        best = int(chances.argmax())
        stop = self.stops.get(int(allowed[best]))
        if stop is not None and stop != shunned and math.exp(float(chances[best])) < self.sure:
            places = np.flatnonzero(allowed == stop)
            best = int(places[0]) if len(places) else best
        others = chances.copy()
        others[best] = -math.inf
        lead = float(chances[best] - others.max()) if len(allowed) > 1 else None
        return int(allowed[best]), float(chances[best]), lead
