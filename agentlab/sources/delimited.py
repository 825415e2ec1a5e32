"""Delimited text as rows: its encoding, delimiter and header are found out, its columns read as what they spell.

A file is read twice, in blocks: once to learn its types, once for its rows. Rows with too few or too many fields are
rejected, with the reason; the others go on. Columns are called what the header calls them; those it leaves blank are
`column0`, `column1`, ... by their place, and a name that comes again gets a number, as DuckDB has it.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.csv as pacsv

from agentlab.errors import LabError
from agentlab.sources.arrow import schema_for
from agentlab.sources.fetched import Fetched, Rejected
from agentlab.sources.readings import Reading, kind_of, kind_of_all

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 1 << 20
#: Rows that are looked at to tell a header from values.
_HEAD = 25
#: In bytes. A row must fit into a block.
_BLOCK = 16 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Layout:
    """How a file is to be read: encoding, delimiter, lines before the rows, and the columns' names."""

    encoding: str
    delimiter: str
    skip: int
    names: tuple[str, ...]


def read(path: Path) -> Fetched:
    """The rows of a delimited file. LabError where it is empty, or no row fits its header."""
    layout = layout_of(path)
    readings, rejected = {name: Reading() for name in layout.names}, list[Rejected]()
    rows = 0
    for batch in _batches(path, layout, rejected):
        rows += batch.num_rows
        for name, reading in readings.items():
            reading.see(batch.column(name))
    if rejected and not rows:
        raise LabError(f"no row of {path.name} fits its {len(layout.names)} columns; {rejected[0].reason}")
    schema = schema_for({name: reading.kind for name, reading in readings.items()})
    return Fetched(schema, _typed(path, layout, readings, schema), rejected)


def layout_of(path: Path) -> Layout:
    """How a file is to be read, told by its beginning; its encoding by all of it."""
    encoding = _encoding(path)
    with _text(path, encoding) as file:
        sample = file.read(_SAMPLE)
        whole = not file.read(1)
    lines = sample.splitlines(keepends=True)
    lines = lines if whole or len(lines) < 2 else lines[:-1]
    if not any(line.strip() for line in lines):
        raise LabError(f"{path.name} is empty; there is nothing to make a table of")
    hint = 1 if lines[0].strip().lower().startswith("sep=") and len(lines[0].strip()) == 5 else 0
    delimiter = lines[0].strip()[-1] if hint else _delimiter(lines)
    rows = [(row, at + hint) for row, at in _parsed(lines[hint:], delimiter) if row]
    return _headed(encoding, delimiter, rows, hint)


def _headed(encoding: str, delimiter: str, rows: Sequence[tuple[list[str], int]], skip: int) -> Layout:
    widths = Counter(len(row) for row, _ in rows)
    width = max(widths, key=lambda w: (widths[w], w))
    # A title above the table is one cell; `at` is the line on which a row ends.
    while width > 1 and len(rows) > 1 and len([cell for cell in rows[0][0] if cell]) == 1 and len(rows[0][0]) != width:
        skip, rows = rows[0][1], rows[1:]
    (first, at), below = rows[0], [row for row, _ in rows[1:]]
    if not _is_header(first, [row for row in below if len(row) == width][:_HEAD]):
        return Layout(encoding, delimiter, skip, names_of([""] * width))
    few = len(first) < width and widths[width] > len(below) / 2
    return Layout(encoding, delimiter, at, names_of([*first, *[""] * (width - len(first))] if few else first))


