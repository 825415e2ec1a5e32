from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
import torch
from hub_server import hub
from llguidance import LLMatcher
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

from agentlab.actions import ROLES
from agentlab.errors import LabError, PlanError
from agentlab.models import Model, Remote, Scripted, base, load
from agentlab.models.decoding import Answer
from agentlab.models.qwen import Qwen
from agentlab.plan import Plan
from agentlab.prompts import Ask, Prompt, Tools, read_calls
from agentlab.slots import Slots
from agentlab.view import View

SHOP = View(
    tables={"staging.orders": {"order_id": "int", "amount": "float"}, "stock": {"sku": "text", "order_id": "int"}},
    sources={"sales_api": ("orders",)},
    queries=("daily revenue",),
)
WORD = 'start: <tool_call> "\\n" /[a-z]{6}/ "\\n" </tool_call>'
LIMIT = {"name": "limit", "arguments": {"table": "stock", "n": 5}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_checkpoint.checkpoint(tmp_path_factory.mktemp("models") / "tiny-qwen", seed=3)


@pytest.fixture
def qwen(folder) -> Qwen:
    return Qwen(folder, most_tokens=4000)


def ask(intent: str = "keep the first five rows", role: Any = "optimization", view: View = SHOP) -> Ask:
    return Ask(intent, role, view)


def prompt_of(model: Qwen, question: Ask) -> Prompt:
    return model.rendering.prompt(question, model.tokenizer)


def brief(model: Qwen, question: Ask) -> Answer:
    """The answer to the same prompt under a grammar of a word, where what is tested comes before it."""
    return model.answer(replace(prompt_of(model, question), grammar=WORD))


def plainly(model: Qwen, prompt: Prompt, most: int) -> list[int]:
    """The slow way to the same answer: no cache, no chunks, the whole text through the model for every token."""
    tokens = model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    decoding, answer = LLMatcher(model._decoder._vocabulary, prompt.grammar), list[int]()
    while not decoding.is_stopped() and len(answer) < most:
        token = next(iter(decoding.compute_ff_tokens()), None)
        if token is None:
            with torch.inference_mode():
                logits = model.model(input_ids=torch.tensor([tokens + answer])).logits[0, -1]
            bits = np.unpackbits(np.frombuffer(decoding.compute_bitmask(), np.uint8), bitorder="little")[: len(logits)]
            token = int(logits.masked_fill(torch.from_numpy(bits == 0), -torch.inf).argmax())
        if token in model._decoder.ends:
            break
        assert decoding.consume_token(token)
        answer.append(token)
    return answer


# The local model


def test_a_model_that_knows_nothing_still_plans_something_valid(qwen):
    plan = qwen.plan(ask())
    live = set(SHOP.tables)
    assert plan.actions and all(name in live for name in plan.actions[0].references("table"))
    assert 0 < plan.confidence < 1


def test_a_plan_says_where_it_came_from(qwen):
    origin = qwen.plan(ask("what is slow?")).origin
    assert (origin.intent, origin.model, origin.cached_tokens) == ("what is slow?", "tiny-qwen", 0)
    assert origin.prompt_tokens > origin.completion_tokens > 0 and origin.milliseconds > 0
    assert len(origin.prompt_hash) == 16 and origin.prompt_hash == qwen.plan(ask("what is slow?")).origin.prompt_hash
    assert origin.prompt_hash != qwen.plan(ask("what is quick?")).origin.prompt_hash


@pytest.mark.parametrize("role", ["storage", "optimization"])
def test_forced_chunks_and_the_cache_change_no_token(qwen, role):
    prompt = prompt_of(qwen, ask(role=role))
    slow = plainly(qwen, prompt, most=60)
    first, second = qwen.answer(prompt), qwen.answer(prompt)
    assert first.tokens[: len(slow)] == slow
    assert second.tokens == first.tokens and second.confidence == pytest.approx(first.confidence)
    assert first.cached_tokens == 0 and second.cached_tokens == second.prompt_tokens - 1


def test_another_intent_over_the_same_catalog_reuses_the_long_beginning(qwen, folder):
    brief(qwen, ask("keep the first five rows"))
    warm, cold = brief(qwen, ask("diagnose the stock")), brief(Qwen(folder), ask("diagnose the stock"))
    assert warm.tokens == cold.tokens and warm.confidence == pytest.approx(cold.confidence)
    assert cold.cached_tokens == 0 and warm.cached_tokens > 0.9 * warm.prompt_tokens


def test_every_agents_prompt_keeps_its_place_in_the_cache(qwen):
    for role in ROLES:
        brief(qwen, ask("first", role))
        brief(qwen, ask("second", role))
    cached = [brief(qwen, ask("third", role)) for role in ROLES]
    assert all(answer.cached_tokens > 0.8 * answer.prompt_tokens for answer in cached)
    assert len(qwen._decoder.prefixes._kept) == len(ROLES)


def test_prompts_in_any_order_are_answered_as_by_a_fresh_model(qwen, folder):
    asks = [ask(intent, role) for intent in ("a", "a longer one") for role in ("quality", "storage")]
    fresh = [brief(Qwen(folder), question) for question in asks]
    for number in random.Random(1).choices(range(len(asks)), k=12):
        answer = brief(qwen, asks[number])
        assert answer.tokens == fresh[number].tokens
        assert answer.confidence == pytest.approx(fresh[number].confidence, rel=1e-4)
    assert len({round(answer.confidence, 4) for answer in fresh}) == len(asks)


def test_threads_wait_for_each_other_and_get_their_own_answers(qwen):
    intents = [f"intent {n}" for n in range(4)]
    alone = {intent: brief(qwen, ask(intent)).tokens for intent in intents}
    with ThreadPoolExecutor(4) as pool:
        together = dict(zip(intents, pool.map(lambda i: brief(qwen, ask(i)).tokens, intents), strict=True))
    assert together == alone


def test_confidence_is_that_of_the_models_own_choices_only(qwen):
    def prompt(inner: str) -> Prompt:
        return Prompt("x", f'start: <tool_call> "\\n" {inner} "\\n" </tool_call>', read_calls)

    assert qwen.answer(prompt('"abc"')).confidence == 1.0
    assert 0 < qwen.answer(prompt("/[a-z]/")).confidence < 0.5


def test_an_answer_that_is_too_long_is_a_fault_that_a_model_may_mend(folder):
    with pytest.raises(PlanError, match="cut off at 5 tokens"):
        Qwen(folder, most_tokens=5).plan(ask())


def test_a_prompt_that_is_too_long_is_for_a_person(tmp_path):
    short = Qwen(tiny_checkpoint.checkpoint(tmp_path, max_position_embeddings=64))
    with pytest.raises(LabError, match=r"the prompt has \d+ tokens, .* takes 64"):
        short.plan(ask())


def test_hostile_names_go_through_a_whole_decode(qwen):
    for name in ("<|im_end|>", "</tool_call>", 'a"b', "e\u0301", "new\nline", "\u202e"):
        plan = qwen.plan(ask(view=View(tables={"t": {name: "int"}}, queries=(name,))))
        assert set(plan.actions[0].references("query", "column")) <= {name}


def test_the_config_says_how_a_checkpoint_wants_to_be_asked(tmp_path, folder):
    slots = tiny_checkpoint.checkpoint(tmp_path / "s", config={"agentlab": {"rendering": "slots"}})
    assert isinstance(Qwen(slots).rendering, Slots) and isinstance(Qwen(folder).rendering, Tools)
    odd = tiny_checkpoint.checkpoint(tmp_path / "o", config={"agentlab": {"rendering": "slot"}})
    with pytest.raises(LabError, match="no rendering 'slot'; did you mean 'slots'"):
        Qwen(odd)


def test_a_checkpoint_keeps_its_own_tokenizer(tmp_path):
    """AutoTokenizer would put Qwen's pre-tokenizer in its place, and a model from scratch would see other tokens."""
    copy = tiny_checkpoint.checkpoint(tmp_path)
    own = tiny_checkpoint.tokenizer()
    digits = pre_tokenizers.Digits(individual_digits=False)
    own.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, own.backend_tokenizer.pre_tokenizer])
    own.save_pretrained(copy)
    kept, swapped = Qwen(copy).tokenizer, AutoTokenizer.from_pretrained(copy)
    assert str(kept.backend_tokenizer.pre_tokenizer) == str(own.backend_tokenizer.pre_tokenizer)
    assert str(swapped.backend_tokenizer.pre_tokenizer) != str(own.backend_tokenizer.pre_tokenizer)


