"""Ibis's SQL for Spark, bent to mean what its SQL for DuckDB does, and rows that know their place in the stored order.

Spark's own order of rows is that of its partitions, which reading, filtering and sorting keep and joining and grouping
don't. Where a form numbers rows, those of a version know their number from its files; others take their partitions'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import ibis
import ibis.backends.sql.compilers.base as base
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot as sg
from ibis.backends.pyspark import Backend as PySparkBackend
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from pyspark.sql import DataFrame
from sqlglot import exp

from agentlab import sparkforms


def placed(files: Sequence[Path], columns: Sequence[str]) -> exp.Query:
    """A SELECT of these columns of these files, one below the other, and last of each row's place in the stored order.

    A union, since Spark reads the larger of several files first.
    """
    place = exp.to_identifier(_free(columns), quoted=True)
    starts = accumulate((pq.read_metadata(file).num_rows for file in files[:-1]), initial=0)
    wanted = [exp.column(column, quoted=True) for column in dict.fromkeys(columns)]
    each = [
        sg.select(*wanted, exp.alias_(exp.Add(this=exp.Literal.number(start), expression=_ROW), place)).from_(
            _scan(file)
        )
        for file, start in zip(files, starts, strict=True)
    ]
    return exp.union(*each, distinct=False) if len(each) > 1 else each[0]


_ROW = exp.column("row_index", "_metadata")


def _free(columns: Sequence[str]) -> str:
    place = "place"
    while place in {column.lower() for column in columns}:
        place += "_"
    return place


def _scan(file: Path) -> exp.Table:
    """A Parquet file as a table. Spark reads names as patterns, so what is special in one is escaped."""
    name = re.sub(r"([\\*?\[\]{}])", r"\\\1", str(file))
    return exp.table_(exp.to_identifier(f"file:{name}", quoted=True), db=exp.to_identifier("parquet"))


class Compiler(PySparkCompiler):
    """Spark SQL with DuckDB's meaning."""

    __slots__ = ()

    def visit_WindowFunction(self, op: Any, *, func: Any, group_by: Any, order_by: Any, **kwargs: Any) -> Any:
        """Rows without an order are numbered in that of their partitions, which is the stored one."""
        if isinstance(op.func, ops.RowNumber) and not order_by:
            return exp.Window(this=func, partition_by=group_by, order=exp.Order(expressions=[_PARTITIONED]))
        return super().visit_WindowFunction(op, func=func, group_by=group_by, order_by=order_by, **kwargs)

    def visit_IsNull(self, op: Any, *, arg: Any) -> Any:
        """Not a number is a number, as it is to DuckDB."""
        return arg.is_(base.NULL)

    def visit_NotNull(self, op: Any, *, arg: Any) -> Any:
        """See `visit_IsNull`."""
        return arg.is_(sg.not_(base.NULL))

    def visit_CountStar(self, op: Any, *, arg: Any, where: Any) -> Any:
        """Rows counted with a condition are none where there are no rows, rather than missing."""
        return self.f.count(base.STAR) if where is None else self.f.count_if(where)

    def visit_Cast(self, op: Any, *, arg: Any, to: Any) -> Any:
        """Floats are written as DuckDB writes them; other casts agree."""
        if to.is_string() and op.arg.dtype.is_floating():
            return sparkforms.float_text(arg)
        if to.is_json() and not op.arg.dtype.is_string():
            return self.f.to_json(arg)
        return self.cast(arg, to) if not to.is_json() else arg

    def visit_TryCast(self, op: Any, *, arg: Any, to: Any) -> Any:
        """Moments with a zone stay moments; JSON is text that Spark can parse, kept as it is written."""
        if to.is_json():
            return sparkforms.json_text(arg)
        kind = "timestamp_ltz" if to.is_timestamp() and to.timezone else self.type_mapper.from_ibis(to)
        return exp.TryCast(this=arg, to=exp.DataType.build(kind, dialect="spark"), safe=True)

    def visit_StringSplit(self, op: Any, *, arg: Any, delimiter: Any) -> Any:
        """Split at a text, where Spark's own splits at a pattern."""
        return self.f.anon.split(arg, sparkforms.literally(delimiter))

    def visit_ArrayIndex(self, op: Any, *, arg: Any, index: Any) -> Any:
        """Beyond its end a list has nothing, and that is no fault."""
        return self.f.anon.get(arg, index)

    def visit_ArrayStringJoin(self, op: Any, *, arg: Any, sep: Any) -> Any:
        """Joined texts; Ibis asks for a length by a name that Spark hasn't."""
        return self.f.concat_ws(sep, arg)


#: Ibis registers a backend's options when it is first named, and its compiler asks for them.
_NAMED = ibis.pyspark
_PARTITIONED = exp.Ordered(this=exp.Anonymous(this="monotonically_increasing_id"), nulls_first=True)


class Backend(PySparkBackend):
    """Ibis on a Spark session, with Arrow in and out and never pandas."""

    compiler = Compiler()

    def frame(self, table: ibis.Table) -> DataFrame:
        """The table as Spark's own."""
        self._run_pre_execute_hooks(table)
        made: DataFrame = self._session.sql(self.compile(table))
        return made

    def answer(self, query: str) -> pa.Table:
        """What a query in Spark's SQL returns, as Arrow."""
        return self._session.sql(query).toArrow()

    def numbered(self, op: ops.SQLQueryResult, name: str) -> ibis.Table:
        """A version with each row's place in the stored order as one more column of that name."""
        query = sg.parse_one(op.query, dialect="spark", into=exp.Select)
        (below, *_) = query.find_all(exp.Subquery)
        place = below.this.selects[-1].alias
        query = query.select(exp.alias_(exp.column(place, quoted=True), name, quoted=True))
        schema = ibis.schema({**dict(op.schema.items()), name: dt.int64})
        return ops.SQLQueryResult(query.sql("spark"), schema, self).to_expr()

    def to_pyarrow(self, expr: Any, /, *, params: Any = None, limit: Any = None, **kwargs: Any) -> Any:
        """What the expression computes, as Arrow."""
        table = expr.as_table()
        self._run_pre_execute_hooks(table)
        found = self._session.sql(self.compile(table, params=params, limit=limit)).toArrow()
        return expr.__pyarrow_result__(found)

    def execute(self, expr: Any, /, *, params: Any = None, limit: Any = None, **kwargs: Any) -> Any:
        """What the expression computes, as a frame or a value."""
        found = self.to_pyarrow(expr, params=params, limit=limit)
        return found.to_pandas() if isinstance(found, pa.Table | pa.Array | pa.ChunkedArray) else found.as_py()

    def _register_in_memory_table(self, op: Any) -> None:
        self._session.createDataFrame(op.data.to_pyarrow(op.schema)).createOrReplaceTempView(op.name)
