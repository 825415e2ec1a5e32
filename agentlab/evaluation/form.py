"""The form of a case's parts: the state before the intent, and what must hold after it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agentlab.actions import ACTIONS, Role
from agentlab.errors import unknown

Json = dict[str, Any]


class Form(BaseModel):
    """The common settings of what is below: no key but the known ones, no number given as a text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# The state before the intent


class Rows(Form):
    """Rows as CSV text, or as a query's result; read as DuckDB reads them."""

    csv: str | None = None
    sql: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.csv is None) == (self.sql is None):
            raise ValueError("give the rows as csv or as sql, one of both")
        return self


class CaseTable(Rows):
    """A table of the catalog; with `store` it lies there, as so many Parquet files."""

    store: str | None = None
    files: Annotated[int, Field(ge=1)] = 1


class Published(Rows):
    """A table that a store holds; `written_by` says that it wasn't the lab's own table that was published."""

    written_by: str | None = None


class RestRows(Form):
    """A list of a REST API. `columns` maps names to types; without `csv` its rows are made up from them.

    `rows` is how many rows the list has: those of the csv, in turn, as often as needed.
    """

    csv: str | None = None
    columns: dict[str, str] | None = None
    rows: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.csv is None and (self.columns is None or self.rows is None):
            raise ValueError("give the rows as csv, or columns and the number of rows")
        return self


class RestCase(Form):
    """A REST API, served on loopback."""

    kind: Literal["rest"]
    resources: Annotated[dict[str, RestRows], Field(min_length=1)]


class SqlCase(Form):
    """A SQL database."""

    kind: Literal["sql"]
    tables: Annotated[dict[str, Rows], Field(min_length=1)]


class CsvFile(Form):
    """Rows that are written in the format of the file's extension."""

    csv: str


class CaseStore(Form):
    """A store and the tables that it holds."""

    format: Literal["parquet", "duckdb", "delta", "postgres"] = "parquet"
    quota: str | None = None
    partition_by: list[str] = []
    tables: dict[str, Published] = {}


class CasePipeline(Form):
    """A saved pipeline of one sentence."""

    does: str


class CaseSchedule(Form):
    """A schedule; `cron` are five fields, in UTC."""

    task: str
    cron: str
    state: Literal["active", "paused"] = "active"


class CaseSnapshot(Rows):
    """An earlier version of a table, and what was in it."""

    table: str


class CaseVersion(Rows):
    """One of a table's versions."""

    version: Annotated[int, Field(ge=1)]


class CaseQuery(Form):
    """A logged query, and how often it is asked."""

    name: str
    sql: str
    freq: Annotated[float, Field(ge=0)] = 1


class State(Form):
    """All that there is before the intent."""

    tables: dict[str, CaseTable] = {}
    sources: dict[str, Annotated[RestCase | SqlCase, Field(discriminator="kind")]] = {}
    files: dict[str, str | CsvFile] = {}
    stores: dict[str, CaseStore] = {}
    pipelines: dict[str, CasePipeline] = {}
    schedules: dict[str, CaseSchedule] = {}
    snapshots: dict[str, CaseSnapshot] = {}
    versions: dict[str, Annotated[list[CaseVersion], Field(min_length=1)]] = {}
    workload: list[CaseQuery] = []
    needs: list[str] = []


# What must be true afterwards


def _action(name: object) -> object:
    if isinstance(name, str) and name not in ACTIONS:
        raise ValueError(unknown("action", name, ACTIONS))
    return name


def _each_of(text: object, choices: tuple[str, ...], what: str) -> object:
    for one in text.split("|") if isinstance(text, str) else ():
        if one not in choices:
            raise ValueError(unknown(what, one, choices))
    return text


STATUSES = ("done", "clarify", "refuse", "approval")
FINDINGS = (
    *("missing", "duplicate", "outlier", "type", "format", "constant", "range", "set", "reference", "freshness"),
    *("row_count", "compare", "drift"),
)
LAYOUTS = ("index", "order", "partition", "materialized", "compact")

ActionName = Annotated[str, BeforeValidator(_action)]
Status = Annotated[str, BeforeValidator(lambda text: _each_of(text, STATUSES, "status"))]
FindingKind = Annotated[str, BeforeValidator(lambda text: _each_of(text, FINDINGS, "kind of finding"))]
LayoutKind = Annotated[str, BeforeValidator(lambda text: _each_of(text, LAYOUTS, "kind of layout"))]


