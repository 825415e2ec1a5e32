"""How long a plan takes, against transformers' own `generate` on the same model and prompts, in the same run.

    python tests/benchmarks/planning.py [--model M] [--rounds 5]

Rows: ours (grammar, forced tokens fed as one chunk, prefixes kept), ours on prompts never seen (no prefix kept), and
`generate`, greedy, without a grammar: it may answer what isn't a plan; the share of whole plans is printed.
Milliseconds of one thread, median and 95th percentile; the ratio is the peer's median over ours, and below 1 we lose.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from agentlab.errors import PlanError
from agentlab.models import OFFLINE
from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.prompts import Ask
from agentlab.view import View

VIEW = View(
    tables={
        "staging.orders": {
            "order_id": "int", "order_date": "timestamp", "customer_id": "text", "email": "text", "country": "text",
            "quantity": "int", "unit_price": "float", "discount": "float", "status": "text",
        }
    },
    sources={"sales_api": ("orders", "customers")},
    queries=("daily revenue",),
)  # fmt: skip
INTENTS = (
    "rename country to market",
    "drop the email column",
    "keep rows where quantity is over 5 and status is not cancelled",
    "sort by order date, newest first",
    "remove duplicate rows",
    "fill missing discount with 0",
    "total quantity per country",
    "pull the latest 500 orders from the sales api",
    "check the orders table for quality problems",
    "add net_price as unit price times quantity and rename status to state",
)


def timed(act: Callable[[str], bool], rounds: int) -> tuple[list[float], float]:
    """Milliseconds of each call, and the share that gave a plan."""
    times, whole = [], 0
    for _ in range(rounds):
        for intent in INTENTS:
            began = time.perf_counter()
            whole += act(intent)
            times.append((time.perf_counter() - began) * 1000)
    return times, whole / (rounds * len(INTENTS))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(OFFLINE))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = Qwen(options.model)
    whole, words = (
        Qwen2ForCausalLM.from_pretrained(options.model),
        PreTrainedTokenizerFast.from_pretrained(options.model),
    )

    def ours(intent: str) -> bool:
        try:
            return bool(model.plan(Ask(intent, None, VIEW)).actions)
        except PlanError:
            return False

    def fresh(intent: str) -> bool:
        model._decoder.prefixes.clear()
        return ours(intent)

    def peer(intent: str) -> bool:
        prompt = model.rendering.prompt(Ask(intent, None, VIEW), model.tokenizer)
        ids = words(prompt.text, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            told = whole.generate(**ids, max_new_tokens=96, do_sample=False)
        text = words.decode(told[0, ids["input_ids"].shape[1] :])
        try:
            return bool(Plan.from_calls(prompt.read(text.split("<|im_end|>")[0])).actions)
        except PlanError:
            return False

    for act in (ours, fresh, peer):
        timed(act, 1)
    rows = {"ours": timed(ours, options.rounds), "ours, new prompts": timed(fresh, options.rounds)}
    rows["transformers generate"] = timed(peer, options.rounds)
    base = statistics.median(rows["transformers generate"][0])
    print(f"{'':24}{'p50 ms':>9}{'p95 ms':>9}{'plans':>8}{'ratio':>8}")
    for name, (times, share) in rows.items():
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"{name:24}{p50:9.1f}{p95:9.1f}{share:8.0%}{base / p50:8.2f}{'  loses' if base / p50 < 1 else ''}")


if __name__ == "__main__":
    main()
