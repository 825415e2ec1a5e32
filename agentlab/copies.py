"""Copies of tables: Parquet files, hive folders or a DuckDB file, written whole to a fresh folder and never changed.

Stores publish copies and layouts are copies; the versions of the catalog's own tables are `engine.py`'s.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Literal

import ibis
import ibis.expr.operations as ops
from ibis.backends.sql.datatypes import DuckDBType
from pydantic import BaseModel, ConfigDict, Field

from agentlab.engine import Engine, explained
from agentlab.errors import LabError, PlanError, unknown

#: `postgres` is a table of a database, which `stores` writes and reads.
Format = Literal["parquet", "duckdb", "postgres"]

#: More folders than this cost more to open than they save.
MOST_FOLDERS = 1000

#: Rows of a row group in sorted files: small enough that a look-up reads little, in whole vectors of the engine.
SORTED_GROUP = 20_480


class Copy(BaseModel):
    """One written copy: a folder relative to the lab, and what is needed to read it back exactly.

    `types` are Ibis's, by column; `name` is the file's, and the table's inside a DuckDB file; `bytes` are on disk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    format: Format
    name: str
    types: dict[str, str]
    rows: int
    bytes: int
    partition_by: tuple[str, ...] = ()


class Shape(BaseModel):
    """How a copy is laid out: its format, and the columns that it is sorted by, split by and indexed on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["parquet", "duckdb"] = "parquet"
    name: str = Field(default="data", pattern=r"^\w+$")
    order_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    index: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the shape needs the table to have."""
        return (*self.order_by, *self.partition_by, *self.index)


def write(engine: Engine, table: ibis.Table, root: Path, folder: Path, shape: Shape | None = None) -> Copy:
    """Write a table into a new folder of the lab at `root`: it is there whole, or not at all.

    LabError when the folder exists; PlanError when a column is missing or folders can't stand for a column's values.
    """
    shape = shape or Shape()
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        copy = _write(engine, table, root, part, shape)
        if folder.exists():
            raise LabError(f"{folder.name} is written already, and copies don't change; write to a fresh folder")
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return copy.model_copy(update={"path": folder.relative_to(root).as_posix()})


def fresh(folder: Path) -> Path:
    """The folder, or one beside it that isn't there yet: a run that is repeated, or writes twice, gets the next one."""
    taken, number = folder, 1
    while taken.exists():
        number += 1
        taken = folder.with_name(f"{folder.name}.{number}")
    return taken


def read(engine: Engine, root: Path, copies: Sequence[Copy]) -> ibis.Table:
    """The rows of all the copies, one below the other; LabError when the files of one are gone."""
    return below([_read(engine, root, *alike) for alike in _alike(copies)])


def _alike(copies: Sequence[Copy]) -> Iterator[list[Copy]]:
    """Neighbours that one scan can read: Parquet files in no folders by value, of the same columns."""
    for _, group in groupby(copies, lambda c: c.path if c.partition_by or c.format != "parquet" else c.types):
        yield list(group)


def below(tables: Sequence[ibis.Table]) -> ibis.Table:
    """The rows of tables one below the other, joined by halves: a query over hundreds of parts isn't hundreds deep."""
    if len(tables) == 1:
        return tables[0]
    middle = len(tables) // 2
    return below(tables[:middle]).union(below(tables[middle:]))


def fingerprint(engine: Engine, table: ibis.Table) -> tuple[int, int]:
    """The number of a table's rows and the sum of their hashes: the same for the same rows in any order."""
    hashed = f"sum(hash({_names(table.columns)})::HUGEINT)"
    with viewed(engine, table) as view, explained():
        ((rows, total),) = engine.con.raw_sql(f"FROM {view} SELECT count(*), coalesce({hashed}, 0)").fetchall()
    return int(rows), int(total)


def detach(engine: Engine, root: Path, copy: Copy) -> None:
    """Let go of a copy's DuckDB file, so that it can be moved or deleted."""
    if copy.format == "duckdb":
        engine.con.raw_sql(f"DETACH DATABASE IF EXISTS {_alias(_file(root, copy))}")


