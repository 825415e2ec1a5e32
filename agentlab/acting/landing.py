"""How fetched rows become a table's next version: landed in a file of the run, checked, put over what is there.

Every pull, sync and loaded file goes this way. Rows pass through in batches, so memory doesn't grow with their number.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from agentlab import compile as forms
from agentlab.acting.base import Lineage, Workspace
from agentlab.actions import Dedupe, Join, LoadFile, Pull, Schema, Sync, Union
from agentlab.actions.ingestion import Mode
from agentlab.conversion import common, convert
from agentlab.engine import schema_of
from agentlab.entries import Entry, TableDoc
from agentlab.errors import PlanError, unknown
from agentlab.events import Event
from agentlab.simulation import united
from agentlab.sources.fetched import Fetched, Rejected

Ingests = Pull | Sync | LoadFile


@dataclass(frozen=True)
class Stored:
    """A table's new version, how many rows came in for it, how many were set aside, and which columns changed type."""

    doc: TableDoc
    came: int
    aside: int
    retyped: dict[str, list[str]]


@contextmanager
def landed(workspace: Workspace, into: str, fetched: Fetched) -> Iterator[ibis.Table]:
    """The fetched rows as a table over a file of the run, which is gone after the block.

    A column without a single value has the type that it has in the table `into`, if it is there.
    """
    folder = workspace.root / "tmp" / f"landing-{workspace.draft.run}-{into}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        blank = _written(fetched, folder / "data.parquet")
        doc = TableDoc(path=folder.relative_to(workspace.root).as_posix(), schema_=fetched.types, rows=0)
        yield _typed(workspace.engine.read(doc, workspace.root), blank, _known(workspace, into))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def store_rows(
    workspace: Workspace,
    action: Ingests,
    table: ibis.Table,
    *,
    mode: Mode,
    key: Sequence[str] = (),
    source: str,
    rejected: Sequence[Rejected] = (),
) -> Stored:
    """Put landed rows into the table `action.into` as its next version, in the run's draft: all of them or none.

    `replace` leaves these rows only, `append` puts them below those that are there, `upsert` in place of those with the
    same `key`, whose values stay in columns that didn't come; of several that came with one key the last counts. A new
    column evolves the table, a column of two types gets the narrower one that holds both. `rejected`, and rows to
    upsert without a key, go to `quarantine.<table>` with the reason. Tells `data-ready` and, where the schema isn't
    that of the last time, `schema-drift`. `source` says where the rows are from: `source.resource`, or the file.
    PlanError where a key column is missing altogether.
    """
    kept = workspace.draft.find("table", action.into) if mode != "replace" else None
    keys = _spelled_key(workspace, action, table, kept, key, source) if mode == "upsert" else ()
    table, aside = _keyed(workspace, table, keys)
    came = _count(workspace, table)
    outside = [*aside, *([_raw(workspace, rejected)] if rejected else [])]
    lineage: Lineage = {column: [] for column in table.columns}
    if kept:
        table = _onto(workspace.read(action.into), table, action.into, keys)
        lineage = {c: [(action.into, kept.n, c)] if c in kept.doc["schema"] else [] for c in table.columns}
    last = _last_schema(workspace, action.into, source) or (kept.doc["schema"] if kept else None)
    gone = _set_aside(workspace, action, outside) if outside else 0
    doc = workspace.write(action.into, table, action, lineage, source)
    workspace.emit("data-ready", action.into, rows=doc.rows, source=source, mode=mode)
    drift = drifted(last, doc.schema_) if last else {}
    if drift:
        workspace.emit("schema-drift", action.into, **drift)
    retyped = drifted(kept.doc["schema"], doc.schema_).get("retyped", {}) if kept else {}
    return Stored(doc, came, gone, dict(retyped))


def drifted(before: Schema, after: Schema) -> dict[str, Any]:
    """How a schema differs from that of the last time; nothing if it doesn't.

    >>> drifted({"id": "int", "x": "int"}, {"id": "text", "y": "int"})
    {'added': ['y'], 'removed': ['x'], 'retyped': {'id': ['int', 'text']}}
    """
    added = [column for column in after if column not in before]
    removed = [column for column in before if column not in after]
    retyped = {c: [str(before[c]), str(kind)] for c, kind in after.items() if c in before and before[c] != kind}
    return {"added": added, "removed": removed, "retyped": retyped} if added or removed or retyped else {}


def _written(fetched: Fetched, file: Path) -> set[str]:
    """Write the batches; returns the columns without a single value."""
    blank = set(fetched.schema.names)
    with pq.ParquetWriter(file, fetched.schema, compression="zstd") as writer:
        for batch in fetched:
            writer.write_batch(batch)
            blank -= {name for name in blank if batch.column(name).null_count < batch.num_rows}
    return blank


def _typed(table: ibis.Table, blank: set[str], known: Schema) -> ibis.Table:
    lower = {column.lower(): kind for column, kind in known.items()}
    types = {c: lower[c.lower()] for c in table.columns if c in blank and c.lower() in lower}
    return table.mutate(**{c: convert(table[c], kind) for c, kind in types.items()}) if types else table


