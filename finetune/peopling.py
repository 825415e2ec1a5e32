"""A written lab as the state of a real one: tables with made-up rows, served sources, files, stores, queries, schedules.

Rows are the same every time for the same lab. They hold what its requests speak of: the texts, numbers and dates that their
conditions compare with, the columns that their pulls and keys name. Nothing here runs a plan.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import md5
from typing import Any

import sqlglot
from sqlglot import exp

from agentlab.actions import ColumnType, cron_of
from agentlab.engine import SQL_TYPES
from agentlab.evaluation.form import State
from agentlab.linking import parts
from finetune.written import Request, WrittenLab

ROWS = 30
#: Of a source's list: few enough that a pull at a low pace is over soon.
LISTED = 24
_DAYS = 3 * 365

Schema = dict[str, ColumnType]
Row = dict[str, Any]
#: What the requests compare a column with, by the column's name in small letters.
Hints = dict[str, list[Any]]


def peopled(lab: WrittenLab, requests: Sequence[Request]) -> State:
    """The state for `agentlab.evaluation.state.prepared`. ValueError where a name can't be one."""
    maker = _Maker(lab, requests)
    tables = {name: maker.rows(name, schema) for name, schema in lab.tables.items()}
    back = {
        c["arguments"].get("table"): c["arguments"]["version"]
        for r in requests
        for c in r.calls
        if "version" in c["arguments"]
    }
    several = {t: n for t, n in back.items() if t in tables}
    form: dict[str, Any] = {
        "tables": {name: {"sql": _sql(rows, lab.tables[name])} for name, rows in tables.items() if name not in several},
        "versions": {name: _versions(tables[name], lab.tables[name], n) for name, n in several.items()},
        "sources": {source: _source(source, resources, maker) for source, resources in lab.sources.items()},
        "files": {file: {"csv": _csv(*maker.file(file))} for file in lab.files},
        "stores": {store: {} for store in lab.stores},
        "pipelines": {name: {"does": f"analyze {next(iter(tables), 'it')}"} for name in lab.pipelines},
        "schedules": {task: {"task": task, "cron": cron_of("nightly")} for task in lab.schedules},
        "snapshots": {
            name: {"table": table, "sql": _sql(tables[table][:20], lab.tables[table])}
            for name, table in lab.snapshots.items()
            if table in tables
        },
        "workload": [{"name": query, "sql": _query(query, lab)} for query in lab.queries] if tables else [],
    }
    return State.model_validate(form)


def _versions(rows: list[Row], schema: Schema, asked: int) -> list[dict[str, Any]]:
    """Versions enough to go back to the one that is asked for; the last has all rows."""
    many = max(2, asked, 1 - asked)
    cut = [rows[:20], *([rows[: 20 + n] for n in range(1, many - 1)]), rows]
    return [{"version": n, "sql": _sql(some, schema)} for n, some in enumerate(cut, 1)]


def _query(name: str, lab: WrittenLab) -> str:
    """A SELECT over the table that the query's name speaks of, else over the first one."""
    words = set(parts(name))
    table = max(lab.tables, key=lambda t: len(words & set(parts(t))))
    column = next(
        (c for c, kind in lab.tables[table].items() if kind in ("text", "date", "bool")), next(iter(lab.tables[table]))
    )
    where = ".".join(f'"{part}"' for part in table.split("."))
    return f"SELECT {_quoted(column)}, count(*) AS many FROM {where} GROUP BY {_quoted(column)}"


def _source(name: str, resources: Iterable[str], maker: _Maker) -> dict[str, Any]:
    """Every third source is a database, where each list has one column of time, by which databases are read."""
    made = {resource: maker.resource(name, resource) for resource in resources}
    one_time = all(sum(kind in ("date", "timestamp") for kind in schema.values()) == 1 for schema, _ in made.values())
    if one_time and md5(name.encode(), usedforsecurity=False).digest()[0] % 3 == 0:
        return {"kind": "sql", "tables": {r: {"sql": _sql(rows, schema)} for r, (schema, rows) in made.items()}}
    return {
        "kind": "rest",
        "resources": {r: {"csv": _csv(schema, rows), "columns": schema} for r, (schema, rows) in made.items()},
    }


