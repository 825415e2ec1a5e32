"""The rendering for models trained from scratch: the intent with typed placeholders, the plan in few tokens.

    user       rename<w0> the<c0> field<w1> to<v0>~<c0>
               <t0> staging orders :<c0> customer id int<c1> quantity int ...
    assistant  rename: column=<c0> to=<v0>

Training and serving both come through here: `encode` writes the answer that a plan should have, `Slots.prompt` makes
the prompt, its grammar and the reader of the answer. What an answer leaves out because the intent did (the table, when
only one fits) is filled in by `completion`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from agentlab.actions import ACTIONS, Role, kind_of
from agentlab.actions.amounts import SIZES, UNITS
from agentlab.actions.quality import PATTERNS
from agentlab.completion import complete
from agentlab.errors import PlanError
from agentlab.linking import Index, Linked, identifier, link, spoken
from agentlab.plan import Call
from agentlab.prompts import Ask, Prompt
from agentlab.slot_grammar import SEPARATORS, grammar
from agentlab.view import View

#: In a training plan's SQL: a column's name, and a literal.
COLUMN, LITERAL = "\x01{}\x02", "\x03{}\x04"

#: How many of each are shown where the intent mentions none; `o`, `q`, ... as in placeholders.
_SHOWN = {"tables": 3, "schemas": 2, "sources": 2, "resources": 3, "coming": 3, "f": 2, "o": 2, "q": 2, "k": 2, "p": 1}
_MOST_COLUMNS = 24
_MARKED = re.compile("\x01(?P<column>[^\x02]*)\x02|\x03(?P<literal>[^\x04]*)\x04")
_SLOT = re.compile(r"<([a-z])\d+>")
_AMOUNT = "|".join((*UNITS, *SIZES))
_ARGUMENT = re.compile(rf' (\w+)=("[^"]*"|\[[^\]]*\]|[^ ]+(?: (?:{_AMOUNT})(?![\w=]))?)')


class Slots:
    """Prompt and answer with placeholders; see the module."""

    name = "slots"

    def prompt(self, ask: Ask, tokenizer: Any = None) -> Prompt:
        """The prompt of an intent, the grammar of its answers (lark, for llguidance) and how to read one."""
        linked, view = sighted(ask.intent, ask.view, ask.role)
        text = prompt_text(linked, view, ask.role)
        return Prompt(
            text=text,
            grammar=grammar(linked, ask.role, view.types()),
            read=lambda answer: complete(decode(answer, linked), linked, view),
        )


def sighted(intent: str, view: View, role: Role | None) -> tuple[Linked, View]:
    """The intent, its candidates marked, and the view with the tables that a pull or load of what it mentions makes.

    They stand among the tables, last, under the name that they get by default.
    """
    linked = link(intent, index_of(view))
    coming = _coming(linked, view) if role in (None, "ingestion") else {}
    if not coming:
        return linked, view
    wider = _wider(view, coming)
    return link(intent, index_of(wider)), wider


def _wider(view: View, coming: dict[str, str]) -> View:
    """The view with what is coming among its tables; the same object for the same view, as its index is kept by it."""
    key = (id(view), tuple(coming.items()))
    known = _widened.get(key)
    if known is not None and known[0] is view:
        return known[1]
    refreshes = [f"{table} refresh" for table in coming]
    tables = {**view.tables, **{table: view.incoming[name] for table, name in coming.items()}}
    values = {**view.values, **{table: view.values[name] for table, name in coming.items() if name in view.values}}
    wider = replace(view, tables=tables, coming=coming, values=values, tasks=(*view.tasks, *refreshes))
    if len(_widened) > 8:
        _widened.clear()
    _widened[key] = (view, wider)
    return wider


def _coming(linked: Linked, view: View) -> dict[str, str]:
    """The tables that aren't there yet, each with what brings it.

    That is what the intent mentions, else the only resource of a source that it mentions, or of an empty lab.
    """
    said = [linked.slots[slot] for kind in "rf" for slot in linked.of(kind)]
    if not said:
        sources = [linked.slots[slot] for slot in linked.of("s")]
        empty = not view.tables and not sources
        possible = [f"{s}.{known}" for s in (view.sources if empty else sources) for known in view.sources[s]]
        possible += view.files if empty else []
        said = possible if len(possible) == 1 else []
    named = {staged(name, name in view.files): name for name in said if name in view.incoming}
    there = {table.lower() for table in view.tables}
    return {table: name for table, name in list(named.items())[: _SHOWN["coming"]] if table.lower() not in there}


def staged(name: str, is_file: bool) -> str:
    """The table that a pull of `source.resource`, or a load of a file, makes when no other is named.

    >>> staged("sales_api.orders", False), staged("in/Depot list.csv", True)
    ('staging.orders', 'staging.depot_list')
    """
    return "staging." + (identifier(PurePosixPath(name).name.partition(".")[0]) if is_file else name.split(".", 1)[1])


_indexes: dict[int, tuple[View, Index]] = {}
_widened: dict[tuple[int, tuple[tuple[str, str], ...]], tuple[View, View]] = {}


def index_of(view: View) -> Index:
    """The view's index, kept for the last few views."""
    known = _indexes.get(id(view))
    if known is None or known[0] is not view:
        if len(_indexes) > 8:
            _indexes.clear()
        known = _indexes[id(view)] = (view, Index(view))
    return known[1]


