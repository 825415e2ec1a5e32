"""The pages of one pull in their order: asked one after the other, or some at a time where their number is known.

Each page is asked for once. One that repeats an earlier one is an error: the list would never end, or be wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from agentlab.sources import paging
from agentlab.sources.fetching import Caller
from agentlab.sources.pacing import Pace
from agentlab.sources.pages import NoJson, NoRows, Page, PageReader
from agentlab.sources.paging import ABSENT, Counted, CursorPaging, LinkPaging, NextUrlPaging, Question, Seen

#: An API may send empty pages while it searches, but not for ever.
MOST_EMPTY_PAGES = 100


@dataclass
class Course:
    """Goes through a list's pages: the bytes of each and what they hold. `query` goes with every question.

    `most` is how many rows are wanted, None for all; who takes the pages stops when it has them.
    """

    caller: Caller
    query: dict[str, str]
    pace: Pace
    most: int | None = None
    reader: PageReader = field(init=False)
    _first: int | None = field(default=None, init=False)
    _rows: int = field(default=0, init=False)
    _empty: int = field(default=0, init=False)
    _digests: dict[bytes, int] = field(default_factory=dict, init=False)
    _nexts: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        resource = self.caller.resource
        self.reader = PageReader(resource.items, resource.flatten, resource.schema_, resource.strict)

    def __iter__(self) -> Iterator[tuple[bytes, Page]]:
        way, question = self.caller.resource.pages, paging.first(self.caller.resource.pages)
        content, page, seen = self._turn(question)
        yield content, page
        known = seen.total if seen.total is not None else seen.pages
        if isinstance(way, Counted) and known is not None and self.pace.concurrency > 1 and page.sent:
            yield from self._together(list(paging.rest(way, seen, self.most)))
        else:
            while following := paging.after(way, question, seen):
                question = following
                content, page, seen = self._turn(question)
                yield content, page
        self._complete(question, seen)

    def _turn(self, question: Question) -> tuple[bytes, Page, Seen]:
        self.pace.wait()
        answer = self._ask(question)
        page = self._read(answer, question.number)
        self.pace.count(page.sent)
        return answer.content, page, self._seen(answer, page, question.number)

    def _together(self, questions: list[Question]) -> Iterator[tuple[bytes, Page]]:
        """Pages whose place in the list is known: some are asked for at a time, and given in order."""
        open_: deque[tuple[Question, Future[httpx.Response]]] = deque()
        left = iter(questions)
        with ThreadPoolExecutor(self.pace.concurrency, "pages") as pool:
            try:
                while True:
                    while len(open_) < self.pace.concurrency and (question := next(left, None)):
                        self.pace.wait()
                        self.pace.count(self._first or 0)
                        open_.append((question, pool.submit(self._ask, question)))
                    if not open_:
                        return
                    question, future = open_.popleft()
                    answer = future.result()
                    page = self._read(answer, question.number)
                    self._follow(page, question.number)
                    yield answer.content, page
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, question: Question) -> httpx.Response:
        caller = self.caller
        if question.url is not None:
            return caller.get(question.url, {}, question.number)
        return caller.get(caller.url, {**self.query, **dict(question.params)}, question.number)

    def _read(self, answer: httpx.Response, number: int) -> Page:
        caller, pointer = self.caller, self.reader.items
        try:
            return self.reader.read(answer.content)
        except NoJson:
            kind = caller.hidden(answer.headers.get("content-type", "no type"))[:80]
            raise caller.broken(number, f"is no JSON but {kind}: {caller.shown(answer.text)}") from None
        except NoRows as fault:
            told = self._found(fault)
            raise caller.broken(number, f"should have a list of rows at {pointer!r}, found {told}") from None

    def _found(self, fault: NoRows) -> str:
        if fault.found is not ABSENT:
            return self.caller.shown(fault.found)
        if isinstance(fault.body, dict) and fault.body:
            keys = ", ".join(self.caller.shown(key) for key in list(fault.body)[:8])
            return f"nothing there, only the keys {keys}{self._instead(fault.body)}"
        return f"nothing there, only {self.caller.shown(fault.body)}{self._instead(fault.body)}"

    def _instead(self, body: Any) -> str:
        """Where the answer has a list of objects, as the setting that would find it."""
        places = {"": body} | {f"/{key}": inner for key, inner in (body.items() if isinstance(body, dict) else ())}
        lists = [place for place, found in places.items() if isinstance(found, list) and _is_objects(found)]
        return f"; a list of objects is there with items={self.caller.shown(lists[0])}" if lists else ""

    # How it goes on

    def _seen(self, answer: httpx.Response, page: Page, number: int) -> Seen:
        self._follow(page, number)
        way = self.caller.resource.pages
        first = self._first or 0
        if isinstance(way, Counted):
            total = self._number(way.total, way.total_header, answer, page, number)
            pages = self._number(getattr(way, "pages", None), None, answer, page, number)
            return Seen(page.sent, first, total, pages)
        return Seen(page.sent, first, next=self._next(answer, page, number))

    def _follow(self, page: Page, number: int) -> None:
        """Count a page; an error if its rows are those of an earlier one."""
        self._first = page.sent if self._first is None else self._first
        self._rows += page.sent
        self._empty = 0 if page.sent else self._empty + 1
        if page.sent and page.digest:
            earlier = self._digests.setdefault(page.digest, number)
            if earlier != number:
                raise self.caller.broken(number, f"has the very rows of page {earlier}; the pages don't go on")

    def _number(
        self, pointer: str | None, header: str | None, answer: httpx.Response, page: Page, number: int
    ) -> int | None:
        """A count that an answer tells: of all rows, or of all pages."""
        if pointer is None and header is None:
            return None
        place = f"the header {header}" if pointer is None else repr(pointer)
        found: Any = answer.headers.get(header or "") if pointer is None else page.at(pointer)
        text = str(int(found)) if isinstance(found, float) and found.is_integer() else str(found)
        if isinstance(found, bool) or not text.isdecimal():
            told = "nothing" if found is ABSENT or found is None else self.caller.shown(found)
            raise self.caller.broken(number, f"should have the number of rows or pages at {place}, found {told}")
        return int(text)

    def _next(self, answer: httpx.Response, page: Page, number: int) -> str | None:
        """The next cursor or address; None at the end."""
        way = self.caller.resource.pages
        if isinstance(way, LinkPaging):
            found = answer.links.get("next", {}).get("url")
        else:
            found = self._pointed(way, page, number) if isinstance(way, CursorPaging | NextUrlPaging) else None
        if found is None:
            return None
        following = found if isinstance(way, CursorPaging) else self.caller.link(found, number)
        self._goes_on(following, number, "cursor" if isinstance(way, CursorPaging) else "address")
        return following

    def _pointed(self, way: CursorPaging | NextUrlPaging, page: Page, number: int) -> str | None:
        found, what = page.at(way.next), "cursor" if isinstance(way, CursorPaging) else "address"
        if found is ABSENT and isinstance(way, CursorPaging):
            told = self.caller.shown(page.at(""))
            whole = "; if the whole list comes at once, say paging={'by': 'none'}" if number == 1 else ""
            raise self.caller.broken(
                number, f"should have the next cursor (or null) at {way.next!r}, found {told}{whole}"
            )
        if found is ABSENT or found is None or found == "":
            return None
        if isinstance(found, bool) or not isinstance(found, str | int):
            told = self.caller.shown(found)
            raise self.caller.broken(number, f"should have a text as next {what} at {way.next!r}, found {told}")
        return str(found)

    def _goes_on(self, following: str, number: int, what: str) -> None:
        if following in self._nexts:
            raise self.caller.broken(
                number, f"gives a next {what} that an earlier page gave; the pages go round in a circle"
            )
        if self._empty > MOST_EMPTY_PAGES:
            raise self.caller.broken(
                number, f"is the {self._empty}th empty page in a row, and still there is a next {what}"
            )
        self._nexts.add(following)

    def _complete(self, question: Question, seen: Seen) -> None:
        """A list that ends before its own total has lost rows on the way."""
        if seen.total is not None and self._rows < min(seen.total, self.most or seen.total):
            told = f"is the last one, and {self._rows:,} rows came of the {seen.total:,} that the API tells of"
            raise self.caller.broken(question.number, told)


def _is_objects(rows: list[Any]) -> bool:
    """Whether a list could be rows; an empty one could."""
    return all(isinstance(row, dict) for row in rows[:100])