class _Maker:
    """Rows for one lab."""

    def __init__(self, lab: WrittenLab, requests: Sequence[Request]) -> None:
        self.lab = lab
        self.calls = [call for request in requests for call in request.calls]
        self.hints = _hints(self.calls)
        self.later = [names for request in requests for names in _later(request.calls)]
        self.r = random.Random(lab.name)
        schemas = (*lab.incoming.values(), *lab.tables.values())
        self.types = {c.lower(): kind for schema in schemas for c, kind in schema.items()}
        self.values = {c.lower(): v for listed in lab.values.values() for c, v in listed.items()}
        self.shared: dict[str, list[Any]] = {}
        named = [c.lower() for schema in lab.tables.values() for c in schema]
        for column in sorted({c for c in named if named.count(c) > 1}):
            self.shared[column] = [self._value(column, self.types[column], n) for n in range(20)]

    def rows(self, table: str, schema: Schema, many: int = ROWS) -> list[Row]:
        """Some values are missing, some rows are there twice."""
        made: list[Row] = []
        for n in range(many):
            if n % 10 == 7:
                made.append(dict(made[self.r.randrange(n)]))
                continue
            made.append(
                {column: self._cell(column, kind, n, first=not at) for at, (column, kind) in enumerate(schema.items())}
            )
        return made

    def _cell(self, column: str, kind: ColumnType, n: int, first: bool) -> Any:
        if self.r.random() < (0.02 if first else 0.08):
            return None
        if shared := self.shared.get(column.lower()):
            return shared[n % len(shared)] if first else self.r.choice(shared)
        return self._value(column, kind, n)

    # ---- lists of sources, and files

    def resource(self, source: str, resource: str) -> tuple[Schema, list[Row]]:
        """Its columns: those of the table that it fills, and all that pulls and syncs of it name."""
        calls = [
            c["arguments"]
            for c in self.calls
            if c["name"] in ("pull", "sync") and c["arguments"].get("resource", resource) == resource
        ]
        into = [str(call["into"]) for call in calls if call.get("into")]
        if known := self.lab.incoming.get(f"{source}.{resource}"):
            return known, self.rows(resource, known, LISTED)
        schema = self._like([*into, resource])
        schema = {"id": "int", **schema} if "id" not in {c.lower() for c in schema} else schema
        asked = [c for call in calls for c in (*call.get("key", ()), *_columns(call.get("where")))]
        for column in asked:
            self._add(schema, column)
        for fetched, column, kind in self.later:
            if fetched == resource and column.lower() not in self.types:
                self._add(schema, column, kind)
        for column in (call["cursor"] for call in calls if call.get("cursor")):
            self._add(
                schema, column, "timestamp" if re.search(r"at|date|time|on$|mod|when|chg|ts", column.lower()) else None
            )
        if not any(kind in ("date", "timestamp") for kind in schema.values()):
            schema["updated_at"] = "timestamp"
        return schema, self.rows(resource, schema, LISTED)

    def file(self, path: str) -> tuple[Schema, list[Row]]:
        """A file's columns: those of the table that it is loaded into, and its key."""
        calls = [c["arguments"] for c in self.calls if c["name"] == "load_file" and c["arguments"].get("path") == path]
        name = path.rpartition("/")[2].partition(".")[0]
        if known := self.lab.incoming.get(path):
            return known, self.rows(name, known, 20)
        schema = self._like([*(str(call["into"]) for call in calls if call.get("into")), name])
        schema = schema or {"id": "int", "name": "text", "amount": "float", "day": "date"}
        for column in (c for call in calls for c in call.get("key", ())):
            self._add(schema, column)
        for fetched, column, kind in self.later:
            if fetched == path and column.lower() not in self.types:
                self._add(schema, column, kind)
        return schema, self.rows(name, schema, 20)

    def _like(self, names: Iterable[str]) -> Schema:
        last = {table.rpartition(".")[2].lower(): schema for table, schema in self.lab.tables.items()}
        return next((dict(last[k]) for name in names if (k := name.rpartition(".")[2].lower()) in last), {})

    def _add(self, schema: Schema, column: str, kind: ColumnType | None = None) -> None:
        if column.lower() not in {c.lower() for c in schema}:
            schema[column] = self.types.get(column.lower()) or kind or _kind(self.hints.get(column.lower(), ()))

    # ---- values

    def _value(self, column: str, kind: ColumnType, n: int) -> Any:
        name, hints = column.lower(), self.hints.get(column.lower(), [])
        made = {
            "int": self._int,
            "float": self._float,
            "text": self._text,
            "date": self._date,
            "timestamp": self._moment,
        }
        if kind == "bool":
            return self.r.random() < 0.5
        return '{"a": 1}' if kind == "json" else made[kind](name, hints, n)

    def _int(self, name: str, hints: list[Any], n: int) -> int:
        near = [h for h in hints if isinstance(h, int | float) and not isinstance(h, bool)]
        if near and self.r.random() < 0.7:
            return round(self.r.choice([1, 1, self.r.uniform(0, 2.2)]) * self.r.choice(near))
        if re.search(r"id$|_id|no$|nr$|number|key", name):
            return n + 1
        return self.r.randint(date.today().year - 3, date.today().year) if "year" in name else self.r.randint(0, 200)

    def _float(self, name: str, hints: list[Any], n: int) -> float:
        near = [h for h in hints if isinstance(h, int | float) and not isinstance(h, bool)]
        if near and self.r.random() < 0.7:
            return float(round(self.r.choice([1, self.r.uniform(0, 2.2)]) * self.r.choice(near), 2))
        if re.search(r"rate|pct|share|ratio|percent", name):
            return round(self.r.random(), 3)
        return round(self.r.choice([1, 1, 1, 1, -1]) * self.r.uniform(0, 2000), 2)

    def _text(self, name: str, hints: list[Any], n: int) -> str:
        known = [*self.values.get(name, ()), *(h for h in hints if isinstance(h, str) and h.strip())]
        if (cast := next((h for h in hints if isinstance(h, _Cast)), None)) and self.r.random() < 0.85:
            return str(self._value("", cast.to, n))
        if known:
            value = self.r.choice(known)
            return value if self.r.random() < 0.9 else self.r.choice([f"  {value} ", value.upper(), value.lower()])
        cut = next((h.separator for h in hints if isinstance(h, _Cut)), None)
        if cut is not None:
            return cut.join(self.r.sample(["alder", "Birch", "cedar", "Elm 4", "fir"], self.r.choice([1, 2, 2, 2, 3])))
        if "mail" in name:
            return self.r.choice([f"user{n}@example.com", f" User{n}@Example.com", f"user{n}.example.com"])
        if re.search(r"phone|tel|mobile", name):
            return f"+44 20 7946 {self.r.randint(0, 9999):04d}"
        if re.search(r"id$|_id|no$|nr$|number|code|key|ref|sku", name):
            return f"{(name[:2] or 'x').upper()}-{n + 1:04d}"
        first, last = (
            self.r.choice(["Ada", "Bo", "Chen", "Dora", "Emil"]),
            self.r.choice(["Ames", "Blum", "Cruz", "Diaz"]),
        )
        return f"{first} {last}"

    def _date(self, name: str, hints: list[Any], n: int) -> date:
        near = [h for h in hints if isinstance(h, date)]
        if near and self.r.random() < 0.6:
            return self.r.choice(near) + timedelta(days=self.r.choice([0, self.r.randint(-40, 40)]))
        return date.today() - timedelta(days=self.r.randrange(_DAYS))

    def _moment(self, name: str, hints: list[Any], n: int) -> datetime:
        day = self._date(name, hints, n)
        return datetime(day.year, day.month, day.day, self.r.randrange(24), self.r.randrange(60), self.r.randrange(60))


