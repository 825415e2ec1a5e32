"""Keywords as a planner: what can be written in an afternoon, verb by verb. A baseline to be beaten, never the product.

Each clause is a call: the first of `RULES` that matches and whose arguments the linker finds. No rule reads any other's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from agentlab.actions import of
from agentlab.completion import complete
from agentlab.linking import identifier, link
from agentlab.plan import Origin, Plan
from agentlab.prompts import Ask
from agentlab.slots import index_of
from agentlab.view import View
from finetune.baselines import ASK, NAME, SLOT


class Said:
    """One clause of an intent, and what the linker found in it."""

    def __init__(self, text: str, view: View) -> None:
        self.text = text
        self.linked = link(text, index_of(view))
        self.view = view

    def all(self, kind: str) -> list[str]:
        """Everything of a kind that the clause mentions, in order."""
        return [self.linked.slots[slot] for slot in self.linked.of(kind)]

    def one(self, kind: str) -> str:
        """The first of a kind; LookupError without one."""
        return self.all(kind)[0]

    def number(self) -> int | float:
        """The first number."""
        return _number(self.one("n"))

    def sql(self, slot: str) -> str:
        """A column or a number, as SQL."""
        return f'"{self.linked.slots[slot]}"' if slot[1] == "c" else self.linked.slots[slot]

    def after(self, words: str) -> str:
        """The word or quoted text after one of these words; LookupError without one."""
        found = re.search(rf"(?i)\b(?:{words})\s+(?:an?\s+|the\s+)?(?:'([^']+)'|\"([^\"]+)\"|([\w.-]*\w))", self.text)
        if not found:
            raise LookupError(words)
        return str(found[1] or found[2] or found[3])

    def pick(self, **known: str) -> str | None:
        """The first of these names whose expression occurs."""
        return next((name for name, words in known.items() if re.search(rf"(?i)\b(?:{words})", self.text)), None)

    def condition(self) -> str:
        """A comparison of the first column, as SQL; LookupError where none is said."""
        column = f'"{self.one("c")}"'
        if re.search(r"(?i)\b(?:missing|blank|empty|null|no|without)\b", self.text):
            return f"{column} IS NULL"
        signs = {
            ">=": "at least|or more|minimum",
            "<=": "at most|or less|up to",
            ">": "over|above|more|greater|bigger|after|>",
        }
        signs |= {"<": "under|below|less|smaller|fewer|before|<", "!=": "not|isn't|other than"}
        sign = next((s for s, words in signs.items() if re.search(rf"(?i)(?:\b|\s)(?:{words})", self.text)), "=")
        numeric = self.view.types().get(self.one("c"), set()) & {"int", "float"}
        if self.all("d") and not numeric:
            return f"{column} {sign} DATE '{self.one('d')}'"
        if self.all("n"):
            return f"{column} {sign} {self.one('n')}"
        value = self.one("v").replace("'", "''")
        return f"{column} {sign if sign in ('=', '!=') else '='} '{value}'"


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _kept(said: Said) -> dict[str, Any]:
    return {"where": said.condition()}


def _gone(said: Said) -> dict[str, Any]:
    return {"where": f"({said.condition()}) IS NOT TRUE"}


def _renamed(said: Said) -> dict[str, Any]:
    return {
        "column": said.one("c"),
        "to": said.all("v")[-1] if said.all("v") else identifier(said.after("to|as|into|it")),
    }


_SIGNS = {
    "times": "*",
    "multiplied by": "*",
    "x": "*",
    "*": "*",
    "plus": "+",
    "+": "+",
    "minus": "-",
    "less": "-",
    "-": "-",
}
_SIGNS |= {"divided by": "/", "over": "/", "/": "/"}
_SIGN = "|".join(re.escape(words) for words in _SIGNS)
_SUM = re.compile(rf"<[cn]\d+>(?:,?\s*(?:{_SIGN})\s*(?:the\s+)?<[cn]\d+>)+")


def _derived(said: Said) -> dict[str, Any]:
    """Columns and numbers between words for signs; a new name where the clause has one."""
    named = re.sub(r"<w\d+>", "", NAME.sub("", said.linked.text))
    found = _SUM.search(re.sub(rf"\b({_SIGN}) ~(?:<[a-z]\d+>)+", r"\1", named))
    if not found:
        raise LookupError("expression")
    signed = re.sub(rf",?\s*({_SIGN})\s*(?:the\s+)?(?=<)", lambda m: f" {_SIGNS[m[1]]} ", found[0])
    name = {"column": said.all("v")[0]} if said.all("v") else {}
    return {**name, "expr": SLOT.sub(lambda m: said.sql(m[0]), signed)}


_FUNCTIONS = {
    "avg": "average|mean|avg",
    "sum": "sum|total",
    "max": "max|highest|largest",
    "min": "min|lowest|smallest",
    "median": "median",
    "count": "count|how many|number of",
}
_TYPES = {
    "int": "int|whole",
    "float": "float|decimal|number|numeric",
    "date": "date",
    "timestamp": "timestamp|datetime",
    "bool": "bool|true",
    "text": "text|string",
}
_SPELT = {"days": "days?", "weeks": "weeks?", "months": "months?", "years": "years?", "hours": "hours?"}
_DAYS = {
    day: day.removesuffix("s")
    for day in ("mondays", "tuesdays", "wednesdays", "thursdays", "fridays", "saturdays", "sundays")
}
_PERIODS = {
    "hourly": "hourly|every hour",
    "weekdays": "weekdays?",
    "weekly": "weekly|every week|once a week",
    "monthly": "monthly|every month|once a month",
    "nightly": "nightly|every night|overnight",
    **_DAYS,
    "daily": "daily|once a day|every (?:day|morning|evening)|each day",
}


def _measured(said: Said) -> dict[str, Any]:
    """A function of one column for each value of the others, which stand after "by" or "per"."""
    function = said.pick(**_FUNCTIONS)
    if function is None:
        raise LookupError("function")
    before, _, after = re.split(r"(?i)\b(by|per|for each|for every)\b", said.text, maxsplit=1)
    groups = Said(after, said.view).all("c")
    inner = [c for c in Said(before, said.view).all("c") if c not in groups]
    measure = {"function": function} | ({"column": inner[0]} if function != "count" else {})
    return {"by": groups, "measures": [measure]}


def _when(said: Said) -> str:
    if every := re.search(r"(?i)\bevery (\w+) (minutes|hours)\b", said.text):
        return f"every {said.one('n')} {every[2]}"
    period = said.pick(**_PERIODS)
    if period is None:
        raise LookupError("when")
    return f"{period} at {said.one('h')}" if said.all("h") else period


def _span(said: Said) -> str:
    return f"{said.one('n')} {said.pick(**_SPELT) or 'days'}"


def _size(said: Said) -> str:
    found = re.search(r"(?i)(\d+(?:\.\d+)?)\s*([kmgt])i?b", said.text)
    if not found:
        raise LookupError("size")
    return f"{found[1]} {found[2].upper()}B"


def _quota(said: Said) -> dict[str, Any]:
    return {"quota": _size(said)} if re.search(r"(?i)\d\s*[kmgt]i?b", said.text) else {}


def _filled(said: Said) -> dict[str, Any]:
    method = said.pick(mean="mean|average", median="median", mode="mode|most common", previous="previous", next="next")
    if method:
        return {"column": said.one("c"), "method": method}
    return {"column": said.one("c"), "value": said.number() if said.all("n") else said.after("with|by|as|to")}


def _replaced(said: Said) -> dict[str, Any]:
    old, new = said.all("v")[:2] if len(said.all("v")) > 1 else (said.one("v"), said.after("with|by|to"))
    return {"column": said.one("c"), "old": old, "new": new}


def _split(said: Said) -> dict[str, Any]:
    marks = {",": "comma", "-": "dash|hyphen", "/": "slash", ";": "semicolon", "_": "underscore", "@": "@|at sign"}
    return {"column": said.one("c"), "into_columns": said.all("v")[:2], "separator": said.pick(**marks) or " "}


def _pulled(said: Said) -> dict[str, Any]:
    newest = said.pick(newest="newest|latest|most recent|last", oldest="oldest|first|earliest")
    resource = said.all("r")[0].split(".", 1) if said.all("r") else None
    where = dict(zip(("source", "resource"), resource, strict=True)) if resource else {"source": said.one("s")}
    since = {"since": said.one("d")} if said.all("d") else {}
    return {
        **where,
        **({"limit": int(said.one("n"))} if said.all("n") else {}),
        **({"order": newest} if newest else {}),
        **since,
    }


def _cast(said: Said) -> dict[str, Any]:
    kind = said.pick(**_TYPES)
    if kind is None:
        raise LookupError("type")
    return {"column": said.one("c"), "type": kind}


def _range(said: Said) -> dict[str, Any]:
    low, high = sorted(map(_number, said.all("n")[:2]))
    return {"rule": "in_range", "columns": said.all("c")[:1], "min": low, "max": high}


def _compared(said: Said) -> dict[str, Any]:
    first, second = said.all("c")[:2]
    turned = bool(said.pick(no="not|never|can't|cannot|mustn't|no "))
    more = bool(said.pick(more="exceed|greater|larger|higher|after"))
    operator = ("<=" if turned else ">") if more else (">=" if turned else "<")
    return {"rule": "compares", "columns": [first], "operator": operator, "than": second}


def _target(said: Said) -> dict[str, Any]:
    """A query, or a table, or the whole workload."""
    return {"query": said.one("q")} if said.all("q") else {}


def _with_table(said: Said) -> dict[str, Any]:
    return {"table": said.one("t"), "other": said.all("t")[1]}


def _task(said: Said) -> dict[str, Any]:
    return {"task": said.one("k")} if said.all("k") else {}


def _stored(said: Said) -> dict[str, Any]:
    name = said.all("v")[0] if said.all("v") else identifier(said.after("store called|store named|called|named|store"))
    form = said.pick(duckdb="duckdb", delta="delta", postgres="postgres", parquet="parquet")
    return {"store": name, **({"format": form} if form else {}), **_quota(said)}


def _published(said: Said) -> dict[str, Any]:
    return {"store": said.one("o"), **({"mode": "append"} if said.pick(append="append|add") else {})}


def _exported(said: Said) -> dict[str, Any]:
    form = said.pick(csv="csv", parquet="parquet", jsonl="json", excel="excel|xlsx")
    path = next((v for v in (*said.all("f"), *said.all("v")) if "." in v), None)
    return {"path": path} if path else {"format": form}


def _columns(**fixed: Any) -> Callable[[Said], dict[str, Any]]:
    """The clause's columns, of which there must be one, and fixed arguments."""
    return lambda said: {"columns": [said.one("c"), *said.all("c")[1:]], **fixed}


