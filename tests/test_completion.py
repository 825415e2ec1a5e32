"""What an intent leaves unsaid is filled in when one thing fits, and asked when two do."""

from typing import Any

from agentlab.completion import complete
from agentlab.linking import Index, link
from agentlab.slots import prompt_text, sighted
from agentlab.view import View

VIEW = View(
    tables={"staging.orders": {"id": "int", "price": "float"}, "core.users": {"id": "int", "age": "int"}},
    sources={"sales_api": ("orders", "returns"), "crm": ("users",)},
    stores=("finance", "gold"),
    origins={"staging.orders": ("sales_api", "orders")},
)


def completed(intent: str, *calls: dict[str, Any], view: View = VIEW) -> list[dict[str, Any]]:
    linked = link(intent, Index(view))
    prompt_text(linked, view, None)
    return complete([{"name": c.pop("name"), "arguments": c} for c in calls], linked, view)


def test_the_only_table_that_has_the_column() -> None:
    assert (
        completed("fill age with 0", {"name": "fill", "column": "age", "value": 0})[0]["arguments"]["table"]
        == "core.users"
    )


def test_two_tables_that_fit_are_a_question_that_names_them() -> None:
    (question,) = completed("sort by id", {"name": "sort", "by": ["id"]})
    assert question["name"] == "clarify"
    assert "staging.orders" in question["arguments"]["question"]
    assert "core.users" in question["arguments"]["question"]


def test_a_mentioned_table_decides() -> None:
    assert completed("sort users by id", {"name": "sort", "by": ["id"]})[0]["arguments"]["table"] == "core.users"


def test_later_actions_go_on_with_the_table_of_the_earlier() -> None:
    calls = completed("x", {"name": "rename", "column": "age", "to": "years"}, {"name": "sort", "by": ["years"]})
    assert [c["arguments"]["table"] for c in calls] == ["core.users", "core.users"]


def test_a_pull_without_a_resource_takes_the_sources_first() -> None:
    (pull,) = completed("pull from the sales api", {"name": "pull", "source": "sales_api"})
    assert (pull["arguments"]["resource"], pull["arguments"]["into"]) == ("orders", "staging.orders")


def test_a_resource_alone_names_its_source_and_ingestion_writes_to_staging() -> None:
    (pull,) = completed("get users into people", {"name": "pull", "resource": "users", "into": "people"})
    assert (pull["arguments"]["source"], pull["arguments"]["into"]) == ("crm", "staging.people")


def test_a_pull_from_nowhere_in_particular_is_a_question() -> None:
    assert completed("pull the data", {"name": "pull"})[0]["arguments"]["about"] == "source"


def test_a_new_store_is_what_is_published_to_and_refreshed() -> None:
    calls = completed(
        "new store for the sales data, refreshed nightly",
        {"name": "provision", "store": "sales"}, {"name": "publish"}, {"name": "schedule", "when": "nightly"},
    )  # fmt: skip
    assert calls[1]["arguments"] == {"store": "sales", "table": "staging.orders"}
    assert calls[2]["arguments"]["task"] == "sales refresh"


def test_publishing_with_two_stores_is_a_question() -> None:
    assert (
        completed("publish orders", {"name": "publish", "table": "staging.orders"})[0]["arguments"]["about"] == "store"
    )


def test_a_new_store_without_any_table_is_still_made() -> None:
    empty = View()
    calls = completed("a store for sales, nightly", {"name": "provision", "store": "sales"}, {"name": "publish"},
                      {"name": "schedule", "when": "nightly"}, view=empty)  # fmt: skip
    assert [c["name"] for c in calls] == ["provision", "schedule"]


DATED = View(
    tables={
        "core.orders": {"id": "int", "ordered": "date"},
        "core.trips": {"begun": "date", "ended": "date"},
    },
    sources={"crm": ("users",)},
    scheduled=("sales refresh",),
    files=("exports/New Visits.csv",),
)


def test_how_old_a_row_is_the_only_date_of_its_table_tells() -> None:
    (retain,) = completed(
        "archive old orders", {"name": "retain", "table": "core.orders", "older_than": "1 years"}, view=DATED
    )
    assert retain["arguments"]["column"] == "ordered"
    (question,) = completed(
        "archive trips", {"name": "retain", "table": "core.trips", "older_than": "1 years"}, view=DATED
    )
    assert question["arguments"]["about"] == "column"
    assert "begun, ended" in question["arguments"]["question"]


