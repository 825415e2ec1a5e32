"""The training recipe runs from phrasings to a checkpoint that plans; every hand-written phrasing fits its key."""

import random
from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from agentlab.actions import ACTIONS
from agentlab.errors import PlanError
from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.prompts import Ask
from agentlab.view import View
from finetune import examples, intents, pretrain, scenes, speaking, tokenizer

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
    examples.write(data / "train.npz", made, 120, seed=1)
    examples.write(data / "dev.npz", made, 40, seed=2, unseen=True)
    pretrain.train(
        Namespace(data=data, out=out, minutes=5, steps=3, init=None, width=32, layers=1, rate=1e-3, muon=0.01,
                  batch=1500, threads=1, seed=0)
    )  # fmt: skip
    model = Qwen(out / "model")
    assert model.rendering.name == "slots"
    view = View(tables={"staging.orders": {"id": "int", "status": "text"}})
    try:
        plan = model.plan(Ask("rename status to state", "transformation", view))
    except PlanError:
        return  # Three steps teach little: an answer that contradicts itself is a fault that is said.
    assert isinstance(plan, Plan)
    assert set(plan.agents) <= {"transformation"}
