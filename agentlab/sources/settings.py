"""What the documents of sources have in common: frozen, typed, with nothing in them that isn't known."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Pointer = Annotated[str, Field(pattern=r"^(/.*)?$", description="a JSON pointer (RFC 6901); empty is the whole answer")]


class Doc(BaseModel):
    """The common settings of a source's documents."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
