"""Scenes: made-up labs (tables, sources, stores, queries) in which training intents are said."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from agentlab.actions import Schema
from agentlab.actions.base import ColumnType
from agentlab.linking import Index, spoken
from agentlab.view import View

HERE = Path(__file__).parent

SOURCES = [
    "sales_api",
    "shop_api",
    "crm",
    "erp",
    "billing_db",
    "hr_system",
    "web_shop",
    "payments_api",
    "warehouse_db",
    "support_desk",
    "marketing_api",
    "clinic_db",
    "school_api",
    "logistics_api",
    "inventory_service",
    "weather_api",
    "crm_db",
    "partner_feed",
    "finance_api",
    "iot_hub",
    "ticketing",
    "pos",
    "analytics_db",
    "legacy_erp",
    "orders_service",
    "booking_api",
    "ledger",
    "customer_api",
    "salesforce",
    "stripe",
    "shopify",
    "fleet_api",
    "sensor_feed",
    "library_db",
    "events_api",
    "survey_tool",
    "loyalty_program",
    "procurement",
    "subscriptions_api",
    "claims_db",
]
STORES = [
    "sales",
    "finance",
    "marketing",
    "reporting",
    "orders",
    "customers",
    "analytics",
    "operations",
    "hr",
    "inventory",
    "billing",
    "logistics",
    "clinic",
    "research",
    "products",
    "support",
    "risk",
    "payroll",
    "bookings",
    "energy",
    "planning",
    "quality",
    "revenue",
    "fleet",
    "students",
    "sensors",
    "claims",
    "donations",
]
QUERY_WORDS = [
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "top",
    "best",
    "total",
    "average",
    "open",
    "late",
    "active",
    "new",
    "recent",
    "regional",
    "overall",
    "hourly",
    "slowest",
    "pending",
]
SUFFIXES: dict[str, list[str]] = {
    "int": ["count", "qty", "num", "level", "days", "score", "number"],
    "float": ["amount", "rate", "value", "price", "pct", "ratio", "cost", "total"],
    "date": ["date", "on", "day"],
    "timestamp": ["at", "time", "timestamp"],
    "text": ["type", "status", "group", "name", "code", "category", "label", "notes"],
    "bool": ["flag", ""],
}
SHORT = {
    "quantity": "qty", "customer": "cust", "amount": "amt", "number": "num", "address": "addr", "product": "prod",
    "department": "dept", "order": "ord", "total": "tot", "category": "cat", "average": "avg", "percent": "pct",
}  # fmt: skip
#: Names that a count of sold things and its price go by.
QUANTITIES = [
    "quantity",
    "qty",
    "units",
    "units_sold",
    "items",
    "pieces",
    "num_items",
    "amount_sold",
    "order_qty",
    "item_count",
    "copies",
    "seats",
    "boxes",
]
PRICES = [
    "unit_price",
    "price",
    "price_per_unit",
    "item_price",
    "sale_price",
    "list_price",
    "rate",
    "fee",
    "price_each",
    "net_price",
    "ticket_price",
]

VALUES = [
    "north",
    "south",
    "red",
    "blue",
    "new",
    "old",
    "draft",
    "final",
    "large",
    "small",
    "yes",
    "no",
    "unknown",
    "none",
    "test",
    "alpha",
    "beta",
    "N/A",
    "TBD",
    "New~York",
    "Los~Angeles",
    "in~progress",
    "on~hold",
    "paid",
    "unpaid",
    "VIP",
    "standard",
    "premium",
    "basic",
    "refunded",
    "closed",
    "open",
    "lost",
    "won",
    "high",
    "low",
]


@dataclass
class Column:
    """A column of a made-up table: what it holds beside its type, its values when they are few, its role in a formula."""

    name: str
    type: ColumnType
    what: str = ""
    values: tuple[str, ...] = ()
    role: str = ""


@dataclass
class Scene:
    """A lab and the table that an intent is about."""

    view: View
    index: Index
    table: str
    columns: list[Column]
    other: str = ""
    other_columns: list[Column] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@cache
def domains() -> dict[str, list[Column]]:
    """The tables of `domains.yaml`."""
    raw = yaml.safe_load((HERE / "domains.yaml").read_text())
    return {table: [_column(name, text) for name, text in columns.items()] for table, columns in raw.items()}


@cache
def words() -> list[str]:
    """Plain nouns for made-up names."""
    return (HERE / "words.txt").read_text().split()


def _column(name: str, text: str) -> Column:
    found = re.fullmatch(r"(\w+)(?: (\w+))?(?: = ([^@]*?))?(?: @ (\w+))?", text)
    assert found, text
    values = tuple(v.strip() for v in found[3].split(",")) if found[3] else ()
    return Column(name, found[1], found[2] or "", values, found[4] or "")  # type: ignore[arg-type]


def pseudoword(r: random.Random) -> str:
    """A pronounceable word that is none."""
    return "".join(
        r.choice("bdfgklmnprstvz") + r.choice("aeiou") + r.choice(["", "", "n", "r", "x"])
        for _ in range(r.randint(2, 3))
    )


def made_up(r: random.Random) -> Column:
    """A column that no domain has, so that names aren't learnt by heart."""
    type_ = r.choices(["int", "float", "date", "timestamp", "text", "bool"], [22, 22, 12, 6, 30, 8])[0]
    stem = [r.choice(words()) if r.random() < 0.6 else pseudoword(r) for _ in range(r.choice([1, 1, 2]))]
    if type_ == "bool" and r.random() < 0.6:
        stem.insert(0, r.choice(["is", "has", "was"]))
    else:
        stem.append(r.choice(SUFFIXES[type_]) if r.random() < 0.7 else "")
    values = tuple(random_value(r) for _ in range(3)) if type_ == "text" and r.random() < 0.7 else ()
    return Column("_".join(s for s in stem if s), type_, "category" if values else "", values)  # type: ignore[arg-type]


