"""What the quality agent may do: judge every table, and set failing rows aside in `quarantine.*`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from agentlab.actions.amounts import Span
from agentlab.actions.base import Action, Column, ColumnType, Kind, Role, Table, Text, Value, Where

Rule = Literal[
    "not_null", "unique", "in_range", "in_set", "matches", "row_count", "fresh", "references", "compares", "has_type"
]
#: The patterns that have a name; any other is a regular expression for the whole value.
Pattern = Literal["email", "url", "uuid", "phone", "date"]
PATTERNS: tuple[str, ...] = get_args(Pattern)
Operator = Literal["<", "<=", "=", "!=", ">=", ">"]


class Analyze(Action):
    """Find missing values, duplicates, outliers, wrong types, constant columns and broken formats; give a score."""

    agent: ClassVar[Role | None] = "quality"
    table: Table
    columns: tuple[Column, ...] = ()


class SuggestFixes(Action):
    """Propose a plan that mends what the analysis found, with the score expected after it. Runs nothing."""

    agent: ClassVar[Role | None] = "quality"
    table: Table


class Quarantine(Action):
    """Move the rows for which the condition is true to `quarantine.<table>`, with the reason."""

    agent: ClassVar[Role | None] = "quality"
    table: Table
    where: Where
    reason: Text | None = None


class Check(Action):
    """Test a table against one rule: a verdict, and the count and examples of the rows that fail. Changes nothing.

    not_null, unique (several columns: their combination), in_range (`min`, `max`, inclusive), in_set (`values`),
    matches (`pattern`), row_count (`min`, `max`), fresh (the greatest value of a time column is at most `within` old),
    references (every value is in the same-named, or `other_column`, column of `other`), compares (column `operator`
    `than`), has_type (`type`). Empty cells fail not_null only.
    """

    agent: ClassVar[Role | None] = "quality"
    table: Table
    rule: Rule
    columns: tuple[Column, ...] = ()
    min: float | None = None
    max: float | None = None
    values: tuple[Value, ...] = ()
    pattern: Annotated[str, Kind("pattern")] | None = None
    within: Span | None = None
    other: Table | None = None
    other_column: Annotated[str, Kind("other_column")] | None = None
    operator: Operator | None = None
    than: Column | None = None
    type: ColumnType | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {
            "in_set": ("values",), "matches": ("pattern",), "fresh": ("within",), "references": ("other",),
            "compares": ("operator", "than"), "has_type": ("type",),
        }  # fmt: skip
        lacking = [name for name in needs.get(self.rule, ()) if getattr(self, name) in (None, ())]
        if self.rule in ("in_range", "row_count") and self.min is None and self.max is None:
            lacking = ["min or max"]
        if lacking:
            raise ValueError(f"the rule {self.rule} needs {' and '.join(lacking)}")
        single = self.rule not in ("not_null", "unique", "row_count", "fresh")
        if (single and len(self.columns) != 1) or (self.rule in ("not_null", "unique") and not self.columns):
            raise ValueError(f"the rule {self.rule} needs {'one column' if single else 'columns'}")
        return self


class FindOutliers(Action):
    """Find numbers far from the others, in some columns or in all. Changes nothing.

    iqr: beyond `threshold` (1.5) interquartile ranges from the quartiles (Tukey 1977). zscore: more than `threshold`
    (3) standard deviations from the mean. mad: modified z-score by the median absolute deviation above `threshold`
    (3.5; Iglewicz and Hoaglin 1993).
    """

    agent: ClassVar[Role | None] = "quality"
    table: Table
    columns: tuple[Column, ...] = ()
    method: Literal["iqr", "zscore", "mad"] = "iqr"
    threshold: Annotated[float, Field(gt=0)] | None = None


class Compare(Action):
    """Say whether columns are distributed as in a reference table: KS, chi-squared, PSI. Changes nothing."""

    agent: ClassVar[Role | None] = "quality"
    table: Table
    reference: Table
    columns: tuple[Column, ...] = ()
