"""One answer of an API as columns: by Arrow's JSON reader where that loses nothing, else by Python's.

Arrow's reader is some twenty times as fast as making columns of dicts. What it would change (whole numbers beyond the
exact ones, texts that look like times, nested data) or refuses (columns of two types) is read by Python's instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from agentlab.actions.base import Schema
from agentlab.sources.columns import Path, cells, fits, gathered, loads
from agentlab.sources.fetched import Rejected
from agentlab.sources.kinds import EXACT, FITS, Values, kind_of
from agentlab.sources.paging import ABSENT

#: Where a value is in an answer, None standing for "in each element of the list".
_Place = tuple[str | None, ...]
_ROOT = "answer"


class NoJson(ValueError):
    """The answer is no JSON."""


class NoRows(ValueError):
    """The answer has no list where its rows should be: `found` is there, in `body`."""

    def __init__(self, found: Any, body: Any) -> None:
        super().__init__("no rows")
        self.found, self.body = found, body


class _Lossy(ValueError):
    """Arrow's reader would change something, or can't read it."""


@dataclass
class Page:
    """One page: its columns, how many rows they have, what was rejected, and the rest of the answer by JSON pointer.

    `sent` counts the rejected rows, too. `digest` is the same for pages of the same rows. `quick`: read by Arrow.
    """

    columns: Mapping[Path, Values]
    rows: int
    sent: int
    at: Callable[[str], Any]
    digest: bytes
    quick: bool
    rejected: list[Rejected]


class PageReader:
    """Reads the pages of one list; what it learns from one makes the next ones quick.

    `order` has every column in order of first appearance.
    """

    def __init__(self, items: str, flatten: bool = True, schema: Schema | None = None, strict: bool = False) -> None:
        self.items, self.flatten = items, flatten
        self.must: Schema = (schema or {}) if strict else {}
        self.order: dict[Path, None] = {}
        self._texts: set[_Place] = set()

    def read(self, content: bytes, quick: bool = True) -> Page:
        """A page of an answer's bytes. NoJson, NoRows."""
        try:
            page = self._quick(content) if quick else None
        except (_Lossy, pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            page = None
        page = page or self._patient(content)
        self.order.update(dict.fromkeys(page.columns))
        return page

    # By Arrow

    def _quick(self, content: bytes) -> Page:
        # Arrow's reader takes any bytes as text.
        content.decode()
        answer = self._parsed(content)
        rows = _rows(_at(answer, self.items))
        columns = self._columns(rows, content)
        if any(not self._as_declared(path, values) for path, values in columns.items()):
            raise _Lossy("a row breaks the declared schema")
        return Page(columns, len(rows), len(rows), lambda p: _plain(_at(answer, p)), _digest(rows), True, [])

    def _parsed(self, content: bytes) -> pa.Array:
        """The answer as an array of one element, in which texts are texts, also those that look like times."""
        answer = _parse(content, self._texts)
        if moments := set(_moments(answer.type)):
            if pa.types.is_list(kind := getattr(_at(answer, self.items), "type", pa.null())):
                self.order.update(dict.fromkeys(self._paths(kind.value_type)))
            self._texts |= moments
            answer = _parse(content, self._texts)
        return answer

    def _paths(self, row: pa.DataType) -> Iterator[Path]:
        for field in row if pa.types.is_struct(row) else ():
            if self.flatten and pa.types.is_struct(field.type) and field.type.num_fields:
                yield from ((field.name, inner.name) for inner in field.type)
            else:
                yield (field.name,)

    def _columns(self, rows: pa.StructArray, content: bytes) -> dict[Path, Values]:
        columns: dict[Path, Values | None] = {}
        for field in rows.type:
            values = rows.field(field.name)
            if self.flatten and pa.types.is_struct(field.type):
                parts = zip(field.type, values.flatten(), strict=True)
                columns |= {(field.name, inner.name): _flat(part) for inner, part in parts}
                columns |= {} if field.type.num_fields else {(field.name,): pa.nulls(len(rows))}
            else:
                columns[(field.name,)] = _flat(values)
        if all(values is not None for values in columns.values()):
            return {path: values for path, values in columns.items() if values is not None}
        return dict(self._with_nested(columns, content))

    def _with_nested(self, columns: Mapping[Path, Values | None], content: bytes) -> Iterator[tuple[Path, Values]]:
        """Nested data comes from the rows as they were sent: in columns, all objects would have all keys."""
        sent = pointed(loads(content), self.items)
        for path, values in columns.items():
            yield path, [_inside(row, path) for row in sent] if values is None else values

    def _as_declared(self, path: Path, values: Values) -> bool:
        kind = self.must.get("_".join(path))
        found = kind_of(values) if kind else None
        return kind is None or found is None or found in FITS[kind]

    # By Python

    def _patient(self, content: bytes) -> Page:
        try:
            body = loads(content)
        except (ValueError, RecursionError):
            raise NoJson from None
        sent = pointed(body, self.items)
        if not isinstance(sent, list):
            raise NoRows(sent, body)
        faults = [self._fault(row) for row in sent]
        rows = [row for row, fault in zip(sent, faults, strict=True) if fault is None]
        rejected = [Rejected(_text(row), fault) for row, fault in zip(sent, faults, strict=True) if fault]
        columns = gathered(rows, self.flatten)
        digest = blake2b(_text(sent).encode(), digest_size=16).digest()
        return Page(columns, len(rows), len(sent), lambda p: pointed(body, p), digest, False, rejected)

    def _fault(self, row: Any) -> str | None:
        """Why a row can't be taken; None if it can."""
        if not isinstance(row, dict):
            return f"a row must be an object, not {_named(row)}"
        for path, value in cells(row, self.flatten):
            name = "_".join(path)
            if value is not None and name in self.must and not fits(value, self.must[name]):
                return f"{name} must be {self.must[name]}, not {_text(value)[:80]}"
        return None


def pointed(body: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) finds, or ABSENT.

    >>> pointed({"a": [{"b": 1}]}, "/a/0/b")
    1
    """
    for step in steps(pointer):
        if isinstance(body, dict) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            return ABSENT
    return body


def steps(pointer: str) -> list[str]:
    """The keys that a JSON pointer names, one inside the other."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _parse(content: bytes, texts: set[_Place]) -> pa.Array:
    text = b'{"%s":%s}' % (_ROOT.encode(), content)
    how = pj.ParseOptions(explicit_schema=pa.schema(_fields(texts))) if texts else None
    table = pj.read_json(pa.BufferReader(text), pj.ReadOptions(use_threads=False, block_size=len(text) + 1), how)
    if table.num_rows != 1 or table.column_names != [_ROOT]:
        raise _Lossy("more than one answer")
    return table.column(0).combine_chunks()


def _moments(type: pa.DataType, at: _Place = (_ROOT,)) -> Iterator[_Place]:
    """Where Arrow has taken texts for times."""
    if pa.types.is_timestamp(type):
        yield at
    elif pa.types.is_struct(type):
        for field in type:
            yield from _moments(field.type, (*at, field.name))
    elif pa.types.is_list(type):
        yield from _moments(type.value_type, (*at, None))


def _fields(places: Iterable[_Place]) -> list[pa.Field]:
    inner: dict[str, set[_Place]] = {}
    for place in places:
        inner.setdefault(str(place[0]), set()).add(place[1:])
    return [pa.field(name, _text_at(places)) for name, places in inner.items()]


def _text_at(places: set[_Place]) -> pa.DataType:
    if () in places:
        return pa.string()
    if any(place[0] is None for place in places):
        return pa.list_(_text_at({place[1:] for place in places if place[0] is None}))
    return pa.struct(_fields(places))


def _at(answer: pa.Array, pointer: str) -> Any:
    """What a JSON pointer finds in the answer, as an array of one element, or ABSENT."""
    for step in steps(pointer):
        if pa.types.is_list(answer.type):
            raise _Lossy("a place in a list")
        if not pa.types.is_struct(answer.type) or answer.null_count or answer.type.get_field_index(step) < 0:
            return ABSENT
        answer = answer.field(step)
    return answer


def _plain(found: Any) -> Any:
    return found if found is ABSENT else found[0].as_py()


def _rows(found: Any) -> pa.StructArray:
    if found is ABSENT or not pa.types.is_list(found.type) or found.null_count:
        raise _Lossy("no list of rows")
    rows = found.flatten()
    if pa.types.is_null(rows.type) and not len(rows):
        return pa.array([], pa.struct([]))
    if not pa.types.is_struct(rows.type) or rows.null_count:
        raise _Lossy("rows that are no objects")
    return rows


def _flat(values: pa.Array) -> pa.Array | None:
    """The values, if they are whole as they are; None for nested data."""
    if pa.types.is_nested(values.type):
        return None
    if not pa.types.is_floating(values.type):
        return values
    if (pc.max(pc.abs(values)).as_py() or 0.0) >= EXACT:
        raise _Lossy("numbers whose spelling matters")
    unknown = pc.is_nan(values)
    return pc.if_else(unknown, None, values) if pc.any(unknown).as_py() else values


def _inside(row: Mapping[str, Any], path: Path) -> Any:
    value = row.get(path[0])
    if len(path) == 1:
        return None if value == {} else value
    return value.get(path[1]) if isinstance(value, dict) else None


def _digest(rows: pa.StructArray) -> bytes:
    if not rows.type.num_fields:
        return b""
    return blake2b(pa.RecordBatch.from_struct_array(rows).serialize(), digest_size=16).digest()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()


def _named(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__.replace('Spelled', 'float')} {_text(value)[:80]}"