def random_value(r: random.Random) -> str:
    """A text as it may stand in a cell."""
    if r.random() < 0.5:
        return r.choice(VALUES).replace("~", " ")
    word = r.choice(words()) if r.random() < 0.7 else pseudoword(r)
    return r.choice([word, word.title(), word.upper()[:4], f"{word.title()}{r.randint(1, 99)}"])


def styled(name: str, style: str) -> str:
    """A snake-case name in another writing."""
    split = name.split("_")
    if style == "short":
        return "_".join(SHORT.get(w, w) for w in split)
    if style == "camel":
        return split[0] + "".join(w.title() for w in split[1:])
    if style == "pascal":
        return "".join(w.title() for w in split)
    if style == "upper":
        return name.upper()
    return " ".join(w.title() for w in split) if style == "title" else name


def make_table(r: random.Random) -> tuple[str, list[Column]]:
    """A table's name and columns: of a domain, mixed, or made up."""
    if r.random() < 0.2:
        name, pool = (
            f"{r.choice(words())}{r.choice(['', 's', '_data', '_log'])}",
            [made_up(r) for _ in range(r.randint(4, 9))],
        )
    else:
        name = r.choice(list(domains()))
        pool = domains()[name]
        size = min(len(pool), r.randint(5, 14))
        pool = [pool[i] for i in sorted(r.sample(range(len(pool)), size))]
        pool = [made_up(r) if r.random() < 0.12 else c for c in pool]
    if r.random() < 0.16 and name in domains():
        pool = _selling(r, pool)
    style = r.choices(["snake", "camel", "pascal", "upper", "short", "title"], [68, 8, 4, 4, 12, 4])[0]
    columns, seen = [], set()
    for c in pool:
        values = c.values
        if c.type == "text" and c.what in ("category", "") and r.random() < 0.3:
            values = (*values[:1], *(random_value(r) for _ in range(2)))
        named = Column(styled(c.name, style), c.type, c.what, values, c.role)
        if named.name.lower() not in seen:
            seen.add(named.name.lower())
            columns.append(named)
    prefix = r.choices(["", "staging.", "core.", "raw.", "main.", "sales."], [40, 36, 10, 6, 4, 4])[0]
    return prefix + name, columns


def make(r: random.Random) -> Scene:
    """A whole lab, most often with one table, sometimes with three."""
    table, columns = make_table(r)
    tables = {table: columns}
    scene_other, other_columns, keys = "", [], []
    if r.random() < 0.35:
        scene_other, other_columns = make_table(r)
        if scene_other.split(".")[-1] != table.split(".")[-1]:
            key = next((c for c in columns if c.what == "id"), columns[0])
            other_columns = [key, *(c for c in other_columns if c.name != key.name)]
            tables[scene_other] = other_columns
            keys = [c.name for c in columns if c.name in {o.name for o in other_columns}]
        else:
            scene_other = ""
    if r.random() < 0.15:
        third, more = make_table(r)
        if third not in tables:
            tables[third] = more
    sources, stores = _sources(r, table), tuple(r.sample(STORES, r.choice([0, 0, 1, 1, 2])))
    pulls = [f"{source}.{resource} pull" for source, resources in sources.items() for resource in resources]
    tasks = tuple(dict.fromkeys([*_pipelines(r), *(f"{name} refresh" for name in (*stores, *tables)), *pulls]))
    view = View(
        tables={name: _schema(cols) for name, cols in sorted(tables.items(), key=lambda _: r.random())},
        sources=sources,
        stores=stores,
        queries=_queries(r, list(tables)),
        tasks=tasks,
        scheduled=tuple(r.sample(tasks, min(len(tasks), r.choice([0, 1, 1, 2])))),
        files=_files(r),
        snapshots=_snapshots(r, table),
        values={name: {c.name: c.values for c in cols if c.values} for name, cols in tables.items()},
    )
    if r.random() < 0.6 and view.sources:
        source = r.choice(list(view.sources))
        view = View(**{**view.__dict__, "origins": {table: (source, r.choice(view.sources[source]))}})
    return Scene(view, Index(view), table, columns, scene_other, other_columns, keys)


