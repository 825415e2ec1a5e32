"""Rules of the quality agent: a check can be asked of its columns, and what it refers to exists."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions import Action, Check, ColumnType, Compare, FindOutliers, Quarantine
from agentlab.actions.quality import PATTERNS
from agentlab.inference import readable
from agentlab.rules.base import Rule, missing
from agentlab.simulation import Sight, World, writes

_NUMBERS: tuple[ColumnType, ...] = ("int", "float", "text")
_MOMENTS: tuple[ColumnType, ...] = ("date", "timestamp", "text")


def aside_once(action: Action, world: World) -> Iterator[str]:
    """What is in quarantine isn't set aside once more: there is no place where it could wait but the one it is in.

    >>> list(aside_once(Quarantine(table="quarantine.orders", where="id = 0"), None))
    ['the rows of quarantine.orders are set aside already; filter them, or put the result into another table']
    """
    if isinstance(action, Quarantine) and writes(action) == action.table:
        yield f"the rows of {action.table} are set aside already; filter them, or put the result into another table"


def compares_another(action: Action, world: World) -> Iterator[str]:
    """A table isn't compared with itself.

    >>> list(compares_another(Compare(table="may", reference="may"), None))
    ['may is distributed as itself; which other table is the reference?']
    """
    if isinstance(action, Compare) and action.reference == action.table:
        yield f"{action.table} is distributed as itself; which other table is the reference?"


def others_have_columns(action: Action, world: World) -> Iterator[str]:
    """The column that is referred to, and those that are compared, are in the other table, too."""
    match action:
        case Check(rule="references", other=str(name), columns=columns, other_column=column):
            wanted = (column or columns[0],)
        case Compare(reference=name, columns=wanted):
            pass
        case _:
            return
    if (other := world.tables.get(name)) is not None:
        yield from missing(wanted, other, f"in {name}")


def limits_in_order(action: Action, world: World) -> Iterator[str]:
    """The least isn't above the most.

    >>> list(limits_in_order(Check(table="t", rule="row_count", min=9, max=3), None))
    ['nothing is at least 9 and at most 3; swap them, or leave one out']
    """
    if isinstance(action, Check) and action.min is not None and action.max is not None and action.min > action.max:
        yield f"nothing is at least {action.min:g} and at most {action.max:g}; swap them, or leave one out"


def patterns_read(action: Action, world: World) -> Iterator[str]:
    """A pattern that has no name is a regular expression that the engine (RE2) can read."""
    if not isinstance(action, Check) or action.pattern is None or action.pattern in PATTERNS:
        return
    try:
        pc.match_substring_regex(pa.array([""]), action.pattern)
    except pa.ArrowInvalid as fault:
        why = str(fault).rpartition("expression: ")[2]
        yield f"{action.pattern!r} is none of {', '.join(PATTERNS)}, nor a regular expression: {why}"


def checks_fit(action: Action, world: World) -> Iterator[str]:
    """The columns of a check, or of a search for outliers, hold what it can be asked of."""
    sight = world.read(action)
    if sight is None or not isinstance(action, Check | FindOutliers):
        return
    for column, allowed in _demands(action, sight):
        found = sight.schema.get(column)
        if found is not None and found not in allowed:
            asked = action.rule if isinstance(action, Check) else action.tool()
            yield f"{asked} needs a column of {' or '.join(allowed)}; {column!r} is {found}"
    if isinstance(action, Check):
        yield from _values(action, sight)


def _demands(action: Check | FindOutliers, sight: Sight) -> Iterator[tuple[str, tuple[ColumnType, ...]]]:
    if isinstance(action, FindOutliers) or action.rule == "in_range":
        yield from ((column, _NUMBERS) for column in action.columns)
    elif action.rule == "fresh":
        yield from ((column, _MOMENTS) for column in action.columns)
    elif action.rule == "compares" and action.than is not None:
        one = sight.schema.get(action.columns[0])
        groups: tuple[tuple[ColumnType, ...], ...] = (_NUMBERS, _MOMENTS, ("bool", "text"), ("json", "text"))
        group = next((g for g in groups if one in g and one != "text"), None)
        yield from [(action.than, group)] if group else []


def _values(action: Check, sight: Sight) -> Iterator[str]:
    kind = sight.schema.get(action.columns[0]) if action.columns else None
    if action.rule == "in_set" and kind is not None:
        wrong = [v for v in action.values if kind not in ("text", "json") and not readable(str(v).lower(), kind)]
        yield from (f"column {action.columns[0]!r} is {kind}, and {value!r} isn't" for value in wrong)
    if action.rule == "fresh" and not action.columns and not sight.open:
        times = [column for column, kind in sight.schema.items() if kind in ("date", "timestamp")]
        if len(times) != 1:
            found = f"name one of {', '.join(times)}" if times else "it has none"
            yield f"fresh needs a column of times of {action.table}; {found}"
    if action.rule == "fresh" and len(action.columns) > 1:
        yield "fresh looks at one column of times; name one"


#: In the order in which an action's problems are told.
RULES: tuple[Rule, ...] = (
    Rule("refuse", aside_once),
    Rule("mend", compares_another),
    Rule("mend", others_have_columns),
    Rule("mend", limits_in_order),
    Rule("mend", patterns_read),
    Rule("mend", checks_fit),
)