def test_a_file_becomes_a_staging_table_of_its_name() -> None:
    (load,) = completed("load it", {"name": "load_file", "path": "exports/New Visits.csv"}, view=DATED)
    assert load["arguments"]["into"] == "staging.new_visits"


def test_the_only_schedule_is_the_one_that_is_paused() -> None:
    assert completed("pause it", {"name": "pause"}, view=DATED)[0]["arguments"]["task"] == "sales refresh"


def test_the_only_source_is_the_one_that_is_synced_or_slowed_down() -> None:
    sync, throttle = completed("x", {"name": "sync"}, {"name": "throttle", "concurrency": 2}, view=DATED)
    assert sync["arguments"] == {"source": "crm", "resource": "users", "into": "staging.users"}
    assert throttle["arguments"] == {"source": "crm", "concurrency": 2}


def test_a_snapshot_knows_its_table() -> None:
    view = View(tables={"core.orders": {"id": "int"}, "core.users": {"id": "int"}}, snapshots={"ok": "core.users"})
    (restore,) = completed("back to ok", {"name": "restore", "snapshot": "ok"}, view=view)
    assert restore["arguments"]["table"] == "core.users"


def test_a_refresh_is_that_of_the_only_store_before_that_of_a_table() -> None:
    view = View(
        tables={"staging.orders": {"id": "int"}}, stores=("mart",), tasks=("mart refresh", "staging.orders refresh")
    )
    (schedule,) = completed("refresh nightly", {"name": "schedule", "when": "nightly"}, view=view)
    assert schedule["arguments"]["task"] == "mart refresh"


def test_a_date_compared_with_a_year_is_its_year() -> None:
    view = View(tables={"core.bikes": {"bought": "date", "frame": "int", "signed": "timestamp"}})
    filtered = completed("x", {"name": "filter", "where": '"bought" < 2015 AND "frame" < 2015'}, view=view)
    assert filtered[0]["arguments"]["where"] == 'YEAR("bought") < 2015 AND "frame" < 2015'


def test_a_date_that_is_false_is_empty() -> None:
    view = View(tables={"core.bikes": {"bought": "date", "signed": "timestamp"}})
    for sql, meant in (('"signed" = FALSE', '"signed" IS NULL'), ('"signed" =true', 'NOT "signed" IS NULL')):
        filtered = completed("x", {"name": "filter", "where": sql}, view=view)
        assert filtered[0]["arguments"]["where"] == meant


def test_which_table_is_meant_tells_whether_a_name_is_a_date() -> None:
    view = View(tables={"a": {"made": "date"}, "b": {"made": "int"}})
    for table, meant in (("a", 'YEAR("made") < 2015'), ("b", '"made" < 2015')):
        filtered = completed("x", {"name": "filter", "table": table, "where": '"made" < 2015'}, view=view)
        assert filtered[0]["arguments"]["where"] == meant


def test_a_date_is_not_compared_with_a_number_that_is_no_year() -> None:
    view = View(tables={"core.gifts": {"given": "date"}})
    filtered = completed("x", {"name": "filter", "where": '"given" = 1000'}, view=view)
    assert filtered[0]["arguments"]["where"] == '"given" = 1000'


def test_what_is_said_twice_in_a_row_is_meant_once() -> None:
    sort = {"name": "sort", "by": ["age"]}
    twice = completed("x", dict(sort), dict(sort), {"name": "limit", "n": 3}, dict(sort))
    assert [call["name"] for call in twice] == ["sort", "limit", "sort"]


COMING = View(
    tables={"core.claims": {"claim": "int", "closed": "date"}, "core.people": {"age": "int"}},
    sources={"crm": ("claims",)},
    incoming={"crm.claims": {"claim": "int", "closed": "date"}},
)


def planned(intent: str, *calls: dict[str, Any], view: View) -> list[dict[str, Any]]:
    linked, wider = sighted(intent, view, None)
    prompt_text(linked, wider, None)
    return complete([{"name": c.pop("name"), "arguments": c} for c in calls], linked, wider)


