"""Pull a list from a REST API: pages by cursor, each fetched once, again only after a fault that may pass.

A page that isn't what the resource promises is an error, never a guess. Secrets go into one header and into no message.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from random import uniform
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import httpx
import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError
from agentlab.sources.base import Progress, RestResource, RestSource, Span, arrange, resource_of
from agentlab.sources.columns import loads, table_of

FIRST_WAIT = 0.2
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
#: An API may send empty pages while it searches, but not for ever.
MOST_EMPTY_PAGES = 100


@dataclass(frozen=True)
class Page:
    """One page: its rows, its number from 1, and the cursor of the next one, None at the end."""

    rows: list[dict[str, Any]]
    number: int
    next: str | None


def pull(source: RestSource, action: Pull, root: Path, progress: Progress | None = None) -> pa.Table:
    """See `agentlab.sources.pull`."""
    resource = resource_of(source.resources, action)
    Span.of(action)
    rows: list[dict[str, Any]] = []
    with Caller(source, resource, action.source, source.token(root)) as caller:
        for page in pages(caller, action):
            rows.extend(page.rows)
            if progress:
                progress(len(rows), page.number, caller.retries)
            if (most := _enough(resource, action)) and len(rows) >= most:
                break
    return _finished(table_of(rows, resource.schema_), resource, action)


def pages(caller: Caller, action: Pull) -> Iterator[Page]:
    """The pages in order, asked for one by one as they are needed."""
    resource = caller.resource
    query, cursor, number, seen, empty = _query(resource, action), None, 0, set[str](), 0
    while number == 0 or cursor is not None:
        number += 1
        asked = {**query, resource.cursor: cursor} if resource.cursor and cursor is not None else query
        page = _read(caller, caller.get(asked, number), number)
        empty = 0 if page.rows else empty + 1
        cursor = _progressing(caller, page, seen, empty)
        yield page


def _progressing(caller: Caller, page: Page, seen: set[str], empty: int) -> str | None:
    if page.next is None or caller.resource.cursor is None:
        return None
    if page.next in seen:
        raise caller.broken(
            page.number, "gives a next cursor that an earlier page gave; the pages go round in a circle"
        )
    if empty > MOST_EMPTY_PAGES:
        raise caller.broken(page.number, f"is the {empty}th empty page in a row, and still there is a next cursor")
    seen.add(page.next)
    return page.next


def _does(resource: RestResource, action: Pull) -> bool:
    """Whether the API itself does the span and the order that are asked for."""
    asked = ((action.since, resource.since), (action.until, resource.until), (action.order, resource.order))
    return all(parameter for wanted, parameter in asked if wanted)


def _enough(resource: RestResource, action: Pull) -> int | None:
    return action.limit if not action.where and _does(resource, action) else None


def _query(resource: RestResource, action: Pull) -> dict[str, str]:
    query = dict(resource.params)
    if resource.limit:
        query[resource.limit] = str(min(resource.page_size, _enough(resource, action) or resource.page_size))
    for parameter, value in ((resource.since, action.since), (resource.until, action.until)):
        if parameter and value:
            query[parameter] = value
    if resource.order and action.order:
        query[resource.order] = getattr(resource, action.order)
    return query


def _finished(table: pa.Table, resource: RestResource, action: Pull) -> pa.Table:
    if not table.column_names:
        why = "sent no rows, and the source doesn't say which columns they would have"
        raise LabError(f"GET {resource.path} of {action.source} {why}; there is nothing to make a table of")
    if not _does(resource, action):
        return arrange(table, action, resource.time_column)
    _check_order(table, resource, action)
    most = _enough(resource, action)
    return table.slice(0, most) if most else table


def _check_order(table: pa.Table, resource: RestResource, action: Pull) -> None:
    """An API that ignores `order` would make "the latest rows" silently wrong."""
    column = resource.time_column
    if not action.order or column not in table.column_names or not pa.types.is_temporal(table[column].type):
        return
    times = table[column].drop_null().combine_chunks()
    before, after = times[:-1], times[1:]
    wrong = pc.less(before, after) if action.order == "newest" else pc.greater(before, after)
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py() + 2
        raise LabError(
            f"GET {resource.path} was asked for the {action.order} first, but row {row} breaks that order in {column}"
        )


@dataclass
class Caller:
    """Asks one resource for its pages, patiently but not for ever."""

    source: RestSource
    resource: RestResource
    name: str
    token: str | None = field(repr=False)
    retries: int = 0
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        # A proxy can't reach this machine's own servers.
        proxies = not _is_loopback(self.source.url)
        self.client = httpx.Client(headers=headers, timeout=self.source.timeout, trust_env=proxies)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, query: dict[str, str], number: int) -> httpx.Response:
        """The answer with status 200 to one question, after as many tries as the source allows."""
        tries = self.source.tries
        for attempt in range(1, tries + 1):
            answer = self._ask(query)
            if isinstance(answer, httpx.Response) and answer.status_code not in PASSING:
                return self._accepted(answer, number)
            if attempt < tries:
                self._wait(answer, attempt, number)
        raise LabError(
            f"{self.place(number)}: {_told(answer, self)}; gave up after {tries} tries. {_advice(answer, self)}"
        )

    def place(self, number: int) -> str:
        """Which page of what, in words."""
        return f"GET {self.resource.path} of {self.name}, page {number}"

    def broken(self, number: int, found: str) -> LabError:
        """The error of a page that isn't what was promised."""
        return LabError(f"{self.place(number)} {found}; is {self.resource.path} described rightly in the source?")

    def hidden(self, text: str) -> str:
        """The text without the token, should an answer repeat it, be it as it is or as it is spelled in addresses."""
        for spelled in _spellings(self.token) if self.token else ():
            text = text.replace(spelled, "***")
        return text

    def _ask(self, query: dict[str, str]) -> httpx.Response | httpx.RequestError:
        try:
            return self.client.get(self.source.url.rstrip("/") + self.resource.path, params=query)
        except httpx.RequestError as fault:
            return fault

    def _accepted(self, answer: httpx.Response, number: int) -> httpx.Response:
        if answer.status_code == 200:
            return answer
        raise LabError(f"{self.place(number)}: {_told(answer, self)}. {_advice(answer, self)}")

    def _wait(self, answer: httpx.Response | httpx.RequestError, attempt: int, number: int) -> None:
        wait = min(FIRST_WAIT * 2 ** (attempt - 1) * uniform(0.8, 1.2), self.source.longest_wait)
        asked = _retry_after(answer) if isinstance(answer, httpx.Response) else None
        if asked is not None and asked > self.source.longest_wait:
            most = self.source.longest_wait
            raise LabError(
                f"{self.place(number)}: {_told(answer, self)}; it asks to wait {asked:.0f} s, and this source waits"
                f" {most:g} s at most. Try again later, or raise the source's longest_wait"
            )
        time.sleep(wait if asked is None else asked)
        self.retries += 1


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the answer asks to wait, by number or by date; None if it doesn't say, or not readably."""
    said = answer.headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _told(answer: httpx.Response | httpx.RequestError, caller: Caller) -> str:
    if isinstance(answer, httpx.RequestError):
        return f"no answer from {caller.source.url} ({type(answer).__name__}: {caller.hidden(str(answer))})"
    said = " ".join(caller.hidden(_message(answer)).split())[:200]
    return f"status {answer.status_code}" + (f", it says {said!r}" if said else "")


