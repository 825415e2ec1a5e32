"""The functions that an expression may call, by name: what each takes and what it gives. Nothing else can be called.

Allowing whatever a SQL parser knows would let in files, settings and bombs, so this is a list. To allow one more, add a
line here and one to the cases of `tests/test_expressions.py`, which run on the real engine. Types are DuckDB's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from sqlglot import exp

from agentlab.actions import ColumnType

#: What a first argument must be: `moment` is a date or a timestamp.
Takes = Literal["text", "number", "moment", "any"]

#: `same`: the first argument's type. `agreed`: the one type that all arguments agree on.
Gives = ColumnType | Literal["same", "agreed"]


class Function(NamedTuple):
    """One allowed function: its spellings (ours first), the node it parses to, its first argument and its result."""

    names: tuple[str, ...]
    node: type[exp.Expr]
    takes: Takes
    gives: Gives


def _functions(takes: Takes, gives: Gives, **nodes: type[exp.Expr]) -> list[Function]:
    return [Function(tuple(names.split("__")), node, takes, gives) for names, node in nodes.items()]


#: Functions of one row. A double underscore separates spellings of the same one.
SCALARS: tuple[Function, ...] = (
    *_functions("text", "text", upper__ucase=exp.Upper, lower__lcase=exp.Lower, trim__ltrim__rtrim=exp.Trim),
    *_functions("text", "text", substring__substr=exp.Substring, left=exp.Left, right=exp.Right, reverse=exp.Reverse),
    *_functions("text", "text", replace=exp.Replace, split_part=exp.SplitPart, lpad__rpad=exp.Pad, repeat=exp.Repeat),
    *_functions("text", "text", regexp_replace=exp.RegexpReplace, regexp_extract=exp.RegexpExtract),
    *_functions("text", "text", translate=exp.Translate, md5=exp.MD5),
    *_functions("text", "int", length__len__char_length=exp.Length, strpos__instr__position=exp.StrPosition),
    *_functions("text", "bool", starts_with=exp.StartsWith, ends_with=exp.EndsWith, contains=exp.Contains),
    *_functions("text", "bool", regexp_matches=exp.RegexpLike, regexp_full_match=exp.RegexpFullMatch),
    *_functions("text", "timestamp", strptime__try_strptime=exp.StrToTime),
    *_functions("any", "text", concat=exp.Concat, concat_ws=exp.ConcatWs),
    *_functions("any", "agreed", coalesce__ifnull__nvl=exp.Coalesce, greatest=exp.Greatest, least=exp.Least),
    *_functions("any", "agreed", nullif=exp.Nullif, **{"if__iif": exp.If}),
    *_functions("any", "date", current_date__today=exp.CurrentDate),
    *_functions("number", "date", make_date=exp.DateFromParts),
    *_functions("moment", "int", year=exp.Year, quarter=exp.Quarter, month=exp.Month, week__weekofyear=exp.Week),
    *_functions("moment", "int", day__dayofmonth=exp.Day, dayofyear=exp.DayOfYear),
    *_functions("moment", "int", dayofweek=exp.DayOfWeek, isodow=exp.DayOfWeekIso, datediff__date_diff=exp.DateDiff),
    *_functions("moment", "int", hour=exp.Hour, minute=exp.Minute, second=exp.Second),
    *_functions("moment", "text", strftime=exp.TimeToStr, monthname=exp.Monthname, dayname=exp.Dayname),
    *_functions("moment", "timestamp", date_trunc__datetrunc=exp.TimestampTrunc, date_add=exp.DateAdd),
    *_functions("moment", "date", last_day=exp.LastDay),
    *_functions("moment", "float", epoch=exp.TimeToUnix),
    *_functions("any", "int", extract__date_part__datepart=exp.Extract),
    *_functions("number", "same", abs=exp.Abs, round=exp.Round, trunc=exp.Trunc, mod=exp.Mod),
    *_functions("number", "int", sign=exp.Sign),
    *_functions("number", "bool", isnan=exp.IsNan, isinf=exp.IsInf),
    *_functions("number", "float", floor=exp.Floor, ceil__ceiling=exp.Ceil, sqrt=exp.Sqrt, cbrt=exp.Cbrt, exp=exp.Exp),
    *_functions("number", "float", power__pow=exp.Pow, ln=exp.Ln, log__log2__log10=exp.Log, sin=exp.Sin, cos=exp.Cos),
    *_functions("number", "float", tan=exp.Tan, asin=exp.Asin, acos=exp.Acos, atan=exp.Atan, atan2=exp.Atan2),
    *_functions("number", "float", degrees=exp.Degrees, radians=exp.Radians, pi=exp.Pi),
)

#: Functions of a window of rows; each needs an OVER (...).
WINDOWS: tuple[Function, ...] = (
    *_functions("any", "int", row_number=exp.RowNumber, rank=exp.Rank, dense_rank=exp.DenseRank, ntile=exp.Ntile),
    *_functions("any", "float", percent_rank=exp.PercentRank, cume_dist=exp.CumeDist),
    *_functions("any", "same", lag=exp.Lag, lead=exp.Lead, first_value=exp.FirstValue, last_value=exp.LastValue),
    *_functions("any", "same", min=exp.Min, max=exp.Max),
    *_functions("any", "int", count=exp.Count),
    *_functions("number", "same", sum=exp.Sum),
    *_functions("number", "float", avg=exp.Avg, median=exp.Median, stddev=exp.Stddev),
)

#: By the node that sqlglot makes of a call.
BY_NODE: dict[type[exp.Expr], Function] = {f.node: f for f in (*SCALARS, *WINDOWS)}

#: Every spelling, and the forms that look like calls.
NAMES: frozenset[str] = frozenset(name for f in BY_NODE.values() for name in f.names) | {"cast", "try_cast", "date"}

WINDOWED: frozenset[type[exp.Expr]] = frozenset(f.node for f in WINDOWS)

#: Parts of a moment, for date_trunc, date_diff, extract and intervals.
UNITS: frozenset[str] = frozenset(
    {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}
    | {"YEARS", "QUARTERS", "MONTHS", "WEEKS", "DAYS", "HOURS", "MINUTES", "SECONDS"}
    | {"DOW", "DAYOFWEEK", "ISODOW", "DOY", "DAYOFYEAR", "EPOCH"}
)
