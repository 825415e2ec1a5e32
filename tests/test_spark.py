"""What only Spark does, and that it agrees with DuckDB where the two are easily told apart."""

from __future__ import annotations

import math
import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp
from test_expressions import LEGIT, SCHEMA

from agentlab import Lab, Plan
from agentlab.actions import Transform
from agentlab.compile import compile
from agentlab.engine import DTYPES, SQL_TYPES, DuckDB, Engine
from agentlab.entries import TableDoc
from agentlab.errors import LabError, PlanError
from agentlab.expressions import parse
from agentlab.plan import action_from
from agentlab.sparkforms import SPARK_TYPES

pytestmark = pytest.mark.spark


ROWS: dict[str, list[Any]] = {
    "qty": [3, 1, None, -7],
    "price": [2.5, 10.0, None, -0.125],
    "name": ["Ann", "Bob Smith", None, " Zoë a1b22 "],
    "day": [date(2024, 1, 31), date(2024, 5, 6), None, date(1999, 12, 31)],
    "at": [datetime(2024, 1, 31, 10, 0, 5), datetime(2024, 5, 6, 23, 59, 59), None, datetime(1969, 7, 20, 20, 17, 40)],
    "paid": [True, False, None, True],
    "doc": ["{}", '{"a": 1}', None, "[1]"],
    "unit price": [1.0, 2.0, 3.0, 1e7],
    "Customer": ["it's", "x", None, "y"],
    "address.city": ["Rome", "Oslo", None, "Rome"],
}

#: What means two things to the two engines as it stands: expressions over ROWS.
APART = """
cast(price as int)
cast(2.5 as int)
try_cast(split_part('-2.5|x', '|', 1) as int) + qty
try_cast(name as int)
cast("unit price" as text)
"unit price" * 1e10 || ''
price / 1e5 || '|' || qty || paid
cast("unit price" / 3e-9 as text)
concat(name, price, day, at, paid)
round(price)
round(price, 1)
round(qty / 2)
floor(price) + ceil(price) + trunc(price)
floor(1e300 + price)
qty // 2
qty % 3
qty / 4
1 / 3.0
qty * 1.1
(qty + 0.1) / 0.3
date_diff('month', day, date '2024-03-01')
date_diff('year', day, at)
date_diff('quarter', day, date '2024-07-01')
date_diff('week', day, date '2024-02-05')
date_diff('day', at, timestamp '2024-05-07 00:00:00')
date_diff('hour', at, timestamp '2024-05-07 00:30:00')
date_diff('minute', at, timestamp '2024-05-07 00:30:00')
date_diff('second', at, timestamp '2024-05-07 00:30:00')
dayofweek(day)
isodow(day)
week(day)
extract(dow from at) + extract(second from at) + extract(epoch from at)
monthname(day) || dayname(day)
strftime(at, '%d.%m.%Y, %H:%M:%S %y %j %b %B %a %A %I %p')
strftime(day, 'week of %-d/%-m')
strptime('5/3/2024 9:05', '%d/%m/%Y %H:%M')
strptime('20240305', '%Y%m%d')
day + interval (qty) month
day - interval 1 quarter
at + interval '90 minutes'
day + 7
day - date '2024-01-01'
date_add(day, interval 1 month)
date_trunc('week', day)
date_trunc('quarter', at)
last_day(day)
epoch(at)
year(day) * 10000000
substring(name, 0, 2)
substring(name, -3, 2)
substring(name, qty, 2)
left(name, qty)
right(name, qty)
left(name, -1)
right(name, -1)
split_part(name, ' ', 2)
split_part(name, ' ', -1)
split_part(name, ' ', 0)
lpad(name, 12, '*') || rpad(name, 2, '*')
strpos(name, 'z')
trim(name) || '|'
length(name)
reverse(name)
regexp_replace(name, '[a-z]', '<\\0>')
regexp_replace(name, '([a-z])([0-9])', '\\2$\\1', 'g')
regexp_replace(name, 'A', '$1', 'i')
regexp_extract(name, '([a-z]+)([0-9]+)')
regexp_extract(name, '([a-z]+)([0-9]+)', 2)
regexp_matches(name, '^ann$', 'i')
regexp_matches(name, '[[:digit:]]+')
regexp_full_match(name, '[A-Z][a-z]+')
name like 'A__'
name like '%\\%'
name ilike '%O%'
name like '%!_%' escape '!'
concat_ws('-', name, price, paid)
greatest(qty, price, null)
least(qty, 2)
coalesce(qty, price)
paid = 1
name > 'B'
price is distinct from null
log(100) + log2(8) + log10(1000) + ln(1)
cbrt(price) + exp(price) + sqrt(abs(price))
sign(price)
isinf(price / 0.5)
try_cast(name as json)
try_cast(doc as json)
try_cast('2024-1-5' as date)
try_cast('2024/01/05' as date)
try_cast('2024-01' as date)
try_cast('2024-01-05 10:00' as date)
try_cast('2024' as timestamp)
try_cast('2024-01-05 10:30' as timestamp)
try_cast('1d' as double)
try_cast(' 1e3 ' as double)
try_cast('nan' as double)
row_number() over (order by price)
row_number() over (order by price desc)
rank() over (order by name)
count(distinct paid) over ()
count(distinct paid) filter (where qty > 0) over ()
count(*) filter (where qty > 0) over (partition by paid)
sum(price) filter (where paid) over (order by qty)
first_value(name) over (order by price)
last_value(qty ignore nulls) over (order by at rows between unbounded preceding and current row)
median(price) over ()
stddev(price) over (partition by paid)
lag(qty, 1, 0) over (order by day desc)
sum(qty) over (order by at rows between 1 preceding and 1 following)
ntile(2) over (order by qty)
""".replace("\\\\", "\\")

