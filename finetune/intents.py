"""Training intents: a phrasing of some author, its slots filled from a scene, and the plan that it asks for.

`sample` gives (intent, role, calls). SQL in the calls marks its columns and literals (see `agentlab.slots.encode`). The
phrasings are hand-written, in `phrasings/<author>.yaml`; this module knows what each key means, never how it is said.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from agentlab.actions import ACTIONS, Role
from agentlab.linking import spoken
from agentlab.slots import COLUMN, LITERAL
from finetune import requests, speech
from finetune.scenes import SHORT, Column, Scene
from finetune.speaking import Calls, Filled, Speaker, Unfit
from finetune.speaking import call as _call

_SLOT = re.compile(r"\{(\w+)\}")


def col(c: Column) -> str:
    """A column in marked SQL."""
    return COLUMN.format(c.name)


def lit(text: str) -> str:
    """A literal in marked SQL."""
    return LITERAL.format(text)


# ---------------------------------------------------------------- conditions


def condition(s: Speaker, form: str) -> tuple[str, str]:
    """How a condition is said (form `cond` a clause, `with` a modifier), and its marked SQL."""
    if s.r.random() < 0.14:
        (a, x), (b, y) = _one_condition(s, form), _one_condition(s, form)
        word = s.r.choice(["and", "and", "or"])
        return f"{a} {word} {b}", f"{x} {word.upper()}{y}"
    return _one_condition(s, form)


def _one_condition(s: Speaker, form: str) -> tuple[str, str]:
    for _ in range(20):
        kind = s.r.choice(_CONDITION_KINDS)
        try:
            said, sql = _CONDITIONS[kind](s)
        except Unfit:
            continue
        template = s.fragment(f"{form}.{kind}")
        return _fill(template, said), sql
    raise Unfit


_OPERATORS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<=", "eq": "=", "ne": "!="}


def _compares(operator: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    def made(s: Speaker) -> tuple[dict[str, str], str]:
        c = s.number_column()
        said, n = speech.number(s.r)
        return {"column": s.say(c), "n": said}, f"{col(c)}{operator}{lit(n)}"

    return made


def _between(s: Speaker) -> tuple[dict[str, str], str]:
    c = s.number_column()
    low, high = sorted((speech.number(s.r) for _ in range(2)), key=lambda n: float(n[1]))
    return {"column": s.say(c), "n": low[0], "n2": high[0]}, f"{col(c)} BETWEEN{lit(low[1])} AND{lit(high[1])}"


def _null(sql: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    def made(s: Speaker) -> tuple[dict[str, str], str]:
        c = s.pick()
        return {"column": s.say(c)}, col(c) + sql

    return made


def _equals(operator: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    def made(s: Speaker) -> tuple[dict[str, str], str]:
        c = s.text_column()
        said, text = speech.value(s.r, c.values)
        return {"column": s.say(c), "value": said}, f"{col(c)}{operator}{lit(text)}"

    return made


def _within(s: Speaker) -> tuple[dict[str, str], str]:
    c = s.text_column()
    (a, x), (b, y) = speech.value(s.r, c.values), speech.value(s.r, c.values)
    if x == y:
        raise Unfit
    return {"column": s.say(c), "value": a, "value2": b}, f"{col(c)} IN({lit(x)},{lit(y)})"


def _textual(function: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    def made(s: Speaker) -> tuple[dict[str, str], str]:
        c = s.text_column()
        said, text = speech.value(s.r)
        return {"column": s.say(c), "value": said}, f"{function}({col(c)},{lit(text)})"

    return made


def _dated(operator: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    def made(s: Speaker) -> tuple[dict[str, str], str]:
        c = s.date_column()
        said, iso = speech.date(s.r)
        return {"column": s.say(c), "date": said}, f"{col(c)}{operator}{lit(iso)}"

    return made


def _in_year(s: Speaker) -> tuple[dict[str, str], str]:
    c, year = s.date_column(), str(s.r.randint(2012, 2027))
    return {"column": s.say(c), "year": year}, f"year({col(c)})={lit(year)}"


def _recent(s: Speaker) -> tuple[dict[str, str], str]:
    c, (said, n) = s.date_column(), speech.number(s.r, small=True)
    return {"column": s.say(c), "n": said}, f"{col(c)}>=current_date-INTERVAL{lit(n)} DAY"


def _truth(word: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    def made(s: Speaker) -> tuple[dict[str, str], str]:
        c = s.pick(lambda c: c.type == "bool")
        return {"column": s.say(c)}, f"{col(c)}={word}"

    return made


def _greater(s: Speaker) -> tuple[dict[str, str], str]:
    a, b = s.number_column(), s.number_column()
    return {"column": s.say(a), "column2": s.say(b)}, f"{col(a)}>{col(b)}"


_CONDITIONS: dict[str, Callable[[Speaker], tuple[dict[str, str], str]]] = {
    **{name: _compares(operator) for name, operator in _OPERATORS.items()},
    "between": _between, "null": _null(" IS NULL"), "notnull": _null(" IS NOT NULL"), "is": _equals("="), "isnot": _equals("!="),
    "in": _within, "contains": _textual("contains"), "starts": _textual("starts_with"), "ends": _textual("ends_with"),
    "after": _dated(">"), "before": _dated("<"), "year": _in_year, "days": _recent, "true": _truth("true"), "false": _truth("false"),
    "colgt": _greater,
}  # fmt: skip
_CONDITION_KINDS = [*_CONDITIONS, "gt", "gt", "lt", "lt", "is", "is", "is", "null", "null", "isnot", "after", "before"]


# ---------------------------------------------------------------- expressions


def expression(s: Speaker) -> tuple[str, str]:
    """How a computed value is said, and its marked SQL."""
    for _ in range(20):
        kind = s.r.choice(list(_EXPRESSIONS))
        try:
            said, sql = _EXPRESSIONS[kind](s)
        except Unfit:
            continue
        return _fill(s.fragment(f"expr.{kind}"), said), sql
    raise Unfit


def _of(form: str, kinds: str) -> Callable[[Speaker], tuple[dict[str, str], str]]:
    """A form such as `{a}*{b}`; kinds name what a, b, ... are: n number, t text, d date, # a number in words, g group, o order."""

    def made(s: Speaker) -> tuple[dict[str, str], str]:
        said: dict[str, str] = {}
        sql: dict[str, str] = {}
        names = iter("ab")
        for kind in kinds:
            if kind == "#":
                said["n"], n = speech.number(s.r, small=True)
                sql["n"] = lit(n)
            else:
                slot = {"g": "by", "o": "order"}.get(kind) or next(names)
                c = {
                    "n": s.number_column,
                    "t": s.text_column,
                    "d": s.date_column,
                    "g": s.text_column,
                    "o": s.date_column,
                }[kind]()
                said[slot], sql[slot] = s.say(c), col(c)
        return said, form.format(**sql)

    return made


