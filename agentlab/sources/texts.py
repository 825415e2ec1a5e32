"""Which texts a resource's columns hold, told by its first rows, so that people can speak of "the cancelled ones"."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

#: How many rows of a resource are looked at when its source is registered.
FIRST_ROWS = 100
#: Longer texts are no kinds of anything; and of so many columns at most.
_LONGEST, _COLUMNS = 60, 40


def texts_of(rows: pa.Table) -> dict[str, tuple[str, ...]] | None:
    """The columns in which a text comes twice on average or oftener, and their texts; None where there are none.

    >>> texts_of(pa.table({"state": ["new", "paid", "new", None], "id": ["a", "b", "c", "d"]}))
    {'state': ('new', 'paid')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = pc.unique(column).drop_null().to_pylist()
            if 0 < len(texts) <= len(column) / 2 and max(map(len, texts)) <= _LONGEST and len(found) < _COLUMNS:
                found[name] = tuple(texts)
    return found or None
