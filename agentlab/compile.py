"""An action becomes an Ibis expression: one form an action, pure, in terms that DuckDB and Spark compute alike.

Rows have a stored order (see `rows.py`), and a form keeps it or says which it makes, so the same plan over the same
data always gives the same table. What an action does to a catalog's entry, without computing, is in `projection.py`.
Nothing runs here, but for `pivot`, which must ask which values there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch
from typing import Any

import ibis
import ibis.expr.types as ir
import ibis.selectors as s
from ibis.common.exceptions import IbisError

from agentlab.actions import (
    Aggregate,
    Cast,
    ColumnType,
    Dedupe,
    Derive,
    DropColumns,
    Fill,
    Filter,
    Join,
    Limit,
    Measure,
    NormalizeText,
    Pivot,
    Rename,
    Reorder,
    Replace,
    Sample,
    Select,
    Sort,
    Split,
    Transform,
    Union,
    Unpivot,
)
from agentlab.conversion import common, convert, literal
from agentlab.engine import DTYPES, explained, schema_of, type_of
from agentlab.errors import PlanError, unknown
from agentlab.expressions import parse
from agentlab.projection import Counts, Matches, counts, joined, lineage, projection
from agentlab.rows import carried, derived, first, numbered, placed, satisfying, unnumbered
from agentlab.simulation import united

__all__ = ["Counts", "Matches", "compile", "counts", "form", "lineage", "matches", "projection", "spelled"]

#: A pivot that would make more columns than this is refused: nobody reads them, and memory ends.
MAX_PIVOT = 500


def compile(action: Transform, table: ibis.Table, other: ibis.Table | None = None) -> ibis.Table:
    """What the action makes of the table; `other` is the second table of a join or union.

    PlanError when it can't be: an unknown column, a type that doesn't fit, an expression that isn't allowed.

    >>> orders = ibis.table({"id": "int64", "paid": "float64"}, name="orders")
    >>> from agentlab.actions import Rename
    >>> compile(Rename(table="orders", column="paid", to="amount"), orders).columns
    ('id', 'amount')
    """
    for column in action.references("column"):
        known = (*table.columns, *(other.columns if other is not None else ()))
        if column not in known:
            raise PlanError(f"{action.tool()}: {unknown('column', column, known, f'in {action.table}')}")
    try:
        return form(action, table) if other is None else form(action, table, other)
    except (IbisError, AttributeError) as fault:  # a method that the column's type doesn't have
        raise PlanError(f"{action} doesn't fit the table: {str(fault).splitlines()[0]}") from fault


@singledispatch
def form(action: Transform, table: ibis.Table, *other: ibis.Table) -> ibis.Table:
    """The form of one action; a new action registers its own."""
    raise PlanError(f"{action.tool()} isn't something done to a table's rows")


# Columns: names, order, types.


@form.register
def _(action: Rename, table: ibis.Table) -> ibis.Table:
    return table.rename({action.to: action.column})


@form.register
def _(action: DropColumns, table: ibis.Table) -> ibis.Table:
    return table.drop(*action.columns)


@form.register
def _(action: Select, table: ibis.Table) -> ibis.Table:
    return table.select(*action.columns)


@form.register
def _(action: Reorder, table: ibis.Table) -> ibis.Table:
    return table.select(*action.effect(schema_of(table)))


@form.register
def _(action: Cast, table: ibis.Table) -> ibis.Table:
    return table.mutate(**{action.column: convert(table[action.column], action.type)})


@form.register
def _(action: Derive, table: ibis.Table) -> ibis.Table:
    return derived(table, action.column, parse(action.expr, schema_of(table)))


# Rows: which, and in what order.


@form.register
def _(action: Filter, table: ibis.Table) -> ibis.Table:
    return satisfying(table, parse(action.where, schema_of(table), boolean=True))


@form.register
def _(action: Dedupe, table: ibis.Table) -> ibis.Table:
    rows, at = numbered(table)
    if action.order is None:
        # By the stored order alone, the places to keep are one aggregate, which is cheaper than a window.
        place = rows[at].min() if action.keep == "first" else rows[at].max()
        kept = rows.group_by(list(action.by or table.columns)).aggregate(**{f"{at}_": place})
        return unnumbered(rows.semi_join(kept, rows[at] == kept[f"{at}_"]), at)
    towards = ibis.asc if action.keep == "first" else ibis.desc
    order = [towards(rows[c], nulls_first=False) for c in (action.order, at) if c is not None]
    place = ibis.row_number().over(group_by=[rows[c] for c in action.by or table.columns], order_by=order)
    kept = rows.mutate(place.name(f"{at}_")).filter(lambda t: t[f"{at}_"] == 0)
    return unnumbered(kept, at, f"{at}_")


@form.register
def _(action: Sort, table: ibis.Table) -> ibis.Table:
    rows, at = numbered(table)
    towards = ibis.desc if action.descending else ibis.asc
    return rows.order_by(*(towards(rows[c], nulls_first=False) for c in action.by), at).drop(at)


@form.register
def _(action: Limit, table: ibis.Table) -> ibis.Table:
    return first(table, action.n)


@form.register
def _(action: Sample, table: ibis.Table) -> ibis.Table:
    rows, at = numbered(table)
    lot = (rows[at].cast("string") + f"|{action.seed}").hexdigest("md5").left(12)
    lots = rows.select(at, ibis.row_number().over(order_by=[lot, rows[at]]).name(f"{at}_"))
    wanted = ibis.literal(action.n) if action.n is not None else (table.count() * action.fraction).round(0)
    drawn = lots.filter(lots[f"{at}_"] < wanted)
    return unnumbered(rows.semi_join(drawn, at), at)


# Values of one column.


@form.register
def _(action: Fill, table: ibis.Table) -> ibis.Table:
    if action.method in ("previous", "next"):
        return carried(table, action.column, backwards=action.method == "next")
    return table.mutate(**{action.column: table[action.column].fill_null(_filling(action, table))})


def _filling(action: Fill, table: ibis.Table) -> ir.Scalar:
    column = table[action.column]
    if action.value is not None:
        return literal(action.value, type_of(column.type()), action.column)
    if action.method == "mode":
        return _mode(table, action.column)
    middle = _number(column, action.column, "mean and median").mean()
    middle = column.median() if action.method == "median" else middle
    return convert(table.aggregate(middle.name("middle"))["middle"], type_of(column.type())).as_scalar()


def _mode(table: ibis.Table, column: str) -> ir.Scalar:
    """The most frequent value; of several, the smallest."""
    groups = table.filter(table[column].notnull()).group_by(table[column].name("value")).aggregate(times=ibis._.count())
    return groups.order_by(ibis.desc("times"), "value").limit(1)["value"].as_scalar()


@form.register
def _(action: Replace, table: ibis.Table) -> ibis.Table:
    column = table[action.column]
    kind = type_of(column.type())
    old, new = (literal(value, kind, action.column) for value in (action.old, action.new))
    return table.mutate(**{action.column: ibis.ifelse(column == old, new, column)})


@form.register
def _(action: NormalizeText, table: ibis.Table) -> ibis.Table:
    text = _text(table, action.column, "normalize_text")
    text = text.strip() if action.trim else text
    cased = _CASES[action.case](text) if action.case else text
    return table.mutate(**{action.column: cased})


_CASES: dict[str, Callable[[Any], Any]] = {
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "title": lambda text: text.split(" ").map(lambda word: word.capitalize()).join(" "),
}


@form.register
def _(action: Split, table: ibis.Table) -> ibis.Table:
    parts = _text(table, action.column, "split").split(action.separator)
    return table.mutate(**{column: parts[place] for place, column in enumerate(action.into_columns)})


def _text(table: ibis.Table, column: str, what: str) -> Any:
    kind = type_of(table[column].type())
    if kind != "text":
        raise PlanError(f"{what} needs text; column {column!r} holds {kind}: cast it first")
    return table[column]


def _number(column: ir.Value, name: str, what: str) -> Any:
    kind = type_of(column.type())
    if kind not in ("int", "float"):
        raise PlanError(f"{what} needs numbers; column {name!r} holds {kind}")
    return column


# Two tables.


@form.register
def _(action: Join, table: ibis.Table, other: ibis.Table) -> ibis.Table:
    """Rows in the order of the table; those of only the other table last, in its order."""
    left, right, at, at_other = _sides(action, table, other)
    chain = left.join(right, [left[key] == right[f"{at}{i}"] for i, key in enumerate(action.on)], how=action.how)
    alone = action.how in ("right", "outer")  # only then is there a row with a key of the other table alone
    keys = {key: ibis.coalesce(chain[key], chain[f"{at}{i}"]) for i, key in enumerate(action.on)} if alone else {}
    chosen = {name: keys.get(name, chain[name]) for name in _output(action, table, other)}
    return (
        chain.select(**chosen, **{at: chain[at], at_other: chain[at_other]}).order_by(at, at_other).drop(at, at_other)
    )


def matches(action: Join, table: ibis.Table, other: ibis.Table) -> Matches:
    """How the keys of a join's two tables meet; computed now. A key with a missing value meets none."""
    left, right = (_keyed(side, action.on, table) for side in (table, other))
    met = left.outer_join(right, [left[f"k{i}"] == right[f"k{i}"] for i in range(len(action.on))])
    one, two = met["n"].fill_null(0), met["n_right"].fill_null(0)
    counted = met.aggregate(
        unmatched=one.sum(where=two == 0).fill_null(0),
        unmatched_other=two.sum(where=one == 0).fill_null(0),
        multiplying=((one > 0) & (two > 1)).sum().fill_null(0),
    )
    with explained():
        (row,) = counted.to_pyarrow().to_pylist()
    return Matches(**{name: int(number) for name, number in row.items()})


