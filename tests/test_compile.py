"""What transformations make of tables. The cases are plain text, in cases/compile.yaml; here is how they run."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest
import yaml
from conftest import OpenEngine

from agentlab.actions import Aggregate, Cast, Fill, Join, Pivot, Sample, Sort, Transform
from agentlab.compile import MAX_PIVOT, compile, counts
from agentlab.engine import DTYPES, Engine, schema_of
from agentlab.entries import TableDoc
from agentlab.errors import PlanError
from agentlab.plan import action_from

CASES = yaml.safe_load(Path(__file__).with_name("cases").joinpath("compile.yaml").read_text(encoding="utf-8"))

READ: dict[str, Callable[[str], Any]] = {
    **{"int": int, "float": float, "date": date.fromisoformat, "timestamp": datetime.fromisoformat},
    "bool": lambda cell: {"true": True, "false": False}[cell],
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, open_engine: OpenEngine) -> Iterator[Engine]:
    engine = open_engine(tmp_path_factory.mktemp("lab"))
    yield engine
    engine.close()


def value(kind: str, cell: str) -> Any:
    if cell in ("", "NULL"):
        return None
    return READ.get(kind, text)(cell)


def text(cell: str) -> str:
    if cell == "~":
        return ""
    return f" {cell[1:-1]} " if cell[0] == cell[-1] == "." else cell


def table(source: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Schema and rows of a case's CSV."""
    header, *lines = source.splitlines()
    names = [name.partition(":") for name in next(csv.reader([header], quoting=csv.QUOTE_NONE))]
    schema = {name: kind or "text" for name, _, kind in names}
    rows = [[value(kind, cell) for kind, cell in zip(schema.values(), row, strict=True)] for row in csv.reader(lines)]
    return schema, [dict(zip(schema, row, strict=True)) for row in rows]


def stored(lab: Engine, schema: dict[str, Any], rows: list[dict[str, Any]], name: str = "t") -> ibis.Table:
    """The rows as a version of a table: written to Parquet and read back, as everything is."""
    arrow = ibis.schema({column: DTYPES[kind] for column, kind in schema.items()}).to_pyarrow()
    path = f"tables/{ibis.util.gen_name(name)}"
    data = pa.table({column: [row[column] for row in rows] for column in schema}, schema=arrow)
    written = lab.write(lab.memtable(data), lab.root / path)
    return lab.read(TableDoc(path=path, schema=written.schema, rows=written.rows), lab.root)


def small(lab: Engine, **columns: list[Any]) -> ibis.Table:
    path = f"tables/{ibis.util.gen_name('small')}"
    written = lab.write(lab.memtable(pa.table(columns)), lab.root / path)
    return lab.read(TableDoc(path=path, schema=written.schema, rows=written.rows), lab.root)


