"""Postgres stores: each publish a fresh table `<store>.<table>__<run>`, and a view `<store>.<table>` for everybody.

Rows go in and out by ADBC, in batches. The view is switched by `settle`, in one transaction, once the catalog has the
run's commit or its undo; settling twice changes nothing. The tables of older publishes stay, since they are the undo.
The password is read from where the registered database says, at each connection, and kept nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import ibis
import pyarrow as pa
from sqlglot import exp

from agentlab.copies import Copy, viewed
from agentlab.engine import Engine
from agentlab.errors import LabError, PlanError
from agentlab.sources.base import SqlSource, read_doc, secret_of
from agentlab.stores.base import StoreDoc
from agentlab.stores.streams import arrow_schema, streamed

#: Rows that go in at a time.
BATCH = 50_000

#: In bytes; Postgres cuts what is longer, silently.
LONGEST = 63

#: Between a table's name and the run's that wrote it.
_OF = "__"

#: The comment by which a view is told to be ours; others' are never replaced or dropped.
_VIEW = "agentlab view"

#: What Postgres can't keep: a zero byte in a text, a number that is too large for its type.
_OF_THE_DATA = ("22",)


class Stream:
    """A table of the database that DuckDB can scan as often as it likes: each time a new query, read as it streams."""

    def __init__(self, root: Path, store: StoreDoc, copy: Copy) -> None:
        self._root, self._store, self._copy = root, store, copy

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        schema = arrow_schema(self._copy)
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema)).__arrow_c_stream__(requested_schema)

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        chosen = exp.select(*[exp.column(c, quoted=True) for c in schema.names]).from_(_table(self._copy))
        with connected(self._root, self._store) as cursor:
            cursor.execute(chosen.sql("postgres"))
            for batch in cursor.fetch_record_batch():
                yield pa.record_batch(
                    [a.cast(f.type) for a, f in zip(batch.columns, schema, strict=True)], schema=schema
                )


def write(
    engine: Engine, table: ibis.Table, root: Path, store: StoreDoc, name: str, run: str, admit: Callable[[int], None]
) -> Copy:
    """Write a table into a fresh one of the database: whole, or not at all. `admit` may refuse its bytes."""
    types = {column: str(kind) for column, kind in table.schema().items()}
    rows = table.mutate(**{c: table[c].cast(_plain(t)) for c, t in types.items() if _plain(t) != t})
    with connected(root, store) as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(store.name)}")
        if _is_there(cursor, store.name, name) and not _is_ours(cursor, store.name, name):
            raise PlanError(
                f"{store.location} has a {store.name}.{name} already that agentlab didn't make; "
                "nothing was published. Publish to a store of another name, or give the table another last name"
            )
        fresh = _fresh(cursor, store.name, name, run)
        with viewed(engine, rows) as view:
            reader = engine.con.con.execute(f"FROM {view}").to_arrow_reader(BATCH)
            cursor.adbc_ingest(fresh, reader, mode="create", db_schema_name=store.name)
        mark = exp.Literal.string(_mark(run)).sql("postgres")
        cursor.execute(f"COMMENT ON TABLE {_table_sql(store.name, fresh)} IS {mark}")
        copy = Copy(path=f"{store.name}.{fresh}", format="postgres", name=fresh, types=types, rows=0, bytes=0)
        size, count = _measured(cursor, copy)
        # Within the transaction still: what is refused was never there.
        admit(size)
    return copy.model_copy(update={"rows": count, "bytes": size})


def read(engine: Engine, root: Path, store: StoreDoc, copy: Copy) -> ibis.Table:
    """A written table, read as it streams; LabError when it is gone or the database can't be reached."""
    with connected(root, store) as cursor:
        if not _is_there(cursor, store.name, copy.name):
            raise LabError(f"the table {copy.path} of {store.location} is gone; publish it again")
    return streamed(engine, Stream(root, store, copy), copy)


def settle(root: Path, store: StoreDoc, tables: Sequence[str]) -> bool:
    """Let the views of these tables show what the store's document says; those it doesn't have go. All or none."""
    with connected(root, store) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext($1))", (f"agentlab {store.name}",))
        cursor.fetchall()
        for table in tables:
            published = store.tables.get(table)
            if _is_there(cursor, store.name, table) and not _is_ours(cursor, store.name, table):
                if published:
                    raise LabError(f"{store.location} has a {store.name}.{table} that agentlab didn't make; it stays")
            elif published is None:
                cursor.execute(f"DROP VIEW IF EXISTS {_table_sql(store.name, table)}")
            else:
                _show(cursor, store.name, table, published.parts)
    return True


def written(root: Path, store: StoreDoc) -> dict[str, str]:
    """Every table that a run wrote into the store, as `store.table__run`, with that run."""
    sql = (
        "SELECT c.relname, obj_description(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relkind = 'r' AND obj_description(c.oid) LIKE $2"
    )
    with connected(root, store) as cursor:
        cursor.execute(sql, (store.name, _mark("%")))
        return {f"{store.name}.{name}": mark.removeprefix(_mark("")) for name, mark in cursor.fetchall()}


