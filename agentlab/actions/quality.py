"""What the quality agent may do: judge every table, and set failing rows aside in `quarantine.*`."""

from __future__ import annotations

from typing import ClassVar

from agentlab.actions.base import Action, Column, Role, Table, Text, Where


class Analyze(Action):
    """Find missing values, duplicates, outliers, wrong types, constant columns and broken formats; give a score."""

    agent: ClassVar[Role | None] = "quality"
    table: Table
    columns: tuple[Column, ...] = ()


class SuggestFixes(Action):
    """Propose a plan that mends what the analysis found, with the score expected after it. Runs nothing."""

    agent: ClassVar[Role | None] = "quality"
    table: Table


class Quarantine(Action):
    """Move the rows for which the condition is true to `quarantine.<table>`, with the reason."""

    agent: ClassVar[Role | None] = "quality"
    table: Table
    where: Where
    reason: Text | None = None
