"""A written request said again: in its own lab, in its lab with other names, or in another lab altogether.

The words around the braces stay its writer's; names, values, numbers and dates change, and with them the plan. So fifty thousand
phrasings meet hundreds of thousands of schemas.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

from agentlab.actions import ACTIONS, ROLES, ColumnType, Role, kind_of
from agentlab.actions.storage import DAYS
from agentlab.lexicon import FUNCTION_WORDS
from agentlab.linking import end_of_month, parts, spoken
from agentlab.slots import COLUMN, LITERAL, staged
from agentlab.view import View
from finetune import scenes, speech, synonyms
from finetune.scenes import SHORT, SOURCES, STORES, made_up, random_value, styled
from finetune.speaking import Calls
from finetune.written import Mention, Request, WrittenLab, shown, spelt

#: What tells two columns of one sort apart.
_KINDS = [
    "list",
    "net",
    "gross",
    "old",
    "new",
    "first",
    "last",
    "base",
    "planned",
    "actual",
    "main",
    "second",
    "home",
    "final",
]
_MARKED = re.compile("\x01(?P<column>[^\x02]*)\x02|\x03(?P<literal>[^\x04]*)\x04")
#: A column that is compared with a number.
_COMPARED = re.compile("\x01([^\x02]*)\x02 *[<>]=? *\x03-?\\d")
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TASK = re.compile(r"(.*) (refresh|pull)")
_SPAN = re.compile(r"(\d+) ([a-zA-Z]+)")


class Unfit(ValueError):
    """This time it can't be said; try again."""


