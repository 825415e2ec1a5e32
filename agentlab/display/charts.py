"""Small pictures as inline SVG: histograms, and bars that compare. Colours come from the page's styles."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 160, 36


def histogram(counts: Sequence[int], edges: Sequence[float] = ()) -> Markup:
    """A bar for each count; a bin that isn't empty is always to be seen. Its title tells range and count.

    >>> str(histogram([1, 4])).count("<rect")
    2
    """
    most = max(counts, default=0) or 1
    step = WIDTH / max(len(counts), 1)
    bars = Markup("").join(
        _bar(number * step, step, _height(count, most), _title(number, count, edges))
        for number, count in enumerate(counts)
    )
    return Markup(
        '<svg class="al-histogram" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img">{}</svg>'
    ).format(WIDTH, HEIGHT, bars)


def _height(count: int, most: int) -> float:
    return max(count / most * HEIGHT, 1.5) if count else 0.0


def _bar(x: float, step: float, height: float, title: str) -> Markup:
    return Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>').format(
        x, HEIGHT - height, max(step - 1, 1), height, title
    )


def _title(number: int, count: int, edges: Sequence[float]) -> str:
    if number + 1 < len(edges):
        return f"{edges[number]:,.6g} to {edges[number + 1]:,.6g}: {count:,}"
    return f"{count:,}"


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