def _keyed(side: ibis.Table, on: Sequence[str], like: ibis.Table) -> ibis.Table:
    """How many rows there are of each key, as `k0`, `k1`... in the types of the table `like`."""
    keys = {f"k{i}": convert(side[key], type_of(like[key].type())) for i, key in enumerate(on)}
    return side.select(**keys).group_by(list(keys)).aggregate(n=ibis._.count())


def _output(action: Join, table: ibis.Table, other: ibis.Table) -> list[str]:
    return [*table.columns, *joined(action, table.columns, other.columns)]


def _sides(action: Join, table: ibis.Table, other: ibis.Table) -> tuple[ibis.Table, ibis.Table, str, str]:
    """Both tables numbered, the other's columns under names that don't meet the table's, its keys as `row0`..."""
    at = "row"
    taken = {column.lower() for column in (*table.columns, *_output(action, table, other))}
    while any(column.startswith(at) for column in taken):
        at += "_"
    while any(column.lower().startswith(at) for column in other.columns):
        at += "_"
    rows = placed(other, at)
    keys = {f"{at}{i}": convert(rows[key], type_of(table[key].type())) for i, key in enumerate(action.on)}
    brought = {new: rows[old] for new, old in joined(action, table.columns, other.columns).items()}
    right = rows.select(**keys, **brought, **{f"{at}_other": rows[at]})
    return placed(table, at), right, at, f"{at}_other"


