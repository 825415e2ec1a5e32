"""Where tables are read, computed and written: Ibis on DuckDB or Spark, over the lab's immutable Parquet versions.

A table's rows have a stored order, that of its files; reading and writing keep it. Nothing here knows actions or plans,
and nothing reaches outside the lab's folder: DuckDB's external access is closed but for it, and Spark is only given SQL
that we wrote. Spark is imported when a lab is opened with it.
"""

from __future__ import annotations

import re

from agentlab.engine.base import DTYPES, SQL_TYPES, Engine, Written, schema_of, type_of
from agentlab.engine.duckdb import DuckDB
from agentlab.engine.faults import explained
from agentlab.errors import LabError, unknown

__all__ = [
    "DTYPES",
    "SQL_TYPES",
    "DuckDB",
    "Engine",
    "Written",
    "check_engine",
    "explained",
    "opened",
    "schema_of",
    "type_of",
]

#: What names a Spark: one in this process, with all cores or some, or a cluster's master.
_MASTER = re.compile(r"spark|local(\[(\d+|\*)\])?|spark://[^/\s]+:\d+")


def check_engine(name: str) -> None:
    """LabError for what names no engine.

    >>> check_engine("sparc")
    Traceback (most recent call last):
    agentlab.errors.LabError: no engine 'sparc'; did you mean 'spark'? There are: duckdb, spark, local[2], spark://host:port
    """
    if name != "duckdb" and not _MASTER.fullmatch(name):
        raise LabError(unknown("engine", name, ["duckdb", "spark", "local[2]", "spark://host:port"]))


def opened(name: str, local: DuckDB) -> Engine:
    """The engine of that name: `duckdb`, `spark` (with all cores of this machine), `local[2]` or `spark://host:port`.

    LabError for another name, and where Spark can't be started.
    """
    check_engine(name)
    if name == "duckdb":
        return local
    from agentlab.engine.spark import Spark

    return Spark(local.root, None if name == "spark" else name)