def _flag(s: Speaker) -> tuple[dict[str, str], str]:
    said, sql = _one_condition(s, "cond")
    return {"where": said}, sql


_EXPRESSIONS: dict[str, Callable[[Speaker], tuple[dict[str, str], str]]] = {
    "product": _of("{a}*{b}", "nn"), "sum": _of("{a}+{b}", "nn"), "difference": _of("{a}-{b}", "nn"), "ratio": _of("{a}/{b}", "nn"),
    "percent": _of("{a}*100/{b}", "nn"), "scale": _of("{a}*{n}", "n#"), "plus": _of("{a}+{n}", "n#"),
    "increase": _of("{a}*(1+{n}/100)", "n#"), "decrease": _of("{a}*(1-{n}/100)", "n#"), "round": _of("round({a},{n})", "n#"),
    "concat": _of("{a}||' '||{b}", "tt"), "length": _of("length({a})", "t"), "year": _of("year({a})", "d"), "month": _of("month({a})", "d"),
    "weekday": _of("dayname({a})", "d"), "days": _of("date_diff('day',{a},{b})", "dd"), "upper": _of("upper({a})", "t"),
    "discounted": _of("{a}*(1-{b})", "nn"), "flag": _flag, "rank": _of("rank() OVER(ORDER BY{a} DESC)", "n"),
    "rank_in": _of("rank() OVER(PARTITION BY{by} ORDER BY{a} DESC)", "ng"), "running": _of("sum({a}) OVER(ORDER BY{order})", "no"),
    "previous": _of("lag({a}) OVER(ORDER BY{order})", "no"), "share": _of("{a}/sum({a}) OVER(PARTITION BY{by})", "ng"),
}  # fmt: skip


# ---------------------------------------------------------------- keys: what each asks for


def _new(s: Speaker) -> tuple[str, str]:
    said, name = speech.new_name(s.r)
    if name in s.scene.view.columns():
        raise Unfit
    return said, name


