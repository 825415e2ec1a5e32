"""What any agent may do instead of acting."""

from __future__ import annotations

from typing import Literal

from agentlab.actions.base import Action, Text


class Clarify(Action):
    """Ask, because something needed is missing or could mean two things. Nothing runs."""

    question: Text
    about: Literal[
        "column",
        "name",
        "type",
        "value",
        "how",
        "table",
        "source",
        "when",
        "store",
        "query",
        "task",
        "file",
        "snapshot",
    ] = "how"


class Refuse(Action):
    """Decline: out of scope, outside the agent's authority, or unsafe. Nothing runs."""

    reason: Text
    because: Literal["scope", "authority", "unsafe"] = "scope"
