"""What a source is in the catalog, where its secret lies, and what order, span and limit mean when it can't do them.

The documents never hold a token: they name an environment variable, or a file in the lab's `secrets` folder that
nobody but its owner can read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from agentlab.actions.base import Schema
from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError, PlanError, nearest, unknown
from agentlab.sources.auth import Auth, BearerAuth, WebAddress
from agentlab.sources.fetched import sorted_by_time
from agentlab.sources.paging import CursorPaging, Paging, WholePaging
from agentlab.sources.secrets import kept_secret, place_of, read_secret
from agentlab.sources.settings import Doc, Pointer

#: Told after every page: rows so far, pages so far, retries so far.
Progress = Callable[[int, int, int], None]

R = TypeVar("R")


class RestResource(Doc):
    """One list of a REST API: its path, where rows are in an answer, how its pages and parameters are called.

    A parameter that the API doesn't have is None; what it would do is then done here, on all the rows. `paging` left
    out is by cursor, as `next` and `cursor` say, or none where `cursor` is None. `key` are the columns that tell one
    row from another. `flatten` makes columns of the parts of an object, `customer_id` of `{"customer": {"id": 1}}`.
    """

    path: Annotated[str, Field(pattern=r"^/")]
    items: Pointer = "/items"
    paging: Paging | None = None
    next: Pointer | None = "/next_cursor"
    cursor: str | None = "cursor"
    limit: str | None = "limit"
    page_size: Annotated[int, Field(ge=1)] = 500
    order: str | None = None
    newest: str = "newest"
    oldest: str = "oldest"
    since: str | None = None
    until: str | None = None
    params: dict[str, str] = {}
    time_column: str | None = None
    key: tuple[str, ...] = ()
    flatten: bool = True
    #: Types that hold as long as every value fits; a column without one gets its type from its values.
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    #: With a schema: a row with a value that doesn't fit it is set aside, rather than the column's type widened.
    strict: bool = False
    #: What its first rows had when it was registered. A planner knows these columns; a pull takes what comes.
    seen: Schema | None = None
    #: The texts of those of its columns in which texts come again and again, in the same rows.
    texts: dict[str, tuple[str, ...]] | None = None

    @property
    def pages(self) -> Paging:
        """How the list comes in pages."""
        if self.paging is not None:
            return self.paging
        if self.cursor is None or self.next is None:
            return WholePaging()
        return CursorPaging(parameter=self.cursor, next=self.next)


class RestSource(Doc):
    """A REST API. Waits and time limits are in seconds; `tries` is how often one page is asked for.

    `auth` says how the token of `token_env` or `token_file` is used.
    """

    kind: Literal["rest"] = "rest"
    url: WebAddress
    token_env: str | None = None
    token_file: str | None = None
    auth: Auth = BearerAuth()
    resources: dict[str, RestResource]
    tries: Annotated[int, Field(ge=1)] = 5
    timeout: Annotated[float, Field(gt=0)] = 30.0
    longest_wait: Annotated[float, Field(ge=0)] = 30.0

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.token_env and self.token_file:
            raise ValueError("a source takes its token from token_env or from token_file, not from both")
        if self.auth.kind != "bearer" and not (self.token_env or self.token_file):
            raise ValueError(f"{self.auth.kind} needs a secret: give it as token, or name a token_env or a token_file")
        return self

    def token(self, root: Path) -> str | None:
        """The token, read anew each time; None for an API without one. LabError if it isn't where it should be."""
        return read_secret(root, self.token_env, self.token_file)

    @property
    def token_place(self) -> str:
        """Where the token is kept, in words."""
        return place_of(self.token_env, self.token_file)


class FrameResource(Doc):
    """Rows kept as a Parquet file inside the lab; `path` is relative to the lab."""

    path: str
    time_column: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class FrameSource(Doc):
    """Data frames that somebody handed to the lab."""

    kind: Literal["frame"] = "frame"
    resources: dict[str, FrameResource]


class SqlResource(Doc):
    """A table or view of a database. What isn't said is found out when the source is registered."""

    #: Its name in the database, after its schema's where it isn't in the usual one; empty is the resource's own name.
    path: tuple[str, ...] = ()
    time_column: str | None = None
    key: tuple[str, ...] = ()
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class SqlSource(Doc):
    """A database that is only read: a Postgres by its `url`, an SQLite or DuckDB file by its `path`.

    A relative path is one of the lab. The password is where `token_env` or `token_file` says. Without resources it has
    every table and view that there is; `timeout` is in seconds, to be connected.
    """

    kind: Literal["sql"] = "sql"
    driver: Literal["postgres", "sqlite", "duckdb"]
    url: str | None = None
    path: str | None = None
    token_env: str | None = None
    token_file: str | None = None
    timeout: Annotated[int, Field(ge=1)] = 10
    resources: dict[str, SqlResource] = {}

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.driver != "postgres":
            if not self.path or self.url:
                raise ValueError(f"a {self.driver} source needs path, the database's file, and no url")
            return self
        parts = urlsplit(self.url or "")
        if self.path or parts.scheme not in ("postgres", "postgresql") or not parts.hostname:
            raise ValueError("a postgres source needs a url like 'postgresql://user@localhost/sales', and no path")
        if parts.password or any(name in parts.query.lower() for name in ("password", "passfile")):
            raise ValueError("the url must hold no password; give it as token, or name a token_env or a token_file")
        return self