def rename(s: Speaker) -> Filled:
    c = s.pick()
    said, name = _like(s, c) if s.r.random() < 0.4 else _new(s)
    return {"column": s.say(c), "new": said}, _call("rename", column=c.name, to=name)


def _like(s: Speaker, c: Column) -> tuple[str, str]:
    """A new name that is much like the old: shorter, spelt out, or in another order."""
    split = spoken(c.name).split()
    long = {v: k for k, v in SHORT.items()}
    others = [
        "_".join(SHORT.get(w, w) for w in split),
        "_".join(long.get(w, w) for w in split),
        "_".join(split[::-1]),
        split[-1],
    ]
    fresh = [o for o in others if o.lower() not in {k.lower() for k in s.scene.view.columns()} and "_" in o]
    if not fresh:
        return _new(s)
    name = s.r.choice(fresh)
    return (speech.quoted(s.r, name) if s.r.random() < 0.15 else name), name


def cast(s: Speaker) -> Filled:
    c, kind = s.pick(), s.r.choice(list(speech.TYPES))
    return {"column": s.say(c), "type": s.r.choice(speech.TYPES[kind])}, _call("cast", column=c.name, type=kind)


def _on_columns(name: str, most: int = 3, field: str = "columns", **more: Any) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        chosen = s.several(most)
        return {"columns": s.say(*chosen)}, _call(name, **{field: [c.name for c in chosen]}, **more)

    return made


def _filter(form: str, slot: str, name: str = "filter", drop: bool = False) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        said, sql = condition(s, form)
        return {slot: said}, _call(name, where=f"NOT({sql})" if drop else sql)

    return made


def _dedupe(keep: str) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        order, by = s.date_column() if s.r.random() < 0.7 else s.number_column(), s.several(2)
        said = {"columns": s.say(*by), "order": s.say(order)}
        return said, _call("dedupe", by=[c.name for c in by], keep=keep, order=order.name)

    return made


def limit(s: Speaker) -> Filled:
    said, n = speech.number(s.r, small=s.r.random() < 0.5)
    if "." in n or n == "0":
        raise Unfit
    return {"n": said}, _call("limit", n=int(n))


def _ends(descending: bool) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        c, (said, n) = s.number_column() if s.r.random() < 0.7 else s.date_column(), speech.number(s.r, small=True)
        return {"n": said, "column": s.say(c)}, [
            *_call("sort", by=[c.name], descending=descending or None),
            *_call("limit", n=int(n)),
        ]

    return made


def sample_n(s: Speaker) -> Filled:
    said, n = speech.number(s.r)
    if "." in n or n == "0":
        raise Unfit
    return {"n": said}, _call("sample", n=int(n))


def sample_fraction(s: Speaker) -> Filled:
    n = s.r.choice([1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75])
    return {"percent": s.r.choice([f"{n}%", f"{n} %", f"{n} percent"])}, _call("sample", fraction=n / 100)


def fill_value(s: Speaker) -> Filled:
    c = s.pick()
    said: str
    filling: Any
    if c.type in ("int", "float"):
        said, text = speech.number(s.r)
        filling = float(text) if "." in text else int(text)
    elif c.type in ("date", "timestamp"):
        said, filling = speech.date(s.r)
    elif c.type == "bool":
        filling = s.r.random() < 0.5
        said = str(filling).lower()
    else:
        said, filling = speech.value(s.r, c.values)
    return {"column": s.say(c), "value": said}, _call("fill", column=c.name, value=filling)


def _fill_by(method: str) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        c = s.number_column() if method in ("mean", "median") else s.pick()
        return {"column": s.say(c)}, _call("fill", column=c.name, method=method)

    return made


def replace(s: Speaker) -> Filled:
    c = s.text_column()
    (a, old), (b, new) = speech.value(s.r, c.values), speech.value(s.r)
    if old == new:
        raise Unfit
    return {"column": s.say(c), "old": a, "value": b}, _call("replace", column=c.name, old=old, new=new)


def _normalize(**how: Any) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        c = s.text_column()
        return {"column": s.say(c)}, _call("normalize_text", column=c.name, **how)

    return made


def split(s: Speaker) -> Filled:
    c, mark = s.text_column(), s.r.choice(list(speech.SEPARATOR_WORDS))
    named = [_new(s) for _ in range(s.r.choice([2, 2, 3]))]
    if len({n for _, n in named}) < len(named):
        raise Unfit
    said = {
        "column": s.say(c),
        "separator": s.r.choice(speech.SEPARATOR_WORDS[mark]),
        "parts": speech.listing(s.r, [a for a, _ in named]),
    }
    return said, _call("split", column=c.name, into_columns=[n for _, n in named], separator=mark)


