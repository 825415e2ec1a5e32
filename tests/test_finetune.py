"""The training recipe runs from phrasings to a checkpoint that plans; every hand-written phrasing fits its key."""

import random
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Qwen2ForCausalLM

from agentlab.actions import ACTIONS
from agentlab.errors import PlanError
from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.prompts import Ask
from agentlab.view import View
from finetune import examples, intents, pretrain, scenes, speaking, tokenizer
from finetune.written import corpus

AUTHORS = sorted((Path(intents.__file__).parent / "phrasings").glob("*.yaml"))
PARTS = ("cond.", "with.", "expr.", "connect", "wrap")


@pytest.mark.parametrize("path", AUTHORS, ids=lambda p: p.stem)
def test_an_author_says_known_keys_only(path: Path) -> None:
    said = yaml.safe_load(path.read_text())
    assert {k for k in said if not k.startswith(PARTS)} <= set(intents.KEYS)
    assert all(isinstance(t, str) and t for templates in said.values() for t in templates)


def test_every_key_is_said_by_four_authors_at_least() -> None:
    authors: dict[str, set[str]] = {
        key: {author for author, _ in said} for key, said in speaking.phrasings().items() if key in intents.KEYS
    }
    assert authors.keys() == intents.KEYS.keys()
    assert {key: len(names) for key, names in authors.items() if len(names) < 4} == {}


def test_every_action_has_a_key() -> None:
    r, asked = random.Random(3), set()
    for _ in range(4000):
        asked |= {call["name"] for call in intents.sample(scenes.make(r), r)[2]}
    assert asked == set(ACTIONS)


def test_every_phrasing_of_every_key_can_be_filled() -> None:
    r = random.Random(1)
    wanting = set(intents.KEYS)
    for _ in range(400):
        speaker_scene = scenes.make(r)
        for key in sorted(wanting):
            try:
                text, calls = intents.single(intents.Speaker(speaker_scene, r), key)
            except intents.Unfit:
                continue
            assert "{" not in text
            assert all(call["name"] in ACTIONS for call in calls)
            wanting.discard(key)
    assert not wanting


def test_held_out_phrasings_are_not_trained_on() -> None:
    r = random.Random(2)
    speaker = intents.Speaker(scenes.make(r), r)
    said = {speaker.template("rename") for _ in range(3000)}
    held = {t for _, t in speaking.phrasings()["rename"] if speaking.held_out(t)}
    assert held
    assert not held & said


def test_the_recipe_ends_in_a_checkpoint_that_plans(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    made = tokenizer.build(1400, scenes_=60)
    made.save_pretrained(data)
    requests = corpus()
    examples.write(data / "train.npz", made, 120, 1, requests, 0.5)
    examples.write(data / "dev.npz", made, 40, 2, [q for q in requests if examples.held_out(q)], 1.0)
    examples.write(data / "templates.npz", made, 20, 2, requests, 0.0, unseen=True)
    options = Namespace(data=data, out=out, minutes=5, steps=3, init=None, width=32, layers=1, rate=1e-3, muon=0.01,
                        batch=1500, threads=1, seed=0, falls_over=0.5, word_dropout=0.1)  # fmt: skip
    pretrain.train(options)
    model = Qwen(out / "model")
    assert model.rendering.name == "slots"
    view = View(tables={"staging.orders": {"id": "int", "status": "text"}})
    try:
        plan = model.plan(Ask("rename status to state", "transformation", view))
    except PlanError:
        return  # Three steps teach little: an answer that contradicts itself is a fault that is said.
    assert isinstance(plan, Plan)
    assert set(plan.agents) <= {"transformation"}


def test_a_model_keeps_what_it_knew_in_another_tokenizer() -> None:
    old, new = tokenizer.build(1400, scenes_=20), tokenizer.build(1500, scenes_=40)
    model = Qwen2ForCausalLM(pretrain.shape(old, 32, 1))
    before = model.get_input_embeddings().weight.detach().clone()
    tokenizer.carried(model, old, new)
    after = model.get_input_embeddings().weight
    known, now = old.get_vocab(), new.get_vocab()
    assert len(after) == len(new)
    assert all(torch.equal(after[now[mark]], before[known[mark]]) for mark in ("<c0>", "rename:", "<|im_end|>"))
    fresh = next(token for token in now if token not in known and old.encode(new.decode([now[token]])))
    pieces = old.encode(new.decode([now[fresh]]), add_special_tokens=False)
    assert torch.allclose(after[now[fresh]], before[pieces].mean(0))


def test_words_are_dropped_from_prompts_only() -> None:
    made = tokenizer.build(1400, scenes_=20)
    ids = torch.tensor([made.encode("rename the price<c0> now\n: price price", add_special_tokens=False)])
    labels = torch.full_like(ids, -100)
    labels[0, -3:] = ids[0, -3:]
    torch.manual_seed(0)
    plain = pretrain.plain_words(made)
    dropped, same = pretrain.without_words((ids, labels), plain, 1.0)
    assert same is labels
    assert not plain[dropped[0, :-3]].any() and torch.equal(dropped[0, -3:], ids[0, -3:])
    assert made.get_vocab()["<c0>"] in dropped[0].tolist()
