"""Time zones as people name them: `UTC`, `Europe/Berlin`, "Berlin time", "Indian time"; candidates for linking."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from zoneinfo import available_timezones

#: Abbreviations that mean one thing to most people who write them; capitals, since "est" is a word, too.
SHORT = {
    "UTC": "UTC", "GMT": "UTC", "CET": "Europe/Berlin", "CEST": "Europe/Berlin", "MEZ": "Europe/Berlin",
    "EET": "Europe/Helsinki", "BST": "Europe/London", "EST": "America/New_York", "EDT": "America/New_York",
    "ET": "America/New_York", "CST": "America/Chicago", "CT": "America/Chicago", "MST": "America/Denver",
    "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles", "PT": "America/Los_Angeles", "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo", "SGT": "Asia/Singapore", "AEST": "Australia/Sydney",
}  # fmt: skip
#: What makes "Indian" of India, "Japanese" of Japan.
_THEIRS = ("n", "ian", "ese", "i", "ish")
_WORDS = {"eastern": "America/New_York", "pacific": "America/Los_Angeles", "central european": "Europe/Berlin"}


@lru_cache
def _cities() -> dict[str, str]:
    """The last part of a zone's name, as it is spoken, to the zone."""
    zones = sorted(z for z in available_timezones() if "/" in z and not z.startswith(("Etc/", "SystemV/", "US/")))
    return _countries() | {zone.rsplit("/", 1)[1].replace("_", " ").lower(): zone for zone in zones} | _WORDS


def _countries() -> dict[str, str]:
    """Countries that have a single zone, and what is usually said of what is theirs, to that zone."""
    tables = files("tzdata") / "zoneinfo"
    rows = [line.split("\t") for line in (tables / "iso3166.tab").read_text("utf-8").splitlines() if line[:1] != "#"]
    names = {code: name.lower() for code, name in rows if re.fullmatch(r"[A-Za-z ]+", name)}
    zones: dict[str, list[str]] = {}
    for line in (tables / "zone.tab").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            zones.setdefault(line.split("\t")[0], []).append(line.split("\t")[2])
    single = {names[code]: known[0] for code, known in zones.items() if len(known) == 1 and code in names}
    return {said: zone for name, zone in single.items() for said in (name, *(name + end for end in _THEIRS))}


def _pattern() -> str:
    cities = "|".join(sorted((re.escape(city) for city in _cities()), key=len, reverse=True)).replace("\\ ", r"\s")
    named = "|".join(sorted(SHORT, key=len, reverse=True))
    areas = "Africa|America|Antarctica|Asia|Atlantic|Australia|Europe|Indian|Pacific"
    return (
        rf"\b(?-i:{named})\b(?:\s(?:time|timezone)\b)?|\b(?-i:(?:{areas})/[A-Za-z_/]+[a-z])\b"
        rf"|\b(?:{cities})(?='?s?\s(?:local\s)?(?:time\s?zone|time|tz)\b)"
        rf"|(?:(?<=time\sin\s)|(?<=time\szone\s)|(?<=timezone\s))(?:{cities})\b"
    )


#: Matches the mention of a zone; for a pattern that ignores case and white space.
ZONES = _pattern()


def zone_of(text: str) -> str | None:
    """The IANA name of a mentioned zone; None if it is none.

    >>> zone_of("CET"), zone_of("new york"), zone_of("Europe/Paris"), zone_of("Indian")
    ('Europe/Berlin', 'America/New_York', 'Europe/Paris', 'Asia/Kolkata')
    """
    name = re.sub(r"\s(time|timezone)$", "", text.strip())
    if name in SHORT:
        return SHORT[name]
    if name in available_timezones():
        return name
    return _cities().get(re.sub(r"\s+", " ", name).lower())