def _join(how: str | None) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        if not s.scene.keys:
            raise Unfit
        key = s.r.choice(s.scene.keys)
        said = {"other": speech.table(s.r, s.scene.other), "key": speech.column(s.r, key)}
        return said, _call("join", other=s.scene.other, on=[key], how=how)

    return made


def join_columns(s: Speaker) -> Filled:
    said, calls = _join(None)(s)
    extra = [c for c in s.scene.other_columns if c.name not in s.scene.keys]
    if len(extra) < 2:
        raise Unfit
    chosen = s.r.sample(extra, s.r.choice([1, 1, 2]))
    calls[0]["arguments"]["columns"] = [c.name for c in chosen]
    return {**said, "columns": s.say(*chosen)}, calls


def union(s: Speaker) -> Filled:
    if not s.scene.other:
        raise Unfit
    return {"other": speech.table(s.r, s.scene.other)}, _call("union", other=s.scene.other)


def _aggregate(function: str, measured: bool = True, grouped: bool = True) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        said: dict[str, str] = {}
        measure: dict[str, Any] = {"function": function}
        if measured:
            c = s.pick() if function == "count_distinct" else s.number_column()
            said["measure"], measure["column"] = s.say(c), c.name
        by = (
            [s.pick(lambda c: c.type in ("text", "bool", "int", "date")) for _ in range(s.r.choice([1, 1, 1, 2]))]
            if grouped
            else []
        )
        if by:
            said["by"] = s.say(*by)
        return said, _call("aggregate", by=[c.name for c in by] or None, measures=[measure])

    return made


def pivot(s: Speaker) -> Filled:
    index, columns, values = s.pick(), s.text_column(), s.number_column()
    said = {"index": s.say(index), "columns": s.say(columns), "values": s.say(values)}
    return said, _call("pivot", index=[index.name], columns=columns.name, values=values.name)


def unpivot(s: Speaker) -> Filled:
    chosen = [s.number_column() for _ in range(s.r.choice([2, 2, 3]))]
    return {"columns": s.say(*chosen)}, _call("unpivot", columns=[c.name for c in chosen])


def derive(s: Speaker) -> Filled:
    (said, name), (phrase, sql) = _new(s), expression(s)
    return {"new": said, "expr": phrase}, _call("derive", column=name, expr=sql)


def derive_unnamed(s: Speaker) -> Filled:
    phrase, sql = expression(s)
    return {"expr": phrase}, _call("derive", expr=sql)


REVENUE = [
    "total revenue", "revenue", "sales amount", "line total", "order value", "total price", "total amount", "sales value", "turnover",
    "gross revenue", "total sales", "total_revenue", "line_total", "order_value", "'total_revenue'", "order total", "gross sales",
]  # fmt: skip
PROFIT = [
    "profit",
    "margin",
    "gross profit",
    "gross margin",
    "unit margin",
    "gross_profit",
    "unit_profit",
    "markup",
    "profit per unit",
]


def _concept(names: list[str], word: str, sign: str) -> Callable[[Speaker], Filled]:
    """A figure asked for without its columns: those that linking finds for it, when they are of the intent's table."""

    def made(s: Speaker) -> Filled:
        columns, said = s.scene.index.figures.get(word, []), s.r.choice(names)
        own = {c.name: c for c in s.scene.columns}
        if not columns or any(c not in own or c in s.used or own[c].type == "text" for c in columns):
            raise Unfit
        name = said.strip("'").replace(" ", "_")
        if name in s.scene.view.columns():
            raise Unfit
        s.used |= set(columns)
        return {"new": said}, _call("derive", column=name, expr=sign.join(col(own[c]) for c in columns))

    return made


def _pull(*slots: str, newest: bool = False) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        sources = s.scene.view.sources
        if not sources:
            raise Unfit
        source = s.r.choice(list(sources))
        resource = s.r.choice(sources[source])
        said = {"source": speech.source(s.r, source), "resource": s.r.choice([resource, resource.replace("_", " ")])}
        more: dict[str, Any] = {"source": source, "resource": resource, "order": "newest" if newest else None}
        if "n" in slots:
            said["n"], n = speech.number(s.r)
            if "." in n or n == "0":
                raise Unfit
            more["limit"] = int(n)
        if "date" in slots:
            said["date"], more["since"] = speech.date(s.r)
        if "into" in slots:
            said["into"], more["into"] = _new(s)
        return said, _call("pull", **more)

    return made