def remove(root: Path, store: StoreDoc, path: str) -> None:
    """Drop a table that a run wrote and that no document names."""
    with connected(root, store) as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_table_sql(*path.split('.', 1))}")


@contextmanager
def connected(root: Path, store: StoreDoc) -> Iterator[Any]:
    """A cursor in a transaction that is committed at the end; what Postgres raises becomes an error of ours."""
    try:
        import adbc_driver_manager
        from adbc_driver_postgresql import dbapi
    except ImportError as fault:
        raise LabError("a postgres store needs ADBC; install it with: pip install 'agentlab[postgres]'") from fault
    url = _url(root, store)
    try:
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            yield cursor
            connection.commit()
    except adbc_driver_manager.Error as fault:
        raise _explained(store, fault, urlsplit(url).password) from None


def _explained(store: StoreDoc, fault: Any, secret: str | None) -> PlanError | LabError:
    why = str(fault).partition("ERROR:")[2] or str(fault)
    for spelled in {secret, unquote(secret)} if secret else ():
        why = why.replace(spelled, "***")
    first = why.strip().splitlines()[0]
    if str(getattr(fault, "sqlstate", "") or "").startswith(_OF_THE_DATA):
        return PlanError(f"{store.name} can't keep the rows: {first}")
    return LabError(f"the database {store.location} of store {store.name} can't go on: {first}")


def _url(root: Path, store: StoreDoc) -> str:
    """The database's address with its password, for one connection."""
    database = database_of(store.database or {}, store.location)
    parts, token = urlsplit(database.url or ""), secret_of(root, database)
    who, _, host = parts.netloc.rpartition("@")
    secret = f":{quote(token, safe='')}" if token else ""
    timed = "&".join(filter(None, [parts.query, f"connect_timeout={database.timeout}"]))
    return urlunsplit(parts._replace(netloc=f"{who}{secret}@{host}" if who else host, query=timed))


def database_of(doc: dict[str, Any], name: str) -> SqlSource:
    """A registered database that a store can be in; PlanError for a source of another kind."""
    source = read_doc(doc)
    if not isinstance(source, SqlSource) or source.driver != "postgres":
        kind = getattr(source, "driver", source.kind)
        raise PlanError(f"{name} is a {kind} source; a postgres store needs a registered Postgres database")
    return source


def _fresh(cursor: Any, schema: str, table: str, run: str) -> str:
    if len(table.encode()) > LONGEST:
        raise PlanError(f"{table!r} is too long for Postgres, whose names have up to {LONGEST} bytes; rename the table")
    name = f"{table}{_OF}{run}"
    if len(name.encode()) > LONGEST - 4:
        short = table.encode()[:20].decode(errors="ignore")
        name = f"{short}{_OF}{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"
    taken, number = name, 1
    while _is_there(cursor, schema, taken):
        number += 1
        taken = f"{name}_{number}"
    return taken


def _is_there(cursor: Any, schema: str, table: str) -> bool:
    cursor.execute("SELECT to_regclass($1) IS NOT NULL", (_table_sql(schema, table),))
    return bool(cursor.fetchone()[0])


def _is_ours(cursor: Any, schema: str, view: str) -> bool:
    cursor.execute("SELECT obj_description(to_regclass($1), 'pg_class')", (_table_sql(schema, view),))
    return bool(cursor.fetchone()[0] == _VIEW)


def _measured(cursor: Any, copy: Copy) -> tuple[int, int]:
    place = _table(copy).sql("postgres")
    cursor.execute("SELECT pg_total_relation_size(to_regclass($1))", (place,))
    size = int(cursor.fetchone()[0])
    cursor.execute(exp.select(exp.Count(this=exp.Star())).from_(_table(copy)).sql("postgres"))
    return size, int(cursor.fetchone()[0])


def _show(cursor: Any, schema: str, table: str, parts: Sequence[Copy]) -> None:
    columns = [exp.column(c, quoted=True) for c in parts[0].types]
    rows = " UNION ALL ".join(exp.select(*columns).from_(_table(part)).sql("postgres") for part in parts)
    view = _table_sql(schema, table)
    # Replaced where it can be, since grants and other people's views of it go with a drop.
    if (there := _columns(cursor, schema, table)) and there != _columns(cursor, schema, parts[0].name):
        cursor.execute(f"DROP VIEW {view}")
    cursor.execute(f"CREATE OR REPLACE VIEW {view} AS {rows}")
    cursor.execute(f"COMMENT ON VIEW {view} IS {exp.Literal.string(_VIEW).sql('postgres')}")


def _columns(cursor: Any, schema: str, table: str) -> list[tuple[Any, ...]]:
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (_table_sql(schema, table),),
    )
    return [tuple(row) for row in cursor.fetchall()]


def _plain(kind: str) -> str:
    return "string" if kind == "json" else kind


def _mark(run: str) -> str:
    return f"agentlab run {run}"


def _table(copy: Copy) -> exp.Table:
    schema, _, name = copy.path.partition(".")
    return exp.table_(name, db=schema, quoted=True)


def _table_sql(schema: str, table: str) -> str:
    return exp.table_(table, db=schema, quoted=True).sql("postgres")


def _name(identifier: str) -> str:
    return exp.to_identifier(identifier, quoted=True).sql("postgres")
