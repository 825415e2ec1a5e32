"""Schema linking: which names, values and literals of a lab may the words of an intent mean?

`link` marks the candidates in the text with typed placeholders, numbered in order of mention: `<c0>` a column, `<t0>`
a table, `<s0>` a source, `<r0>` a resource, `<o0>` a store, `<q0>` a query, `<k0>` a task, `<f0>` a file, `<p0>` a
snapshot; `<v0>` a quoted or identifier-like text, a path or a cell's value, `<n0>` a number, `<d0>` a date, `<h0>` a
time of day, `<z0>` a time zone; `<w0>` a plain word, so that a new name can be pointed at. It finds candidates and
decides nothing: what is asked is the model's to say.

Placeholders instead of names are what lets a model trained from scratch copy at all (see finetune/LOG.md).
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path, PurePosixPath

from agentlab.lexicon import (
    ABBREVIATIONS,
    FIGURES,
    FUNCTION_WORDS,
    HOUR_WORDS,
    MONTHS,
    NAMING_FUNCTION_WORDS,
    NAMING_WORDS,
    NO_FIGURE,
    NUMBER_WORDS,
    PARTS,
    SHORT_UNITS,
    UNITS,
)
from agentlab.view import View
from agentlab.zones import ZONES, zone_of

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
#: What is written with capitals inside, or after, and is one word: `kWh`, `pH`, VIPs.
_WORD_OF_CAPITALS = re.compile(
    r"[kKMG]Wh(?![a-z])|mAh(?![a-z])|(?<![A-Za-z])pH(?![a-z])|(?<![A-Za-z])[A-Z]{2,}s(?![A-Za-z])"
)
_MONTH = "(?:" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\.?"
#: "May", not "may": without a year only the capital tells the month from the verb.
_CAPITAL = r"(?-i:(?=[A-Z]))"
#: Months alone, which `month(day)` counts.
MONTH_NAMES = frozenset(name.capitalize() for name in MONTHS if len(name) > 3)
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_NUMBER_WORD = "(?:" + "|".join(sorted(NUMBER_WORDS, key=len, reverse=True)) + ")"
_HOUR = r"(?:\d{1,2}|" + "|".join(sorted(HOUR_WORDS, key=len, reverse=True)) + ")"
_PAST = r"(?:half\s(?:past\s)?|(?:a\s)?quarter\s(?:past|to|before|after)\s|(?:five|ten|twenty)\spast\s)"
_PART_OF_DAY = r"(?:in\sthe\s|at\s|this\s)?(?:morning|afternoon|evening|night)"
_UNIT = r"(?:[kmgt]i?b|[smhdwy]|mo|min|hrs?|days?)\b"
_DAY_OF_MONTH = rf"""
  | (?P<day>\b{_CAPITAL}{_MONTH}\s{_DAY}\b(?!:)|\b{_DAY}\s{_CAPITAL}{_MONTH}(?!\w)
      |\b{_CAPITAL}{_MONTH}(?=\s(?:to|through|thru|until|till|and|-|–)\s(?:the\send\sof\s)?{_MONTH}\s\d{{4}}))"""
_TOKENS = rf"""
    (?P<quoted>(?<!\w)'[^']+'(?!\w)|"[^"]+"|`[^`]+`|“[^”]+”|‘[^’]+’)
  | (?P<path>\bs3://[^\s,;]*[\w/]|(?<![\w/])(?:[\w.~-]*/)*[\w-][\w.-]*\.(?:csv|tsv|txt|jsonl?|ndjson|parquet|xlsx?)(?:\.gz)?\b
      |(?<![\w/])(?:[a-z_][\w.-]*/){{2,}}[\w.-]*|(?<![\w/])[a-z_][\w.-]*/(?=[\s,;]|$))
  | (?P<zone>{ZONES})
  | (?P<span>\b(?:an?\s)?(?:quarter|half)(?:\s(?:of\s)?an)?[\s-]hour(?:ly)?\b)
  | (?P<date>\bnew\syear(?:['’]?s)?(?:\sday)?,?\s\d{{4}}\b|\b\d{{4}}-\d\d?-\d\d?\b|\b{_MONTH}\s{_DAY},?\s\d{{4}}\b
      |\b{_DAY}\s{_MONTH},?\s\d{{4}}\b|\b{_MONTH}\s\d{{4}}\b){_DAY_OF_MONTH}
  | (?P<time>\b\d{{1,2}}:\d\d(?:\s?[ap]\.?m\b\.?)?|\b\d{{1,2}}(?:\.\d\d)?\s?[ap]\.?m\b\.?
      |\b\d{{1,2}}h\d\d\b
      |\b{_PAST}{_HOUR}\b(?!:)(?:\s{_PART_OF_DAY}\b)?
      |\b{_HOUR}(?:\s(?:fifteen|thirty|forty-five))?\s(?:o'clock|sharp|{_PART_OF_DAY})\b(?:\s{_PART_OF_DAY}\b)?
      |\b(?:noon|midnight|midday)\b)
  | (?P<number>(?<!\w)(?<!\w\.)[-−]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:\s?(?:k|thousand|million)\b|m\b)?
      (?:(?!\w)|(?={_UNIT}))
      |\b{_NUMBER_WORD}(?:[\s-]{_NUMBER_WORD})*\b)
  | (?P<address>[\w.+-]*@[\w-]+(?:\.\w+)+\b|https?://\S+|(?<!\w)\.[a-z]\w{{1,4}}\b|\bn/a\b)
  | (?P<word>[^\W\d_](?:[\w.’'-]*\w)?|_\w+|\d+\w+)
  | (?P<mark>[^\w\s])
    """
_TOKEN = re.compile(_TOKENS, re.VERBOSE | re.IGNORECASE)
#: Where no year is said at all, "3 May" is no date.
_YEARLESS = re.compile(_TOKENS.replace(_DAY_OF_MONTH, ""), re.VERBOSE | re.IGNORECASE)
_IDENTIFIER = re.compile(
    r"\w*_\w+|\w+\.\w+(?:\.\w+)*|[a-z]+[A-Z]\w*|[A-Za-z]+\d\w*|(?:[A-Z][a-z]+){2,}\w*|[A-Z]{2,}\w*"
)
_MOST_WORDS = 40
#: Words of labs themselves: that a cell holds one says little about "a new store" (in quotes it is a text anyway).
_OF_LABS = frozenset(
    ["store", "table", "column", "row", "query", "file", "source", "schedule", "snapshot", "new", "no"]
)
#: What stands between two things that are asked.
_JOINING = ("and", "then", "but", "or")
#: More names than these that a word may mean aren't marked.
_FEW = 4
#: Kinds whose names people also use for what is in their columns.
_OTHERS = frozenset("tsrkqof")
#: What a task's name has in common with all its like: alone these words point at none.
_OF_ANY_TASK = ("refresh", "pull")


@dataclass(frozen=True)
class Token:
    """A stretch of the intent: `kind` as in `_TOKEN`, `value` what it stands for, `[start, end)` where."""

    kind: str
    text: str
    value: str
    start: int
    end: int


@dataclass
class Linked:
    """An intent with its candidates marked. `slots` maps a placeholder to the name, literal or word behind it."""

    intent: str
    text: str = ""
    slots: dict[str, str] = field(default_factory=dict)
    #: The figures whose columns are marked already.
    figured: set[tuple[str, ...]] = field(default_factory=set)
    #: Where each word's placeholder stands in the intent, so that two of them span a phrase.
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, kind: str, value: str) -> str:
        """The placeholder of a value, a new one when it has none."""
        for slot, known in self.slots.items():
            if slot[1] == kind and known == value:
                return slot
        slot = f"<{kind}{sum(s[1] == kind for s in self.slots)}>"
        self.slots[slot] = value
        return slot

    def of(self, kind: str) -> list[str]:
        """The placeholders of one kind, in order of mention."""
        return [slot for slot in self.slots if slot[1] == kind]

    def phrase(self, first: str, last: str) -> str:
        """The intent's text from one word placeholder to another."""
        return self.intent[self.spans[first][0] : self.spans[last][1]]


@lru_cache(maxsize=65536)
def canonical(word: str) -> str:
    """A word in the form in which it is compared: lower case, singular, abbreviations spelt out.

    >>> [canonical(w) for w in ("Categories", "qty", "IDs", "address")]
    ['category', 'quantity', 'id', 'address']
    """
    word = word.lower().replace("’", "'").removesuffix("'s")
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return ABBREVIATIONS.get(word, word)


@lru_cache(maxsize=65536)
def parts(name: str) -> tuple[str, ...]:
    """The canonical words of a name.

    >>> parts("staging.custOrderID"), parts("unit_price"), parts("usedKWh")
    (('staging', 'customer', 'order', 'id'), ('unit', 'price'), ('used', 'kwh'))
    """
    whole = _WORD_OF_CAPITALS.sub(lambda m: f"_{m[0].lower()}_", name)
    return tuple(canonical(p) for p in _PART.findall(whole))


def spoken(name: str) -> str:
    """A name as it is read aloud: `unit_price` is "unit price"."""
    return " ".join(p.lower() for p in _PART.findall(name)) or name.lower()


@lru_cache(maxsize=65536)
def identifier(phrase: str) -> str:
    """A phrase as a name.

    >>> identifier("Total revenue"), identifier("order-value")
    ('total_revenue', 'order_value')
    """
    return re.sub(r"\W+", "_", phrase.lower()).strip("_")


@lru_cache(maxsize=1)
def _synonyms() -> dict[str, frozenset[int]]:
    """A word to the numbers of its groups in `synonyms.txt`."""
    found: dict[str, set[int]] = {}
    text = (Path(__file__).parent / "synonyms.txt").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines()):
        for word in line.split():
            found.setdefault(canonical(word), set()).add(number)
    return {word: frozenset(groups) for word, groups in found.items()}


@lru_cache(maxsize=262144)
def kindred(part: str, word: str) -> bool:
    """Whether a part of a name may stand for a word: it shortens it, has its stem, or is its synonym.

    >>> kindred("nm", "name"), kindred("batt", "battery"), kindred("capture", "captured"), kindred("note", "not")
    (True, True, True, False)
    """
    if len(part) < 2 or len(word) < 3 or part.isdigit():
        return False
    if part[0] == word[0] and len(part) < len(word) and (_shortens(part, word) or _stem(part) == _stem(word)):
        return True
    if part[0] == word[0] and len(word) > 4 and _stem(part) == _stem(word):
        return True
    groups = _synonyms()
    return bool(groups.get(part, frozenset()) & groups.get(word, frozenset()))


def _shortens(short: str, word: str) -> bool:
    """`temp` of temperature, `qty` of quantity: three or more letters of the beginning, or none of the vowels."""
    if word.startswith(short):
        return len(short) >= 3
    rest = iter(word)
    return (
        not re.search("[aeiou]", short[1:]) and len(word) <= 5 * len(short) and all(letter in rest for letter in short)
    )


def _stem(word: str) -> str:
    """The word without its usual endings."""
    for ending in (
        "ations",
        "ation",
        "ments",
        "ment",
        "ings",
        "ing",
        "ions",
        "ion",
        "ers",
        "ies",
        "ied",
        "er",
        "ed",
        "ly",
        "al",
        "es",
        "e",
        "y",
        "s",
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


Hit = tuple[str, str]


class Index:
    """The names of a view, by their words. Built once a view."""

    def __init__(self, view: View) -> None:
        self.exact: dict[frozenset[str], list[Hit]] = {}
        self.partial: dict[str, list[Hit]] = {}
        self.longest = 1
        self.figures = _figures(view)
        self._words: dict[Hit, tuple[str, ...]] = {("c", column): parts(column) for column in view.columns()}
        self._akin: dict[str, list[Hit]] = {}
        self._joined: dict[str, list[Hit]] = {}
        for column in view.columns():
            self._joined.setdefault(_joined(column), []).append(("c", column))
        for kind, name, alias in _names(view):
            self._add(kind, name, alias)
            if kind in "trf":
                self._words.setdefault((kind, name), parts(_bare(kind, name)))
        for table, listed in view.values.items():
            # What only a file holds isn't there yet.
            for column, values in listed.items() if table in view.tables else ():
                for value in values:
                    if canonical(value) not in _OF_LABS:
                        self._add("v", f"{column}\0{value}", value)

    def akin(self, word: str) -> list[Hit]:
        """Columns, tables, resources, files with a word that is kindred: shortened, of the same stem, a synonym."""
        if word not in self._akin:
            self._akin[word] = [hit for hit, own in self._words.items() if any(kindred(part, word) for part in own)]
        return self._akin[word]

    def joined(self, token: Token) -> list[Hit]:
        """Columns whose name is the token's, but for spaces and marks: `pm25` is PM2.5, `tshirt` a T-shirt."""
        return self._joined.get(_joined(token.text), []) if _joined(token.text) else []

    def _add(self, kind: str, name: str, alias: str) -> None:
        words = [w for w in parts(alias) if w not in FUNCTION_WORDS] or list(parts(alias))
        if not words:
            return
        hits = self.exact.setdefault(frozenset(words), [])
        if (kind, name) not in hits:
            hits.append((kind, name))
        self.longest = max(self.longest, len(words) + 2)
        if kind != "v":
            for word in words:
                partial = self.partial.setdefault(word, [])
                if len(word) > 2 and (kind, name) not in partial and not (kind == "k" and word in _OF_ANY_TASK):
                    partial.append((kind, name))


def _joined(name: str) -> str:
    """A name as one word, in the singular.

    >>> _joined("e-mails"), _joined("PM2.5")
    ('email', 'pm25')
    """
    bare = re.sub(r"[\W_]", "", name).lower()
    return bare.removesuffix("s") if len(bare) > 3 else bare


def _figures(view: View) -> dict[str, list[str]]:
    """Words such as "revenue", and the columns that such a figure is usually made from, where a table has them all."""
    found: dict[str, list[str]] = {}
    for schema in view.tables.values():
        playing: dict[str, str] = {}
        for column, kind in schema.items():
            words = set(parts(column)) if kind in ("int", "float") else set()
            part = next((p for p, called in PARTS.items() if words & called and not words & NO_FIGURE), None)
            if part:
                playing.setdefault(part, column)
        for wanted, names in FIGURES.items():
            if playing.keys() >= set(wanted):
                for name in names:
                    found.setdefault(name, [playing[part] for part in wanted])
    return found


def _names(view: View) -> Iterator[tuple[str, str, str]]:
    for table, schema in view.tables.items():
        yield from (("t", table, alias) for alias in _aliases(table))
        yield from (("c", column, alias) for column in schema for alias in _called(column))
    for source, resources in view.sources.items():
        yield ("s", source, source)
        yield from (("r", f"{source}.{resource}", resource) for resource in resources)
    tasks = dict.fromkeys((*view.scheduled, *view.tasks))
    for kind, names in (("o", view.stores), ("q", view.queries), ("k", tasks), ("p", view.snapshots)):
        yield from ((kind, name, name) for name in names)
    # Of `staging.orders refresh` people say "the orders refresh".
    yield from (("k", task, re.sub(r"\w+\.(?=\w)", "", task)) for task in tasks if "." in task)
    for path in view.files:
        yield from (("f", path, alias) for alias in (path, PurePosixPath(path).name, PurePosixPath(path).stem))
    for table, origins in view.origins.items():
        yield from (("t", table, origin) for origin in origins)


def _called(column: str) -> Iterator[str]:
    """A column's name, and that with its unit spelt out: of `fuel_l` people say "fuel litres"."""
    yield column
    *first, last = parts(column) or ("",)
    if first and last in SHORT_UNITS:
        yield " ".join([*first, SHORT_UNITS[last]])


def _bare(kind: str, name: str) -> str:
    """The name of a table or resource without its place, of a file without folder and ending."""
    return PurePosixPath(name).name.partition(".")[0] if kind == "f" else name.rpartition(".")[2]


def _aliases(table: str) -> Iterable[str]:
    return {table, table.rsplit(".", 1)[-1], table.split(".", 1)[0]} if "." in table else {table}


def tokens(intent: str) -> list[Token]:
    """The intent cut into words, literals and marks.

    >>> [(t.kind, t.value) for t in tokens("keep 10k rows since May 3, 2024 at 6:30pm")][1::2]
    [('number', '10000'), ('word', 'since'), ('word', 'at')]
    """
    found: list[Token] = []
    dated = list(_dated(intent))
    for match in (_TOKEN if dated else _YEARLESS).finditer(intent):
        kind, text, end, value = str(match.lastgroup), match[0], match.end(), None
        if kind == "day":
            kind, value = "date", _date(_with_year(text, match.start(), dated))
        elif kind == "word" and text.endswith(("'s", "’s")):
            text, end = text[:-2], end - 2
        if value is None:
            value = _READ.get(kind, lambda text: text)(text)
        if value is None:
            kind, value = "word", text
        if found and found[-1].kind == "number" and text.lower() in UNITS:
            kind = "unit"
        found.append(Token(kind, text, value, match.start(), end))
    return found


def _dated(intent: str) -> Iterator[tuple[int, str]]:
    """Where the intent says a year as one, and a day of it: of a date, or of "since 2024" its last."""
    for match in _YEARLESS.finditer(intent):
        if match.lastgroup == "date" and (day := _date(match[0])):
            yield match.start(), day
        elif match.lastgroup == "number" and _is_year(intent[: match.start()], match[0]):
            yield match.start(), f"{match[0]}-12-31"


def _with_year(day: str, at: int, dated: list[tuple[int, str]]) -> str:
    """A day with the year of the date that is said next, or last: "15 December to 10 January 2025" begins in 2024."""
    after = [iso for place, iso in dated if place > at]
    iso = after[0] if after else dated[-1][1]
    own = _date(f"{day} {iso[:4]}") or iso
    year = int(iso[:4]) - (1 if after and own > iso and own[:7] != iso[:7] else 0)
    return f"{day} {year}"


def _number(text: str) -> str | None:
    digits = text.lower().replace(",", "").replace("−", "-").strip()
    for suffix, zeros in (("thousand", 3), ("million", 6), ("k", 3), ("m", 6)):
        if digits.endswith(suffix) and digits[0] in "-0123456789":
            return _plain(float(digits.removesuffix(suffix)) * 10**zeros)
    if re.fullmatch(r"-?\d+(\.\d+)?", digits):
        return digits
    return _spelt(re.split(r"[\s-]+", digits))


def _spelt(words: list[str]) -> str:
    total = current = 0
    for word in words:
        value = NUMBER_WORDS[word]
        if value in (100, 1000, 1_000_000):
            current = max(current, 1) * value
            if value > 100:
                total, current = total + current, 0
        else:
            current += value
    return str(total + current)


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _date(text: str) -> str | None:
    if re.fullmatch(r"\d{4}-\d\d?-\d\d?", text):
        year, month, day = (int(n) for n in text.split("-"))
    else:
        year = int(re.findall(r"\d{4}", text)[0])
        month = next((MONTHS[w.lower()] for w in re.findall(r"[A-Za-z]+", text) if w.lower() in MONTHS), 1)
        days = re.findall(r"\b\d{1,2}(?=\D|$)", text)
        day = int(days[0]) if days else 1
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def end_of_month(day: str) -> str:
    """The last day of a day's month.

    >>> end_of_month("2024-02-01")
    '2024-02-29'
    """
    year, month, _ = (int(part) for part in day.split("-"))
    return f"{year:04d}-{month:02d}-{monthrange(year, month)[1]:02d}"


def _time(text: str) -> str | None:
    """A time of day as HH:MM.

    >>> _time("6:30pm"), _time("half past four"), _time("a quarter to seven in the evening"), _time("noon"), _time("5h")
    ('18:30', '04:30', '18:45', '12:00', '05:00')
    """
    said = text.lower()
    if said in ("noon", "midday", "midnight"):
        return "00:00" if said == "midnight" else "12:00"
    digits = [HOUR_WORDS.get(n) or int(n) for n in re.findall(rf"\d+|\b(?:{'|'.join(HOUR_WORDS)})\b", said)]
    hour, minute = (digits or [0])[0], digits[1] if len(digits) > 1 else 0
    if after := re.search(r"\b(fifteen|thirty|forty-five)\b", said):
        minute = {"fifteen": 15, "thirty": 30}.get(after[1], 45)
    if past := re.match(r"(half)\b|(?:a )?(quarter) (?:past|after|(to|before))\b|(five|ten|twenty) past\b", said):
        hour, minute = digits[-1], 30 if past[1] else 15 if past[2] else NUMBER_WORDS[past[4]]
        hour, minute = (hour - 1, 60 - minute) if past[3] else (hour, minute)
    night = "night" in said
    if hour < 12 and (re.search(r"\dp|\sp\.?m|afternoon|evening", said) or (night and hour > 5)):
        hour += 12
    elif hour == 12 and (night or re.search(r"\da|\sa\.?m\b|morning", said)):
        hour = 0
    return f"{hour:02d}:{minute:02d}" if 0 <= hour < 24 and minute < 60 else None


def _span(text: str) -> str:
    return "15" if "quarter" in text.lower() else "30"


_READ = {
    "span": _span,
    "quoted": lambda text: text[1:-1],
    "number": _number,
    "date": _date,
    "time": _time,
    "zone": zone_of,
}
_LITERAL = {"number": "n", "date": "d", "time": "h", "address": "v", "zone": "z"}


def link(intent: str, index: Index) -> Linked:
    """Mark every candidate in the intent.

    >>> view = View(tables={"orders": {"unit_price": "float", "status": "text"}})
    >>> link("Rename unit price to 'cost'", Index(view)).text
    'rename<w0><c0> to<v0>'
    """
    linked = Linked(intent)
    cut = tokens(intent)
    pieces: list[str] = []
    at = 0
    while at < len(cut):
        size, hits = _longest(cut, at, index)
        if hits:
            pieces.append(_named(linked, cut[at : at + size], hits, index))
            at += size
        else:
            pieces.append(_single(linked, cut[at], index))
            at += 1
    linked.text = re.sub(r" (?=[<,.;:?!])", "", " ".join(pieces))
    return linked


def _longest(cut: list[Token], at: int, index: Index) -> tuple[int, list[Hit]]:
    if cut[at].kind == "path":
        known = index.exact.get(frozenset(_own(cut[at])), [])
        return (1, known) if known else (0, [])
    if cut[at].kind not in ("word", "quoted"):
        return 0, []
    if _is_function(cut[at]) and cut[at].text not in ("A", "U"):
        known = index.joined(cut[at]) if cut[at].text.lower() in NAMING_FUNCTION_WORDS else []
        return (1, known) if known else (0, [])
    words: list[str] = []
    best: tuple[int, list[Hit]] = (0, [])
    for size in range(1, min(index.longest, len(cut) - at) + 1):
        token = cut[at + size - 1]
        if token.kind == "mark" and token.text in "_-./":
            continue
        if (token.kind not in ("word", "number") and size > 1) or token.kind == "mark":
            break
        if token.kind == "quoted" and size > 1:
            break
        if size == 1 or not _is_function(token):
            # As in the index: `created_at` is known by "created" alone.
            words += _own(token)
            # A word said twice starts a second name: "customer_id to cust_id" is two.
            if len(set(words)) < len(words) and size > 1:
                break
            hits = index.exact.get(frozenset(words), [])
            # "Pull the orders" and "publish the orders and refresh them" are wishes, "the orders pull" is a task.
            joining = {t.text.lower() for t in cut[at : at + size]} & set(_JOINING)
            if words[:1] == ["pull"] or joining:
                hits = [(k, n) for k, n in hits if k != "k" or (joining and joining <= {*n.lower().split()})]
            if hits:
                best = (size, hits)
        if token.kind == "quoted":
            break
    if not best[1] and (known := index.joined(cut[at])):
        return 1, known
    return best


def _own(token: Token) -> list[str]:
    own = parts(token.value)
    return [word for word in own if word not in FUNCTION_WORDS] or list(own)


def _is_function(token: Token) -> bool:
    return token.text.lower() in FUNCTION_WORDS


def _named(linked: Linked, span: list[Token], hits: list[Hit], index: Index) -> str:
    """A stretch that names something: its placeholders, and its words unless a column's name says it all."""
    marks = []
    for kind, name in hits[:6]:
        if kind == "v":
            column, value = name.split("\0")
            marks.append(f"{linked.add('v', value)} = {linked.add('c', column)}")
        else:
            marks.append(linked.add(kind, name))
    text = linked.intent[span[0].start : span[-1].end]
    kinds = {kind for kind, _ in hits}
    if span[0].kind != "quoted" and _IDENTIFIER.fullmatch(text) and text.lower() not in {n.lower() for _, n in hits}:
        # `cust_id` beside a column customer_id: perhaps that column, perhaps a new name.
        return " ".join([linked.add("v", text), "~", *marks])
    if kinds == {"c"} and (len(span) > 1 or _IDENTIFIER.fullmatch(text) or span[0].kind == "quoted"):
        return " ".join(marks)
    if span[0].kind in ("quoted", "path"):
        marks.append(linked.add("v", span[0].value))
        return " ".join(marks)
    said = [*(_word(linked, token) for token in span), *marks]
    if len(span) == 1 and kinds <= _OTHERS and 0 < len(near := _near(span[0], index)) <= _FEW:
        # "the wind" may be the table of that name, and its column wind_speed.
        said += ["~", *(linked.add("c", name) for name in near)]
    return " ".join(said)


def _near(token: Token, index: Index) -> list[str]:
    """Columns that share a word with a token, or have a kindred one."""
    word = parts(token.value)[-1:]
    shared = [name for w in word for kind, name in index.partial.get(w, []) if kind == "c"]
    return shared or [name for w in word for kind, name in index.akin(w) if kind == "c"]


def _single(linked: Linked, token: Token, index: Index) -> str:
    if token.kind in ("mark", "unit"):
        return token.text.lower()
    if token.kind == "number" and _is_hour(linked.intent[: token.start], token.value):
        return f"{linked.add('n', token.value)} {linked.add('h', f'{int(token.value):02d}:00')}"
    if token.kind == "number" and _is_year(linked.intent[: token.start], token.text):
        return f"{linked.add('n', token.value)} {linked.add('d', f'{token.value}-01-01')}"
    if token.kind == "span":
        return f"{linked.add('n', token.value)} minutes"
    if token.kind == "date" and re.fullmatch(rf"{_MONTH}\s\d{{4}}", token.text, re.IGNORECASE):
        # A month is all its days: it may be meant from its first or until its last.
        return f"{linked.add('d', token.value)} {linked.add('d', end_of_month(token.value))}"
    if token.kind in _LITERAL:
        return linked.add(_LITERAL[token.kind], token.value)
    if token.kind in ("quoted", "path"):
        return linked.add("v", token.value) + _figure(linked, token, index)
    if token.text in MONTH_NAMES:
        return f"{_word(linked, token)} {linked.add('n', str(MONTHS[token.text.lower()]))}"
    if token.text.lower() == "one":
        return f"one {linked.add('n', '1')}"
    if _is_function(token):
        return _word(linked, token)
    if re.fullmatch(r"[vV]\d+", token.text):
        return f"{linked.add('v', token.text)} {linked.add('n', token.text[1:])}"
    if _IDENTIFIER.fullmatch(token.text):
        linked.spans.setdefault(linked.add("v", token.text), (token.start, token.end))
        # Of `staging.orders_clean` the first part says that it is to be a table.
        place = re.match(r"([A-Za-z_]+)\.(?=[A-Za-z_])", token.text)
        return (
            (place[0].lower() if place else "")
            + linked.add("v", token.text)
            + _likely(linked, token, index)
            + _figure(linked, token, index)
        )
    return _word(linked, token) + _likely(linked, token, index) + _figure(linked, token, index)


def _is_hour(before: str, number: str) -> bool:
    """Whether a number may be a time of day, too: "at 7"."""
    return bool(re.search(r"\b(at|by|around)\s$", before, re.IGNORECASE)) and number.isdigit() and int(number) < 24


def _is_year(before: str, number: str) -> bool:
    """Whether a number may be the beginning of a year, too: "since 2024"."""
    said = re.search(r"\b(since|before|after|from|until|till|of|than|by)\s$", before, re.IGNORECASE)
    return bool(said) and bool(re.fullmatch(r"(19|20)\d\d", number))


def _word(linked: Linked, token: Token) -> str:
    text = token.text.lower()
    count = len(linked.of("w"))
    if (_is_function(token) and text not in NAMING_WORDS) or count >= _MOST_WORDS:
        return text
    slot = f"<w{count}>"
    linked.slots[slot] = token.text
    linked.spans[slot] = (token.start, token.end)
    return f"{text} {slot}"


def _likely(linked: Linked, token: Token, index: Index) -> str:
    """Names that share this word, when they are few: `price` may mean `unit_price`; else columns with a kindred one."""
    # "quantity times price" is no time.
    if token.text.lower() == "times":
        return ""
    words = [word for word in parts(token.value) if word not in FUNCTION_WORDS]
    found = [_alike(word, index) for word in words]
    hits = [hit for hit in found[0] if all(hit in others for others in found[1:])] if found else []
    if not 0 < len(hits) <= _FEW:
        return ""
    return " ~ " + " ".join(linked.add(kind, name) for kind, name in hits)


def _alike(word: str, index: Index) -> list[Hit]:
    """Names that share the word; where no column does, the columns with a kindred one, too."""
    hits = index.partial.get(word, [])
    if any(kind == "c" for kind, _ in hits):
        return hits
    akin = [hit for hit in index.akin(word) if hit not in hits and (hit[0] == "c" or not hits)]
    return [*hits, *akin] if len(hits) + len(akin) <= _FEW else hits or akin


def _figure(linked: Linked, token: Token, index: Index) -> str:
    """The columns that a figure may be made from, once: "revenue" is a matter of quantity and price."""
    columns = next((index.figures[word] for word in parts(token.value) if word in index.figures), [])
    if not columns or tuple(columns) in linked.figured:
        return ""
    linked.figured.add(tuple(columns))
    return " ~ " + " ".join(linked.add("c", column) for column in columns)