EXPRESSIONS = [sql for sql, _ in LEGIT] + [line for line in APART.splitlines() if line]


def alike(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return (math.isnan(one) and math.isnan(two)) or math.isclose(one, two, rel_tol=1e-12)
    return type(one) is type(two) and one == two


#: DuckDB's errors, which Spark must give, too: a row of ROWS has a negative price.
FAIL = ("ln(price)", "log(price)", "log2(price)", "log10(price)")


def stored(engine: Engine, data: pa.Table, name: str) -> TableDoc:
    """Arrow data as a version that both engines read."""
    path = f"tables/{name}"
    written = engine.write(engine.memtable(data), engine.root / path)
    return TableDoc(path=path, schema=written.schema, rows=written.rows)


def everything() -> pa.Table:
    return pa.table({name: pa.array(cells) for name, cells in ROWS.items()})


def computed(engine: Engine, doc: TableDoc, expressions: list[str]) -> dict[str, list[Any]]:
    """Each expression's values over the rows in their order, in one query."""
    dialect = engine.con.name
    types = {"duckdb": SQL_TYPES, "pyspark": SPARK_TYPES}[dialect]
    table = engine.read(doc, engine.root)
    alias = ibis.util.gen_name("rows")
    chosen: list[exp.Expr] = []
    for number, sql in enumerate(expressions):
        parsed = parse(sql, SCHEMA)
        to = exp.DataType.build(types[parsed.type], dialect=dialect)
        chosen.append(exp.alias_(exp.Cast(this=parsed.tree_for(dialect).copy(), to=to), f"e{number}", quoted=True))
    query = exp.select("qty", *chosen).from_(alias).order_by("qty NULLS LAST")
    schema = {"qty": DTYPES["int"]} | {f"e{i}": DTYPES[parse(sql, SCHEMA).type] for i, sql in enumerate(expressions)}
    found = ibis.expr.operations.SQLStringView(
        table.alias(alias).op(), query.sql(dialect), ibis.schema(schema)
    ).to_expr()
    values = engine.con.to_pyarrow(found).to_pydict()
    return {sql: values[f"e{number}"] for number, sql in enumerate(expressions)}


def test_every_expression_means_the_same(both: tuple[DuckDB, Engine]):
    doc = stored(both[0], everything(), "expressions")
    wanted = [sql for sql in EXPRESSIONS if sql not in FAIL]
    for start in range(0, len(wanted), 80):
        duck, spark = (computed(engine, doc, wanted[start : start + 80]) for engine in both)
        unlike = {sql: (duck[sql], spark[sql]) for sql in duck if not all(map(alike, duck[sql], spark[sql]))}
        assert not unlike


@pytest.mark.parametrize("sql", ["ln(price)", "acos(qty)", "cast(name as int)", "qty * 999999999999999999 * 10"])
def test_what_fails_fails_on_both_and_leaves_nothing(sql: str, both: tuple[DuckDB, Engine]):
    doc = stored(both[0], everything(), ibis.util.gen_name("fails"))
    for engine in both:
        target = engine.root / "tables" / ibis.util.gen_name("failed")
        derive = action_from({"name": "derive", "arguments": {"table": "t", "column": "x", "expr": sql}})
        assert isinstance(derive, Transform)
        with pytest.raises(PlanError, match="the data doesn't allow it"):
            engine.write(compile(derive, engine.read(doc, engine.root)), target)
        assert not target.exists() and not target.with_name(f"{target.name}.part").exists()


def test_a_version_of_several_files_keeps_its_order(both: tuple[DuckDB, Engine]):
    """The larger file last: Spark, left to itself, would read it first."""
    duck, spark = both
    folder = duck.root / "tables" / "several"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [0, 1]}), folder / "part-0.parquet")
    pq.write_table(pa.table({"id": list(range(2, 5000))}), folder / "part-1.parquet")
    doc = TableDoc(path="tables/several", schema={"id": "int"}, rows=5000)
    limit = action_from({"name": "limit", "arguments": {"table": "t", "n": 4}})
    assert isinstance(limit, Transform)
    for engine in (duck, spark):
        rows = engine.read(doc, engine.root)
        assert engine.con.to_pyarrow(rows)["id"].to_pylist() == list(range(5000))
        assert engine.con.to_pyarrow(compile(limit, rows))["id"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.smoke
def test_a_lab_on_spark_loads_transforms_analyzes_publishes_and_undoes(tmp_path: Path, both: tuple[DuckDB, Engine]):
    orders = pd.DataFrame(
        {"id": [1, 2, 2, 3], "total": [9.5, 20.0, 20.0, None], "city": ["Rome", "Oslo", "Oslo", "Rome"]}
    )
    with Lab(tmp_path / "lab", engine="spark", approve=True) as lab:
        assert lab.compute.con.name == "pyspark"
        lab.load(orders, "orders")
        calls: list[dict[str, Any]] = [
            {"name": "dedupe", "arguments": {"table": "staging.orders"}},
            {
                "name": "derive",
                "arguments": {"table": "staging.orders", "column": "gross", "expr": "round(total * 1.2, 1)"},
            },
        ]
        changed = lab.run(Plan.from_calls(calls))
        assert changed.status == "done", changed.message
        assert lab.table("staging.orders")["id"].tolist() == [1, 2, 3]
        assert lab.table("staging.orders")["gross"].tolist()[:2] == [11.4, 24.0]
        analyzed = lab.run(Plan.from_calls([{"name": "analyze", "arguments": {"table": "staging.orders"}}]))
        assert analyzed.status == "done", analyzed.message
        (report,) = [entry.doc["report"] for entry in lab.catalog.entries("report")]
        assert [(f["column"], f["kind"], f["count"]) for f in report["findings"] if f["severity"] != "info"] == [
            ("total", "missing", 1),
            ("gross", "missing", 1),
        ]
        stored = {"store": "warehouse", "format": "parquet"}
        published = lab.run(
            Plan.from_calls(
                [
                    {"name": "provision", "arguments": stored},
                    {"name": "publish", "arguments": {"store": "warehouse", "table": "staging.orders"}},
                ]
            )
        )
        assert published.status == "done", published.message
        assert lab.table("warehouse.orders")["gross"].tolist()[:2] == [11.4, 24.0]
        lab.undo(published.run)
        lab.undo(analyzed.run)
        lab.undo(changed.run)
        assert lab.table("staging.orders")["id"].tolist() == [1, 2, 2, 3]


def test_an_engine_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path):
    with pytest.raises(LabError, match="no engine 'sparkle'; did you mean 'spark'"):
        Lab(tmp_path / "lab", engine="sparkle")
    assert not (tmp_path / "lab").exists()


