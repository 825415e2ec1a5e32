"""Stores: where finished tables live, as Parquet, DuckDB files, Delta or Postgres, in the lab's folder or at S3."""

from __future__ import annotations

from agentlab.stores.base import (
    NEAR,
    OverQuota,
    Published,
    StoreDoc,
    published_name,
    size,
)
from agentlab.stores.publishing import prepare, provision, publish, read_store, shape_of
from agentlab.stores.settling import settle, tidy
from agentlab.stores.usage import StoreUsage, TableUsage, usage_of

__all__ = [
    "NEAR",
    "OverQuota",
    "Published",
    "StoreDoc",
    "StoreUsage",
    "TableUsage",
    "prepare",
    "provision",
    "publish",
    "published_name",
    "read_store",
    "settle",
    "shape_of",
    "size",
    "tidy",
    "usage_of",
]
