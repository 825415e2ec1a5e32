"""Where rows come from, registered in a catalog as documents that hold no secret.

`fetch` asks for what a `Pull` action says and gives the rows in batches. It writes nothing to the catalog and knows no
engine. A kind of source is a module with `fetch` and `describe`, and a document in `base.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from agentlab.actions.ingestion import Pull
from agentlab.sources import datasets, frame, rest, sql
from agentlab.sources.base import (
    DatasetResource,
    DatasetSource,
    FrameResource,
    FrameSource,
    Progress,
    RestResource,
    RestSource,
    Source,
    SourceDoc,
    SqlResource,
    SqlSource,
    read_doc,
)
from agentlab.sources.columns import schema_of, table_of
from agentlab.sources.datasets import save_dataset
from agentlab.sources.fetched import Fetched
from agentlab.sources.frame import save_frame
from agentlab.sources.pacing import Pace
from agentlab.sources.peeking import Peek, peek
from agentlab.sources.secrets import keep_secret, save_token, token_file
from agentlab.sources.sql import apart

__all__ = [
    "DatasetResource",
    "DatasetSource",
    "Fetched",
    "FrameResource",
    "FrameSource",
    "Pace",
    "Peek",
    "Progress",
    "RestResource",
    "RestSource",
    "Source",
    "SourceDoc",
    "SqlResource",
    "SqlSource",
    "apart",
    "describe",
    "discovered",
    "fetch",
    "keep_secret",
    "peek",
    "pull",
    "read_doc",
    "save_dataset",
    "save_frame",
    "save_token",
    "schema_of",
    "table_of",
    "token_file",
]


class Reader(Protocol):
    """What the module of a kind of source does."""

    def fetch(self, source: Any, action: Pull, root: Path, progress: Progress | None, pace: Pace) -> Fetched:
        """See `agentlab.sources.fetch`."""

    def describe(self, source: Any, name: str, root: Path) -> dict[str, dict[str, Any]]:
        """See `agentlab.sources.describe`."""


#: The module of every kind of source.
READERS: Mapping[str, Reader] = {"rest": rest, "frame": frame, "sql": sql, "dataset": datasets}


def fetch(
    source: Source, action: Pull, root: Path, progress: Progress | None = None, pace: Pace | None = None
) -> Fetched:
    """The rows that `action` asks for, in batches; `root` is the lab, `progress` hears (rows, pages, retries).

    `where` is the caller's, and so is what `Fetched.sort` says: the caller orders, filters, then limits. Without either
    `limit` is done here. PlanError where the resource can't do what is asked; LabError where the source fails.
    """
    return READERS[source.kind].fetch(source, action, root, progress, pace or Pace())


def pull(source: Source, action: Pull, root: Path, progress: Progress | None = None) -> pa.Table:
    """The rows of `fetch` as one table in memory, ordered and limited, but for `where`."""
    table = fetch(source, action, root, progress).table()
    return table.slice(0, action.limit) if action.limit and not action.where else table


def discovered(source: Source, root: Path) -> Source:
    """The source with what can be found out of it when it is registered: tables, splits, the columns of an API's lists.

    LabError where a database or a data set can't be had, or hasn't what the source names. An API may be silent.
    """
    if isinstance(source, RestSource):
        return rest.discovered(source, root)
    if isinstance(source, SqlSource):
        return sql.discovered(source, root)
    return datasets.discovered(source, root) if isinstance(source, DatasetSource) else source


def describe(source: Source, name: str, root: Path) -> dict[str, dict[str, Any]]:
    """What each resource of the source `name` is like, as JSON data, from its document and a small sample of its rows.

    Of each: `paging` (in words), `time_column`, `key` (columns), `schema` (as declared; None if it isn't), `columns`
    (names and types in the sample) or, where sampling failed, `fault` (why). No row is kept.
    """
    return READERS[source.kind].describe(source, name, root)
