"""How people mention things: a column, a table, a number, a date, a moment, a list of names."""

from __future__ import annotations

import random
import re
from functools import cache
from zoneinfo import available_timezones

from agentlab.linking import spoken
from agentlab.zones import SHORT as SHORT_ZONES
from agentlab.zones import zone_of
from finetune.scenes import SHORT, made_up, random_value, styled, words

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
TYPES = {
    "int": ["integer", "an integer", "int", "whole numbers", "a whole number", "integers"],
    "float": ["float", "a decimal", "decimals", "a number", "numeric", "numbers", "double", "a float", "number"],
    "text": ["text", "string", "a string", "varchar", "strings", "plain text"],
    "date": ["a date", "date", "dates", "a proper date", "a real date"],
    "timestamp": ["timestamp", "a timestamp", "datetime", "a datetime", "date and time"],
    "bool": ["boolean", "a boolean", "bool", "true/false", "yes/no flag"],
}
SEPARATOR_WORDS = {
    ",": ["comma", "','", "the comma", "a comma", "commas", '","', "each comma"],
    " ": ["space", "the space", "a space", "spaces", "' '", "blank", "the blank", "whitespace", "the first blank"],
    "-": ["'-'", "dash", "the dash", "hyphen", "a hyphen", '"-"', "the minus", "the hyphen", "dashes"],
    "/": ["slash", "'/'", "the slash", "a slash", "the stroke", "forward slash", "slashes", '"/"'],
    ";": ["semicolon", "';'", "the semicolon", "a semicolon", "semi-colon"],
    ":": ["colon", "':'", "the colon", "a colon", '":"', "colons"],
    "|": ["'|'", "pipe", "the pipe", "the vertical bar", "the bar", "pipes", "a pipe"],
    "_": ["underscore", "'_'", "the underscore", "underscores", '"_"', "the low line"],
    ".": ["dot", "'.'", "the dot", "the full stop", "the period", "dots", "a point"],
    "@": ["'@'", "the @ sign", "at sign", "the at", "the at sign"],
    "+": ["plus", "the plus", "'+'", "the plus sign", "a plus"],
    "#": ["hash", "the hash", "'#'", "the hash sign", "the number sign", "hashtag"],
    "&": ["ampersand", "the ampersand", "'&'", "the and sign"],
    "*": ["star", "the star", "'*'", "asterisk", "the asterisk"],
    "=": ["equals sign", "the equals", "'='", "the equal sign"],
    "->": ["arrow", "the arrow", "'->'"],
    "\\": ["backslash", "the backslash"],
    "\t": ["tab", "the tab", "tabs", "a tab"],
}  # fmt: skip
DAYS = ["sundays", "mondays", "tuesdays", "wednesdays", "thursdays", "fridays", "saturdays"]
ROUND = [
    0,
    1,
    2,
    3,
    5,
    7,
    10,
    10,
    12,
    15,
    20,
    25,
    30,
    40,
    50,
    50,
    60,
    75,
    80,
    100,
    100,
    150,
    200,
    250,
    300,
    365,
    500,
    500,
    750,
]
SPELT = {
    2: "two",
    3: "three",
    5: "five",
    7: "seven",
    10: "ten",
    12: "a dozen",
    20: "twenty",
    50: "fifty",
    100: "a hundred",
}


def quoted(r: random.Random, text: str) -> str:
    """The text in one of the usual quotation marks."""
    return r.choice(["'{}'", '"{}"', "`{}`"]).format(text)


def column(r: random.Random, name: str) -> str:
    """A column as people write it: mostly as it is, often as words."""
    p = r.random()
    if p < 0.5:
        return name
    if p < 0.84:
        return spoken(name)
    if p < 0.92:
        return quoted(r, name)
    if p < 0.96:
        long = {v: k for k, v in SHORT.items()}
        return "_".join(SHORT.get(w, long.get(w, w)) for w in spoken(name).split())
    return spoken(name).title()


def listing(r: random.Random, items: list[str]) -> str:
    """Names in a row: "a, b and c"."""
    if len(items) == 1:
        return items[0]
    if r.random() < 0.2:
        return r.choice([", ", " and ", ","]).join(items)
    return ", ".join(items[:-1]) + r.choice([" and ", " and ", " & ", ", and ", " plus "]) + items[-1]


def table(r: random.Random, name: str) -> str:
    """A table as people write it."""
    bare = name.rsplit(".", 1)[-1]
    return r.choice(
        [name, bare, bare, spoken(bare), "the " + spoken(bare) + " table", f"the {bare} table", spoken(bare) + " table"]
    )


