"""A small Qwen2 checkpoint in NumPy: torch and transformers take more memory and more time than so few sums need.

The same computation as `transformers.Qwen2ForCausalLM` for plain checkpoints (`fits` says which), one text at a time.
Source: Qwen2 technical report, arXiv 2407.10671; rotary positions as in arXiv 2104.09864.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file
from threadpoolctl import ThreadpoolController
from tokenizers import Tokenizer

from agentlab.errors import LabError

#: Parameters above which transformers' own code is as quick, and the longest text in tokens.
_MOST, _WINDOW = 50_000_000, 8192
#: How many threads NumPy may take is said of the whole process: one at a time says it, and takes it back.
_TURN = threading.Lock()


Array = NDArray[np.float32]


class Layer(NamedTuple):
    """Weights of one block, (from, to); queries, keys and values in one matrix, gate and up in another."""

    before: Array
    attend: Array
    bias: Array
    out: Array
    between: Array
    widen: Array
    narrow: Array


class Cache:
    """Keys and values of the tokens so far, a pair of (heads, tokens, width of a head) for each layer."""

    def __init__(self, kept: Sequence[tuple[Array, Array]]) -> None:
        self.kept = list(kept)


def fits(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config asks for nothing but what is computed here."""
    rope = config.get("rope_parameters") or {"rope_type": "default"}
    width, layers = config.get("hidden_size", 1 << 20), config.get("num_hidden_layers", 1 << 10)
    return (
        config.get("model_type") == "qwen2"
        and config.get("hidden_act", "silu") == "silu"
        and rope.get("rope_type", "default") == "default"
        and not config.get("rope_scaling")
        and not config.get("use_sliding_window")
        and 12 * width * width * layers < _MOST
    )


