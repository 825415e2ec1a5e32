"""The grammar that a model decodes under: tool calls of a role's actions, naming what is in the lab.

Lark, in llguidance's dialect. The first call of a plan names live tables, columns, sources, stores and queries only; a
later one may also use a name that an earlier one could have created. What a grammar can't see (that the columns inside
a SQL text exist, that a new name is free) is left to the rules. Nothing here decodes, or looks at an intent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from unicodedata import is_normalized
from zoneinfo import available_timezones

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agentlab.actions import Action, Role, kind_of, of
from agentlab.actions.amounts import SIZES, UNITS
from agentlab.view import View

#: The most actions in one plan, and the most items in one list of an action.
MOST_CALLS = 8
MOST_ITEMS = 64

#: With more tables than this, a column need only be in the lab and not in its table: llguidance takes 65,000 symbols.
MOST_BOUND = 24

_HOUR = "([01]?[0-9]|2[0-3]):[0-5][0-9]"
_PERIOD = "hourly|nightly|daily|weekdays|weekends|weekly|monthly|(sun|mon|tues|wednes|thurs|fri|satur)days"
_EVERY = "every ([1-9]|[1-5][0-9]) minutes|every ([1-9]|1[0-9]|2[0-3]) hours"
#: Cron's five fields, each within its bounds: a model need not know them.
_CRON = " ".join(
    (
        r"(\*(\/([1-9]|[1-5][0-9]))?|[1-5]?[0-9])",
        r"(\*(\/([1-9]|1[0-9]|2[0-3]))?|1?[0-9]|2[0-3])",
        r"(\*|[1-9]|[12][0-9]|3[01])",
        r"(\*|[1-9]|1[0-2])",
        r"(\*|[0-6]|0-[1-6]|1-[2-6]|2-[3-6]|3-[4-6]|4-[56]|5-6)",
    )
)
_NAME = "[A-Za-z_][A-Za-z0-9_]{0,62}"
_PLAIN = r'[^"\\\x00-\x20\x7f-\x9f]'
_CHARACTER = r'([^"\\\x00-\x1f\x7f]|\\["\\\/bfnrt])'

#: The texts that don't depend on a lab, as terminals: JSON as `json.dumps(..., ensure_ascii=False)` writes it.
_TERMINALS = {
    "TEXT": rf'/"{_CHARACTER}{{1,500}}"/',
    "ANYTEXT": rf'/"{_CHARACTER}{{0,200}}"/',
    "NEWCOLUMN": rf'/"{_PLAIN}(([^"\\\x00-\x1f\x7f-\x9f]){{0,62}}{_PLAIN})?"/',
    "NEWTABLE": rf'/"{_NAME}(\.{_NAME})?"/',
    "STAGING": rf'/"staging\.{_NAME}"/',
    "NEWNAME": f'/"{_NAME}"/',
    "WHEN": f'/"(({_PERIOD})( at {_HOUR})?|{_EVERY}|{_CRON})"/',
    "INTEGER": "/-?(0|[1-9][0-9]{0,14})/",
    "NATURAL": "/0|[1-9][0-9]{0,14}/",
    "POSITIVE": "/[1-9][0-9]{0,14}/",
    "NUMBER": r"/-?(0|[1-9][0-9]{0,14})\.[0-9]{1,9}/",
    "FRACTION": r"/1(\.0)?|0\.[0-9]{0,8}[1-9]/",
    "ABOVE0": r"/0\.[0-9]{0,8}[1-9]|[1-9][0-9]{0,8}\.[0-9]{1,9}/",
    "SPAN": f'/"[1-9][0-9]{{0,2}} ({"|".join(UNITS)})"/',
    "SIZE": rf'/"[1-9][0-9]{{0,4}}(\.[0-9])? ({"|".join(SIZES)})"/',
    "NEWFILE": r'/"[A-Za-z0-9_][A-Za-z0-9_ -]{0,40}(\/[A-Za-z0-9_][A-Za-z0-9_ -]{0,40})?\.(csv|jsonl|parquet|xlsx)"/',
}
_FREE = {
    "expr": "TEXT", "where": "TEXT", "text": "TEXT", "value": "ANYTEXT", "when": "WHEN", "new_column": "NEWCOLUMN",
    "span": "SPAN", "size": "SIZE", "new_file": "NEWFILE", "location": "TEXT", "pattern": "TEXT",
    "new_snapshot": "NEWNAME",
}  # fmt: skip


@dataclass(frozen=True)
class _Form:
    """One way to fill in an action where its own validator forbids some: arguments it needs, omits, or narrows."""

    need: tuple[str, ...] = ()
    omit: tuple[str, ...] = ()
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    #: How many items a list may have at least and at most, where its own schema doesn't say.
    many: Mapping[str, tuple[int, int]] = field(default_factory=dict)


#: Actions whose own validators tie arguments together. `tests/test_grammar.py` fails if one is forgotten here.
_MODES = (
    _Form(only={"mode": ("replace", "append")}),
    _Form(need=("mode", "key"), only={"mode": ("upsert",)}, many={"key": (1, MOST_ITEMS)}),
)


def _rule(rule: str, *need: str, free: tuple[str, ...] = (), columns: int = 1) -> _Form:
    """The form of `check` for one rule: on one column, on some (2) or on none (0)."""
    told = ("columns", *need) if columns else need
    rest = ("columns", "min", "max", "values", "pattern", "within", "other", "other_column", "operator", "than", "type")
    many = {"columns": (1, MOST_ITEMS if columns > 1 else 1), "values": (1, MOST_ITEMS)}
    return _Form(told, tuple(n for n in rest if n not in (*told, *free)), {"rule": (rule,)}, many)


_FORMS: dict[str, tuple[_Form, ...]] = {
    "Pull": _MODES,
    "LoadFile": _MODES,
    "Check": (
        *(_rule("not_null", columns=2), _rule("unique", columns=2), _rule("in_range", "min", free=("max",))),
        *(_rule("in_range", "max"), _rule("in_set", "values"), _rule("matches", "pattern")),
        *(_rule("row_count", "min", free=("max",), columns=0), _rule("row_count", "max", columns=0)),
        *(_rule("fresh", "within"), _rule("fresh", "within", columns=0)),
        *(_rule("references", "other", free=("other_column",)), _rule("compares", "operator", "than")),
        _rule("has_type", "type"),
    ),
    "Recommend": (_Form(omit=("table",)), _Form(need=("table",), omit=("query",))),
    "NormalizeText": (_Form(need=("case",)), _Form(need=("trim",), omit=("case",), only={"trim": (True,)})),
    "Measure": (_Form(need=("column",)), _Form(omit=("column",), only={"function": ("count",)})),
}

#: What a kind (or, with a dot before it, a field) may hold, as lark; empty when there is nothing it could hold.
_Scope = Mapping[str, str]


def quoted(text: str) -> str:
    """A text as JSON. What a tokenizer could change on the way (control tokens, unprintable or decomposed letters) is
    escaped, since forced text goes through it.

    >>> quoted('5" disk')
    '"5\\\\" disk"'
    """
    if "<" in text or not text.isprintable() or not is_normalized("NFC", text):
        return json.dumps(text).replace("<", "\\u003c")
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """A lark literal that stands for exactly this text.

    >>> literal('a "quoted" name')
    '"a \\\\"quoted\\\\" name"'
    """
    return json.dumps(text)


def tools_grammar(role: Role | None, view: View, special: bool = False) -> str:
    """The lark grammar of a plan of `role` over `view`: one or more `<tool_call>` blocks, or one that abstains.

    `special`: the tokenizer has `<tool_call>` and `</tool_call>` as tokens of their own.
    """
    return _Grammar(view).lark(of(role), special)


class _Grammar:
    """One grammar in the making: the names of a view as terminals, and rules that actions share."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.terminals: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.table = self._one_of("TABLE", view.tables)
        self.any_column = self._one_of("COLUMN", view.columns())
        self.store = self._one_of("STORE", view.stores)
        self.query = self._one_of("QUERY", view.queries)
        self.named = {
            "file": self._one_of("FILE", view.files),
            "snapshot": self._one_of("SNAPSHOT", view.snapshots),
            "scheduled": self._one_of("SCHEDULED", view.scheduled),
            "zone": self._one_of("ZONE", sorted(available_timezones())),
        }
        self.bound = len(view.tables) <= MOST_BOUND

    def lark(self, actions: Mapping[str, type[Action]], special: bool) -> str:
        """The whole text: how a plan is framed, the calls, what they share, and the terminals that are used."""
        acting = {name: cls for name, cls in actions.items() if cls.agent is not None}
        rules = {
            "abstain": self._calls({name: cls for name, cls in actions.items() if cls.agent is None}, later=False),
            "first": self._calls(acting, later=False),
            "later": self._calls(acting, later=True),
        }
        framed = _frame(bool(rules["first"]), special)
        lines = [*framed, *(f"{name}: {calls}" for name, calls in rules.items() if calls)]
        lines += [f"{name}: {body}" for body, name in self.shared.items()]
        used = set(re.findall(r"\b[A-Z][A-Z0-9]+\b", "\n".join(lines)))
        lines += [f"{name}: {body}" for name, body in {**_TERMINALS, **self.terminals}.items() if name in used]
        return "\n".join(lines)

    def share(self, body: str) -> str:
        """The name of a rule for this body, so that it is written once."""
        return self.shared.setdefault(body, f"r{len(self.shared)}") if " " in body else body

    def _one_of(self, terminal: str, names: Iterable[str]) -> str:
        choices = " | ".join(literal(quoted(name)) for name in names)
        if choices:
            self.terminals[terminal] = choices
        return terminal if choices else ""

    def _calls(self, actions: Mapping[str, type[Action]], later: bool) -> str:
        return " | ".join(call for name, cls in actions.items() if (call := self._call(name, cls, later)))

    def _call(self, name: str, cls: type[Action], later: bool) -> str:
        bodies = [body for scope in self._scopes(cls, later) for body in self._objects(cls, scope)]
        opening = literal(f'{{"name": {quoted(name)}, "arguments": ')
        return self.share(f'{opening} {self.share(_either(*bodies))} "}}"') if bodies else ""

    def _scopes(self, cls: type[Action], later: bool) -> Iterator[_Scope]:
        """Each way to bind the names of an action together: a table with its columns, a source with its resources."""
        kinds = set(_kinds(cls))
        free = {**_FREE, "new_table": "STAGING" if cls.agent == "ingestion" else "NEWTABLE", "new_store": "NEWNAME"}
        free |= {"query": self.query, "store": self.share(_either(self.store, "NEWNAME" if later else ""))}
        free |= {**self.named, "other_column": self.share(_either(self.any_column, "NEWCOLUMN"))}
        if "source" in kinds:
            bound = self._sources()
        elif self.bound and {"table", "column"} <= kinds and not later:
            bound = self._pairs() if "on" in cls.model_fields else self._singles()
        else:
            bound = self._anywhere(later)
        yield from ({**free, **scope} for scope in bound)

    def _sources(self) -> Iterator[_Scope]:
        for source, resources in self.view.sources.items():
            listed = self.share(_literals(resources))
            column = self.share(_either(self.any_column, "NEWCOLUMN"))
            yield {"source": literal(quoted(source)), "resource": listed, "column": column}

    def _anywhere(self, later: bool) -> Iterator[_Scope]:
        table = self.share(_either(self.table, "NEWTABLE" if later else ""))
        yield {"table": table, "column": self.share(_either(self.any_column, "NEWCOLUMN" if later else ""))}

    def _singles(self) -> Iterator[_Scope]:
        for number, (table, schema) in enumerate(self.view.tables.items()):
            own = {".table": literal(quoted(table)), "table": self.table}
            yield {**own, "column": self._one_of(f"COLUMN{number}", schema)}

    def _pairs(self) -> Iterator[_Scope]:
        """Two tables that share a column: `on` is in both, `columns` are the other's."""
        for table, schema in self.view.tables.items():
            for number, (other, others) in enumerate(self.view.tables.items()):
                on = self.share(_literals(column for column in schema if column in others))
                if table != other and on:
                    named = {".table": literal(quoted(table)), ".other": literal(quoted(other))}
                    yield {**named, ".on": on, "column": self._one_of(f"COLUMN{number}", others)}

    def _objects(self, cls: type[BaseModel], scope: _Scope) -> Iterator[str]:
        """A model as a JSON object, its fields in order: one lark text for each form that can be filled in."""
        for form in _forms(cls):
            parts = []
            for name, info in cls.model_fields.items():
                told = self._field(cls, name, form, scope)
                needed = info.is_required() or name in form.need
                if needed and not told:
                    break
                if told:
                    parts.append((f"{literal(quoted(name) + ': ')} {told}", needed))
            else:
                yield f'"{{" {self._sequence(parts)} "}}"'

    def _sequence(self, parts: Sequence[tuple[str, bool]], first: bool = True) -> str:
        """The parts in order, with a comma between; an optional part may be left out."""
        if not parts:
            return ""
        (part, needed), rest = parts[0], parts[1:]
        after = self._sequence(rest, first=False)
        if not first:
            told = f'", " {part}' if needed else self.share(f'(", " {part})?')
            return f"{told} {after}".strip()
        without = "" if needed else self._sequence(rest)
        there = f"{part} {after}".strip()
        return there if needed else f"({there} | {without})" if without else f"({there})?"

    def _field(self, cls: type[BaseModel], name: str, form: _Form, scope: _Scope) -> str:
        if name in form.omit:
            return ""
        if name in form.only:
            return self.share(_literals(form.only[name]))
        info = cls.model_fields[name]
        kind = f".{name}" if f".{name}" in scope else kind_of(info)
        leaf = None if kind is None else scope.get(kind, "")
        schema = _properties(cls)[name]
        if name in form.many:
            least, most = form.many[name]
            return self._array(self.share(self._value(schema["items"], leaf, scope, info)), least, most)
        return self.share(self._value(schema, leaf, scope, info))

    def _value(self, schema: Mapping[str, Any], leaf: str | None, scope: _Scope, info: FieldInfo) -> str:
        """A JSON schema as lark; `leaf` stands for its strings when their kind says what they hold."""
        if "anyOf" in schema:
            options = [option for option in schema["anyOf"] if option.get("type") != "null"]
            return _either(*(self._value(option, leaf, scope, info) for option in options))
        if "enum" in schema or "const" in schema:
            # Our own words, not a stranger's: as a chat template writes them, "<" too.
            return _either(*(literal(json.dumps(value)) for value in schema.get("enum", [schema.get("const")])))
        if "$ref" in schema:
            return _either(*self._objects(_model_in(info.annotation), scope))
        if schema["type"] == "array":
            return self._array(self.share(self._value(schema["items"], leaf, scope, info)), schema.get("minItems", 0))
        if schema["type"] == "string":
            return _string(schema) if leaf is None else leaf
        return _scalar(schema)

    def _array(self, item: str, least: int, most: int = MOST_ITEMS) -> str:
        if not item:
            return "" if least else literal("[]")
        if most == 1:
            return f'"[" {item} "]"'
        more = self.share(f'", " {item}')
        some = f'"[" {item} {more}{{{max(least, 1) - 1},{most - 1}}} "]"'
        return some if least else f'({some} | "[]")'