# Loading


def test_a_folder_is_loaded_as_a_checkpoint(folder):
    assert load(str(folder)).name == "tiny-qwen"


def test_a_model_and_a_url_are_taken_as_they_are():
    scripted = Scripted([])
    assert load(scripted) is scripted
    served = load("http://127.0.0.1:8000/v1#qwen")
    assert isinstance(served, Remote) and served.name == "qwen" and isinstance(served, Model)


def test_a_missing_folder_is_named_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabError, match=r"no model '\./nowhere': there is no such folder") as fault:
        load("./nowhere")
    assert str(tmp_path) in str(fault.value) and "Qwen/Qwen2.5-0.5B-Instruct" in str(fault.value)


def test_a_hub_id_that_is_not_here_says_how_to_fetch_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(LabError, match="hf download agentlab/none"):
        load("agentlab/none")


#: Loads what it is told to, a line at a time, and says what came of it and how many seconds it took.
LOADS = """
import json, sys, time
import agentlab.models.qwen
from agentlab.models import load
for line in sys.stdin:
    began = time.perf_counter()
    try:
        told = load(line.strip()).name
    except Exception as fault:
        told = f"{type(fault).__name__}: {fault}"
    print(json.dumps([told, time.perf_counter() - began]), flush=True)
"""


def test_a_hub_id_is_fetched_where_there_is_a_hub_and_found_in_the_cache_where_there_is_none(tmp_path, folder):
    with hub(folder) as (url, asked):
        child = subprocess.Popen(
            [sys.executable, "-c", LOADS],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
            env={**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"},
        )

        def loaded(spec: str) -> tuple[str, float]:
            child.stdin.write(f"{spec}\n")
            child.stdin.flush()
            told, seconds = json.loads(child.stdout.readline())
            return told, seconds

        assert loaded("agentlab/tiny")[0] == "agentlab/tiny"
        assert ("GET", "/agentlab/tiny/resolve/main/model.safetensors") in asked
    with child:
        assert loaded("agentlab/tiny")[0] == "agentlab/tiny", "from the cache"
        told, seconds = loaded("agentlab/none")
        child.stdin.close()
    assert told.startswith("LabError: can't find config.json of 'agentlab/none'")
    assert "the hub can't be reached from here" in told and "hf download agentlab/none" in told
    assert seconds < 10, "the hub's own client would have tried for 23 s"


def test_the_offline_model_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "OFFLINE", tmp_path / "tiny")
    with pytest.raises(LabError, match=r"the offline model isn't in .*tiny; reinstall agentlab"):
        load()
    tiny_checkpoint.checkpoint(tmp_path / "tiny")
    assert load().name == "tiny"


