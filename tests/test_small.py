"""The offline model's own forward pass says what transformers says, without it and torch, and names what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
import torch
from threadpoolctl import ThreadpoolController
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from agentlab.errors import LabError
from agentlab.models.base import OFFLINE
from agentlab.models.qwen import Qwen
from agentlab.models.small import SmallQwen2, fits, small

SLOTS = {"agentlab": {"rendering": "slots", "version": 1}}


def made(folder: Path, **shape: Any) -> Path:
    return tiny_checkpoint.checkpoint(folder, config=SLOTS, max_position_embeddings=64, **shape)


def opened(folder: Path) -> SmallQwen2:
    found = small(folder)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"num_key_value_heads": 4, "tie_word_embeddings": True},
        {"num_key_value_heads": 1, "num_hidden_layers": 3, "rope_theta": 500.0},
    ],
    ids=["grouped", "tied", "one group"],
)
def test_logits_are_those_of_transformers_however_the_tokens_come(tmp_path: Path, shape: dict[str, Any]) -> None:
    folder = made(tmp_path / "m", **shape)
    peer, own = Qwen2ForCausalLM.from_pretrained(folder).eval(), opened(folder)
    tokens = np.random.default_rng(1).integers(0, 300, 24).tolist()
    with torch.inference_mode():
        wanted = peer(torch.tensor([tokens])).logits[0].numpy()
    cache = own.cache()
    for first, last in ((0, 7), (7, 8), (8, 20), (20, 24)):
        found = own.feed(cache, tokens[first:last])
        np.testing.assert_allclose(found, wanted[last - 1], atol=2e-4)
    # A view goes its own way, and the cache that it is of doesn't see it.
    view = own.view(cache, 8)
    np.testing.assert_allclose(own.feed(view, tokens[8:20]), wanted[19], atol=2e-4)
    assert cache.kept[0][0].shape[1] == 24


def test_the_tokenizer_is_that_of_transformers() -> None:
    found = small(OFFLINE)
    assert found is not None
    own, peer = found[1], PreTrainedTokenizerFast.from_pretrained(OFFLINE)
    text = "<|im_start|>user\n rename<w0> the<c0> field<w1> to<v0> ~<c0>, größer\n<|im_end|>rename: column=<c0>"
    tokens = own.encode(text)
    assert tokens == peer(text, add_special_tokens=False)["input_ids"] == own(text)["input_ids"]
    assert own.decode(tokens) == peer.decode(tokens, clean_up_tokenization_spaces=False)
    assert (len(own), own.eos_token_id, own.get_vocab()) == (len(peer), peer.eos_token_id, peer.get_vocab())


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}},
        {"use_sliding_window": True},
        {"hidden_size": 896, "num_hidden_layers": 24},
    ],
)
def test_what_it_does_not_compute_is_left_to_transformers(config: dict[str, Any]) -> None:
    plain = {"model_type": "qwen2", "hidden_size": 192, "num_hidden_layers": 4}
    assert fits(plain)
    assert not fits({**plain, **config})


def test_a_checkpoint_that_is_asked_by_tool_calls_is_left_to_transformers(tmp_path: Path) -> None:
    folder = tiny_checkpoint.checkpoint(tmp_path / "m")
    assert small(folder) is None
    assert isinstance(Qwen(folder).model, Qwen2ForCausalLM)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"num_hidden_layers": 9}, "lacks 'model.layers.2"), ({"hidden_size": 64}, "haven't the shape")],
)
def test_weights_of_another_config_are_refused(tmp_path: Path, changes: dict[str, int], told: str) -> None:
    folder = made(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    with pytest.raises(LabError, match=told):
        Qwen(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_damaged_or_gone_is_named(tmp_path: Path, file: str) -> None:
    folder = made(tmp_path / "m")
    (folder / file).write_bytes(b"no such thing")
    with pytest.raises(LabError, match=file):
        Qwen(folder)
    (folder / file).unlink()
    with pytest.raises(LabError, match=file):
        Qwen(folder)


def test_a_lab_plans_offline_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys, pandas as pd\nfrom agentlab.lab import Lab\n"
        "with Lab(sys.argv[1]) as lab:\n"
        "    lab.load(pd.DataFrame({'qty': [1, None]}), 'orders')\n"
        "    print(lab.plan('sort by qty'))\n"
        "    print([m for m in ('torch', 'transformers', 'scipy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lab")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert told.stdout.splitlines() == ["sort(table='staging.orders', by=['qty'])", "[]"]


def test_two_models_at_once_leave_numpy_its_threads(tmp_path: Path) -> None:
    controller = ThreadpoolController()
    before = [pool["num_threads"] for pool in controller.info()]
    folder = made(tmp_path / "m")
    models = [opened(folder), opened(folder)]

    def work(model: SmallQwen2) -> None:
        for _ in range(40):
            model.feed(model.cache(), [1, 2, 3])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, models))
    assert [pool["num_threads"] for pool in controller.info()] == before


def test_half_precision_is_left_to_transformers(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    assert small(folder) is None
    assert Qwen(folder)._decoder.ends


def test_an_end_that_is_told_at_length_is_read(tmp_path: Path) -> None:
    folder = made(tmp_path / "m")
    file = folder / "tokenizer_config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(told | {"eos_token": {"content": "<|im_end|>"}}), encoding="utf-8")
    assert Qwen(folder).tokenizer.eos_token_id == Qwen(folder).tokenizer.get_vocab()["<|im_end|>"]


@pytest.mark.parametrize(
    "changes",
    [{"vocab_size": None}, {"hidden_size": "64"}, {"num_attention_heads": 0}, {"rope_parameters": [1]}],
)
def test_a_config_that_cannot_be_is_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = made(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    with pytest.raises(LabError):
        Qwen(folder)
