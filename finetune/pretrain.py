"""Train the offline model, a small Qwen2 from random weights, on examples of `examples.py`.

    python -m finetune.pretrain DATA OUT --minutes 60 [--init CHECKPOINT]

One CPU thread, float32, over generated data again and again; the learning rate follows a trapezoid in time, so a run ends when
it is told to. Loss on the answers only. A hub model is tuned by `sft.py`.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from finetune.tokenizer import carried

Batch = tuple[torch.Tensor, torch.Tensor]


class Examples:
    """The examples of a file, in batches of similar length."""

    def __init__(self, path: Path) -> None:
        data = np.load(path)
        self.ids, self.prompt = data["ids"], data["prompt"].astype(np.int64)
        self.length = self.prompt + data["answer"]
        self.start = np.concatenate([[0], np.cumsum(self.length)[:-1]])

    def batches(self, tokens: int, r: random.Random) -> Iterator[Batch]:
        """One pass in random order; each batch has at most so many tokens, padding included."""
        order = list(range(len(self.length)))
        r.shuffle(order)
        for at in range(0, len(order), 1024):
            near = sorted(order[at : at + 1024], key=lambda i: self.length[i])
            groups: list[list[int]] = [[]]
            for i in near:
                if (len(groups[-1]) + 1) * self.length[i] > tokens:
                    groups.append([])
                groups[-1].append(i)
            r.shuffle(groups)
            yield from (self.batch(group) for group in groups if group)

    def batch(self, group: list[int]) -> Batch:
        """Ids and labels, padded on the right; only answers have labels."""
        size = int(self.length[group].max())
        ids = torch.zeros(len(group), size, dtype=torch.long)
        labels = torch.full((len(group), size), -100)
        for row, i in enumerate(group):
            length, prompt = int(self.length[i]), int(self.prompt[i])
            text = torch.from_numpy(self.ids[self.start[i] : self.start[i] + length].astype(np.int64))
            ids[row, :length] = text
            labels[row, prompt - 1 : length - 1] = text[prompt:]
        return ids, labels


def shape(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> Qwen2Config:
    """The model's shape: Qwen2 as it is, only small; told apart by `agentlab` in its config."""
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        rope_theta=10000.0,
        initializer_range=0.9 * width**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        agentlab={"rendering": "slots", "version": 1},
    )


@torch.no_grad()
def grown(model: Qwen2ForCausalLM, layers: int) -> Qwen2ForCausalLM:
    """A model of more layers that computes the same at first: some come twice, the second time adding nothing yet."""
    few = model.config.num_hidden_layers
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    config.layer_types = None
    larger = Qwen2ForCausalLM(Qwen2Config.from_dict(config.to_dict()))
    larger.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    larger.model.norm.load_state_dict(model.model.norm.state_dict())
    sources = [at * few // layers for at in range(layers)]
    for at, source in enumerate(sources):
        layer = larger.model.layers[at]
        layer.load_state_dict(model.model.layers[source].state_dict())
        if source in sources[:at]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    larger.tie_weights()
    return larger


def optimizers(model: Qwen2ForCausalLM, rate: float, muon: float) -> list[torch.optim.Optimizer]:
    """AdamW, with Muon for the matrices inside the blocks when its rate isn't 0."""
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n] if muon else []
    taken = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.dim() == 2], "weight_decay": 0.05},
        {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)
    return [adam, torch.optim.Muon(inner, lr=muon, momentum=0.95, weight_decay=0.02)] if muon else [adam]


def level(progress: float, step: int, falls_over: float = 0.5) -> float:
    """Share of the full learning rate: a short warm-up, flat, then down to a fiftieth over the last part of the run."""
    return min(1.0, step / 100) * min(1.0, 0.02 + 0.98 * (1 - progress) / falls_over)