def source(r: random.Random, name: str) -> str:
    """A source: `sales_api` is "sales API"."""
    said = spoken(name)
    said = re.sub(r"\b(api|crm|erp|db|hr|pos)\b", lambda m: m[0].upper() if r.random() < 0.6 else m[0], said)
    return r.choice(
        [said, said, said, name, said.title(), said.removesuffix(" db") + " database" if said.endswith(" db") else said]
    )


def new_name(r: random.Random) -> tuple[str, str]:
    """A name that isn't there yet: how it is said, and the name."""
    name = made_up(r).name if r.random() < 0.5 else "_".join(r.sample(words(), r.choice([1, 2, 2])))
    if r.random() < 0.25:
        name = (
            r.choice(["total", "net", "gross", "new", "clean", "full", "final", "is", "unit", "order", "customer"])
            + "_"
            + name
        )
    name = re.sub(r"_+", "_", name).strip("_").lower()
    p = r.random()
    if p < 0.5:
        return name, name
    if p < 0.6:
        return quoted(r, name), name
    if p < 0.7:
        camel = styled(name, r.choice(["camel", "pascal"]))
        return (camel, camel) if "_" in name else (name, name)
    return spoken(name), name


def number(r: random.Random, small: bool = False) -> tuple[str, str]:
    """How a number is written, and its digits."""
    n = (
        r.choice([1, 2, 3, 4, 5, 8, 10, 12, 15, 20, 25])
        if small
        else r.choice([*ROUND, 1000, 1500, 2000, 5000, 10000, 50000, 100000, r.randint(1, 9999)])
    )
    p = r.random()
    if n in SPELT and p < 0.12:
        return SPELT[n], str(n)
    if n >= 1000 and p < 0.4:
        return f"{n:,}", str(n)
    if n >= 1000 and n % 1000 == 0 and p < 0.6:
        return f"{n // 1000}{r.choice(['k', 'k', ' thousand'])}", str(n)
    if not small and p > 0.85:
        return (text := f"{n}.{r.choice(['5', '25', '99', '05'])}"), text
    return str(n), str(n)


def date(r: random.Random) -> tuple[str, str]:
    """How a date is written, and its ISO form."""
    y, m, d = r.randint(2015, 2026), r.randint(1, 12), r.randint(1, 28)
    iso = f"{y}-{m:02d}-{d:02d}"
    name = r.choice([MONTHS[m - 1], MONTHS[m - 1][:3]])
    if r.random() < 0.1:
        return f"{MONTHS[m - 1]} {y}", f"{y}-{m:02d}-01"
    return r.choice([iso, iso, iso, f"{name} {d}, {y}", f"{d} {name} {y}", f"{name} {d} {y}"]), iso


def value(r: random.Random, known: tuple[str, ...] = ()) -> tuple[str, str]:
    """How a text value is written, and the text. A cell's value may be written in another case."""
    if known and r.random() < 0.75:
        text = r.choice(known)
        return (quoted(r, text) if r.random() < 0.3 else r.choice([text, text, text.lower()])), text
    text = random_value(r)
    return (quoted(r, text) if r.random() < 0.5 else text), text


def task(r: random.Random, name: str) -> str:
    """A task as people name it: "the orders refresh" for `staging.orders refresh`."""
    said = name if r.random() < 0.15 else spoken(re.sub(r"\w+\.(?=\w)", "", name))
    return r.choice(["the ", "the ", "our ", ""]) + said


def file(r: random.Random, path: str) -> str:
    """A file as people name it: by its path, its name, or what is in it."""
    name = path.rpartition("/")[2]
    stem = name.partition(".")[0]
    return r.choice([path, path, path, name, name, quoted(r, path), f"the {spoken(stem)} file", f"the file {name}"])


def age(r: random.Random) -> tuple[str, str]:
    """A length of time, and how a plan says it."""
    unit = r.choice(["days", "days", "months", "years", "weeks", "hours"])
    n = r.choice(
        {"days": [7, 14, 30, 30, 60, 90, 180, 365], "hours": [6, 12, 24, 48]}.get(unit, [1, 2, 3, 5, 6, 12, 18])
    )
    if n == 1:
        return r.choice([f"a {unit[:-1]}", f"one {unit[:-1]}", f"1 {unit[:-1]}"]).replace(
            "a hour", "an hour"
        ), f"1 {unit}"
    said = r.choice([str(n), str(n), SPELT.get(n, str(n))])
    if said == str(n) and r.random() < 0.08:
        return f"{n}{unit[0]}" if unit != "months" else f"{n} mo", f"{n} {unit}"
    return f"{said} {unit}", f"{n} {unit}"