def _known(workspace: Workspace, into: str) -> Schema:
    entry = workspace.draft.find("table", into)
    schema: Schema = entry.doc["schema"] if entry else {}
    return schema


def _last_schema(workspace: Workspace, into: str, source: str) -> Schema | None:
    """The columns of the table when rows came into it from the same place the last time."""
    history = workspace.draft.catalog.history("table", into)
    return next((e.doc["schema"] for e in reversed(history) if e.doc.get("source") == source), None)


def _count(workspace: Workspace, table: ibis.Table) -> int:
    return int(workspace.engine.con.to_pyarrow(table.count()).as_py())


# Keys


def _spelled_key(
    workspace: Workspace, action: Ingests, table: ibis.Table, kept: Entry | None, key: Sequence[str], source: str
) -> tuple[str, ...]:
    """The key's columns as the fetched rows spell them; they must be in those and in the table that is there."""
    there = kept.doc["schema"] if kept else table.columns
    for column in key:
        if column.lower() not in {c.lower() for c in table.columns}:
            # The run fails, so this can't wait for its commit.
            drift = {"added": [], "removed": [column], "retyped": {}, "key": list(key)}
            event = Event(type="schema-drift", subject=action.into, body=drift, run=workspace.draft.run)
            workspace.draft.catalog.emit(event)
            raise PlanError(unknown("key column", column, table.columns, f"in {source}"))
        if column.lower() not in {c.lower() for c in there}:
            raise PlanError(unknown("key column", column, there, f"in {action.into}"))
    spelled = {c.lower(): c for c in table.columns}
    return tuple(spelled[column.lower()] for column in key)


def _keyed(workspace: Workspace, table: ibis.Table, key: Sequence[str]) -> tuple[ibis.Table, list[ibis.Table]]:
    """The last row of each key, and the rows without one, with the reason."""
    if not key:
        return table, []
    lacking = reduce(lambda one, two: one | two, [table[column].isnull() for column in key])
    without = table.filter(lacking)
    many = _count(workspace, without)
    rows = forms.compile(Dedupe(table="rows", by=tuple(key), keep="last"), table.filter(~lacking) if many else table)
    words = " and ".join(key)
    return rows, [_because(without, f"no value in {words}, the key to upsert by")] if many else []


def _onto(before: ibis.Table, fetched: ibis.Table, into: str, key: Sequence[str]) -> ibis.Table:
    fetched = forms.spelled(fetched, before.columns)
    if key:
        spelled = {column.lower(): column for column in before.columns}
        keys = [spelled[column.lower()] for column in key]
        fetched = _completed(before, fetched, keys)
        before = before.anti_join(*_alike(before, fetched, keys))
    return forms.compile(Union(table=into, other=into), before, fetched)


def _completed(before: ibis.Table, fetched: ibis.Table, key: Sequence[str]) -> ibis.Table:
    """Rows that take the place of others keep in columns which didn't come what the others had there."""
    came = {column.lower() for column in fetched.columns}
    untold = tuple(column for column in before.columns if column.lower() not in came)
    if not untold:
        return fetched
    known = forms.compile(Dedupe(table="known", by=tuple(key), keep="last"), before)
    return forms.compile(Join(table="rows", other="known", on=tuple(key), columns=untold), fetched, known)


def _alike(
    before: ibis.Table, fetched: ibis.Table, key: Sequence[str]
) -> tuple[ibis.Table, list[tuple[ibis.Value, ibis.Value]]]:
    """What to compare keys by: as text where the two tables have them in types that don't compare."""
    one, two = schema_of(before), schema_of(fetched)
    kinds = {c: one[c] if one[c] == two[c] else common(one[c], two[c]) for c in key}
    return fetched, [(convert(before[c], kind), convert(fetched[c], kind)) for c, kind in kinds.items()]


# What is set aside


def _raw(workspace: Workspace, rejected: Sequence[Rejected]) -> ibis.Table:
    texts = {"row": [r.row for r in rejected], "reason": [r.reason for r in rejected]}
    table = workspace.engine.memtable(pa.table(texts, pa.schema([("row", pa.string()), ("reason", pa.string())])))
    return table.mutate(row=convert(table.row, "json"))


def _because(table: ibis.Table, reason: str) -> ibis.Table:
    name = "reason"
    while name in {column.lower() for column in table.columns}:
        name += "_"
    return table.mutate(**{name: ibis.literal(reason, type="string")})


def _set_aside(workspace: Workspace, action: Ingests, tables: Sequence[ibis.Table]) -> int:
    """Put rows into the quarantine of the table that they were meant for; returns how many."""
    target = f"quarantine.{action.into.rpartition('.')[2]}"
    many = sum(_count(workspace, table) for table in tables)
    known = workspace.draft.find("table", target)
    above = [workspace.read(target)] if known else []
    whole = reduce(lambda one, two: forms.compile(Union(table=target, other=target), one, two), [*above, *tables])
    sides = united(known.doc["schema"] if known else (), whole.columns)
    lineage: Lineage = {c: [(target, known.n, one)] if known and one else [] for c, (one, _) in sides.items()}
    workspace.write(target, whole, action, lineage)
    return many
