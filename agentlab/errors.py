"""Every error agentlab raises, in two families.

`PlanError`: a model may mend it; it is fed back to the model once. `LabError`: a person must.
Both say the fault, the value and, where there are choices, the nearest right one first.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AgentlabError(Exception):
    """The common base, so that `except AgentlabError` catches whatever agentlab says on purpose."""


class PlanError(AgentlabError):
    """A plan that can't run as it stands: an unknown table or column, a value of the wrong type."""


class LabError(AgentlabError):
    """A fault outside the plan: a missing model, a port in use, a lab of a newer version."""


class Conflict(LabError):
    """Another run changed the same thing first; nothing was written."""


def nearest(value: str, choices: Iterable[str], limit: int = 8) -> list[str]:
    """The choices, those most like `value` first, at most `limit`.

    >>> nearest("custmer_id", ["order_id", "email", "customer_id"])
    ['customer_id', 'order_id', 'email']
    """
    ratio = difflib.SequenceMatcher(b=value.lower())

    def likeness(choice: str) -> float:
        ratio.set_seq1(choice.lower())
        return ratio.ratio()

    return sorted(choices, key=likeness, reverse=True)[:limit]


def unknown(kind: str, value: str, choices: Iterable[str], where: str = "") -> str:
    """One sentence: what isn't there, and what is, nearest first.

    >>> unknown("column", "custmer_id", ["order_id", "customer_id"], "in staging.orders")
    "no column 'custmer_id' in staging.orders; did you mean 'customer_id'? There are: customer_id, order_id"
    """
    near = nearest(value, choices)
    place = f" {where}" if where else ""
    if not near:
        return f"no {kind} {value!r}{place}; there are none yet"
    return f"no {kind} {value!r}{place}; did you mean {near[0]!r}? There are: {', '.join(near)}"
