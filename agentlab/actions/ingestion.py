"""What the ingestion agent may do: read registered sources, write `staging.*` and nothing else."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from agentlab.actions.base import Action, Column, NewTable, Resource, Role, Source, Where


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
    mode: Literal["replace", "append", "upsert"] = "replace"
    key: tuple[Column, ...] = ()

    @model_validator(mode="after")
    def _key(self) -> Self:
        if self.mode == "upsert" and not self.key:
            raise ValueError("upsert needs a key: the columns that say which row is the same")
        return self
