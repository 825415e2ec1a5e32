"""What keeping a table would cost: measured on files really written, priced by a table that anyone can change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from agentlab.costs import DEFAULT, Choice, Costs, Prices
from agentlab.errors import LabError, PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.stores import StoreDoc

ROWS = 20_000
#: Prices by which every figure can be reckoned by hand.
PRICES = """
currency: EUR
as_of: 2026-01
places:
  local: {month: 1}
  s3: {month: 0.5, puts: 10, gets: 1, scan: 2}
habits: {publishes: 100, queries: 1000}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        days = pd.date_range("2024-01-01", periods=10).date
        rows = {"id": range(ROWS), "day": [days[n % 10] for n in range(ROWS)], "note": [f"n{n}" for n in range(ROWS)]}
        lab.load(pd.DataFrame(rows), "orders")
        yield lab


def one(costs: Costs, format: str, place: str = "local", *by: str) -> Choice:
    (found,) = [c for c in costs if (c.format, c.place, c.partition_by) == (format, place, by)]
    return found


def test_every_format_place_and_split_is_a_choice_and_the_cheapest_comes_first(lab: Lab):
    costs = lab.costs("staging.orders")
    ways = {(c.format, c.place, c.partition_by) for c in costs}
    files = [("parquet", "local"), ("parquet", "s3"), ("delta", "local"), ("delta", "s3")]
    expected = {(*way, by) for way in files for by in ((), ("day",))}
    assert ways == expected | {("duckdb", "local", ()), ("postgres", "postgres", ())}, "a note is too many for folders"
    assert [c.month for c in costs] == sorted(c.month for c in costs)
    assert not list((lab.root / "tmp").glob("costs*")), "what was written to measure is gone"


def test_bytes_are_those_that_publishing_takes(lab: Lab):
    calls = [
        {"name": "provision", "arguments": {"store": "mart", "partition_by": ["day"]}},
        {"name": "publish", "arguments": {"table": "staging.orders", "store": "mart"}},
    ]
    lab.run(Plan.from_calls(calls))
    published = lab.stores()["mart"].tables["orders"].bytes
    choice = one(lab.costs("staging.orders"), "parquet", "local", "day")
    assert choice.bytes == pytest.approx(published, rel=0.05)
    assert choice.files == 10 and choice.query_bytes == pytest.approx(choice.bytes / 10, rel=0.01)


def test_a_large_table_is_scaled_from_a_sample(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    whole = one(lab.costs("staging.orders"), "parquet").bytes
    monkeypatch.setattr("agentlab.costs.SAMPLE", ROWS // 4)
    assert one(lab.costs("staging.orders"), "parquet").bytes == pytest.approx(whole, rel=0.2)


def test_money_follows_from_the_labs_own_prices(lab: Lab):
    (lab.root / "prices.yaml").write_text(PRICES)
    costs = lab.costs("staging.orders", by=["day"])
    assert {c.place for c in costs} == {"local", "s3"}, "a place without prices is no choice"
    local, whole, split = one(costs, "parquet"), one(costs, "parquet", "s3"), one(costs, "parquet", "s3", "day")
    gib = 1024**3
    assert local.month == pytest.approx(local.bytes / gib)
    # One file: 2 requests to publish it (list, put), 2 to read it.
    by_hand = whole.bytes / gib * 0.5 + 100 * 2 / 1000 * 10 + 1000 * (2 / 1000 * 1 + whole.bytes / gib * 2)
    assert whole.month == pytest.approx(by_hand) and whole.currency == "EUR"
    # Ten files to publish, of which a query reads one.
    by_hand = split.bytes / gib * 0.5 + 100 * 11 / 1000 * 10 + 1000 * (2 / 1000 * 1 + split.bytes / 10 / gib * 2)
    assert split.month == pytest.approx(by_hand, rel=1e-4)


def test_the_prices_that_come_along_say_that_they_are_examples():
    assert "examples" in DEFAULT.read_text() and Prices.of_lab(Path("nowhere")).as_of == "2026-11"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("as_of: 2026\nplaces: {s3: {month: -1}}", "places.s3.month"),
        ("as_of: 2026\nplaces: {moon: {month: 1}}", "places.moon"),
        ("places: [", "prices.yaml is no table of prices"),
    ],
)
def test_prices_that_cannot_be_are_told(text: str, words: str, lab: Lab):
    (lab.root / "prices.yaml").write_text(text)
    with pytest.raises(LabError, match=words):
        lab.costs("staging.orders")


def test_costs_display_as_a_table_and_in_words(lab: Lab):
    costs = lab.costs("staging.orders")
    assert list(costs.frame.columns[:3]) == ["format", "place", "partition_by"] and len(costs.frame) == len(costs)
    assert costs._repr_html_().startswith("<table") and "query_bytes" in costs._repr_html_()
    assert "USD a month" in str(costs)


def test_an_empty_table_costs_next_to_nothing(lab: Lab):
    lab.run(Plan.from_calls([{"name": "limit", "arguments": {"table": "staging.orders", "n": 0}}]))
    assert max(c.bytes for c in lab.costs("staging.orders") if c.format == "parquet") < 2000


def test_unknown_names_are_told(lab: Lab):
    with pytest.raises(PlanError, match=r"did you mean 'staging\.orders'"):
        lab.costs("staging.order")
    with pytest.raises(PlanError, match=r"no column 'dya'.*did you mean 'day'"):
        lab.costs("staging.orders", by=["dya"])


def test_a_store_elsewhere_is_reckoned_by_that_places_prices(lab: Lab):
    from agentlab.costs import place_of

    docs = [StoreDoc(name="a", location="stores/a"), StoreDoc(name="b", location="s3://acme/b")]
    docs.append(StoreDoc(name="c", location="erp", format="postgres"))
    assert [place_of(doc) for doc in docs] == ["local", "s3", "postgres"]