def _frame(acts: bool, special: bool) -> Iterator[str]:
    start, end = ("<tool_call>", "</tool_call>") if special else ('"<tool_call>"', '"</tool_call>"')
    yield "%llguidance {}"
    yield "start: abstaining | acting" if acts else "start: abstaining"
    yield f'abstaining: {start} "\\n" abstain "\\n" {end}'
    if acts:
        yield f'acting: {start} "\\n" first "\\n" {end} more{{0,{MOST_CALLS - 1}}}'
        yield f'more: "\\n" {start} "\\n" later "\\n" {end}'


def _either(*choices: str) -> str:
    some = list(dict.fromkeys(choice for choice in choices if choice))
    return f"({' | '.join(some)})" if len(some) > 1 else "".join(some)


def _literals(values: Iterable[Any]) -> str:
    return _either(*(literal(quoted(value) if isinstance(value, str) else json.dumps(value)) for value in values))


def _string(schema: Mapping[str, Any]) -> str:
    """A pattern is taken to mean the whole text, and its digits ASCII ones."""
    if "pattern" not in schema:
        return "TEXT"
    pattern = schema["pattern"].removeprefix("^").removesuffix("$").replace(r"\d", "[0-9]")
    return f'/"{pattern}"/'


def _scalar(schema: Mapping[str, Any]) -> str:
    if schema["type"] == "boolean":
        return _literals([True, False])
    if schema["type"] == "integer":
        return {0: "NATURAL", 1: "POSITIVE"}.get(schema.get("minimum", -1), "INTEGER")
    return "FRACTION" if schema.get("maximum") == 1 else "ABOVE0" if "exclusiveMinimum" in schema else "NUMBER"


def _forms(cls: type[BaseModel]) -> Iterable[_Form]:
    one_of: tuple[str, ...] = getattr(cls, "exactly_one", ())
    if one_of:
        return [_Form(need=(given,), omit=tuple(name for name in one_of if name != given)) for given in one_of]
    return _FORMS.get(cls.__name__, (_Form(),))


@lru_cache
def _properties(cls: type[BaseModel]) -> dict[str, Any]:
    properties: dict[str, Any] = cls.model_json_schema()["properties"]
    return properties


def _kinds(cls: type[BaseModel]) -> Iterator[str]:
    """The kinds of a model's fields, and of the models in them."""
    for info in cls.model_fields.values():
        if kind := kind_of(info):
            yield kind
        elif nested := _model_in(info.annotation):
            yield from _kinds(nested)


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple):
        return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
    return None
