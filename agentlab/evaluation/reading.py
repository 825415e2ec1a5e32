"""Rows of a case as tables, and files in the format of their extension: by a DuckDB of its own, that knows no lab."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from agentlab.errors import LabError
from agentlab.evaluation.form import RestRows, Rows

#: What a column of a REST resource may be declared as, in the language of DuckDB.
_TYPES = {
    **{"int": "BIGINT", "integer": "BIGINT", "float": "DOUBLE", "number": "DOUBLE", "text": "VARCHAR"},
    **{"string": "VARCHAR", "date": "DATE", "timestamp": "TIMESTAMP", "datetime": "TIMESTAMP"},
    **{"bool": "BOOLEAN", "boolean": "BOOLEAN", "json": "JSON"},
}
#: The i-th value of a made-up column.
_MADE = {
    **{"BIGINT": "i + 1", "DOUBLE": "i + 0.5", "DATE": "DATE '2024-01-01' + CAST(i AS INTEGER)"},
    **{"TIMESTAMP": "TIMESTAMP '2024-01-01' + to_hours(i)", "BOOLEAN": "i % 2 = 0"},
}


def rows_of(rows: Rows) -> pa.Table:
    """The rows of a case's table; LabError when DuckDB can't read them."""
    return from_csv(rows.csv) if rows.csv is not None else from_sql(rows.sql or "")


def from_sql(sql: str) -> pa.Table:
    """The result of a query."""
    with duckdb.connect() as database:
        try:
            return database.sql(sql).to_arrow_table()
        except duckdb.Error as fault:
            raise LabError(f"the case's SQL doesn't run: {fault}") from fault


def from_csv(text: str, columns: dict[str, str] | None = None) -> pa.Table:
    """CSV text, as DuckDB's `read_csv` reads it at its defaults, but for the types that `columns` names.

    >>> from_csv("id,day\\n1,2024-05-01\\n").schema.types
    [DataType(int64), DataType(date32[day])]
    """
    typed = {column: _TYPES.get(kind.lower(), kind) for column, kind in (columns or {}).items()}
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        path = Path(folder) / "rows.csv"
        path.write_text(text, encoding="utf-8", newline="")
        try:
            return (
                database.read_csv(str(path), dtype=typed) if typed else database.read_csv(str(path))
            ).to_arrow_table()
        except duckdb.Error as fault:
            raise LabError(f"the case's CSV can't be read: {fault}") from fault


def resource(rows: RestRows) -> pa.Table:
    """The rows of a REST resource: those of the csv, in turn, to the number that is said; without one, made up."""
    if rows.csv is None:
        return _made_up(rows.columns or {}, rows.rows or 0)
    table = from_csv(rows.csv, {c: t for c, t in (rows.columns or {}).items() if c in _header(rows.csv)})
    if rows.rows is None or rows.rows == len(table):
        return table
    return table.take([n % len(table) for n in range(rows.rows)]) if len(table) else table


def _header(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text)), [])


def _made_up(columns: dict[str, str], many: int) -> pa.Table:
    kinds = {column: _TYPES.get(kind.lower(), kind) for column, kind in columns.items()}
    chosen = [f"CAST({_MADE.get(kind, _text(column))} AS {kind}) AS {_name(column)}" for column, kind in kinds.items()]
    return from_sql(f"SELECT {', '.join(chosen)} FROM range({many}) made(i)")  # noqa: S608


def write_file(table: pa.Table, path: Path) -> None:
    """A table as a file: CSV, TSV, JSON, JSON lines, Parquet or Excel, by its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()
    if kind == ".parquet":
        pq.write_table(table, path)
    elif kind == ".xlsx":
        _write_excel(table, path)
    else:
        options = {
            **{".csv": "FORMAT csv, HEADER", ".tsv": "FORMAT csv, HEADER, DELIMITER '\t'"},
            **{".json": "FORMAT json, ARRAY true", ".jsonl": "FORMAT json", ".ndjson": "FORMAT json"},
        }
        if kind not in options:
            raise LabError(f"a case's file is csv, tsv, json, jsonl, parquet or xlsx by its name, not {path.name!r}")
        with duckdb.connect() as database:
            database.register("given", table)
            database.execute(f"COPY given TO '{_escaped(path)}' ({options[kind]})")


def _write_excel(table: pa.Table, path: Path) -> None:
    openpyxl = excel()
    book = openpyxl.Workbook()
    book.active.append(table.column_names)
    for row in table.to_pylist():
        book.active.append(list(row.values()))
    book.save(path)


def read_file(path: Path) -> tuple[str, int]:
    """The format of a file by its content, and its number of rows; LabError when it is none that we know."""
    start = path.read_bytes()[:4]
    if start == b"PAR1":
        return "parquet", pq.read_metadata(path).num_rows
    if start == b"PK\x03\x04":
        sheet = excel().load_workbook(path, read_only=True).active
        return "excel", max(sum(1 for _ in sheet.iter_rows()) - 1, 0)
    with duckdb.connect() as database:
        try:
            if start[:1] in (b"{", b"["):
                told = f"SELECT count(*) FROM read_json('{_escaped(path)}', format = 'newline_delimited')"  # noqa: S608
                return "jsonl", int((database.execute(told).fetchone() or (0,))[0])
            told = f"SELECT count(*) FROM read_csv('{_escaped(path)}', header = true, all_varchar = true)"  # noqa: S608
            return "csv", int((database.execute(told).fetchone() or (0,))[0])
        except duckdb.Error as fault:
            raise LabError(f"{path.name} can't be read back: {fault}") from fault


def excel() -> Any:
    """The library for Excel's files."""
    try:
        import openpyxl
    except ImportError as fault:
        raise LabError("Excel files need openpyxl: pip install openpyxl") from fault
    return openpyxl


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(column: str) -> str:
    return "'" + column.replace("'", "''") + " ' || (i + 1)"
