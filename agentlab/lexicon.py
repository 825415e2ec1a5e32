"""Closed word lists for schema linking: function words, abbreviations, numbers and months as words.

Synonyms here widen the candidates that a word may mean; they decide nothing.
"""

from __future__ import annotations

#: Words that never name anything, so they get no placeholder.
FUNCTION_WORDS = frozenset(
    """
    a about above actually after again all also always am an and another any anyone anything are around as at away
    back be because been before being below between both but by can could did do does doing don't done down each either
    else ever every everything few for from get give go goes going gonna got had has have having he hello her here hey
    hi him his how i i'd i'll i'm i've if in instead into is isn't it it's its just keep kind let let's like lot make
    makes many may me might more most much must my need needs never no nobody nor not now of off on once one ones only
    onto or other our out over own per please pls put quite rather really right same shall she should so some someone
    something still such sure take than thank thanks that that's the their them then there there's these they thing
    things this those through to today too u under until up upon us use very via want wants was we we'd we'll we're
    well were what what's when where whether which while who whole whose why will with within without won't would yet
    you your
    """.split()
)

ABBREVIATIONS = {
    "acct": "account", "addr": "address", "amt": "amount", "avg": "average", "cat": "category", "ctry": "country",
    "cust": "customer", "dept": "department", "desc": "description", "dob": "birth", "dt": "date", "emp": "employee",
    "mail": "email", "e-mail": "email", "mgr": "manager", "no": "number", "num": "number", "nr": "number",
    "ord": "order", "org": "organization", "pct": "percent", "percentage": "percent", "ph": "phone", "prc": "price",
    "prod": "product", "qty": "quantity", "sts": "status", "tel": "phone", "telephone": "phone", "tot": "total",
    "ts": "timestamp", "txn": "transaction", "wt": "weight", "yr": "year", "identifier": "id", "ids": "id",
    "db": "database", "surname": "last", "wage": "salary",
}  # fmt: skip

NUMBER_WORDS = {
    "zero": 0, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90, "dozen": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000,
}  # fmt: skip

_MONTH_NAMES = "january february march april may june july august september october november december".split()
MONTHS = {name: n for n, full in enumerate(_MONTH_NAMES, 1) for name in (full, full[:3])} | {"sept": 9}
