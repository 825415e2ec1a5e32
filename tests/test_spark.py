"""What only Spark does, and that it agrees with DuckDB where the two are easily told apart."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest
from test_expressions import LEGIT, SCHEMA

from agentlab import Lab, Plan
from agentlab.engine import DuckDB, Engine, opened
from agentlab.entries import TableDoc
from agentlab.errors import LabError, PlanError
from agentlab.expressions import parse

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> Iterator[tuple[DuckDB, Engine]]:
    duck = DuckDB(tmp_path_factory.mktemp("lab"))
    yield duck, opened("local[2]" if engine_name == "duckdb" else engine_name, duck)
    duck.close()


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