def _pull_to(mode: str) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        said, calls = _pull()(s)
        table = s.scene.table
        if not table.startswith("staging."):
            raise Unfit
        calls[0]["arguments"] |= {"into": table, "mode": mode}
        said["table"] = speech.table(s.r, table)
        if mode == "upsert":
            key = s.pick(lambda c: c.what == "id")
            said["key"] = s.say(key)
            calls[0]["arguments"]["key"] = [key.name]
        return said, calls

    return made


def _plain(*names: str) -> Callable[[Speaker], Filled]:
    return lambda s: ({}, [call for name in names for call in _call(name)])


def provision(s: Speaker) -> Filled:
    name = s.r.choice(_near_names(s) or speech_stores()) if s.r.random() < 0.4 else s.r.choice(speech_stores())
    return {"store": name}, _call("provision", store=name)


def _near_names(s: Speaker) -> list[str]:
    """Stores are mostly called like what is in them: a word of a source, of a table."""
    view = s.scene.view
    said = [w for name in (*view.sources, s.scene.table.rsplit(".", 1)[-1]) for w in spoken(name).split()]
    return [w for w in said if len(w) > 3 and w not in ("system", "service", "feed") and w not in view.stores]


def speech_stores() -> list[str]:
    """Names that a new store may get."""
    from finetune.scenes import STORES, words

    return [*STORES, *STORES, *(f"{w}_mart" for w in words()[:40]), *words()[:60]]


_SPELT = {"parquet": "Parquet", "duckdb": "DuckDB", "delta": "Delta", "postgres": "Postgres"}


def provision_format(s: Speaker) -> Filled:
    said, calls = provision(s)
    fmt = s.r.choice(["parquet", "duckdb", "delta", "postgres"])
    calls[0]["arguments"]["format"] = fmt
    return {**said, "format": s.r.choice([fmt, _SPELT[fmt], _SPELT[fmt]])}, calls


def provision_partition(s: Speaker) -> Filled:
    said, calls = provision(s)
    c = s.pick()
    calls[0]["arguments"]["partition_by"] = [c.name]
    return {**said, "column": s.say(c)}, calls


def provision_nightly(s: Speaker) -> Filled:
    said, calls = provision(s)
    return said, [*calls, *_call("publish"), *_call("schedule", when="nightly")]


def provision_schedule(s: Speaker) -> Filled:
    said, calls = provision(s)
    phrase, when = speech.moment(s.r)
    return {**said, "when": phrase}, [*calls, *_call("publish"), *_call("schedule", when=when)]


def provision_publish(s: Speaker) -> Filled:
    said, calls = provision(s)
    return {**said, "table": speech.table(s.r, s.scene.table)}, [*calls, *_call("publish", table=s.scene.table)]


def _publish(mode: str | None) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        if not s.scene.view.stores:
            raise Unfit
        store = s.r.choice(s.scene.view.stores)
        said = {"table": speech.table(s.r, s.scene.table), "store": store}
        return said, _call("publish", table=s.scene.table, store=store, mode=mode)

    return made


def schedule(s: Speaker) -> Filled:
    if not s.scene.view.tasks:
        raise Unfit
    task = s.r.choice(s.scene.view.tasks)
    phrase, when = speech.moment(s.r)
    return {"task": speech.task(s.r, task), "when": phrase}, _call("schedule", task=task, when=when)


def _on_query(name: str, **more: Any) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        if not s.scene.view.queries:
            raise Unfit
        query = s.r.choice(s.scene.view.queries)
        said = s.r.choice([query, query.replace("_", " "), query.replace("_", " "), speech.quoted(s.r, query)])
        return {"query": said}, _call(name, query=query, **more)

    return made


def partition(s: Speaker) -> Filled:
    c = s.pick()
    return {"column": s.say(c)}, _call("partition", by=c.name)


def _abstains(name: str, **about: str) -> Callable[[Speaker], Filled]:
    def made(s: Speaker) -> Filled:
        c = s.pick()
        task = s.r.choice(s.scene.view.tasks or ("sales refresh",))
        store = s.r.choice(s.scene.view.stores or ("sales",))
        said = {
            "column": s.say(c),
            "task": speech.task(s.r, task),
            "table": speech.table(s.r, s.scene.table),
            "store": store,
        }
        return said, _call(name, **about)

    return made


