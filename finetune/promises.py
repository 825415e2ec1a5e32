"""What actions promise, looked at in the tables before and after them: PROMISES, a function an action.

What a transformation makes is computed a second time, by a plain DuckDB that knows nothing of `agentlab`. Nothing is carried
out here; see `proving.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from agentlab import actions as a
from agentlab.acting import Outcome
from agentlab.draft import Draft

Cell = str | float | bool | None

#: What computes a second time.
_PLAIN = duckdb.connect(config={"threads": 1})


class Broken(Exception):
    """A promise that the end state doesn't keep."""


@dataclass
class Seen:
    """One action, and the tables before and after it: of the action, of its other one, of where it wrote."""

    action: Any
    draft: Draft
    outcome: Outcome
    before: dict[str, pa.Table]
    after: dict[str, pa.Table]

    @property
    def was(self) -> pa.Table:
        """The action's table before."""
        return self.before[self.action.table]

    @property
    def now(self) -> pa.Table:
        """The table that the action wrote, after it."""
        name = getattr(self.action, "into", None) or self.action.table
        if name not in self.after:
            raise Broken(f"there is no table {name} afterwards")
        return self.after[name]

    def ask(self, sql: str, given: Sequence[Any] = ()) -> pa.Table:
        """A query by a DuckDB of its own; `t` is the table before, `o` the other one, `n` the table after."""
        for name, table in self._tables():
            _PLAIN.register(f"{name}_", table)
            _PLAIN.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_")
        return _PLAIN.execute(sql, list(given)).to_arrow_table()

    def count(self, sql: str) -> int:
        """The one number that a query gives."""
        return int(self.ask(sql).column(0)[0].as_py() or 0)

    def _tables(self) -> Iterator[tuple[str, pa.Table]]:
        table = getattr(self.action, "table", None)
        other = getattr(self.action, "other", None)
        into = getattr(self.action, "into", None) or table
        for name, known, of in (("t", self.before, table), ("o", self.before, other), ("n", self.after, into)):
            if of in known:
                yield name, known[of]


def cells(table: pa.Table, columns: Iterable[str] | None = None) -> list[tuple[Cell, ...]]:
    """Rows that compare equal where they mean the same: 1 and 1.0, a day and its midnight.

    What has no number (0 / 0, 1 / 0) is a missing value to `agentlab`, and not-a-number or infinity to DuckDB.
    """
    chosen = [[_cell(value) for value in table[column].to_pylist()] for column in columns or table.column_names]
    return list(zip(*chosen, strict=True)) if chosen else []


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        number = float(value)
        return None if not math.isfinite(number) else f"{number:.9g}" if number else "0"
    if isinstance(value, datetime | date):
        return value.isoformat().removesuffix("T00:00:00")
    return str(value)


def _must(kept: bool, why: str) -> None:
    if not kept:
        raise Broken(why)


def _equal(found: pa.Table, wanted: pa.Table, ordered: bool = True) -> None:
    """Equal columns and rows; by themselves where no order is promised."""
    _must(
        [c.lower() for c in found.column_names] == [c.lower() for c in wanted.column_names],
        f"columns {found.column_names}, not {wanted.column_names}",
    )
    one, two = cells(found), cells(wanted)
    if not (one == two if ordered else Counter(one) == Counter(two)):
        odd = next((pair for pair in zip(one, two, strict=False) if pair[0] != pair[1]), None)
        raise Broken(f"{len(one)} rows, wanted {len(two)}; first difference {odd}")


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: Iterable[str], of: str = "") -> str:
    return ", ".join(of + _q(name) for name in names)


# ---------------------------------------------------------------- what the actions promise


def _rewritten(sql: Callable[[Any], str]) -> Callable[[Seen], None]:
    """A promise that says the whole table afterwards, as SQL over the one before."""
    return lambda seen: _equal(seen.now, seen.ask(sql(seen.action)))


def _with(column: str, value: str) -> str:
    return f"SELECT * REPLACE ({value} AS {_q(column)}) FROM t"


