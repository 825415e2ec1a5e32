"""Pull a list from a REST API: its pages one after the other or some at a time, each once, in order.

A page that isn't what the resource promises is an error, never a guess; a row that isn't is set aside.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions.ingestion import Pull
from agentlab.errors import AgentlabError, LabError
from agentlab.sources import paging
from agentlab.sources.base import Progress, RestResource, RestSource, Span, arrange, resource_of, times_of
from agentlab.sources.course import Course
from agentlab.sources.fetched import Fetched, NothingCame
from agentlab.sources.fetching import Caller
from agentlab.sources.pacing import Pace
from agentlab.sources.spool import Spool
from agentlab.sources.texts import FIRST_ROWS, texts_of

#: How a source is looked at when it is registered: seconds after which no other resource is, columns.
_FIRST_LOOK, _FIRST_COLUMNS = 5.0, 200
#: So many rows are asked for where an API refuses `FIRST_ROWS`.
_FEWER = 20


def fetch(source: RestSource, action: Pull, root: Path, progress: Progress | None, pace: Pace) -> Fetched:
    """See `agentlab.sources.fetch`. All pages have come when it returns."""
    resource = resource_of(source.resources, action)
    Span.of(action)
    done = _does(resource, action)
    if not done and resource.time_column is None:
        times_of(pa.table({}), action, None)
    most = action.limit if done and not action.where else None
    with Caller(source, resource, action.source, root) as caller:
        spool = _spooled(Course(caller, _query(resource, action, most), pace, most), root, progress)
    if not spool.schema().names:
        why = "sent no rows, and the source doesn't say which columns they would have"
        raise NothingCame(f"GET {resource.path} of {action.source} {why}; there is nothing to make a table of")
    sort = (resource.time_column, action.order) if action.order and resource.time_column and not done else None
    return Fetched(spool.schema(), _rows(spool, resource, action, done), spool.rejected, sort)


def describe(source: RestSource, name: str, root: Path) -> dict[str, dict[str, Any]]:
    """See `agentlab.sources.describe`. Of each resource one page is asked for."""
    return {resource: _described(source, doc, name, root) for resource, doc in source.resources.items()}


def discovered(source: RestSource, root: Path) -> RestSource:
    """The source with the columns and texts of each resource's first rows, where the API answers.

    Columns that it declares stay as they are, and are looked at last.
    """
    once = source.model_copy(update={"tries": 1, "timeout": min(source.timeout, _FIRST_LOOK)})
    end = time.monotonic() + _FIRST_LOOK
    found = dict(source.resources)
    for resource, doc in sorted(found.items(), key=lambda item: item[1].schema_ is not None):
        for most in (FIRST_ROWS, _FEWER):
            if time.monotonic() < end and found[resource] is doc:
                found[resource] = _looked_at(once, doc, root, most)
    return source.model_copy(update={"resources": found})


def _looked_at(source: RestSource, resource: RestResource, root: Path, most: int) -> RestResource:
    """The resource with what its first rows tell; the very same where they can't be had."""
    try:
        spool = _first(source, resource, "", root, most)
        columns = dict(islice(spool.columns().values(), _FIRST_COLUMNS))
        rows = pa.Table.from_batches(spool.batches(), spool.schema()).slice(0, FIRST_ROWS)
    except (AgentlabError, RecursionError, ValueError):
        return resource
    seen = None if resource.schema_ else columns or None
    texts = [name for name, kind in columns.items() if kind == "text"]
    return resource.model_copy(update={"seen": seen, "texts": texts_of(rows.select(texts))})


def _first(source: RestSource, resource: RestResource, name: str, root: Path, most: int) -> Spool:
    """One page."""
    with Caller(source, resource, name, root) as caller:
        return _spooled(Course(caller, _query(resource, None, most), Pace(), 1), root, None)


