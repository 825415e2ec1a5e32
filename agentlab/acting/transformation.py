"""What the transformation agent does: a table's next version, or a new table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentlab import blast
from agentlab import compile as forms
from agentlab.acting.base import Lineage, Outcome, Workspace, call_of, perform, too_many
from agentlab.actions import (
    Cast,
    Dedupe,
    Filter,
    Join,
    Schema,
    Transform,
    Union,
)
from agentlab.compile import Matches
from agentlab.engine import schema_of
from agentlab.entries import TableDoc


@perform.register
def _(action: Transform, workspace: Workspace) -> Outcome:
    target = action.into or action.table
    doc, n = workspace.draft.table(action.table), workspace.version(action.table)
    other = action.other if isinstance(action, Join | Union) else None
    table = workspace.operand(action.table)
    result = forms.compile(action, table, workspace.operand(other) if other else None)
    lineage = _lineage(action, doc, n, workspace, other, result.columns)
    broken = _broken(workspace, target, schema_of(result))
    met = forms.matches(action, table, workspace.operand(other)) if isinstance(action, Join) and other else None
    view = forms.projection(action, doc)
    if view is not None:
        update = {"projection": view, "schema_": schema_of(result), "call": call_of(action), "lineage": lineage}
        after = doc.model_copy(update={**update, "source": None})
        workspace.draft.put("table", target, after)
    else:
        after = workspace.write(target, result, action, lineage)
    data: dict[str, Any] = {"rows_before": doc.rows, "rows": after.rows, "made_missing": 0}
    data |= {"breaks": [each.model_dump() for each in broken]} if broken else {}
    data |= {"matches": met._asdict()} if met else {}
    if view is None and isinstance(action, Cast):
        data["made_missing"] = forms.counts(action, table, workspace.operand(target))["made_missing"]
    workspace.emit("transformed", target, action=action.tool(), rows=after.rows, columns=list(after.schema_))
    removes = isinstance(action, Filter | Dedupe) and target == action.table
    why = too_many(workspace, action, doc.rows, after.rows) if removes else None
    told = [_said(action, target, data)]
    told += [_joined(action, met, data)] if isinstance(action, Join) and met else []
    return Outcome("; ".join([*told, *([str(broken)] if broken else [])]), data, why)


def _broken(workspace: Workspace, target: str, schema: Schema) -> blast.Blast:
    """What breaks when the table that is written has another schema than before."""
    known = workspace.draft.find("table", target)
    return blast.of_change(workspace.draft, target, known.doc["schema"], schema) if known else blast.Blast()


def _lineage(
    action: Transform, doc: TableDoc, n: int, workspace: Workspace, other: str | None, columns: Iterable[str]
) -> Lineage:
    schema: Schema | None = workspace.draft.table(other).schema_ if other else None
    places = {"this": (action.table, n), "other": (other or "", workspace.version(other) if other else 0)}
    traced = forms.lineage(action, doc.schema_, schema, columns)
    return {column: [(*places[side], origin) for side, origin in traced.get(column, [])] for column in columns}


def _joined(action: Join, met: Matches, data: dict[str, Any]) -> str:
    """What a join did to the number of rows."""
    keys, before, after = ", ".join(action.on), data["rows_before"], data["rows"]
    told = [f"{met.unmatched:,} rows of {action.table} have no match in {action.other} by {keys}"]
    told += [f"{met.unmatched_other:,} rows of {action.other} none in {action.table}"]
    if met.multiplying:
        several = f"keys of {action.other} match" if met.multiplying > 1 else f"key of {action.other} matches"
        told += [f"{met.multiplying:,} {several} several rows: {before:,} rows became {after:,}"]
    return "; ".join(told)


def _said(action: Transform, target: str, data: dict[str, Any]) -> str:
    rows = f"{data['rows']:,} rows" + (
        "" if data["rows"] == data["rows_before"] else f", before {data['rows_before']:,}"
    )
    lost = f", {data['made_missing']:,} values could not be read and are missing now" if data["made_missing"] else ""
    return f"{action}: {target} has {rows}{lost}"
