"""What an action is: a frozen, typed model that says who may do it and what it does to a schema.

A field's *kind* (`Column`, `Table`, `Expr`, ...) is part of its type. The grammar that a model decodes under, the rules
a plan is checked by and the placeholders of small models are all made from the kinds, so a new action is one class.
This module knows no catalog, no engine and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

Role = Literal["ingestion", "quality", "transformation", "storage", "optimization"]
ROLES: tuple[Role, ...] = get_args(Role)

#: The types a column can have, engine-neutral. `json` is nested data kept as text.
ColumnType = Literal["int", "float", "text", "date", "timestamp", "bool", "json"]

#: Column name to type, in column order.
Schema = dict[str, ColumnType]

Scalar = bool | int | float | str


class Kind:
    """What a string in an action stands for: `Kind("column")` is a column of the action's table."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Kind({self.name!r})"


Table = Annotated[str, Kind("table"), Field(description="an existing table")]
NewTable = Annotated[str, Kind("new_table"), Field(description="a name for a table, new or to be replaced")]
Column = Annotated[str, Kind("column"), Field(description="a column of the table")]
NewColumn = Annotated[str, Kind("new_column"), Field(description="a name for a new column")]
Source = Annotated[str, Kind("source"), Field(description="a registered source")]
Resource = Annotated[str, Kind("resource"), Field(description="a resource of the source")]
Store = Annotated[str, Kind("store"), Field(description="an existing store")]
NewStore = Annotated[str, Kind("new_store"), Field(description="a name for a new store")]
Query = Annotated[str, Kind("query"), Field(description="the name of a logged query")]
Expr = Annotated[str, Kind("expr"), Field(description="a SQL scalar expression over the table's columns")]
Where = Annotated[str, Kind("where"), Field(description="a SQL condition over the table's columns")]
Value = Annotated[Scalar, Kind("value"), Field(description="a literal value")]
File = Annotated[str, Kind("file"), Field(description="a data file in the lab's folder")]
NewFile = Annotated[str, Kind("new_file"), Field(description="a path in the lab's folder to write to")]
Snapshot = Annotated[str, Kind("snapshot"), Field(description="the name of a snapshot")]
NewSnapshot = Annotated[str, Kind("new_snapshot"), Field(description="a name for a new snapshot")]
Schedules = Annotated[str, Kind("scheduled"), Field(description="the task of a schedule that exists")]
Text = Annotated[str, Kind("text")]


class Action(BaseModel):
    """One typed step of a plan. Subclasses add fields; `agent` is whose authority it needs, None for anyone's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: ClassVar[Role | None] = None
    #: Of these arguments exactly one must be given.
    exactly_one: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = [name for name in self.exactly_one if getattr(self, name) is not None]
        if self.exactly_one and len(given) != 1:
            raise ValueError(
                f"{self.tool()} needs exactly one of {', '.join(self.exactly_one)}; it has {given or 'none'}"
            )
        return self

    @classmethod
    def tool(cls) -> str:
        """The action's name in plans: the class's, in snake case (`drop_columns`)."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def effect(self, schema: Schema) -> Schema:
        """The schema of the table that the action writes, given that of the table it reads."""
        return schema

    def arguments(self) -> dict[str, Any]:
        """The arguments that differ from their defaults, as plain JSON data."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def references(self, *kinds: str) -> list[str]:
        """Every name in the action of these kinds, in field order.

        >>> from agentlab.actions import Select
        >>> Select(table="orders", columns=("a", "b")).references("column")
        ['a', 'b']
        """
        return [name for kind, name in self._kinds() if kind in kinds]

    def _kinds(self) -> Iterator[tuple[str, str]]:
        for field, info in type(self).model_fields.items():
            yield from _walk(getattr(self, field), kind_of(info))

    def __str__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.arguments().items())
        return f"{self.tool()}({shown})"


def _walk(value: Any, kind: str | None) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        for field, info in type(value).model_fields.items():
            yield from _walk(getattr(value, field), kind_of(info))
    elif isinstance(value, tuple):
        for item in value:
            yield from _walk(item, kind)
    elif kind is not None and isinstance(value, str):
        yield kind, value


def kind_of(info: FieldInfo) -> str | None:
    """The kind of a field, also inside `| None` and `tuple[...]`; None for a plain one."""
    for item in info.metadata:
        if isinstance(item, Kind):
            return item.name
    return _kind_in(info.annotation)


def _kind_in(annotation: Any) -> str | None:
    origin = get_origin(annotation)
    if origin is Annotated:
        return next((m.name for m in annotation.__metadata__ if isinstance(m, Kind)), None)
    if origin in (Union, UnionType, tuple):
        return next((k for a in get_args(annotation) if a not in (NoneType, Ellipsis) and (k := _kind_in(a))), None)
    return None