def _rename(seen: Seen) -> None:
    names = [seen.action.to if c == seen.action.column else c for c in seen.was.column_names]
    _must(seen.action.column not in seen.now.column_names, f"{seen.action.column} is still there")
    _equal(seen.now, seen.was.rename_columns(names))


def _filter(seen: Seen) -> None:
    where = seen.action.where
    _must(
        len(seen.now) == seen.count(f"SELECT count(*) FROM t WHERE {where}"),
        f"{len(seen.now)} rows, not as many as WHERE finds",
    )
    _equal(seen.now, seen.ask(f"SELECT * FROM t WHERE {where}"))


def _derive(seen: Seen) -> None:
    column, known = seen.action.column, {c.lower() for c in seen.was.column_names}
    value = _ordered_windows(seen.action.expr)
    rows = "(SELECT *, row_number() OVER () AS at_ FROM t)"
    chosen = f"* REPLACE (({value}) AS {_q(column)})" if column.lower() in known else f"*, ({value}) AS {_q(column)}"
    wanted = seen.ask(f"SELECT * EXCLUDE (at_) FROM (SELECT {chosen} FROM {rows} ORDER BY at_) ORDER BY at_")
    _equal(seen.now, wanted)


def _ordered_windows(sql: str) -> str:
    """The expression with the stored order as the last of each window that goes row by row: that is how ties are broken."""
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    for window in tree.find_all(exp.Window):
        if window.find(exp.RowNumber, exp.Lag, exp.Lead, exp.Ntile):
            order = window.args.get("order")
            window.set(
                "order",
                exp.Order(expressions=[*(order.expressions if order else ()), exp.Ordered(this=exp.column("at_"))]),
            )
    return str(tree.sql("duckdb"))


def _cast(seen: Seen) -> None:
    kind = seen.draft.table(seen.action.into or seen.action.table).schema_[seen.action.column]
    _must(kind == seen.action.type, f"{seen.action.column} is {kind}")
    others = [c for c in seen.was.column_names if c != seen.action.column]
    _must(
        len(seen.now) == len(seen.was) and cells(seen.now, others) == cells(seen.was, others), "other columns changed"
    )


def _select(seen: Seen, columns: Iterable[str]) -> None:
    _equal(seen.now, seen.was.select(list(columns)))


def _reordered(seen: Seen) -> list[str]:
    moved = list(seen.action.columns)
    rest = [c for c in seen.was.column_names if c not in moved]
    return moved + rest if seen.action.position == "first" else rest + moved


def _dedupe(seen: Seen) -> None:
    by = list(seen.action.by or seen.was.column_names)
    keys, had = cells(seen.now, by), cells(seen.was, by)
    _must(len(set(keys)) == len(keys), f"rows equal in {', '.join(by)} are left")
    _must(set(keys) == set(had), f"keys of {', '.join(by)} are gone")
    _must(not Counter(cells(seen.now)) - Counter(cells(seen.was)), "there are rows that weren't there")
    if seen.action.order:
        best = "max" if seen.action.keep == "last" else "min"
        wanted = seen.ask(f"SELECT {_list(by)}, {best}({_q(seen.action.order)}) FROM t GROUP BY {_list(by)}")
        kept = Counter(cells(seen.now, [*by, seen.action.order]))
        missing = Counter(cells(wanted)) - kept
        # Where the greatest is missing, "last" may take a row without one.
        _must(
            (seen.action.keep == "last" and _lacking(seen)) or not missing,
            f"not the {seen.action.keep} by {seen.action.order}: {missing}",
        )


def _lacking(seen: Seen) -> bool:
    return bool(seen.was[seen.action.order].null_count)


def _sort(seen: Seen) -> None:
    way = "DESC" if seen.action.descending else "ASC"
    order = ", ".join(f"{_q(c)} {way} NULLS LAST" for c in seen.action.by)
    wanted = seen.ask(
        f"SELECT * EXCLUDE (at_) FROM (SELECT *, row_number() OVER () AS at_ FROM t) ORDER BY {order}, at_"
    )
    _equal(seen.now, wanted)


