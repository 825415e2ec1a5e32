"""When a cron line comes due, in a time zone: no moment twice, and none left out where clocks are changed.

A line that names its hours fires once for each of them: an hour that the clocks skip in spring is made up for right
after (02:30 becomes 03:30), and one that they repeat in autumn counts the first time. A line for every hour (`*`) fires
at every hour that passes. (So do Vixie cron and its heirs.)
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from agentlab.errors import PlanError

#: Clocks are changed by less than this, so moments that are further apart are in the order of their wall times.
_SHIFT = timedelta(hours=3)


def upcoming(cron: str, after: datetime | None = None, many: int = 5, zone: str | None = None) -> list[str]:
    """The next moments of a schedule, ISO 8601 with the zone's offset (None: UTC); PlanError if there are none.

    >>> upcoming("0 2 * * *", datetime(2026, 1, 1, tzinfo=UTC), many=2)
    ['2026-01-01T02:00:00+00:00', '2026-01-02T02:00:00+00:00']
    >>> upcoming("30 2 * * *", datetime(2026, 3, 28, tzinfo=UTC), many=3, zone="Europe/Berlin")
    ['2026-03-28T02:30:00+01:00', '2026-03-29T03:30:00+02:00', '2026-03-30T02:30:00+02:00']
    """
    start = after or datetime.now(UTC)
    try:
        found = _first(cron, start, many, place := ZoneInfo(zone or "UTC"))
    except (ValueError, OverflowError) as fault:
        raise PlanError(f"{cron!r} is no time that comes: {fault}") from fault
    return [moment.astimezone(place).isoformat() for moment in found]


def latest(cron: str, now: datetime, zone: str | None = None) -> datetime:
    """The latest moment of a schedule that isn't after `now`, in UTC.

    >>> latest("0 2 * * *", datetime(2026, 7, 1, 1, tzinfo=UTC), "Europe/Berlin").isoformat()
    '2026-07-01T00:00:00+00:00'
    """
    place = ZoneInfo(zone or "UTC")
    begin = now.astimezone(place).replace(tzinfo=None, microsecond=0) + _SHIFT
    best: datetime | None = None
    for wall, moments in _moments(cron, begin, place, forward=False):
        if best is not None and wall < best.astimezone(place).replace(tzinfo=None) - _SHIFT:
            break
        best = max([m for m in moments if m <= now] + ([best] if best else []), default=None)
    if best is None:
        raise PlanError(f"{cron!r} is no time that has ever come")
    return best


def _first(cron: str, after: datetime, many: int, place: ZoneInfo) -> list[datetime]:
    found: set[datetime] = set()
    for wall, moments in _moments(cron, after.astimezone(place).replace(tzinfo=None) - _SHIFT, place):
        ordered = sorted(found)[:many]
        if len(ordered) == many and wall > ordered[-1].astimezone(place).replace(tzinfo=None) + _SHIFT:
            break
        found.update(moment for moment in moments if moment > after)
    return sorted(found)[:many]


def _moments(
    cron: str, begin: datetime, place: ZoneInfo, forward: bool = True
) -> Iterator[tuple[datetime, list[datetime]]]:
    """Each wall time of a cron line, one after the other from `begin`, with the moments in UTC at which it counts."""
    walls, hourly = croniter(cron, begin), cron.split()[1] in ("*", "*/1")
    step = walls.get_next if forward else walls.get_prev
    while True:
        wall: datetime = step(datetime)
        yield wall, [*(_passing(wall, place) if hourly else [wall.replace(tzinfo=place).astimezone(UTC)])]


def _passing(wall: datetime, place: ZoneInfo) -> Iterator[datetime]:
    """The moments at which clocks show a wall time: none that is skipped, both of one that is repeated."""
    for fold in (0, 1):
        moment = wall.replace(tzinfo=place, fold=fold).astimezone(UTC)
        if moment.astimezone(place).replace(tzinfo=None, fold=0) == wall:
            yield moment
