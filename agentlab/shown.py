"""How things of ours show themselves: in words where they are printed, as HTML in a notebook.

No markup is made here. `agentlab.display`, which lies above whatever it shows, registers how with `show_with`; a lab
imports it, so that whoever has a result has its HTML, too.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Shown:
    """Its words are its `repr`; a notebook shows it by the registered renderer."""

    def __repr__(self) -> str:
        return str(self) or f"{type(self).__name__}()"

    def _repr_html_(self) -> str:
        return _html(self)


class Listed(Shown, list[T], Generic[T]):
    """A list that shows itself whole, a line for each of its items.

    >>> Listed(["pulled", "judged"])
    pulled
    judged
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def plain(thing: object) -> str:
    """The words of a thing as they are, while nothing better is registered.

    >>> plain("a < b")
    '<pre>a &lt; b</pre>'
    """
    return f"<pre>{html.escape(str(thing))}</pre>"


_html: Callable[[Any], str] = plain


def show_with(render: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let notebooks show things by this renderer from now on; returns the one before."""
    global _html
    before, _html = _html, render
    return before
