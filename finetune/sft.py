"""Supervised fine-tuning of a Qwen2.5 checkpoint on `finetune.chats`, on one GPU (bfloat16) or, to try it, a CPU (float32).

    python -m finetune.chats finetune/out/chats
    python -m finetune.sft finetune/out/chats finetune/out/sft                # LoRA on Qwen/Qwen2.5-0.5B-Instruct
    python -m finetune.sft finetune/out/chats finetune/out/sft-full --full    # all weights
    agentlab evaluate data/cases/blind.jsonl --model finetune/out/sft/model

OUT/model is a whole checkpoint (an adapter is merged into it), safetensors, float32. Run again with the same OUT, it goes on
from the last checkpoint there. With a folder as `--base` nothing is fetched.

The tokens are made here and not by TRL: its template for training also puts a loss on the line breaks around an answer, which
a served model is never asked for. So the loss is on the answer and its end, and the prompt is, token for token, that of serving.
No sample is cut: what is longer than `--longest` is left out, and counted. No tokens are added, and the embeddings have no adapter,
since they are tied to the output's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM
from transformers.trainer_utils import get_last_checkpoint
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from agentlab.prompts import harmless
from finetune.chats import FEATURES

BASE = "Qwen/Qwen2.5-0.5B-Instruct"
OPENING, END, PAD = "<|im_start|>assistant\n", "<|im_end|>", "<|endoftext|>"
#: Every linear layer of a block.
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
#: How many samples go through the model at once; a step's batch is gathered from several such.
AT_ONCE = 2


class Unfit(ValueError):
    """A checkpoint or a sample that training would teach something else than what serving asks."""


# ---------------------------------------------------------------- what is learnt


def tokenizer_of(base: str) -> PreTrainedTokenizerFast:
    """The checkpoint's tokenizer, with the chat's end as its end and another token to pad with.

    Were the end padded with, it would have no loss, and the model would never stop. Not AutoTokenizer: see `agentlab.models.qwen`.
    """
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(base)
    known = tokenizer.get_vocab()
    if missing := [mark for mark in (END, PAD) if mark not in known]:
        raise Unfit(f"the tokenizer of {base} has no {' and no '.join(missing)}; take a Qwen2.5 checkpoint")
    if not tokenizer.chat_template:
        raise Unfit(f"the tokenizer of {base} has no chat template; take an instruct checkpoint")
    tokenizer.eos_token, tokenizer.pad_token = END, PAD
    return tokenizer


def split(row: dict[str, Any], tokenizer: Any) -> tuple[str, str]:
    """A row's prompt, as serving makes it, and the answer with its end; Unfit where they don't make up the chat."""
    *asked, _ = row["messages"]
    if any(harmless(turn["content"], tokenizer.get_added_vocab()) != turn["content"] for turn in asked):
        raise Unfit(f"a prompt holds a control token of this tokenizer: {asked[-1]['content']!r}")
    prompt = tokenizer.apply_chat_template(asked, tools=row["tools"], tokenize=False, add_generation_prompt=True)
    chat = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
    answer = chat.removeprefix(prompt).removesuffix("\n")
    if not (chat.startswith(prompt) and prompt.endswith(OPENING) and answer.endswith(END)):
        raise Unfit(f"the chat template doesn't put the answer after the prompt, with {END} at its end: {answer!r}")
    return prompt, answer


def sample(row: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Token ids and labels of a row: -100, which is no label, for the prompt; the answer, its end included, as it is."""
    prompt, answer = split(row, tokenizer)
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
    if tokenizer(prompt + answer, add_special_tokens=False)["input_ids"] != before + after:
        raise Unfit(f"a token spans the end of the prompt and the start of the answer: {answer!r}")
    return {"input_ids": before + after, "labels": [-100] * len(before) + after, "answer": answer}


