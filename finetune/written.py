"""Requests written one by one, with their labs and plans: `data/intents/written/<writer>.txt`, read and checked.

    python -m finetune.written check data/intents/written/nora.txt

A file holds labs (`== name`, then what there is: tables, sources, stores, ...) and requests: `- ` and the text, with whatever
the plan names in braces (`{unit_price|what one costs}`), then the plan, a call a line. `data/intents/README.md` has the form.
"""

from __future__ import annotations

import ast
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from agentlab.actions import ACTIONS, ColumnType, Restore, Role, kind_of
from agentlab.actions.storage import PERIODS
from agentlab.completion import complete
from agentlab.entries import Entries, Entry, EntryKind, TableDoc
from agentlab.errors import PlanError
from agentlab.linking import Linked, identifier, parts
from agentlab.plan import Plan
from agentlab.rules import check
from agentlab.slot_grammar import options
from agentlab.slots import decode, encode, prompt_text, sighted
from agentlab.view import View
from finetune.marking import Unsayable, marked

FOLDER = Path(__file__).parent.parent / "data" / "intents" / "written"
TYPES: tuple[str, ...] = get_args(ColumnType)
_BRACE = re.compile(r"\{([^{}|]*)(?:\|([^{}]*))?\}")
_COLUMN = re.compile(r'"?(?P<name>.+?)"?\s+(?P<type>' + "|".join(TYPES) + r")\s*(?:\[(?P<values>[^\]]*)\])?")

_AT = "2026-01-01T00:00:00Z"
#: What is chosen from a few: `iqr`, `csv`.
_OPTIONS = {word for cls in ACTIONS.values() for info in cls.model_fields.values() for word in options(info.annotation)}
#: Tasks, moments, lengths of time and sizes: they have a form of their own.
_MOMENT = re.compile(rf".* (refresh|pull)$|({'|'.join(PERIODS)}|every \d+)\b|\d+ [A-Za-z]+$")
Calls = list[dict[str, Any]]


class Unfit(ValueError):
    """What is wrong with a line of a writer."""


