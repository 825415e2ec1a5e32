"""The offline model's tokenizer: a small byte-level BPE, with one token for each placeholder and each part of a plan.

python -m finetune.tokenizer OUT
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import get_args

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from agentlab.actions import ACTIONS
from agentlab.actions.amounts import SIZES, UNITS
from agentlab.actions.quality import PATTERNS
from agentlab.actions.storage import PERIODS
from agentlab.actions.transformation import AggregateFunction
from agentlab.errors import PlanError
from agentlab.linking import link
from agentlab.slot_grammar import SEPARATORS, options
from agentlab.slots import prompt_text
from finetune import intents, scenes
from finetune.respeaking import resaid
from finetune.written import corpus as corpus_of_requests

SIZE = 4096
CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
#: How many placeholders of each kind there are; a prompt with more is cut by the linker or refused by the encoder.
PLACEHOLDERS = {
    "c": 64, "w": 40, "v": 12, "n": 12, "d": 8, "h": 4, "t": 8, "s": 8, "r": 24, "o": 8, "q": 8, "k": 8, "f": 8, "p": 8,
    "z": 4,
}  # fmt: skip
SQL = [
    " IS NULL", " IS NOT NULL", " BETWEEN", " AND", " OR", " IN(", " NOT IN(", "NOT(", "contains(", "starts_with(", "ends_with(", "year(",
    "month(", "dayname(", "length(", "upper(", "lower(", "round(", "date_diff('day',", "rank() OVER(", "sum(", "lag(", ") OVER(",
    "CASE WHEN", " WHEN", " THEN", " ELSE", " END", "trim(", "upper(trim(", "lower(trim(", "coalesce(", "abs(", "avg(", "min(", "max(", "count() OVER(",
    "row_number() OVER(", "quarter(", "hour(", "date_diff('hour',", "date_diff('minute',", " MONTH", " YEAR", " WEEK", "current_date", "=true", "=false",
    "date_trunc('month',", "PARTITION BY", "ORDER BY", " DESC)", "||' '||", "current_date-INTERVAL", " DAY", "*100/", "/100)", "*(1-", "*(1+", '="', '"\n', ",", "=[",
]  # fmt: skip


def plan_tokens() -> list[str]:
    """One token for each action, each argument, and each argument with one of its fixed choices."""
    names = [f"{name}:" for name in ACTIONS]
    arguments = {f" {field}=" for cls in ACTIONS.values() for field in cls.model_fields}
    chosen = {
        f" {field}={option}"
        for cls in ACTIONS.values()
        for field, info in cls.model_fields.items()
        for option in (*options(info.annotation), *(["true"] if info.annotation is bool else []))
    }
    separators = [f" separator={word}" for word in SEPARATORS]
    measures = [f"[{function}" for function in get_args(AggregateFunction)]
    moments = [f' {field}="{word}' for field in ("when", "refresh") for word in (*PERIODS, "every")]
    moments += [f" {unit}" for unit in (*UNITS, *SIZES)]
    moments += [f" pattern={name}" for name in PATTERNS]
    return [*names, *sorted(arguments), *sorted(chosen), *separators, *measures, *moments, *SQL]


def corpus(size: int, seed: int = 7) -> Iterator[str]:
    """Prompts without their placeholders, of templates and of written requests."""
    r, written = random.Random(seed), corpus_of_requests()
    for _ in range(size):
        scene = scenes.make(r)
        text, role, _, _ = intents.sample(scene, r)
        yield _MARKS.sub("\n", prompt_text(link(text, scene.index), scene.view, role))
        for _ in range(3):
            with suppress(PlanError, ValueError):
                yield _MARKS.sub("\n", resaid(r.choice(written), r)[0])


_MARKS = re.compile(r"<[a-z]\d+>|<\|\w+\|>")


def marks() -> list[str]:
    """Every placeholder."""
    return [f"<{kind}{n}>" for kind, most in PLACEHOLDERS.items() for n in range(most)]


def extended(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """An older tokenizer with what has come since: placeholders and parts of plans that it lacks, at the end."""
    known = tokenizer.get_vocab()
    new = [AddedToken(mark, special=True, normalized=False) for mark in marks() if mark not in known]
    tokenizer.add_tokens([*new, *(AddedToken(p, normalized=False) for p in plan_tokens() if p not in known)])
    return tokenizer


def carried(model: Qwen2ForCausalLM, old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> None:
    """Give a model another tokenizer: a token that it knew keeps its embedding, another gets the mean of its old pieces."""
    before = model.get_input_embeddings().weight.detach().clone()
    known = old.get_vocab()
    model.resize_token_embeddings(len(new))
    after = model.get_input_embeddings().weight
    with torch.no_grad():
        for token, at in new.get_vocab().items():
            pieces = [known[token]] if token in known else old.encode(new.decode([at]), add_special_tokens=False)
            if pieces:
                after[at] = before[pieces].mean(0)


def build(size: int = SIZE, scenes_: int = 6000) -> PreTrainedTokenizerFast:
    """Train it. Words are split from their neighbours, digits stand alone, case is already folded by the linker."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r" ?[A-Za-z]+|[0-9]|\n| ?[^\sA-Za-z0-9]+|\s"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    pieces = plan_tokens()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(marks()) - len(pieces),
        special_tokens=CHAT,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=4,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(scenes_), trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks()])
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


if __name__ == "__main__":
    made = build()
    made.save_pretrained(sys.argv[1])
    print(len(made), "tokens")
