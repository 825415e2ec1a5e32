"""A Qwen2 checkpoint on this machine's CPU: weights from safetensors only, answers decoded under a grammar."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from agentlab.errors import LabError, PlanError, unknown
from agentlab.models.decoding import Answer, Body, Decoder
from agentlab.models.small import small
from agentlab.plan import Origin, Plan
from agentlab.prompts import Ask, Prompt, Rendering, Tools
from agentlab.slots import Slots

#: How many other plans are tried when the best one can't run, and how likely each must be, compared with the best.
OTHERS = 6
_NEAR = 0.05
#: How many beginnings of answers are looked at to find the likeliest whole one.
STEPS = 32

_RENDERINGS: dict[str, type[Rendering]] = {"tools": Tools, "slots": Slots}


class Qwen:
    """A checkpoint by folder or hub id. Its config says how it wants to be asked: `"agentlab": {"rendering": "slots"}`.

    There, `declines_from` is the probability that asking or refusing needs, and `asks_below` the confidence below which
    a plan becomes a question; `finetune/calibrate.py` measures what each costs on held-out labs.

    Where the hub can't be reached, its id is looked for in the Hugging Face cache only. A LabError says what is missing
    or doesn't fit; nothing but safetensors is read, and no code of a checkpoint runs. `most_tokens` is the longest
    answer.
    """

    def __init__(self, path_or_id: str | Path, rendering: Rendering | None = None, most_tokens: int = 512) -> None:
        self.path = str(path_or_id)
        self.most_tokens = most_tokens
        self.name = Path(self.path).name if Path(self.path).is_dir() else self.path
        found = small(Path(self.path)) if Path(self.path).is_dir() else None
        self.tokenizer: Any
        self.model: Any
        config: Mapping[str, Any]
        if found:
            self.model, self.tokenizer, config = found
            self._body: Body = found[0]
            self._window, ends, tokens = found[0].window, config.get("eos_token_id"), found[1].to_json()
        else:
            config, ends, tokens = self._by_transformers()
        own = config.get("agentlab") or {}
        self.rendering = rendering or _rendering(self.path, own)
        self._turn = threading.Lock()
        self._last: tuple[tuple[str, str], list[Answer], Iterator[Answer]] | None = None
        self._fits()
        #: The confidence below which a plan is asked about instead of run.
        self.asks_below = float(own.get("asks_below", 0.0))
        declines = [self.tokenizer.get_vocab().get(word) for word in ("clarify:", "refuse:")]
        self._decoder = Decoder(
            self._body,
            tokens,
            self._ends(ends),
            [token for token in declines if token is not None],
            own.get("declines_from"),
            STEPS if isinstance(self.rendering, Slots) else 0,
        )

    def _by_transformers(self) -> tuple[Mapping[str, Any], Any, str]:
        """Model and tokenizer by transformers; what the config says, the tokens that end, the tokenizer's JSON."""
        from agentlab.models import hub

        self._offline = not Path(self.path).is_dir() and not hub.reachable()
        with hub.quiet():
            config = self._part("config.json", hub.READERS)
            if config.model_type != "qwen2":
                raise LabError(
                    f"{self.path} is a {config.model_type!r} model; give a Qwen2 or Qwen2.5 checkpoint, or serve it"
                )
            self.tokenizer = self._part("tokenizer.json", hub.READERS)
            self.model = self._part("model.safetensors", hub.READERS)
        self._body = hub.HubQwen2(self.model)
        self._window = config.max_position_embeddings
        backend = copy.copy(self.tokenizer.backend_tokenizer)
        backend.no_padding()
        backend.no_truncation()
        return config.to_dict(), self.model.generation_config.eos_token_id, backend.to_str()

    @property
    def tries(self) -> int:
        """How often it is worth asking again because of a fault: once when the prompt tells the fault."""
        return OTHERS if isinstance(self.rendering, Slots) else 1

    def plan(self, ask: Ask) -> Plan:
        """The likeliest plan. PlanError when the answer is too long or no plan.

        Asked again because of a fault, a model whose prompt can't tell the fault says the next likeliest. PlanError
        when that is far less likely than the best.
        """
        started = time.perf_counter()
        prompt = self.rendering.prompt(ask, self.tokenizer)
        again = ask.fault and self.tries > 1
        answer = self._told(prompt, max(ask.tried, 1) if again else 0)
        if answer is None:
            raise PlanError(f"there is no other likely plan; the best one: {ask.fault}")
        calls = prompt.read(self.tokenizer.decode(answer.tokens, clean_up_tokenization_spaces=False))
        return Plan.from_calls(
            calls, answer.confidence, self._origin(ask, prompt, answer, time.perf_counter() - started)
        )

    def _told(self, prompt: Prompt, number: int) -> Answer | None:
        """The answer of that rank, from 0; None where it isn't near the best. Kept for when the same is asked again."""
        with self._turn:
            key = (prompt.text, prompt.grammar)
            if self._last is None or self._last[0] != key:
                answers = self.answers(prompt)
                self._last = (key, [next(answers)], answers)
            _, known, others = self._last
            known += islice(others, max(0, number + 1 - len(known)))
            return known[number] if number < len(known) and known[number].chance >= _NEAR * known[0].chance else None

    def answer(self, prompt: Prompt) -> Answer:
        """The tokens that the model answers to a prompt. PlanError: too many."""
        return next(self.answers(prompt))

    def answers(self, prompt: Prompt) -> Iterator[Answer]:
        """What the model may answer, the likeliest first; only that, if it is asked as hub models are."""
        text = prompt.text.encode("utf-8", "replace").decode()
        tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        window = self._window
        if len(tokens) >= window:
            raise LabError(
                f"the prompt has {len(tokens)} tokens, {self.name} takes {window}; say less, or show it fewer tables"
            )
        return self._decoder.answers(tokens, prompt.grammar, min(self.most_tokens, window - len(tokens)))

    def _origin(self, ask: Ask, prompt: Prompt, answer: Answer, seconds: float) -> Origin:
        return Origin(
            intent=ask.intent,
            model=self.name,
            prompt_hash=hashlib.sha256(f"{self.rendering.name}\n{prompt.text}".encode("utf-8", "replace")).hexdigest()[
                :16
            ],
            milliseconds=round(seconds * 1000, 1),
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            completion_tokens=len(answer.tokens),
        )

    def _part(self, file: str, readers: Mapping[str, tuple[Any, dict[str, Any]]]) -> Any:
        reader, options = readers[file]
        try:
            return reader.from_pretrained(self.path, local_files_only=self._offline, **options)
        except Exception as fault:  # its readers raise what they like for a stranger's file
            raise LabError(self._missing(file, fault)) from fault

    def _missing(self, file: str, fault: Exception) -> str:
        why = str(fault).strip().partition("\n")[0][:300]
        if Path(self.path).is_dir():
            return f"can't read {file} in {self.path}: {why}"
        hub = "the hub can't be reached from here" if self._offline else f"not from the hub ({why})"
        return (
            f"can't find {file} of {self.path!r}: no such folder here, not in the Hugging Face cache, "
            f"and {hub}; where there is a network, fetch it with: hf download {self.path}"
        )

    def _fits(self) -> None:
        tokens, rows = len(self.tokenizer), self._body.vocab_size
        if tokens > rows:
            raise LabError(
                f"the tokenizer of {self.path} has {tokens} tokens, its model {rows}; they don't belong together"
            )
        if isinstance(self.rendering, Tools) and not self.tokenizer.chat_template:
            raise LabError(f"the tokenizer of {self.path} has no chat template; take an instruct checkpoint")

    def _ends(self, told: Any) -> list[int]:
        """The tokenizer's end, the model's, and the chat's: a base checkpoint's config names the wrong one."""
        chat = self.tokenizer.get_vocab().get("<|im_end|>")
        ends = [self.tokenizer.eos_token_id, chat, *(told if isinstance(told, list) else [told])]
        found = list(dict.fromkeys(end for end in ends if end is not None))
        if not found:
            raise LabError(f"neither the tokenizer nor the model of {self.path} names a token that ends an answer")
        return found


def _rendering(path: str, own: Mapping[str, Any]) -> Rendering:
    wanted = own.get("rendering", "tools")
    if wanted not in _RENDERINGS:
        raise LabError(f"{path}/config.json: {unknown('rendering', str(wanted), _RENDERINGS)}")
    return _RENDERINGS[wanted]()
