"""Tables as files for other programs: CSV, JSON lines, Parquet, Excel, a batch of rows at a time.

Nothing in a cell is made to look otherwise in CSV, be it a formula; in Excel no cell ever is a formula. Where a file is
put, and when, is `placing.py`'s.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from agentlab.actions import Schema
from agentlab.datafiles import Format
from agentlab.errors import LabError
from agentlab.sources.arrow import fitted, schema_for

_BATCH = 50_000
_INSTALL = "writing Excel files needs a library: pip install 'agentlab[excel]'"
#: What an Excel sheet holds at most: rows with the header, columns, characters of a cell.
MOST_ROWS, MOST_COLUMNS, MOST_TEXT = 1_048_576, 16_384, 32_767
#: Beyond it Excel rounds a whole number.
_EXACT = 10**15

Rows = Iterable[pa.RecordBatch]


def write(files: Path, kinds: Schema, rows: int, file: Path, format: Format) -> None:
    """Write so many rows, which lie in a folder of Parquet files, into a new file, in the order of the files.

    LabError where the format can't hold them; no file is left then.
    """
    if format == "excel":
        _check_sheet(rows, kinds)
    paths = sorted(files.glob("*.parquet")) if files.is_dir() else [files]
    data = pads.dataset([str(path) for path in paths], format="parquet")
    try:
        _WRITERS[format](file, fitted(data.to_batches(columns=list(kinds), batch_size=_BATCH), kinds), kinds)
    except OSError as fault:
        file.unlink(missing_ok=True)
        raise LabError(f"the export can't be written: {fault.strerror or fault}") from None
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _csv(file: Path, batches: Rows, kinds: Schema) -> None:
    options = pacsv.WriteOptions(include_header=False)
    with file.open("wb") as out:
        out.write(_header(kinds))
        with pacsv.CSVWriter(out, schema_for(kinds), write_options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)


def _header(kinds: Schema) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(kinds)
    return text.getvalue().encode()


def _jsonl(file: Path, batches: Rows, kinds: Schema) -> None:
    nested = [column for column, kind in kinds.items() if kind == "json"]
    with file.open("w", encoding="utf-8") as out:
        for row in _rows(batches):
            for column in nested:
                row[column] = _parsed(row[column])
            out.write(json.dumps(row, ensure_ascii=False, default=_spelled) + "\n")


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _spelled(value: date | datetime) -> str:
    return value.isoformat()


def _rows(batches: Rows) -> Iterator[dict[str, Any]]:
    """Rows as Python has them; what is no number is missing, since JSON and Excel know none such."""
    for batch in batches:
        for row in batch.to_pylist():
            yield {column: None if _is_odd(value) else value for column, value in row.items()}


def _is_odd(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _parquet(file: Path, batches: Rows, kinds: Schema) -> None:
    with pq.ParquetWriter(file, schema_for(kinds), compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _check_sheet(rows: int, kinds: Schema) -> None:
    if rows + 1 > MOST_ROWS or len(kinds) > MOST_COLUMNS:
        most = f"{MOST_ROWS - 1:,} rows below its header and {MOST_COLUMNS:,} columns"
        raise LabError(f"an Excel sheet holds {most}; the table has {rows:,} and {len(kinds):,}. Export csv or parquet")


def _excel(file: Path, batches: Rows, kinds: Schema) -> None:
    try:
        from openpyxl import Workbook
    except ImportError:
        raise LabError(_INSTALL) from None
    book = Workbook(write_only=True)
    sheet = book.create_sheet("data")
    try:
        sheet.append([_cell(sheet, column, column) for column in kinds])
        for row in _rows(batches):
            sheet.append([_cell(sheet, value, column) for column, value in row.items()])
    except BaseException:
        # What it has written lies in a file of its own until it is closed.
        sheet.close()
        raise
    book.save(file)


def _cell(sheet: Any, value: Any, column: str) -> Any:
    """A cell that holds the value and no formula, whatever the value begins with."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _EXACT:
        value = str(value)
    # Excel's calendar begins in 1900.
    if isinstance(value, date) and value.year < 1900:
        value = value.isoformat()
    if not isinstance(value, str):
        return value
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if len(value) > MOST_TEXT:
        raise LabError(
            f"column {column!r} holds a text of {len(value):,} characters; a cell of Excel has {MOST_TEXT:,}"
        )
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", value))
    cell.data_type = "s"
    return cell


_WRITERS: Mapping[Format, Callable[[Path, Rows, Schema], None]] = {
    **{"csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "excel": _excel}
}
