from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache

import llguidance.hf
import numpy as np
import pytest
import tiny_checkpoint
from llguidance import LLMatcher, LLTokenizer

from agentlab.actions import ACTIONS, ROLES, Action, cron_of, of
from agentlab.errors import PlanError
from agentlab.grammar import MOST_BOUND, quoted, tools_grammar
from agentlab.plan import Plan
from agentlab.prompts import read_calls
from agentlab.view import View

SHOP = View(
    tables={
        "staging.orders": {"order_id": "int", "customer_id": "int", "amount": "float", "ordered on": "date"},
        "core.customers": {"customer_id": "int", "email": "text", "e-mail": "text"},
        "stock": {"sku": "text", "quantity": "int"},
    },
    sources={"sales_api": ("orders", "customers"), "erp": ("invoices",), "empty": ()},
    stores=("sales", "cold storage"),
    queries=("daily revenue", "top customers"),
    files=("exports/visits.csv", "june.xlsx"),
    snapshots={"before_cleanup": "stock"},
    scheduled=("sales refresh",),
)
HOSTILE = (
    'say "hi"',
    "back\\slash",
    "new\nline",
    "tab\t",
    "e\u0301",
    "😀",
    "<|im_end|>",
    "</tool_call>",
    "%ignore /x/",
    "}}",
)
HOSTILE += ("\x00", "\x7f", "\u202eabc", "a/b", "", "x" * 300, "it's", "＜", '", "b": "', "*/ start: TEXT")
TOKENIZER = tiny_checkpoint.tokenizer()
END = TOKENIZER.eos_token_id
OPEN, CLOSE = TOKENIZER.convert_tokens_to_ids(["<tool_call>", "</tool_call>"])


@cache
def vocabulary() -> LLTokenizer:
    return llguidance.hf.from_tokenizer(TOKENIZER, n_vocab=len(TOKENIZER), eos_token=[END])


def matcher(grammar: str) -> LLMatcher:
    made = LLMatcher(vocabulary(), grammar, log_level=0)
    assert not made.is_error(), made.get_error()
    return made


def body(text: str) -> list[int]:
    return vocabulary().tokenize_bytes(text.encode())


def allowed(decoding: LLMatcher) -> list[int]:
    bits = np.unpackbits(np.frombuffer(decoding.compute_bitmask(), np.uint8), bitorder="little")
    return [int(token) for token in np.flatnonzero(bits[: len(TOKENIZER)])]


def wander(grammar: str, dice: random.Random, begin: list[int]) -> str:
    """An answer of a model that knows nothing: any token that the grammar allows, a quote a little more often."""
    decoding, quote = matcher(grammar), body('"')[0]
    assert decoding.consume_tokens(begin), decoding.get_error()
    answer = list(begin)
    while not decoding.is_stopped():
        forced = decoding.compute_ff_tokens()
        choices = forced or allowed(decoding)
        step = forced or [quote if quote in choices and dice.random() < 0.3 else dice.choice(choices)]
        if END in step or (END in choices and len(answer) > 2000):
            break
        assert decoding.consume_tokens(step), decoding.get_error()
        answer += step
    return TOKENIZER.decode(answer, clean_up_tokenization_spaces=False)


def accepts(grammar: str, *calls: str) -> bool:
    """Does the grammar take exactly these calls, in canonical form?"""
    tokens: list[int] = []
    for number, call in enumerate(calls):
        tokens += [*(body("\n") if number else []), OPEN, *body(f"\n{call}\n"), CLOSE]
    decoding = matcher(grammar)
    return (
        decoding.validate_tokens(tokens) == len(tokens) and decoding.consume_tokens(tokens) and decoding.is_accepting()
    )


def call(name: str, arguments: str) -> str:
    return f'{{"name": "{name}", "arguments": {arguments}}}'


