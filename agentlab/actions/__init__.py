"""The intent language: every action an agent may take, one class each.

`ACTIONS` maps a name to its class; `of(role)` gives those within an agent's authority. Nothing else in the system acts.
"""

from __future__ import annotations

from agentlab.actions.abstain import Clarify, Refuse
from agentlab.actions.base import ROLES, Action, ColumnType, Role, Schema, kind_of
from agentlab.actions.ingestion import Pull
from agentlab.actions.optimization import Diagnose, Index, Materialize, OrderBy, Partition, Recommend
from agentlab.actions.quality import Analyze, Quarantine, SuggestFixes
from agentlab.actions.storage import Provision, Publish, Schedule, cron_of
from agentlab.actions.transformation import (
    Aggregate,
    Cast,
    Dedupe,
    Derive,
    DropColumns,
    Fill,
    Filter,
    Join,
    Limit,
    Measure,
    NormalizeText,
    Pivot,
    Rename,
    Reorder,
    Replace,
    Sample,
    Select,
    Sort,
    Split,
    Transform,
    Union,
    Unpivot,
)

_ALL: tuple[type[Action], ...] = (
    *(Pull,),
    *(Analyze, SuggestFixes, Quarantine),
    *(Rename, Derive, Cast, DropColumns, Select, Reorder, Filter, Dedupe, Sort, Limit, Sample, Fill, Replace),
    *(NormalizeText, Split, Join, Union, Aggregate, Pivot, Unpivot),
    *(Provision, Publish, Schedule),
    *(Diagnose, Recommend, Index, OrderBy, Partition, Materialize),
    *(Clarify, Refuse),
)

#: Every action by its name, in the canonical order in which models see them.
ACTIONS: dict[str, type[Action]] = {cls.tool(): cls for cls in _ALL}


def of(role: Role | None) -> dict[str, type[Action]]:
    """The actions within a role's authority and those anyone may take; all of them for None.

    >>> list(of("ingestion"))
    ['pull', 'clarify', 'refuse']
    """
    return {name: cls for name, cls in ACTIONS.items() if role is None or cls.agent in (role, None)}


__all__ = [
    "ACTIONS",
    "ROLES",
    "Action",
    "Aggregate",
    "Analyze",
    "Cast",
    "Clarify",
    "ColumnType",
    "Dedupe",
    "Derive",
    "Diagnose",
    "DropColumns",
    "Fill",
    "Filter",
    "Index",
    "Join",
    "Limit",
    "Materialize",
    "Measure",
    "NormalizeText",
    "OrderBy",
    "Partition",
    "Pivot",
    "Provision",
    "Publish",
    "Pull",
    "Quarantine",
    "Recommend",
    "Refuse",
    "Rename",
    "Reorder",
    "Replace",
    "Role",
    "Sample",
    "Schedule",
    "Schema",
    "Select",
    "Sort",
    "Split",
    "SuggestFixes",
    "Transform",
    "Union",
    "Unpivot",
    "cron_of",
    "kind_of",
    "of",
]