def names_of(header: Sequence[str]) -> tuple[str, ...]:
    """A name of its own for each column, as DuckDB gives them.

    >>> names_of(["id", "", "ID", " city "])
    ('id', 'column1', 'ID_1', 'city')
    """
    taken, names = set[str](), list[str]()
    for place, cell in enumerate(header):
        wanted = "".join(c for c in " ".join(cell.split()) if c.isprintable()) or f"column{place}"
        name, number = wanted, 0
        while name.lower() in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name.lower())
        names.append(name)
    return tuple(names)


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: unless it holds values of the kinds that stand below it."""
    if not rows:
        return True
    typed = 0
    for cell, below in zip(first, zip(*rows, strict=True), strict=False):
        kind = kind_of_all([value for value in below if value])
        if kind == "text":
            continue
        typed += 1
        if cell and _fits(cell, kind, below):
            return False
    return typed > 0 or len(set(first)) == len(first)


def _fits(cell: str, kind: str, below: Sequence[str]) -> bool:
    """Whether a cell is of the kind below it; a year above what are no years is a name."""
    if _is_year(cell) and not all(_is_year(value) for value in below if value):
        return False
    return kind_of(cell) == kind or (kind_of(cell), kind) == ("int", "float")


def _is_year(text: str) -> bool:
    return len(text) == 4 and text.isdecimal() and 1900 <= int(text) <= 2100


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter that splits most rows into the same number of fields, and into more than one."""

    def score(delimiter: str) -> tuple[float, int]:
        widths = Counter(len(row) for row, _ in _parsed(lines[:500], delimiter) if row)
        width, times = max(widths.items(), key=lambda item: (item[0] > 1, item[1], item[0]))
        return (times / widths.total() if width > 1 else 0.0, width)

    return max(_DELIMITERS, key=score)


def _parsed(lines: Sequence[str], delimiter: str) -> Iterator[tuple[list[str], int]]:
    """Rows, each with the number of lines up to its end."""
    reader = csv.reader(io.StringIO("".join(lines)), delimiter=delimiter)
    csv.field_size_limit(_BLOCK)
    try:
        for row in reader:
            yield row, reader.line_num
    except csv.Error:
        return


# Bytes to text


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path) if zipped else path.open("rb"))


def _text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open(path), encoding=encoding)


def _encoding(path: Path) -> str:
    try:
        with _open(path) as file:
            start = file.read(_SAMPLE)
            for mark, encoding in _MARKS:
                if start.startswith(mark):
                    return encoding
            if wide := _wide(start):
                return wide
            return _narrow(file, start)
    except (OSError, EOFError) as fault:
        raise LabError(f"{path.name} can't be read: {fault}") from None


def _wide(start: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of plain text is zero."""
    even, odd = start[0:1000:2].count(0), start[1:1000:2].count(0)
    if min(even, odd) == 0 and max(even, odd) > len(start[:1000]) / 5:
        return "utf-16-be" if even else "utf-16-le"
    return None


def _narrow(file: IO[bytes], start: bytes) -> str:
    """UTF-8 if all of the file is; else what Windows writes; else Latin-1, which anything is."""
    readers = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252")}
    block = start
    while block and readers:
        for name in list(readers):
            try:
                readers[name].decode(block)
            except UnicodeDecodeError:
                del readers[name]
        block = file.read(_SAMPLE)
    return next(iter(readers), "latin-1")


# Text to rows


class _Utf8(io.RawIOBase):
    """A text file as UTF-8 bytes, in blocks."""

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._left:
            self._left = self._file.read(_SAMPLE).encode("utf-8", "replace")
        size = min(len(into), len(self._left))
        into[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _batches(path: Path, layout: Layout, rejected: list[Rejected] | None) -> Iterator[pa.RecordBatch]:
    """The rows as text, a block at a time; those that don't fit go to `rejected`, if given."""

    def invalid(row: Any) -> str:
        if rejected is not None:
            rejected.append(_rejected(row, layout.delimiter))
        return "skip"

    parse = pacsv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=invalid)
    options = pacsv.ReadOptions(column_names=layout.names, skip_rows=layout.skip, block_size=_BLOCK, use_threads=False)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(layout.names, pa.string()), null_values=[""], strings_can_be_null=True
    )
    with _text(path, layout.encoding) as file:
        try:
            yield from pacsv.open_csv(io.BufferedReader(_Utf8(file), _SAMPLE), options, parse, convert)
        except (pa.ArrowInvalid, OSError, EOFError) as fault:
            if "Empty CSV file" not in str(fault):
                raise LabError(f"{path.name} can't be read as delimited text: {str(fault)[:300]}") from None


def _rejected(row: Any, delimiter: str) -> Rejected:
    cells = next(csv.reader([row.text], delimiter=delimiter), [])
    line = f"row {row.number}: " if row.number is not None else ""
    reason = f"{line}{row.actual_columns} fields, where the header has {row.expected_columns}"
    return Rejected(json.dumps(cells, ensure_ascii=False), reason)


def _typed(path: Path, layout: Layout, readings: dict[str, Reading], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in _batches(path, layout, None):
        columns = [reading.read(batch.column(name)) for name, reading in readings.items()]
        yield pa.record_batch(columns, schema)