@form.register
def _(action: Union, table: ibis.Table, other: ibis.Table) -> ibis.Table:
    other = spelled(other, table.columns)
    one, two = schema_of(table), schema_of(other)
    kinds = {c: common(one.get(c, two.get(c, "text")), two.get(c, one.get(c, "text"))) for c in (*one, *two)}
    return ibis.union(_shaped(table, kinds), _shaped(other, kinds))


def spelled(table: ibis.Table, like: Iterable[str]) -> ibis.Table:
    """The table with its columns spelled as in `like` where they differ by case only: to an engine they are the same.

    >>> spelled(ibis.table({"Email": "string", "city": "string"}, name="t"), ["id", "email"]).columns
    ('email', 'city')
    """
    return table.rename({c: two for c, (one, two) in united(like, table.columns).items() if one and two})


def _shaped(table: ibis.Table, kinds: dict[str, ColumnType]) -> ibis.Table:
    there = {c: convert(table[c], kind) for c, kind in kinds.items() if c in table.columns}
    return table.select(**{c: there[c] if c in there else ibis.null(DTYPES[k]) for c, k in kinds.items()})


# Groups and shapes.


@form.register
def _(action: Aggregate, table: ibis.Table) -> ibis.Table:
    figures = {m.label: _figure(m, table) for m in action.measures}
    if len({*figures, *action.by}) < len(action.measures) + len(action.by):
        raise PlanError(
            f"aggregate: two results have the same name among {', '.join([*action.by, *figures])}; name them"
        )
    result = table.group_by(*action.by).aggregate(**figures) if action.by else table.aggregate(**figures)
    return _ordered(result, action.by)


