"""When a cron line comes due: through the days on which clocks are changed, once for every time that it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentlab.errors import PlanError
from agentlab.moments import latest, upcoming

BERLIN = "Europe/Berlin"
#: Clocks go from 02:00 to 03:00 on the 29th of March, and from 03:00 back to 02:00 on the 25th of October.
SPRING, AUTUMN = datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "after", "moments"),
    [
        ("30 2 * * *", SPRING, ["2026-03-29T03:30+02:00", "2026-03-30T02:30+02:00"]),
        ("30 2 * * *", AUTUMN, ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("0 3 * * *", SPRING, ["2026-03-29T03:00+02:00", "2026-03-30T03:00+02:00"]),
        ("0 * * * *", SPRING + timedelta(hours=2), ["2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]),
        ("0 * * * *", AUTUMN + timedelta(hours=1), ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]),
        ("*/30 2-3 * * *", SPRING, ["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"]),
        ("0 9 * * 1", SPRING, ["2026-03-30T09:00+02:00", "2026-04-06T09:00+02:00"]),
    ],
    ids=["gap", "double hour", "after the gap", "hourly over the gap", "both hours", "both halves", "mondays"],
)
def test_clocks_that_are_changed(cron: str, after: datetime, moments: list[str]) -> None:
    found = upcoming(cron, after, len(moments), BERLIN)
    assert [moment.replace(":00+", "+", 1) for moment in found] == moments


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 * * * *", "15 1-3 * * *"])
@pytest.mark.parametrize(
    ("zone", "day"),
    [(BERLIN, SPRING), (BERLIN, AUTUMN), ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)), (None, SPRING)],
    ids=["spring", "autumn", "half an hour", "UTC"],
)
def test_looking_back_sees_each_moment_and_no_other(cron: str, zone: str | None, day: datetime) -> None:
    coming = [datetime.fromisoformat(moment) for moment in upcoming(cron, day, 60, zone)]
    ahead = [moment for moment in coming if moment < day + timedelta(days=2)]
    assert coming == sorted(set(coming))
    minutes = [day + timedelta(minutes=n) for n in range(0, 2 * 24 * 60, 15)]
    seen = {latest(cron, minute, zone) for minute in minutes} - {latest(cron, day, zone)}
    assert seen == {moment for moment in ahead if moment <= minutes[-1]}


def test_what_never_comes_is_no_time() -> None:
    with pytest.raises(PlanError, match="'0 0 31 2 \\*' is no time that comes"):
        upcoming("0 0 31 2 *")