def detach_under(engine: Engine, folder: Path) -> None:
    """Let go of every DuckDB file inside a folder."""
    for database, path in engine.con.raw_sql("FROM duckdb_databases() SELECT database_name, path").fetchall():
        if path and Path(path).is_relative_to(folder.resolve()):
            engine.con.raw_sql(f"DETACH {name(database)}")


def _write(engine: Engine, table: ibis.Table, root: Path, part: Path, shape: Shape) -> Copy:
    schema = table.schema()
    for column in shape.columns:
        if column not in schema:
            raise PlanError(unknown("column", column, schema, "to lay the table out by"))
    with viewed(engine, table) as view, explained():
        write_as = _write_duckdb if shape.format == "duckdb" else _write_parquet
        rows = write_as(engine, view, part, shape)
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        copy = Copy(
            path=part.relative_to(root).as_posix(),
            format=shape.format,
            name=shape.name,
            types={c: str(t) for c, t in schema.items()},
            rows=rows,
            bytes=size,
            partition_by=shape.partition_by,
        )
        if shape.partition_by and rows:
            _prove(engine, view, _read(engine, root, copy), shape.partition_by)
    return copy


def _write_parquet(engine: Engine, view: str, part: Path, shape: Shape) -> int:
    options, target = ["FORMAT parquet", "COMPRESSION zstd"], part
    if shape.partition_by:
        _few_folders(engine, view, shape.partition_by)
        options += [f"PARTITION_BY ({_names(shape.partition_by)})", "FILENAME_PATTERN 'part-{uuid}'", "OVERWRITE true"]
    else:
        target = part / f"{shape.name}.parquet"
    if shape.order_by:
        options.append(f"ROW_GROUP_SIZE {SORTED_GROUP}")
    query = f"COPY (FROM {view}{_ordered(shape)}) TO {quoted(str(target))} ({', '.join(options)})"
    ((rows,),) = engine.con.raw_sql(query).fetchall()
    return int(rows)


def _write_duckdb(engine: Engine, view: str, part: Path, shape: Shape) -> int:
    file = part / f"{shape.name}.duckdb"
    database, run = _alias(file), engine.con.raw_sql
    run(f"ATTACH {quoted(str(file))} AS {database}")
    try:
        run(f"CREATE TABLE {database}.main.{name(shape.name)} AS FROM {view}{_ordered(shape)}")
        # DuckDB looks up by one column at a time, so several columns get an index each.
        for number, column in enumerate(dict.fromkeys(shape.index)):
            run(f"CREATE INDEX index_{number} ON {database}.main.{name(shape.name)} ({name(column)})")
        ((rows,),) = run(f"FROM {database}.main.{name(shape.name)} SELECT count(*)").fetchall()
    finally:
        run(f"DETACH {database}")
    return int(rows)


def _few_folders(engine: Engine, view: str, columns: Sequence[str]) -> None:
    values = f"FROM {view} SELECT DISTINCT {_names(columns)} LIMIT {MOST_FOLDERS + 1}"
    ((folders,),) = engine.con.raw_sql(f"FROM ({values}) SELECT count(*)").fetchall()
    if folders > MOST_FOLDERS:
        told = ", ".join(columns)
        raise PlanError(f"{told} has over {MOST_FOLDERS:,} different values, too many for folders; sort by it instead")


def _prove(engine: Engine, view: str, written: ibis.Table, columns: Sequence[str]) -> None:
    """A folder's name can't tell NULL from the text 'NULL', nor, on some disks, 'a' from 'A': count what came back."""
    counted = f"SELECT {_names(columns)}, count(*) AS n GROUP BY ALL"
    with viewed(engine, written) as back:
        lost = f"(FROM {view} {counted}) EXCEPT ALL (FROM {back} {counted})"
        rows = engine.con.raw_sql(f"FROM ({lost}) LIMIT 1").fetchall()
    if rows:
        value = ", ".join(f"{c} = {v!r}" for c, v in zip(columns, rows[0], strict=False))
        raise PlanError(
            f"folder names can't keep the value {value} apart from others; clean it, or don't partition by it"
        )