def prompt_text(linked: Linked, view: View, role: Role | None) -> str:
    """The chat in Qwen's form. Unmentioned columns get placeholders after the mentioned ones."""
    lines = "\n".join(_catalog(linked, view, role))
    system = f"<|im_start|>system\n{role or 'any'}<|im_end|>\n"
    return f"{system}<|im_start|>user\n {linked.text}\n{lines}<|im_end|>\n<|im_start|>assistant\n"


def _catalog(linked: Linked, view: View, role: Role | None) -> Iterable[str]:
    seen: set[str] = set()
    for number, table in enumerate(_tables(linked, view, role)):
        whole = number < _SHOWN["schemas"] or table in view.coming or _is_said(linked, table)
        columns = _columns(linked, view, table, seen) if whole else ""
        origin = view.coming.get(table)
        mark = linked.add("f" if origin in view.files else "r", origin) if origin else ""
        yield f"{linked.add('t', table)} {spoken(table)}{mark} :{columns}"
    if role in (None, "ingestion"):
        for source in _first(linked, "s", view.sources, _SHOWN["sources"]):
            full = [f"{source}.{resource}" for resource in view.sources[source]]
            shown = _first(linked, "r", full, _SHOWN["resources"])
            marks = "".join(f"{linked.add('r', r)} {spoken(r.split('.', 1)[1])}" for r in shown)
            yield f"{linked.add('s', source)} {spoken(source)} :{marks}"
    if role == "optimization":
        yield from (f"{linked.add('s', s)} {spoken(s)} :" for s in _first(linked, "s", view.sources, _SHOWN["sources"]))
    tasks = tuple(dict.fromkeys((*view.scheduled, *view.tasks)))
    for kind, label, names, roles in (
        ("f", "files", view.files, (None, "ingestion")),
        ("o", "stores", view.stores, (None, "storage")),
        ("q", "queries", view.queries, (None, "optimization")),
        ("k", "tasks", tasks, (None, "storage")),
        ("p", "snapshots", view.snapshots, (None, "storage")),
    ):
        if names and role in roles:
            # Of many tasks that nobody mentions only those that have a schedule matter.
            usual = view.scheduled if kind == "k" and len(names) > _SHOWN[kind] else names
            if shown := _mentioned(linked, kind, names) or list(usual)[: _SHOWN[kind]]:
                yield f" {label} :" + "".join(f"{linked.add(kind, name)} {spoken(name)}" for name in shown)


def _mentioned(linked: Linked, kind: str, names: Iterable[str]) -> list[str]:
    known = set(names)
    return [linked.slots[slot] for slot in linked.of(kind) if linked.slots[slot] in known]


