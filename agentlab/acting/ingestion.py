"""What the ingestion agent does: rows of registered sources and of files, into `staging.*`.

Each action says what is to be fetched; `landing.store_rows` is the one way in which fetched rows become a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ibis

from agentlab.acting.base import Outcome, Workspace, perform
from agentlab.acting.landing import Stored, landed, store_rows
from agentlab.actions import DescribeSource, LoadFile, Pull
from agentlab.engine import schema_of
from agentlab.expressions import parse
from agentlab.rows import numbered, satisfying
from agentlab.sources import Source, describe, fetch, read_doc
from agentlab.sources.fetched import Fetched
from agentlab.sources.files import load
from agentlab.sources.pacing import Pace


@perform.register
def _(action: Pull, workspace: Workspace) -> Outcome:
    fetched, place = fetched_by(workspace, action), f"{action.source}.{action.resource}"
    with landed(workspace, action.into, fetched) as rows:
        table = _ordered(rows, fetched)
        if action.where:
            table = satisfying(table, parse(action.where, schema_of(table), boolean=True))
        table = table.limit(action.limit) if action.limit else table
        stored = store_rows(
            workspace, action, table, mode=action.mode, key=action.key, source=place, rejected=fetched.rejected
        )
    return told(stored, f"pulled {place} into {action.into}: {stored.doc.rows:,} rows")


def fetched_by(workspace: Workspace, action: Pull) -> Fetched:
    """What the source gives for a pull, at the pace that is set for it; progress is told page by page."""
    workspace.tell(f"pulling {action.source}.{action.resource}")
    source, pace = source_of(workspace, action.source), _pace(workspace, action)
    return fetch(source, action, workspace.root, _pages(workspace), pace)


def source_of(workspace: Workspace, name: str) -> Source:
    """A registered source; PlanError if there is none of the name."""
    return read_doc(workspace.draft.get("source", name).doc)


def _pace(workspace: Workspace, action: Pull) -> Pace:
    limit = workspace.draft.find("limit", action.source)
    return Pace.of(limit.doc) if limit else Pace()


def _pages(workspace: Workspace) -> Callable[[int, int, int], None]:
    def told(rows: int, pages: int, retries: int) -> None:
        tried = f", {retries} retries" if retries else ""
        workspace.tell(f"{rows:,} rows in {pages} pages{tried}")

    return told


def _ordered(table: ibis.Table, fetched: Fetched) -> ibis.Table:
    """The order that the source left undone; rows of the same time keep theirs."""
    if fetched.sort is None:
        return table
    column, first = fetched.sort
    rows, at = numbered(table)
    time = rows[column].desc(nulls_first=False) if first == "newest" else rows[column].asc(nulls_first=False)
    return rows.order_by(time, at).drop(at)


def told(stored: Stored, text: str, **data: Any) -> Outcome:
    """What is said of rows that came in, and of those that didn't."""
    if stored.aside:
        text += f"; {stored.aside:,} rows that no table could take are in quarantine, with the reason"
        data["quarantined"] = stored.aside
    for column, (was, now) in stored.retyped.items():
        text += f"; {column} is {now} now, it was {was}"
    return Outcome(text, {"rows": stored.doc.rows, **data})


@perform.register
def _(action: LoadFile, workspace: Workspace) -> Outcome:
    workspace.tell(f"reading {action.path}")
    fetched = load(workspace.root, action.path, action.format)
    with landed(workspace, action.into, fetched) as rows:
        kept: dict[str, Any] = {"mode": action.mode, "key": action.key, "source": action.path}
        stored = store_rows(workspace, action, rows, **kept, rejected=fetched.rejected)
    return told(stored, f"loaded {action.path} into {action.into}: {stored.doc.rows:,} rows")


@perform.register
def _(action: DescribeSource, workspace: Workspace) -> Outcome:
    workspace.tell(f"looking at {action.source}")
    source = source_of(workspace, action.source)
    found = describe(source, action.source, workspace.root)
    doc = {"kind": "source", "source": action.source, "of": source.kind, "resources": found}
    workspace.draft.put("report", f"source {action.source}", doc)
    lines = [f"- {name}: {_resource(each)}" for name, each in found.items()]
    return Outcome("\n".join([f"{action.source}, a {source.kind} source, has {len(found)} resources", *lines]), doc)


def _resource(found: dict[str, Any]) -> str:
    """A resource in words: how it is asked, what tells its rows and their time, its columns."""
    said = [f"pages: {found['paging']}"]
    said += [f"time: {found['time_column']}"] if found.get("time_column") else []
    said += [f"key: {', '.join(found['key'])}"] if found.get("key") else []
    columns = found.get("columns") or found.get("schema") or {}
    said += [", ".join(f"{column} {kind}" for column, kind in columns.items())] if columns else []
    said += [f"a sample couldn't be had: {found['fault']}"] if found.get("fault") else []
    return "; ".join(said)
