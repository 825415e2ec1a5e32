"""The grammar of answers with placeholders, made from the action classes and the placeholders of one prompt.

Only what the prompt shows can be named: every table, column, source, store and query in an answer exists.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from agentlab.actions import Action, Role, kind_of, of
from agentlab.actions.amounts import SIZES, UNITS
from agentlab.actions.quality import PATTERNS
from agentlab.actions.storage import DAYS, PERIODS
from agentlab.linking import Linked, canonical

SEPARATORS = {
    "comma": ",", "space": " ", "dash": "-", "slash": "/", "semicolon": ";", "colon": ":", "pipe": "|",
    "underscore": "_", "dot": ".", "at": "@", "tab": "\t", "ampersand": "&", "plus": "+", "hash": "#",
    "arrow": "->", "backslash": "\\", "star": "*", "equals": "=",
}  # fmt: skip

#: Arguments that an answer may leave out, because `completion` finds the only one that fits.
_INFERRED = {
    "pull": {"source", "resource", "into"}, "publish": {"table", "store"}, "schedule": {"task"},
    "derive": {"table", "column"}, "clarify": {"question"}, "refuse": {"reason"}, "load_file": {"into"},
    "sync": {"source", "resource", "into"}, "describe_source": {"source"}, "throttle": {"source"},
    "retain": {"table", "column"}, "unschedule": {"task"}, "pause": {"task"}, "resume": {"task"}, "resize": {"store"},
}  # fmt: skip
_MOST_ACTIONS = 8
#: What only paths have: a folder, or a file's ending.
_PATH = re.compile(r"/|\.(csv|tsv|txt|jsonl?|ndjson|parquet|xlsx?)(\.gz)?$", re.IGNORECASE)
_NEVER = {"question", "reason", "kind", "seed"}

#: SQL by type: what is added is numbers, what is joined is text. A rule whose columns the prompt lacks is left out.
_SQL = r"""
sql: conj (" OR" conj)*
conj: pred (" AND" pred)*
pred: value | number compared number | col compared (lit | col) | col " IS NULL" | col " IS NOT NULL"
    | (col | number | textual) " NOT"? " IN(" lit ("," lit)* ")" | (col | number) " BETWEEN" lit " AND" lit
    | "NOT(" sql ")" | "(" sql ")"
    | ("contains"|"starts_with"|"ends_with") "(" text "," lit ")" | textual ("="|"!=") lit DATED
compared: ">" | "<" | ">=" | "<=" | "=" | "!="
value: number | text | "CASE" (" WHEN" sql " THEN" chosen)+ " ELSE" chosen " END"
chosen: lit | number | col | "NULL"
number: product (("+"|"-") product)*
product: factor (("*"|"/"|"%") factor)*
factor: numeric | num | "0" | "1" | "2" | "100" | "(" number ")" | "length(" text ")"
    | ("abs"|"ceil"|"floor") "(" number ")" | "round(" number "," (num|/[0-9]/) ")"
    | ("rank"|"dense_rank"|"row_number") "() OVER(" part? order " DESC"? ")"
    | ("sum"|"avg"|"min"|"max") "(" number ") OVER(" (part | order | part order)? " DESC"? ")"
    | "count() OVER(" part? ")"
    | ("lag"|"lead") "(" col ") OVER(" part? order ")" | "coalesce(" col "," (col|lit|"0") ")" DATES
text: word ("||" (word|between))*
between: "' '" | "', '" | "'-'" | "' - '" | "'/'" | "' / '" | "'_'" | "','" | "'.'" | "': '"
word: col | lit | textual
textual: ("upper"|"lower"|"trim") "(" (col|textual) ")" DAYNAME
part: "PARTITION BY" col " "?
order: "ORDER BY" col
"""
_DATED = """
    | dated compared moment | dated " BETWEEN" moment " AND" moment
moment: date | "current_date" (("-"|"+") "INTERVAL" num unit)? | dated
unit: " DAY" | " WEEK" | " MONTH" | " YEAR" | " HOUR\""""
_DATES = """
    | ("year"|"month"|"quarter"|"day"|"hour"|"week") "(" dated ")"
    | "date_diff('" ("day"|"hour"|"minute"|"week"|"month"|"year") "'," today "," today ")"
today: dated | "current_date\""""
_DAYNAME = """ | ("dayname"|"monthname") "(" dated ")" | "date_trunc('month'," dated ")" | "CAST(" dated " AS DATE)\""""


def _sql(rules: dict[str, str]) -> str:
    """The part of the grammar for SQL, with the columns that there are."""
    dated = "dated" in rules
    # A number that the intent doesn't have isn't wanted.
    told = _SQL if "num" in rules else _SQL.replace("| num ", "").replace("(num|/[0-9]/)", "/[0-9]/")
    compared = _DATED if "date" in rules else _DATED.replace("date | ", "", 1)
    compared = compared if "num" in rules else compared.replace('"INTERVAL" num', '"INTERVAL" /[1-9]/')
    return (
        told.replace(" DATED", compared if dated else "")
        .replace(" DATES", _DATES if dated else "")
        .replace(" DAYNAME", _DAYNAME if dated else "")
    )