#: Key to (what it asks for, how often it is said). A table in a template becomes the table of its calls.
KEYS: dict[str, tuple[Callable[[Speaker], Filled], float]] = {
    "rename": (rename, 4.5), "cast": (cast, 3), "drop_columns": (_on_columns("drop_columns"), 3), "select": (_on_columns("select", 4), 2.5),
    "reorder.first": (_on_columns("reorder"), 1), "reorder.last": (_on_columns("reorder", position="last"), 1),
    "filter.keep": (_filter("cond", "where"), 4), "filter.keep_np": (_filter("with", "with"), 4),
    "filter.drop": (_filter("cond", "where", drop=True), 4), "filter.drop_np": (_filter("with", "with", drop=True), 4),
    "dedupe": (_plain("dedupe"), 2), "dedupe.by": (_on_columns("dedupe", field="by"), 2), "dedupe.last": (_dedupe("last"), 1.5),
    "dedupe.first": (_dedupe("first"), 1.5), "sort.asc": (_on_columns("sort", field="by"), 2),
    "sort.desc": (_on_columns("sort", field="by", descending=True), 2), "limit": (limit, 1), "top": (_ends(True), 1.5), "bottom": (_ends(False), 1),
    "sample.n": (sample_n, 1), "sample.fraction": (sample_fraction, 1), "fill.value": (fill_value, 3), "fill.mean": (_fill_by("mean"), 1),
    "fill.median": (_fill_by("median"), 1), "fill.mode": (_fill_by("mode"), 1), "fill.previous": (_fill_by("previous"), 1),
    "fill.next": (_fill_by("next"), 1), "replace": (replace, 3), "normalize_text.lower": (_normalize(case="lower"), 1),
    "normalize_text.upper": (_normalize(case="upper"), 1), "normalize_text.title": (_normalize(case="title"), 1),
    "normalize_text.trim": (_normalize(trim=True), 1), "split": (split, 2), "join.left": (_join(None), 2), "join.inner": (_join("inner"), 1),
    "join.outer": (_join("outer"), 1), "join.columns": (join_columns, 1), "union": (union, 1.5), "aggregate.sum": (_aggregate("sum"), 2),
    "aggregate.avg": (_aggregate("avg"), 1.5), "aggregate.max": (_aggregate("max"), 1), "aggregate.min": (_aggregate("min"), 1),
    "aggregate.median": (_aggregate("median"), 1), "aggregate.count": (_aggregate("count", measured=False), 1.5),
    "aggregate.distinct": (_aggregate("count_distinct"), 1), "aggregate.total": (_aggregate("sum", grouped=False), 1), "pivot": (pivot, 1),
    "unpivot": (unpivot, 1), "derive": (derive, 7), "derive.unnamed": (derive_unnamed, 3),
    "derive.revenue": (_concept(REVENUE, "revenue", "*"), 3), "derive.profit": (_concept(PROFIT, "profit", "-"), 1),
    "pull": (_pull(), 1.5), "pull.source": (_pull(), 1.5), "pull.limit": (_pull("n"), 1.5), "pull.latest": (_pull("n", newest=True), 3),
    "pull.into": (_pull("into"), 2), "pull.staging": (_pull("n", newest=True), 5), "pull.since": (_pull("date"), 1),
    "pull.append": (_pull_to("append"), 1), "pull.upsert": (_pull_to("upsert"), 1), "analyze": (_plain("analyze"), 1.5),
    "analyze.columns": (_on_columns("analyze"), 1), "analyze.none": (_plain("analyze"), 1.5), "suggest": (_plain("suggest_fixes"), 1.5),
    "analyze.suggest": (_plain("analyze", "suggest_fixes"), 3), "analyze.suggest_none": (_plain("analyze", "suggest_fixes"), 3.5),
    "quarantine": (_filter("cond", "where", "quarantine"), 1.5), "quarantine_np": (_filter("with", "with", "quarantine"), 1.5),
    "provision": (provision, 1.5), "provision.format": (provision_format, 1), "provision.partition": (provision_partition, 1),
    "provision.nightly": (provision_nightly, 6), "provision.schedule": (provision_schedule, 1.5), "provision.publish": (provision_publish, 1),
    "publish": (_publish(None), 1.5), "publish.append": (_publish("append"), 1), "schedule": (schedule, 3),
    "diagnose": (_on_query("diagnose"), 1.5), "diagnose.table": (_plain("diagnose"), 0.7), "diagnose.workload": (_plain("diagnose"), 1),
    "tune": (_on_query("recommend", apply=True), 5), "tune.workload": (lambda s: ({}, _call("recommend", apply=True)), 0.7),
    "index": (_on_columns("index", 2), 1), "order_by": (_on_columns("order_by", 2), 1), "partition": (partition, 1),
    "materialize": (_on_query("materialize"), 1), "clarify.column": (_abstains("clarify", about="column"), 1),
    "clarify.new": (_abstains("clarify", about="name"), 0.7), "clarify.type": (_abstains("clarify", about="type"), 0.7),
    "clarify.value": (_abstains("clarify", about="value"), 0.7), "clarify.how": (_abstains("clarify", about="how"), 1),
    "clarify.vague": (_abstains("clarify", about="how"), 1), "clarify.source": (_abstains("clarify", about="source"), 0.7),
    "clarify.when": (_abstains("clarify", about="when"), 0.7), "clarify.store": (_abstains("clarify", about="store"), 0.7),
    "refuse.scope": (_abstains("refuse", because="scope"), 1.5), "refuse.unsafe": (_abstains("refuse", because="unsafe"), 1.5),
    "refuse.unsafe2": (_abstains("refuse", because="unsafe"), 0.8), "clarify.file": (_abstains("clarify", about="file"), 0.7),
    "clarify.size": (_abstains("clarify", about="value"), 0.7), "clarify.age": (_abstains("clarify", about="value"), 0.7),
    "clarify.snapshot": (_abstains("clarify", about="snapshot"), 0.7), "clarify.rule": (_abstains("clarify", about="how"), 0.7),
    "clarify.task": (_abstains("clarify", about="task"), 0.7), "clarify.source_rate": (_abstains("clarify", about="source"), 0.5),
    **requests.KEYS, "provision.quota": (requests.provision_at(provision, "quota"), 1.2),
    "provision.location": (requests.provision_at(provision, "location"), 1),
}  # fmt: skip
_NAMES, _WEIGHTS = list(KEYS), [weight for _, weight in KEYS.values()]
_ABSENT = (
    "rename",
    "cast",
    "fill.mean",
    "normalize_text.lower",
    "sort.asc",
    "drop_columns",
    "filter.keep",
    "aggregate.sum",
    "dedupe.by",
)


