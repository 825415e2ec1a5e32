"""The engines' errors as ours: what a plan or the data are to blame for, and what a person must see to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from agentlab.errors import LabError, PlanError

#: Where data or query are at fault: a number out of range, a value that a cast can't read, a name that isn't there.
_OF_THE_DATA = (
    duckdb.DataError,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.InvalidInputException,
    duckdb.NotImplementedException,
)

#: The same of Spark, by the conditions that its errors name.
_OF_SPARK = re.compile(
    r"\[((?:CAST|CANNOT_PARSE|ARITHMETIC|BINARY_ARITHMETIC|NUMERIC|DATETIME|DIVIDE|INTERVAL|INVALID|UNRESOLVED|DATATYPE"
    r"|MALFORMED|PARSE|TABLE_OR_VIEW|MISSING|AMBIGUOUS|UNSUPPORTED|COLUMN|FIELD)[A-Z_]*)(?:\.[A-Z_.]+)?\]\s*(.*)"
)


_REGEX = re.compile(r"PatternSyntaxException: (.*)")


@contextmanager
def explained() -> Iterator[None]:
    """Turn the engine's errors into ours: PlanError where data or query are at fault, else LabError (disk, memory)."""
    try:
        yield
    except _OF_THE_DATA as fault:
        raise PlanError(f"the data doesn't allow it: {_first_line(fault)}") from fault
    except duckdb.Error as fault:
        raise LabError(f"the engine can't go on: {_first_line(fault)}") from fault
    except Exception as fault:
        if not type(fault).__module__.startswith(("pyspark.", "py4j.")):
            raise
        raise _of_spark(fault) from fault


def _of_spark(fault: Exception) -> PlanError | LabError:
    """The innermost condition of a Spark error: a failed task's is wrapped in that of its job."""
    if found := _OF_SPARK.findall(str(fault)):
        return PlanError(f"the data doesn't allow it: {found[-1][1].partition(' SQLSTATE')[0]}")
    if wrong := _REGEX.search(str(fault)):
        return PlanError(f"the data doesn't allow it: a regular expression is wrong: {wrong[1]}")
    return LabError(f"Spark can't go on: {_first_line(fault)}")


def _first_line(fault: Exception) -> str:
    return str(fault).strip().splitlines()[0]
