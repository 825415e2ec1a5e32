"""What lies outside the lab's folder, as tables of the engine: Arrow that streams in whenever it is scanned."""

from __future__ import annotations

import hashlib

import ibis
import ibis.expr.operations as ops
import pyarrow as pa

from agentlab.copies import Copy, name, sql_type
from agentlab.engine import Engine


def arrow_schema(copy: Copy) -> pa.Schema:
    """A copy's columns as Arrow; JSON comes as text, since Arrow has none."""
    return ibis.schema({c: "string" if kind == "json" else kind for c, kind in copy.types.items()}).to_pyarrow()


def streamed(engine: Engine, source: object, copy: Copy) -> ibis.Table:
    """A copy's rows from a source that DuckDB can scan again and again, such as a dataset of pyarrow's.

    It is known to this thread's connection, by a name that follows from the copy's place; copies don't change.
    """
    digest = hashlib.md5(f"{copy.format} {copy.path}".encode(), usedforsecurity=False).hexdigest()
    view, schema = f"outside_{digest}", ibis.schema(copy.types)
    engine.con.con.register(view, source)
    chosen = ", ".join(f"CAST({name(c)} AS {sql_type(t)}) AS {name(c)}" for c, t in schema.items())
    return ops.SQLQueryResult(f"SELECT {chosen} FROM {view}", schema, engine.con).to_expr()  # noqa: S608
