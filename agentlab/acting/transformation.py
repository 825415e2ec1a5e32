"""What the transformation agent does: a table's next version, or a new table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from agentlab.engine import schema_of
from agentlab.entries import TableDoc


@perform.register
def _(action: Transform, workspace: Workspace) -> Outcome:
    target = action.into or action.table
    doc, n = workspace.draft.table(action.table), workspace.version(action.table)
    other = action.other if isinstance(action, Join | Union) else None
    table = workspace.read(action.table)
    result = forms.compile(action, table, workspace.read(other) if other else None)
    lineage = _lineage(action, doc, n, workspace, other, result.columns)
    view = forms.projection(action, doc)
    if view is not None:
        after = doc.model_copy(
            update={
                "projection": view,
                "schema_": schema_of(result),
                "call": call_of(action),
                "lineage": lineage,
                "source": None,
            }
        )
        workspace.draft.put("table", target, after)
    else:
        after = workspace.write(target, result, action, lineage)
    data = {"rows_before": doc.rows, "rows": after.rows, "made_missing": 0}
    if view is None and isinstance(action, Cast):
        data["made_missing"] = forms.counts(action, table, workspace.read(target))["made_missing"]
    workspace.emit("transformed", target, action=action.tool(), rows=after.rows, columns=list(after.schema_))
    removes = isinstance(action, Filter | Dedupe) and target == action.table
    why = too_many(workspace, action, doc.rows, after.rows) if removes else None
    return Outcome(_said(action, target, data), data, why)


def _lineage(
    action: Transform, doc: TableDoc, n: int, workspace: Workspace, other: str | None, columns: Iterable[str]
) -> Lineage:
    schema: Schema | None = workspace.draft.table(other).schema_ if other else None
    places = {"this": (action.table, n), "other": (other or "", workspace.version(other) if other else 0)}
    traced = forms.lineage(action, doc.schema_, schema, columns)
    return {column: [(*places[side], origin) for side, origin in traced.get(column, [])] for column in columns}


def _said(action: Transform, target: str, data: dict[str, Any]) -> str:
    rows = f"{data['rows']:,} rows" + (
        "" if data["rows"] == data["rows_before"] else f", before {data['rows_before']:,}"
    )
    lost = f", {data['made_missing']:,} values could not be read and are missing now" if data["made_missing"] else ""
    return f"{action}: {target} has {rows}{lost}"
