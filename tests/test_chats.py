"""What is trained on is what is served: the bytes of a chat, its prompt, its grammar, and labels on the answer alone.

When the golden chat should change: PYTHONPATH=.:tests python tests/test_chats.py writes it anew.
"""

from __future__ import annotations

import json
import random
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import llguidance.hf
import pytest
import tiny_checkpoint
from datasets import load_dataset
from llguidance import LLMatcher

from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.prompts import Ask, Tools, read_calls
from agentlab.view import View
from finetune import chats
from finetune.written import Request, load

GOLDEN = Path(__file__).parent / "golden" / "chat.txt"
TOKENIZER = tiny_checkpoint.tokenizer()
SHOP = View(
    tables={"staging.orders": {"order_id": "int", "ordered on": "date", "status": "text"}},
    sources={"sales_api": ("orders", "customers")},
    files=("june/größen.csv",),
    values={"staging.orders": {"status": ("paid", "on hold")}},
)
PULL = {
    "name": "pull",
    "arguments": {"into": "staging.orders", "source": "sales_api", "resource": "orders", "limit": 50},
}
FILE = {"name": "load_file", "arguments": {"into": "staging.sizes", "path": "june/größen.csv"}}
CLARIFY = {"name": "clarify", "arguments": {"about": "source", "question": "From which source?"}}
SAID = {
    "get 50 orders": [PULL],
    "get 50 orders, and größen.csv as sizes": [PULL, FILE],
    "fetch the thing": [CLARIFY],
}
WRITTEN = """
== shop
table staging.orders: order_id int; net float; state text [open, void]; "ordered on" date
table staging.customers: customer_id int; name text
source shopfeed: orders, customers
store mart
query daily takings
file in/may.csv
snapshot before of staging.orders

- drop whatever is {void} and tell me total {net} by {state}
  filter(table="staging.orders", where="NOT (state = 'void')")
  aggregate(table="staging.orders", by=["state"], measures=[{"function": "sum", "column": "net"}])
- put a {gross} next to it, {net} plus {19} percent
  derive(table="staging.orders", column="gross", expr="net * (1 + 19 / 100)")
- only orders since {2024-03-01|March 1, 2024} with {net} above {-5|minus five}
  filter(table="staging.orders", where="\\"ordered on\\" >= DATE '2024-03-01' AND net > -5")
- fetch the newest {200} {orders} out of {shopfeed}, then write {staging.orders|them} to {mart}
  pull(source="shopfeed", resource="orders", limit=200, order="newest")
  publish(table="staging.orders", store="mart", mode="append")
- can you fix the amount thing?
  clarify(about="how")
- mail the customers a coupon
  refuse(because="scope")
"""


def rendered(row: dict[str, Any], **more: Any) -> str:
    return str(TOKENIZER.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False, **more))


def golden() -> str:
    """The first chat whole; of the others, whose system's turn is the same, what comes after it."""
    told = [
        rendered(chats.row(Ask(intent, "ingestion", SHOP), Plan.from_calls(calls))) for intent, calls in SAID.items()
    ]
    assert len({chat.split("<|im_start|>user")[0] for chat in told}) == 1
    return told[0] + "".join("<|im_start|>user" + chat.split("<|im_start|>user")[1] for chat in told[1:])


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[Request]:
    path = tmp_path_factory.mktemp("written") / "tess.txt"
    path.write_text(WRITTEN, encoding="utf-8")
    return load(path)


@pytest.fixture(scope="module")
def asked(requests: list[Request]) -> list[tuple[Ask, Plan]]:
    """Each request as written, then 20 sayings of each."""
    r, made = random.Random(5), []
    for request in requests:
        made.append(chats.as_written(request, r))
        for _ in range(20):
            try:
                made.append(chats.said_again(request, r))
            except chats.Unfit:
                continue
    return made


def test_a_chat_is_to_the_byte_what_it_was():
    assert golden().encode() == GOLDEN.read_bytes()


def test_a_chat_begins_with_the_prompt_of_serving_byte_for_byte(asked):
    for ask, plan in asked:
        row = chats.row(ask, plan)
        prompt = Tools().prompt(ask, TOKENIZER).text
        assert rendered({**row, "messages": row["messages"][:2]}, add_generation_prompt=True) == prompt
        assert rendered(row).encode().startswith(prompt.encode())


def test_every_answer_is_one_that_serving_could_decode_and_reads_as_the_plan(asked):
    vocabulary = llguidance.hf.from_tokenizer(TOKENIZER, n_vocab=len(TOKENIZER), eos_token=[TOKENIZER.eos_token_id])
    for ask, plan in asked[::3]:
        prompt = Tools().prompt(ask, TOKENIZER)
        answer = rendered(chats.row(ask, plan)).removeprefix(prompt.text).removesuffix("\n")
        tokens = TOKENIZER(answer, add_special_tokens=False)["input_ids"]
        decoding = LLMatcher(vocabulary, prompt.grammar, log_level=0)
        assert decoding.validate_tokens(tokens) == len(tokens), (ask.role, answer)
        assert Plan.from_calls(read_calls(answer)) == plan


def test_arguments_stand_in_their_class_order_whatever_the_writers_was():
    (call,) = chats.row(Ask("x", None, SHOP), Plan.from_calls([PULL]))["messages"][2]["tool_calls"]
    assert list(call["function"]["arguments"]) == ["source", "resource", "into", "limit"]