def _fill(template: str, said: dict[str, str]) -> str:
    missing = [slot for slot in _SLOT.findall(template) if slot not in said]
    if missing:
        raise Unfit(f"{template!r} wants {missing}")
    return _SLOT.sub(lambda m: said[m[1]], template)


def single(s: Speaker, key: str, imperative: bool = False) -> tuple[str, Calls]:
    """One phrasing of a key, filled, and its calls; the calls name the table when the phrasing does."""
    said, calls = KEYS[key][0](s)
    template = s.template(key, imperative)
    slots = set(_SLOT.findall(template))
    if "table" in slots and "table" not in said:
        said["table"] = speech.table(s.r, s.scene.table)
        for call in calls:
            if "table" in ACTIONS[call["name"]].model_fields:
                call["arguments"]["table"] = s.scene.table
    for call in calls:
        if call["name"] in ("pull", "sync"):
            for field in ("source", "resource"):
                if field not in slots:
                    call["arguments"].pop(field)
        if key == "check.fresh" and "column" not in slots:
            call["arguments"].pop("columns")
    return re.sub(r"\b(the|table|column) (?=\1\b)", "", _fill(template, said)), calls


def sample(scene: Scene, r: random.Random, unseen: bool = False) -> tuple[str, Role | None, Calls, str]:
    """A random intent: its text, the role that is asked (or None for anyone), the calls, the key."""
    for _ in range(60):
        try:
            return _sample(Speaker(scene, r, unseen), r)
        except Unfit:
            continue
    raise Unfit("nothing can be said in this scene")