# A million rows.

MILLION = 1_000_000


@pytest.fixture(scope="module")
def million(both: tuple[DuckDB, Engine]) -> tuple[TableDoc, TableDoc]:
    duck, _ = both
    orders = """SELECT range AS id, (range * 7919) % 50021 AS customer, CASE WHEN range % 97 > 0 THEN
        ((range * 104729) % 100003) / 100 END AS total, 'city ' || (range * 31) % 40 AS city,
        DATE '2024-01-01' + CAST(range % 366 AS INTEGER) AS day FROM range(1000000)"""
    customers = "SELECT range AS customer, 'name ' || range AS name, range % 5 AS grade FROM range(50021)"
    return _made(duck, orders, "orders"), _made(duck, customers, "customers")


def _made(duck: DuckDB, query: str, name: str) -> TableDoc:
    return stored(duck, duck.con.raw_sql(query).to_arrow_table(), name)


def digest(duck: DuckDB, doc: TableDoc) -> str:
    """A hash of all cells with their rows' places; floats to ten digits, since sums depend on the order of adding."""
    kinds = doc.schema_.items()
    cells = [f"printf('%.9e', \"{name}\")" if kind == "float" else f'"{name}"' for name, kind in kinds]
    name = ibis.util.gen_name("digested")
    duck.con.create_view(name, duck.read(doc, duck.root))
    rows = f"SELECT hash(row_number() OVER (), {', '.join(cells)}) AS cells FROM {name}"
    ((found,),) = duck.con.raw_sql(f"SELECT format('{{:x}}', bit_xor(cells)) FROM ({rows})").fetchall()
    return str(found)