def _described(source: RestSource, resource: RestResource, name: str, root: Path) -> dict[str, Any]:
    doc: dict[str, Any] = {"paging": paging.in_words(resource.pages), "time_column": resource.time_column}
    doc |= {"key": list(resource.key), "schema": resource.schema_, "path": resource.path}
    parameters = ("order", "since", "until", "limit")
    doc["parameters"] = {p: found for p in parameters if (found := getattr(resource, p)) is not None}
    try:
        spool = _first(source, resource, name, root, resource.page_size)
        return {**doc, "columns": dict(spool.columns().values()), "sampled": spool.rows}
    except AgentlabError as fault:
        return {**doc, "fault": str(fault)}


def _spooled(course: Course, root: Path, progress: Progress | None) -> Spool:
    """Every page that is needed, on disk."""
    resource = course.caller.resource
    spool = Spool(root / "tmp", course.reader, resource.schema_)
    for number, (content, page) in enumerate(course, 1):
        spool.keep(content, page)
        if progress:
            progress(spool.rows, number, course.caller.retries)
        if course.most and spool.rows >= course.most:
            break
    return spool


def _does(resource: RestResource, action: Pull) -> bool:
    """Whether the API itself does the span and the order that are asked for."""
    asked = ((action.since, resource.since), (action.until, resource.until), (action.order, resource.order))
    return all(parameter for wanted, parameter in asked if wanted)


def _query(resource: RestResource, action: Pull | None, most: int | None) -> dict[str, str]:
    query = dict(resource.params)
    if resource.limit:
        query[resource.limit] = str(min(resource.page_size, most or resource.page_size))
    if action is None:
        return query
    for parameter, value in ((resource.since, action.since), (resource.until, action.until)):
        if parameter and value:
            query[parameter] = value
    if resource.order and action.order:
        query[resource.order] = getattr(resource, action.order)
    return query


def _rows(spool: Spool, resource: RestResource, action: Pull, done: bool) -> Iterator[pa.RecordBatch]:
    """The batches within the span of time, and as many rows as are wanted, but for an order that is left to do."""
    left = action.limit if not action.where and (done or not action.order) else None
    if done and action.order:
        batches = _in_order(spool.batches(), resource, action)
    else:
        batches = spool.batches() if done else _within(spool.batches(), resource, action)
    for batch in batches:
        yield batch if left is None else batch.slice(0, left)
        left = None if left is None else left - min(left, batch.num_rows)
        if left == 0:
            return


def _within(batches: Iterator[pa.RecordBatch], resource: RestResource, action: Pull) -> Iterator[pa.RecordBatch]:
    span = action.model_copy(update={"order": None, "limit": None})
    for batch in batches:
        table = pa.Table.from_batches([batch])
        times_of(table, action, resource.time_column)
        yield from arrange(table, span, resource.time_column).to_batches()


def _in_order(batches: Iterator[pa.RecordBatch], resource: RestResource, action: Pull) -> Iterator[pa.RecordBatch]:
    """An API that ignores `order` would make "the latest rows" silently wrong."""
    column, last, row = resource.time_column, pa.array([], pa.timestamp("us")), 0
    for batch in batches:
        if column in batch.schema.names and pa.types.is_temporal(batch.schema.field(column).type):
            times = batch.column(column).cast(pa.timestamp("us")).drop_null()
            joined = pa.concat_arrays([last, times])
            if (place := _breach(joined, action)) is not None:
                at, said = row + place + 2 - len(last), f"GET {resource.path} was asked for the {action.order} first"
                raise LabError(f"{said}, but row {at} breaks that order in {column}")
            last = joined.slice(max(len(joined) - 1, 0))
            row += len(times)
        yield batch


def _breach(times: pa.Array, action: Pull) -> int | None:
    before, after = times[:-1], times[1:]
    wrong = pc.less(before, after) if action.order == "newest" else pc.greater(before, after)
    return pc.index(wrong, True).as_py() if pc.any(wrong).as_py() else None