def _sample(seen: Seen) -> None:
    n = seen.action.n if seen.action.n is not None else len(seen.was) * seen.action.fraction
    _must(abs(len(seen.now) - min(n, len(seen.was))) <= 0.5, f"{len(seen.now)} rows, not {n:g}")
    _must(not Counter(cells(seen.now)) - Counter(cells(seen.was)), "there are rows that weren't there")


def _fill(seen: Seen) -> None:
    column, method = seen.action.column, seen.action.method
    old, new = seen.was[column].to_pylist(), seen.now[column].to_pylist()
    others = [c for c in seen.was.column_names if c != column]
    _must(cells(seen.now, others) == cells(seen.was, others), "other columns changed")
    _must(
        all(_cell(x) == _cell(y) for x, y in zip(old, new, strict=True) if x is not None),
        "values that were there changed",
    )
    if method == "previous":
        _must(
            None not in new[next((i for i, x in enumerate(old) if x is not None), len(old)) :],
            "values are missing after the first",
        )
    elif method == "next":
        last = max((i for i, x in enumerate(old) if x is not None), default=-1)
        _must(None not in new[: last + 1], "values are missing before the last")
    elif any(x is not None for x in old) or seen.action.value is not None:
        _must(None not in new, "values are missing still")
        filled = {_cell(y) for x, y in zip(old, new, strict=True) if x is None}
        _must(len(filled) <= 1, f"filled by several values: {filled}")
        if seen.action.value is not None:
            _must(
                filled <= {_cell(seen.action.value)} or not isinstance(seen.action.value, int | float),
                f"filled by {filled}",
            )


def _replace(action: Any) -> str:
    old, new = (exp.convert(value).sql("duckdb") for value in (action.old, action.new))
    column = _q(action.column)
    return _with(action.column, f"CASE WHEN {column} = {old} THEN {new} ELSE {column} END")


def _normalized(seen: Seen) -> None:
    cases: dict[str | None, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "title": _title}
    cased = cases.get(seen.action.case, str)
    old = seen.was[seen.action.column].to_pylist()
    wanted = [None if x is None else cased(x.strip() if seen.action.trim else x) for x in old]
    _must(
        seen.now[seen.action.column].to_pylist() == wanted,
        f"{seen.action.column} isn't {seen.action.case or 'trimmed'}",
    )


def _title(text: str) -> str:
    return " ".join(word[:1].upper() + word[1:].lower() for word in text.split(" "))


def _split(seen: Seen) -> None:
    parts = [None if x is None else x.split(seen.action.separator) for x in seen.was[seen.action.column].to_pylist()]
    for place, column in enumerate(seen.action.into_columns):
        wanted = [None if p is None or place >= len(p) else p[place] for p in parts]
        _must(column in seen.now.column_names, f"there is no {column}")
        _must(seen.now[column].to_pylist() == wanted, f"{column} isn't part {place + 1}")
    _must(
        seen.action.column in seen.action.into_columns or seen.action.column in seen.now.column_names,
        "the column itself is gone",
    )


def _join(seen: Seen) -> None:
    action, t = seen.action, seen.was.column_names
    other = [
        c
        for c in seen.before[action.other].column_names
        if c not in action.on and (not action.columns or c in action.columns)
    ]
    on = " AND ".join(f"t.{_q(c)} = o.{_q(c)}" for c in action.on)
    how = {"outer": "FULL"}.get(action.how, action.how.upper())
    mine = ", ".join(
        f"coalesce(t.{_q(c)}, o.{_q(c)}) AS {_q(c)}" if c in action.on and how in ("RIGHT", "FULL") else f"t.{_q(c)}"
        for c in t
    )
    alone = [c for c in other if c.lower() not in {x.lower() for x in t}]
    wanted = seen.ask(f"SELECT {', '.join([mine, *(f'o.{_q(c)}' for c in alone)])} FROM t {how} JOIN o ON {on}")
    lost = [c for c in wanted.column_names if c not in seen.now.column_names]
    _must(not lost, f"the columns {lost} are missing")
    _must(
        len(seen.now.column_names) == len(t) + len(other),
        f"{len(seen.now.column_names)} columns, not {len(t)} + {len(other)}",
    )
    _equal(seen.now.select(wanted.column_names), wanted, ordered=False)