@pytest.mark.million
@pytest.mark.parametrize(
    "call",
    [
        {"join": {"other": "staging.u", "on": ["customer"], "how": "left"}},
        {
            "aggregate": {
                "by": ["city"],
                "measures": [
                    {"function": function, "column": "total"}
                    for function in ("sum", "avg", "median", "stddev", "count_distinct", "max")
                ],
            }
        },
    ],
    ids=["join", "aggregate"],
)
def test_a_million_rows_agree(call: Any, both: tuple[DuckDB, Engine], million: tuple[TableDoc, TableDoc]):
    ((name, arguments),) = call.items()
    action = action_from({"name": name, "arguments": {"table": "t", **arguments}})
    assert isinstance(action, Transform)
    digests = []
    for engine in both:
        began = time.perf_counter()
        tables = [engine.read(doc, engine.root) for doc in million]
        path = f"tables/{ibis.util.gen_name('result')}"
        result = compile(action, tables[0], tables[1] if name == "join" else None)
        written = engine.write(result, engine.root / path)
        doc = TableDoc(path=path, schema=written.schema, rows=written.rows)
        digests.append((written.rows, digest(both[0], doc)))
        took = time.perf_counter() - began
        print(f"{name} of {MILLION:,} rows on {engine.con.name}: {digests[-1]}, {took:.1f} s")
    assert digests[0] == digests[1]
