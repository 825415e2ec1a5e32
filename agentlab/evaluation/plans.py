"""Expectations about the plan and how it ended: status, actions, arguments, agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter

from agentlab.actions import Action, Role, cron_of, kind_of
from agentlab.actions.amounts import about, bytes_of
from agentlab.evaluation.ended import Ended
from agentlab.evaluation.expectations import holds
from agentlab.evaluation.form import Expectation
from agentlab.evaluation.values import same

#: Moments of two schedules that are compared.
MOMENTS = 1000
_START = datetime(2026, 1, 1, tzinfo=UTC)


@holds("status")
def status(said: Expectation, ended: Ended) -> Iterator[str]:
    """The run's status is the one, or one of those."""
    if ended.result.status not in str(said.status).split("|"):
        yield f"{ended.result.status}, not {said.status}: {' '.join(ended.result.message.split())[:300]}"


@holds("plan")
def plan(said: Expectation, ended: Ended) -> Iterator[str]:
    """The names of the plan's actions, in order."""
    found = [action.tool() for action in ended.plan.actions]
    if found != said.plan:
        yield f"{', '.join(found) or 'none'}, not {', '.join(said.plan or ())}"


@holds("agents")
def agents(said: Expectation, ended: Ended) -> Iterator[str]:
    """The agents that acted, in order: a new one wherever the work went over to another."""
    found: list[Role] = []
    for action in ended.acting:
        if action.agent and (not found or found[-1] != action.agent):
            found.append(action.agent)
    if found != said.agents and list(ended.plan.agents) != said.agents:
        yield f"{', '.join(found) or 'none'}, not {', '.join(said.agents or ())}"


@holds("args")
def args(said: Expectation, ended: Ended) -> Iterator[str]:
    """One of the plan's actions has all these arguments."""
    wanted, actions = said.args or {}, ended.plan.actions
    if not any(_has(action, wanted) for action in actions):
        told = "; ".join(map(str, actions)) or "an empty plan"
        yield f"no action has {json.dumps(wanted, ensure_ascii=False)}; there is {told}"


def _has(action: Action, wanted: dict[str, Any]) -> bool:
    given = action.model_dump(mode="json")
    return all(key in given and _same(key, given[key], value, action) for key, value in wanted.items())


def _same(key: str, found: Any, wanted: Any, action: Action) -> bool:
    """Whether an argument is what was wanted, in whatever words it was put."""
    if isinstance(wanted, list) != isinstance(found, list):
        found, wanted = (x if isinstance(x, list) else [x] for x in (found, wanted))
    if same(found, wanted):
        return True
    if not isinstance(found, str) or not isinstance(wanted, str):
        return False
    measure = {"span": about, "size": bytes_of, "when": cron_fires}.get(kind_of(type(action).model_fields[key]) or "")
    try:
        return measure is not None and measure(found) == measure(wanted)
    except ValueError:
        return False


def cron_fires(when: str) -> list[float]:
    """The moments at which a schedule in words or in cron fires."""
    return fires(cron_of(when))


def fires(cron: str, zone: str | None = None) -> list[float]:
    """The next moments of a cron line in a time zone (UTC if none), in seconds since 1970, from the beginning of 2026.

    >>> fires("0 2 * * *") == fires("00 02 */1 * *")
    True
    """
    moments = croniter(cron, _START.astimezone(ZoneInfo(zone)) if zone else _START)
    return [moments.get_next(float) for _ in range(MOMENTS)]


def spans_equal(one: str, other: str) -> bool:
    """Whether two lengths of time are the same, in whatever units.

    >>> spans_equal("24 hours", "1 day"), spans_equal("90 days", "3 months")
    (True, False)
    """
    return one == other or about(one) == about(other) != timedelta(0)