class SmallQwen2:
    """A checkpoint in a folder: `config.json`, `model.safetensors`. LabError for weights that don't fit the config."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        # On two cores that others use too, sharing out sums this small takes up to a hundred times as long.
        self._sums = ThreadpoolController()
        self.vocab_size: int = config["vocab_size"]
        self.window: int = min(config["max_position_embeddings"], _WINDOW)
        self._heads: int = config["num_attention_heads"]
        self._groups: int = config.get("num_key_value_heads") or self._heads
        self._eps: float = config.get("rms_norm_eps", 1e-6)
        width: int = config["hidden_size"]
        self._size: int = config.get("head_dim") or width // self._heads
        try:
            weights = {k: w.astype(np.float32, copy=False) for k, w in load_file(folder / "model.safetensors").items()}
            self._embed = weights["model.embed_tokens.weight"]
            self._head = self._embed if config.get("tie_word_embeddings") else weights["lm_head.weight"]
            self._norm = weights["model.norm.weight"]
            self._layers = [_layer(weights, f"model.layers.{n}.") for n in range(config["num_hidden_layers"])]
        except (OSError, SafetensorError) as fault:
            raise LabError(f"can't read model.safetensors in {folder}: {fault}") from None
        except KeyError as missing:
            raise LabError(f"model.safetensors in {folder} lacks {missing}; it doesn't belong to config.json") from None
        self._fit(folder, width, config["intermediate_size"])
        theta = (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta", 10000.0)
        turns = np.outer(np.arange(self.window), theta ** (-np.arange(0, self._size, 2) / self._size))
        both = np.concatenate([turns, turns], -1)
        self._cos, self._sin = np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)

    def _fit(self, folder: Path, width: int, inner: int) -> None:
        """LabError unless every weight has the shape that the config says."""
        own, wide = self._heads * self._size, (self._heads + 2 * self._groups) * self._size
        shapes = [(width,), (width, wide), (wide,), (own, width), (width,), (width, 2 * inner), (inner, width)]
        found = [[weight.shape for weight in layer] for layer in self._layers]
        ends = [self._embed.shape, self._head.shape, self._norm.shape]
        if ends != [(self.vocab_size, width)] * 2 + [(width,)] or found != [shapes] * max(1, len(found)):
            raise LabError(f"the weights in {folder} haven't the shape that its config.json says")

    def cache(self) -> Cache:
        """One without a token."""
        nothing = np.empty((self._groups, 0, self._size), np.float32)
        return Cache([(nothing, nothing)] * len(self._layers))

    def view(self, cache: Cache, count: int) -> Cache:
        """Its first `count` tokens, not copied."""
        return Cache([(keys[:, :count], values[:, :count]) for keys, values in cache.kept])

    def feed(self, cache: Cache, tokens: Sequence[int]) -> Array:
        """The logits (vocabulary) after these tokens; the cache grows by them."""
        with _TURN, self._sums.limit(limits=1, user_api="blas"):
            return self._fed(cache, tokens)

    def _fed(self, cache: Cache, tokens: Sequence[int]) -> Array:
        start, count = cache.kept[0][0].shape[1], len(tokens)
        cos, sin = self._cos[start : start + count], self._sin[start : start + count]
        # What comes later isn't seen.
        hidden = np.triu(np.full((count, start + count), -np.inf, np.float32), start + 1) if count > 1 else None
        x = self._embed[list(tokens)]
        for n, layer in enumerate(self._layers):
            mixed = _normed(x, layer.before, self._eps) @ layer.attend + layer.bias
            mixed = mixed.reshape(count, -1, self._size).swapaxes(0, 1)
            turned = mixed[: self._heads + self._groups]
            turned = turned * cos + _half_turned(turned) * sin
            before = cache.kept[n]
            keys = np.concatenate([before[0], turned[self._heads :]], 1)
            values = np.concatenate([before[1], mixed[self._heads + self._groups :]], 1)
            cache.kept[n] = (keys, values)
            x = x + self._attended(turned[: self._heads], keys, values, hidden) @ layer.out
            gate, up = np.split(_normed(x, layer.between, self._eps) @ layer.widen, 2, -1)
            x = x + (gate / (1 + np.exp(-gate)) * up) @ layer.narrow
        logits: Array = self._head @ _normed(x[-1], self._norm, self._eps)
        return logits

    def _attended(self, queries: Array, keys: Array, values: Array, hidden: Array | None) -> Array:
        """What each token finds in those before it: (tokens, heads * width of a head)."""
        if self._groups < self._heads:
            keys, values = (kept.repeat(self._heads // self._groups, 0) for kept in (keys, values))
        likeness = queries @ keys.swapaxes(1, 2) * np.float32(self._size**-0.5)
        if hidden is not None:
            likeness += hidden
        likeness -= likeness.max(-1, keepdims=True)
        np.exp(likeness, out=likeness)
        likeness /= likeness.sum(-1, keepdims=True)
        found = (likeness @ values).swapaxes(0, 1).reshape(queries.shape[1], -1)
        return found.astype(np.float32, copy=False)


def _normed(x: Array, weight: Array, eps: float) -> Array:
    normed: Array = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * weight
    return normed


def _layer(weights: Mapping[str, Array], at: str) -> Layer:
    own, mlp = [f"{at}self_attn.{part}_proj." for part in "qkv"], f"{at}mlp."
    gates = [weights[mlp + "gate_proj.weight"], weights[mlp + "up_proj.weight"]]
    return Layer(
        before=weights[at + "input_layernorm.weight"],
        attend=_turned([weights[name + "weight"] for name in own]),
        bias=np.concatenate([weights[name + "bias"] for name in own]),
        out=_turned([weights[at + "self_attn.o_proj.weight"]]),
        between=weights[at + "post_attention_layernorm.weight"],
        widen=_turned(gates),
        narrow=_turned([weights[mlp + "down_proj.weight"]]),
    )


def _turned(matrices: Sequence[Array]) -> Array:
    """Matrices of (to, from) below each other, as one of (from, to)."""
    return np.ascontiguousarray(np.concatenate(matrices).T)


def _half_turned(x: Array) -> Array:
    first, second = np.split(x, 2, -1)
    return np.concatenate([-second, first], -1)


class SmallTokenizer:
    """`tokenizer.json` as it is, by the names that transformers gives its methods."""

    chat_template = None

    def __init__(self, folder: Path, end: str) -> None:
        try:
            self._known = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as fault:  # the library raises nothing narrower
            raise LabError(f"can't read tokenizer.json in {folder}: {fault}") from None
        self._known.no_padding()
        self._known.no_truncation()
        self.eos_token_id: int | None = self._known.token_to_id(end)

    def __len__(self) -> int:
        return int(self._known.get_vocab_size(with_added_tokens=True))

    def get_vocab(self) -> dict[str, int]:
        """Every token, to its number."""
        vocabulary: dict[str, int] = self._known.get_vocab(with_added_tokens=True)
        return vocabulary

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The tokens of a text."""
        tokens: list[int] = self._known.encode(text, add_special_tokens=add_special_tokens).ids
        return tokens

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": self.encode(text, add_special_tokens)}

    def decode(self, tokens: Sequence[int], clean_up_tokenization_spaces: bool = False) -> str:
        """The text of tokens."""
        return str(self._known.decode(list(tokens), skip_special_tokens=False))

    def to_json(self) -> str:
        """The whole, as `tokenizer.json` has it."""
        return str(self._known.to_str())


def small(folder: Path) -> tuple[SmallQwen2, SmallTokenizer, dict[str, Any]] | None:
    """Model, tokenizer and config of a checkpoint that is asked by placeholders; None where it is for transformers."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        own = config.get("agentlab")
        if not isinstance(own, dict) or own.get("rendering") != "slots" or not fits(config) or _is_half(folder):
            return None
        end = told.get("eos_token")
        end = end.get("content") if isinstance(end, dict) else end
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError):
        return None
    try:
        return SmallQwen2(folder, config), SmallTokenizer(folder, str(end or "")), config
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, AttributeError) as fault:
        raise LabError(f"{folder}/config.json describes no Qwen2: {type(fault).__name__} {fault}") from None


def _is_half(folder: Path) -> bool:
    """Whether weights are in bfloat16, which NumPy doesn't know."""
    try:
        weights: Any = safe_open(folder / "model.safetensors", framework="np")
    except (OSError, SafetensorError):
        return False
    with weights:
        return any(weights.get_slice(name).get_dtype() == "BF16" for name in weights.keys())  # noqa: SIM118