class Resaid:
    """One new saying of a request: `text`, `calls` (their SQL marked) and `view`."""

    def __init__(self, request: Request, calls: Calls, r: random.Random) -> None:
        self.request, self.r = request, r
        self.lab = request.lab
        self.names: dict[str, str] = {}
        self._values: dict[str, tuple[str, ...]] = {}
        self.incoming = {**self._needed_columns(calls), **self.lab.incoming}
        #: Which resource or file brings a table, and all tables with their columns, those that aren't there yet, too.
        self.origins = {staged(name, name in self.lab.files): name for name in self._possible()}
        missing = {
            t: self.incoming[o] for t, o in self.origins.items() if t not in self.lab.tables and o in self.incoming
        }
        self.schemas = {**self.lab.tables, **missing}
        self.literals: dict[str, str] = {}
        self.sayings: dict[str, str] = {}
        # In another lab a question about two that fit would become one about something that isn't there.
        asks = calls[0]["name"] in ("clarify", "refuse")
        how = r.choices(["own", "styled", "moved"], [40, 45, 15] if asks else [15, 40, 45])[0]
        if how == "styled":
            self._style()
        elif how == "moved":
            self._move()
        if how != "own" or r.random() < 0.5:
            self._new_values(calls)
        self.calls = [{"name": c["name"], "arguments": self._mapped(c["name"], c["arguments"])} for c in calls]
        varied = r.random() < synonyms.VARIED
        self.text = "".join(
            synonyms.varied(part.said, r) if varied and part.value is None else self._said(part, how)
            for part in request.parts
        )
        self.view = self._view()

    # ---- what isn't loaded

    def _possible(self) -> list[str]:
        return [*(f"{s}.{r}" for s, known in self.lab.sources.items() for r in known), *self.lab.files]

    def _needed_columns(self, calls: Calls) -> dict[str, dict[str, ColumnType]]:
        """The columns of what the plan brings in, where the lab doesn't tell them: its table's, or those that are named."""
        found: dict[str, dict[str, ColumnType]] = {}
        for call in calls:
            given = call["arguments"]
            if call["name"] not in ("pull", "sync", "load_file") or not ("path" in given or "resource" in given):
                continue
            name = given["path"] if "path" in given else f"{given.get('source')}.{given['resource']}"
            table = staged(name, "path" in given)
            schema = dict(self.lab.tables.get(given.get("into", table), self.lab.tables.get(table, {})))
            named = {match["column"]: "text" for match in _MARKED.finditer(given.get("where", "")) if match["column"]}
            named |= dict.fromkeys(_COMPARED.findall(given.get("where", "")), "float")
            named |= dict.fromkeys(given.get("key", ()), "text")
            named |= {given["cursor"]: "timestamp"} if given.get("cursor") else {}
            for column, kind in named.items():
                schema.setdefault(column, kind)  # type: ignore[arg-type]
            if schema:
                found[name] = schema
        return found

    # ---- names

    def _style(self) -> None:
        """Every column in another writing, some tables without their prefix."""
        style = self.r.choice(["snake", "snake", "snake", "camel", "pascal", "upper", "short", "title", "own", "own"])
        columns = list(dict.fromkeys(c for schema in self.schemas.values() for c in schema))
        taken = {c.lower() for c in columns}
        for name in columns:
            words = spoken(name).replace(" ", "_")
            new = name if style == "own" else styled(words, style)
            if self.r.random() < 0.1:
                new = "_".join(SHORT.get(w, w) for w in words.split("_"))
            if new != name and new.lower() not in taken - {name.lower()} and re.match(r"[A-Za-z]", new):
                self.names[name] = new
                taken.add(new.lower())
        if self.r.random() < 0.5:
            prefix = self.r.choice(["", "staging.", "core.", "raw."])
            for table in self.lab.tables.keys() - self.origins.keys():
                self.names[table] = prefix + table.rpartition(".")[2]

    def _move(self) -> None:
        """Another lab of the same shape: for each column one of the same type, other tables, sources, stores."""
        r, used = self.r, set[str]()
        needed = self._needed()
        for table, schema in self.schemas.items():
            called, pool = scenes.make_table(r)
            prefix = (
                "staging." if table.startswith("staging.") or r.random() < 0.4 else r.choice(["", "core.", "raw.", ""])
            )
            called = prefix + called.rpartition(".")[2]
            if called.lower() in used:
                called += "_2"
            used.add(called.lower())
            self.names[table] = self._brought(table, called) if table in self.origins else called
            pool = [c for c in pool if c.name.lower() not in used]
            for column, kind in schema.items():
                if column in self.names:
                    continue
                listed = self.lab.values.get(table) or self.lab.values.get(self.origins.get(table, ""), {})
                known = listed.get(column, ())
                fitting = [c for c in pool if c.type == kind and (not known or c.values)]
                if fitting:
                    chosen = r.choice(fitting)
                    pool.remove(chosen)
                else:
                    chosen = self._made(kind, used)
                while chosen.name.lower() in used:
                    chosen = self._made(kind, used)
                used.add(chosen.name.lower())
                self.names[column] = chosen.name
                if column in needed:
                    for old, new in zip(known, chosen.values, strict=False):
                        self.literals.setdefault(old, new)
                self._values[column] = chosen.values
        self._others()

    def _brought(self, table: str, called: str) -> str:
        """A new name for a table, and for the resource or file that brings it."""
        origin, bare = self.origins[table], called.rpartition(".")[2]
        if origin in self.lab.files:
            folder, slash, name = origin.rpartition("/")
            self.names[origin] = f"{folder}{slash}{bare}.{name.partition('.')[2]}"
            return staged(self.names[origin], True)
        self.names[origin.split(".", 1)[1]] = bare
        return f"staging.{bare}"

    def _made(self, kind: str, used: set[str]) -> scenes.Column:
        for _ in range(200):
            made = made_up(self.r)
            if made.type == kind and made.name.lower() not in used:
                return made
        raise Unfit("no such column")

    def _needed(self) -> set[str]:
        return {part.value for part in self.request.parts if part.value is not None}

    def _others(self) -> None:
        r, lab = self.r, self.lab
        for name, new in zip(lab.sources, r.sample(SOURCES, len(lab.sources)), strict=True):
            self.names[name] = new
            for resource in lab.sources[name]:
                self.names.setdefault(resource, self._plural(r))
        for name, new in zip(lab.stores, r.sample(STORES, len(lab.stores)), strict=True):
            self.names[name] = new
        for query in lab.queries:
            about = [t.rpartition(".")[2] for t in lab.tables] or ["sales"]
            made = f"{r.choice(scenes.QUERY_WORDS)} {spoken(self.names.get(r.choice(list(lab.tables) or ['x']), r.choice(about)).rpartition('.')[2])}"
            self.names[query] = made.replace(" ", "_") if "_" in query else made
        for task in (*lab.pipelines, *lab.schedules):
            if task not in self.names and not _TASK.fullmatch(task):
                self.names[task] = f"{r.choice(STORES)} {r.choice(['load', 'report', 'update', 'pipeline'])}"
        for file in lab.files:
            ending = file.partition(".")[2]
            if file in self.names:
                continue
            self.names[file] = scenes.file_name(r).partition(".")[0] + "." + ending
        for snapshot in lab.snapshots:
            self.names[snapshot] = scenes.snapshot_name(r)

    @staticmethod
    def _plural(r: random.Random) -> str:
        return r.choice([r.choice(list(scenes.domains())), r.choice(scenes.words()) + "s"])

    # ---- values

    def _new_values(self, calls: Calls) -> None:
        """Other numbers, in the same order, and other texts, dates and new names; the same everywhere."""
        r = self.r
        braced = {part.value: part.said for part in self.request.parts if part.value is not None}
        known = self._known()
        in_plan = self._plan_values(calls)
        numbers = sorted((v for v in braced if _NUMBER.fullmatch(v) and v in in_plan["number"]), key=float)
        if numbers and r.random() < 0.7:
            self._new_numbers(numbers, braced, in_plan["fraction"])
        dates = sorted(v for v in braced if _ISO.fullmatch(v))
        if len(dates) == 1 and (end := end_of_month(dates[0])) in str(calls) and end != dates[0]:
            # A whole month: another one, from its first to its last day.
            year, month = r.randint(2015, 2026), r.randint(1, 12)
            self.literals[dates[0]] = f"{year}-{month:02d}-01"
            self.literals[end] = end_of_month(self.literals[dates[0]])
            self.sayings[dates[0]] = f"{r.choice([speech.MONTHS[month - 1], speech.MONTHS[month - 1][:3]])} {year}"
        elif dates and r.random() < 0.7:
            made = sorted((speech.date(r) for _ in dates), key=lambda pair: pair[1])
            for old, (said, new) in zip(dates, made, strict=True):
                self.literals[old], self.sayings[old] = new, said
        values = {v for schema in self.lab.values.values() for listed in schema.values() for v in listed}
        for value, said in braced.items():
            if r.random() < 0.6 and (other := self._other_amount(value, said)):
                self.literals[value], self.sayings[value] = other
                continue
            if value in known or value in self.literals or _ISO.fullmatch(value) or _NUMBER.fullmatch(value):
                continue
            if value in in_plan["new"]:
                if r.random() < 0.6:
                    self._new_name(value, said, in_plan)
            elif (
                value in in_plan["text"] and value not in values and r.random() < 0.5 and re.fullmatch(r"[\w ]+", value)
            ):
                new = random_value(r)
                self.literals[value] = new
                self.sayings[value] = speech.quoted(r, new) if said[:1] in "'\"`" else new

    def _other_amount(self, value: str, said: str) -> tuple[str, str] | None:
        """Another length of time, size or hour for one that is said in digits: the value, and how it is said.

        And of one weekday sometimes two.
        """
        r = self.r
        day = next((d for d in DAYS if value.startswith(d) and " and " not in value and d[:-1] in said.lower()), None)
        if day and r.random() < 0.6:
            other = r.choice([d for d in DAYS if d != day])
            both = " and ".join(sorted({day, other}, key=lambda d: (DAYS.index(d) - 1) % 7))
            words = re.compile(f"{day[:-1]}s?", re.IGNORECASE)
            plural = words.search(said)[0].lower().endswith("s")  # type: ignore[index]
            spelt = both if plural else " and ".join(d[:-1] for d in both.split(" and "))
            spelt = (
                spelt if words.search(said)[0].islower() else re.sub(r"\b(?!and)[a-z]", lambda m: m[0].upper(), spelt)
            )  # type: ignore[index]
            return value.replace(day, both), words.sub(spelt, said, count=1)
        if (span := _SPAN.fullmatch(value)) and re.match(rf"{span[1]}(?!\d)", said):
            new = str(
                r.choice(
                    [
                        2,
                        3,
                        4,
                        5,
                        6,
                        7,
                        10,
                        12,
                        14,
                        15,
                        18,
                        20,
                        24,
                        25,
                        30,
                        36,
                        40,
                        45,
                        50,
                        60,
                        80,
                        90,
                        100,
                        120,
                        180,
                        250,
                        365,
                        500,
                    ]
                )
            )
            return f"{new} {span[2]}", new + said[len(span[1]) :]
        if (clock := re.search(r"\d\d:\d\d", value)) and clock[0] in said:
            new = f"{r.randint(0, 23):02d}:{r.choice(['00', '00', '15', '30', '45'])}"
            return value.replace(clock[0], new), said.replace(clock[0], new)
        return None

    def _new_numbers(self, numbers: list[str], braced: dict[str, str], fractions: set[str]) -> None:
        r, made = self.r, []
        for old in numbers:
            value, said = float(old), braced[old]
            if (
                old in fractions
                or (not re.search(r"\d", said) and value < 13)
                or re.search(r"[^\W\d]\d|\d[^\d.,\s%km]", said)
            ):
                return
            if 1950 <= value <= 2050 and value == int(value):
                new = str(r.randint(2012, 2027))
                made.append((new, new))
            elif value == int(value) and abs(value) <= 31:
                new = str(r.randint(min(2, int(value)), max(2, min(31, 3 * int(value) + 3))))
                made.append((new, new))
            elif value != int(value):
                places = len(old.partition(".")[2])
                new = f"{r.uniform(0.2, 3) * value:.{places}f}"
                made.append((format(float(new), ".15g"), format(float(new), ".15g")))
            else:
                said, new = speech.number(r)
                if "." in new or new == "0":
                    return
                made.append((new, said))
        made.sort(key=lambda pair: float(pair[0]))
        if len({new for new, _ in made}) < len(made):
            return
        for old, (new, said) in zip(numbers, made, strict=True):
            unit = re.sub(r"^[-\d.,\s]*", "", braced[old]) if re.match(r"[-\d]", braced[old]) else ""
            self.literals[old], self.sayings[old] = new, said + (unit if unit.startswith("%") else "")

    def _new_name(self, value: str, said: str, in_plan: dict[str, set[str]]) -> None:
        new_said, new = speech.new_name(self.r)
        taken = {n.lower() for n in (*self.names.values(), *self._known())}
        if new.lower() in taken or new in self.names.values():
            return
        prefix = "staging." if value.startswith("staging.") else ""
        if prefix and said.startswith("staging."):
            new_said = prefix + new if new_said == new else new_said
            if new_said != prefix + new:
                return
        self.names[value], self.sayings[value] = prefix + new, new_said

    def _known(self) -> set[str]:
        return self.lab.names | {column for schema in self.schemas.values() for column in schema}

    def _plan_values(self, calls: Calls) -> dict[str, set[str]]:
        """What the plan's arguments hold, by sort: number, fraction, text, new."""
        found: dict[str, set[str]] = {"number": set(), "fraction": set(), "text": set(), "new": set()}

        def walk(name: str, kind: str | None, value: Any) -> None:
            if isinstance(value, dict):
                walk("name", "new_column", value.get("name"))
            elif isinstance(value, list | tuple):
                for item in value:
                    walk(name, kind, item)
            elif isinstance(value, bool) or value is None:
                return
            elif isinstance(value, int | float):
                found["number"].add(format(value, ".15g"))
                if name == "fraction":
                    found["fraction"] |= {format(value, ".15g"), format(value * 100, ".15g")}
            elif kind in ("expr", "where"):
                for match in _MARKED.finditer(value):
                    if match["literal"] is not None:
                        found["number" if _NUMBER.fullmatch(match["literal"]) else "text"].add(match["literal"])
            elif kind == "value":
                found["text"].add(value)
            elif str(kind).startswith("new_") and kind != "new_file":
                found["new"].add(value)

        for call in calls:
            for name, value in call["arguments"].items():
                walk(name, kind_of(ACTIONS[call["name"]].model_fields[name]), value)
        found["new"] -= self._known()
        return found

    # ---- putting it together

    def _mapped(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        fields = ACTIONS[action].model_fields
        return {name: self._map(name, kind_of(fields[name]), value) for name, value in arguments.items()}

    def _map(self, name: str, kind: str | None, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: v if k == "function" else self._map(k, "column", v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._map(name, kind, item) for item in value]
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            text = self.literals.get(format(value, ".15g"))
            return value if text is None or name == "fraction" else (float(text) if "." in text else int(text))
        if kind in ("expr", "where"):
            return _MARKED.sub(self._map_mark, value)
        if kind in ("value", "span", "size", "when") or name in ("since", "until"):
            return self.literals.get(value, value)
        if kind is None:
            # One of a few choices, such as a function, is no name, even where a column is called so.
            return value
        if task := _TASK.fullmatch(value):
            if value in self.names:
                return self.names[value]
            whose = task[1].split(".") if task[2] == "pull" else [task[1]]
            return ".".join(self.names.get(name, name) for name in whose) + " " + task[2]
        return self.names.get(value, value)

    def _map_mark(self, match: re.Match[str]) -> str:
        if match["column"] is not None:
            return COLUMN.format(self.names.get(match["column"], match["column"]))
        return LITERAL.format(self.literals.get(match["literal"], match["literal"]))

    def _said(self, part: Mention, how: str) -> str:
        value, said, r = part.value, part.said, self.r
        if value is None:
            return said
        if value in self.sayings:
            return self.sayings[value]
        if value in self.literals:
            new = self.literals[value]
            if said.lower() == value.lower():
                return new.lower() if said.islower() and r.random() < 0.5 else new
            return speech.quoted(r, new) if said[:1] in "'\"`" else r.choice([new, new, new.lower()])
        if _TASK.fullmatch(value):
            new = self._map("task", "text", value)
            return (
                said
                if new == value
                else (new if said == value else speech.task(r, new).removeprefix("the ").removeprefix("our "))
            )
        new = self.names.get(value, value)
        if new == value or (how == "styled" and said != value and r.random() < 0.85):
            return said
        if any(value in schema for schema in self.schemas.values()):
            return self._column(value, said, new)
        if value in self.lab.tables:
            bare = new.rpartition(".")[2]
            return new if said == value else r.choice([bare, spoken(bare), spoken(bare)])
        if value in self.lab.sources:
            return (
                new
                if said == value
                else re.sub(
                    r"\b(api|crm|erp|db|hr|pos)\b", lambda m: m[0].upper() if r.random() < 0.6 else m[0], spoken(new)
                )
            )
        return new if said == value or r.random() < 0.3 else spoken(new) if "." not in new else new

    def _column(self, value: str, said: str, new: str) -> str:
        """A column as it was said: by its name, in words, or by a part of it."""
        r = self.r
        if said == value:
            return new if r.random() < 0.8 else speech.column(r, new)
        words = spoken(new).split()
        if len(words) > 1 and len(said.split()) < len(spoken(value).split()) and r.random() < 0.7:
            part = r.choice([words[0], words[-1]])
            others = [
                spoken(c).split()
                for schema in self.schemas.values()
                for c in (self.names.get(c, c) for c in schema)
                if c != new
            ]
            if len(part) > 2 and not any(part in other for other in others):
                return part
        return " ".join(words) if r.random() < 0.85 else speech.column(r, new)

    def _view(self) -> View:
        lab, names, r = self.lab, self.names, self.r
        new = WrittenLab(lab.name)
        tables = [t for t in lab.tables if t not in self._not_yet()]
        if r.random() < 0.25:
            r.shuffle(tables)
        for table in tables:
            schema = {names.get(c, c): kind for c, kind in lab.tables[table].items()}
            items = list(schema.items())
            if r.random() < 0.3:
                r.shuffle(items)
            new.tables[names.get(table, table)] = dict(items)
            new.values[names.get(table, table)] = {
                names.get(c, c): self._values.get(c) or tuple(self.literals.get(v, v) for v in vs)
                for c, vs in lab.values[table].items()
            }
        new.sources = {names.get(s, s): tuple(names.get(x, x) for x in known) for s, known in lab.sources.items()}
        new.stores = [names.get(s, s) for s in lab.stores]
        new.queries = [names.get(q, q) for q in lab.queries]
        new.pipelines = [names.get(p, p) for p in lab.pipelines]
        new.schedules = [self._map("task", "text", s) for s in lab.schedules]
        new.files = [names.get(f, f) for f in lab.files]
        new.snapshots = {names.get(s, s): names.get(t, t) for s, t in lab.snapshots.items()}
        for origin, known in self.incoming.items():
            if r.random() < 0.93:
                new.incoming[self._map_origin(origin)] = {names.get(c, c): kind for c, kind in known.items()}
                new.values[self._map_origin(origin)] = {
                    names.get(c, c): self._values.get(c) or tuple(self.literals.get(v, v) for v in vs)
                    for c, vs in lab.values.get(origin, {}).items()
                }
        self._beside(new)
        return new.view()

    def _map_origin(self, origin: str) -> str:
        if origin in self.lab.files:
            return self.names.get(origin, origin)
        source, resource = origin.split(".", 1)
        return f"{self.names.get(source, source)}.{self.names.get(resource, resource)}"

    def _not_yet(self) -> set[str]:
        """Tables that the plan makes before it uses them, and that needn't be there; sometimes they aren't."""
        if self.r.random() < 0.35:
            return set()
        used, made = set[str](), set[str]()
        for call in self.request.calls:
            given = call["arguments"]
            if call["name"] in ("pull", "sync", "load_file") and not given.get("mode"):
                name = given.get("path") or f"{given.get('source')}.{given.get('resource')}"
                into = given.get("into", staged(name, "path" in given))
                made |= {into} - used if name in self.incoming else set()
            used |= {str(value) for name, value in given.items() if name in ("table", "other", "reference")}
        return made

    def without(self) -> View | None:
        """The view without a column that the text names outright, so that the request can't be met; None if it names none.

        Not when the column's words are those of another one: that may be the one that is meant.
        """
        columns = {c for schema in self.lab.tables.values() for c in schema}
        named = [p.value for p in self.request.parts if p.value in columns and parts(p.said) == parts(p.value)]
        if not named or any(call["name"] in ("clarify", "refuse", "analyze") for call in self.calls):
            return None
        gone = self.names.get(chosen := self.r.choice(named), chosen)
        left = {t: {c: k for c, k in schema.items() if c != gone} for t, schema in self.view.tables.items()}
        others = {word for schema in left.values() for c in schema for word in parts(c)}
        if others & set(parts(gone)) or not all(left.values()):
            return None
        values = {t: {c: v for c, v in listed.items() if c != gone} for t, listed in self.view.values.items()}
        return replace(self.view, tables=left, values=values)

    def doubled(self) -> View | None:
        """The view with a second column that a word of the text may mean as well as the one that is meant."""
        if any(call["name"] in ("clarify", "refuse", "analyze") for call in self.calls):
            return None
        for table, schema in self.view.tables.items():
            for part in self.request.parts:
                name = self.names.get(part.value or "", part.value or "")
                said = [word for word in re.findall(r"[a-z]+", part.said.lower()) if word not in FUNCTION_WORDS]
                words = spoken(name).split()
                if name not in schema or len(said) != 1 or len(words) < 2 or said[0] not in words or name in self.text:
                    continue
                free = [w for w in _KINDS if w not in {x for c in schema for x in parts(c)}]
                twin = "_".join([self.r.choice(free), said[0]])
                if re.search("[a-z][A-Z]|^[A-Z][a-z]", name):
                    twin = styled(twin, "pascal" if name[0].isupper() else "camel")
                if re.search(rf"\b{said[0]}\b", self.text.lower()) and twin.lower() not in {c.lower() for c in schema}:
                    return replace(self.view, tables={**self.view.tables, table: {**schema, twin: schema[name]}})
        return None

    def _beside(self, lab: WrittenLab) -> None:
        """What else there may be in such a lab, and isn't meant."""
        r = self.r
        if r.random() < 0.15:
            name, columns = scenes.make_table(r)
            if name.lower() not in {t.lower() for t in lab.tables}:
                lab.tables[name] = {c.name: c.type for c in columns}
                lab.values[name] = {c.name: c.values for c in columns if c.values}
        if r.random() < 0.2:
            lab.stores += [s for s in r.sample(STORES, 1) if s not in lab.stores] if lab.stores else []
        if r.random() < 0.15 and not lab.queries:
            lab.queries.append(f"{r.choice(scenes.QUERY_WORDS)} {r.choice(scenes.words())}")
        if r.random() < 0.12 and not lab.sources:
            lab.sources[r.choice(SOURCES)] = (self._plural(r),)
        if r.random() < 0.05 and not lab.files:
            lab.files.append(scenes.file_name(r))
        for name in (*(f"{s}.{x}" for s, known in lab.sources.items() for x in known), *lab.files):
            if name not in lab.incoming and r.random() < 0.6:
                lab.incoming[name] = {c.name: c.type for c in scenes.make_table(r)[1]}


def resaid(request: Request, r: random.Random) -> tuple[str, str]:
    """Prompt and answer of one new saying. Unfit, PlanError or Unsayable when it comes to nothing."""
    made = Resaid(request, spelt(request), r)
    view, calls = made.view, made.calls
    if r.random() < 0.06 and (other := made.without() if r.random() < 0.6 else made.doubled()):
        view, calls = other, [{"name": "clarify", "arguments": {"about": "column"}}]
    roles = {ACTIONS[call["name"]].agent for call in made.calls} - {None}
    role: Role | None = next(iter(roles)) if len(roles) == 1 and r.random() < 0.45 else None
    if len(roles) == 1 and r.random() < 0.025:
        role = r.choice([other for other in ROLES if other not in roles])
        calls = [{"name": "refuse", "arguments": {"because": "authority"}}]
    return shown(replace(request, parts=(Mention(written(made.text, r)),)), calls, view, role)


def written(text: str, r: random.Random) -> str:
    """The last touches of a hand: an aside, case, a full stop, a slip of a finger, an article left out."""
    if r.random() < synonyms.ASIDE:
        text = synonyms.with_aside(text, r)
    if r.random() < 0.05:
        text = speech.slip(text, r)
    if r.random() < 0.06:
        text = re.sub(r"\b(the|a|an) (?=[a-z])", lambda m: "" if r.random() < 0.5 else m[0], text)
    p = r.random()
    if p < 0.25:
        text = text[:1].upper() + text[1:]
    elif p < 0.35 and not re.match(r"[A-Z][A-Z_]", text):
        text = text[:1].lower() + text[1:]
    if r.random() < 0.15 and text[-1:] not in "?!.":
        text += "."
    elif r.random() < 0.15:
        text = text.removesuffix(".")
    return text
