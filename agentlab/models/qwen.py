"""A Qwen2 checkpoint on this machine's CPU: weights from safetensors only, answers decoded under a grammar."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentlab.errors import LabError, PlanError, unknown
from agentlab.models.decoding import Answer, Body, Decoder, Doubt
from agentlab.models.small import small
from agentlab.plan import Origin, Plan
from agentlab.prompts import Ask, Prompt, Rendering, Tools
from agentlab.slots import Slots

#: How many other plans are tried when the best one can't run, and how near they must come (in nats: a tenth as likely).
OTHERS = 6
_EVEN = 2.3

_RENDERINGS: dict[str, type[Rendering]] = {"tools": Tools, "slots": Slots}


class Qwen:
    """A checkpoint by folder or hub id. Its config says how it wants to be asked: `"agentlab": {"rendering": "slots"}`.

    There, `goes_on_from` is the probability that one more action needs, `declines_from` that which asking or refusing
    needs, and `asks_below` the confidence below which a plan becomes a question; `finetune/calibrate.py` measures what
    each costs on held-out labs.

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
        self._last: tuple[tuple[str, str], Answer] | None = None
        self._fits()
        sure = float(own.get("goes_on_from", 0.0))
        #: The confidence below which a plan is asked about instead of run.
        self.asks_below = float(own.get("asks_below", 0.0))
        declines = [self.tokenizer.get_vocab().get(word) for word in ("clarify:", "refuse:")]
        self._decoder = Decoder(
            self._body,
            tokens,
            self._ends(ends),
            self._stops(),
            sure,
            [token for token in declines if token is not None],
            own.get("declines_from"),
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
        """One plan, greedily. PlanError when the answer is too long or no plan.

        Asked again because of a fault, a model whose prompt can't tell the fault decides otherwise where it was nearly
        even: at its closest choice the first time, at the second closest the next. PlanError when no other is likely.
        """
        started = time.perf_counter()
        prompt = self.rendering.prompt(ask, self.tokenizer)
        answer = self._greedy(prompt)
        if ask.fault and self.tries > 1:
            close = [doubt for doubt in answer.doubts if doubt.lead < _EVEN]
            number = max(ask.tried, 1)
            if number > len(close):
                raise PlanError(f"there is no other likely plan; the best one: {ask.fault}")
            answer = self.answer(prompt, avoid=close[number - 1])
        calls = prompt.read(self.tokenizer.decode(answer.tokens, clean_up_tokenization_spaces=False))
        return Plan.from_calls(
            calls, answer.confidence, self._origin(ask, prompt, answer, time.perf_counter() - started)
        )

    def _greedy(self, prompt: Prompt) -> Answer:
        """The answer to a prompt, kept for when the same is asked again at once."""
        known = self._last
        if known is None or known[0] != (prompt.text, prompt.grammar):
            known = self._last = ((prompt.text, prompt.grammar), self.answer(prompt))
        return known[1]

    def answer(self, prompt: Prompt, avoid: Doubt | None = None) -> Answer:
        """The tokens that the model answers to a prompt; `avoid` is an earlier answer's doubt. PlanError: too many."""
        text = prompt.text.encode("utf-8", "replace").decode()
        tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        window = self._window
        if len(tokens) >= window:
            raise LabError(
                f"the prompt has {len(tokens)} tokens, {self.name} takes {window}; say less, or show it fewer tables"
            )
        most = min(self.most_tokens, window - len(tokens))
        return self._decoder.decode(tokens, prompt.grammar, most, avoid)

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

    def _stops(self) -> dict[int, int]:
        """The tokens that begin another action, alone or with a closing quote, and those that don't."""
        known = self.tokenizer.get_vocab()
        newline = self.tokenizer.encode("\n", add_special_tokens=False)
        pairs = [
            (newline[0] if len(newline) == 1 else None, self.tokenizer.eos_token_id),
            (known.get('"\n'), known.get('"')),
        ]
        return {more: stop for more, stop in pairs if more is not None and stop is not None}

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