class FindingSaid(Form):
    """Which finding; without `column` one of whole rows."""

    table: str
    column: str | None = None
    kind: FindingKind


class StoreSaid(Form):
    """A store; what isn't given isn't compared."""

    name: str
    format: str | None = None
    partition_by: list[str] | None = None
    quota: str | None = None


class PublishedSaid(Form):
    """What a store holds of a table, and by which mode it came there."""

    table: str
    store: str
    mode: Literal["replace", "append"] | None = None
    rows: int | None = None


class ExportSaid(Form):
    """A file, its format and its number of rows."""

    path: str
    format: Literal["csv", "parquet", "jsonl", "excel"] | None = None
    rows: int | None = None


class PathSaid(Form):
    """A file."""

    path: str


class ScheduleSaid(Form):
    """A schedule, by when it fires and what its task mentions."""

    cron: str | None = None
    task: str | None = None
    state: Literal["active", "paused"] | None = None


class TaskSaid(Form):
    """The schedules whose task mentions a name; all of them without."""

    task: str | None = None


class RetentionSaid(Form):
    """A rule of retention; `matching`: rows over that age now; `pending`: whether it waits for approval."""

    table: str
    column: str | None = None
    older_than: str | None = None
    then: Literal["archive", "delete"] | None = None
    matching: int | None = None
    pending: bool | None = None


class SnapshotSaid(Form):
    """A snapshot."""

    table: str
    name: str | None = None


class StoreNamed(Form):
    """A store, or all of them."""

    store: str | None = None


class LayoutSaid(Form):
    """A layout; what isn't given isn't compared."""

    table: str | None = None
    kind: LayoutKind | None = None
    columns: list[str] | None = None
    name: str | None = None
    query: str | None = None


class LimitSaid(Form):
    """How fast a source may be read."""

    source: str | None = None
    rows_per_second: int | None = None
    concurrency: int | None = None


class QueryNamed(Form):
    """A logged query."""

    query: str


#: A missing `count` leaves it open.
Count = Annotated[int, Field(ge=0)]


class Expectation(Form):
    """One thing that must hold: exactly one of the fields below `are`, `count` and `accept`, which go with some."""

    are: list[Any] | None = None
    count: Count | None = None
    accept: list[Count] | None = None

    status: Status | None = None
    columns: str | None = None
    rows: str | None = None
    unchanged: list[str] | None = None
    finding: FindingSaid | None = None
    passes: bool | None = None
    plan: list[ActionName] | None = None
    args: Json | None = None
    suggests: list[ActionName] | None = None
    agents: list[Role] | None = None
    store: StoreSaid | None = None
    published: PublishedSaid | None = None
    export: ExportSaid | None = None
    no_export: PathSaid | None = None
    schedule: ScheduleSaid | None = None
    no_schedule: TaskSaid | None = None
    retention: RetentionSaid | None = None
    snapshot: SnapshotSaid | None = None
    usage: StoreNamed | None = None
    layout: LayoutSaid | None = None
    no_layout: LayoutSaid | None = None
    limit: LimitSaid | None = None
    no_limit: LimitSaid | None = None
    faster: QueryNamed | None = None
    same_results: Literal[True] | None = None
    slowest: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = self.model_fields_set - {"are", "count", "accept"}
        if len(given) != 1 or getattr(self, next(iter(given))) is None:
            raise ValueError(f"an expectation says one thing, this one {sorted(given) or 'none'}")
        (key,) = given
        if (self.are is not None) != (key in ("columns", "rows")):
            raise ValueError("'are' says what 'columns' and 'rows' must be, and goes with them only")
        if key != "finding" and (self.count, self.accept) != (None, None):
            raise ValueError("'count' and 'accept' are of a 'finding'")
        if key == "rows" and not all(isinstance(row, list) for row in self.are or ()):
            raise ValueError("'are' is a list of rows here, each a list of values")
        return self

    @property
    def key(self) -> str:
        """Which thing it says."""
        (key,) = self.model_fields_set - {"are", "count", "accept"}
        return key

    def __str__(self) -> str:
        return json.dumps(self.model_dump(exclude_unset=True), ensure_ascii=False)