def grammar(linked: Linked, role: Role | None, types: Mapping[str, Container[str]]) -> str:
    """A lark grammar for llguidance; a role's own actions only. `types` are those of each column, in any table.

    At most `_MOST_ACTIONS` lines, so that a model that repeats itself still ends in a plan.
    """
    rules = _terminals(linked, types)
    lines: list[str] = []
    alone: list[str] = []
    for name, cls in of(role).items():
        rule = _action(name, cls, rules)
        if rule is not None:
            (alone if cls.agent is None else lines).append(f"a_{name}")
            rules[f"a_{name}"] = rule
    acting = f' | line ("\\n" line){{0,{_MOST_ACTIONS - 1}}}\nline: {" | ".join(lines)}' if lines else ""
    start = f"start: {' | '.join(alone)}{acting}\n"
    sql = _sql(rules) if "col" in rules else ""
    return start + "\n".join(f"{name}: {rule}" for name, rule in rules.items()) + sql


def _terminals(linked: Linked, types: Mapping[str, Container[str]]) -> dict[str, str]:
    """Rules for what the prompt marks; a kind without marks has none."""
    rules = {}
    marks = {kind: " | ".join(linked.of(kind)) for kind in "ctsroqkvndhwfpz"}
    spans = _spans(linked, linked.spans)
    if name := " | ".join([*linked.of("v"), *linked.of("w"), *spans]):
        rules["name"] = name
        # A file's path names no snapshot.
        rules["title"] = " | ".join([*_no_paths(linked, linked.of("v")), *linked.of("w"), *spans])
    rules["num"] = marks["n"]
    rules["date"] = marks["d"]
    rules["time"] = marks["h"]
    for rule, kind in (("table", "t"), ("source", "s"), ("resource", "r"), ("query", "q"), ("zone", "z")):
        rules[rule] = marks[kind]
    new = ["name"] if name else []
    for rule, kind in (("file", "f"), ("snapshot", "p")):
        rules[rule] = " | ".join([*linked.of(kind), *new])
    rules["string"] = marks["v"]
    paths = [slot for slot in linked.of("v") if _PATH.search(linked.slots[slot])]
    rules["path"] = " | ".join([*linked.of("f"), *paths])
    rules["store"] = " | ".join([*linked.of("o"), *new])
    rules["task"] = " | ".join([*linked.of("k"), *linked.of("o"), *new])
    made = ['"@" name'] if name and marks["c"] else []
    rules["col"] = " | ".join([*linked.of("c"), *made])
    for rule, wanted in (("numeric", ("int", "float")), ("dated", ("date", "timestamp"))):
        fitting = [slot for slot in linked.of("c") if any(t in types.get(linked.slots[slot], ()) for t in wanted)]
        rules[rule] = " | ".join([*fitting, *made])
    for rule, kind in (("new_store", "store"), ("new_table", "table"), ("new_column", "column")):
        known = {"new_table": linked.of("t"), "new_column": linked.of("c")}.get(rule, [])
        rules[rule] = " | ".join([*_new_names(linked, kind), *known])
    # A table that an earlier line made, by its new name.
    rules["made_table"] = " | ".join([*linked.of("t"), *_new_names(linked, "table")]) if marks["t"] else ""
    rules["column"] = " | ".join([*linked.of("c"), *(new if marks["c"] else [])])
    # The columns of a source that tells none are no marks.
    fields = [slot for slot in (*linked.of("v"), *linked.of("w")) if not _PATH.search(linked.slots[slot])]
    rules["field"] = " | ".join([*linked.of("c"), *fields, *(spans if fields else [])])
    rules["lit"] = " | ".join(x for x in (*linked.of("n"), *linked.of("d"), *new, '"true"', '"false"') if x)
    return {rule: body for rule, body in rules.items() if body}


#: What is said of a new thing, and names none.
_OF_ANY = frozenset(["new", "fresh", "separate", "temporary", "another"])
_FORMATS = frozenset(["csv", "tsv", "json", "jsonl", "parquet", "xlsx", "xl", "excel", "txt", "gz"])
#: How many words a phrase has at most that is a name or a text; of 1,422 in training none has more than four.
_LONGEST = 5


def _spans(linked: Linked, telling: Container[str]) -> list[str]:
    """Phrases of a few words, from one to another, of which one at either end is telling."""
    words, found = list(linked.spans), []
    for at, first in enumerate(words):
        lasts = [last for last in words[at + 1 : at + _LONGEST] if first in telling or last in telling]
        if lasts:
            found.append(f"{first} ({' | '.join(lasts)})")
    return found


def _no_paths(linked: Linked, slots: Iterable[str]) -> list[str]:
    return [slot for slot in slots if not _PATH.search(linked.slots[slot])]


def _new_names(linked: Linked, kind: str) -> list[str]:
    """What a new thing may be called: a text or words of the intent, but not merely what it is, or that it is new."""
    slots = [*_no_paths(linked, linked.of("v")), *linked.of("w")]
    empty = {kind, *_OF_ANY, *(_FORMATS if kind == "table" else ())}
    telling = [slot for slot in slots if canonical(linked.slots[slot]) not in empty]
    spans = _spans(linked, set(telling))
    if kind == "column":
        # `staging.best` is a table's name.
        telling = [slot for slot in telling if not re.fullmatch(r"[A-Za-z_]\w*\.[A-Za-z_]\w*", linked.slots[slot])]
    return [*telling, *spans]