def _read(engine: Engine, root: Path, *parts: Copy) -> ibis.Table:
    copy = parts[0]
    schema = ibis.schema(copy.types)
    if copy.partition_by and not copy.rows:
        # There is no folder for a value that no row has.
        nothing = ", ".join(f"CAST(NULL AS {sql_type(t)}) AS {name(c)}" for c, t in schema.items())
        return ops.SQLQueryResult(f"SELECT {nothing} WHERE false", schema, engine.con).to_expr()
    for part in parts:
        if not (root / part.path).exists():
            raise LabError(f"the files of a copy are gone: {part.path}; publish or build it again")
    chosen = ", ".join(f"CAST({name(c)} AS {sql_type(t)}) AS {name(c)}" for c, t in schema.items())
    place = _attached(engine, root, copy) if copy.format == "duckdb" else _parquet(root, *parts)
    return ops.SQLQueryResult(f"SELECT {chosen} FROM {place}", schema, engine.con).to_expr()  # noqa: S608


def _parquet(root: Path, *parts: Copy) -> str:
    copy = parts[0]
    if not copy.partition_by:
        listed = ", ".join(quoted(str(_file(root, part))) for part in parts)
        return f"read_parquet([{listed}], hive_partitioning = false)"
    schema = ibis.schema(copy.types)
    types = ", ".join(f"{quoted(c)}: {quoted(sql_type(schema[c]))}" for c in copy.partition_by)
    files = quoted(str((root / copy.path).resolve() / "**" / "*.parquet"))
    return f"read_parquet({files}, hive_partitioning = true, hive_types = {{{types}}})"


def _attached(engine: Engine, root: Path, copy: Copy) -> str:
    file = _file(root, copy)
    with explained():
        engine.con.raw_sql(f"ATTACH IF NOT EXISTS {quoted(str(file))} AS {_alias(file)} (READ_ONLY)")
    return f"{_alias(file)}.main.{name(copy.name)}"


def _file(root: Path, copy: Copy) -> Path:
    return (root / copy.path).resolve() / f"{copy.name}.{copy.format}"


def _alias(file: Path) -> str:
    digest = hashlib.md5(str(file).encode(), usedforsecurity=False).hexdigest()
    return f"copy_{digest}"


@contextmanager
def viewed(engine: Engine, table: ibis.Table) -> Iterator[str]:
    """A view of the table in the engine, for as long as the `with` lasts; its name needs no quotes."""
    view = ibis.util.gen_name("copied")
    with explained():
        engine.con.create_view(view, table)
    try:
        yield view
    finally:
        engine.con.drop_view(view)


def _ordered(shape: Shape) -> str:
    return f" ORDER BY {_names(shape.order_by)}" if shape.order_by else ""


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(name, columns))


def sql_type(dtype: ibis.expr.datatypes.DataType) -> str:
    """An Ibis type as DuckDB writes it.

    >>> sql_type(ibis.dtype("array<int64>"))
    'BIGINT[]'
    """
    return str(DuckDBType.to_string(dtype))


def name(identifier: str) -> str:
    """An identifier as SQL; `quoted` does the same for a text."""
    return '"' + identifier.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text literal as SQL."""
    return "'" + text.replace("'", "''") + "'"


def same_types(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What keeps rows of the new types from going below those of the old, in words; nothing if they fit.

    >>> same_types({"id": "int64", "at": "date"}, {"id": "string"})
    ['at is missing', 'id is string, not int64']
    """
    faults = [f"{column} is missing" for column in old if column not in new]
    faults += [f"{column} is new" for column in new if column not in old]
    faults += [
        f"{column} is {new[column]}, not {kind}" for column, kind in old.items() if new.get(column, kind) != kind
    ]
    return faults