def _column(**fixed: Any) -> Callable[[Said], dict[str, Any]]:
    return lambda said: {"column": said.one("c"), **fixed}


def _nothing(said: Said) -> dict[str, Any]:
    return {}


_KEEP, _DROP, _FIND = (
    r"\b(?:keep|only|just|leave)\b",
    r"\b(?:drop|remove|delete|get rid of|throw|toss|exclude|kick)\b",
    r"\b(?:check|make sure|verify|test|is|are|does|do|confirm|any)\b",
)

#: Expression, action, and how its arguments are found. The first whose arguments can be found is taken.
RULES: tuple[tuple[str, str, Callable[[Said], dict[str, Any]]], ...] = (
    (r"\b(?:e-?mail (?:it|them|the|me|to)|send|slack|call|password|passwd|hack|predict|forecast|train a|dashboard|tweet|print)\b.*\b(?:customers?|team|boss|file|model|secrets?|everyone|me|report|next (?:year|month))\b", "refuse", lambda s: {"reason": "out of scope"}),
    (r"\b(?:delete|drop|wipe|erase)\b.*\b(?:everything|all (?:the )?(?:tables|data|stores))\b|\bignore (?:all|your|the)\b", "refuse", lambda s: {"reason": "unsafe", "because": "unsafe"}),
    (r"\b(?:rename|relabel|call)\b|\bname\b.*\bto\b", "rename", _renamed),
    (r"\bquarantine\b|\b(?:set|put|move)\b.*\baside\b|\bisolate\b", "quarantine", _kept),
    (r"\bsnapshot\b|\b(?:save|freeze)\b.*\b(?:as it is|how it looks|copy|state)\b", "snapshot", lambda s: {"name": s.all("v")[-1]} if s.all("v") else {}),
    (r"\b(?:restore|roll back|revert|go back|bring back|put .* back)\b", "restore", lambda s: {"snapshot": s.one("p")} if s.all("p") else {"version": -1}),
    (r"\b(?:unschedule|stop (?:running|refreshing)|cancel)\b|\b(?:remove|delete|drop)\b.*\bschedule\b", "unschedule", _task),
    (r"\b(?:pause|suspend)\b", "pause", _task),
    (r"\b(?:resume|unpause|restart)\b", "resume", _task),
    (r"\b(?:schedule|refresh|run|every|each|nightly|daily|hourly|weekly)\b.*", "schedule", lambda s: {**_task(s), "when": _when(s)}),
    (r"\b(?:archive|retain|retention|older than|keep .* for)\b", "retain", lambda s: {"older_than": _span(s), "then": s.pick(delete="delete|remove|drop|purge") or "archive", **({"column": s.one("c")} if s.all("c") else {})}),
    (r"\b(?:throttle|limit|no more than|slow down|at most)\b", "throttle", lambda s: {"source": s.one("s"), ("concurrency" if s.pick(c="request|connection|parallel|concurren|at once") else "rows_per_second"): int(s.number())}),
    (r"\b(?:quota|resize|grow|shrink|raise|cap)\b", "resize", lambda s: {"store": s.one("o"), "quota": _size(s)}),
    (r"\b(?:usage|how (?:full|much|big)|space)\b.*\bstore|\bstores?\b.*\b(?:usage|full|space|hold)\b", "usage", lambda s: {"store": s.one("o")} if s.all("o") else {}),
    (r"\b(?:create|make|set up|provision|new|need)\b.*\bstore\b|\bstore (?:called|named)\b", "provision", _stored),
    (r"\b(?:publish|write|push|put|save|load|append|add)\b.*\b(?:to|in|into)\b", "publish", _published),
    (r"\b(?:export|write|save|dump|download)\b.*\b(?:csv|json\w*|parquet|excel|xlsx|file)\b", "export", _exported),
    (r"\b(?:drop|delete|remove)\b.*\bstore\b", "drop", lambda s: {"store": s.one("o")}),
    (r"\b(?:drop|delete|remove)\b.*\btable\b", "drop", lambda s: {"table": s.one("t")}),
    (r"\b(?:sync|catch up|only (?:what is|what's)? ?new|incremental\w*)\b", "sync", lambda s: {k: v for k, v in _pulled(s).items() if k in ("source", "resource")}),
    (r"\b(?:what does|what's in|describe|which resources|offers?)\b", "describe_source", lambda s: {"source": s.one("s")}),
    (r"\b(?:load|read|import|ingest|pull|get|bring)\b.*\.\w+", "load_file", lambda s: {"path": s.one("f")}),
    (r"\b(?:pull|fetch|get|grab|import|load|download|ingest|bring)\b", "pull", _pulled),
    (r"\bmateriali[sz]e|\b(?:cache|precompute|keep)\b.*\b(?:result|query)\b", "materialize", lambda s: {"query": s.one("q")}),
    (r"\bindex\b", "index", _columns()),
    (r"\bpartition\b", "partition", lambda s: {"by": s.one("c")}),
    (r"\b(?:cluster|store|lay out|physically)\b.*\b(?:sorted|ordered|order)\b", "order_by", _columns()),
    (r"\bcompact\b|\bsmall files\b", "compact", _nothing),
    (r"\b(?:speed up|faster|tune|optimi[sz]e|quicker)\b", "recommend", lambda s: {**_target(s), "apply": True}),
    (r"\b(?:recommend|suggest|advise)\b.*\b(?:layout|index|quer)", "recommend", _target),
    (r"\b(?:slow|slowest|diagnose|bottleneck|where .* time)\b", "diagnose", _target),
    (r"\boutliers?\b|\b(?:weird|extreme|odd)\b.*\bvalues?\b", "find_outliers", lambda s: {"columns": s.all("c"), **({"method": m} if (m := s.pick(iqr="iqr", zscore="z-?score", mad="mad")) else {})}),
    (r"\b(?:compare|drift\w*|distribut\w*)\b", "compare", lambda s: {"table": s.one("t"), "reference": s.all("t")[1], "columns": s.all("c")}),
    (r"\b(?:suggest|propose|fix\w*)\b", "suggest_fixes", _nothing),
    (rf"{_FIND}.*\b(?:missing|blank|empty|null|filled)\b", "check", _columns(rule="not_null")),
    (rf"{_FIND}.*\b(?:unique|twice|distinct)\b", "check", _columns(rule="unique")),
    (rf"{_FIND}.*\b(?:between|range|from)\b", "check", _range),
    (rf"{_FIND}.*\brows\b", "check", lambda s: {"rule": "row_count", "min": s.number()}),
    (rf"{_FIND}.*\b(?:exceed|greater|larger|higher|before|after|below|less)\b", "check", _compared),
    (rf"{_FIND}.*\be-?mail", "check", _columns(rule="matches", pattern="email")),
    (rf"{_FIND}.*\b(?:fresh|stale|recent|old)\b", "check", lambda s: {"rule": "fresh", "columns": s.all("c"), "within": _span(s)}),
    (rf"{_FIND}.*\b(?:exists?|references?|in)\b.*", "check", lambda s: {"rule": "references", "columns": [s.one("c")], **_with_table(s)}),
    (r"\b(?:profile|analy[sz]e|quality|inspect|anything wrong|what's wrong|look at)\b", "analyze", _nothing),
    (r"\b(?:dedup\w*|duplicates?|doubles?)\b", "dedupe", lambda s: {"by": s.all("c")}),
    (r"\b(?:fill|impute|replace|set)\b.*\b(?:missing|blanks?|empty|nulls?|gaps?|holes?)\b", "fill", _filled),
    (r"\b(?:replace|change|turn|swap)\b", "replace", _replaced),
    (r"\b(?:lower|upper|title)[ -]?case\b|\b(?:lower|upper|capitali[sz]e)\b", "normalize_text", lambda s: {"column": s.one("c"), "case": s.pick(lower="lower", upper="upper", title="title|capital") or "lower", **({"trim": True} if s.pick(t="trim|strip") else {})}),
    (r"\b(?:trim|strip)\b", "normalize_text", _column(trim=True)),
    (r"\bsplit\b", "split", _split),
    (r"\b(?:join|merge|bring in|look up|enrich)\b", "join", lambda s: {**_with_table(s), "on": [s.one("c")]}),
    (r"\b(?:union|stack|append|combine|below)\b", "union", _with_table),
    (r"\bunpivot|\bmelt|\bwide to long", "unpivot", _columns()),
    (r"\b(?:pivot|one column (?:per|for each))\b", "pivot", lambda s: {"index": s.all("c")[:1], "columns": s.all("c")[1], "values": s.all("c")[2]}),
    (r"\b(?:by|per|for each|for every)\b", "aggregate", _measured),
    (r"\b(?:move|put)\b.*\b(?:first|front|start|last|end)\b", "reorder", lambda s: {"columns": [s.one("c"), *s.all("c")[1:]], "position": s.pick(first="first|front|start") or "last"}),
    (r"\b(?:cast|convert|make|turn|parse|treat|store)\b", "cast", _cast),
    (r"\b(?:add|compute|calculate|derive|create|work out|is)\b|[:=]", "derive", _derived),
    (r"\b(?:sort|order|rank|arrange)\b", "sort", lambda s: {"by": [s.one("c")], **({"descending": True} if s.pick(d="desc|highest|largest|biggest|newest|latest|most") else {})}),
    (r"\b(?:sample|random)\b", "sample", lambda s: {"fraction": s.number() / 100} if "%" in s.text else {"n": int(s.number())}),
    (rf"{_DROP}.*\b(?:where|with|without|that|whose|rows?|under|over|below|above)\b", "filter", _gone),
    (rf"{_DROP}", "drop_columns", _columns()),
    (r"\b(?:first|top)\b.*\brows?\b", "limit", lambda s: {"n": int(s.number())}),
    (rf"{_KEEP}.*\bcolumns?\b|\bselect\b", "select", _columns()),
    (rf"{_KEEP}|\bfilter\b|\brows where\b|\bonly need\b", "filter", _kept),
)  # fmt: skip

