"""A Qwen2 checkpoint on this machine's CPU: weights from safetensors only, answers decoded under a grammar."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedTokenizerFast, Qwen2ForCausalLM
from transformers.utils import logging as progress

from agentlab.errors import LabError, unknown
from agentlab.models.decoding import Answer, Decoder
from agentlab.plan import Origin, Plan
from agentlab.prompts import Ask, Prompt, Rendering, Tools
from agentlab.slots import Slots

#: Parameters below which one thread is quicker: sharing out sums this small costs more than it saves.
_SMALL = 50_000_000

_RENDERINGS: dict[str, type[Rendering]] = {"tools": Tools, "slots": Slots}


class Qwen:
    """A checkpoint by folder or hub id. Its config says how it wants to be asked: `"agentlab": {"rendering": "slots"}`.

    A LabError says what is missing or doesn't fit; nothing but safetensors is read, and no code of a checkpoint runs.
    `most_tokens` is the longest answer.
    """

    def __init__(self, path_or_id: str | Path, rendering: Rendering | None = None, most_tokens: int = 512) -> None:
        self.path = str(path_or_id)
        self.most_tokens = most_tokens
        self.name = Path(self.path).name if Path(self.path).is_dir() else self.path
        with _quiet():
            config = self._part("config.json", AutoConfig)
            if config.model_type != "qwen2":
                raise LabError(
                    f"{self.path} is a {config.model_type!r} model; give a Qwen2 or Qwen2.5 checkpoint, or serve it"
                )
            # Not AutoTokenizer: for a Qwen2 config it puts Qwen's own pre-tokenizer in the place of the checkpoint's.
            self.tokenizer = self._part("tokenizer.json", PreTrainedTokenizerFast)
            self.model = self._part("model.safetensors", Qwen2ForCausalLM, dtype=torch.float32, use_safetensors=True)
        self.rendering = rendering or _rendering(self.path, config)
        self._fits()
        self._decoder = Decoder(self.model.eval(), self.tokenizer, self._ends())

    def plan(self, ask: Ask) -> Plan:
        """One plan, greedily. PlanError when the answer is too long or no plan."""
        started = time.perf_counter()
        prompt = self.rendering.prompt(ask, self.tokenizer)
        answer = self.answer(prompt)
        calls = prompt.read(self.tokenizer.decode(answer.tokens, clean_up_tokenization_spaces=False))
        return Plan.from_calls(
            calls, answer.confidence, self._origin(ask, prompt, answer, time.perf_counter() - started)
        )

    def answer(self, prompt: Prompt) -> Answer:
        """The tokens that the model answers to a prompt. PlanError when there would be too many."""
        text = prompt.text.encode("utf-8", "replace").decode()
        tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        window: int = self.model.config.max_position_embeddings
        if len(tokens) >= window:
            raise LabError(f"the prompt has {len(tokens)} tokens, {self.name} takes {window}; show it fewer tables")
        return self._decoder.decode(tokens, prompt.grammar, min(self.most_tokens, window - len(tokens)))

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

    def _part(self, file: str, reader: Any, **options: Any) -> Any:
        try:
            return reader.from_pretrained(self.path, **options)
        except (OSError, ValueError, KeyError) as fault:
            raise LabError(self._missing(file, fault)) from fault

    def _missing(self, file: str, fault: Exception) -> str:
        why = str(fault).strip().partition("\n")[0][:300]
        if Path(self.path).is_dir():
            return f"can't read {file} in {self.path}: {why}"
        return (
            f"can't find {file} of {self.path!r}: no such folder here, not in the Hugging Face cache, "
            f"and not from the hub ({why}); where there is a network, fetch it with: hf download {self.path}"
        )

    def _fits(self) -> None:
        tokens, rows = len(self.tokenizer), self.model.config.vocab_size
        if tokens > rows:
            raise LabError(
                f"the tokenizer of {self.path} has {tokens} tokens, its model {rows}; they don't belong together"
            )
        if isinstance(self.rendering, Tools) and not self.tokenizer.chat_template:
            raise LabError(f"the tokenizer of {self.path} has no chat template; take an instruct checkpoint")

    def _ends(self) -> list[int]:
        """The tokenizer's end, the model's, and the chat's: a base checkpoint's config names the wrong one."""
        told = self.model.generation_config.eos_token_id
        chat = self.tokenizer.get_vocab().get("<|im_end|>")
        ends = [self.tokenizer.eos_token_id, chat, *(told if isinstance(told, list) else [told])]
        found = list(dict.fromkeys(end for end in ends if end is not None))
        if not found:
            raise LabError(f"neither the tokenizer nor the model of {self.path} names a token that ends an answer")
        return found


def _rendering(path: str, config: Any) -> Rendering:
    wanted = (getattr(config, "agentlab", None) or {}).get("rendering", "tools")
    if wanted not in _RENDERINGS:
        raise LabError(f"{path}/config.json: {unknown('rendering', str(wanted), _RENDERINGS)}")
    return _RENDERINGS[wanted]()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Loading takes a second and needs no progress bar."""
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            progress.enable_progress_bar()  # type: ignore[no-untyped-call]
