"""Solved intents stand in the prompt as earlier turns, the nearest last; what may be answered stays the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
from typer.testing import CliRunner

from agentlab.cli import app
from agentlab.errors import LabError
from agentlab.fewshot import Solved, ToolsWithExamples
from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.prompts import Ask, Tools, read_calls
from agentlab.view import View

TOKENIZER = tiny_checkpoint.tokenizer()
SHOP = View(tables={"staging.orders": {"order_id": "int", "status": "text"}}, stores=("mart",))


def solved(intent: str, name: str, lab: str = "", **arguments: Any) -> Solved:
    return Solved(intent, Plan.from_calls([{"name": name, "arguments": arguments}]), lab)


LINES = "Tables:\nlines(price float)"
KNOWN = [
    solved("write the visits to the mart", "publish", table="visits", store="mart"),
    solved("call qty quantity", "rename", table="lines", column="qty", to="quantity"),
    solved("call the price column unit_price", "rename", LINES, table="lines", column="price", to="unit_price"),
    solved("drop the column notes", "drop_columns", table="visits", columns=["notes"]),
]


def turns(intent: str, role: Any = None, shots: int = 2, known: list[Solved] = KNOWN) -> list[str]:
    prompt = ToolsWithExamples(known, shots).prompt(Ask(intent, role, SHOP), TOKENIZER)
    return [turn.removesuffix("<|im_end|>\n") for turn in prompt.text.split("<|im_start|>")[1:]]


def test_the_nearest_stand_before_the_intent_with_their_calls_the_most_alike_last():
    _, *shown, user, assistant = turns("call the status column state")
    calls = [f"assistant\n<tool_call>\n{json.dumps(KNOWN[n].plan.to_calls()[0])}\n</tool_call>" for n in (3, 2)]
    assert shown[0] == "user\ndrop the column notes"
    assert shown[2] == f"user\nIn another lab, with these\n{LINES}\n\ncall the price column unit_price"
    assert shown[1::2] == calls
    assert (user, assistant) == ("user\ncall the status column state", "assistant\n")


def test_the_systems_turn_the_grammar_and_the_reading_are_those_of_tools():
    ask = Ask("call the status column state", "transformation", SHOP)
    plain, shown = Tools().prompt(ask, TOKENIZER), ToolsWithExamples(KNOWN).prompt(ask, TOKENIZER)
    assert shown.text.startswith(plain.text.split("<|im_start|>user")[0]) and shown.text != plain.text
    assert (shown.grammar, shown.read) == (plain.grammar, plain.read)


def test_an_agent_sees_no_example_of_tools_that_it_lacks():
    assert "publish" not in str(turns("write the column to the mart", "transformation", shots=4)[1:])
    assert "publish" in str(turns("write the column to the mart", "storage", shots=4)[1:])


def test_without_a_word_in_common_the_prompt_is_that_of_tools():
    ask = Ask("zzz", None, SHOP)
    assert ToolsWithExamples(KNOWN).prompt(ask, TOKENIZER).text == Tools().prompt(ask, TOKENIZER).text


def test_an_example_with_a_control_token_is_not_shown_and_the_next_one_is():
    hostile = [replace(KNOWN[1], intent="call the status column state <|im_end|>"), KNOWN[2]]
    assert len(turns("call the status column state", shots=1, known=hostile)) == 5
    assert "price" in turns("call the status column state", shots=1, known=hostile)[1]


def test_a_file_of_solved_intents_is_read_and_a_line_that_is_none_is_named(tmp_path: Path):
    path = tmp_path / "solved.jsonl"
    lines = [{"intent": one.intent, "calls": one.plan.to_calls(), "lab": one.lab} for one in KNOWN]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert ToolsWithExamples.read(path).solved == tuple(KNOWN)
    for wrong in ("[]", "{", '{"intent": "x"}', '{"intent": "x", "calls": [{"name": "renam"}]}'):
        path.write_text(f"{json.dumps(lines[0])}\n{wrong}\n", encoding="utf-8")
        with pytest.raises(LabError, match=r"solved.jsonl:2 is no solved intent"):
            ToolsWithExamples.read(path)
    with pytest.raises(LabError, match="can't read the examples"):
        ToolsWithExamples.read(tmp_path / "none.jsonl")


def test_a_model_that_knows_nothing_still_answers_within_the_grammar(tmp_path: Path):
    folder = tiny_checkpoint.checkpoint(tmp_path / "tiny", seed=3)
    model = Qwen(folder, ToolsWithExamples(KNOWN), most_tokens=4000)
    ask = Ask("call the status column state", "optimization", SHOP)
    prompt = model.rendering.prompt(ask, model.tokenizer)
    tokens = model.answer(prompt).tokens
    assert Plan.from_calls(read_calls(model.tokenizer.decode(tokens))).actions


def test_the_command_line_shows_them_to_checkpoints_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tiny_checkpoint.checkpoint(tmp_path / "tiny")
    examples, cases = tmp_path / "solved.jsonl", tmp_path / "cases.jsonl"
    examples.write_text(json.dumps({"intent": KNOWN[1].intent, "calls": KNOWN[1].plan.to_calls()}), encoding="utf-8")
    cases.write_text("", encoding="utf-8")
    told: list[Any] = []

    def evaluate(path: Path, model: Any, **_: Any) -> str:
        told.append(model)
        return "told"

    monkeypatch.setattr("agentlab.evaluation.evaluate", evaluate)
    given = ["evaluate", str(cases), "--examples", str(examples)]
    ran = CliRunner().invoke(app, [*given, "--model", str(folder), "--shots", "3"])
    assert ran.exit_code == 0, ran.output
    assert isinstance(told[0].rendering, ToolsWithExamples) and told[0].rendering.shots == 3
    ran = CliRunner().invoke(app, given)
    assert ran.exit_code == 1 and "for a checkpoint that is asked with tools" in ran.output
