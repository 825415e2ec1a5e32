"""Whether two results are the same: equal as multisets of rows, decimals within rounding, and in the asked order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Two floats that differ by less, relative to the greater, come from adding up in another order.
TOLERANCE = 1e-9


def difference(left: pa.Table, right: pa.Table, ordered_by: Sequence[int] = ()) -> str:
    """What tells two results apart, in words; nothing when they are equal, whatever the order of their rows.

    `ordered_by` are the places of the columns by which the query orders: their values must come in the same order (rows
    that are equal in them may change places, as in any engine).

    >>> difference(pa.table({"a": [1, 2]}), pa.table({"a": [2, 1]}))
    ''
    >>> difference(pa.table({"a": [1, 2]}), pa.table({"a": [1, 1]}))
    'column a has 2 in one result and 1 in the other'
    >>> difference(pa.table({"a": [1, 2]}), pa.table({"a": [2, 1]}), ordered_by=[0])
    'the rows come in another order: at row 1 column a is 2, not 1'
    """
    if (left.schema.names, left.schema.types) != (right.schema.names, right.schema.types):
        return f"the columns are {_columns(right)}, not {_columns(left)}"
    if len(left) != len(right):
        return f"there are {len(right):,} rows, not {len(left):,}"
    for name, ours, theirs in zip(left.schema.names, _in_order(left), _in_order(right), strict=True):
        unlike = np.flatnonzero(_unlike(ours, theirs))
        if len(unlike):
            at = int(unlike[0])
            return f"column {name} has {ours[at].as_py()!r} in one result and {theirs[at].as_py()!r} in the other"
    return _disorder(left, right, ordered_by)


def _disorder(left: pa.Table, right: pa.Table, places: Sequence[int]) -> str:
    for place in places:
        ours, theirs = (_comparable(table.column(place).combine_chunks()) for table in (left, right))
        unlike = np.flatnonzero(_unlike(ours, theirs))
        if len(unlike):
            at = int(unlike[0])
            told = f"column {left.schema.names[place]} is {theirs[at].as_py()!r}, not {ours[at].as_py()!r}"
            return f"the rows come in another order: at row {at + 1:,} {told}"
    return ""


def _columns(table: pa.Table) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in table.schema)


def _in_order(table: pa.Table) -> list[pa.Array]:
    """The columns with their rows in one order, floats last and coarsely: they may differ in the last digits."""
    columns = [_comparable(column.combine_chunks()) for column in table.columns]
    coarse = [pc.cast(c, pa.float32(), safe=False) if pa.types.is_floating(c.type) else c for c in columns]
    keys = sorted(range(len(columns)), key=lambda i: pa.types.is_floating(columns[i].type))
    if not keys:
        return columns
    # Names are made anew, since a result may have the same one twice.
    sortable = pa.table({str(i): coarse[i] for i in keys})
    order = pc.sort_indices(sortable, sort_keys=[(str(i), "ascending") for i in keys])
    return [column.take(order) for column in columns]


def _comparable(column: pa.Array) -> pa.Array:
    """Nested values as text, since they have no order; a column of nothing but NULL too."""
    if pa.types.is_null(column.type) or pa.types.is_nested(column.type) or pa.types.is_interval(column.type):
        return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
    return column


def _unlike(left: pa.Array, right: pa.Array) -> npt.NDArray[Any]:
    missing, other = _numpy(left.is_null()), _numpy(right.is_null())
    if pa.types.is_floating(left.type):
        same = np.isclose(_numpy(left), _numpy(right), rtol=TOLERANCE, atol=0.0, equal_nan=True)
    else:
        same = _numpy(pc.fill_null(pc.equal(left, right), True))
    unlike: npt.NDArray[Any] = (missing != other) | ~(same | missing)
    return unlike


def _numpy(values: pa.Array) -> npt.NDArray[Any]:
    plain: npt.NDArray[Any] = np.asarray(values.to_numpy(zero_copy_only=False))
    return plain