def result(lab: Engine, table: ibis.Table) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a later reader sees: written, read back."""
    path = f"tables/{ibis.util.gen_name('result')}"
    written = lab.write(table, lab.root / path)
    back = lab.read(TableDoc(path=path, schema=written.schema, rows=written.rows), lab.root)
    return dict(written.schema), lab.con.to_pyarrow(back).to_pylist()


def action_of(case: dict[str, Any]) -> Transform:
    ((name, arguments),) = case["call"].items()
    action = action_from({"name": name, "arguments": {"table": "t", **arguments}})
    assert isinstance(action, Transform)
    return action


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_case(case: dict[str, Any], lab: Engine):
    action, one = action_of(case), stored(lab, *table(case["table"]))
    other = stored(lab, *table(case["other"]), name="u") if "other" in case else None
    if "error" in case:
        with pytest.raises(PlanError) as caught:
            compile(action, one, other)
        assert case["error"] in str(caught.value)
    else:
        after = compile(action, one, other)
        schema, rows = table(case["expect"])
        assert list(schema_of(after).items()) == list(schema.items())
        found_schema, found = result(lab, after)
        assert found == [{name: row[name] for name in schema} for row in rows]
        assert list(found_schema) == list(schema)


def test_every_transformation_has_a_case():
    shown = {name for case in CASES for name in case["call"]}
    assert shown == {cls.tool() for cls in Transform.__subclasses__()}


# The order of rows, where there are enough of them for threads to part them.

MANY = 300_000


@pytest.fixture(scope="module")
def many(lab: Engine) -> ibis.Table:
    ids = range(MANY)
    columns = {"id": list(ids), "grp": [i * 7919 % 1000 for i in ids], "x": [None if i % 3 else i for i in ids]}
    written = lab.write(lab.memtable(pa.table(columns)), lab.root / "tables/many")
    return lab.read(TableDoc(path="tables/many", schema=written.schema, rows=written.rows), lab.root)


def out_of_order(lab: Engine, table: ibis.Table, by: str = "id") -> int:
    """How many rows, as written and read back, come before one that should be earlier."""
    _, rows = result(lab, table.select(by))
    keys = [row[by] for row in rows]
    return sum(a > b for a, b in pairwise(keys))


@pytest.mark.parametrize(
    "call",
    [
        {"filter": {"where": "grp < 500"}},
        {"derive": {"column": "before", "expr": "lag(x) over (partition by grp order by id)"}},
        {"derive": {"column": "total", "expr": "sum(x) over (partition by grp)"}},
        {"dedupe": {"by": ["grp"]}},
        {"fill": {"column": "x", "method": "previous"}},
        {"fill": {"column": "x", "method": "median"}},
        {"fill": {"column": "x", "method": "mode"}},
        {"sample": {"fraction": 0.3}},
        {"limit": {"n": 1000}},
        {"unpivot": {"columns": ["grp", "x"]}},
    ],
    ids=str,
)
def test_rows_stay_in_their_order(call: dict[str, Any], lab: Engine, many: ibis.Table):
    assert out_of_order(lab, compile(action_of({"call": call}), many)) == 0


def test_a_join_keeps_the_order_of_the_table(lab: Engine, many: ibis.Table):
    other = compile(Sort(table="t", by=("x",), descending=True), many)
    assert (
        out_of_order(lab, compile(Join(table="t", other="u", on=("grp",), columns=("id",)), many, other.limit(1000)))
        == 0
    )


def test_sorted_rows_are_still_sorted_when_they_are_read_again(lab: Engine, many: ibis.Table):
    assert out_of_order(lab, compile(Sort(table="t", by=("grp",)), many), by="grp") == 0


def test_actions_follow_on_each_other_without_being_written_between(lab: Engine):
    t = small(lab, id=[3, 1, 2, 1], x=["a", None, "c", "d"])
    for call in (
        {"derive": {"column": "n", "expr": "row_number() over ()"}},
        {"sort": {"by": ["id"], "descending": True}},
        {"fill": {"column": "x", "method": "previous"}},
        {"dedupe": {"by": ["id"]}},
        {"derive": {"column": "m", "expr": "row_number() over () * 10 + n"}},
        {"filter": {"where": "m > 11"}},
    ):
        t = compile(action_of({"call": call}), t)
    assert result(lab, t)[1] == [
        {"id": 2, "x": "c", "n": 3, "m": 23},
        {"id": 1, "x": "c", "n": 2, "m": 32},
    ]


def test_a_table_can_be_joined_with_itself(lab: Engine):
    t = small(lab, id=[1, 2], x=["a", "b"])
    joined = compile(Join(table="t", other="t", on=("id",)), t, t)
    assert result(lab, joined)[1] == [{"id": 1, "x": "a", "x_t": "a"}, {"id": 2, "x": "b", "x_t": "b"}]


# Samples are random, and the same each time.


def test_a_sample_has_the_size_that_was_asked_for(lab: Engine, many: ibis.Table):
    assert len(result(lab, compile(Sample(table="t", n=100), many))[1]) == 100
    assert len(result(lab, compile(Sample(table="t", fraction=0.1), many))[1]) == MANY // 10


def test_a_sample_is_the_same_for_the_same_seed_only(lab: Engine, many: ibis.Table):
    one, again, another = (
        [row["id"] for row in result(lab, compile(Sample(table="t", n=50, seed=seed), many))[1]] for seed in (1, 1, 2)
    )
    assert one == again != another


def test_a_sample_is_spread_over_the_table(lab: Engine, many: ibis.Table):
    ids = [row["id"] for row in result(lab, compile(Sample(table="t", n=1000), many))[1]]
    assert 0.45 * MANY < sum(ids) / len(ids) < 0.55 * MANY


# What is refused, and what is told.


def test_a_pivot_into_thousands_of_columns_is_refused(lab: Engine):
    t = small(lab, a=[1] * (MAX_PIVOT + 1), b=list(range(MAX_PIVOT + 1)))
    with pytest.raises(PlanError, match="more than 500 values"):
        compile(Pivot(table="t", index=("a",), columns="b", values="b"), t)


def test_sums_of_whole_numbers_are_whole_numbers_in_the_files_too(lab: Engine):
    action = Aggregate.model_validate({"table": "t", "measures": [{"function": "sum", "column": "a"}]})
    schema, rows = result(lab, compile(action, small(lab, a=[2**53, 1])))
    assert (schema, rows) == ({"sum_a": "int"}, [{"sum_a": 2**53 + 1}])


def test_a_sum_beyond_64_bits_says_so(lab: Engine):
    action = Aggregate.model_validate({"table": "t", "measures": [{"function": "sum", "column": "a"}]})
    with pytest.raises(PlanError, match="doesn't allow it"):
        result(lab, compile(action, small(lab, a=[2**62, 2**62, 2**62])))


def test_values_that_a_cast_makes_missing_are_counted(lab: Engine):
    t = small(lab, a=["1", "two", None, "3"])
    action = Cast(table="t", column="a", type="int")
    assert counts(action, t, compile(action, t)) == {"rows_before": 4, "rows_after": 4, "made_missing": 1}


def test_the_same_plan_gives_the_same_sql(lab: Engine):
    t = small(lab, a=[1, None], b=["x", "y"])
    for call in ({"derive": {"column": "c", "expr": "lag(a) over ()"}}, {"filter": {"where": "a > 0"}}):
        one, two = (ibis.to_sql(compile(action_of({"call": call}), t), dialect=lab.con.name) for _ in range(2))
        assert str(one) == str(two)


def test_nothing_is_computed_before_it_is_asked_for(lab: Engine, many: ibis.Table):
    t = lab.read(TableDoc(path="tables/many", schema={"no such column": "int"}, rows=0), lab.root)
    assert compile(Fill(table="t", column="no such column", method="median"), t).columns == ("no such column",)
