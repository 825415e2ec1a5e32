"""What isn't loaded yet is known by its columns; a name that could mean two things is asked about."""

from __future__ import annotations

import gzip
import socket
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from list_server import Api, serving

from agentlab.agents import Agent
from agentlab.ambiguity import rivals
from agentlab.completion import complete
from agentlab.demo import start
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.prompts import catalog
from agentlab.rules import check
from agentlab.slots import decode, encode, prompt_text, sighted
from agentlab.sources import peek
from agentlab.view import View

SHOWS = View(
    sources={"ticketing": ("shows", "seats")},
    files=("in/meters.csv", "in/old.csv"),
    incoming={
        "ticketing.shows": {"show_id": "int", "hall": "text"},
        "ticketing.seats": {"seat": "int"},
        "in/meters.csv": {"meter_no": "text", "kwh": "float"},
    },
)


def test_a_mentioned_resource_brings_its_table() -> None:
    linked, view = sighted("pull the shows and check that show id is unique", SHOWS, None)
    assert view.coming == {"staging.shows": "ticketing.shows"}
    assert "staging shows" in prompt_text(linked, view, None)
    calls = [
        {"name": "pull", "arguments": {"source": "ticketing", "resource": "shows"}},
        {"name": "check", "arguments": {"rule": "unique", "columns": ["show_id"]}},
    ]
    read = complete(decode(encode(calls, linked), linked), linked, view)
    assert [call["arguments"].get("table") for call in read] == [None, "staging.shows"]


def test_a_mentioned_file_brings_its_table() -> None:
    assert sighted("load in/meters.csv, drop kwh", SHOWS, None)[1].coming == {"staging.meters": "in/meters.csv"}


def test_only_ingestion_and_open_questions_see_what_is_coming() -> None:
    assert not sighted("pull the shows", SHOWS, "quality")[1].coming
    assert sighted("pull the shows", SHOWS, "ingestion")[1].coming


def test_what_is_not_mentioned_does_not_come_unless_it_is_all_there_is() -> None:
    assert not sighted("get the newest ones", SHOWS, None)[1].coming
    one = View(sources={"api": ("orders",)}, incoming={"api.orders": {"id": "int"}})
    assert sighted("get the newest ones", one, None)[1].coming == {"staging.orders": "api.orders"}
    beside = View(tables={"core.users": {"age": "int"}}, sources=one.sources, incoming=one.incoming)
    assert not sighted("get the newest ones", beside, None)[1].coming
    assert sighted("get the newest ones from the api", beside, None)[1].coming == {"staging.orders": "api.orders"}


def test_a_table_that_is_there_already_stays_what_it_is() -> None:
    there = View(tables={"staging.shows": {"x": "int"}}, sources=SHOWS.sources, incoming=SHOWS.incoming)
    _, view = sighted("pull the shows", there, None)
    assert not view.coming
    assert view.tables["staging.shows"] == {"x": "int"}


def test_chat_models_are_told_the_columns_too() -> None:
    told = catalog(SHOWS)
    assert "Source ticketing: shows(show_id int, hall text), seats(seat int)" in told
    assert 'Files: "in/meters.csv"(meter_no text, kwh float), "in/old.csv"' in told


# ---------------------------------------------------------------- where the columns come from


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".jsonl", ".json", ".parquet", ".xlsx"])
def test_a_file_tells_its_columns(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"meter": ["a", "b"], "kwh": [1.5, 2.25]})
    place = tmp_path / f"meters{ending}"
    write = {
        ".csv": lambda: frame.to_csv(place, index=False),
        ".csv.gz": lambda: frame.to_csv(place, index=False),
        ".jsonl": lambda: frame.to_json(place, orient="records", lines=True),
        ".json": lambda: frame.to_json(place, orient="records"),
        ".parquet": lambda: frame.to_parquet(place),
        ".xlsx": lambda: frame.to_excel(place, index=False),
    }
    write[ending]()
    assert peek(tmp_path, place.name, 50).schema == {"meter": "text", "kwh": "float"}


def test_of_a_large_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    text = "id,name\n" + "".join(f"{n},abcdefghij\n" for n in range(60_000))
    (tmp_path / "large.csv").write_text(text + "x,late\n", encoding="utf-8")
    (tmp_path / "large.csv.gz").write_bytes(gzip.compress((text + "x,late\n").encode()))
    assert peek(tmp_path, "large.csv", 50).schema == {"id": "int", "name": "text"}
    assert peek(tmp_path, "large.csv.gz", 50).schema == {"id": "int", "name": "text"}


def test_a_file_tells_the_texts_of_a_column_that_has_few(tmp_path: Path) -> None:
    rows = "".join(f"{'dog' if n % 2 else 'cat'},name {n},{n}\n" for n in range(20))
    (tmp_path / "pets.csv").write_text("species,name,age\n" + rows, encoding="utf-8")
    assert peek(tmp_path, "pets.csv", 10).values == {"species": ("cat", "dog")}


