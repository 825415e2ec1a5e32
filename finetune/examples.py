"""Training examples as token ids: (prompt, answer) pairs, generated once, read by `pretrain.py`.

    python -m finetune.examples OUT --size 240000

Writes OUT/tokenizer files, OUT/train.npz, OUT/dev.npz (held-out labs) and OUT/templates.npz (held-out templates): `ids` all tokens end to end, `prompt` and
`answer` the lengths of each example's two parts. An example whose answer the linker can't express is left out, and counted.
"""

from __future__ import annotations

import argparse
import random
from hashlib import md5
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from agentlab.completion import complete
from agentlab.errors import PlanError
from agentlab.linking import Linked, link
from agentlab.slots import decode, encode, prompt_text
from agentlab.view import View
from finetune import intents, scenes
from finetune.respeaking import resaid
from finetune.speaking import Calls
from finetune.tokenizer import build, extended
from finetune.written import ALWAYS_NAMED, FOLDER, Request, corpus

LONGEST = 320


def brief(calls: Calls, linked: Linked, view: View) -> str:
    """The answer of a template, without a table that `completion` finds again."""
    full = encode(calls, linked)
    bare = [{**call, "arguments": {k: v for k, v in call["arguments"].items() if k != "table"}} for call in calls]
    if any(call["name"] in ALWAYS_NAMED for call in calls) or bare == calls:
        return full
    try:
        short = encode(bare, linked)
        same = complete(decode(short, linked), linked, view) == complete(decode(full, linked), linked, view)
    except PlanError:
        return full
    return short if same else full


def held_out(request: Request) -> bool:
    """Whether a written request is kept from training, with all of its lab."""
    return md5(request.lab.name.encode(), usedforsecurity=False).digest()[0] < 10


def sayings(requests: list[Request]) -> list[list[Request]]:
    """Requests, each with its rewordings, so that all are as likely to be drawn however often they were reworded."""
    found: dict[tuple[str, int], list[Request]] = {}
    for request in requests:
        found.setdefault((request.writer.removesuffix("*"), request.line), []).append(request)
    return list(found.values())


def texts(
    size: int, seed: int, unseen: bool, written: list[list[Request]], share: float
) -> tuple[list[str], list[str], int]:
    """Prompts, answers, and how many intents could not be expressed; `share` of them are written requests said again."""
    r = random.Random(seed)
    prompts: list[str] = []
    answers: list[str] = []
    lost = 0
    while len(prompts) < size:
        if r.random() < share:
            try:
                prompt, answer = resaid(r.choice(r.choice(written)), r)
                prompts.append(prompt)
                answers.append(answer)
            except (PlanError, ValueError):
                lost += 1
            continue
        scene = scenes.make(r)
        for _ in range(2):
            intent, role, calls, _ = intents.sample(scene, r, unseen)
            linked = link(intent, scene.index)
            prompt = prompt_text(linked, scene.view, role)
            try:
                answers.append(brief(calls, linked, scene.view))
                prompts.append(prompt)
            except PlanError:
                lost += 1
    return prompts, answers, lost


def write(
    path: Path,
    tokenizer: PreTrainedTokenizerFast,
    size: int,
    seed: int,
    written: list[Request],
    share: float,
    unseen: bool = False,
) -> None:
    """Generate, encode and save one file of examples."""
    ids, prompts, answers, lost, cut = [], [], [], 0, 0
    drawn = sayings(written)
    for part in range(0, size, 20000):
        some, wanted, missed = texts(min(20000, size - part), seed + part, unseen, drawn, share)
        lost += missed
        end = tokenizer.eos_token_id
        fast = tokenizer._tokenizer
        for p, a in zip(fast.encode_batch(some), fast.encode_batch(wanted), strict=True):
            if len(p.ids) + len(a.ids) >= LONGEST:
                cut += 1
                continue
            ids += [*p.ids, *a.ids, end]
            prompts.append(len(p.ids))
            answers.append(len(a.ids) + 1)
    np.savez(path, ids=np.array(ids, np.int16), prompt=np.array(prompts, np.int16), answer=np.array(answers, np.int16))
    print(
        f"{path.name}: {len(prompts)} examples, {len(ids)} tokens, {lost} not expressible, {cut} too long", flush=True
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=240_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", type=Path, help="an existing one, to go on with")
    parser.add_argument("--requests", type=Path, default=FOLDER, help="the folder of written requests")
    parser.add_argument("--written", type=float, default=0.65, help="share of written requests; the rest are templates")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = extended(PreTrainedTokenizerFast.from_pretrained(options.tokenizer)) if options.tokenizer else build()
    tokenizer.save_pretrained(options.out)
    requests = corpus(options.requests)
    held = [request for request in requests if held_out(request)]
    kept = [request for request in requests if not held_out(request)]
    print(f"{len(kept)} written requests to learn from, {len(held)} held out", flush=True)
    write(options.out / "dev.npz", tokenizer, 1000, 900_000_000, held, 1.0)
    write(options.out / "templates.npz", tokenizer, 500, 900_000_000, held, 0.0, unseen=True)
    write(options.out / "train.npz", tokenizer, options.size, options.seed * 1_000_000, kept, options.written)


if __name__ == "__main__":
    main()
