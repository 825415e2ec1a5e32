"""What a rule is, the issues that it tells, and the rules of every agent: tables, columns and SQL exist and fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlglot import exp

from agentlab.actions import (
    Action,
    Derive,
    Filter,
    Join,
    Pull,
    Quarantine,
    Restore,
)
from agentlab.errors import PlanError, unknown
from agentlab.expressions import Expression
from agentlab.simulation import Sight, World

Severity = Literal["mend", "clarify", "refuse", "approval"]


class Issue(BaseModel):
    """Why a plan can't run as it is. `action` counts from 1; 0 is the plan as a whole.

    `mend`: a model may, told the message. `clarify`: only the asker can. `refuse`: it must not run. `approval`: it may,
    when a person agrees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    severity: Severity
    message: str
    action: int


@dataclass(frozen=True)
class Rule:
    """A check of one action; it yields a message for every problem."""

    severity: Severity
    problems: Callable[[Action, World], Iterator[str]]

    @property
    def name(self) -> str:
        return self.problems.__name__


def tables_exist(action: Action, world: World) -> Iterator[str]:
    """Every table that is read exists, or an earlier action makes it."""
    if isinstance(action, Restore):
        return  # A table that was dropped can be restored; `versions_exist` tells.
    for name in action.references("table"):
        if name not in world.tables:
            yield unknown("table", name, world.tables)


def columns_exist(action: Action, world: World) -> Iterator[str]:
    """Every column is one of the action's table."""
    if (sight := world.read(action)) is not None:
        columns = action.on if isinstance(action, Join) else action.references("column")
        yield from missing(columns, sight, f"in {table_of(action)}")


def expressions_parse(action: Action, world: World) -> Iterator[str]:
    """Expressions and conditions are allowed ones over columns that exist, and their types fit."""
    sight = world.resource(action) if isinstance(action, Pull) else world.read(action)
    if sight is None:
        return
    for sql, boolean in _expressions(action):
        try:
            parsed = sight.parse(sql, boolean=boolean)
        except PlanError as fault:
            yield str(fault)
            continue
        if boolean and (name := compared_with_itself(parsed)):
            yield f"{sql} compares {name} with its own name"


def compared_with_itself(parsed: Expression) -> str:
    """A column that is compared with its own name as a text: nobody means that."""
    for node in parsed.tree.find_all(exp.EQ):
        column, text = node.this, node.expression
        if (
            isinstance(column, exp.Column)
            and isinstance(text, exp.Literal)
            and column.name.lower() == text.name.lower()
        ):
            return column.name
    return ""


def _expressions(action: Action) -> Iterator[tuple[str, bool]]:
    if isinstance(action, Derive):
        yield action.expr, False
    if isinstance(action, Filter | Quarantine) or (isinstance(action, Pull) and action.where is not None):
        yield action.where or "", True


def table_of(action: Action) -> str:
    """The table that an action names; empty if it names none."""
    return str(getattr(action, "table", ""))


def missing(columns: tuple[str, ...] | list[str], sight: Sight, where: str) -> Iterator[str]:
    """A message for each column that a table can't have, the nearest that it has first."""
    for column in dict.fromkeys(columns):
        if not sight.may_have(column):
            yield unknown("column", column, sight.schema, where)