def samples(path: Path, tokenizer: Any, longest: int) -> Dataset:
    """The samples of a file, none of them cut; how many are too long is told. Unfit when all are."""
    rows = load_dataset("json", data_files=str(path), features=FEATURES, split="train")
    made = rows.map(sample, fn_kwargs={"tokenizer": tokenizer}, remove_columns=rows.column_names)
    kept = made.filter(lambda ids: len(ids) <= longest, input_columns="input_ids")
    print(
        f"{path.name}: {len(kept)} samples, {len(made) - len(kept)} refused, longer than {longest} tokens", flush=True
    )
    if not len(kept):
        raise Unfit(f"{path} has no sample of at most {longest} tokens; see --longest")
    return kept


def prove(held: Dataset, tokenizer: Any) -> None:
    """Every sample that the trainer holds has labels on its answer, with its end, and on nothing else; else Unfit."""
    end = tokenizer.convert_tokens_to_ids(END)
    for number, one in enumerate(held):
        ids, labels = one["input_ids"], one["labels"]
        start = next((at for at, label in enumerate(labels) if label != -100), len(labels))
        prompt, answer = tokenizer.decode(ids[:start]), tokenizer.decode(ids[start:])
        exact = labels[start:] == ids[start:] and labels.count(end) == 1 and labels[-1:] == [end]
        if not (exact and answer == one["answer"] and prompt.endswith(OPENING)):
            raise Unfit(f"sample {number}: labels on {tokenizer.decode([i for i in labels if i != -100])!r}")


# ---------------------------------------------------------------- training


def train(options: argparse.Namespace) -> None:
    """See the module."""
    tokenizer = tokenizer_of(options.base)
    model = Qwen2ForCausalLM.from_pretrained(options.base, dtype=torch.float32, use_safetensors=True)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    gpu = torch.cuda.is_available()
    settings = SFTConfig(
        output_dir=str(options.out),
        max_length=None,  # TRL's default cuts at 1,024 tokens: the answers off.
        packing=False,
        use_cpu=not gpu,
        bf16=gpu and torch.cuda.is_bf16_supported(including_emulation=False),
        num_train_epochs=options.epochs,
        max_steps=options.steps,
        learning_rate=options.rate or (1e-5 if options.full else 2e-4),
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=0.0,
        per_device_train_batch_size=min(AT_ONCE, options.batch),
        per_device_eval_batch_size=AT_ONCE,
        gradient_accumulation_steps=max(1, options.batch // AT_ONCE),
        gradient_checkpointing=gpu,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=options.every,
        save_steps=options.every,
        save_total_limit=2,
        seed=options.seed,
        report_to="none",
    )
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=samples(options.data / "train.jsonl", tokenizer, options.longest),
        eval_dataset=samples(options.data / "validation.jsonl", tokenizer, options.longest),
        processing_class=tokenizer,
        peft_config=None if options.full else _adapter(options.rank),
    )
    prove(trainer.train_dataset, tokenizer)
    prove(trainer.eval_dataset, tokenizer)
    last = get_last_checkpoint(str(options.out)) if options.out.is_dir() else None  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=last)
    print(json.dumps(trainer.evaluate()), flush=True)
    trained: Any = trainer.model
    trained = trained if options.full else trained.merge_and_unload()
    trained.save_pretrained(options.out / "model")
    tokenizer.save_pretrained(options.out / "model")


def _adapter(rank: int) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules=ADAPTED, task_type="CAUSAL_LM")


def options(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with train.jsonl and validation.jsonl")
    parser.add_argument("out", type=Path, help="where checkpoints go, and model/ at the end")
    parser.add_argument("--base", default=BASE, help="a folder or a hub id")
    parser.add_argument("--full", action="store_true", help="train all weights instead of an adapter")
    parser.add_argument("--rank", type=int, default=16, help="the adapter's")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--steps", type=int, default=-1, help="instead of epochs")
    parser.add_argument("--batch", type=int, default=16, help="samples a step")
    parser.add_argument("--rate", type=float, help="the highest learning rate: 2e-4, or 1e-5 with --full")
    parser.add_argument("--longest", type=int, default=12_000, help="tokens of a sample; longer ones are refused")
    parser.add_argument(
        "--every", type=int, default=200, help="steps between checkpoints, each with its validation loss"
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


if __name__ == "__main__":
    train(options())
