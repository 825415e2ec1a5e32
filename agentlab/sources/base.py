"""What a source is in the catalog, where its secret lies, and what order, span and limit mean when it can't do them.

The documents never hold a token: they name an environment variable, or a file in the lab's `secrets` folder that
nobody but its owner can read.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from agentlab.actions.base import Schema
from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError, PlanError, unknown

#: Told after every page: rows so far, pages so far, retries so far.
Progress = Callable[[int, int, int], None]

Pointer = Annotated[str, Field(pattern=r"^(/.*)?$", description="a JSON pointer (RFC 6901); empty is the whole answer")]


R = TypeVar("R")


class Doc(BaseModel):
    """The common settings of the documents below."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RestResource(Doc):
    """One list of a REST API: its path, where rows and next cursor are in an answer, what its parameters are called.

    A parameter that the API doesn't have is None; what it would do is then done here, on all the rows.
    """

    path: Annotated[str, Field(pattern=r"^/")]
    items: Pointer = "/items"
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
    #: Types that hold as long as every value fits; a column without one gets its type from its values.
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class RestSource(Doc):
    """A REST API. Waits and time limits are in seconds; `tries` is how often one page is asked for."""

    kind: Literal["rest"] = "rest"
    url: str
    token_env: str | None = None
    token_file: str | None = None
    resources: dict[str, RestResource]
    tries: Annotated[int, Field(ge=1)] = 5
    timeout: Annotated[float, Field(gt=0)] = 30.0
    longest_wait: Annotated[float, Field(ge=0)] = 30.0

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{_without_secrets(self.url)!r} is no web address; write e.g. 'https://api.example.com'")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("the url must hold no user, password or parameters; name a token_env or a token_file")
        if self.token_env and self.token_file:
            raise ValueError("a source takes its token from token_env or from token_file, not from both")
        return self

    def token(self, root: Path) -> str | None:
        """The token, read anew each time; None for an API without one. LabError if it isn't where it should be."""
        if self.token_env:
            return _clean(_from_environment(self.token_env), f"the environment variable {self.token_env}")
        if self.token_file:
            return _clean(_from_file(root, self.token_file), f"secrets/{self.token_file}")
        return None

    @property
    def token_place(self) -> str:
        """Where the token is kept, in words."""
        if self.token_env:
            return f"the environment variable {self.token_env}"
        return (
            f"the file secrets/{self.token_file} of the lab" if self.token_file else "no place: the source names none"
        )


class FrameResource(Doc):
    """Rows kept as a Parquet file inside the lab; `path` is relative to the lab."""

    path: str
    time_column: str | None = None
    schema_: Annotated[Schema | None, Field(alias="schema")] = None


class FrameSource(Doc):
    """Data frames that somebody handed to the lab."""

    kind: Literal["frame"] = "frame"
    resources: dict[str, FrameResource]


Source = RestSource | FrameSource
#: Reads a catalog's document: `SourceDoc.validate_python(doc)`.
SourceDoc: TypeAdapter[Source] = TypeAdapter(Annotated[Source, Field(discriminator="kind")])


def read_doc(doc: Mapping[str, Any]) -> Source:
    """A source from its document in the catalog; a LabError names every field that is wrong."""
    try:
        return SourceDoc.validate_python(dict(doc))
    except ValidationError as fault:
        # Without the input: somebody may have put a token where none belongs.
        told = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors(include_input=False)]
        raise LabError(f"not a source: {'; '.join(told)}") from None


def token_file(source: str) -> str:
    """A file's name for a new token of a source. Each has its own, so that undoing a registration finds the older one.

    It is drawn by chance: a digest of the token would let whoever reads the catalog try out guesses.
    """
    return f"{source}-{secrets.token_hex(4)}"


def save_token(root: Path, name: str, token: str) -> str:
    """Keep a token in the lab's `secrets` folder for its owner only; returns the `token_file` to name in the source."""
    keep_secret(_secret_path(root, name), token)
    return name


def keep_secret(path: Path, secret: str) -> None:
    """Write a secret to a file that its owner alone can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(secret)
    part.replace(path)


def _from_environment(name: str) -> str:
    token = os.environ.get(name)
    if not token:
        raise LabError(f"the token is expected in the environment variable {name}, which isn't set")
    return token


def _from_file(root: Path, name: str) -> str:
    path = _secret_path(root, name)
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise LabError(f"the token is expected in secrets/{name} of the lab: {fault.strerror}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise LabError(
            f"secrets/{name} can be read by others (mode {mode & 0o777:o}): chmod 600 it, then renew the token"
        )
    return token


def _secret_path(root: Path, name: str) -> Path:
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise LabError(f"{name!r} is no name of a file in the lab's secrets folder; use letters, digits, '.', '_', '-'")
    return root / "secrets" / name


def _clean(token: str, place: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise LabError(f"{place} holds no usable token: it is empty, or has line breaks or letters outside ASCII")
    return token


def _without_secrets(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


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
        table = _by_time(table, action, _time_values(table, action, time_column))
    return table.slice(0, action.limit) if action.limit and not action.where else table


def _time_values(table: pa.Table, action: Pull, time_column: str | None) -> pa.ChunkedArray:
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
    if action.order is None:
        return table
    direction = "descending" if action.order == "newest" else "ascending"
    rows = pa.table({"time": times, "row": pa.array(range(len(table)), pa.int64())})
    return table.take(pc.sort_indices(rows, [("time", direction, "at_end"), ("row", "ascending", "at_end")]))
