"""What names and texts mean: amounts, codes, keys and moments by a column's name; emails and the like by a cell's form.

Nothing here looks at a table.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Pattern = Literal["email", "url", "uuid", "phone", "date"]
FORMS: tuple[Pattern, ...] = get_args(Pattern)

#: How a cell of a known form must look, as DuckDB (RE2) and Python both read it. An email has one @, no empty part and
#: a domain with a dot; a web address says http or https and a host; a phone number has 7 to 15 digits (E.164).
PATTERNS: dict[Pattern, str] = {
    "email": r"^[^@\s,;<>.]+(\.[^@\s,;<>.]+)*@([^@\s.,;<>]+\.)+[^@\s.,;<>]{2,}$",
    "url": r"^[hH][tT][tT][pP][sS]?://[^\s/?#.]+(\.[^\s/?#.]+)*([/?#]\S*)?$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "phone": r"^(\+|\(|\+\()?[0-9]([ ()./-]*[0-9]){6,14}( ?(x|ext\.?) ?[0-9]{1,6})?$",
    "date": r"^([0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{4}|[0-9]{4}[./][0-9]{1,2}[./][0-9]{1,2})( [0-9:.]+)?$",
}
#: Dates as people write them, beside ISO 8601: each must exist, so the 31st of April is none.
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d")

_QUANTITIES = re.compile(
    r"quantit(y|ies)|qty|prices?|amounts?|costs?|units|count|stock|age|weight|height|width|length|size|distance|duration"
    r"|total|revenue|salary|hours|minutes|seconds|pieces|items|visits|clicks|fees?"
)
_SIGNED = re.compile(r"change|delta|diff(erence)?|balance|net|profit|margin|growth|adjustment|refund|offset")
#: Digits that are no number: nothing is lost by calling them text, and a leading zero is by casting them.
_CODES = re.compile(r"[gu]uid|(zip|post)?code|zip|phone|mobile|fax|number|n[or]|sku|ean|isbn|iban")
_KEYS = re.compile(r"ids?|key")
_MOMENTS = re.compile(r"date|day|time|timestamp|at|on|since|until|due|birthday|dob|ordered|shipped|created|updated")


def words(name: str) -> list[str]:
    """A column name's words in lower case, cut at underscores, spaces and capitals.

    >>> words("customerId"), words("order_no")
    (['customer', 'id'], ['order', 'no'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[\W_]+", spaced.lower()) if word]


def is_quantity(name: str) -> bool:
    """Whether a name speaks of an amount that can't be negative.

    >>> is_quantity("unit_price"), is_quantity("price_change")
    (True, False)
    """
    found = words(name)
    return any(map(_QUANTITIES.fullmatch, found)) and not any(map(_SIGNED.fullmatch, found))


def is_code(name: str) -> bool:
    """Whether a name speaks of codes: written in digits, perhaps, but not counted with.

    >>> is_code("zip_code"), is_code("number_of_items"), is_code("customer_id")
    (True, False, False)
    """
    return any(map(_CODES.fullmatch, words(name)[-1:]))


def is_key(name: str) -> bool:
    """Whether a name says that its values name things.

    >>> is_key("customer_id"), is_key("idea")
    (True, False)
    """
    return any(map(_KEYS.fullmatch, words(name)[-1:]))


def is_moment(name: str) -> bool:
    """Whether a name speaks of a day or a time of day.

    >>> is_moment("shipped_at"), is_moment("status")
    (True, False)
    """
    return any(map(_MOMENTS.fullmatch, words(name)[-1:]))
