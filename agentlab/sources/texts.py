"""Which texts a resource's columns hold, told by its first rows, so that people can speak of "the cancelled ones"."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

#: How many rows of a resource are looked at when its source is registered.
FIRST_ROWS = 100
#: Longer texts are no kinds of anything, nor are more than so many; and of so many columns at most.
_LONGEST, _MOST, _COLUMNS = 60, 50, 40
#: An address, a number of a person or a card: they come again, too, and are nobody's business.
_PERSONAL = re.compile(r"@|(\d[ ./-]?){6}")


def texts_of(rows: pa.Table) -> dict[str, tuple[str, ...]] | None:
    """The columns in which a text comes twice on average or oftener, and their texts; None where there are none.

    >>> texts_of(pa.table({"state": ["new", "paid", "new", None], "mail": ["a@b.c"] * 4, "id": ["a", "b", "c", "d"]}))
    {'state': ('new', 'paid')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = pc.unique(column).drop_null().to_pylist()
            few = 0 < len(texts) <= min(len(column) / 2, _MOST) and len(found) < _COLUMNS
            if few and not any(len(text) > _LONGEST or _PERSONAL.search(text) for text in texts):
                found[name] = tuple(texts)
    return found or None