def _ordered(table: ibis.Table, by: Sequence[str]) -> ibis.Table:
    return table.order_by(*(ibis.asc(table[c], nulls_first=False) for c in by)) if by else table


def _figure(measure: Measure, table: ibis.Table, where: ir.BooleanValue | None = None) -> ir.Scalar:
    """One figure of a group; `count` of a column counts values that aren't missing."""
    if measure.column is None:
        return table.count(where=where)
    column = table[measure.column]
    if measure.function not in ("count", "count_distinct", "min", "max"):
        _number(column, measure.column, measure.function)
    return _FIGURES[measure.function](column, where)


_FIGURES: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda column, where: column.sum(where=where),
    "avg": lambda column, where: column.mean(where=where),
    "min": lambda column, where: column.min(where=where),
    "max": lambda column, where: column.max(where=where),
    "count": lambda column, where: column.count(where=where),
    "count_distinct": lambda column, where: column.nunique(where=where),
    "median": lambda column, where: column.median(where=where),
    "stddev": lambda column, where: column.std(where=where, how="sample"),
}


@form.register
def _(action: Pivot, table: ibis.Table) -> ibis.Table:
    measure = Measure(function=action.function, column=action.values)
    key = table[action.columns]
    cells = {
        name: _figure(measure, table, key.isnull() if value is None else key == value)
        for name, value in _labels(_distinct(action, table), action.index)
    }
    return _ordered(table.group_by(*action.index).aggregate(**cells), action.index)


def _distinct(action: Pivot, table: ibis.Table) -> list[Any]:
    key = table[action.columns].name("key")
    values = table.select(key).distinct().order_by(ibis.asc("key", nulls_first=False)).limit(MAX_PIVOT + 1)
    with explained():
        found: list[Any] = values.to_pyarrow()["key"].to_pylist()
    if len(found) > MAX_PIVOT:
        raise PlanError(f"pivot: {action.columns!r} has more than {MAX_PIVOT} values; group or filter them first")
    return found


def _labels(values: Iterable[Any], taken: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """A column's name for each value; `missing` for none. Names differ by more than case, as engines demand."""
    used = {name.lower() for name in taken}
    for value in values:
        label = base = "missing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        number = 2
        while label.lower() in used or not label:
            label, number = f"{base}_{number}", number + 1
        used.add(label.lower())
        yield label, value


@form.register
def _(action: Unpivot, table: ibis.Table) -> ibis.Table:
    kinds = [type_of(table[c].type()) for c in action.columns]
    kind = kinds[0]
    for each in kinds[1:]:
        kind = common(kind, each)
    alike = table.mutate(**{c: convert(table[c], kind) for c in action.columns})
    return alike.pivot_longer(s.cols(*action.columns), names_to=action.name_to, values_to=action.value_to)