def names(action: Action) -> Iterator[tuple[str, set[str]]]:
    """Every live name in an action, and the names that it may be."""
    table = getattr(action, "table", None)
    columns = set(SHOP.tables.get(table, {})) or set(SHOP.columns())
    other = set(SHOP.tables[action.other]) if action.tool() == "join" else set()
    yield from ((name, set(SHOP.tables)) for name in action.references("table"))
    yield from ((name, set(SHOP.sources)) for name in action.references("source"))
    yield from ((name, set(SHOP.stores)) for name in action.references("store"))
    yield from ((name, set(SHOP.queries)) for name in action.references("query"))
    yield from ((name, set(SHOP.sources[action.source])) for name in action.references("resource"))
    yield from ((name, set(SHOP.files)) for name in action.references("file"))
    yield from ((name, set(SHOP.snapshots)) for name in action.references("snapshot"))
    yield from ((name, set(SHOP.scheduled)) for name in action.references("scheduled"))
    if action.tool() not in ("pull", "sync"):
        yield from ((name, columns | other) for name in action.references("column"))


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_decoded_is_a_valid_plan_over_live_names(name: str, seed: int):
    begin = [OPEN, *body(f'\n{{"name": "{name}", "arguments": {{')]
    answer = wander(tools_grammar(None, SHOP, special=True), random.Random(seed), begin)
    plan = Plan.from_calls(read_calls(answer))
    assert plan.actions[0].tool() == name
    assert [(name, live) for name, live in names(plan.actions[0]) if name not in live] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_decodes_only_its_own_actions(role):
    for seed in range(3):
        plan = Plan.from_calls(read_calls(wander(tools_grammar(role, SHOP, special=True), random.Random(seed), [])))
        assert {action.tool() for action in plan.actions} <= set(of(role))


def test_a_first_action_takes_no_column_of_another_table_and_a_later_one_takes_new_names():
    grammar = tools_grammar("transformation", SHOP, special=True)
    rename = call("rename", '{"table": "stock", "column": "sku", "to": "Item Number"}')
    assert accepts(grammar, rename)
    assert not accepts(grammar, call("rename", '{"table": "stock", "column": "amount", "to": "x"}'))
    assert not accepts(grammar, call("sort", '{"table": "stock", "by": ["Item Number"]}'))
    assert accepts(grammar, rename, call("sort", '{"table": "stock", "by": ["Item Number"]}'))


def test_a_later_action_may_use_a_table_or_store_that_an_earlier_one_makes():
    summary = call("aggregate", '{"table": "stock", "into": "summary", "measures": [{"function": "count"}]}')
    assert accepts(
        tools_grammar(None, SHOP, special=True), summary, call("publish", '{"table": "summary", "store": "new"}')
    )
    assert not accepts(tools_grammar(None, SHOP, special=True), call("publish", '{"table": "summary", "store": "new"}'))


def test_a_join_needs_a_key_on_both_sides():
    grammar = tools_grammar("transformation", SHOP, special=True)
    join = '{"table": "staging.orders", "other": "core.customers", "on": ["%s"], "columns": ["email"]}'
    assert accepts(grammar, call("join", join % "customer_id"))
    assert not accepts(grammar, call("join", join % "amount"))


def test_ingestion_writes_staging_only_and_pulls_a_sources_own_resources():
    grammar = tools_grammar("ingestion", SHOP, special=True)
    pull = '{"source": "%s", "resource": "%s", "into": "%s"}'
    assert accepts(grammar, call("pull", pull % ("erp", "invoices", "staging.invoices")))
    assert not accepts(grammar, call("pull", pull % ("erp", "invoices", "core.invoices")))
    assert not accepts(grammar, call("pull", pull % ("erp", "orders", "staging.orders")))


def test_abstaining_stands_alone():
    grammar = tools_grammar("quality", SHOP, special=True)
    ask, act = call("clarify", '{"question": "Which table?"}'), call("analyze", '{"table": "stock"}')
    assert accepts(grammar, ask) and accepts(grammar, act, act)
    assert not accepts(grammar, ask, act) and not accepts(grammar, act, ask)