def _union(seen: Seen) -> None:
    _must(len(seen.now) == len(seen.was) + len(seen.before[seen.action.other]), "not the rows of both")
    columns = {c.lower() for c in (*seen.was.column_names, *seen.before[seen.action.other].column_names)}
    _must({c.lower() for c in seen.now.column_names} == columns, "not the columns of both")


_FIGURES = {"count_distinct": "count(DISTINCT {})", "stddev": "stddev_samp({})", "count": "count({})"}


def _figure(function: str, column: str | None) -> str:
    return _FIGURES.get(function, function + "({})").format(_q(column) if column else "*")


def _aggregate(seen: Seen) -> None:
    by = seen.action.by
    named = [f"{_figure(m.function, m.column)} AS {_q(m.label)}" for m in seen.action.measures]
    group = f" GROUP BY {_list(by)}" if by else ""
    _equal(seen.now, seen.ask(f"SELECT {', '.join([*map(_q, by), *named])} FROM t{group}"), ordered=False)


def _pivot(seen: Seen) -> None:
    action = seen.action
    values = seen.ask(f"SELECT DISTINCT {_q(action.columns)} FROM t").column(0).to_pylist()
    labels = ["missing" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    _must(
        len(seen.now.column_names) == len(action.index) + len(values), f"columns {seen.now.column_names} for {labels}"
    )
    plain = [(v, label) for v, label in zip(values, labels, strict=True) if label in seen.now.column_names]
    figure = _figure(action.function, action.values)
    shown = [f"{figure} FILTER ({_q(action.columns)} IS NOT DISTINCT FROM ?) AS {_q(label)}" for _, label in plain]
    given = [v for v, _ in plain]
    wanted = seen.ask(
        f"SELECT {', '.join([*map(_q, action.index), *shown])} FROM t GROUP BY {_list(action.index)}", given
    )
    _equal(seen.now.select(wanted.column_names), wanted, ordered=False)


def _unpivot(seen: Seen) -> None:
    action = seen.action
    rest = [c for c in seen.was.column_names if c not in action.columns]
    _must(seen.now.column_names == [*rest, action.name_to, action.value_to], f"columns {seen.now.column_names}")
    _must(len(seen.now) == len(seen.was) * len(action.columns), f"{len(seen.now)} rows")
    pairs = Counter((c, cell) for c in action.columns for (cell,) in cells(seen.was, [c]))
    found = Counter(cells(seen.now, [action.name_to, action.value_to]))
    kinds = {seen.was.schema.field(c).type for c in action.columns}
    _must(len(kinds) > 1 or pairs == found, "not the values of the columns")


def _quarantine(seen: Seen) -> None:
    where, target = seen.action.where, f"quarantine.{seen.action.table.rpartition('.')[2]}"
    moved = seen.count(f"SELECT count(*) FROM t WHERE {where}")
    _equal(seen.after.get(seen.action.table, seen.was), seen.ask(f"SELECT * FROM t WHERE ({where}) IS NOT TRUE"))
    _must(seen.outcome.data["moved"] == moved, f"{seen.outcome.data['moved']} rows moved, not {moved}")
    if moved:
        aside = seen.after.get(target)
        _must(aside is not None and len(aside) - len(seen.before.get(target, ())) == moved, f"they aren't in {target}")


def _check(seen: Seen) -> None:
    """The count of failing rows, of the rules that SQL says in one line; a check of the others is only carried out."""
    action = seen.action
    _must(bool(seen.draft.find("check", _written(seen, "check"))), "the check isn't remembered")
    one = _q(action.columns[0]) if action.columns else ""
    rules = {
        "not_null": " OR ".join(f"{_q(c)} IS NULL" for c in action.columns),
        "in_range": f"{one} < {action.min} OR {one} > {action.max}".replace("None", "NULL"),
        "compares": f"NOT ({one} {action.operator} {_q(action.than or '')})",
        "references": f"{one} IS NOT NULL AND {one} NOT IN (SELECT {_q(action.other_column or (action.columns or ['x'])[0])} FROM o WHERE {_q(action.other_column or (action.columns or ['x'])[0])} IS NOT NULL)",
        "in_set": f"{one} NOT IN ({', '.join(exp.convert(v).sql('duckdb') for v in action.values)})",
    }  # fmt: skip
    if action.rule in rules:
        wanted = seen.count(f"SELECT count(*) FROM t WHERE {rules[action.rule]}")
    elif action.rule == "unique":
        filled = " AND ".join(f"{_q(c)} IS NOT NULL" for c in action.columns)
        wanted = seen.count(f"SELECT count(*) - count(DISTINCT ({_list(action.columns)})) FROM t WHERE {filled}")
    else:
        return
    _must(seen.outcome.data["failing"] == wanted, f"{seen.outcome.data['failing']} rows fail, by SQL {wanted}")


def _written(seen: Seen, kind: str) -> str:
    """The last entry of a kind that was put."""
    return next((name for known, name in reversed(seen.draft.written) if known == kind), "")


def _pull(seen: Seen) -> None:
    action, now = seen.action, seen.now
    alone, had = action.mode == "replace", len(seen.before.get(action.into, ()))
    if action.where and alone:
        _must(
            len(now) == seen.count(f"SELECT count(*) FROM n WHERE {action.where}"),
            "rows that don't meet the condition came",
        )
    if action.limit:
        _must(len(now) - (0 if alone else had) <= action.limit, f"{len(now)} rows, more than {action.limit}")
    if action.mode == "append":
        _must(len(now) >= had, "rows that were there are gone")
    if action.mode == "upsert":
        _keyed(now, action.key)
    times = _time_of(seen)
    if times and alone and (action.since or action.until or action.order):
        found = [str(_cell(x)) for x in now[times].to_pylist() if x is not None]
        _must(all(x >= action.since for x in found) if action.since else True, f"rows before {action.since} came")
        _must(
            all(x[:10] <= action.until[:10] for x in found) if action.until else True, f"rows after {action.until} came"
        )
        if action.order:
            _must(found == sorted(found, reverse=action.order == "newest"), f"not the {action.order} first")


def _time_of(seen: Seen) -> str | None:
    resource = seen.draft.get("source", seen.action.source).doc["resources"][seen.action.resource]
    times = resource.get("time_column")
    return times if times in seen.now.column_names else None


def _keyed(rows: pa.Table, key: Sequence[str]) -> None:
    columns = [c for c in rows.column_names if c.lower() in {k.lower() for k in key}]
    _must(len(columns) == len(key), f"the key {', '.join(key)} isn't all there")


def _load(seen: Seen) -> None:
    _must(len(seen.now) > 0, "nothing was loaded")
    if seen.action.mode == "append":
        _must(len(seen.now) > len(seen.before.get(seen.action.into, ())), "nothing was added")
    _keyed(seen.now, seen.action.key)


def _sync(seen: Seen) -> None:
    _keyed(seen.now, seen.action.key)
    _must(bool(seen.draft.find("sync", seen.action.into)), "how far it came isn't remembered")


def _publish(seen: Seen) -> None:
    held = seen.draft.get("store", seen.action.store).doc["tables"]
    name = seen.action.table.rpartition(".")[2]
    found = next((doc for known, doc in held.items() if known.rpartition(".")[2] == name), None)
    _must(found is not None and found["rows"] >= len(seen.was), f"{seen.action.store} holds {list(held)}")


def _provision(seen: Seen) -> None:
    doc = seen.draft.get("store", seen.action.store).doc
    _must(doc["format"] == seen.action.format, f"the store is of {doc['format']}")
    _must(list(doc["partition_by"]) == list(seen.action.partition_by), f"the store is split by {doc['partition_by']}")
    _must(doc["quota"] == seen.action.quota, f"the store's quota is {doc['quota']}")


def _export(seen: Seen) -> None:
    doc = seen.draft.get("export", _written(seen, "export")).doc
    _must(doc["rows"] == len(seen.was), f"{doc['rows']} rows in the file")
    _must((seen.draft.root / doc["staged"]).stat().st_size > 0, "the file is empty")
    _must(seen.action.format in (None, doc["format"]), f"the file is {doc['format']}")


def _state(seen: Seen, state: str) -> None:
    entry = seen.draft.get("schedule", seen.action.task)
    _must(entry.doc.get("state", "active") == state, f"the schedule is {entry.doc.get('state')}")


def _schedule(seen: Seen) -> None:
    _state(seen, "active")
    doc = seen.draft.get("schedule", seen.action.task).doc
    _must(doc["cron"] == seen.action.cron, f"it runs at {doc['cron']}")


def _gone(seen: Seen, kind: Any, name: str) -> None:
    _must(seen.draft.find(kind, name) is None, f"the {kind} {name} is still there")


def _drop(seen: Seen) -> None:
    _gone(seen, "table" if seen.action.table else "store", seen.action.table or seen.action.store)


def _retain(seen: Seen) -> None:
    doc = seen.draft.get("retention", _written(seen, "retention")).doc
    wanted = (seen.action.table, seen.action.column, seen.action.older_than, seen.action.then)
    _must((doc["table"], doc["column"], doc["older_than"], doc["then"]) == wanted, f"the rule is {doc}")


def _snapshot(seen: Seen) -> None:
    name = seen.action.name or seen.outcome.data["name"]
    doc = seen.draft.get("snapshot", name).doc
    _must((doc["table"], doc["rows"]) == (seen.action.table, len(seen.was)), f"{name} is {doc}")


def _restore(seen: Seen) -> None:
    if seen.action.snapshot:
        kept = seen.draft.get("snapshot", seen.action.snapshot).doc
        _must(len(seen.after.get(seen.action.table, seen.was)) == kept["rows"], "not the rows of the snapshot")
    else:
        _must("restored" in seen.outcome.data, "no version was brought back")


def _resize(seen: Seen) -> None:
    quota = seen.draft.get("store", seen.action.store).doc["quota"]
    _must(quota == seen.action.quota, f"the quota is {quota}")


def _throttle(seen: Seen) -> None:
    doc = seen.draft.get("limit", seen.action.source).doc
    for name in ("rows_per_second", "concurrency"):
        asked = getattr(seen.action, name)
        _must(asked is None or doc[name] == asked, f"{name} is {doc[name]}")


def _reported(seen: Seen) -> None:
    _must(bool(_written(seen, "report")), "there is no report")


#: What is looked at after an action; the others are only carried out.
PROMISES: dict[type[a.Action], Callable[[Seen], None]] = {
    a.Rename: _rename,
    a.Derive: _derive,
    a.Cast: _cast,
    a.DropColumns: lambda seen: _select(seen, [c for c in seen.was.column_names if c not in seen.action.columns]),
    a.Select: lambda seen: _select(seen, seen.action.columns),
    a.Reorder: lambda seen: _select(seen, _reordered(seen)),
    a.Filter: _filter,
    a.Dedupe: _dedupe,
    a.Sort: _sort,
    a.Limit: _rewritten(lambda action: f"SELECT * FROM t LIMIT {action.n}"),
    a.Sample: _sample,
    a.Fill: _fill,
    a.Replace: _rewritten(_replace),
    a.NormalizeText: _normalized,
    a.Split: _split,
    a.Join: _join,
    a.Union: _union,
    a.Aggregate: _aggregate,
    a.Pivot: _pivot,
    a.Unpivot: _unpivot,
    a.Quarantine: _quarantine,
    a.Check: _check,
    a.Pull: _pull,
    a.LoadFile: _load,
    a.Sync: _sync,
    a.Publish: _publish,
    a.Provision: _provision,
    a.Export: _export,
    a.Schedule: _schedule,
    a.Unschedule: lambda seen: _gone(seen, "schedule", seen.action.task),
    a.Pause: partial(_state, state="paused"),
    a.Resume: partial(_state, state="active"),
    a.Retain: _retain,
    a.TakeSnapshot: _snapshot,
    a.Restore: _restore,
    a.Resize: _resize,
    a.Drop: _drop,
    a.Throttle: _throttle,
    **dict.fromkeys((a.Analyze, a.SuggestFixes, a.FindOutliers, a.Compare, a.DescribeSource, a.Usage), _reported),
}