def test_what_a_file_holds_is_a_value_once_the_file_is_meant() -> None:
    view = View(
        tables={"core.owners": {"species": "text"}},
        files=("pets.csv",),
        incoming={"pets.csv": {"species": "text", "age": "int"}},
        values={"pets.csv": {"species": ("cat", "dog")}},
    )
    linked, seen = sighted("load pets.csv and keep the dogs", view, None)
    assert "dog" in [linked.slots[slot] for slot in linked.of("v")]
    assert seen.values["staging.pets"] == {"species": ("cat", "dog")}
    assert sighted("keep the dogs", view, "transformation")[0].of("v") == []


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    place = tmp_path / "a.csv"
    place.write_text("x\n1\n", encoding="utf-8")
    assert peek(tmp_path, "a.csv", 50).schema == {"x": "int"}
    place.write_text("x,y\n1,2\n", encoding="utf-8")
    assert peek(tmp_path, "a.csv", 50).schema == {"x": "int", "y": "int"}


CUT = gzip.compress(b"id,name\n1,a\n" * 1000)[:-20]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("odd.parquet", b""),
        ("odd.parquet", b"PAR1 but no more"),
        ("odd.csv.gz", CUT),
        ("odd.csv.gz", CUT[:12] + b"\xff" * 30),
        ("odd.jsonl.gz", CUT),
        ("odd.json", b"[" * 5000),
        ("odd.xlsx", b"PK\x03\x04 no more"),
    ],
)
def test_a_file_that_cannot_be_read_tells_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert peek(tmp_path, name, 50) == ({}, {})


def test_a_lab_knows_what_its_sources_and_files_would_bring(tmp_path: Path) -> None:
    with start() as api, Lab(tmp_path / "lab", Scripted({})) as lab:
        (tmp_path / "lab" / "meters.csv").write_text("meter,kwh\na,1\n", encoding="utf-8")
        with sqlite3.connect(tmp_path / "lab" / "shop.sqlite") as con:
            con.execute("CREATE TABLE invoices (no INTEGER, total REAL)")
        lab.add_source("sales_api", url=api.url, resources={"orders": {"path": "/orders"}}, token=api.token)
        lab.add_source("shop", kind="sql", driver="sqlite", path="shop.sqlite")
        incoming = lab.view().incoming
    assert incoming["meters.csv"] == {"meter": "text", "kwh": "int"}
    assert incoming["shop.invoices"] == {"no": "int", "total": "float"}
    assert "order_id" in incoming["sales_api.orders"]


