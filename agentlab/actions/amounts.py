"""Amounts as people say them: how old (`90 days`), how much (`40 GB`), in which time zone (`Europe/Berlin`)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated
from zoneinfo import available_timezones

from dateutil.relativedelta import relativedelta
from pydantic import AfterValidator, Field

from agentlab.actions.base import Kind

UNITS = ("minutes", "hours", "days", "weeks", "months", "years")
SIZES = ("KB", "MB", "GB", "TB")

_SPAN = re.compile(r"(\d+) (minute|hour|day|week|month|year)s?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(KB|MB|GB|TB)")


def before(moment: datetime, span: str) -> datetime:
    """The moment that lies a span before another; months and years go by the calendar.

    >>> before(datetime(2026, 3, 31), "1 month")
    datetime.datetime(2026, 2, 28, 0, 0)
    """
    found = _SPAN.fullmatch(span.strip().lower())
    if not found:
        raise ValueError(f"can't read {span!r} as a length of time; write e.g. '90 days', '6 months', '2 years'")
    n = int(found[1])
    steps = {
        "minute": relativedelta(minutes=n), "hour": relativedelta(hours=n), "day": relativedelta(days=n),
        "week": relativedelta(weeks=n), "month": relativedelta(months=n), "year": relativedelta(years=n),
    }  # fmt: skip
    try:
        earlier: datetime = moment - steps[found[2]]
    except (OverflowError, ValueError):
        raise ValueError(f"{span!r} reaches back before the year 1; give a shorter time") from None
    return earlier


def about(span: str) -> timedelta:
    """How long a span is, months and years at today's length: to compare spans, not to count by."""
    now = datetime(2026, 1, 1)
    return now - before(now, span)


def bytes_of(size: str) -> int:
    """How many bytes a size is; a GB is 1024 MB, and so on.

    >>> bytes_of("1.5 GB")
    1610612736
    """
    found = _SIZE.fullmatch(size.strip().upper())
    if not found:
        raise ValueError(f"can't read {size!r} as a size; write e.g. '500 MB' or '40 GB'")
    return int(float(found[1]) * 1024 ** (SIZES.index(found[2]) + 1))


def _span(text: str) -> str:
    about(text)
    return text


def _size(text: str) -> str:
    bytes_of(text)
    return text


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; write e.g. 'Europe/Berlin' or 'UTC'")
    return name


#: `90 days`; kept as it was said.
Span = Annotated[str, Kind("span"), AfterValidator(_span), Field(description="a length of time, such as '90 days'")]
#: `40 GB`.
Size = Annotated[str, Kind("size"), AfterValidator(_size), Field(description="a size, such as '40 GB'")]
#: A name of the IANA time zone database.
Zone = Annotated[str, Kind("zone"), AfterValidator(_zone), Field(description="a time zone, such as 'Europe/Berlin'")]
