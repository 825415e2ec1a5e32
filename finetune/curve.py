"""The learning curve: how many phrasings does it take? One short training for each share of the labs, all else equal.

    python -m finetune.curve CHECKPOINT --steps 600 --svg data/images/learning-curve.svg

The checkpoint should know none of the requests; ours was the one before them, trained on templates. Each run takes the same number of steps over requests of a share of the labs (with
their rewordings, said again in other labs); exact answers are counted, teacher-forced, on the labs that no run saw.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from finetune import examples, pretrain
from finetune.written import Request, corpus

SHARES = (0.0, 0.03, 0.125, 0.5, 1.0)
#: Examples made for each run, more than its steps take.
SIZE = 20_000


def part_of(requests: list[Request], share: float) -> list[Request]:
    """The requests of a share of the labs; a smaller share's are among a larger one's."""
    labs = list(dict.fromkeys(request.lab.name for request in requests))
    random.Random(1).shuffle(labs)
    chosen = set(labs[: round(share * len(labs))])
    return [request for request in requests if request.lab.name in chosen]


def run(options: argparse.Namespace, requests: list[Request], held: list[Request], share: float) -> dict[str, float]:
    """Train on a share, and judge on what was held out."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        examples.write(data / "train.npz", tokenizer, SIZE, 5, part_of(requests, share), 0.8 if share else 0.0)
        examples.write(data / "dev.npz", tokenizer, 600, 900_000_000, held, 1.0)
        torch.manual_seed(0)
        model = Qwen2ForCausalLM.from_pretrained(options.checkpoint)
        given = argparse.Namespace(
            steps=options.steps,
            minutes=0,
            rate=1.2e-3,
            muon=0.01,
            batch=3000,
            seed=0,
            falls_over=0.7,
            word_dropout=0.04,
        )
        for _ in pretrain.steps(model, pretrain.Examples(data / "train.npz"), pretrain.plain_words(tokenizer), given):
            pass
        return pretrain.judge(model, pretrain.Examples(data / "dev.npz"))


def svg(rows: list[tuple[int, float]], path: Path) -> None:
    """The curve as a picture: phrasings on a square-root scale, exact answers in percent."""
    width, height, left, top = 640, 320, 60, 20
    most = max(count for count, _ in rows) or 1
    high = max(share for _, share in rows) * 1.15 or 1.0
    points = [
        (left + (width - left - 30) * (count / most) ** 0.5, top + (height - top - 50) * (1 - share / high))
        for count, share in rows
    ]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    marks = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#1f6feb"/>'
        f'<text x="{x:.0f}" y="{y - 10:.0f}" text-anchor="middle">{share:.0%}</text>'
        f'<text x="{x:.0f}" y="{height - 28}" text-anchor="middle">{count:,}</text>'
        for (x, y), (count, share) in zip(points, rows, strict=True)
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{width}" height="{height}" fill="white"/><polyline points="{line}" fill="none" stroke="#1f6feb"/>'
        f'{marks}<text x="{width / 2}" y="{height - 8}" text-anchor="middle">phrasings learnt from</text>'
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" text-anchor="middle">'
        "exact answers on labs never seen</text></svg>\n",
        encoding="utf-8",
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = corpus()
    held = [request for request in known if examples.held_out(request)]
    kept = [request for request in known if not examples.held_out(request)]
    rows = []
    for share in SHARES:
        judged = run(options, kept, held, share)
        rows.append((len(part_of(kept, share)), judged["exact"]))
        print(f"{rows[-1][0]:6} phrasings: {judged['exact']:.1%} exact, loss {judged['loss']}", flush=True)
    if options.svg:
        svg(rows, options.svg)


if __name__ == "__main__":
    main()
