"""The intent language: every action an agent may take, one class each.

`ACTIONS` maps a name to its class; `of(role)` gives those within an agent's authority. Nothing else in the system acts.
"""

from __future__ import annotations

from agentlab.actions.abstain import Clarify, Refuse
from agentlab.actions.base import ROLES, Action, ColumnType, Role, Schema, kind_of
from agentlab.actions.ingestion import DescribeSource, LoadFile, Pull, Sync
from agentlab.actions.optimization import Compact, Diagnose, Index, Materialize, OrderBy, Partition, Recommend, Throttle
from agentlab.actions.quality import Analyze, Check, Compare, FindOutliers, Quarantine, SuggestFixes
from agentlab.actions.storage import (
    Drop,
    Export,
    Pause,
    Provision,
    Publish,
    Resize,
    Restore,
    Resume,
    Retain,
    Schedule,
    TakeSnapshot,
    Unschedule,
    Usage,
    cron_of,
)
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
    *(Pull, LoadFile, Sync, DescribeSource),
    *(Analyze, SuggestFixes, Quarantine, Check, FindOutliers, Compare),
    *(Rename, Derive, Cast, DropColumns, Select, Reorder, Filter, Dedupe, Sort, Limit, Sample, Fill, Replace),
    *(NormalizeText, Split, Join, Union, Aggregate, Pivot, Unpivot),
    *(Provision, Publish, Export, Schedule, Unschedule, Pause, Resume, Retain),
    *(TakeSnapshot, Restore, Resize, Usage, Drop),
    *(Diagnose, Recommend, Index, OrderBy, Partition, Materialize, Compact, Throttle),
    *(Clarify, Refuse),
)

#: Every action by its name, in the canonical order in which models see them.
ACTIONS: dict[str, type[Action]] = {cls.tool(): cls for cls in _ALL}


def of(role: Role | None) -> dict[str, type[Action]]:
    """The actions within a role's authority and those anyone may take; all of them for None.

    >>> list(of("ingestion"))
    ['pull', 'load_file', 'sync', 'describe_source', 'clarify', 'refuse']
    """
    return {name: cls for name, cls in ACTIONS.items() if role is None or cls.agent in (role, None)}


__all__ = [
    "ACTIONS",
    "ROLES",
    "Action",
    "Aggregate",
    "Analyze",
    "Cast",
    "Check",
    "Clarify",
    "ColumnType",
    "Compact",
    "Compare",
    "Dedupe",
    "Derive",
    "DescribeSource",
    "Diagnose",
    "Drop",
    "DropColumns",
    "Export",
    "Fill",
    "Filter",
    "FindOutliers",
    "Index",
    "Join",
    "Limit",
    "LoadFile",
    "Materialize",
    "Measure",
    "NormalizeText",
    "OrderBy",
    "Partition",
    "Pause",
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
    "Resize",
    "Restore",
    "Resume",
    "Retain",
    "Role",
    "Sample",
    "Schedule",
    "Schema",
    "Select",
    "Sort",
    "Split",
    "SuggestFixes",
    "Sync",
    "TakeSnapshot",
    "Throttle",
    "Transform",
    "Union",
    "Unpivot",
    "Unschedule",
    "Usage",
    "cron_of",
    "kind_of",
    "of",
]