def _first(linked: Linked, kind: str, names: Iterable[str], most: int) -> list[str]:
    """The mentioned names; the first few when none is."""
    return _mentioned(linked, kind, names) or list(names)[:most]


def _tables(linked: Linked, view: View, role: Role | None) -> list[str]:
    """The tables to show: those mentioned, those of a mentioned column, then the latest others, up to a few."""
    said = _mentioned(linked, "t", view.tables)
    said += [table for table in view.coming if table not in said]
    if role == "ingestion":
        return said
    columns = set(_mentioned(linked, "c", view.columns()))
    said += [table for table, schema in view.tables.items() if table not in said and columns & schema.keys()]
    return said + [table for table in view.tables if table not in said][: max(0, _SHOWN["tables"] - len(said))]


def _is_said(linked: Linked, table: str) -> bool:
    return any(linked.slots[slot] == table and slot in linked.text for slot in linked.of("t"))


def _columns(linked: Linked, view: View, table: str, seen: set[str]) -> str:
    schema = view.tables[table]
    first = _mentioned(linked, "c", schema)
    shown = [*first, *(column for column in schema if column not in first)][:_MOST_COLUMNS]
    marks = []
    for column in shown:
        slot = linked.add("c", column)
        marks.append(slot if column in seen else f"{slot} {spoken(column)} {schema[column]}")
        seen.add(column)
    return "".join(marks)


# ---------------------------------------------------------------- answers, written


def encode(calls: Iterable[Call], linked: Linked) -> str:
    """The answer that says these calls; call it after `prompt_text`. PlanError when the linker has no mark for a value.

    SQL in the calls carries its columns and literals as `COLUMN` and `LITERAL`, so that they can be told apart.
    """
    return "\n".join(_encode_call(call, linked) for call in calls)


def _encode_call(call: Call, linked: Linked) -> str:
    fields = ACTIONS[call["name"]].model_fields
    given = call["arguments"]
    shown = [
        f" {name}={_encode(name, kind_of(info), given[name], linked)}" for name, info in fields.items() if name in given
    ]
    return f"{call['name']}:{''.join(shown)}"


def _encode(name: str, kind: str | None, value: Any, linked: Linked) -> str:
    if name == "measures":
        return "[" + ",".join(_encode_measure(measure, linked) for measure in value) + "]"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_encode(name, kind, item, linked) for item in value) + "]"
    if kind in ("expr", "where"):
        return '"' + _MARKED.sub(lambda m: _encode_in_sql(m, linked), value) + '"'
    if kind == "when":
        return '"' + _encode_when(value, linked) + '"'
    return _encode_one(name, kind, value, linked)


def _encode_one(name: str, kind: str | None, value: Any, linked: Linked) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if name == "separator" and value in SEPARATORS.values():
        return next(word for word, mark in SEPARATORS.items() if mark == value)
    if name == "fraction":
        return _literal(f"{value * 100:g}", linked, "n") + "%"
    if name in ("min", "max") and value == 0:
        return "0"
    if name == "version" and value == -1:
        return "-1"
    if isinstance(value, int | float):
        return _literal(format(value, ".15g"), linked, "n")
    if kind in ("span", "size"):
        return _encode_amount(value, linked)
    if kind == "zone":
        return _literal(value, linked, "z")
    if kind == "pattern":
        return str(value) if value in PATTERNS else _literal(value, linked, "v")
    if name in ("since", "until"):
        return _literal(value, linked, "d")
    if kind is None:
        return str(value)
    if kind == "value" or name == "separator":
        return _literal(value, linked, "vd")
    return _encode_name(name, kind, value, linked)


_LETTER = {
    "table": "t", "new_table": "t", "source": "s", "store": "o", "query": "q", "column": "c", "resource": "r",
    "file": "f", "snapshot": "p", "scheduled": "k", "other_column": "c",
}  # fmt: skip


def _encode_amount(value: str, linked: Linked) -> str:
    """`90 days`: a number of the intent, or a digit where it says "a week"."""
    number, unit = value.split()
    unit = next((known for known in (*UNITS, *SIZES) if known.lower().rstrip("s") == unit.lower().rstrip("s")), unit)
    try:
        return f"{_literal(number, linked, 'n')} {unit}"
    except PlanError:
        if number != "1":
            raise
        return f"1 {unit}"


