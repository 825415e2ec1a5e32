"""Numbers, moments and strangers' text in the form that people read, the same in HTML and in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from agentlab.actions import Action
from agentlab.events import Event
from agentlab.provenance import Step

#: Control characters, and those that turn the direction of what follows or hide themselves.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
#: A cell shows so many characters at most.
LONGEST = 120

#: Who isn't a model: a plan of theirs has no confidence to show.
SURE = ("person", "policy", "schedule", "retention")

#: The figures of an event that are worth a place beside its name, in this order.
_TOLD = (
    *("action", "rows", "score", "moved", "store", "cron", "kind"),
    *("ms", "before_ms", "after_ms", "gain", "answer", "message"),
)


@dataclass(frozen=True)
class Change:
    """What an action did to a table: `rows` before and after, columns that came, went or have another name.

    `sample` are some rows of the result, as plain dicts; `sql` is what ran.
    """

    title: str
    rows: tuple[int, int]
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    renamed: Mapping[str, str] | None = None
    sample: Sequence[Mapping[str, Any]] = ()
    sql: str = ""

    @classmethod
    def of(cls, title: str, preview: Mapping[str, Any], sample: Sequence[Mapping[str, Any]] = ()) -> Change:
        """From what `compile.preview` tells of an action."""
        renamed = preview.get("renamed") or {}
        return cls(
            title,
            (preview["rows_before"], preview["rows_after"]),
            tuple(preview.get("added") or ()),
            tuple(preview.get("removed") or ()),
            dict(renamed) if renamed else None,
            sample,
            preview.get("sql", ""),
        )

    @property
    def columns(self) -> list[tuple[str, str]]:
        """What happened to the columns: (`added`, `removed` or `renamed`; the names in words)."""
        told = [("added", name) for name in self.added] + [("removed", name) for name in self.removed]
        return told + [("renamed", f"{old} → {new}") for old, new in (self.renamed or {}).items()]


def visible(value: object, longest: int = LONGEST) -> str:
    """Any value as one short line, with what can't be seen made visible.

    >>> visible("a\\x1b[31mred"), visible(None), visible(1234567.5)
    ('a␛[31mred', '—', '1,234,567.5')
    """
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.1f}"
    text = _UNSEEN.sub(_picture, str(value)).replace("\n", "⏎").replace("\t", " ")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"⟨{code:04X}⟩"


def paragraph(text: str) -> str:
    """Strangers' text of any length, its line breaks kept.

    >>> paragraph("one\\ntwo\\x07")
    'one\\ntwo␇'
    """
    return "\n".join(visible(line, 4000) for line in text.splitlines())


def seconds(milliseconds: float) -> str:
    """A span of time as people say it.

    >>> seconds(3.14), seconds(450), seconds(12_300)
    ('3.1 ms', '450 ms', '12.3 s')
    """
    if milliseconds < 100:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def size(count: float) -> str:
    """A number of bytes as people say it.

    >>> size(512), size(4_200_000)
    ('512 bytes', '4.2 MB')
    """
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count:.0f} bytes"


def share(part: float) -> str:
    """A part of one as a percentage that never rounds a fault away.

    >>> share(0.5), share(0.9996), share(1.0), share(0.0002)
    ('50%', '99.96%', '100%', '0.02%')
    """
    percent = part * 100
    shown = f"{percent:.0f}"
    if shown in ("0", "100") and percent not in (0, 100):
        shown = f"{percent:.2f}"
    return f"{shown}%"


def plural(count: int, thing: str) -> str:
    """A count with its thing.

    >>> plural(1, "row"), plural(2400, "row"), plural(2, "query")
    ('1 row', '2,400 rows', '2 queries')
    """
    things = f"{thing[:-1]}ies" if thing.endswith("y") and count != 1 else f"{thing}s"
    return f"{count:,} {thing if count == 1 else things}"


def clock(moment: str) -> str:
    """The time of day, to the second, of an ISO moment; the text itself if it is none.

    >>> clock("2026-11-22T08:30:05.123+00:00")
    '08:30:05'
    """
    try:
        return datetime.fromisoformat(moment).astimezone(UTC).strftime("%H:%M:%S")
    except ValueError:
        return visible(moment)


def arguments(action: Action) -> list[tuple[str, str]]:
    """An action's arguments as (name, value) in words."""
    return [(name, argument(value)) for name, value in action.arguments().items()]


def argument(value: Any) -> str:
    """One argument's value: lists without brackets, measures as calls.

    >>> argument(["a", "b"]), argument({"function": "sum", "column": "x"}), argument(True)
    ('a, b', 'sum(x)', 'yes')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(argument, value))
    if isinstance(value, Mapping):
        if "function" in value:
            named = f" as {value['name']}" if value.get("name") else ""
            return visible(f"{value['function']}({value.get('column') or ''}){named}")
        return ", ".join(f"{visible(k)}: {argument(v)}" for k, v in value.items())
    return visible(value, 400)


def figures(event: Event) -> str:
    """What an event's body says that is worth a line."""
    told = [(name, event.body[name]) for name in _TOLD if event.body.get(name) is not None]
    return " · ".join(_figure(name, value) for name, value in told if not isinstance(value, dict | list))


def _figure(name: str, value: Any) -> str:
    if name == "action":
        return visible(value).replace("_", " ")
    if name == "rows" and isinstance(value, int):
        return plural(value, "row")
    if name == "score" and isinstance(value, int | float):
        return f"score {value:.4f}"
    if name.endswith("ms") and isinstance(value, int | float):
        return f"{name.removesuffix('ms').rstrip('_')} {seconds(value)}".strip()
    if name == "gain" and isinstance(value, int | float):
        return f"{value:.1f} times as fast"
    return visible(value) if name in ("message", "kind") else f"{name.replace('_', ' ')} {visible(value)}"


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every column that any of the rows has, in order of appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def day(moment: str | date | datetime) -> str:
    """The day and minute of an ISO moment, in UTC.

    >>> day("2026-11-22T08:30:05.123+00:00")
    '2026-11-22 08:30 UTC'
    """
    try:
        read = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
        return read.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return visible(moment)


@dataclass(frozen=True)
class Landmark:
    """A step of lineage at which something happened to the columns; those of one version are shown together."""

    columns: tuple[str, ...]
    step: Step


def landmarks(steps: Sequence[Step]) -> list[Landmark]:
    """The steps worth showing of a column's way: those that made, changed or judged it, and where it was pulled.

    Versions that only carried a column on are left out; `agentlab lineage --json` has them all.
    """
    found: dict[tuple[str, int], Landmark] = {}
    for step in steps:
        if step.source or re.search(rf"\b{re.escape(step.column)}\b", step.action):
            before = found.get((step.table, step.version))
            found[step.table, step.version] = Landmark((*(before.columns if before else ()), step.column), step)
    return list(found.values()) or [Landmark((step.column,), step) for step in steps[:1]]
