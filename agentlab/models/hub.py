"""A Qwen2 checkpoint by transformers: from a folder, the Hugging Face hub or its cache."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants, get_session
from numpy.typing import NDArray
from transformers import AutoConfig, DynamicCache, PreTrainedTokenizerFast, Qwen2ForCausalLM
from transformers.utils import logging as progress

#: In seconds, how long the hub may take to say that it is there.
_PATIENCE = 5.0

#: Parameters below which one thread is quicker: sharing out sums this small costs more than it saves.
_SMALL = 50_000_000

#: What is read of a checkpoint, and by what. Not AutoTokenizer: for a Qwen2 config it puts Qwen's own pre-tokenizer in
#: the place of the checkpoint's.
READERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "config.json": (AutoConfig, {}),
    "tokenizer.json": (PreTrainedTokenizerFast, {}),
    "model.safetensors": (Qwen2ForCausalLM, {"dtype": torch.float32, "use_safetensors": True}),
}


class HubQwen2:
    """A model of transformers as the decoder takes it."""

    def __init__(self, model: Qwen2ForCausalLM) -> None:
        self.model = model.eval()  # type: ignore[no-untyped-call]
        self.vocab_size: int = model.config.vocab_size
        self._many = model.num_parameters() >= _SMALL

    def cache(self) -> DynamicCache:
        """One without a token."""
        return DynamicCache()

    def view(self, cache: DynamicCache, count: int) -> DynamicCache:
        """Its first `count` tokens, not copied: a layer's `update` makes new tensors."""
        view = copy.copy(cache)
        view.layers = [copy.copy(layer) for layer in cache.layers]
        view.crop(count - cache.get_seq_length())
        return view

    def feed(self, cache: DynamicCache, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The logits after these tokens; the cache grows by them."""
        ids = torch.tensor([list(tokens)])
        with torch.inference_mode(), _threads(torch.get_num_threads() if self._many else 1):
            told = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits: NDArray[np.float32] = told.logits[0, -1].float().numpy()
        return logits


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reachable() -> bool:
    """Whether there is a hub to ask, found out by one short question: its own client tries for 23 s a file.

    Where the hub is switched off (HF_HUB_OFFLINE) that client is quick, and says so itself.
    """
    if constants.is_offline_mode():
        return True
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE, follow_redirects=False)
    except Exception:  # the hub's client may be of another library, but whatever hinders it here would hinder it there
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Loading takes a second and needs no progress bar."""
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            progress.enable_progress_bar()  # type: ignore[no-untyped-call]
