"""The small model's form: what training writes, serving reads; an answer under the grammar names only what exists."""

import random

import llguidance.hf
import pytest
from llguidance import LLMatcher
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agentlab.errors import PlanError
from agentlab.linking import link
from agentlab.plan import Plan
from agentlab.prompts import Ask
from agentlab.slot_grammar import grammar
from agentlab.slots import COLUMN, LITERAL, Slots, decode, encode, index_of, prompt_text
from agentlab.view import View
from finetune import intents, scenes
from finetune.tokenizer import marks

VIEW = View(
    tables={"staging.orders": {"customer_id": "int", "quantity": "int", "unit_price": "float", "status": "text"}},
    sources={"sales_api": ("orders",)},
    queries=("daily revenue",),
)


@pytest.fixture(scope="module")
def matcher():  # type: ignore[no-untyped-def]
    """Bytes and placeholders are tokens enough to walk a grammar."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_end|>", *marks()])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    known = llguidance.hf.from_tokenizer(fast, n_vocab=len(fast), eos_token=fast.eos_token_id)

    def accepts(rules: str, answer: str) -> bool:
        walk = LLMatcher(known, LLMatcher.grammar_from_lark(rules), log_level=0)
        assert not walk.is_error(), walk.get_error()
        return all(walk.consume_token(t) for t in fast.encode(answer)) and walk.is_accepting()

    return accepts


def linked_in(intent: str, view: View = VIEW):  # type: ignore[no-untyped-def]
    linked = link(intent, index_of(view))
    prompt_text(linked, view, None)
    return linked


def test_an_answer_is_read_as_it_was_written() -> None:
    linked = linked_in("rename the customer_id field to cust_id and keep rows with quantity over 5")
    calls = [
        {"name": "rename", "arguments": {"column": "customer_id", "to": "cust_id"}},
        {"name": "filter", "arguments": {"where": f"{COLUMN.format('quantity')}>{LITERAL.format('5')}"}},
    ]
    read = decode(encode(calls, linked), linked)
    assert read[0] == calls[0]
    assert read[1]["arguments"]["where"] == '"quantity" > 5'


def test_a_value_that_the_intent_does_not_say_cannot_be_written() -> None:
    with pytest.raises(PlanError, match="doesn't say 'client'"):
        encode([{"name": "rename", "arguments": {"column": "status", "to": "client"}}], linked_in("rename status"))


def test_dropping_rows_keeps_those_where_the_condition_is_unknown() -> None:
    linked = linked_in("drop rows with quantity over 5")
    where = f"NOT({COLUMN.format('quantity')}>{LITERAL.format('5')})"
    read = decode(encode([{"name": "filter", "arguments": {"where": where}}], linked), linked)
    assert read[0]["arguments"]["where"] == '( "quantity" > 5 ) IS NOT TRUE'


def test_two_negations_are_not_one() -> None:
    linked = linked_in("keep rows where status is not x and quantity is not 3")
    answer = 'filter: where="NOT(<c0>=<w2>) ANDNOT(<c1>=<n0>)"'
    where = decode(answer, linked)[0]["arguments"]["where"]
    assert where.count("NOT(") == 2
    assert "IS NOT TRUE" not in where


def test_spaces_in_a_value_are_kept() -> None:
    linked = linked_in("keep rows where status is 'on  hold'")
    assert decode('filter: where="<c0>=<v0>"', linked)[0]["arguments"]["where"] == "\"status\" = 'on  hold'"


def test_quotes_in_names_and_values_stay_inside_them() -> None:
    view = View(tables={"t": {'a"b': "text"}})
    linked = linked_in("""keep rows where 'a"b' is "it's; DROP TABLE t" """, view)
    slot = {value: slot for slot, value in linked.slots.items()}
    answer = f'filter: where="{slot[chr(97) + chr(34) + chr(98)]}={slot["it" + chr(39) + "s; DROP TABLE t"]}"'
    assert decode(answer, linked)[0]["arguments"]["where"] == "\"a\"\"b\" = 'it''s; DROP TABLE t'"


def test_what_generated_intents_ask_is_said_in_the_grammar_and_read_back(matcher) -> None:  # type: ignore[no-untyped-def]
    r = random.Random(3)
    for _ in range(80):
        scene = scenes.make(r)
        intent, role, calls, _ = intents.sample(scene, r)
        linked = link(intent, scene.index)
        prompt_text(linked, scene.view, role)
        try:
            answer = encode(calls, linked)
        except PlanError:
            continue
        assert matcher(grammar(linked, role, scene.view.types()), answer), (intent, answer)
        assert [c["name"] for c in decode(answer, linked)] == [c["name"] for c in calls]


def test_the_grammar_knows_only_what_is_there(matcher) -> None:  # type: ignore[no-untyped-def]
    linked = linked_in("rename customer_id to cust_id")
    rules = grammar(linked, None, VIEW.types())
    assert matcher(rules, "rename: column=<c0> to=<v0>")
    assert not matcher(rules, "rename: column=<c40> to=<v0>")
    assert not matcher(rules, "publish: table=<t1>")
    assert not matcher(rules, "rename: column=<c0>")


def test_a_roles_grammar_has_only_its_own_actions(matcher) -> None:  # type: ignore[no-untyped-def]
    linked = linked_in("rename customer_id to cust_id")
    assert not matcher(grammar(linked, "quality", VIEW.types()), "rename: column=<c0> to=<v0>")
    assert matcher(grammar(linked, "quality", VIEW.types()), "refuse: because=authority")


def test_a_prompt_reads_answers_into_whole_plans() -> None:
    prompt = Slots().prompt(Ask("pull the latest 10,000 rows from the sales api", None, VIEW))
    plan = Plan.from_calls(prompt.read("pull: source=<s0> limit=<n0> order=newest"))
    assert str(plan) == (
        "pull(source='sales_api', resource='orders', into='staging.orders', limit=10000, order='newest')"
    )


def test_hostile_names_do_not_reach_the_grammar(matcher) -> None:  # type: ignore[no-untyped-def]
    view = View(tables={'x"; start: /.*/': {'"\n<c0>': "int", "a|b": "text"}})
    linked = linked_in("drop a|b", view)
    assert matcher(grammar(linked, None, VIEW.types()), "drop_columns: columns=[<c0>]")


def test_only_numbers_are_added_and_only_dates_have_a_year(matcher) -> None:  # type: ignore[no-untyped-def]
    view = View(tables={"t": {"price": "float", "name": "text", "day": "date"}})
    linked = linked_in("add x as price plus name", view)
    slot = {linked.slots[slot]: slot for slot in linked.of("c")}
    rules = grammar(linked, None, view.types())
    assert matcher(rules, f'derive: column=<w1> expr="{slot["price"]}+{slot["price"]}"')
    assert not matcher(rules, f'derive: column=<w1> expr="{slot["price"]}+{slot["name"]}"')
    assert matcher(rules, f'derive: column=<w1> expr="year({slot["day"]})"')
    assert not matcher(rules, f'derive: column=<w1> expr="year({slot["price"]})"')


def test_a_table_without_dates_or_numbers_still_has_a_grammar(matcher) -> None:  # type: ignore[no-untyped-def]
    view = View(tables={"t": {"name": "text"}})
    linked = linked_in("keep rows with name x", view)
    assert matcher(grammar(linked, None, view.types()), 'filter: where="<c0> IS NOT NULL"')


def test_what_nothing_can_fill_in_may_not_be_left_out(matcher) -> None:  # type: ignore[no-untyped-def]
    rules = grammar(linked_in("make a new store for sales"), None, VIEW.types())
    assert not matcher(rules, "provision:")
    assert matcher(rules, "provision: store=<w2>")


def test_a_new_thing_is_not_called_what_it_is(matcher) -> None:  # type: ignore[no-untyped-def]
    linked = linked_in("make a store for sales")
    store, sales = (next(s for s in linked.of("w") if linked.slots[s] == word) for word in ("store", "sales"))
    rules = grammar(linked, None, VIEW.types())
    assert not matcher(rules, f"provision: store={store}")
    assert matcher(rules, f"provision: store={sales}")
    assert matcher(rules, f"provision: store={store}{sales}")


KEPT = View(
    tables={"core.orders": {"order_date": "date", "total": "float", "paid": "float", "email": "text"}},
    stores=("sales",),
    queries=("daily revenue",),
    tasks=("sales refresh",),
    files=("exports/visits.csv",),
    snapshots={"before_cleanup": "core.orders"},
)


@pytest.mark.parametrize(
    ("intent", "name", "arguments"),
    [
        ("archive orders older than 90 days", "retain", {"column": "order_date", "older_than": "90 days"}),
        (
            "delete orders older than a year",
            "retain",
            {"column": "order_date", "older_than": "1 years", "then": "delete"},
        ),
        ("give sales 40GB", "resize", {"store": "sales", "quota": "40 GB"}),
        ("order_date before 6 weeks?", "check", {"rule": "fresh", "columns": ["order_date"], "within": "6 weeks"}),
        ("total not negative", "check", {"rule": "in_range", "columns": ["total"], "min": 0}),
        ("paid <= total", "check", {"rule": "compares", "columns": ["paid"], "operator": "<=", "than": "total"}),
        ("emails ok?", "check", {"rule": "matches", "columns": ["email"], "pattern": "email"}),
        ("back to v3", "restore", {"version": 3}),
        ("back to before_cleanup", "restore", {"snapshot": "before_cleanup"}),
        ("undo the last change", "restore", {"version": -1}),
        ("daily at 6:00 UTC", "schedule", {"task": "sales refresh", "when": "daily at 06:00", "zone": "UTC"}),
        ("load exports/visits.csv into raw", "load_file", {"path": "exports/visits.csv", "into": "raw"}),
        ("save it as out/orders.csv", "export", {"path": "out/orders.csv"}),
        ("keep daily revenue hourly", "materialize", {"query": "daily revenue", "refresh": "hourly"}),
    ],
)
def test_amounts_names_and_choices_are_written_read_and_in_the_grammar(  # type: ignore[no-untyped-def]
    matcher, intent: str, name: str, arguments: dict[str, object]
) -> None:
    linked = linked_in(intent, KEPT)
    answer = encode([{"name": name, "arguments": arguments}], linked)
    assert decode(answer, linked) == [{"name": name, "arguments": arguments}]
    assert matcher(grammar(linked, None, KEPT.types()), answer), answer


def test_a_tables_name_is_no_name_for_a_column() -> None:
    linked = link("put price plus 1 into staging.best as worth_it", index_of(VIEW))
    prompt_text(linked, VIEW, None)
    rules = grammar(linked, None, VIEW.types())
    (new_column,) = [line for line in rules.splitlines() if line.startswith("new_column:")]
    best, worth = [slot for slot in linked.of("v") if "best" in linked.slots[slot] or "worth" in linked.slots[slot]]
    alone = new_column.partition("(")[0]
    assert worth in alone and best not in alone


def test_without_a_number_in_the_intent_no_plan_has_one() -> None:
    linked = link("pull everything, keep it", index_of(VIEW))
    prompt_text(linked, VIEW, None)
    rules = grammar(linked, None, VIEW.types())
    assert "num" not in [line.split(":")[0] for line in rules.splitlines()] and '" limit="' not in rules


def test_a_path_names_neither_a_table_nor_a_snapshot(matcher) -> None:  # type: ignore[no-untyped-def]
    linked = linked_in("snapshot the orders, then export them to out/orders.csv as csv")
    rules = grammar(linked, None, VIEW.types())
    path = next(slot for slot in linked.of("v") if linked.slots[slot] == "out/orders.csv")
    assert matcher(rules, f"export: table=<t0> path={path}")
    assert not matcher(rules, f"snapshot: name={path}")
    assert not matcher(rules, f"dedupe: into={path}")
