"""Stores at S3: buckets made ready by their API, files sent up by pyarrow's file system and read back as they stream.

Credentials, region and endpoint are those of the environment (`AWS_ACCESS_KEY_ID`, `AWS_DEFAULT_REGION`,
`AWS_ENDPOINT_URL`, ...), read anew each time and never kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from agentlab.copies import Copy
from agentlab.errors import LabError
from agentlab.places import Bucket, bucket_of
from agentlab.stores.streams import arrow_schema

#: Days after which what an upload that broke off left behind is removed, and what is no longer current.
UPLOADS, OLD_VERSIONS = 7, 30

#: Files that are sent at once.
_AT_ONCE = 8

#: How a bucket says that agentlab made it.
_TAG = "agentlab"

#: What S3 answers when a bucket has no such setting yet.
_UNSET = (
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchLifecycleConfiguration",
    "NoSuchTagSet",
    "ServerSideEncryptionConfigurationNotFoundError",
)


@contextmanager
def reaching(location: str) -> Iterator[None]:
    """Turn what S3 and its clients raise into a LabError that names the place and the first line of why."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as fault:
        raise LabError(f"{location} needs boto3; install it with: pip install 'agentlab[s3]'") from fault
    try:
        yield
    except (BotoCoreError, ClientError, OSError, pa.ArrowException) as fault:
        why = str(fault).strip().splitlines()[0]
        how = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"
        raise LabError(f"{location} can't be reached: {why}; {how}") from None


def provision(location: str, store: str) -> list[str]:
    """Make a store's bucket ready, step by step as far as it isn't, and tell each step; safe to repeat.

    A bucket that isn't there is made and tagged as ours; encryption (SSE-S3) and the block of public access are set
    where there are none; a lifecycle rule for the store's prefix joins those that are there.
    """
    place = bucket_of(location)
    with reaching(location):
        client = _client()
        steps = [f"made the bucket {place.bucket}"] if _made(client, place.bucket) else []
        steps += ["encryption on"] if _encrypted(client, place.bucket) else []
        steps += ["public access blocked"] if _closed(client, place.bucket) else []
        return steps + (["lifecycle rule set"] if _cleaned(client, place, store) else [])


def remove_empty(location: str) -> bool:
    """Delete the bucket of a store that is gone, if agentlab made it and nothing is in it; whether it was."""
    bucket = bucket_of(location).bucket
    with reaching(location):
        client = _client()
        if not _exists(client, bucket) or client.list_objects_v2(Bucket=bucket, MaxKeys=1)["KeyCount"]:
            return False
        tags = (_setting(client.get_bucket_tagging, bucket) or {}).get("TagSet", [])
        if not any(tag["Key"] == _TAG for tag in tags):
            return False
        client.delete_bucket(Bucket=bucket)
        return True


def send(folder: Path, location: str) -> None:
    """Copy a folder's files up, below the location, several at once. S3 has no folders, so none is made."""
    above, files = bucket_of(location).path, filesystem(location)

    def up(path: Path) -> None:
        key = f"{above}/{path.relative_to(folder).as_posix()}"
        pafs.copy_files(str(path), key, destination_filesystem=files, use_threads=False)

    with reaching(location), ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(up, sorted(path for path in folder.rglob("*") if path.is_file())))


def remove(location: str) -> None:
    """Delete all that lies below a location."""
    place = bucket_of(location)
    with reaching(location):
        client = _client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=f"{place.prefix}/"):
            keys = [{"Key": found["Key"]} for found in page.get("Contents", [])]
            if keys:
                client.delete_objects(Bucket=place.bucket, Delete={"Objects": keys, "Quiet": True})


def names(location: str) -> list[str]:
    """What lies directly below a location, sorted."""
    selector = pafs.FileSelector(bucket_of(location).path, allow_not_found=True)
    with reaching(location):
        return sorted(info.base_name for info in filesystem(location).get_file_info(selector))


def fresh(location: str) -> str:
    """The location, or one beside it below which nothing lies yet."""
    parent, _, name = location.rpartition("/")
    taken, candidate, number = set(names(parent)), name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    return f"{parent}/{candidate}"


def dataset(copy: Copy) -> ds.Dataset:
    """A copy's files, to be read as they stream, with the columns that folders stand for as their types are."""
    schema = arrow_schema(copy)
    apart = pa.schema([schema.field(column) for column in copy.partition_by])
    with reaching(copy.path):
        return ds.dataset(
            bucket_of(copy.path).path,
            schema=schema,
            filesystem=filesystem(copy.path),
            format="parquet",
            partitioning=ds.partitioning(apart, flavor="hive") if copy.partition_by else None,
        )


def filesystem(location: str) -> pafs.S3FileSystem:
    """Pyarrow's view of S3, as the environment says."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    chosen = {"endpoint_override": endpoint} if endpoint else {}
    return pafs.S3FileSystem(region=_region(), connect_timeout=10, request_timeout=60, **chosen)


def options() -> dict[str, str]:
    """The same for delta-rs, which takes the rest from the environment itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    plain = {"AWS_ALLOW_HTTP": "true"} if endpoint.startswith("http://") else {}
    return {**plain, **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {}), "AWS_REGION": _region(), "timeout": "60s"}


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _client() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
    return boto3.client("s3", region_name=_region(), config=config)


def _exists(client: Any, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as fault:
        if fault.response["Error"]["Code"] in ("404", "NoSuchBucket"):
            return False
        raise
    return True


def _made(client: Any, bucket: str) -> bool:
    if _exists(client, bucket):
        return False
    # The oldest region is the one that can't be named.
    where = {} if _region() == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": _region()}}
    client.create_bucket(Bucket=bucket, **where)
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": _TAG, "Value": "store"}]})
    return True


def _encrypted(client: Any, bucket: str) -> bool:
    if _setting(client.get_bucket_encryption, bucket) is not None:
        return False
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return True


def _closed(client: Any, bucket: str) -> bool:
    if _setting(client.get_public_access_block, bucket) is not None:
        return False
    every = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(every, True))
    return True


def _cleaned(client: Any, place: Bucket, store: str) -> bool:
    rule = {
        "ID": f"agentlab-{store}",
        "Status": "Enabled",
        "Filter": {"Prefix": f"{place.prefix}/" if place.prefix else ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UPLOADS},
        "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSIONS},
    }
    there = (_setting(client.get_bucket_lifecycle_configuration, place.bucket) or {}).get("Rules", [])
    if any(other.get("ID") == rule["ID"] for other in there):
        return False
    client.put_bucket_lifecycle_configuration(Bucket=place.bucket, LifecycleConfiguration={"Rules": [*there, rule]})
    return True


def _setting(get: Callable[..., dict[str, Any]], bucket: str) -> dict[str, Any] | None:
    from botocore.exceptions import ClientError

    try:
        return get(Bucket=bucket)
    except ClientError as fault:
        if fault.response["Error"]["Code"] in _UNSET:
            return None
        raise