_CLAUSES = re.compile(r"(?i),? (?:and )?then\b,?|;|\. (?=[A-Z])")


class Rules:
    """About sixty regular expressions, from verbs to actions; a question where a clause matches none of them."""

    name = "rules"

    def __init__(self) -> None:
        self._rules = [(re.compile(words, re.IGNORECASE), action, fill) for words, action, fill in RULES]

    def plan(self, ask: Ask) -> Plan:
        """A call for each clause, by the first rule of the role that matches and finds its arguments."""
        allowed = of(ask.role)
        whole = link(ask.intent, index_of(ask.view))
        clauses = [Said(text.strip(), ask.view) for text in _CLAUSES.split(ask.intent) if text.strip()]
        calls = [self._call(clause, allowed) for clause in clauses]
        found = [call for call in calls if call is not None]
        origin = Origin(intent=ask.intent, model=self.name)
        if not found or any(call["name"] == "refuse" for call in found):
            return Plan.from_calls(
                [next((c for c in found if c["name"] == "refuse"), ASK)], len(found) / len(calls), origin
            )
        return Plan.from_calls(complete(found, whole, ask.view), len(found) / len(calls), origin)

    def _call(self, said: Said, allowed: Iterable[str]) -> dict[str, Any] | None:
        for words, action, fill in self._rules:
            if action in allowed and words.search(said.text):
                try:
                    return {"name": action, "arguments": fill(said)}
                except (LookupError, ValueError):
                    continue
        return None
