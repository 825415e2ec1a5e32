"""Expectations about tables: their columns, what a query over them returns, and that they are as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from agentlab.errors import unknown
from agentlab.evaluation.ended import Ended, seen
from agentlab.evaluation.expectations import holds
from agentlab.evaluation.form import Expectation
from agentlab.evaluation.values import same_list

#: What a run tells, rather than what it makes.
_TOLD = ("report", "review", "check", "query")


@holds("columns")
def columns(said: Expectation, ended: Ended) -> Iterator[str]:
    """The table has exactly these columns, in any order."""
    table = str(said.columns)
    if table not in ended.views:
        yield unknown("table", table, ended.views)
        return
    found, wanted = list(ended.views[table].columns), list(said.are or ())
    if sorted(found) != sorted(wanted):
        lacking, more = [c for c in wanted if c not in found], [c for c in found if c not in wanted]
        yield f"{table} has {', '.join(found)}; lacking: {lacking or 'none'}, too many: {more or 'none'}"


@holds("rows")
def rows(said: Expectation, ended: Ended) -> Iterator[str]:
    """The query returns these rows, in this order."""
    try:
        _, found = ended.ask(str(said.rows))
    except duckdb.Error as fault:
        yield f"the query doesn't run: {str(fault).splitlines()[0]}"
        return
    wanted = list(said.are or ())
    if len(found) != len(wanted):
        yield f"there are {len(found)} rows, not {len(wanted)}: {_few(found)}"
        return
    for number, (row, expected) in enumerate(zip(found, wanted, strict=True), 1):
        if not same_list(row, expected):
            yield f"row {number} is {_shown(row)}, not {_shown(expected)}"
            return


@holds("unchanged")
def unchanged(said: Expectation, ended: Ended) -> Iterator[str]:
    """Each table is what it was, cell for cell; with none named, nothing was made or changed."""
    for table in said.unchanged or ():
        yield from _changed(table, ended)
    if said.unchanged == []:
        yield from _anything(ended)


def _changed(table: str, ended: Ended) -> Iterator[str]:
    if table not in ended.past:
        yield f"{unknown('table', table, ended.past)} before the run"
    elif table not in ended.views:
        yield f"{table} is gone"
    elif ended.past.versions[table] != ended.views.versions[table]:
        difference = differing(ended.rows(ended.past, table), ended.rows(ended.views, table))
        yield from [f"{table} has changed: {difference}"] if difference else []


def differing(before: pa.Table, after: pa.Table) -> str:
    """What tells a table from what it was: columns, types, the number of rows, or the first cell; empty if nothing.

    >>> differing(pa.table({"a": [1, None]}), pa.table({"a": [1, 2]}))
    'row 2, a: None -> 2'
    """
    if before.schema.names != after.schema.names or before.schema.types != after.schema.types:
        return f"{_fields(before)} -> {_fields(after)}"
    if len(before) != len(after):
        return f"{len(before)} rows -> {len(after)} rows"
    for name, one, two in zip(before.schema.names, before.columns, after.columns, strict=True):
        unlike = _unlike(one.combine_chunks(), two.combine_chunks())
        if unlike is not None:
            return f"row {unlike + 1}, {name}: {one[unlike].as_py()!r} -> {two[unlike].as_py()!r}"
    return ""


def _unlike(one: pa.Array, two: pa.Array) -> int | None:
    """Where two columns differ first."""
    if one.equals(two):
        return None
    if pa.types.is_nested(one.type):
        pairs = enumerate(zip(one.to_pylist(), two.to_pylist(), strict=True))
        return next((at for at, (a, b) in pairs if a != b), None)
    apart = pc.or_(pc.xor(one.is_null(), two.is_null()), pc.fill_null(pc.not_equal(one, two), False))
    if pa.types.is_floating(one.type):
        apart = pc.and_not(apart, pc.fill_null(pc.and_(pc.is_nan(one), pc.is_nan(two)), False))
    at = pc.index(apart, True).as_py()
    return int(at) if at >= 0 else None


def _fields(table: pa.Table) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in table.schema)


def _anything(ended: Ended) -> Iterator[str]:
    """What was made, changed or taken away, by kind and name; reports aside, which only tell."""
    was, now = ended.before.heads, ended.lab.catalog.heads()
    for kind, name in sorted({*was, *now}):
        if kind not in _TOLD and was.get((kind, name)) != now.get((kind, name)):
            change = "was made" if (kind, name) not in was else "is gone" if (kind, name) not in now else "has changed"
            yield f"{kind} {name} {change}"
    yield from (f"query {name} was made" for kind, name in now if kind == "query" and (kind, name) not in was)
    files = seen(ended.lab.root)
    yield from (f"the file {name} was written" for name in files if files[name] != ended.before.files.get(name))


def _few(found: Sequence[Sequence[Any]]) -> str:
    return "; ".join(map(_shown, found[:3])) + (" ..." if len(found) > 3 else "")


def _shown(row: Sequence[Any]) -> str:
    return f"({', '.join(str(value) for value in row)})"[:300]