def _sample(s: Speaker, r: random.Random) -> tuple[str, Role | None, Calls, str]:
    p = r.random()
    if p < 0.17:
        text, calls, key = _several(s)
    elif p < 0.195:
        text, calls, key = _absent(s)
    else:
        key = (
            r.choice(["derive.revenue"] * 4 + ["derive.profit"])
            if _sells(s) and r.random() < 0.3
            else r.choices(_NAMES, _WEIGHTS)[0]
        )
        wrapped = r.random() < 0.2 and not key.startswith(("clarify", "refuse"))
        text, calls = single(s, key, imperative=wrapped)
        if wrapped:
            text = _fill(s.template("wrap"), {"x": text})
    roles = {ACTIONS[c["name"]].agent for c in calls} - {None}
    role: Role | None = next(iter(roles)) if len(roles) == 1 and r.random() < 0.45 else None
    if roles and len(roles) == 1 and r.random() < 0.025:
        own = next(iter(roles))
        role = r.choice([x for x in ("ingestion", "quality", "transformation", "storage", "optimization") if x != own])  # type: ignore[assignment]
        calls = _call("refuse", because="authority")
    return _written(text, r), role, calls, key


def _sells(s: Speaker) -> bool:
    own = {c.name for c in s.scene.columns} - s.used
    return set(s.scene.index.figures.get("revenue", ["?"])) <= own


#: What is mostly asked for by itself.
_ALONE = (
    "retain", "restore", "pause", "resume", "unschedule", "usage", "resize", "drop.", "throttle", "recommend",
    "materialize.", "describe_source", "compare",
)  # fmt: skip
_LEADS = [
    k
    for k in KEYS
    if not k.startswith(("clarify", "refuse", "diagnose", "tune", "schedule", "aggregate", "pivot", "unpivot", *_ALONE))
]
_FOLLOWS = [k for k in _LEADS if not k.startswith(("pull", "provision", "load_file", "sync"))]


def _several(s: Speaker) -> tuple[str, Calls, str]:
    size = s.r.choice([2, 2, 2, 3])
    parts, calls, keys = [], [], []
    for number in range(size):
        pool = _LEADS if number == 0 else _FOLLOWS
        key = s.r.choices(pool, [KEYS[k][1] for k in pool])[0]
        if "derive.revenue" not in keys and _sells(s) and s.r.random() < 0.4:
            key = "derive.revenue"
        if keys and keys[-1] == "derive.revenue" and s.r.random() < 0.35:
            key = "rename"
        text, more = single(s, key, imperative=True)
        parts.append(text)
        calls += more
        keys.append(key)
        _follow(s, more)
    said = dict(zip("xyz", parts, strict=False))
    return _fill(s.template(f"connect{size}"), said), calls, "+".join(keys)


def _follow(s: Speaker, calls: Calls) -> None:
    """What later parts may speak of: a new column may be used, a column that is gone may not."""
    for call in calls:
        arguments = call["arguments"]
        if call["name"] in ("rename", "derive") and s.r.random() < 0.4:
            new = arguments.get("to") or arguments.get("column")
            if new and re.fullmatch(r"[a-z]+_[a-z_]+", new):
                s.scene = _with_column(s.scene, Column(new, "float"))


def _with_column(scene: Scene, column: Column) -> Scene:
    return Scene(
        scene.view, scene.index, scene.table, [*scene.columns, column], scene.other, scene.other_columns, scene.keys
    )


def _absent(s: Speaker) -> tuple[str, Calls, str]:
    """An operation on a column that isn't there: a question."""
    from finetune.scenes import made_up

    ghost = made_up(s.r)
    known = {w for c in s.scene.view.columns() for w in re.findall(r"[a-z]+", c.lower())}
    if known & set(ghost.name.split("_")):
        raise Unfit
    if s.r.random() < 0.15:
        said, _calls = _pull()(s)
        from finetune.scenes import SOURCES

        strange = s.r.choice(
            [n for n in SOURCES if not set(n.split("_")) & {w for x in s.scene.view.sources for w in x.split("_")}]
        )
        return (
            _fill(s.template("pull.source"), {**said, "source": speech.source(s.r, strange)}),
            _call("clarify", about="source"),
            "absent.source",
        )
    key = s.r.choice(_ABSENT)
    s.scene = _with_column(
        Scene(**{**s.scene.__dict__, "columns": []}),
        Column(ghost.name, "float" if "agg" in key or "fill" in key else "text", "", ()),
    )
    text, _ = single(s, key)
    return text, _call("clarify", about="column"), "absent.column"


def _written(text: str, r: random.Random) -> str:
    """The last touches of a keyboard: a capital, a full stop, a slip of the finger."""
    text = text.removeprefix("~").strip()
    if r.random() < 0.06:
        text = speech.slip(text, r)
    if r.random() < 0.5:
        text = text[:1].upper() + text[1:]
    if r.random() < 0.4 and text[-1:] not in "?!.":
        text += "."
    return text