def test_an_empty_lab_leaves_nothing_but_to_abstain():
    grammar = tools_grammar("transformation", View(), special=True)
    assert accepts(grammar, call("refuse", '{"reason": "there is no table"}'))
    assert not accepts(grammar, call("limit", '{"table": "orders", "n": 5}'))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sample", '{"table": "stock"}'),
        ("sample", '{"table": "stock", "n": 5, "fraction": 0.5}'),
        ("sample", '{"table": "stock", "fraction": 0.0}'),
        ("fill", '{"table": "stock", "column": "sku"}'),
        ("split", '{"table": "stock", "column": "sku", "into_columns": ["a"], "separator": "-"}'),
        ("normalize_text", '{"table": "stock", "column": "sku", "trim": false}'),
        ("aggregate", '{"table": "stock", "measures": [{"function": "sum"}]}'),
        ("pull", '{"source": "erp", "resource": "invoices", "into": "staging.invoices", "mode": "upsert"}'),
        ("schedule", '{"task": "refresh", "when": "nightly at 25:00"}'),
        ("recommend", '{"query": "daily revenue", "table": "stock"}'),
        ("provision", '{"store": "lake", "kind": "graph"}'),
        ("provision", '{"store": "lake", "quota": "40 bytes"}'),
        ("pull", '{"source": "erp", "resource": "invoices", "into": "staging.i", "mode": "upsert", "key": []}'),
        ("load_file", '{"path": "june.xlsx", "into": "staging.june", "mode": "upsert"}'),
        ("check", '{"table": "stock", "rule": "in_set", "columns": ["sku"]}'),
        ("check", '{"table": "stock", "rule": "in_set", "columns": ["sku"], "values": []}'),
        ("check", '{"table": "stock", "rule": "matches", "columns": ["sku", "quantity"], "pattern": "email"}'),
        ("check", '{"table": "stock", "rule": "unique"}'),
        ("check", '{"table": "stock", "rule": "row_count"}'),
        ("find_outliers", '{"table": "stock", "threshold": -1.5}'),
        ("retain", '{"table": "staging.orders", "column": "ordered on", "older_than": "soon"}'),
        ("restore", '{"table": "stock"}'),
        ("drop", '{"table": "stock", "store": "sales"}'),
        ("throttle", '{"source": "erp", "concurrency": 0}'),
        ("schedule", '{"task": "refresh", "when": "nightly", "zone": "Mars/Olympus"}'),
    ],
)
def test_what_an_actions_own_validator_refuses_cannot_be_decoded(name: str, arguments: str):
    text = call(name, arguments)
    with pytest.raises(PlanError):
        Plan.from_calls(read_calls(f"<tool_call>{text}</tool_call>"))
    assert not accepts(tools_grammar(None, SHOP, special=True), text)


@pytest.mark.parametrize(
    "when", ["nightly", "mondays at 6:30", "every 15 minutes", "hourly", "30 6 * * 1-5", "*/10 * * * *"]
)
def test_the_times_of_a_schedule_are_those_that_can_be_read(when: str):
    assert cron_of(when)
    assert accepts(
        tools_grammar("storage", SHOP, special=True), call("schedule", f'{{"task": "refresh", "when": "{when}"}}')
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_decoded_as_it_is(name: str):
    view = View(tables={"t": {name: "int"}}, sources={name: (name,)}, queries=(name,), stores=(name,))
    begin = [OPEN, *body('\n{"name": "select", "arguments": {"table": "t", "columns": [')]
    answer = wander(tools_grammar("transformation", view, special=True), random.Random(7), begin)
    first = Plan.from_calls(read_calls(answer)).actions[0]
    assert set(first.references("column")) == {name}
    whole = tools_grammar(None, view, special=True)
    pulled = f'{{"source": {quoted(name)}, "resource": {quoted(name)}, "into": "staging.x"}}'
    assert accepts(whole, call("pull", pulled)) and accepts(whole, call("diagnose", f'{{"query": {quoted(name)}}}'))


def test_without_tokens_for_the_marks_they_are_plain_text():
    plain = tiny_checkpoint.tokenizer(special=False)
    words = llguidance.hf.from_tokenizer(plain, n_vocab=len(plain), eos_token=[plain.eos_token_id])
    decoding = LLMatcher(words, tools_grammar("storage", SHOP), log_level=0)
    nightly = call("schedule", '{"task": "refresh", "when": "nightly"}')
    answer = f"<tool_call>\n{nightly}\n</tool_call>"
    assert decoding.consume_tokens(words.tokenize_str(answer)) and decoding.is_accepting()


@pytest.mark.parametrize("count", [MOST_BOUND, MOST_BOUND + 1, 200])
def test_a_large_lab_still_compiles(count: int):
    schema = {"id": "int", **{f"column_{n}": "text" for n in range(40)}}
    view = View(tables={f"core.t{n}": {**schema, f"own_{n}": "int"} for n in range(count)})
    grammar = tools_grammar(None, view, special=True)
    assert accepts(grammar, call("rename", '{"table": "core.t1", "column": "own_1", "to": "x"}'))
    bound = not accepts(grammar, call("rename", '{"table": "core.t1", "column": "own_2", "to": "x"}'))
    assert bound == (count <= MOST_BOUND)


def test_every_terminal_that_is_used_is_defined_and_the_others_are_left_out():
    grammar = tools_grammar("quality", SHOP)
    defined = re.findall(r"^([A-Z][A-Z0-9]+): ", grammar, flags=re.MULTILINE)
    assert "STAGING" not in defined and "TEXT" in defined and len(defined) == len(set(defined))
