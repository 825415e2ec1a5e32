"""What keeping a table would cost, by format, columns to split by and place: measured on a sample, priced by a table.

The prices are in a file, `prices.yaml`: the lab's own, or the examples that come along. Bytes are those of a sample
written for real and scaled to all rows; requests follow from the files; nothing here is asked of any provider.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import ibis
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentlab import copies
from agentlab.copies import Shape
from agentlab.engine import Engine
from agentlab.errors import LabError, PlanError, unknown
from agentlab.places import Format
from agentlab.shown import Listed
from agentlab.stores import StoreDoc, size

FILE = "prices.yaml"
DEFAULT = Path(__file__).with_name(FILE)

#: Rows that are written to measure; more say little more.
SAMPLE = 200_000

#: More different values than this aren't worth folders.
MOST_VALUES = 366

#: What Postgres adds: bytes to each row, and how much larger pages are than what is in them.
_ROW_HEADER, _PAGE = 28, 1.1

#: Requests that reading a Parquet file takes at S3: its footer, and its columns.
_PER_FILE = 2

GIB = 1024**3
Amount = Annotated[float, Field(ge=0)]


class Price(BaseModel):
    """What one place asks for: a GiB for a month, 1,000 writing and reading requests, a GiB read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    month: Amount
    puts: Amount = 0.0
    gets: Amount = 0.0
    scan: Amount = 0.0


class Habits(BaseModel):
    """How often a table is published and queried in a month."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    publishes: Amount = 30.0
    queries: Amount = 300.0


class Prices(BaseModel):
    """A table of prices, of which day or month it is, and the habits that are reckoned with."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    currency: str = "USD"
    as_of: str
    places: dict[Literal["local", "s3", "postgres"], Price]
    habits: Habits = Habits()

    @classmethod
    def of_lab(cls, root: Path) -> Prices:
        """The lab's own prices, or the examples that come along; LabError naming what is wrong in the file."""
        path = root / FILE if (root / FILE).exists() else DEFAULT
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as fault:
            faults = fault.errors() if isinstance(fault, ValidationError) else []
            told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in faults) or str(fault)
            raise LabError(f"{path.name} is no table of prices: {told}") from None

    def of(self, place: str) -> Price:
        """The prices of a place; LabError where the table has none."""
        found = next((price for name, price in self.places.items() if name == place), None)
        if found is None:
            raise LabError(f"{FILE} has no prices for {place}; add it below places, like local: {{month: 0.08}}")
        return found


class Choice(BaseModel):
    """A way of keeping a table, and what it would take and cost: `month` is money, in the currency of the prices.

    `publish_requests` are those of one publish; `query_requests` and `query_bytes` those of a query that reads one
    value of what the table is split by, or everything where nothing is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    place: str
    partition_by: tuple[str, ...] = ()
    bytes: int
    files: int
    publish_requests: int
    query_requests: int
    query_bytes: int
    month: float
    currency: str = "USD"

    def __str__(self) -> str:
        split = f", split by {', '.join(self.partition_by)}" if self.partition_by else ""
        return (
            f"{self.format} at {self.place}{split}: {size(self.bytes)} in {self.files:,} files, a query reads "
            f"{size(self.query_bytes)}, {self.month:.4f} {self.currency} a month"
        )


class Costs(Listed[Choice]):
    """Choices, the cheapest first."""

    @property
    def frame(self) -> Any:
        """The same as a data frame."""
        import pandas as pd

        return pd.DataFrame([choice.model_dump() for choice in self])

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(index=False, float_format=lambda value: f"{value:.4f}"))


class Sample(NamedTuple):
    """What a sample of a table took, written for real: bytes by format and columns to split by, values by column."""

    rows: int
    of: int
    bytes: dict[tuple[Format, tuple[str, ...]], int]
    values: dict[str, int]

    def scaled(self, format: Format, by: tuple[str, ...]) -> int:
        """The bytes of all rows."""
        return round(self.bytes[format, by] * (self.of / self.rows if self.rows else 1))


def candidates(schema: Iterable[tuple[str, str]]) -> list[str]:
    """The columns by which a table of these columns and types might be split: days, texts and flags.

    >>> candidates([("id", "int"), ("day", "date"), ("paid", "float"), ("region", "text")])
    ['day', 'region']
    """
    return [column for column, kind in schema if kind in ("date", "text", "bool")]


def measured(engine: Engine, table: ibis.Table, root: Path, by: Sequence[str], *, rows: int) -> Sample:
    """Write a sample of a table in each way, and take it away again; PlanError for a column that isn't there."""
    whole = table.limit(SAMPLE) if rows > SAMPLE else table
    values = _values(engine, whole, by)
    ways: list[tuple[Format, tuple[str, ...]]] = [("parquet", ()), ("duckdb", ()), ("postgres", ())]
    ways += [("parquet", (column,)) for column, many in values.items() if 1 < many <= MOST_VALUES]
    place = copies.fresh(root / "tmp" / "costs")
    taken = min(rows, SAMPLE)
    try:
        found = {(f, split): _bytes(engine, whole, root, place, f, split, taken) for f, split in ways}
    finally:
        shutil.rmtree(place, ignore_errors=True)
    deltas = {("delta", split): many for (f, split), many in found.items() if f == "parquet"}
    return Sample(taken, rows, {**{k: v for k, v in found.items() if v is not None}, **_sure(deltas)}, values)