class _Cast:
    """The type that a request casts a text column to."""

    def __init__(self, to: ColumnType) -> None:
        self.to = to


class _Cut:
    """The separator at which a request splits a text column."""

    def __init__(self, separator: str) -> None:
        self.separator = separator


# ---------------------------------------------------------------- what requests compare with


def _later(calls: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str, ColumnType | None]]:
    """The columns that calls after a fetch speak of, each with what was fetched and perhaps its type."""
    fetched = ""
    for call in calls:
        arguments = call["arguments"]
        if call["name"] in ("pull", "sync", "load_file"):
            fetched = str(arguments.get("resource") or arguments.get("path") or "")
            continue
        told = [arguments.get(name) for name in ("column", "columns", "by", "on", "index", "order", "values", "than")]
        told += [m.get("column") for m in arguments.get("measures", ())] + [
            _columns(arguments.get(sql)) for sql in ("where", "expr")
        ]
        for names in filter(None, told if fetched else ()):
            yield from (
                (fetched, str(name), _KINDS.get(call["name"]))
                for name in ([names] if isinstance(names, str) else names)
            )


#: What a column must hold for these to be done to it.
_KINDS: dict[str, ColumnType] = {"normalize_text": "text", "split": "text", "retain": "date", "aggregate": "float"}


