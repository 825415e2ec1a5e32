"""Pull a list from a REST API: its pages one after the other or some at a time, each once, in order.

A page that isn't what the resource promises is an error, never a guess; a row that isn't is set aside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError
from agentlab.sources import paging
from agentlab.sources.base import Progress, RestResource, RestSource, Span, arrange, resource_of, timed
from agentlab.sources.columns import schema_of
from agentlab.sources.fetched import Fetched, NothingCame
from agentlab.sources.fetching import Caller
from agentlab.sources.pacing import Pace
from agentlab.sources.pages import NoJson, NoRows, Page, PageReader
from agentlab.sources.paging import ABSENT, Counted, CursorPaging, LinkPaging, NextUrlPaging, Question, Seen
from agentlab.sources.spool import Spool

#: An API may send empty pages while it searches, but not for ever.
MOST_EMPTY_PAGES = 100


def fetch(source: RestSource, action: Pull, root: Path, progress: Progress | None, pace: Pace) -> Fetched:
    """See `agentlab.sources.fetch`. All pages have come when it returns."""
    resource = resource_of(source.resources, action)
    Span.of(action)
    with Caller(source, resource, action.source, root) as caller:
        spool = _spooled(Pull_(caller, action, pace), root, progress)
    if not spool.schema().names:
        why = "sent no rows, and the source doesn't say which columns they would have"
        raise NothingCame(f"GET {resource.path} of {action.source} {why}; there is nothing to make a table of")
    return _finished(spool, resource, action)
