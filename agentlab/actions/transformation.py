"""What the transformation agent may do. In place, as a new version of the table, unless `into` names another."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agentlab.actions.base import (
    Action,
    Column,
    ColumnType,
    Expr,
    NewColumn,
    NewTable,
    Role,
    Schema,
    Table,
    Text,
    Value,
    Where,
)

Columns = Annotated[tuple[Column, ...], Field(min_length=1)]
AggregateFunction = Literal["sum", "avg", "min", "max", "count", "count_distinct", "median", "stddev"]


class Transform(Action):
    """The common part: which table, and where the result goes."""

    agent: ClassVar[Role | None] = "transformation"
    table: Table
    into: NewTable | None = None


class Rename(Transform):
    """Give a column another name."""

    column: Column
    to: NewColumn

    def effect(self, schema: Schema) -> Schema:
        return {self.to if c == self.column else c: t for c, t in schema.items()}


class Derive(Transform):
    """Add a column computed from the others, or replace one."""

    column: NewColumn
    expr: Expr

    def effect(self, schema: Schema) -> Schema:
        return {**schema, self.column: schema.get(self.column, "float")}


class Cast(Transform):
    """Change a column's type; a value that can't be read as that type becomes missing, and is counted."""

    column: Column
    type: ColumnType

    def effect(self, schema: Schema) -> Schema:
        return {c: self.type if c == self.column else t for c, t in schema.items()}


class DropColumns(Transform):
    """Remove columns."""

    columns: Columns

    def effect(self, schema: Schema) -> Schema:
        return {c: t for c, t in schema.items() if c not in self.columns}


class Select(Transform):
    """Keep only these columns, in this order."""

    columns: Columns

    def effect(self, schema: Schema) -> Schema:
        return {c: schema[c] for c in self.columns}


class Reorder(Transform):
    """Move columns to the front or the end; the others keep their order."""

    columns: Columns
    position: Literal["first", "last"] = "first"

    def effect(self, schema: Schema) -> Schema:
        moved = {c: schema[c] for c in self.columns}
        rest = {c: t for c, t in schema.items() if c not in moved}
        return {**moved, **rest} if self.position == "first" else {**rest, **moved}


class Filter(Transform):
    """Keep the rows for which the condition is true."""

    where: Where


class Dedupe(Transform):
    """Keep one row of each set of equal rows, or of rows equal in `by`; `order` says which is first."""

    by: tuple[Column, ...] = ()
    keep: Literal["first", "last"] = "first"
    order: Column | None = None


class Sort(Transform):
    """Order the rows."""

    by: Columns
    descending: bool = False


class Limit(Transform):
    """Keep the first `n` rows."""

    n: Annotated[int, Field(ge=0)]


class Sample(Transform):
    """Keep a random part of the rows: `n` of them, or a `fraction` between 0 and 1; the same for the same seed."""

    exactly_one: ClassVar[tuple[str, ...]] = ("n", "fraction")

    n: Annotated[int, Field(ge=0)] | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int = 0


class Fill(Transform):
    """Replace the missing values of a column by a value, or by a method; `previous` and `next` go by row order."""

    exactly_one: ClassVar[tuple[str, ...]] = ("value", "method")

    column: Column
    value: Value | None = None
    method: Literal["mean", "median", "mode", "previous", "next"] | None = None


class Replace(Transform):
    """Replace one value of a column by another, wherever the whole cell equals it."""

    column: Column
    old: Value
    new: Value


class NormalizeText(Transform):
    """Bring a text column to one case, or strip the space around it, or both."""

    column: Column
    case: Literal["lower", "upper", "title"] | None = None
    trim: bool = False

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.case is None and not self.trim:
            raise ValueError("normalize_text needs a case, or trim=true")
        return self


class Split(Transform):
    """Cut a text column at a separator into new columns; the column itself stays."""

    column: Column
    into_columns: Annotated[tuple[NewColumn, ...], Field(min_length=2)]
    separator: Annotated[Text, Field(min_length=1)]

    def effect(self, schema: Schema) -> Schema:
        return {**schema, **dict.fromkeys(self.into_columns, "text")}


class Join(Transform):
    """Bring columns of another table to the rows that have the same key."""

    other: Table
    on: Columns
    how: Literal["left", "inner", "right", "outer"] = "left"
    columns: tuple[Column, ...] = ()


class Union(Transform):
    """Put the rows of another table below; columns go by name, what one side lacks is missing."""

    other: Table


class Measure(BaseModel):
    """One figure of a group: `sum(amount)`; without a column, `count` counts rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: AggregateFunction
    column: Column | None = None
    name: NewColumn | None = None

    @model_validator(mode="after")
    def _column(self) -> Self:
        if self.column is None and self.function != "count":
            raise ValueError(f"{self.function} needs a column; only count does without")
        return self

    @property
    def label(self) -> str:
        """The name of the result's column: the given one, or `sum_amount`, or `count`."""
        return self.name or (f"{self.function}_{self.column}" if self.column else self.function)

    def result_type(self, schema: Schema) -> ColumnType:
        if self.function in ("count", "count_distinct"):
            return "int"
        if self.function in ("avg", "median", "stddev") or self.column is None:
            return "float"
        return schema.get(self.column, "float")


class Aggregate(Transform):
    """Reduce each group of rows to one row of measures; without `by`, the whole table to one."""

    by: tuple[Column, ...] = ()
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)]

    def effect(self, schema: Schema) -> Schema:
        keys: Schema = {c: schema[c] for c in self.by}
        return {**keys, **{m.label: m.result_type(schema) for m in self.measures}}


class Pivot(Transform):
    """Long to wide: a column for each value of `columns`, each cell the function of `values`."""

    index: Columns
    columns: Column
    values: Column
    function: AggregateFunction = "sum"


class Unpivot(Transform):
    """Wide to long: the columns become rows of a name and a value."""

    columns: Columns
    name_to: NewColumn = "name"
    value_to: NewColumn = "value"

    def effect(self, schema: Schema) -> Schema:
        rest: Schema = {c: t for c, t in schema.items() if c not in self.columns}
        return {**rest, self.name_to: "text", self.value_to: schema[self.columns[0]]}