class DatasetResource(Doc):
    """One split of a Hugging Face data set; `path` is the Parquet file in the lab that holds one from a notebook."""

    split: str | None = None
    path: str | None = None
    time_column: str | None = None
    key: tuple[str, ...] = ()
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class DatasetSource(Doc):
    """A data set as Hugging Face's `datasets` reads it; code that comes with one is never run.

    `path` is a folder that `save_to_disk` wrote, a name on the hub, or `csv`, `json`, `parquet` or `text` for the files
    that `data_files` names; None for data sets handed over from a notebook. `name` is the configuration.
    """

    kind: Literal["dataset"] = "dataset"
    path: str | None = None
    name: str | None = None
    revision: str | None = None
    data_files: tuple[str, ...] = ()
    token_env: str | None = None
    token_file: str | None = None
    resources: dict[str, DatasetResource] = {}


Source = RestSource | FrameSource | SqlSource | DatasetSource
#: Reads a catalog's document: `SourceDoc.validate_python(doc)`.
SourceDoc: TypeAdapter[Source] = TypeAdapter(Annotated[Source, Field(discriminator="kind")])


def read_doc(doc: Mapping[str, Any]) -> Source:
    """A source from its document in the catalog; a LabError names every field that is wrong."""
    try:
        return SourceDoc.validate_python(dict(doc))
    except ValidationError as fault:
        # Without the input: somebody may have put a token where none belongs.
        told = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}{_known(e['loc']) if e['type'] == 'extra_forbidden' else ''}"
            for e in fault.errors(include_input=False)
        ]
        raise LabError(f"not a source: {'; '.join(told)}") from None


def _known(loc: Sequence[int | str]) -> str:
    """The settings that there are where one was given that there isn't, nearest first."""
    kinds: dict[object, type[Doc]] = {each.model_fields["kind"].default: each for each in get_args(Source)}
    of = kinds[loc[0]]
    if len(loc) == 4 and loc[1] == "resources":
        of = get_args(of.model_fields["resources"].annotation)[1]
    elif len(loc) != 2:
        return ""
    names = [field.alias or name for name, field in of.model_fields.items()]
    return f" (there are: {', '.join(nearest(str(loc[-1]), names, len(names)))})"


def secret_of(root: Path, source: SqlSource | DatasetSource) -> str | None:
    """A source's password or token as it is kept, read anew each time; None if it names none. LabError if it's gone."""
    return kept_secret(root, source.token_env, source.token_file)


def inside(root: Path, path: str) -> Path:
    """A path of the lab; a LabError if it would lead out of it."""
    full = (root / PurePosixPath(path)).resolve()
    if not full.is_relative_to(root.resolve()):
        raise LabError(f"{path!r} leads out of the lab; a source's file must lie inside it")
    return full


def resource_of(resources: Mapping[str, R], action: Pull) -> R:
    """The resource that the action names; a PlanError lists those that exist, nearest first."""
    if action.resource not in resources:
        raise PlanError(unknown("resource", action.resource, resources, f"in {action.source}"))
    return resources[action.resource]


def only_time(schema: Schema) -> str | None:
    """The column of dates or timestamps, if there is exactly one.

    >>> only_time({"id": "int", "day": "date"})
    'day'
    """
    times = [column for column, kind in schema.items() if kind in ("date", "timestamp")]
    return times[0] if len(times) == 1 else None


@dataclass(frozen=True)
class Span:
    """A span of time, both ends inclusive, in UTC without a zone; None is open."""

    since: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, action: Pull) -> Span:
        """What `since` and `until` of an action mean: a date counts from its first to its last microsecond.

        >>> Span.of(Pull(source="s", resource="r", into="t", until="2026-01-31")).until
        datetime.datetime(2026, 1, 31, 23, 59, 59, 999999)
        """
        span = cls(_moment(action.since, "since", time.min), _moment(action.until, "until", time.max))
        if span.since and span.until and span.since > span.until:
            raise PlanError(f"since {action.since} lies after until {action.until}; no row can be in between")
        return span


def _moment(text: str | None, name: str, of_day: time) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise PlanError(f"{name}: {text!r} is no date; write e.g. '2026-01-31' or '2026-01-31T08:00:00'") from None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return datetime.combine(moment, of_day)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def arrange(table: pa.Table, action: Pull, time_column: str | None) -> pa.Table:
    """Do here what a source can't: the span of time, the order, the limit (not `where`; see `pull`).

    Rows without a time are in no span and come last in either order. Rows of the same time keep their order.
    """
    if action.since or action.until or action.order:
        table = _by_time(table, action, times_of(table, action, time_column))
    return table.slice(0, action.limit) if action.limit and not action.where else table


def times_of(table: pa.Table, action: Pull, time_column: str | None) -> pa.ChunkedArray:
    """The times of a resource's rows. PlanError if it has no time column, LabError if that isn't one of times."""
    asked = "ordered by time" if action.order else "limited in time"
    place = f"{action.source}.{action.resource}"
    if time_column is None:
        raise PlanError(f"{place} has no time column, so its rows can't be {asked}; leave order, since and until out")
    if time_column not in table.column_names:
        raise LabError(
            unknown("column", time_column, table.column_names, f"in {place}, whose time column it should be")
        )
    values = table[time_column]
    if not pa.types.is_temporal(values.type) and values.null_count < len(values):
        example = values.drop_null()[0].as_py()
        raise LabError(f"the time column {time_column!r} of {place} holds more than times (e.g. {example!r})")
    return values.cast(pa.timestamp("us"))


def _by_time(table: pa.Table, action: Pull, times: pa.ChunkedArray) -> pa.Table:
    keep = pc.is_valid(times) if action.since or action.until else None
    span = Span.of(action)
    for bound, compare in ((span.since, pc.greater_equal), (span.until, pc.less_equal)):
        if bound is not None:
            keep = pc.and_(keep, compare(times, pa.scalar(bound, pa.timestamp("us"))))
    if keep is not None:
        keep = pc.fill_null(keep, False)
        table, times = table.filter(keep), times.filter(keep)
    return sorted_by_time(table, times, action.order) if action.order else table
