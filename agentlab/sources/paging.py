"""How an API gives a long list in pages: what to ask first, what next, and by what the end is known.

Nothing is fetched here. A way of paging is a document in the catalog; `first` and `after` turn it into questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field

from agentlab.sources.settings import Doc, Pointer

#: Stands for what a JSON pointer doesn't find.
ABSENT: Any = object()


class CursorPaging(Doc):
    """A value in each answer that asks for the next page; the last one has none, or null."""

    by: Literal["cursor"] = "cursor"
    parameter: str = "cursor"
    next: Pointer = "/next_cursor"


class PageNumberPaging(Doc):
    """Pages by number. The end is an empty page, a page shorter than the first, or where `total` rows or `pages` end.

    `total` and `pages` are pointers, `total_header` the name of a header that has the number of rows.
    """

    by: Literal["page"] = "page"
    parameter: str = "page"
    first: Annotated[int, Field(ge=0)] = 1
    total: Pointer | None = None
    total_header: str | None = None
    pages: Pointer | None = None


class OffsetPaging(Doc):
    """Pages by the number of rows before them; the end is as of pages by number."""

    by: Literal["offset"] = "offset"
    parameter: str = "offset"
    total: Pointer | None = None
    total_header: str | None = None


class LinkPaging(Doc):
    """The address of the next page in the `Link` header (RFC 8288, rel="next"); the last page has none."""

    by: Literal["link"] = "link"


class NextUrlPaging(Doc):
    """The address of the next page in the answer; the last one has none, or null."""

    by: Literal["next_url"] = "next_url"
    next: Pointer = "/next"


class WholePaging(Doc):
    """Everything in one answer."""

    by: Literal["none"] = "none"


Paging = Annotated[
    CursorPaging | PageNumberPaging | OffsetPaging | LinkPaging | NextUrlPaging | WholePaging,
    Field(discriminator="by"),
]
#: Those whose later pages can be asked for without having seen the ones before.
Counted = PageNumberPaging | OffsetPaging


@dataclass(frozen=True)
class Question:
    """What to ask for: the page's number from 1, and what the paging adds to the resource's address, or replaces it."""

    number: int = 1
    params: tuple[tuple[str, str], ...] = ()
    url: str | None = None
    #: Rows before this page.
    offset: int = 0


@dataclass(frozen=True)
class Seen:
    """What an answer told of the paging: its rows, those of the first page, how many rows or pages there are in all,
    if told, and what comes next."""

    rows: int
    first: int
    total: int | None = None
    pages: int | None = None
    next: str | None = None


def first(paging: Paging) -> Question:
    """What to ask first.

    >>> first(PageNumberPaging()).params
    (('page', '1'),)
    """
    if isinstance(paging, PageNumberPaging):
        return Question(params=((paging.parameter, str(paging.first)),))
    return Question(params=((paging.parameter, "0"),)) if isinstance(paging, OffsetPaging) else Question()


def after(paging: Paging, asked: Question, seen: Seen) -> Question | None:
    """What to ask after an answer; None at the end.

    >>> after(OffsetPaging(), Question(), Seen(rows=50, first=50)).params
    (('offset', '50'),)
    >>> after(OffsetPaging(), Question(), Seen(rows=50, first=50, total=50))
    """
    following = replace(asked, number=asked.number + 1, offset=asked.offset + seen.rows)
    if isinstance(paging, Counted):
        return None if _ended(following, seen) else _counted(paging, following)
    if seen.next is None:
        return None
    if isinstance(paging, CursorPaging):
        return replace(following, params=((paging.parameter, seen.next),))
    return replace(following, params=(), url=seen.next)


def _ended(following: Question, seen: Seen) -> bool:
    """An API may send fewer rows a page than it was asked for, so the first page says how long one is."""
    if seen.pages is not None:
        return following.number > seen.pages
    if seen.total is not None and seen.rows:
        return following.offset >= seen.total
    return seen.rows == 0 or seen.rows < seen.first


def _counted(paging: Counted, question: Question) -> Question:
    at = question.offset if isinstance(paging, OffsetPaging) else paging.first + question.number - 1
    return replace(question, params=((paging.parameter, str(at)),))


def rest(paging: Counted, seen: Seen, most: int | None) -> Iterator[Question]:
    """All that is to be asked after the first page of a list whose length is known, as far as `most` rows go.

    >>> [question.params[0] for question in rest(OffsetPaging(), Seen(rows=20, first=20, total=45), None)]
    [('offset', '20'), ('offset', '40')]
    """
    pages = seen.pages if seen.pages is not None else ceil((seen.total or 0) / max(seen.first, 1))
    pages = min(pages, ceil(most / max(seen.first, 1)) if most else pages)
    for number in range(2, pages + 1):
        yield _counted(paging, Question(number=number, offset=(number - 1) * seen.first))


def in_words(paging: Paging) -> str:
    """A way of paging as people say it."""
    match paging:
        case CursorPaging():
            return f"by the cursor {paging.parameter}"
        case PageNumberPaging() | OffsetPaging():
            return f"by {paging.by}, the parameter {paging.parameter}"
        case LinkPaging():
            return "by the Link header"
        case NextUrlPaging():
            return f"by the address at {paging.next}"
    return "everything in one answer"