def plain_words(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Which tokens are letters of plain text, by id: no placeholder, no part of a plan, no mark."""
    added = set(tokenizer.get_added_vocab().values())
    words = [
        at not in added and bool(re.search("[a-z]{2}", token))
        for token, at in sorted(tokenizer.get_vocab().items(), key=lambda x: x[1])
    ]
    return torch.tensor(words)


def without_words(batch: Batch, plain: torch.Tensor, share: float) -> Batch:
    """The batch with a random share of the prompts' plain words made unreadable, so that no single word is relied upon."""
    ids, labels = batch
    answer = (labels != -100).cumsum(1) > 0
    gone = (torch.rand(ids.shape) < share) & plain[ids] & ~answer
    return ids.masked_fill(gone, 0), labels


def loss_of(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the answers' tokens."""
    ids, labels = batch
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = labels != -100
    return cross_entropy(model.lm_head(hidden[wanted]), labels[wanted])


@torch.inference_mode()
def judge(model: Qwen2ForCausalLM, examples: Examples) -> dict[str, float]:
    """Loss and exact answers (every token the most likely one, teacher-forced) on held-out wordings."""
    model.eval()
    losses, exact, total = [], 0, 0
    for ids, labels in examples.batches(8000, random.Random(0)):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        best = model.lm_head(hidden).argmax(-1)
        exact += int(((best == labels) | (labels == -100)).all(1).sum())
        total += len(ids)
        losses.append(float(loss_of(model, (ids, labels))))
    model.train()
    return {"loss": round(sum(losses) / len(losses), 4), "exact": round(exact / total, 4)}


def train(options: argparse.Namespace) -> None:
    """Train for so many minutes, saving as it goes."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    torch.set_flush_denormal(True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.data)
    config = shape(tokenizer, options.width, options.layers)
    model = Qwen2ForCausalLM.from_pretrained(options.init) if options.init else Qwen2ForCausalLM(config)
    if (
        options.init
        and (older := PreTrainedTokenizerFast.from_pretrained(options.init)).get_vocab() != tokenizer.get_vocab()
    ):
        carried(model, older, tokenizer)
    if options.layers > model.config.num_hidden_layers:
        model = grown(model, options.layers)
    examples = Examples(options.data / "train.npz")
    held = {name: Examples(options.data / f"{name}.npz") for name in ("dev", "templates")}
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(examples.length)} examples", flush=True)
    with (options.out / "log.jsonl").open("a") as log:
        for row in steps(model, examples, plain_words(tokenizer), options):
            if row["step"] % 250 == 0:
                save(model, tokenizer, options.out)
            if row["step"] % 1000 == 0:
                row |= {f"{name}_{k}": v for name, rows in held.items() for k, v in judge(model, rows).items()}
            if row["step"] % 100 == 0:
                print(json.dumps(row), file=log, flush=True)
                print(row, flush=True)
    save(model, tokenizer, options.out)
    print(json.dumps({"final": {name: judge(model, rows) for name, rows in held.items()}}), flush=True)


def steps(
    model: Qwen2ForCausalLM, examples: Examples, plain: torch.Tensor, options: argparse.Namespace
) -> Iterator[dict[str, float]]:
    """One optimizer step after another, over the examples again and again, until time or steps are up.

    `plain` says of each token whether it is a plain word's.
    """
    steppers = optimizers(model, options.rate, options.muon)
    full = [(group, group["lr"]) for stepper in steppers for group in stepper.param_groups]
    start, r, seen, mean = time.time(), random.Random(options.seed), 0, 0.0
    for step, batch in enumerate(endless(examples, options.batch, r), 1):
        progress = step / options.steps if options.steps else (time.time() - start) / (options.minutes * 60)
        if progress > 1:
            return
        for group, rate in full:
            group["lr"] = rate * level(progress, step, options.falls_over)
        loss = loss_of(model, without_words(batch, plain, options.word_dropout) if options.word_dropout else batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        seen += batch[0].numel()
        mean = loss.item() if step == 1 else 0.97 * mean + 0.03 * loss.item()
        minutes = round((time.time() - start) / 60, 2)
        yield {"minutes": minutes, "step": step, "loss": round(mean, 4), "tokens": seen}


def endless(examples: Examples, tokens: int, r: random.Random) -> Iterator[Batch]:
    """Pass after pass."""
    while True:
        yield from examples.batches(tokens, r)


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the checkpoint beside its place, then move it there, so that a kill leaves a whole one."""
    part = out / "part"
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    (out / "model").mkdir(exist_ok=True)
    for file in part.iterdir():
        file.replace(out / "model" / file.name)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=0, help="end after so many steps, whatever the time")
    parser.add_argument("--init", type=Path)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4, help="a checkpoint with fewer grows")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--muon", type=float, default=0.0)
    parser.add_argument("--falls-over", type=float, default=0.5, help="the part of the run in which the rate falls")
    parser.add_argument("--word-dropout", type=float, default=0.0, help="share of plain words made unreadable")
    parser.add_argument("--batch", type=int, default=3000, help="tokens a batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    train(options)


if __name__ == "__main__":
    main()
