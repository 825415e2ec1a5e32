"""Excel workbooks as rows: the first sheet that isn't empty, its first row the header, dates as dates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from agentlab.errors import LabError
from agentlab.sources.columns import field_of, typed
from agentlab.sources.delimited import names_of
from agentlab.sources.fetched import Fetched

_INSTALL = "reading Excel files needs a library: pip install 'agentlab[excel]'"


def read(path: Path) -> Fetched:
    """The rows of a workbook. LabError where it can't be read, or every sheet is empty."""
    for rows in _sheets(path):
        filled = [row for row in rows if any(value not in (None, "") for value in row)]
        if filled:
            return Fetched.of(_table(filled))
    raise LabError(f"every sheet of {path.name} is empty; there is nothing to make a table of")


def _table(rows: Sequence[Sequence[Any]]) -> pa.Table:
    width = max((place + 1 for row in rows for place, value in enumerate(row) if value not in (None, "")), default=0)
    start = min(place for row in rows for place, value in enumerate(row) if value not in (None, ""))
    # A title above the table is one cell.
    while width - start > 1 and len(rows) > 1 and sum(value not in (None, "") for value in rows[0]) == 1:
        rows = rows[1:]
    header, *below = [[*row, *[None] * (width - len(row))][start:width] for row in rows]
    names = names_of(["" if value is None else _spelled(value) for value in header])
    columns = [typed([_value(row[place]) for row in below]) for place in range(len(names))]
    fields = [field_of(name, kind) for name, (kind, _) in zip(names, columns, strict=True)]
    return pa.table([array for _, array in columns], pa.schema(fields))


def _value(value: Any) -> Any:
    """A cell as what JSON would have brought. Excel knows no whole numbers, only numbers without a fraction."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, bool | int | float | str):
        return value
    return _spelled(value)


def _spelled(value: Any) -> str:
    if isinstance(value, datetime) and value.time() == datetime.min.time():
        return value.date().isoformat()
    if isinstance(value, datetime | date):
        return value.isoformat()
    number = isinstance(value, float) and value.is_integer()
    return str(int(value)) if number else str(value)


def _sheets(path: Path) -> Iterator[Sequence[Sequence[Any]]]:
    try:
        import python_calamine
    except ImportError:
        yield from _by_openpyxl(path)
        return
    try:
        with python_calamine.CalamineWorkbook.from_path(str(path)) as book:
            for name in book.sheet_names:
                yield book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, OSError) as fault:
        raise LabError(f"{path.name} can't be read as an Excel workbook: {fault}") from None


def _by_openpyxl(path: Path) -> Iterator[Sequence[Sequence[Any]]]:
    try:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise LabError(_INSTALL) from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, OSError, KeyError, ValueError) as fault:
        raise LabError(f"{path.name} can't be read as an Excel workbook: {fault}") from None
    try:
        yield from (list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets)
    finally:
        book.close()