def estimate(sample: Sample, prices: Prices) -> Costs:
    """Every choice of format, columns and place that there is, the cheapest first; of equal ones the plainer."""
    found = [_choice(sample, prices, f, by, place) for f, by in sample.bytes for place in _places(f, prices)]
    return Costs(sorted(found, key=lambda choice: (round(choice.month, 6), len(choice.partition_by), choice.files)))


def held_cost(store: StoreDoc, prices: Prices) -> str:
    """What a store's present bytes cost a month, in words.

    >>> prices = Prices(as_of="2026-11", places={"local": Price(month=0.08)})
    >>> held_cost(StoreDoc(name="mart", location="stores/mart"), prices)
    'about 0.0000 USD a month to keep, by prices of 2026-11'
    """
    price = prices.of(place_of(store))
    return f"about {store.bytes / GIB * price.month:.4f} {prices.currency} a month to keep, by prices of {prices.as_of}"


def place_of(store: StoreDoc) -> str:
    """By which prices a store is reckoned."""
    return "s3" if store.remote else "postgres" if store.format == "postgres" else "local"


def _places(format: Format, prices: Prices) -> Iterator[str]:
    fitting = {"duckdb": ("local",), "postgres": ("postgres",)}.get(format, ("local", "s3"))
    yield from (place for place in prices.places if place in fitting)


def _choice(sample: Sample, prices: Prices, format: Format, by: tuple[str, ...], place: str) -> Choice:
    price, whole = prices.of(place), sample.scaled(format, by)
    files = max(sample.values[by[0]], 1) if by else 1
    # A query reads one folder of a split table, and all of any other; a publish lists, writes, and commits to a log.
    read, requests = round(whole / files), _PER_FILE * (1 if by else files)
    writes = files + 1 + (1 if format == "delta" else 0)
    habits = prices.habits
    month = whole / GIB * price.month + habits.publishes * writes / 1000 * price.puts
    month += habits.queries * (requests / 1000 * price.gets + read / GIB * price.scan)
    return Choice(
        format=format, place=place, partition_by=by, bytes=whole, files=files, publish_requests=writes,
        query_requests=requests, query_bytes=read, month=month, currency=prices.currency,
    )  # fmt: skip


def _values(engine: Engine, table: ibis.Table, by: Sequence[str]) -> dict[str, int]:
    for column in by:
        if column not in table.columns:
            raise PlanError(unknown("column", column, table.columns, "to split by"))
    if not by:
        return {}
    counted = table.aggregate([table[c].nunique().name(c) for c in by])
    (row,) = engine.con.to_pyarrow(counted).to_pylist()
    return {column: int(many) for column, many in row.items()}


def _bytes(
    engine: Engine, table: ibis.Table, root: Path, place: Path, format: Format, by: tuple[str, ...], rows: int
) -> int | None:
    """What a sample takes in one way; None where folders can't stand for the values."""
    if format == "postgres":
        return _in_pages(engine, table, rows)
    shape = Shape(format="duckdb" if format == "duckdb" else "parquet", partition_by=by, order_by=by)
    try:
        return copies.write(engine, table, root, copies.fresh(place / "sample"), shape).bytes
    except PlanError:
        if not by:
            raise
        return None


def _in_pages(engine: Engine, table: ibis.Table, rows: int) -> int:
    """What Postgres would take: the bytes of the values, a header for each row, and pages that aren't quite full."""
    widths = [_width(table, column) for column in table.columns]
    whole = table.aggregate(sum(widths[1:], widths[0]).name("bytes")) if widths else None
    values = int(engine.con.to_pyarrow(whole)["bytes"][0].as_py() or 0) if whole is not None else 0
    return round((values + rows * _ROW_HEADER) * _PAGE)


def _width(table: ibis.Table, column: str) -> Any:
    value = table[column]
    kind = value.type()
    if kind.is_string() or kind.is_json():
        return (value.cast("string").length() + 1).sum().fill_null(0)
    return value.count() * (1 if kind.is_boolean() else 4 if kind.is_date() else 8)


def _sure(found: dict[Any, int | None]) -> dict[Any, int]:
    return {way: many for way, many in found.items() if many is not None}
