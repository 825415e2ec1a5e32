"""Small pictures as inline SVG: histograms, and bars that compare. Colours come from the page's styles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from markupsafe import Markup

WIDTH, HEIGHT = 160, 36


def histogram(
    counts: Sequence[int], edges: Sequence[float] = (), moments: bool = False, within: tuple[float, float] | None = None
) -> Markup:
    """A bar for each count; a bin that isn't empty is always to be seen. Its title tells range and count.

    `moments`: the edges are seconds since 1970. Bins that lie outside `within` have another colour.

    >>> str(histogram([1, 4])).count("<rect")
    2
    """
    most = max(counts, default=0) or 1
    step = WIDTH / max(len(counts), 1)
    bars = Markup("").join(
        _bar(
            number * step,
            step,
            _height(count, most),
            _title(number, count, edges, moments),
            _tone(number, edges, within),
        )
        for number, count in enumerate(counts)
    )
    return _picture(bars)


def overlaid(here: Sequence[float], there: Sequence[float], titles: Sequence[str]) -> Markup:
    """Two distributions over the same bins: one as bars, the other as a line of steps above them.

    >>> str(overlaid([0.5, 0.5], [1.0, 0.0], ["a", "b"])).count("<rect")
    2
    """
    most = max([*here, *there], default=0) or 1
    step = WIDTH / max(len(here), 1)
    bars = Markup("").join(
        _bar(number * step, step, _height(share, most), f"{title}: {share:.1%} here, {other:.1%} there", "")
        for number, (share, other, title) in enumerate(zip(here, there, titles, strict=True))
    )
    points = [
        f"{x:.2f},{HEIGHT - share / most * HEIGHT:.2f}"
        for number, share in enumerate(there)
        for x in (number * step, (number + 1) * step)
    ]
    return _picture(bars + Markup('<polyline class="al-there" points="{}"></polyline>').format(" ".join(points)))


def _picture(inside: Markup) -> Markup:
    return Markup(
        '<svg class="al-histogram" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img">{}</svg>'
    ).format(WIDTH, HEIGHT, inside)


def _tone(number: int, edges: Sequence[float], within: tuple[float, float] | None) -> str:
    if within is None or number + 1 >= len(edges):
        return ""
    middle = (edges[number] + edges[number + 1]) / 2
    return "" if within[0] <= middle <= within[1] else "al-out"


def _height(count: float, most: float) -> float:
    return max(count / most * HEIGHT, 1.5) if count else 0.0


def _bar(x: float, step: float, height: float, title: str, tone: str) -> Markup:
    return Markup(
        '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>'
    ).format(tone, x, HEIGHT - height, max(step - 1, 1), height, title)


def _title(number: int, count: int, edges: Sequence[float], moments: bool) -> str:
    if number + 1 < len(edges):
        low, high = (_edge(edge, moments) for edge in edges[number : number + 2])
        return f"{low} to {high}: {count:,}"
    return f"{count:,}"


def _edge(edge: float, moments: bool) -> str:
    if not moments:
        return f"{edge:,.6g}"
    try:
        return datetime.fromtimestamp(edge, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{edge:,.6g}"


def between(edges: Sequence[float], moments: bool) -> list[str]:
    """What each bin between the edges holds, in words.

    >>> between([0, 86400], True), between([1, 2, 3], False)
    (['1970-01-01 to 1970-01-02'], ['1 to 2', '2 to 3'])
    """
    ends = [_edge(edge, moments) for edge in edges]
    return [f"{low} to {high}" for low, high in pairwise(ends)]


def meter(part: float, tone: str = "") -> Markup:
    """How much of a whole, as a filled bar; `tone` is good, warn or bad.

    >>> "width:50.0%" in meter(0.5)
    True
    """
    filled = min(max(part, 0.0), 1.0) * 100
    return Markup('<span class="al-meter {}"><span style="width:{:.1f}%"></span></span>').format(tone, filled)


def tone(score: float) -> str:
    """The colour of a score or a confidence, 0 to 1."""
    return "good" if score >= 0.99 else "warn" if score >= 0.8 else "bad"