def test_pickled_weights_and_other_architectures_are_not_read(tmp_path):
    pickled = tiny_checkpoint.checkpoint(tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(LabError, match=r"can't read model\.safetensors"):
        load(pickled)
    other = tiny_checkpoint.checkpoint(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(LabError, match="'llama' model; give a Qwen2"):
        load(other)


def test_what_does_not_belong_together_is_said(tmp_path):
    bare = tiny_checkpoint.checkpoint(tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(LabError, match="no chat template"):
        load(bare)
    (bare / "tokenizer.json").unlink()
    with pytest.raises(LabError, match=r"can't read tokenizer\.json"):
        load(bare)


def test_importing_models_loads_nothing_heavy():
    code = "import sys, agentlab.models; print({'torch', 'transformers', 'llguidance', 'httpx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# The scripted model


def test_a_script_replays_plans_by_intent():
    model = Scripted({"first five": [LIMIT]})
    plan = model.plan(ask("first five"))
    assert plan.to_calls() == [LIMIT] and plan.origin.model == "scripted" and model.asks[0].intent == "first five"
    with pytest.raises(LabError, match=r"no plan for the intent 'first six'; it has: 'first five'"):
        model.plan(ask("first six"))


def test_a_script_replays_plans_in_turn_so_that_a_fault_can_be_mended():
    bad, good = [{"name": "limit", "arguments": {}}], Plan.from_calls([LIMIT])
    model = Scripted([bad, good])
    with pytest.raises(PlanError, match="table: Field required"):
        model.plan(ask("first five"))
    assert model.plan(ask("first five")) is good
    with pytest.raises(LabError, match="'first five'; its 2 plans are used up"):
        model.plan(ask("first five"))


# The served model


class Api(BaseHTTPRequestHandler):
    """A real server on loopback, which answers what it was told to and keeps what it was asked."""

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": name} for name in self.server.names]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers.get("Authorization"), json.loads(body)))
        self.server.wait.wait(self.server.delay)
        self.answer(*self.server.told)

    def answer(self, status: int, told: Any) -> None:
        data = told.encode() if isinstance(told, str) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *told: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.names, server.asked, server.delay, server.wait = ["qwen-served"], [], 0, threading.Event()
    server.told = (200, completion(LIMIT))
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


def completion(*calls: dict[str, Any], reason: str = "tool_calls", content: str | None = None) -> dict[str, Any]:
    told = [{"type": "function", "function": {**call, "arguments": json.dumps(call["arguments"])}} for call in calls]
    usage = {"prompt_tokens": 90, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 64}}
    message = {"role": "assistant", "content": content, "tool_calls": told}
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def test_a_served_model_is_asked_with_tools_and_its_calls_become_a_plan(api, monkeypatch):
    monkeypatch.setenv("AGENTLAB_API_KEY", "s3cret")
    plan = Remote(api.url).plan(ask("first five", "transformation"))
    path, key, body = api.asked[0]
    assert (path, key, body["model"], body["tool_choice"]) == (
        "/v1/chat/completions",
        "Bearer s3cret",
        "qwen-served",
        "required",
    )
    assert body["messages"][-1] == {"role": "user", "content": "first five"} and len(body["tools"]) > 20
    assert plan.to_calls() == [LIMIT]
    assert (plan.origin.model, plan.origin.prompt_tokens, plan.origin.cached_tokens) == ("qwen-served", 90, 64)


def test_of_several_served_models_one_must_be_named(api):
    api.names = ["one", "two"]
    with pytest.raises(LabError, match=r"serves one, two; say which: 'http://.*#<name>'"):
        Remote(api.url).plan(ask())
    assert Remote(f"{api.url}#two").plan(ask()).origin.model == "two"


@pytest.mark.parametrize(
    ("told", "family", "match"),
    [
        ((500, "out of memory"), LabError, r"/v1/chat/completions answered 500: out of memory"),
        ((401, "no key"), LabError, "answered 401; its key belongs in AGENTLAB_API_KEY: no key"),
        ((200, "<html>"), LabError, "something else than JSON: <html>"),
        ((200, {"choices": []}), LabError, "answered in another form"),
        ((200, [1]), LabError, "answered in another form"),
        ((200, completion(content="Sure!")), PlanError, "holds no tool call: 'Sure!'"),
        ((200, completion(LIMIT, reason="length")), PlanError, "cut off"),
        ((200, completion({"name": "limt", "arguments": {}})), PlanError, "did you mean 'limit'"),
    ],
)
def test_what_a_server_answers_wrongly_is_told_in_its_own_words(api, told, family, match):
    api.told = told
    with pytest.raises(family, match=match):
        Remote(api.url).plan(ask())


def test_arguments_that_are_no_json_are_a_fault_that_a_model_may_mend(api):
    broken = completion(LIMIT)
    broken["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = '{"table": '
    api.told = (200, broken)
    with pytest.raises(PlanError, match="the arguments of 'limit' aren't JSON"):
        Remote(api.url).plan(ask())


def test_a_server_that_echoes_the_key_does_not_leak_it(api, monkeypatch):
    monkeypatch.setenv("AGENTLAB_API_KEY", "s3cret")
    api.told = (401, "wrong key s3cret")
    with pytest.raises(LabError, match="wrong key") as fault:
        Remote(api.url).plan(ask())
    assert "s3cret" not in str(fault.value)


def test_a_server_that_is_slow_or_not_there_is_named(api):
    api.delay = 5
    with pytest.raises(LabError, match=r"no answer from http://127.0.0.1:\d+/v1/chat/completions within 0.2 s"):
        Remote(f"{api.url}#qwen", timeout=0.2).plan(ask())
    with pytest.raises(LabError, match=r"can't reach a model at http://127.0.0.1:9/v1/chat/completions") as fault:
        Remote("http://me:hidden@127.0.0.1:9/v1#qwen").plan(ask())
    assert "hidden" not in str(fault.value)


def test_asked_again_after_a_fault_a_model_from_scratch_thinks_of_something_else():
    model = Qwen(base.OFFLINE)
    view = View(tables={"staging.orders": {"id": "int", "status": "text", "price": "float"}})
    said = "the price matters less than the status, so sort"
    first = model.plan(Ask(said, None, view))
    again = model.plan(Ask(said, None, view))
    other = model.plan(Ask(said, None, view, fault="that couldn't run"))
    assert first.to_calls() == again.to_calls()
    assert other.to_calls() != first.to_calls()


@pytest.mark.parametrize(("declines_from", "declines"), [(0.0, True), (1.1, False)])
def test_declining_needs_its_own_probability(declines_from: float, declines: bool):
    model = load(None)
    assert isinstance(model, Qwen)
    model._decoder.declines_from = declines_from
    answer = model.answer(prompt_of(model, Ask("do something nice with the amounts", None, SHOP)))
    assert model.tokenizer.decode(answer.tokens).startswith(("clarify:", "refuse:")) == declines


def every_answer(model: Qwen, tokens: list[int], grammar: str) -> list[tuple[float, list[int]]]:
    """Every answer that the grammar allows, with its probability: the whole tree, without a cache."""
    decoder, found = model._decoder, list[tuple[float, list[int]]]()

    def walk(matcher: LLMatcher, answer: list[int], chance: float) -> None:
        forced = [token for token in matcher.compute_ff_tokens() if token not in decoder.ends]
        matcher.consume_tokens(forced)
        answer = [*answer, *forced]
        if matcher.is_stopped():
            found.append((chance, answer))
            return
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[: model.model.vocab_size])
        logits = model.model.feed(model.model.cache(), [*tokens, *answer])[allowed].astype(np.float64)
        for token, share in zip(allowed, np.exp(logits - np.logaddexp.reduce(logits)), strict=True):
            if int(token) in decoder.ends:
                found.append((chance * share, answer))
            else:
                after = matcher.deep_copy()
                after.consume_tokens([int(token)])
                walk(after, [*answer, int(token)], chance * share)

    walk(LLMatcher(decoder._vocabulary, grammar), [], 1.0)
    return sorted(found, reverse=True)


@pytest.mark.parametrize("intent", ["rename amount to total", "drop the duplicates", "how many are there?"])
def test_the_search_finds_the_likeliest_answers_in_order(intent: str):
    model = load(None)
    assert isinstance(model, Qwen)
    prompt = replace(
        prompt_of(model, Ask(intent, None, SHOP)),
        grammar='start: ("rename: column=" <c0> " to=" c | "drop_columns: columns=[" c ("," c)? "]" '
        '| "dedupe:" (" by=[" c "]")?) ("\\nlimit: n=" ("1" | "2"))?\nc: <c0> | <c1>',
    )
    tokens = model.tokenizer.encode(prompt.text)
    model._decoder.steps = 10_000
    wanted = every_answer(model, tokens, prompt.grammar)
    told = list(model.answers(prompt))
    assert len(wanted) > 20
    assert [answer.chance for answer in told[:8]] == pytest.approx([chance for chance, _ in wanted[:8]], rel=1e-4)
    assert [answer.tokens for answer in told[:8]] == [answer for _, answer in wanted[:8]]
    # Few steps may miss it, but never tell something likelier than there is, nor less likely than greedily.
    model._decoder.steps = 0
    greedy = model.answer(prompt)
    model._decoder.steps = 3
    assert wanted[0][0] * 1.0001 >= model.answer(prompt).chance >= greedy.chance * 0.9999


def test_another_plan_is_the_next_likely_one_and_none_that_is_far_less_likely(monkeypatch):
    model = load(None)
    question = Ask("rename amount to total", None, SHOP)
    prompt = prompt_of(model, question)
    first, second = list(islice(model.answers(prompt), 2))
    monkeypatch.setattr("agentlab.models.qwen._NEAR", 0.0)
    assert [told and told.tokens for told in (model._told(prompt, 0), model._told(prompt, 1))] == [
        first.tokens,
        second.tokens,
    ]
    assert first.tokens != second.tokens and first.chance > second.chance
    monkeypatch.setattr("agentlab.models.qwen._NEAR", 1.0)
    with pytest.raises(PlanError, match="no other likely plan"):
        model.plan(replace(question, fault="it can't run", tried=1))


def test_plans_of_several_threads_are_those_of_one():
    model = load(None)
    intents = ["rename amount to total", "drop the duplicates", "keep the first 5 rows", "sort by amount"]
    alone = {intent: model.plan(Ask(intent, None, SHOP)).to_calls() for intent in intents}
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda intent: (intent, model.plan(Ask(intent, None, SHOP)).to_calls()), intents * 6))
    assert all(calls == alone[intent] for intent, calls in told)