def _hints(calls: Iterable[Mapping[str, Any]]) -> Hints:
    found: Hints = {}
    for call in calls:
        arguments = call["arguments"]
        for column, value in _compared(arguments.get("where"), arguments.get("expr")):
            found.setdefault(column.lower(), []).append(value)
        columns = arguments.get("columns") or ()
        column = str(
            arguments.get("column") or (columns[0] if isinstance(columns, list) and columns else columns or "")
        ).lower()
        given = [
            arguments.get("old"),
            arguments.get("min"),
            arguments.get("max"),
            *(arguments.get("values") or () if call["name"] == "check" else ()),
        ]
        found.setdefault(column, []).extend(_read(v) for v in given if v is not None)
        if call["name"] == "cast":
            found[column].append(_Cast(arguments["type"]))
        if call["name"] == "split":
            found[column].append(_Cut(arguments["separator"]))
    return found


def _compared(*texts: str | None) -> Iterable[tuple[str, Any]]:
    for tree in filter(None, map(_tree, texts)):
        for node in tree.find_all(exp.Predicate, exp.StartsWith, exp.EndsWith, exp.Contains, exp.Anonymous):
            if isinstance(node, exp.Connector):
                continue
            literals = [_read(x.this.strip("%") if x.is_string else float(x.this)) for x in node.find_all(exp.Literal)]
            literals += [True for _ in node.find_all(exp.Boolean)]
            yield from ((c.name, value) for c in node.find_all(exp.Column) for value in literals)


def _tree(text: str | None) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, dialect="duckdb") if text else None
    except sqlglot.ParseError:
        return None


def _columns(where: str | None) -> list[str]:
    tree = _tree(where)
    return [c.name for c in tree.find_all(exp.Column)] if tree else []


def _read(value: Any) -> Any:
    """Dates as dates, what else is text stays text."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d.*", value):
        try:
            return date.fromisoformat(value[:10])
        except ValueError:
            return value
    return value


def _kind(hints: Sequence[Any]) -> ColumnType:
    """The type of a column of which only is known what it is compared with."""
    first = next((h for h in hints if not isinstance(h, _Cast | _Cut)), 0)
    if isinstance(first, bool):
        return "bool"
    if isinstance(first, date):
        return "date"
    if isinstance(first, str):
        return "text"
    return "int" if all(float(h).is_integer() for h in hints if isinstance(h, int | float)) else "float"


# ---------------------------------------------------------------- as text


def _sql(rows: Sequence[Row], schema: Schema) -> str:
    """Rows as a query that gives them, in this order."""
    chosen = ", ".join(
        f"CAST(c{n} AS {SQL_TYPES[kind]}) AS {_quoted(column)}" for n, (column, kind) in enumerate(schema.items())
    )
    values = ", ".join("(" + ", ".join(_literal(row[column]) for column in schema) + ")" for row in rows)
    return f"SELECT {chosen} FROM (VALUES {values}) made({', '.join(f'c{n}' for n in range(len(schema)))})"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _csv(schema: Schema, rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(schema), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
