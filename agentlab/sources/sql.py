"""Tables and views of a database as resources: found when it is registered, read in batches, never written.

The span of time, the order, the limit and what of a condition means the same there are the database's work
(`statements.py`); the databases themselves are in `postgres.py`, `sqlite.py` and `duckdb_file.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import pyarrow as pa

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError, PlanError, unknown
from agentlab.expressions import parse
from agentlab.sources.arrow import schema_for
from agentlab.sources.base import Progress, Span, SqlResource, SqlSource, inside, only_time, resource_of, secret_of
from agentlab.sources.duckdb_file import DuckDBFile
from agentlab.sources.fetched import Fetched
from agentlab.sources.pacing import Pace, paced
from agentlab.sources.postgres import Postgres
from agentlab.sources.sqlite import SQLite
from agentlab.sources.statements import Asked, Database, Relation, statement


def apart(settings: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The settings of a source without the password that its url holds, and that password; None if it holds none.

    >>> apart({"url": "postgresql://ann:s%40crt@localhost/sales", "driver": "postgres"})
    ({'url': 'postgresql://ann@localhost/sales', 'driver': 'postgres'}, 's@crt')
    """
    if settings.get("kind", "sql") != "sql":
        return dict(settings), None
    parts = urlsplit(settings.get("url") or "")
    query = parse_qsl(parts.query, keep_blank_values=True)
    password = unquote(parts.password) if parts.password else dict(query).get("password")
    if password is None:
        return dict(settings), None
    user, at, host = parts.netloc.rpartition("@")
    rest = urlencode([(name, value) for name, value in query if name != "password"])
    url = urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, rest, ""))
    return {**settings, "url": url}, password


def discovered(source: SqlSource, root: Path) -> SqlSource:
    """The source with its tables and views, or those that it names, and their columns, keys and times.

    A column is the time if it is said to be, or if it is the only one of dates or timestamps. LabError where the
    database can't be read, or hasn't what the source names.
    """
    with opened(source, root) as database:
        found = {relation.name: relation for relation in database.relations()}
    if not found:
        raise LabError("the database has no table or view that can be read; nothing was registered")
    named = source.resources or {name: SqlResource() for name in found}
    resources = {name: _known(name, resource, found) for name, resource in named.items()}
    return source.model_copy(update={"resources": resources})


def fetch(source: SqlSource, action: Pull, root: Path, progress: Progress | None, pace: Pace) -> Fetched:
    """See `agentlab.sources.fetch`."""
    resource = resource_of(source.resources, action)
    with opened(source, root) as database:
        relation = _relation(database, action.resource, resource)
    asked = _asked(action, resource, relation)
    return Fetched(schema_for(relation.schema), _batches(source, root, relation, asked, progress, pace))


def describe(source: SqlSource, name: str, root: Path) -> dict[str, dict[str, Any]]:
    """See `agentlab.sources.describe`."""
    with opened(source, root) as database:
        found = {relation.name: relation for relation in database.relations()}
    return {resource: _described(resource, known, found) for resource, known in source.resources.items()}


@contextmanager
def opened(source: SqlSource, root: Path) -> Iterator[Database]:
    """The database, for as long as the `with` lasts; LabError where it can't be opened."""
    database = _open(source, root)
    try:
        yield database
    finally:
        database.close()


def _open(source: SqlSource, root: Path) -> Database:
    if source.driver == "postgres":
        return Postgres(source.url or "", secret_of(root, source), source.timeout)
    path = Path(source.path or "")
    path = path if path.is_absolute() else inside(root, path.as_posix())
    return SQLite(path) if source.driver == "sqlite" else DuckDBFile(path)


def _known(name: str, resource: SqlResource, found: Mapping[str, Relation]) -> SqlResource:
    relation = _of(name, resource, found)
    columns = relation.schema
    for column in filter(None, [resource.time_column, *resource.key]):
        if column not in columns:
            raise LabError(unknown("column", column, columns, f"in {name}"))
    time = resource.time_column or only_time(columns)
    if time and columns[time] not in ("date", "timestamp"):
        raise LabError(f"the time column {time!r} of {name} holds {columns[time]}, no dates or timestamps")
    known = {"path": relation.path, "time_column": time, "key": resource.key or relation.key, "schema_": columns}
    return resource.model_copy(update=known)


def _of(name: str, resource: SqlResource, found: Mapping[str, Relation]) -> Relation:
    paths = {relation.path: relation for relation in found.values()}
    if relation := paths.get(resource.path) or (None if resource.path else found.get(name)):
        return relation
    wanted = ".".join(resource.path) or name
    raise LabError(unknown("table", wanted, found, "in the database"))


def _relation(database: Database, name: str, resource: SqlResource) -> Relation:
    return _of(name, resource, {relation.name: relation for relation in database.relations()})


def _asked(action: Pull, resource: SqlResource, relation: Relation) -> Asked:
    span, time, place = Span.of(action), resource.time_column, f"{action.source}.{action.resource}"
    if time is None and (action.order or action.since or action.until):
        raise PlanError(f"{place} has no time column, so its rows can't be told apart by time")
    if time is not None and time not in relation.schema:
        raise LabError(unknown("column", time, relation.schema, f"in {place}, whose time column it should be"))
    where = parse(action.where, relation.schema, boolean=True) if action.where else None
    return Asked(time, span, action.order, where, action.limit)


def _batches(
    source: SqlSource, root: Path, relation: Relation, asked: Asked, progress: Progress | None, pace: Pace
) -> Iterator[pa.RecordBatch]:
    rows = 0
    with opened(source, root) as database:
        batches = database.batches(statement(database, relation, asked), relation.schema)
        for number, batch in enumerate(paced(batches, pace), 1):
            rows += batch.num_rows
            if progress:
                progress(rows, number, 0)
            yield batch


def _described(name: str, resource: SqlResource, found: Mapping[str, Relation]) -> dict[str, Any]:
    known: dict[str, Any] = {"paging": "whole", "time_column": resource.time_column}
    known |= {"key": list(resource.key), "schema": resource.schema_}
    try:
        return {**known, "columns": _of(name, resource, found).schema}
    except LabError as fault:
        return {**known, "fault": str(fault)}
