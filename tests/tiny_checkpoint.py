"""A Qwen2 checkpoint of random weights, made in a moment: its answers are nonsense, all around them is real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

torch.set_num_threads(1)

CHAT_TEMPLATE = Path(trl.__file__).with_name("chat_templates") / "qwen2_5.jinja"
_TEXT = ['{"name": "rename", "arguments": {"table": "staging.orders", "column": "customer_id", "to": "cust_id"}}'] * 4


def tokenizer(special: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level with NFC before it, as Qwen's; `special`: the marks of a tool call are tokens of their own."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    turns = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made.train_from_iterator(
        _TEXT, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, special_tokens=turns)
    )
    if special:
        made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in ("<tool_call>", "</tool_call>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    return fast


def checkpoint(folder: Path, seed: int = 0, config: dict[str, Any] | None = None, **shape: Any) -> Path:
    """A folder with tokenizer, config and weights; `config` adds to config.json."""
    tokens = tokenizer()
    tokens.save_pretrained(folder)
    torch.manual_seed(seed)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    large = {"vocab_size": len(tokens) + 7, "num_key_value_heads": 2, "max_position_embeddings": 32768}
    # Weights so large that an answer hangs on every word of the prompt: a wrong cache can't pass unseen.
    large |= {"initializer_range": 0.3, "tie_word_embeddings": False}
    made = Qwen2Config(**small | large | shape)
    for key, value in (config or {}).items():
        setattr(made, key, value)
    Qwen2ForCausalLM(made).save_pretrained(folder)
    return folder
