"""Where rows come from: REST APIs and frames, registered in a catalog as documents that hold no secret.

`pull` fetches what a `Pull` action asks for as one Arrow table. It writes nothing and knows no catalog and no engine.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from agentlab.actions.ingestion import Pull
from agentlab.sources import frame, rest
from agentlab.sources.base import (
    FrameResource,
    FrameSource,
    Progress,
    RestResource,
    RestSource,
    Source,
    SourceDoc,
    keep_secret,
    read_doc,
    save_token,
    token_file,
)
from agentlab.sources.columns import schema_of, table_of
from agentlab.sources.frame import save_frame

__all__ = [
    "FrameResource",
    "FrameSource",
    "Progress",
    "RestResource",
    "RestSource",
    "Source",
    "SourceDoc",
    "keep_secret",
    "pull",
    "read_doc",
    "save_frame",
    "save_token",
    "schema_of",
    "table_of",
    "token_file",
]


def pull(source: Source, action: Pull, root: Path, progress: Progress | None = None) -> pa.Table:
    """The rows that `action` asks for, in its order; `root` is the lab, `progress` hears (rows, pages, retries).

    `where` is the caller's: with it every row of the span of time comes, and the caller filters, then limits.
    PlanError where the resource can't do what is asked; LabError where the source fails.
    """
    if isinstance(source, RestSource):
        return rest.pull(source, action, root, progress)
    return frame.pull(source, action, root, progress)
