"""A shop of two years of orders, the same for the same seed, and a manifest of exactly what is wrong with them.

It makes plain lists of dicts. It serves nothing (see `api`) and judges nothing.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any

from agentlab.errors import LabError

Row = dict[str, Any]

#: The day of the last orders, unless another is given: fixed, so that every run sees the same shop.
END = date(2026, 10, 31)
DAYS = 730
FIRST_ID = 100_001

#: name, category, price at `END` in euros
PRODUCTS: tuple[tuple[str, str, float], ...] = (
    *(("Paper Notebook", "Office", 6.9), ("Gel Pen Set", "Office", 12.5), ("Desk Organizer", "Office", 24.9)),
    *(("Monitor Arm", "Office", 89.0), ("Ergonomic Chair", "Office", 329.0), ("Standing Mat", "Office", 54.9)),
    *(("Espresso Cups", "Kitchen", 28.0), ("Chef Knife", "Kitchen", 79.0), ("Cast Iron Pan", "Kitchen", 64.5)),
    *(("Coffee Grinder", "Kitchen", 119.0), ("Pasta Machine", "Kitchen", 74.9), ("Tea Towels", "Kitchen", 14.9)),
    *(("Garden Shears", "Garden", 34.9), ("Watering Can", "Garden", 22.5), ("Raised Bed", "Garden", 139.0)),
    *(("Seed Collection", "Garden", 16.9), ("Hose Reel", "Garden", 69.0), ("Solar Lantern", "Garden", 29.9)),
    *(("Wireless Earbuds", "Electronics", 99.0), ("USB-C Hub", "Electronics", 45.0)),
    *(("Mechanical Keyboard", "Electronics", 129.0), ("Power Bank", "Electronics", 39.9)),
    *(("Action Camera", "Electronics", 279.0), ("Desk Lamp", "Electronics", 59.0)),
    *(("Wooden Train", "Toys", 44.9), ("Building Blocks", "Toys", 59.9), ("Plush Bear", "Toys", 19.9)),
    *(("Board Game", "Toys", 36.5), ("Kite", "Toys", 26.0), ("Puzzle 1000", "Toys", 17.9)),
    *(("Yoga Mat", "Sports", 32.0), ("Trail Shoes", "Sports", 124.0), ("Dumbbell Pair", "Sports", 49.9)),
    *(("Bike Helmet", "Sports", 84.0), ("Climbing Rope", "Sports", 149.0), ("Water Bottle", "Sports", 18.5)),
)
_GIVEN = (
    *("Anna", "Ben", "Chiara", "David", "Elif", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Katarzyna", "Liam"),
    *("Maya", "Noah", "Olivia", "Pablo", "Rosa", "Samir", "Tilda", "Umut", "Vera", "Wout", "Yuki", "Zoë"),
)
_FAMILY = (
    *("Almeida", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jansen", "Kowalski"),
    *("Lindqvist", "Moreau", "Nakamura", "O'Brien", "Petrov", "Quist", "Rossi", "Schmidt", "Tanaka", "Ueda", "Vargas"),
    *("Weber", "Yılmaz", "Zeman", "Müller", "Novak", "Silva"),
)
#: country, a city, its share of the customers
_PLACES = (
    *(("Germany", "Leipzig", 26), ("France", "Lyon", 18), ("Spain", "Valencia", 12), ("Italy", "Torino", 12)),
    *(("Netherlands", "Utrecht", 10), ("Poland", "Gdańsk", 9), ("Sweden", "Malmö", 7), ("Austria", "Graz", 6)),
)
_CHANNELS = (("web", 55), ("app", 28), ("store", 13), ("phone", 4))
_STATUSES = (("completed", 82), ("shipped", 8), ("returned", 5), ("cancelled", 4), ("pending", 1))
_DISCOUNTS = ((0.0, 46), (0.05, 20), (0.1, 20), (0.15, 9), (0.2, 5))
_NOT_NUMBERS = ("n/a", "on request", "TBC", "see invoice", "forty-nine", "EUR 24,90")
#: The share of the rows that each defect takes. One order has at most one defect.
_SHARES = {
    "missing_email": 0.03,
    "duplicated": 0.0125,
    "negative_quantity": 0.01,
    "outlier_price": 0.002,
    "text_price": 0.003,
}


@dataclass(frozen=True)
class Manifest:
    """What was planted, as sorted order ids; a `duplicated` order occurs twice, equal in every column."""

    missing_email: tuple[int, ...]
    duplicated: tuple[int, ...]
    negative_quantity: tuple[int, ...]
    outlier_price: tuple[int, ...]
    text_price: tuple[int, ...]

    def counts(self) -> dict[str, int]:
        """How many orders have each defect."""
        return {name: len(ids) for name, ids in self._defects().items()}

    def within(self, order_ids: Iterable[int]) -> Manifest:
        """What of it is in these rows, given by their order ids; a duplicate counts where both of its rows are there.

        >>> Manifest((1,), (2, 3), (), (), (9,)).within([1, 2, 2, 3]).counts()["duplicated"]
        1
        """
        seen = Counter(order_ids)
        least = {"duplicated": 2}
        kept = {n: tuple(i for i in ids if seen[i] >= least.get(n, 1)) for n, ids in self._defects().items()}
        return Manifest(**kept)

    def _defects(self) -> dict[str, tuple[int, ...]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Shop:
    """What the shop knows, orders by time, oldest first; and the manifest of what is wrong with the orders."""

    orders: list[Row]
    customers: list[Row]
    products: list[Row]
    manifest: Manifest


def build(rows: int = 12_000, seed: int = 7, end: date = END) -> Shop:
    """A shop of exactly `rows` rows of orders, duplicates among them, over the two years up to the day `end`.

    >>> shop = build(rows=1000)
    >>> len(shop.orders), shop.manifest.counts()["missing_email"], shop == build(rows=1000)
    (1000, 30, True)
    """
    if rows < 500:
        raise LabError(f"a shop of {rows} rows is too small to plant every defect in; ask for 500 or more")
    chance = Random(seed)
    customers = _customers(chance, max(50, rows // 12), end)
    twins = round(rows * _SHARES["duplicated"])
    orders = _orders(chance, rows - twins, customers, end)
    manifest = _plant(chance, orders, rows)
    copies = set(manifest.duplicated)
    with_copies = [
        copy for order in orders for copy in ([order, dict(order)] if order["order_id"] in copies else [order])
    ]
    return Shop(with_copies, customers, _products(), manifest)


def _products() -> list[Row]:
    return [
        {"product_id": f"P-{n:03d}", "name": name, "category": category, "list_price": price, "in_stock": n % 9 != 0}
        for n, (name, category, price) in enumerate(PRODUCTS, 1)
    ]


def _customers(chance: Random, count: int, end: date) -> list[Row]:
    return [_customer(chance, number, end) for number in range(1, count + 1)]


def _customer(chance: Random, number: int, end: date) -> Row:
    given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
    country, city, _ = chance.choices(_PLACES, [share for *_, share in _PLACES])[0]
    domain = chance.choice(("example.com", "example.org", "example.net"))
    return {
        "customer_id": f"C-{number:04d}",
        "name": f"{given} {family}",
        "email": f"{_ascii(given)}.{_ascii(family)}{number}@{domain}",
        "signed_up": (end - timedelta(days=DAYS + chance.randrange(900))).isoformat(),
        "address": {"city": city, "country": country, "postcode": f"{chance.randrange(100_000):05d}"},
    }


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("ı", "i")).encode("ascii", "ignore").decode()
    return "".join(c for c in plain.lower() if c.isalpha())


def _orders(chance: Random, count: int, customers: list[Row], end: date) -> list[Row]:
    # A few customers order often and most rarely; some products sell much better than others.
    buyers = list(accumulate(chance.paretovariate(1.6) for _ in customers))
    demand = list(accumulate(chance.uniform(0.4, 2.0) for _ in PRODUCTS))
    orders = []
    for number, moment in enumerate(_moments(chance, count, end)):
        customer = customers[bisect_right(buyers, chance.random() * buyers[-1])]
        product = PRODUCTS[bisect_right(demand, chance.random() * demand[-1])]
        orders.append(_order(chance, FIRST_ID + number, moment, customer, product, end))
    return orders


def _moments(chance: Random, count: int, end: date) -> list[datetime]:
    days = [end - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    weights = [_busyness(day, number / DAYS) for number, day in enumerate(days)]
    hours = (*[1] * 7, *[4] * 4, *[6] * 6, *[9] * 5, *[3] * 2)
    chosen = chance.choices(days, weights, k=count)
    return sorted(
        datetime(d.year, d.month, d.day, chance.choices(range(24), hours)[0], tzinfo=UTC)
        + timedelta(seconds=chance.randrange(3600))
        for d in chosen
    )


def _busyness(day: date, progress: float) -> float:
    growth, weekend = 0.7 + 0.6 * progress, 1.25 if day.weekday() >= 5 else 1.0
    season = {11: 1.4, 12: 1.7, 1: 0.8, 7: 0.9}.get(day.month, 1.0)
    return growth * weekend * season


def _order(
    chance: Random, number: int, moment: datetime, customer: Row, product: tuple[str, str, float], end: date
) -> Row:
    name, category, price = product
    years_ago = (end - moment.date()).days // 180 / 2
    return {
        "order_id": number,
        "order_date": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "customer_id": customer["customer_id"],
        "customer_name": customer["name"],
        "email": customer["email"],
        "product": name,
        "category": category,
        "country": customer["address"]["country"],
        "channel": _pick(chance, _CHANNELS),
        "quantity": _quantity(chance, price),
        "unit_price": round(price * 0.96**years_ago, 2),
        "discount": _pick(chance, _DISCOUNTS),
        "status": _pick(chance, _STATUSES),
    }


def _pick(chance: Random, shares: tuple[tuple[Any, int], ...]) -> Any:
    return chance.choices([value for value, _ in shares], [share for _, share in shares])[0]


def _quantity(chance: Random, price: float) -> int:
    # Dear things are bought one at a time, so that an order's value alone is no outlier.
    weights = (6, 1) if price > 100 else (5, 3, 2) if price > 40 else (4, 4, 3, 2, 1)
    return chance.choices(range(1, len(weights) + 1), weights)[0]


def _plant(chance: Random, orders: list[Row], rows: int) -> Manifest:
    spoiled = chance.sample(orders, sum(round(rows * share) for share in _SHARES.values()))
    planted: dict[str, tuple[int, ...]] = {}
    for defect, share in _SHARES.items():
        taken = [spoiled.pop() for _ in range(round(rows * share))]
        for order in taken:
            _spoil(chance, order, defect)
        planted[defect] = tuple(sorted(order["order_id"] for order in taken))
    return Manifest(**planted)


def _spoil(chance: Random, order: Row, defect: str) -> None:
    if defect == "missing_email":
        order["email"] = None
    elif defect == "negative_quantity":
        order["quantity"] = -order["quantity"]
    elif defect == "outlier_price":
        order["unit_price"] = round(order["unit_price"] * 1000, 2)
    elif defect == "text_price":
        order["unit_price"] = chance.choice(_NOT_NUMBERS)