def _selling(r: random.Random, pool: list[Column]) -> list[Column]:
    """The table of somebody who sells: with a quantity and a price, under one of their many names."""
    others = [c for c in pool if c.role not in ("quantity", "price")][: r.randint(3, 11)]
    sold = Column(r.choice(QUANTITIES), "int", "", (), "quantity")
    price = Column(r.choice(PRICES), "float", "", (), "price")
    at = sorted(r.sample(range(len(others) + 1), 2)) if len(others) > 1 else [0, 1]
    return [*others[: at[0]], sold, *others[at[0] : at[1]], price, *others[at[1] :]]


def _schema(columns: list[Column]) -> Schema:
    return {c.name: c.type for c in columns}


def _sources(r: random.Random, table: str) -> dict[str, tuple[str, ...]]:
    names = r.sample(SOURCES, r.choice([0, 1, 1, 1, 2, 3]))
    return {
        name: tuple(dict.fromkeys([r.choice(list(domains())), *r.sample(list(domains()), r.randint(0, 2))]))
        for name in names
    }


def _queries(r: random.Random, tables: list[str]) -> tuple[str, ...]:
    about = [t.split(".")[-1] for t in tables] + [
        "revenue",
        "sales",
        "customers",
        "orders",
        "products",
        "margin",
        "costs",
    ]
    names = {f"{r.choice(QUERY_WORDS)} {spoken(r.choice(about))}" for _ in range(r.choice([0, 1, 2, 3]))}
    return tuple(n.replace(" ", "_") if r.random() < 0.3 else n for n in sorted(names))


def _files(r: random.Random) -> tuple[str, ...]:
    return tuple(dict.fromkeys(file_name(r) for _ in range(r.choice([0, 0, 1, 1, 2, 3]))))


def file_name(r: random.Random) -> str:
    """A path of a data file, as people keep them."""
    month = r.choice(["january", "march", "june", "q1", "2024", "2025_11", "latest", "final", "export", "dump"])
    thing = r.choice([r.choice(list(domains())), r.choice(words()), "sales", "customers", "visits", "prices"])
    stem = r.choice([thing, thing, f"{thing}_{month}", f"{month}_{thing}", f"{thing}-{month}", thing.title()])
    folder = r.choice(
        ["", "", "data/", "exports/", "in/", "files/", "raw/", "uploads/", "out/", f"{r.choice(words())}/"]
    )
    ending = r.choices(["csv", "parquet", "xlsx", "json", "jsonl", "tsv", "csv.gz"], [10, 3, 4, 3, 3, 1, 1])[0]
    return f"{folder}{stem}.{ending}"


def snapshot_name(r: random.Random) -> str:
    """What people call a state that they may want back."""
    moment = r.choice(["before", "after", "pre", "post", "prior_to"])
    deed = r.choice(
        ["cleanup", "import", "migration", "dedupe", "audit", "month_end", "release", "merge", "fixes", "review"]
    )
    return r.choice(
        [
            f"{moment}_{deed}",
            f"{moment}_{deed}",
            deed,
            f"{r.choice(words())}_{r.choice(['v1', 'v2', 'ok', 'backup', 'baseline'])}",
        ]
    )


def _snapshots(r: random.Random, table: str) -> dict[str, str]:
    own = f"{table.rpartition('.')[2]}_v{r.randint(1, 9)}"
    return {r.choice([own, snapshot_name(r), snapshot_name(r)]): table for _ in range(r.choice([0, 0, 1, 1, 2]))}


def _pipelines(r: random.Random) -> tuple[str, ...]:
    kinds = ["refresh", "pipeline", "pull", "report", "load", "update"]
    return tuple(sorted({f"{r.choice(STORES)} {r.choice(kinds)}" for _ in range(r.choice([0, 1, 1, 2]))}))