def test_requests_are_said_in_other_labs_to_all_and_to_one_agent(asked):
    assert {ask.role for ask, _ in asked} > {None, "transformation"}
    assert len({tuple(ask.view.tables) for ask, _ in asked}) > 10
    assert {plan.status for _, plan in asked} == {"act", "clarify", "refuse"}


def test_what_is_not_said_of_a_row_keeps_it(requests):
    _, plan = chats.as_written(requests[0], random.Random(0))
    assert plan.to_calls()[0]["arguments"]["where"] == "(state = 'void') IS NOT TRUE"


def test_sql_takes_over_names_numbers_and_dates():
    sql = """"ordered on" >= DATE '2024-03-01' AND net > -5 AND code = '7'"""
    names, literals = {"ordered on": "order", "net": "NetAmt"}, {"2024-03-01": "2025-01-02", "-5": "8", "7": "9"}
    assert chats.respelt(sql, names, literals) == (
        """"order" >= CAST('2025-01-02' AS DATE) AND NetAmt > 8 AND code = '9'"""
    )
    assert chats.respelt(sql, {}, {}) == sql


def test_the_files_are_read_by_datasets_as_they_were_written(requests, tmp_path):
    path = tmp_path / "train.jsonl"
    chats.write(path, chats.rows(requests, 12, seed=1, again=True))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    read = load_dataset("json", data_files=str(path), features=chats.FEATURES, split="train", cache_dir=str(tmp_path))
    assert len(rows) == 12 and [json.dumps(row) for row in read] == [json.dumps(row) for row in rows]


def test_as_written_there_is_a_row_a_request_at_most(requests):
    assert len(list(chats.rows(requests, 99, seed=1, again=False))) == len(requests)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects fails."""

    def connect(*_: Any) -> None:
        raise AssertionError("training from a folder went to the network")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def data(requests: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    ingestion = [(Ask(said, "ingestion", SHOP), Plan.from_calls(calls)) for said, calls in SAID.items()]
    for name in ("train", "validation"):
        chats.write(tmp_path / f"{name}.jsonl", iter([chats.row(*one) for one in ingestion]))
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", [["--rate", "0.01"], ["--full", "--rate", "0.01"]], ids=["adapter", "full"])
def test_three_steps_of_training_end_in_a_checkpoint_that_plans(how, data, tmp_path, offline, capsys):
    from finetune import sft

    base = tiny_checkpoint.checkpoint(tmp_path / "base", seed=3)
    given = [str(data), str(tmp_path / "out"), "--base", str(base), "--batch", "2", "--every", "2", *how]
    sft.train(sft.options([*given, "--steps", "2"]))
    sft.train(sft.options([*given, "--steps", "3"]))  # goes on from the second step
    assert "3 samples, 0 refused" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3"}
    assert not list((tmp_path / "out" / "model").glob("*.bin"))
    model, before = Qwen(tmp_path / "out" / "model"), Qwen(base)
    assert model.tokenizer.eos_token == "<|im_end|>" and model.tokenizer.pad_token != model.tokenizer.eos_token
    assert model.model.generation_config.eos_token_id == [model.tokenizer.eos_token_id]
    old = before.model.state_dict()
    changed = {name for name, weight in model.model.state_dict().items() if not weight.equal(old[name])}
    assert changed and ("--full" in how or not any("embed" in name or "norm" in name for name in changed))
    prompt = model.rendering.prompt(Ask("get 50 orders", "ingestion", SHOP), model.tokenizer)
    brief = replace(prompt, grammar="start: <tool_call> /[a-z]{3}/")  # weights of three steps know no end
    assert model.tokenizer.decode(model.answer(brief).tokens).startswith("<tool_call>")


@pytest.mark.filterwarnings("ignore")
def test_labels_are_on_the_answer_and_its_end_only(data):
    from finetune import sft

    tokenizer = sft.tokenizer_of(str(tiny_checkpoint.checkpoint(data / "base")))
    held = sft.samples(data / "train.jsonl", tokenizer, 99_999)
    sft.prove(held, tokenizer)
    learnt = [tokenizer.decode([label for label in one["labels"] if label != -100]) for one in held]
    assert (
        learnt[0]
        == "<tool_call>\n"
        + json.dumps(
            {
                "name": "pull",
                "arguments": {"source": "sales_api", "resource": "orders", "into": "staging.orders", "limit": 50},
            }
        )
        + "\n</tool_call><|im_end|>"
    )
    cut = held.map(lambda one: {name: one[name][:-1] for name in ("input_ids", "labels")})
    shifted = held.map(lambda one: {"labels": [-100, *one["labels"][:-1]]})
    for wrong in (cut, shifted):
        with pytest.raises(sft.Unfit, match="sample 0: labels on"):
            sft.prove(wrong, tokenizer)


@pytest.mark.filterwarnings("ignore")
def test_what_is_too_long_is_refused_and_counted(data, capsys):
    from finetune import sft

    tokenizer = sft.tokenizer_of(str(tiny_checkpoint.checkpoint(data / "base")))
    lengths = sorted(len(one["input_ids"]) for one in sft.samples(data / "train.jsonl", tokenizer, 99_999))
    assert len(sft.samples(data / "train.jsonl", tokenizer, lengths[1])) == 2
    assert f"2 samples, 1 refused, longer than {lengths[1]} tokens" in capsys.readouterr().out
    with pytest.raises(sft.Unfit, match="--longest"):
        sft.samples(data / "train.jsonl", tokenizer, 10)


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(golden().encode())