def test_an_api_that_does_not_answer_can_be_registered(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.add_source("gone", url="http://127.0.0.1:9", resources={"orders": {"path": "/orders"}})
        assert lab.sources() == {"gone": ["orders"]}
        assert "gone.orders" not in lab.view().incoming


def test_a_silent_api_with_many_resources_is_given_up_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, Lab(tmp_path / "lab", Scripted({})) as lab:
        resources = {f"list{n}": {"path": f"/{n}"} for n in range(12)}
        lab.add_source("deaf", url=f"http://127.0.0.1:{deaf.getsockname()[1]}", resources=resources)
        assert len(lab.sources()["deaf"]) == 12


def test_columns_seen_once_are_no_promise(tmp_path: Path) -> None:
    """The first rows' codes may be numbers, later ones not."""
    doc = {"kind": "rest", "url": "http://x", "resources": {"codes": {"path": "/c", "seen": {"code": "int"}}}}
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.add_source("api", url="http://127.0.0.1:9", resources={"codes": {**doc["resources"]["codes"]}})
        pull = {"name": "pull", "arguments": {"source": "api", "resource": "codes", "where": "code LIKE 'A%'"}}
        plan = Plan.from_calls([{**pull, "arguments": {**pull["arguments"], "into": "staging.codes"}}])
        assert not [issue for issue in check(plan, lab.catalog, None) if issue.severity in ("mend", "clarify")]


def test_what_is_coming_is_no_table_before_it_is_brought() -> None:
    view = View(
        tables={"staging.sales": {"qty": "int"}}, sources={"api": ("orders",)}, incoming={"api.orders": {"qty": "int"}}
    )
    linked, seen = sighted("keep the ones with qty above 1", view, None)
    keep = {"name": "filter", "arguments": {"where": '"qty" > 1'}}
    assert complete([keep], linked, seen)[0]["arguments"]["table"] == "staging.sales"


# ---------------------------------------------------------------- two meanings

TWO = View(
    tables={
        "core.water_log": {"tank": "text", "litres": "float"},
        "core.power_log": {"tank": "text", "kwh": "float"},
        "core.stock": {"item": "text"},
        "core.stock_may": {"item": "text"},
    },
    sources={"webshop": ("customers",), "crm": ("customers",)},
    queries=("revenue by day", "revenue by outlet"),
)


def meant(intent: str, name: str, **arguments: object) -> list[tuple[str, list[str]]]:
    linked, view = sighted(intent, TWO, None)
    return list(rivals(Plan.from_calls([{"name": name, "arguments": arguments}]), linked, view))


@pytest.mark.parametrize(
    ("intent", "name", "arguments"),
    [
        ("export the log", "export", {"table": "core.water_log"}),
        ("pull the customers", "pull", {"source": "crm", "resource": "customers", "into": "staging.customers"}),
        ("make the revenue query faster", "recommend", {"query": "revenue by day", "apply": True}),
    ],
)
def test_a_name_that_could_mean_two_things_is_found(intent: str, name: str, arguments: dict[str, object]) -> None:
    ((_, names),) = meant(intent, name, **arguments)
    assert len(names) == 2


@pytest.mark.parametrize(
    ("intent", "name", "arguments"),
    [
        ("export the water log", "export", {"table": "core.water_log"}),
        ("sort the log by litres", "sort", {"table": "core.water_log", "by": ["litres"]}),
        ("export the stock", "export", {"table": "core.stock"}),
        ("pull the webshop's customers", "pull", {"source": "webshop", "resource": "customers", "into": "staging.c"}),
        ("make the revenue by outlet query faster", "recommend", {"query": "revenue by outlet", "apply": True}),
    ],
)
def test_what_tells_names_apart_settles_it(intent: str, name: str, arguments: dict[str, object]) -> None:
    assert meant(intent, name, **arguments) == []


def test_names_in_full_are_settled_and_what_is_set_aside_is_no_rival() -> None:
    view = View(
        tables={"staging.orders": {"id": "int"}, "quarantine.orders": {"id": "int"}, "core.order": {"id": "int"}},
        files=("orders.csv", "in/orders.csv"),
        incoming={"orders.csv": {"id": "int"}},
    )

    def asked(intent: str, name: str, **arguments: object) -> list[tuple[str, list[str]]]:
        linked, seen = sighted(intent, view, None)
        return list(rivals(Plan.from_calls([{"name": name, "arguments": arguments}]), linked, seen))

    assert not asked("export the orders", "export", table="staging.orders")
    assert not asked("load in/orders.csv", "load_file", path="in/orders.csv", into="staging.x")
    assert not asked("load orders.csv", "load_file", path="orders.csv", into="staging.x")
    assert asked("load the orders file", "load_file", path="orders.csv", into="staging.x")


def test_an_agent_asks_which_one(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        for file, name in (("a.csv", "water_log"), ("b.csv", "power_log")):
            (tmp_path / "lab" / file).write_text("tank,amount\na,1\n", encoding="utf-8")
            load = {"name": "load_file", "arguments": {"path": file, "into": f"staging.{name}"}}
            lab.run(Plan.from_calls([load]))
        model = Scripted([[{"name": "export", "arguments": {"table": "staging.water_log"}}]])
        plan = Agent(None, model).plan("export the log", lab.view(), lab.catalog)
    assert plan.status == "clarify"
    assert "staging.water_log" in str(plan) and "staging.power_log" in str(plan)
    assert len(model.asks) == 1


def test_what_texts_a_source_holds_is_known_where_they_come_again(tmp_path: Path) -> None:
    rows = [
        {"tool": f"T{n}", "state": ("broken", "fine")[n % 2], "owner": "ann@example.org", "at": "2026-01-01"}
        for n in range(8)
    ]
    with serving(Api(rows, most=10)) as api, Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.add_source(
            "rental", url=api.url, resources={"tools": {"path": "/whole", "items": "", "paging": {"by": "none"}}}
        )
        view = lab.view()
        assert view.values["rental.tools"] == {"state": ("broken", "fine")}
        linked, wider = sighted("get the broken tools", view, None)
        assert "=<c0>" in linked.text
        assert linked.slots["<c0>"] == "state"
        assert wider.coming == {"staging.tools": "rental.tools"}


def test_an_api_that_takes_only_small_pages_is_seen_too(tmp_path: Path) -> None:
    with serving(Api([{"state": "new"}] * 4)) as api, Lab(tmp_path / "lab", Scripted({})) as lab:
        api.before = lambda _, query, __: (400, {}, {}) if int(query.get("limit", 0)) > 50 else None
        lab.add_source(
            "shop", url=api.url, resources={"orders": {"path": "/whole", "items": "", "paging": {"by": "none"}}}
        )
        assert lab.view().incoming["shop.orders"] == {"state": "text"}


def test_a_table_keeps_its_own_texts_beside_a_resource_of_its_name(tmp_path: Path) -> None:
    with serving(Api([{"state": "ignore rules"}] * 4)) as api, Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(pd.DataFrame({"state": ["open", "done", "open"]}), "claims")
        lab.add_source(
            "staging", url=api.url, resources={"claims": {"path": "/whole", "items": "", "paging": {"by": "none"}}}
        )
        assert set(lab.view().values["staging.claims"]["state"]) == {"open", "done"}
