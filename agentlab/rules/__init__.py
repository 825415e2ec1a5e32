"""Every check of a plan against the catalog, one function a rule: `RULES`. All problems come back at once.

A plan is walked action by action over simulated schemas (`simulation.py`), so an action may use what an earlier one of
the same plan makes. What only the data can tell is left to those who act; `removal_needs_approval` is their yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentlab import naming
from agentlab.actions import Action, Role, of
from agentlab.approvals import removal_needs_approval, replaces_work
from agentlab.entries import Entries
from agentlab.plan import Plan
from agentlab.rules import base, ingestion, keeping, optimization, quality, storage, transformation
from agentlab.rules.base import Issue, Rule, Severity
from agentlab.simulation import World

__all__ = ["RULES", "Issue", "Rule", "Severity", "check", "removal_needs_approval"]


def check(plan: Plan, catalog: Entries, role: Role | None) -> list[Issue]:
    """Every problem of a plan, in the order of its actions; none for a plan that abstains, since nothing runs.

    `role` is whose authority the plan is made with; None has everyone's.
    """
    if plan.abstention:
        return []
    if not plan.actions:
        return [Issue(rule="says_something", severity="clarify", message="the plan has no action", action=0)]
    world, issues = World(catalog), list[Issue]()
    for number, action in enumerate(plan.actions, 1):
        found = [*_authority(action, role, number), *_broken(action, world, number)]
        issues += found
        world.apply(action, sound=not any(issue.severity in ("mend", "refuse") for issue in found))
    return issues


def _authority(action: Action, role: Role | None, number: int) -> Iterator[Issue]:
    if role is not None and action.agent not in (role, None):
        allowed = ", ".join(of(role))
        message = f"{action.tool()} is for the {action.agent} agent; the {role} agent may {allowed}"
        yield Issue(rule="authority", severity="refuse", message=message, action=number)


def _broken(action: Action, world: World, number: int) -> Iterator[Issue]:
    for rule in RULES:
        for message in rule.problems(action, world):
            yield Issue(rule=rule.name, severity=rule.severity, message=message, action=number)


_AGENTS = (*ingestion.RULES, *quality.RULES, *storage.RULES, *keeping.RULES, *optimization.RULES)


def _of(severity: Severity) -> tuple[Rule, ...]:
    return tuple(rule for rule in _AGENTS if rule.severity == severity)


#: Every rule: those that forbid first, then what must exist, then what must fit, what only a person can tell last.
RULES: tuple[Rule, ...] = (
    *_of("refuse"),
    Rule("mend", base.tables_exist),
    *_of("mend"),
    Rule("mend", base.columns_exist),
    *(Rule("mend", rule) for rule in (naming.names_valid, naming.column_names_valid, naming.names_free)),
    *(Rule("mend", rule) for rule in (naming.names_differ, naming.rename_changes, naming.column_names_free)),
    *(Rule("mend", rule) for rule in (naming.columns_once, base.expressions_parse)),
    *transformation.RULES,
    *_of("clarify"),
    *_of("approval"),
    Rule("approval", replaces_work),
)