def _encode_name(name: str, kind: str, value: str, linked: Linked) -> str:
    letter = "k" if name == "task" else _LETTER.get(kind)
    for slot in linked.of(letter) if letter else []:
        if linked.slots[slot] in (value,) or (letter == "r" and linked.slots[slot].endswith("." + value)):
            return slot
    return _new_name(value, linked)


def _new_name(value: str, linked: Linked) -> str:
    bare = value.removeprefix("staging.")
    for slot in linked.of("v"):
        if linked.slots[slot] in (value, bare):
            return slot
    for first, last in _spans(linked):
        if identifier(linked.phrase(first, last)) == identifier(bare):
            return first if first == last else first + last
    for slot in linked.of("c"):
        if linked.slots[slot] == value:
            return slot
    raise PlanError(f"the intent doesn't say {value!r}")


def _spans(linked: Linked) -> Iterable[tuple[str, str]]:
    words = list(linked.spans)
    for size in range(1, 6):
        yield from zip(words, words[size - 1 :], strict=False)


def _literal(value: str, linked: Linked, letters: str) -> str:
    for letter in letters:
        for slot in linked.of(letter):
            if linked.slots[slot] == value:
                return slot
    if letters != "n":
        for first, last in _spans(linked):
            if linked.phrase(first, last) == value:
                return first if first == last else first + last
    raise PlanError(f"the intent doesn't say {value!r}")


def _encode_in_sql(match: re.Match[str], linked: Linked) -> str:
    if match["column"] is not None:
        for slot in linked.of("c"):
            if linked.slots[slot] == match["column"]:
                return slot
        return "@" + _new_name(match["column"], linked)
    return _literal(match["literal"], linked, "nvd")


def _encode_when(value: str, linked: Linked) -> str:
    value = re.sub(r"\b\d\d:\d\d\b", lambda m: _literal(m[0], linked, "h"), value)
    return re.sub(r"(?<=every )\d+", lambda m: _literal(m[0], linked, "n"), value).replace(" <", "<")


def _encode_measure(measure: Any, linked: Linked) -> str:
    column = _encode_name("column", "column", measure["column"], linked) if measure.get("column") else ""
    name = ":" + _new_name(measure["name"], linked) if measure.get("name") else ""
    return f"{measure['function']}{column}{name}"


# ---------------------------------------------------------------- answers, read


def decode(answer: str, linked: Linked) -> list[dict[str, Any]]:
    """The calls that an answer says, with names and literals put back.

    >>> linked = Linked("drop the notes", slots={"<c0>": "notes"})
    >>> decode("drop_columns: columns=[<c0>]", linked)
    [{'name': 'drop_columns', 'arguments': {'columns': ['notes']}}]
    """
    return [_decode_call(line, linked) for line in answer.strip().split("\n")]


def _decode_call(line: str, linked: Linked) -> dict[str, Any]:
    name = line.split(":", 1)[0]
    if name not in ACTIONS:
        raise PlanError(f"{line!r} is no action")
    fields = ACTIONS[name].model_fields
    arguments = {}
    for argument, text in _ARGUMENT.findall(line):
        if argument not in fields:
            raise PlanError(f"{name} has no argument {argument!r}")
        arguments[argument] = _decode(argument, kind_of(fields[argument]), text, linked)
    return {"name": name, "arguments": arguments}


def _decode(name: str, kind: str | None, text: str, linked: Linked) -> Any:
    if text.startswith("["):
        items = [item for item in text[1:-1].split(",") if item]
        return [_decode_measure(i, linked) if name == "measures" else _decode(name, kind, i, linked) for i in items]
    if kind in ("expr", "where"):
        return _SQL_SLOT.sub(lambda m: _sql(m[0], linked), _spaced(text[1:-1], whole=kind == "where"))
    if kind == "when":
        return re.sub(r"\s+", " ", _SLOT.sub(lambda m: f" {linked.slots[m[0]]} ", text[1:-1])).strip()
    return _decode_one(name, kind, text, linked)


