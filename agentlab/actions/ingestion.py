"""What the ingestion agent may do: read registered sources, write `staging.*` and nothing else."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from agentlab.actions.base import Action, Column, File, NewTable, Resource, Role, Source, Where

Mode = Literal["replace", "append", "upsert"]


class Pull(Action):
    """Fetch rows of a source's resource into a staging table.

    `order="newest"` asks for the latest rows first, by the resource's time column. `since` and `until` are ISO dates on
    that column, both inclusive. `where` keeps the rows for which a condition on the resource's columns is true.
    """

    agent: ClassVar[Role | None] = "ingestion"
    source: Source
    resource: Resource
    into: NewTable
    limit: Annotated[int, Field(ge=1)] | None = None
    order: Literal["newest", "oldest"] | None = None
    since: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d")] | None = None
    until: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d")] | None = None
    where: Where | None = None
    mode: Mode = "replace"
    key: tuple[Column, ...] = ()

    @model_validator(mode="after")
    def _key(self) -> Self:
        _needs_key(self.mode, self.key)
        return self


class LoadFile(Action):
    """Read a data file of the lab's folder into a staging table. Without `format` its name and content tell it."""

    agent: ClassVar[Role | None] = "ingestion"
    path: File
    into: NewTable
    format: Literal["csv", "json", "jsonl", "parquet", "excel"] | None = None
    mode: Mode = "replace"
    key: tuple[Column, ...] = ()

    @model_validator(mode="after")
    def _key(self) -> Self:
        _needs_key(self.mode, self.key)
        return self


class Sync(Action):
    """Fetch only what is new in a resource since the last sync into the same table, and upsert it by `key`.

    `cursor` is the column whose greatest value says how far the last sync came; None is the resource's time column. An
    empty `key` is the resource's own key.
    """

    agent: ClassVar[Role | None] = "ingestion"
    source: Source
    resource: Resource
    into: NewTable
    cursor: Column | None = None
    key: tuple[Column, ...] = ()


class DescribeSource(Action):
    """Say what a source offers: its resources, their columns and types, and how each can be asked. Keeps no row."""

    agent: ClassVar[Role | None] = "ingestion"
    source: Source


def _needs_key(mode: Mode, key: tuple[str, ...]) -> None:
    if mode == "upsert" and not key:
        raise ValueError("upsert needs a key: the columns that say which row is the same")
