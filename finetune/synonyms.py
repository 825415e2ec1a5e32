"""Other words for the same, and what people say besides: `data/intents/synonyms/*.txt`, `data/intents/asides/*.txt`.

Written by people (`data/intents/README.md` says by whom), not from a thesaurus: an other word fits in the same place of a
request, with the same meaning. An aside (a greeting, a reason, a sigh) asks for nothing.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "intents"
#: How often a saying is varied at all, and then each of its words that has others.
VARIED, EACH = 0.5, 0.25
ASIDE = 0.1


@cache
def synonyms(folder: Path = FOLDER / "synonyms") -> dict[str, tuple[str, ...]]:
    """What else is said for a word or phrase: of lines `key = other; other`. ValueError names a line that isn't one."""
    found: dict[str, dict[str, None]] = {}
    for path in sorted(folder.glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            key, equals, others = (part.strip() for part in line.partition("="))
            said = [other.strip() for other in others.split(";") if other.strip()]
            if not (key and equals and said):
                raise ValueError(f"{path.name}:{number}: {line!r} isn't `key = other; other`")
            found.setdefault(key, {}).update(dict.fromkeys(said))
    return {key: tuple(others) for key, others in found.items()}


@cache
def _keys() -> re.Pattern[str]:
    """Any key, the longest first, as whole words."""
    keys = sorted(synonyms(), key=len, reverse=True)
    return re.compile(rf"(?<![\w'-])({'|'.join(map(re.escape, keys))})(?![\w'-])", re.IGNORECASE)


def varied(text: str, r: random.Random, each: float = EACH) -> str:
    """The text with some of its words said otherwise.

    >>> varied("Remove", random.Random(1), each=0.0)
    'Remove'
    """

    def other(match: re.Match[str]) -> str:
        if r.random() >= each:
            return match[0]
        said = r.choice(synonyms()[match[0].lower()])
        return said[:1].upper() + said[1:] if match[0][:1].isupper() else said

    return _keys().sub(other, text) if synonyms() else text


@cache
def asides(folder: Path = FOLDER / "asides") -> dict[str, tuple[str, ...]]:
    """What is said `before` a request and `after` it: of lines `before| good morning,`."""
    found: dict[str, list[str]] = {"before": [], "after": []}
    for path in sorted(folder.glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            where, bar, said = line.partition("|")
            if where not in found or not (bar and said.strip()):
                raise ValueError(f"{path.name}:{number}: {line!r} isn't `before| words` or `after| words`")
            found[where].append(said.strip())
    return {where: tuple(said) for where, said in found.items()}


def with_aside(text: str, r: random.Random) -> str:
    """The text with something before or after it that asks for nothing."""
    known = asides()
    if r.random() < 0.5 and known["before"]:
        return f"{r.choice(known['before'])} {text}"
    if known["after"]:
        said = r.choice(known["after"])
        bare = re.sub(r"(?<=\w)[.?!]$", "", text)
        return f"{bare}{'' if said[0] in ',.;' else ' '}{said}"
    return text