def size(r: random.Random) -> tuple[str, str]:
    """A size, and how a plan says it."""
    unit = r.choices(["GB", "MB", "TB"], [7, 3, 2])[0]
    n = r.choice([1, 2, 4, 5, 8, 10, 15, 20, 25, 32, 40, 50, 64, 80, 100, 120, 200, 250, 500, 750])
    word = r.choice(
        [
            unit,
            unit,
            unit,
            unit.lower(),
            {"GB": "gigabytes", "MB": "megabytes", "TB": "terabytes"}[unit],
            f"{unit[0]}iB",
        ]
    )
    return r.choice([f"{n} {word}", f"{n} {word}", f"{n}{word}" if len(word) < 4 else f"{n} {word}"]), f"{n} {unit}"


def zone(r: random.Random) -> tuple[str, str]:
    """A time zone, and its name."""
    usual = ["Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kolkata"]
    name = r.choice([*usual, *sorted(_zones())])
    if r.random() < 0.35:
        short = r.choice(list(SHORT_ZONES))
        return short, SHORT_ZONES[short]
    city = name.rpartition("/")[2].replace("_", " ")
    return r.choice([f"{city} time", f"{city} time", name, f"{city.lower()} time"]), name


@cache
def _zones() -> set[str]:
    return {
        z
        for z in available_timezones()
        if z.startswith(("Europe/", "America/", "Asia/", "Australia/"))
        and z.count("/") == 1
        and zone_of(z.rpartition("/")[2]) == z
    }


def moment(r: random.Random) -> tuple[str, str]:
    """How a repeated moment is said, and the schedule's `when`."""
    h, m = r.randint(0, 23), r.choice([0, 0, 0, 15, 30, 45])
    clock = f"{h:02d}:{m:02d}"
    said = r.choice(
        [clock, clock, f"{h % 12 or 12}{f':{m:02d}' if m else ''}{r.choice(['', ' '])}{'am' if h < 12 else 'pm'}"]
    )
    day = r.choice(DAYS)
    single = day[:-1]
    n = r.choice([2, 3, 4, 5, 6, 10, 12, 15, 20, 30])
    unit = "hours" if n < 13 and r.random() < 0.5 else "minutes"
    title = r.choice([str.title, str.lower])
    plain = [
        ("every night", "nightly"), ("nightly", "nightly"), ("each night", "nightly"), ("overnight", "nightly"),
        ("every night", "nightly"), ("at night", "nightly"), ("every day", "daily"), ("daily", "daily"), ("once a day", "daily"),
        ("each day", "daily"), ("every hour", "hourly"), ("hourly", "hourly"), ("once an hour", "hourly"), ("every week", "weekly"),
        ("weekly", "weekly"), ("once a week", "weekly"), ("monthly", "monthly"), ("every month", "monthly"), ("once a month", "monthly"),
        ("on the first of the month", "monthly"), (f"on {title(day)}", day), (f"every {title(single)}", day), (f"each {title(single)}", day),
        ("on weekdays", "weekdays"), ("every weekday", "weekdays"), ("on working days", "weekdays"), ("on weekends", "weekends"),
        (f"every {n} {unit}", f"every {n} {unit}"),
    ]  # fmt: skip
    timed = [
        (f"daily at {said}", f"daily at {clock}"), (f"every day at {said}", f"daily at {clock}"), (f"at {said}", f"daily at {clock}"),
        (f"at {said} every day", f"daily at {clock}"), (f"each morning at {said}", f"daily at {clock}"), (f"every night at {said}", f"nightly at {clock}"),
        (f"every {title(single)} at {said}", f"{day} at {clock}"), (f"on {title(day)} at {said}", f"{day} at {clock}"),
        (f"at {said} on {title(day)}", f"{day} at {clock}"), (f"weekdays at {said}", f"weekdays at {clock}"),
        (f"on weekdays at {said}", f"weekdays at {clock}"), (f"at {said} on weekdays", f"weekdays at {clock}"),
        (f"on the first of every month at {said}", f"monthly at {clock}"), (f"monthly at {said}", f"monthly at {clock}"),
    ]  # fmt: skip
    return r.choice(plain if r.random() < 0.5 else timed)


_KEYS = ["qwertyuiop", "asdfghjkl", "zxcvbnm"]
_NEAR = {key: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _KEYS for i, key in enumerate(row)}


def slip(text: str, r: random.Random) -> str:
    """One plain word with two letters swapped, one lost, one twice, or one of the key beside."""
    plain = list(re.finditer(r"(?<![\w'\"`./])[a-z]{4,}(?![\w'\"`./])", text))
    if not plain:
        return text
    found = r.choice(plain)
    at = r.randrange(found.start() + 1, found.end() - 1)
    slips = [text[at + 1] + text[at] + text[at + 2 :], text[at + 1 :], text[at] + text[at:]]
    slips.append(r.choice(_NEAR[text[at]]) + text[at + 1 :])
    return text[:at] + r.choice(slips)