#: What a plain word is made a name for; elsewhere it stays the text that it is.
_NAMED = (
    "column",
    "other_column",
    "new_column",
    "new_table",
    "new_store",
    "store",
    "table",
    "new_snapshot",
    "snapshot",
)
_SQL_SLOT = re.compile(r"@?(?:<[wv]\d+><[wv]\d+>|<[a-z]\d+>)")


def _spaced(sql: str, whole: bool) -> str:
    """An answer's SQL, legible, its placeholders still in place. `NOT(x)` as a whole is said of rows that go.

    Those rows for which x is unknown stay, so it becomes `(x) IS NOT TRUE`.

    >>> _spaced("NOT(<c0>=<v0>)", whole=True), _spaced("NOT(<c0>=<v0>) ANDNOT(<c1>=<v1>)", whole=True)
    ('( <c0> = <v0> ) IS NOT TRUE', 'NOT( <c0> = <v0> ) AND NOT( <c1> = <v1> )')
    """
    if whole and sql.startswith("NOT(") and _closing(sql, 3) == len(sql) - 1:
        sql = f"{sql[3:]} IS NOT TRUE"
    sql = re.sub(r" (AND|OR|WHEN|THEN|ELSE|BETWEEN)(?=[a-z0-9(]|NOT|NULL)", r" \1 ", sql)
    return re.sub(r" {2,}", " ", _SQL_SLOT.sub(r" \g<0> ", sql)).strip()


def _closing(sql: str, opened: int) -> int:
    """Where the bracket that opens at a position closes."""
    depth = 0
    for at in range(opened, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[at], 0)
        if depth == 0:
            return at
    return -1


def _sql(text: str, linked: Linked) -> str:
    if text.startswith("@"):
        return f'"{_name(text[1:], linked)}"'
    value = _said(text, linked)
    quoted = value.replace("'", "''")
    name = value.replace('"', '""')
    return {"c": f'"{name}"', "n": value, "d": f"DATE '{quoted}'"}.get(text[1], f"'{quoted}'")


def _decode_one(name: str, kind: str | None, text: str, linked: Linked) -> Any:
    if name == "fraction":
        return float(_said(text.removesuffix("%"), linked)) / 100
    if text in ("true", "false"):
        return text == "true"
    if name == "operator":
        return text
    if kind in ("span", "size"):
        return _SLOT.sub(lambda m: linked.slots[m[0]], text)
    if name in ("min", "max", "version") and not text.startswith("<"):
        return int(text)
    if name == "separator":
        return SEPARATORS[text] if text in SEPARATORS else _said(text, linked)
    if not text.startswith("<"):
        return text
    if text[1] == "r":
        return _said(text, linked).split(".", 1)[1]
    if text[1] == "n":
        value = _said(text, linked)
        return float(value) if "." in value else int(value)
    if text[1] in "vw" and kind in _NAMED:
        return _name(text, linked)
    return _said(text, linked)


def _said(text: str, linked: Linked) -> str:
    """What one placeholder, or two words that span a phrase, stand for."""
    slots = re.findall(r"<[a-z]\d+>", text)
    if not slots or any(slot not in linked.slots for slot in slots):
        raise PlanError(f"{text!r} stands for nothing in the intent")
    if slots[0][1] == "w" or len(slots) > 1:
        return linked.phrase(slots[0], slots[-1])
    return linked.slots[slots[0]]


def _name(text: str, linked: Linked) -> str:
    said = _said(text, linked)
    return identifier(said) if text[1] == "w" or text.count("<") > 1 else said


def _decode_measure(text: str, linked: Linked) -> dict[str, Any]:
    function, column, name = re.fullmatch(r"([a-z_]+)((?:<[a-z]\d+>){0,2})(?::(.*))?", text).groups()  # type: ignore[union-attr]
    measure: dict[str, Any] = {"function": function}
    if column:
        measure["column"] = _decode_one("column", "column", column, linked)
    if name:
        measure["name"] = _name(name, linked)
    return measure
