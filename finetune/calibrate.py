"""How likely must one more action be before it is planned? Tried on held-out templates, decoded as in serving.

    python -m finetune.calibrate CHECKPOINT [--size 400] [--write]

Prints, for each threshold, the share of exact plans: all, of one action, of several. `--write` puts the best into the
checkpoint's config as `goes_on_from`.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch

from agentlab.errors import AgentlabError, PlanError
from agentlab.linking import link
from agentlab.models.qwen import Qwen
from agentlab.prompts import Ask
from agentlab.slots import Slots, encode, prompt_text
from finetune import intents, scenes

THRESHOLDS = (0.0, 0.6, 0.7, 0.8, 0.9)
Case = tuple[Ask, str]


def cases(size: int, seed: int = 4242) -> list[Case]:
    """Unseen wordings and the answers they should get."""
    r = random.Random(seed)
    found: list[Case] = []
    while len(found) < size:
        scene = scenes.make(r)
        intent, role, calls, _ = intents.sample(scene, r, unseen=True)
        linked = link(intent, scene.index)
        prompt_text(linked, scene.view, role)
        try:
            found.append((Ask(intent, role, scene.view), encode(calls, linked)))
        except PlanError:
            continue
    return found


def exact(model: Qwen, known: list[Case]) -> tuple[float, float, float]:
    """Shares of answers that are exactly right: all, those of one action, those of several."""
    hits: dict[bool, list[bool]] = {False: [], True: []}
    for ask, wanted in known:
        try:
            answer = model.answer(Slots().prompt(ask, model.tokenizer))
            told = model.tokenizer.decode(answer.tokens, clean_up_tokenization_spaces=False)
        except AgentlabError:
            told = ""
        hits["\n" in wanted].append(told == wanted)
    share = lambda rows: sum(rows) / max(1, len(rows))  # noqa: E731
    return share(hits[False] + hits[True]), share(hits[False]), share(hits[True])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, known = Qwen(options.checkpoint), cases(options.size)
    found = {}
    for threshold in THRESHOLDS:
        model._decoder.sure = threshold
        found[threshold] = exact(model, known)
        every, one, several = found[threshold]
        print(
            f"one more action from {threshold:.1f}: {every:.1%} exact, {one:.1%} of one action, {several:.1%} of several",
            flush=True,
        )
    if options.write:
        best = max(found, key=lambda t: (found[t][0], t))
        path = options.checkpoint / "config.json"
        config = json.loads(path.read_text())
        config["agentlab"]["goes_on_from"] = best
        path.write_text(json.dumps(config, indent=2) + "\n")
        print(f"{path}: goes_on_from = {best}")


if __name__ == "__main__":
    main()