def _message(answer: httpx.Response) -> str:
    """The sentence in an error's body, in the shapes that APIs commonly use, or the body itself."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text
    for key in ("error", "message", "detail", "title"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else answer.text


def _advice(answer: httpx.Response | httpx.RequestError, caller: Caller) -> str:
    if isinstance(answer, httpx.RequestError):
        return "Is the server running, and the source's url right?"
    status = answer.status_code
    if status == 401:
        return f"The token comes from {caller.source.token_place}"
    if status == 403:
        return f"The token (from {caller.source.token_place}) doesn't reach this resource"
    if answer.is_redirect:
        place = _shown(answer.headers.get("location", "nowhere"), caller)
        return f"It moved to {place}; a token isn't sent after a redirect, so mend the url"
    if status == 404:
        return "Mend the resource's path, or the source's url"
    return "Try again later" if status in PASSING else "Mend the source's description of this resource"


def _read(caller: Caller, answer: httpx.Response, number: int) -> Page:
    try:
        body = loads(answer.content)
    except (ValueError, RecursionError):
        kind = caller.hidden(answer.headers.get("content-type", "no type"))[:80]
        raise caller.broken(number, f"is no JSON but {kind}: {_shown(answer.text, caller)}") from None
    pointer = caller.resource.items
    rows = _at(body, pointer)
    if not isinstance(rows, list):
        raise caller.broken(
            number, f"should have a list of rows at {pointer!r}, found {_described(rows, body, caller)}"
        )
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise caller.broken(
                number, f"should have objects as rows, found {_shown(row, caller)} at {pointer}/{place}"
            )
    return Page(rows, number, _next(caller, body, number))


def _next(caller: Caller, body: Any, number: int) -> str | None:
    pointer = caller.resource.next
    if pointer is None:
        return None
    cursor = _at(body, pointer)
    if cursor is _ABSENT and caller.resource.cursor:
        raise caller.broken(
            number, f"should have the next cursor (or null) at {pointer!r}, found {_shown(body, caller)}"
        )
    if cursor in (None, "", _ABSENT):
        return None
    if isinstance(cursor, bool) or not isinstance(cursor, str | int):
        raise caller.broken(number, f"should have a text as next cursor at {pointer!r}, found {_shown(cursor, caller)}")
    return str(cursor)


_ABSENT = object()


def _at(body: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(body, dict) and key in body:
            body = body[key]
        elif isinstance(body, list) and key.isdecimal() and int(key) < len(body):
            body = body[int(key)]
        else:
            return _ABSENT
    return body


def _described(found: Any, body: Any, caller: Caller) -> str:
    if found is not _ABSENT:
        return _shown(found, caller)
    if isinstance(body, dict) and body:
        return f"nothing there, only the keys {', '.join(_shown(key, caller) for key in list(body)[:8])}"
    return f"nothing there, only {_shown(body, caller)}"


def _spellings(token: str) -> list[str]:
    """How answers and our own messages may spell a token, the longest first, so that no part of one is left."""
    spelled = {token, quote(token), quote(token, safe=""), quote_plus(token), repr(token)[1:-1]}
    return sorted(spelled, key=len, reverse=True)


def _shown(value: Any, caller: Caller) -> str:
    text = caller.hidden(repr(value))
    return text if len(text) <= 80 else f"{text[:80]}…"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