def _action(name: str, cls: type[Action], rules: dict[str, str]) -> str | None:
    """The rule of one action, or None when something that it needs isn't in the prompt."""
    inferred = _INFERRED.get(name, {"table"})
    parts = [f'"{name}:"']
    for field, info in cls.model_fields.items():
        if field in _NEVER or field in cls.exactly_one[1:]:
            continue
        value = (
            _choice(cls, rules) if cls.exactly_one and field == cls.exactly_one[0] else _argument(field, info, rules)
        )
        needed = (info.is_required() and field not in inferred) or field in cls.exactly_one
        if value is None and needed:
            return None
        if value is not None:
            parts.append(value if needed else f"({value})?")
    return " ".join(parts)


def _choice(cls: type[Action], rules: dict[str, str]) -> str | None:
    ways = [way for field in cls.exactly_one if (way := _argument(field, cls.model_fields[field], rules))]
    return f"({' | '.join(ways)})" if ways else None


def _argument(field: str, info: FieldInfo, rules: dict[str, str]) -> str | None:
    value = _value(field, kind_of(info), info.annotation, rules)
    return f'" {field}=" {value}' if value else None


_RULE_OF = {
    "table": "table", "source": "source", "resource": "resource", "query": "query", "store": "store",
    "column": "column", "new_column": "new_column", "new_table": "new_table", "new_store": "new_store", "value": "lit",
    "file": "file", "new_file": "path", "location": "name", "snapshot": "snapshot", "new_snapshot": "title",
    "scheduled": "task", "zone": "zone", "other_column": "column",
}  # fmt: skip


def _value(field: str, kind: str | None, annotation: Any, rules: dict[str, str]) -> str | None:
    if field == "measures":
        named = '(":" name)?' if "name" in rules else ""
        column = "column" if "column" in rules else '""'
        return '"[" measure ("," measure)* "]"' if _measure(rules, column, named) else None
    if kind in ("expr", "where"):
        return '"\\"" sql "\\""' if "col" in rules else None
    if kind == "when":
        return f'"\\"" {_when(rules)} "\\""'
    if field == "task":
        return "task" if "task" in rules else None
    if kind in _AMOUNTS:
        count = "(num | /[1-9]/)" if "num" in rules else "/[1-9]/"
        return f"{count} ({_words(f' {unit}' for unit in _AMOUNTS[kind])})"
    if kind == "pattern":
        return f"({_words(PATTERNS)}{' | string' if 'string' in rules else ''})"
    if field == "separator":
        return f"({_words(SEPARATORS)}{' | name' if 'name' in rules else ''})"
    if kind is not None:
        rule = {"cursor": "field", "key": "field", "other": "made_table"}.get(field, _RULE_OF.get(kind))
        if rule is None or rule not in rules:
            return None
        return f'"[" {rule} ("," {rule})* "]"' if _is_tuple(annotation) else rule
    return _plain(field, annotation, rules)


_AMOUNTS = {"span": UNITS, "size": SIZES}


def _words(words: Iterable[str]) -> str:
    return " | ".join(f'"{word}"' for word in words)


def _measure(rules: dict[str, str], column: str, named: str) -> bool:
    functions = '("sum"|"avg"|"min"|"max"|"count_distinct"|"median"|"stddev"|"count")'
    rules["measure"] = f'({functions} {column} | "count") {named}'
    return True


def _when(rules: dict[str, str]) -> str:
    rules["day"] = _words(DAYS)
    period = f'({_words(p for p in PERIODS if p not in DAYS)} | day (" and " day)*)'
    at = '(" at" time)?' if "time" in rules else ""
    every = ' | "every" num (" minutes"|" hours")' if "num" in rules else ""
    return f"({period} {at}{every})"


def _plain(field: str, annotation: Any, rules: dict[str, str]) -> str | None:
    if field in ("since", "until"):
        return "date" if "date" in rules else None
    if field == "fraction":
        return 'num "%"' if "num" in rules else None
    if field in ("min", "max"):
        return '(num | "0")' if "num" in rules else '"0"'
    if field == "version":
        return '(num | "-1")' if "num" in rules else '"-1"'
    if choices := options(annotation):
        return f"({_words(choices)})"
    base = _bare(annotation)
    if base is bool:
        return '("true" | "false")'
    return "num" if base in (int, float) and "num" in rules else None


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for a in get_args(annotation) if a is not NoneType for m in _members(a)]
    return [annotation]


def options(annotation: Any) -> tuple[str, ...]:
    """The choices of a `Literal` type, also inside `| None`; none for others."""
    return next((get_args(m) for m in _members(annotation) if get_origin(m) is Literal), ())


def _bare(annotation: Any) -> Any:
    return _members(annotation)[0]


def _is_tuple(annotation: Any) -> bool:
    return get_origin(_bare(annotation)) is tuple