@dataclass
class WrittenLab:
    """What a lab has, as its header says. `values` are the example texts of columns, of what isn't loaded, too."""

    name: str
    tables: dict[str, dict[str, ColumnType]] = field(default_factory=dict)
    values: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stores: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    pipelines: list[str] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    #: The columns of what isn't loaded: of `source.resource`, or of a file.
    incoming: dict[str, dict[str, ColumnType]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Every column of its tables, and of what isn't loaded, once."""
        schemas = (*self.tables.values(), *self.incoming.values())
        return list(dict.fromkeys(column for schema in schemas for column in schema))

    @property
    def names(self) -> set[str]:
        """Every name that there is."""
        return {
            *(*self.tables, *self.columns, *self.sources, *self.stores, *self.queries, *self.pipelines),
            *(*self.schedules, *self.files, *self.snapshots),
            *(resource for known in self.sources.values() for resource in known),
        }

    def view(self) -> View:
        """The lab as a planner sees it."""
        pulls = [f"{source}.{resource} pull" for source, known in self.sources.items() for resource in known]
        refreshes = [f"{name} refresh" for name in (*self.stores, *self.tables)]
        return View(
            tables=self.tables,
            sources=self.sources,
            stores=tuple(self.stores),
            queries=tuple(self.queries),
            tasks=tuple(dict.fromkeys([*self.pipelines, *self.schedules, *refreshes, *pulls])),
            scheduled=tuple(self.schedules),
            values=self.values,
            files=tuple(self.files),
            snapshots=self.snapshots,
            incoming=self.incoming,
        )


@dataclass(frozen=True)
class Mention:
    """A part of a request's text: plain words (`value` is None), or how something of the plan is said."""

    said: str
    value: str | None = None


@dataclass
class Request:
    """One request: its writer, its lab, its text in parts, its plan as tool calls."""

    writer: str
    line: int
    lab: WrittenLab
    parts: tuple[Mention, ...]
    calls: Calls

    @property
    def text(self) -> str:
        """As its writer wrote it, without braces."""
        return "".join(part.said for part in self.parts)

    @property
    def said(self) -> set[str]:
        """Everything of the plan that the text says."""
        return {part.value for part in self.parts if part.value is not None}


# ---------------------------------------------------------------- reading


def load(path: Path, faults: list[str] | None = None, as_said: bool = True) -> list[Request]:
    """The requests of a file; what can't be read is told in `faults`, or raised when there is no such list.

    `as_said`: new names and values become what the text has for them.
    """
    found: list[Request] = []
    lab = WrittenLab("")
    at, text, lines = 0, "", list[str]()

    def finish() -> None:
        nonlocal text
        if not text:
            return
        try:
            if not lines:
                raise Unfit("has no plan")
            request = Request(path.stem, at, lab, _parts(text), [_call(line) for line in lines])
            found.append(_named_as_said(request) if as_said else request)
        except Unfit as fault:
            if faults is None:
                raise Unfit(f"{path.name}:{at}: {fault}") from None
            faults.append(f"{path.name}:{at}: {fault}")
        text = ""

    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.rstrip()
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(("- ", "== ")) or (line[0] != " " and text):
            finish()
        try:
            if line.startswith("== "):
                lab = WrittenLab(f"{path.stem}: {line[3:]}")
            elif line.startswith("- "):
                at, text, lines = number, line[2:].strip(), []
            elif text:
                lines.append(line.strip())
            else:
                _header(lab, line.strip())
        except Unfit as fault:
            if faults is None:
                raise Unfit(f"{path.name}:{number}: {fault}") from None
            faults.append(f"{path.name}:{number}: {fault}")
    finish()
    return found


def _header(lab: WrittenLab, line: str) -> None:
    kind, _, rest = line.partition(" ")
    rest = rest.strip()
    if kind == "table":
        name, _, columns = rest.partition(":")
        lab.tables[name.strip()], lab.values[name.strip()] = _columns(columns)
    elif kind == "source":
        name, _, resources = rest.partition(":")
        listed = [_bringing(text) for text in re.split(r",(?![^(]*\))", resources) if text.strip()]
        lab.sources[name.strip()] = tuple(resource for resource, _, _ in listed)
        lab.incoming |= {f"{name.strip()}.{resource}": schema for resource, schema, _ in listed if schema}
        lab.values |= {f"{name.strip()}.{resource}": values for resource, _, values in listed if values}
    elif kind == "file":
        path, schema, values = _bringing(rest)
        lab.files.append(path)
        lab.incoming |= {path: schema} if schema else {}
        lab.values |= {path: values} if values else {}
    elif kind == "snapshot":
        name, _, table = rest.partition(" of ")
        lab.snapshots[name.strip()] = table.strip()
    elif kind in ("store", "query", "pipeline", "schedule"):
        known = {"store": lab.stores, "query": lab.queries, "pipeline": lab.pipelines, "schedule": lab.schedules}
        known[kind].append(rest)
    else:
        raise Unfit(f"{line!r} is neither a part of a lab nor a request")


def _bringing(text: str) -> tuple[str, dict[str, ColumnType], dict[str, tuple[str, ...]]]:
    """What isn't loaded: a resource or a file, its columns in brackets, if they are told, and example texts."""
    name, _, columns = text.strip().partition("(")
    if columns and not columns.endswith(")"):
        raise Unfit(f"{text.strip()!r} has a bracket that isn't closed")
    return name.strip(), *_columns(columns[:-1])


def _columns(text: str) -> tuple[dict[str, ColumnType], dict[str, tuple[str, ...]]]:
    schema: dict[str, ColumnType] = {}
    values: dict[str, tuple[str, ...]] = {}
    for part in re.split(r";(?![^\[]*\])", text):
        if not part.strip():
            continue
        match = _COLUMN.fullmatch(part.strip())
        if match is None:
            raise Unfit(f"{part.strip()!r} is no column: name, then one of {', '.join(TYPES)}, then perhaps [values]")
        schema[match["name"]] = match["type"]  # type: ignore[assignment]
        if match["values"] and match["type"] == "text":
            values[match["name"]] = tuple(v.strip().strip("'\"") for v in match["values"].split(",") if v.strip())
    return schema, values


def _parts(text: str) -> tuple[Mention, ...]:
    parts, at = [], 0
    for match in _BRACE.finditer(text):
        parts.append(Mention(text[at : match.start()]))
        parts.append(Mention(match[1] if match[2] is None else match[2], match[1]))
        at = match.end()
    parts.append(Mention(text[at:]))
    if any("{" in part.said or "}" in part.said for part in parts):
        raise Unfit(f"the braces don't match: {text}")
    return tuple(part for part in parts if part.said or part.value is not None)


def _call(line: str) -> dict[str, Any]:
    try:
        node = ast.parse(line.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise Unfit(f"{line!r} is no call with named arguments")
        arguments = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError) as fault:
        raise Unfit(f"{line!r} can't be read: {fault}") from None
    if node.func.id not in ACTIONS:
        raise Unfit(f"{node.func.id!r} is no action")
    fields = ACTIONS[node.func.id].model_fields
    if strange := [name for name in arguments if name not in fields]:
        raise Unfit(f"{node.func.id} has no argument {', '.join(strange)}; it has {', '.join(fields)}")
    return {"name": node.func.id, "arguments": arguments}


def _named_as_said(request: Request) -> Request:
    """The request with its new names and values as its text has them: "average stars" makes `average_stars`.

    A plan's author may have made `AvgStars` of it; who reads the text alone can't know.
    """
    lab = request.lab
    known = lab.names | {value for schema in lab.values.values() for values in schema.values() for value in values}
    used = {str(value) for call in request.calls for value in _flat(call["arguments"])}
    named: dict[str, str] = {}
    for part in request.parts:
        value, said = part.value, part.said.strip().strip("'\"`")
        if value is None or value in known or not said or _MOMENT.match(value) or value in _OPTIONS:
            continue
        prefix, bare = ("staging.", value.removeprefix("staging.")) if value.startswith("staging.") else ("", value)
        if bare == said or re.fullmatch(r"[\W\d]*", value):
            continue
        if said.lower() == bare.lower() and not prefix:
            named[value] = value if said[:1].isupper() and said[1:] == bare[1:] else said
        elif (" " in said or "-" in said) and parts(said) == parts(bare) and value in used:
            named[value] = prefix + identifier(said)
    if not named:
        return request
    calls = [{"name": call["name"], "arguments": _renamed(call["arguments"], named)} for call in request.calls]
    spoken = tuple(Mention(m.said, named.get(m.value or "", m.value)) for m in request.parts)
    return Request(request.writer, request.line, lab, spoken, calls)


def _renamed(value: Any, named: dict[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _renamed(v, named, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(v, named, key) for v in value]
    if not isinstance(value, str):
        return value
    if key in ("where", "expr"):
        for old, new in named.items():
            word = rf'"{re.escape(old)}"|(?<![\w"\'.]){re.escape(old)}(?![\w"\'(.])'
            value = re.sub(word, lambda m, new=new: f'"{new}"', value)
            value = value.replace(f"'{old}'", f"'{new}'")
        return value
    return named.get(value, value)


# ---------------------------------------------------------------- does it fit


class Held(Entries):
    """A written lab as the rules read a catalog: what there is, without a row."""

    def __init__(self, lab: WrittenLab, root: Path) -> None:
        self.root = root
        for file in lab.files:
            if not (root / file).resolve().is_relative_to(root.resolve()):
                raise Unfit(f"the file {file!r} leads out of the lab")
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        self._entries: dict[tuple[str, str], Entry] = {}
        for table, schema in lab.tables.items():
            doc = TableDoc(path=f"tables/{table}/v1", schema_=schema, rows=1000).model_dump(mode="json", by_alias=True)
            self._add("table", table, doc)
        for source, resources in lab.sources.items():
            known = {
                r: {
                    "path": f"/{r}",
                    "key": ["id"],
                    "time_column": "updated_at",
                    "schema": lab.incoming.get(f"{source}.{r}"),
                }
                for r in resources
            }
            self._add("source", source, {"kind": "rest", "url": "https://api.example.com", "resources": known})
        for store in lab.stores:
            self._add("store", store, {"store": store, "format": "parquet", "path": f"stores/{store}"})
        for query in lab.queries:
            self._add("query", query, {"name": query, "sql": "SELECT 1"})
        for pipeline in lab.pipelines:
            self._add("pipeline", pipeline, {"name": pipeline, "steps": []})
        for schedule in lab.schedules:
            self._add("schedule", schedule, {"task": schedule, "cron": "0 2 * * *"})
        for snapshot, table in lab.snapshots.items():
            self._add("snapshot", snapshot, {"table": table, "version": 1, "rows": 1000, "run": "r1", "at": _AT})

    def _add(self, kind: EntryKind, name: str, doc: dict[str, Any]) -> None:
        self._entries[kind, name] = Entry(kind=kind, name=name, n=1, doc=doc, run="r1", at=_AT)

    def find(self, kind: EntryKind, name: str) -> Entry | None:
        return self._entries.get((kind, name))

    def entries(self, kind: EntryKind) -> list[Entry]:
        return [entry for (known, _), entry in self._entries.items() if known == kind]


def spelt(request: Request) -> Calls:
    """The plan with its SQL marked, for `encode`. Unsayable says what the model's form lacks."""
    said = request.said
    calls = []
    for call in request.calls:
        arguments = {}
        for name, given in call["arguments"].items():
            kind = kind_of(ACTIONS[call["name"]].model_fields[name])
            if given is None or (given is False and name in ("descending", "apply", "trim")):
                continue
            if name == "other_column" and [given] == list(call["arguments"].get("columns", ())):
                continue
            value = list(given) if isinstance(given, tuple) else given
            arguments[name] = marked(given, said, kind == "where") if kind in ("expr", "where") else value
        calls.append({"name": call["name"], "arguments": arguments})
    return calls


def shown(request: Request, full: Calls, view: View, role: Role | None = None) -> tuple[str, str]:
    """Prompt and answer as the model is taught them. PlanError or Unsayable when the answer can't be said.

    What the text doesn't say (a table, a store, what a schedule refreshes) is left out of the answer where `completion`
    finds it again.
    """
    linked, view = sighted(request.text, view, role)
    prompt = prompt_text(linked, view, role)
    wanted = _known(full)
    for calls in _briefer(
        full, {linked.slots[slot] for kind in "tsrok" for slot in linked.of(kind) if slot in linked.text}
    ):
        try:
            answer = encode(calls, linked)
            if _known(complete(decode(answer, linked), linked, view)) == wanted:
                return prompt, answer
        except PlanError:
            continue
    answer = encode(least := _sayable(full, linked), linked)
    if least != full and _known(complete(decode(answer, linked), linked, view)) != wanted:
        raise PlanError("what the intent doesn't say can't be found again")
    return prompt, answer


def _sayable(full: Calls, linked: Linked) -> Calls:
    """The calls without those names, of what `completion` may find again, that can't be said."""
    for at, call in enumerate(full):
        for name in _FOUND:
            if name not in call["arguments"] or call["name"] in ALWAYS_NAMED:
                continue
            with suppress(PlanError):
                encode([{"name": call["name"], "arguments": {name: call["arguments"][name]}}], linked)
                continue
            without = {key: value for key, value in call["arguments"].items() if key != name}
            full = [*full[:at], {"name": call["name"], "arguments": without}, *full[at + 1 :]]
            call = full[at]
    return full


#: What `completion` finds by itself where the text leaves it out.
_FOUND = ("table", "source", "resource", "store", "task")
#: Actions whose table or store can't be left out.
ALWAYS_NAMED = ("restore", "provision", "drop", "compare")


def _known(calls: Calls) -> list[tuple[str, tuple[Any, ...]]]:
    """What two plans must have in common to be the same but for the wording of their SQL."""
    return [
        (call["name"], tuple(str(call["arguments"].get(name)).removeprefix("staging.") for name in _FOUND))
        for call in calls
    ]


def _briefer(full: Calls, said: set[str]) -> Iterator[Calls]:
    """The calls without any table, and without what the text doesn't name; with the tables that it names; with all.

    A table that the call before speaks of isn't named again.
    """
    bare: Calls = []
    brief: Calls = []
    whole: Calls = []
    before = ""
    for call in full:
        name, given = call["name"], call["arguments"]
        place = {**given, "resource": f"{given.get('source')}.{given.get('resource')}"}
        unsaid = {k for k in _FOUND if k in given and place[k] not in said and name not in ALWAYS_NAMED}
        table = given.get("table")
        again = {"table"} if table is not None and table == before else set[str]()
        before = given.get("into") or table or before
        anyway = set[str]() if name in ALWAYS_NAMED else {"table"}
        for calls, left_out in (
            (bare, unsaid | again | anyway),
            (brief, unsaid | again),
            (whole, (unsaid - {"table"}) | again),
        ):
            calls.append({"name": name, "arguments": {k: v for k, v in given.items() if k not in left_out}})
    yield from (bare, brief, whole)


def problems(request: Request) -> Iterator[str]:
    """What a writer should mend: a plan that is none, or names what isn't there; braces that stand for nothing."""
    if any(call["name"] in ("clarify", "refuse") for call in request.calls):
        about = [call["arguments"].get("about") or call["arguments"].get("because") for call in request.calls]
        if len(about) > 1 or about[0] is None:
            yield "clarify needs about=, refuse needs because=, and nothing stands beside them"
        return
    view = request.lab.view()
    try:
        plan = Plan.from_calls(complete(_copied(request.calls), Linked(request.text), view))
    except PlanError as fault:
        yield str(fault)
        return
    if plan.abstention:
        yield f"something is missing: {plan.abstention}"
        return
    # Which versions a table has had is no part of a written lab.
    plan = plan.model_copy(update={"actions": tuple(a for a in plan.actions if not isinstance(a, Restore))})
    with tempfile.TemporaryDirectory() as root:
        for issue in check(plan, Held(request.lab, Path(root)), None) if plan.actions else ():
            # What an agent may not do is asked for, too: the rules refuse it.
            if issue.severity != "approval" and "authority" not in issue.rule:
                yield f"action {issue.action}: {issue.message}"
    known = _values(request)
    for value in sorted(request.said):
        if value not in known and not any(value in text for text in known):
            yield f"{{{value}}} stands for nothing in the plan or the lab"


def _copied(calls: Calls) -> Calls:
    """The calls as they are given to `complete`, which fills them in; a column without a name gets one."""
    return [{"name": call["name"], "arguments": dict(call["arguments"])} for call in calls]


def _values(request: Request) -> set[str]:
    known = request.lab.names
    return known | {str(value) for call in request.calls for value in _flat(call["arguments"])}


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _flat(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(inner)
    else:
        yield value
        if isinstance(value, float):
            yield f"{value:g}"
            yield f"{value * 100:g}"
        elif isinstance(value, bool):
            yield str(value).lower()


def corpus(folder: Path = FOLDER, reworded: bool = True) -> list[Request]:
    """Every request of every writer, and how others have reworded them.

    That the plans fit their labs is for `problems` to say, and for a test (`tests/test_written.py`).
    """
    found: list[Request] = []
    for path in sorted(folder.glob("*.txt")):
        found += load(path)
        if reworded:
            found += rewordings(folder.parent / "reworded" / path.name, load(path, [], as_said=False))
    return found


def rewordings(path: Path, requests: Iterable[Request]) -> Iterator[Request]:
    """Requests in other words: lines of `number| text`, where the number is the request's line in its writer's file.

    Left out are those that can't be read, and those that name what their request doesn't.
    """
    if not path.exists():
        return
    known = {request.line: request for request in requests}
    for line in path.read_text(encoding="utf-8").splitlines():
        number, _, text = line.partition("|")
        request = known.get(int(number)) if number.strip().isdigit() else None
        if request is None or not text.strip():
            continue
        with suppress(Unfit):
            again = replace(request, writer=f"{request.writer}*", parts=_parts(text.strip()))
            if again.said <= request.said and again.text != request.text:
                yield _named_as_said(again)


def main() -> None:
    """Check files, and say what their writers should mend, and how much the model's form can't say."""
    faults: list[str] = []
    total, fit, lost = 0, 0, Counter[str]()
    verbose = "-v" in sys.argv
    for name in (a for a in sys.argv[2:] if a != "-v"):
        requests = load(Path(name), faults)
        total += len(requests)
        views: dict[int, View] = {}
        for request in requests:
            told = list(problems(request))
            faults += [f"{Path(name).name}:{request.line}: {told[0]}"] if told else []
            if told:
                continue
            fit += 1
            view = views.setdefault(id(request.lab), request.lab.view())
            try:
                shown(request, spelt(request), view)
            except (PlanError, Unsayable) as fault:
                lost[type(fault).__name__] += 1
                if verbose:
                    print(f"   {Path(name).name}:{request.line}: {type(fault).__name__} {fault} | {request.text}")
    for fault in faults:
        print(fault)
    print(
        f"{total} requests, {fit} fit; of these the model's form can't say {sum(lost.values())} ({dict(lost)}; not yours to mend)"
    )


if __name__ == "__main__":
    main()
