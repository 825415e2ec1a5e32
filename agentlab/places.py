"""Where a store can be: a folder of the lab, a bucket at S3, a registered database; and what goes with which format.

Only names are looked at here, nothing is reached.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from agentlab.actions import Provision
from agentlab.errors import PlanError

Format = Literal["parquet", "duckdb", "delta", "postgres"]

#: Folders of the lab that aren't for stores: what others keep there would be in danger.
RESERVED = (
    *("tables", "layouts", "secrets", "slots", "tmp", "sources", "frames", "databases"),
    *("catalog.sqlite", "dbos.sqlite"),
)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[\w!.*'()/-]*")

_FORMS = "write a folder of the lab, like marts/finance, or s3://bucket/prefix, or for postgres a registered database"


class Bucket(NamedTuple):
    """A place at S3: a bucket, and the prefix of the keys in it, without a slash at either end."""

    bucket: str
    prefix: str

    @property
    def path(self) -> str:
        """As file systems name it: `bucket/prefix`."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket


def bucket_of(location: str) -> Bucket:
    """The bucket and the prefix of a location at S3; PlanError saying what would be right.

    >>> bucket_of("s3://acme-marts/sales/eu/")
    Bucket(bucket='acme-marts', prefix='sales/eu')
    """
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise PlanError(f"{bucket!r} can't name a bucket; use 3 to 63 small letters, digits, dots and dashes")
    if not _KEY.fullmatch(prefix) or "//" in prefix or ".." in prefix:
        raise PlanError(
            f"{prefix!r} can't be a prefix; use letters, digits, '-', '_' and '.', like s3://{bucket}/sales"
        )
    return Bucket(bucket, prefix.strip("/"))


def check_location(location: str, format: Format) -> str:
    """The location, if a store of the format can be there; PlanError naming the right forms.

    >>> check_location("marts/finance/", "parquet")
    'marts/finance'
    >>> check_location("gs://acme/sales", "parquet")
    Traceback (most recent call last):
    agentlab.errors.PlanError: a store can't be at 'gs://acme/sales': there is no 'gs' place...
    """
    if format == "postgres":
        return location
    if location.startswith("s3://"):
        if format == "duckdb":
            raise PlanError("a duckdb store has to lie on a disk to be opened, not at S3; use format parquet or delta")
        place = bucket_of(location)
        return f"s3://{place.path}"
    if "://" in location:
        scheme = location.partition("://")[0]
        raise PlanError(f"a store can't be at {location!r}: there is no {scheme!r} place; {_FORMS}")
    return _folder(location)


def _folder(location: str) -> str:
    path = PurePosixPath(location)
    named = [part for part in path.parts if part != "."]
    odd = [part for part in named if not re.fullmatch(r"\w[\w .-]*", part)]
    if path.is_absolute() or not named or odd:
        raise PlanError(f"a store can't be at {location!r}: that isn't a folder of the lab; {_FORMS}")
    if named[0].lower() in RESERVED:
        raise PlanError(f"a store can't be at {location!r}: the lab keeps its own things in {named[0]}; {_FORMS}")
    if named[0].lower() == "stores" and (named[0] != "stores" or len(named) != 2):
        # What is swept there is told by its depth.
        raise PlanError(f"a store can't be at {location!r}: in stores each store has a folder, like stores/finance")
    return "/".join(named)


def unfit(action: Provision) -> str | None:
    """Why a store's format, place and columns to split by don't go together; None if they do.

    >>> unfit(Provision(store="mart", format="postgres"))
    'a postgres store needs location, the name of a registered Postgres database'
    """
    if action.partition_by and action.format in ("duckdb", "postgres"):
        made = {"duckdb": "one file for each table", "postgres": "a table of a database"}[action.format]
        return f"a {action.format} store is {made} and has no partitions; use format parquet or delta for them"
    if action.format == "postgres" and not action.location:
        return "a postgres store needs location, the name of a registered Postgres database"
    try:
        check_location(action.location or "stores/x", action.format)
    except PlanError as fault:
        return str(fault)
    return None