def test_what_would_come_isnt_meant_where_nothing_brings_it() -> None:
    assert sighted("export the claims", COMING, None)[1].coming == {"staging.claims": "crm.claims"}
    (export,) = planned("export the claims", {"name": "export", "table": "staging.claims"}, view=COMING)
    assert export["arguments"]["table"] == "core.claims"
    pull, brought = planned(
        "pull the claims and export them",
        {"name": "pull", "source": "crm", "resource": "claims"},
        {"name": "export", "table": "staging.claims"},
        view=COMING,
    )
    assert pull["arguments"]["into"] == brought["arguments"]["table"] == "staging.claims"


def test_a_table_that_lacks_the_columns_isnt_meant_where_one_other_has_them() -> None:
    wrong = {"name": "fill", "table": "core.claims", "column": "age", "value": 0}
    assert planned("fill age with 0", dict(wrong), view=COMING)[0]["arguments"]["table"] == "core.people"
    # What the plan itself has changed may have other columns by then.
    derived = {"name": "derive", "table": "core.claims", "column": "age", "expr": '"claim" + 1'}
    assert planned("x", derived, dict(wrong), view=COMING)[1]["arguments"]["table"] == "core.claims"


def test_a_pull_takes_the_spelling_of_the_table_that_is_there() -> None:
    view = View(
        tables={"staging.Leads": {"id": "int"}}, sources={"crm": ("leads",)}, incoming={"crm.leads": {"id": "int"}}
    )
    (pull,) = planned("pull the leads", {"name": "pull", "source": "crm", "resource": "leads"}, view=view)
    assert pull["arguments"]["into"] == "staging.Leads"


def test_how_old_a_row_is_only_a_date_tells() -> None:
    retain = {"name": "retain", "table": "core.claims", "column": "claim", "older_than": "3 years"}
    assert planned("archive claims older than 3 years", retain, view=COMING)[0]["arguments"]["column"] == "closed"


def test_what_the_intent_names_is_not_replaced() -> None:
    view = View(
        tables={"staging.orders": {"day": "date"}, "staging.users": {"id": "int"}, "staging.leads": {"email": "text"}}
    )
    wrong = {"name": "normalize_text", "table": "staging.users", "column": "email", "case": "lower"}
    said = "dedupe staging.orders and lower the email in users"
    assert planned(said, wrong, view=view)[0]["arguments"]["table"] == "staging.users"
    claims = View(tables={"core.claims": {"signed_on": "text", "updated": "timestamp"}})
    retain = {"name": "retain", "table": "core.claims", "column": "signed_on", "older_than": "3 years"}
    said = "archive claims whose signed_on is older than 3 years"
    assert planned(said, retain, view=claims)[0]["arguments"]["column"] == "signed_on"


def test_what_goes_for_good_is_not_taken_for_something_else() -> None:
    drop = {"name": "drop", "table": "staging.claims"}
    assert planned("drop the claims", dict(drop), view=COMING)[0]["arguments"]["table"] == "staging.claims"
    dedupe = {"name": "dedupe", "table": "staging.claims"}
    assert planned("dedupe the staging claims", dedupe, view=COMING)[0]["arguments"]["table"] == "staging.claims"


def test_what_a_plan_brings_elsewhere_is_meant_there() -> None:
    pull = {"name": "pull", "source": "crm", "resource": "claims", "into": "staging.fresh"}
    _, dedupe = planned(
        "pull claims into fresh, dedupe", pull, {"name": "dedupe", "table": "staging.claims"}, view=COMING
    )
    assert dedupe["arguments"]["table"] == "staging.fresh"


def test_steps_that_count_may_be_said_twice() -> None:
    back = {"name": "restore", "table": "core.claims", "version": -1}
    assert len(planned("x", dict(back), dict(back), view=COMING)) == 2


def test_a_column_that_the_plan_made_is_no_date_any_more() -> None:
    year = {"name": "derive", "table": "core.claims", "column": "closed", "expr": 'YEAR("closed")'}
    old = {"name": "filter", "table": "core.claims", "where": '"closed" < 2015'}
    assert planned("x", year, old, view=COMING)[1]["arguments"]["where"] == '"closed" < 2015'
