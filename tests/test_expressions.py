"""Expressions from strangers: the good run on the real engine and give the promised type; the bad never run."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import duckdb
import pytest

from agentlab.actions import ColumnType, Schema
from agentlab.errors import PlanError
from agentlab.expressions import MAX_LENGTH, parse
from agentlab.functions import BY_NODE, NAMES

SCHEMA: Schema = {
    **{"qty": "int", "price": "float", "name": "text", "day": "date", "at": "timestamp", "paid": "bool", "doc": "json"},
    **{"unit price": "float", "Customer": "text", "address.city": "text"},
}

#: Everything that is allowed, as a person or a model would write it: text, and the type that it gives.
ALLOWED = """
    qty * price                                             float
    qty + 1                                                 int
    qty - -1                                                int
    (qty + 2) * 3                                           int
    qty * 1.5                                               float
    qty / 2                                                 float
    qty // 2                                                int
    qty % 3                                                 int
    mod(qty, 3)                                             int
    qty ** 2                                                float
    power(qty, 2) + pow(price, 2)                           float
    -price                                                  float
    "unit price" * qty                                      float
    'a'                                                     text
    true                                                    bool
    null                                                    text
    1e3                                                     float
    name || ' ' || qty                                      text
    upper(name)                                             text
    ucase(name)                                             text
    lower(name)                                             text
    lcase(name)                                             text
    trim(name)                                              text
    trim(both 'x' from name)                                text
    ltrim(name, 'x')                                        text
    rtrim(name)                                             text
    substring(name, 1, 2)                                   text
    substring(name from 2 for 3)                            text
    substr(name, 2)                                         text
    left(name, 3)                                           text
    right(name, 3)                                          text
    reverse(name)                                           text
    replace(name, '-', '')                                  text
    split_part(name, ' ', 1)                                text
    lpad(cast(qty as text), 6, '0')                         text
    rpad(name, 10, '.')                                     text
    repeat('*', 5)                                          text
    translate(name, 'abc', 'xyz')                           text
    md5(name)                                               text
    regexp_replace(name, '[^0-9]', '', 'g')                 text
    regexp_extract(name, '([a-z]+)', 1)                     text
    concat(name, qty, day)                                  text
    concat_ws('-', name, qty)                               text
    length(name)                                            int
    len(name)                                               int
    char_length(name)                                       int
    strpos(name, 'a')                                       int
    instr(name, 'a')                                        int
    position('a' in name)                                   int
    starts_with(name, 'A')                                  bool
    ends_with(name, 'a')                                    bool
    contains(name, 'a')                                     bool
    regexp_matches(name, '^[A-Z]')                          bool
    regexp_full_match(name, '[A-Z].*')                      bool
    name ~ '[A-Z].*'                                        bool
    strptime('2024-05-06', '%Y-%m-%d')                      timestamp
    try_strptime(name, '%d/%m/%Y')                          timestamp
    coalesce(name, 'none')                                  text
    ifnull(qty, 0)                                          int
    nvl(price, 0)                                           float
    coalesce(day, '2024-01-01')                             date
    greatest(qty, 5)                                        int
    least(qty, price)                                       float
    nullif(name, '')                                        text
    if(paid, 1, 0)                                          int
    iif(qty > 1, 'many', 'one')                             text
    case when qty > 10 then 'big' when qty > 5 then 'mid' else 'small' end  text
    case name when 'Ann' then 1.5 else 0 end                float
    case when paid then price end                           float
    date(at)                                                date
    date '2024-01-31'                                       date
    timestamp '2024-01-31 10:00:00'                         timestamp
    current_date                                            date
    today()                                                 date
    make_date(2024, 2, 29)                                  date
    year(day)                                               int
    quarter(day)                                            int
    month(day)                                              int
    week(day)                                               int
    weekofyear(day)                                         int
    day(day)                                                int
    dayofmonth(day)                                         int
    dayofyear(day)                                          int
    dayofweek(day)                                          int
    isodow(at)                                              int
    hour(at)                                                int
    minute(at)                                              int
    second(at)                                              int
    strftime(day, '%Y-%m')                                  text
    monthname(day)                                          text
    dayname(day)                                            text
    date_trunc('month', day)                                timestamp
    datetrunc('hour', at)                                   timestamp
    date_diff('day', day, current_date)                     int
    datediff('month', day, at)                              int
    date_add(day, interval 3 day)                           timestamp
    last_day(day)                                           date
    epoch(at)                                               float
    extract(year from day)                                  int
    date_part('dow', day)                                   int
    datepart('epoch', at)                                   float
    day + 7                                                 date
    day - day                                               int
    day + interval 1 month                                  timestamp
    at - interval '90 minutes'                              timestamp
    day + interval (qty) day                                timestamp
    abs(qty)                                                int
    round(price, 2)                                         float
    round(qty)                                              int
    trunc(price)                                            float
    sign(price)                                             int
    isnan(price)                                            bool
    isinf(price)                                            bool
    floor(price)                                            float
    ceil(price)                                             float
    ceiling(price)                                          float
    sqrt(abs(price))                                        float
    cbrt(price)                                             float
    exp(1)                                                  float
    ln(price)                                               float
    log(price)                                              float
    log2(price)                                             float
    log10(price)                                            float
    sin(price) + cos(price) + tan(price)                    float
    asin(0.5) + acos(0.5) + atan(0.5) + atan2(1, 2)         float
    degrees(pi()) + radians(180)                            float
    cast(name as text)                                      text
    cast(qty as double)                                     float
    cast(price as int)                                      int
    price::bigint                                           int
    try_cast(name as date)                                  date
    try_cast(name as timestamp)                             timestamp
    cast(qty as boolean)                                    bool
    cast(price as decimal(10, 2))                           float
    try_cast(name as numeric)                               float
    cast(name as varchar(10))                               text
    try_cast(name as json)                                  json
    qty > 1 and not paid or price is null                   bool
    name is not null                                        bool
    paid is true                                            bool
    qty is distinct from 3                                  bool
    qty is not distinct from null                           bool
    name = 'Ann'                                            bool
    name <> 'Ann'                                           bool
    name != 'Ann'                                           bool
    paid = 1                                                bool
    qty = price                                             bool
    day >= '2024-01-01'                                     bool
    day < at                                                bool
    day between '2024-01-01' and '2024-12-31'               bool
    qty not between 1 and 5                                 bool
    name in ('Ann', 'Bob')                                  bool
    qty not in (1, 2, 3)                                    bool
    day in ('2024-01-01')                                   bool
    name like 'A%'                                          bool
    name not ilike '%a'                                     bool
    name like '10!%' escape '!'                             bool
    customer = 'it''s'                                      bool
    address.city = 'Rome'                                   bool
    lower(doc) = '{}'                                       bool
    row_number() over (order by qty desc)                   int
    rank() over (partition by name order by price desc nulls last)  int
    dense_rank() over (order by qty)                        int
    ntile(4) over (order by qty)                            int
    percent_rank() over (order by qty)                      float
    cume_dist() over (order by qty)                         float
    lag(price) over (order by day)                          float
    lead(name, 2, 'none') over (order by day)               text
    first_value(day) over (partition by name order by at)   date
    last_value(qty ignore nulls) over (order by at rows between unbounded preceding and current row)  int
    min(price) over () + max(price) over ()                 float
    count(*) over (partition by name)                       int
    count(distinct name) over ()                            int
    sum(price) over (partition by name order by day rows between 6 preceding and current row)  float
    sum(qty) over ()                                        int
    sum(price) filter (where paid) over (order by day)      float
    price / sum(price) over (partition by name)             float
    (price - avg(price) over ()) / stddev(price) over ()    float
    median(qty) over (partition by name)                    float
"""

LEGIT = [re.split(r"\s{2,}", line.strip()) for line in ALLOWED.strip().splitlines()]

DUCKDB_TYPES: dict[ColumnType, str] = {
    **{"int": "BIGINT HUGEINT INTEGER TINYINT", "float": "DOUBLE DECIMAL", "text": "VARCHAR", "date": "DATE"},
    **{"timestamp": "TIMESTAMP", "bool": "BOOLEAN", "json": "JSON"},
}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """Three rows of every type, one of them missing, in an engine that reads no files."""
    with duckdb.connect(config={"enable_external_access": False, "lock_configuration": True}) as con:
        con.execute(
            """CREATE TABLE t AS SELECT * FROM (VALUES
            (1::BIGINT, 2.5::DOUBLE, 'Ann', DATE '2024-01-15', TIMESTAMP '2024-01-15 10:30:00', true, '{}'::JSON,
             9.9::DOUBLE, 'it''s', 'Rome'),
            (7, 10, 'bob-x', '2024-03-01', '2024-03-02 00:00:01', false, '[1]', 1, 'b', 'Oslo'),
            (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
            v(qty, price, name, "day", "at", paid, doc, "unit price", "Customer", "address.city")"""
        )
        yield con


@pytest.mark.parametrize(("sql", "type"), LEGIT, ids=[sql for sql, _ in LEGIT])
def test_allowed_expressions_run_and_give_the_type_that_was_promised(
    con: duckdb.DuckDBPyConnection, sql: str, type: ColumnType
) -> None:
    parsed = parse(sql, SCHEMA)
    assert parsed.type == type
    result = con.execute(f"SELECT {parsed.sql} FROM t")
    found = str(result.description[0][1]).partition("(")[0]  # type: ignore[index]
    assert found in DUCKDB_TYPES[type].split()
    rows = result.fetchall()
    assert len(rows) == 3
    again = parse(parsed.sql, SCHEMA)
    assert again.type == type, "what was written anew reads the same again"
    # Without ORDER BY the order of rows, with windows above all, is DuckDB's own to choose.
    assert sorted(con.execute(f"SELECT {again.sql} FROM t").fetchall(), key=repr) == sorted(rows, key=repr)


def test_the_list_above_runs_every_function_in_every_spelling() -> None:
    used = {name for sql, _ in LEGIT for name in parse(sql, SCHEMA).functions}
    assert used >= {f.names[0] for f in BY_NODE.values()}
    assert not [name for name in NAMES if not re.search(rf"\b{name}\b", ALLOWED)]


@pytest.mark.parametrize(("sql", "type"), [c for c in LEGIT if c[1] == "bool" and "over (" not in c[0]])
def test_conditions_filter(con: duckdb.DuckDBPyConnection, sql: str, type: str) -> None:
    parsed = parse(sql, SCHEMA, boolean=True)
    assert len(con.execute(f"SELECT * FROM t WHERE {parsed.sql}").fetchall()) <= 3


def values(con: duckdb.DuckDBPyConnection, sql: str) -> list[object]:
    return [row[0] for row in con.execute(f"SELECT {parse(sql, SCHEMA).sql} FROM t").fetchall()]


def test_division_by_zero_is_missing(con: duckdb.DuckDBPyConnection) -> None:
    assert values(con, "1 / (qty - qty)") == values(con, "qty % 0") == values(con, "1.5 / 0.0") == [None] * 3
    assert parse("qty / 2", SCHEMA).sql == '"qty" / 2', "a divisor that can't be zero stays as it is"


def test_operators_keep_their_precedence(con: duckdb.DuckDBPyConnection) -> None:
    assert values(con, "(qty + 1) * 2 - 3 * (qty - 1)") == [4, -2, None]
    assert values(con, "not (paid or qty = 7)") == [False, False, None]


def test_decimals_are_numbers_rounded_to_their_digits(con: duckdb.DuckDBPyConnection) -> None:
    assert values(con, "cast(price / 3 as decimal(10, 2))") == [0.83, 3.33, None]


def test_columns_match_whatever_their_case_and_are_quoted() -> None:
    parsed = parse("QTY * Price + length(customer)", SCHEMA)
    assert parsed.sql == '"qty" * "price" + LENGTH("Customer")'
    assert parsed.columns == ["qty", "price", "Customer"]
    assert parsed.functions == ["length"]


def test_columns_named_like_keywords_need_no_quotes(con: duckdb.DuckDBPyConnection) -> None:
    schema: Schema = {"date": "date", "order": "int", "count": "int", "timestamp": "timestamp", "end": "int"}
    values = """DATE '2024-01-01' "date", 1 "order", 2 "count", TIMESTAMP '2024-01-01' "timestamp", 3 "end\""""
    con.execute(f"CREATE OR REPLACE TEMP TABLE k AS SELECT {values}")
    for sql in ('year(date) + "order"', "count * 2", "date_diff('day', date, timestamp)", "date > '2024-01-01'"):
        con.execute(f"SELECT {parse(sql, schema).sql} FROM k").fetchall()


def test_a_column_name_is_never_sql(con: duckdb.DuckDBPyConnection) -> None:
    evil = 'x" FROM t; DROP TABLE t; --'
    quoted = '"' + evil.replace('"', '""') + '"'
    parsed = parse(f"{quoted} + 1", {evil: "int"})
    assert parsed.sql == f"{quoted} + 1"
    assert con.execute(f"SELECT {parsed.sql} FROM (SELECT 1 AS {quoted})").fetchall() == [(2,)]


def test_other_dialects_get_their_own_sql() -> None:
    assert parse("date_diff('day', day, at)", SCHEMA).to("spark") == (
        "CAST((UNIX_DATE(CAST(CAST(`at` AS TIMESTAMP_NTZ) AS DATE)) - "
        "UNIX_DATE(CAST(CAST(`day` AS TIMESTAMP_NTZ) AS DATE))) AS BIGINT)"
    )


def test_without_a_schema_any_column_goes() -> None:
    assert parse("amount > 5 and city = 'x'", None, boolean=True).columns == ["amount", "city"]


#: What never runs: text, and a part of the reason given.
HOSTILE = {
    "COLUMNS('.*')": "no function 'COLUMNS'",
    "columns(*)": "no function 'columns'",
    "*": "'*' isn't allowed",
    "qty, *": "can't be read",
    "t.*": "'*' isn't allowed",
    "count(* exclude (qty)) over ()": "no function 'exclude'",
    "count(t.*) over ()": "'*' isn't allowed",
    "rpad('a', 999999999, 'x')": "10,000 times longer",
    "lpad(name, qty, ' ')": "must be a number written out",
    "repeat('a', 999999999)": "10,000 times longer",
    "repeat('a', 9999 * 9999)": "must be a number written out",
    "repeat(repeat(repeat('a', 5000), 5000), 5000)": "10,000 times longer",
    "repeat('a', 1e9)": "must be a number written out",
    "replace(" * 9 + "name" + ", 'a', 'aaaaaaaaaa')" * 9: "10,000 times longer",
    "regexp_replace(regexp_replace(name, '.', '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0"
    + "\\0" * 90
    + "'), '.', '"
    + "\\0" * 99
    + "')": "longer",
    "replace(replace(replace(name, 'a', name), 'b', name), 'c', name)": "10,000 times longer",
    "read_csv('/etc/passwd')": "no function 'read_csv'",
    "read_text('/etc/passwd')": "no function 'read_text'",
    "read_parquet('x')": "no function 'read_parquet'",
    "glob('*')": "no function 'glob'",
    "\"read_csv\"('x')": "no function 'read_csv'",
    "main.read_csv('x')": "no function 'read_csv'",
    "getenv('HOME')": "no function 'getenv'",
    "current_setting('temp_directory')": "no function 'current_setting'",
    "getvariable('x')": "no function 'getvariable'",
    "query('select 1')": "no function 'query'",
    "query_table('t')": "no function 'query_table'",
    "pg_sleep(10)": "no function 'pg_sleep'",
    "pg_read_file('/etc/passwd')": "no function 'pg_read_file'",
    "pg_backend_pid()": "no function 'pg_backend_pid'",
    "nextval('s')": "no function 'nextval'",
    "version()": "no function 'version'",
    "random()": "no function 'random'",
    "uuid()": "no function 'uuid'",
    "format('{:999999999}', qty)": "no function 'format'",
    "printf('%999999999d', qty)": "no function 'printf'",
    "range(1000000000)": "no function 'range'",
    "generate_series(1, 1000000000)": "no function 'generate_series'",
    "unnest([1, 2])": "no function 'unnest'",
    "list_value(1)": "no function 'list_value'",
    "error('x')": "no function 'error'",
    "current_user": "isn't allowed",
    "(select 1)": "subquery",
    "qty in (select qty from t)": "subquery",
    "exists (select 1)": "subquery",
    "(from t)": "subquery",
    "(table t)": "isn't allowed",
    "(values (1))": "no function 'values'",
    "qty = any(select 1)": "no function 'any'",
    "(with x as (select 1) select * from x)": "subquery",
    "qty = (1 union select 2)": "subquery",
    "qty in doc": "has a part that isn't allowed",
    "ATTACH 'x.db'": "can't be read",
    "COPY t TO 'x'": "can't be read",
    "PRAGMA database_list": "can't be read",
    "INSTALL httpfs": "can't be read",
    "SET memory_limit = '1GB'": "can't be read",
    "SELECT 1": "subquery",
    "DROP TABLE t": "can't be read",
    "qty; DROP TABLE t": "';' isn't allowed",
    "qty;": "';' isn't allowed",
    "qty -- comment": "comments",
    "qty /* comment */ + 1": "comments",
    "/* only a comment */": "no expression",
    "qty + 'abc": "isn't closed",
    "qty /* open": "isn't closed",
    "qty) FROM t; --": "comments",
    "qty)": "can't be read",
    "(qty": "can't be read",
    "qty +": "can't be read",
    "": "no expression",
    " \n ": "no expression",
    "qty AS total": "can't be read",
    "qty total": "can't be read",
    "qty, price": "can't be read",
    "(qty, price)": "isn't allowed",
    "$1": "placeholder",
    "?": "placeholder",
    ":name": "placeholder",
    "[qty]": "isn't allowed",
    "name[1]": "isn't allowed",
    "name[1:2]": "isn't allowed",
    "{'a': qty}": "isn't allowed",
    "x -> x + 1": "isn't allowed",
    "doc ->> '$.a'": "isn't allowed",
    "#1": "isn't allowed",
    "qty & 1": "isn't allowed",
    "name collate nocase": "isn't allowed",
    "at at time zone 'utc'": "isn't allowed",
    "name similar to 'x'": "isn't allowed",
    "name glob '*'": "isn't allowed",
    "e'\\n'": "isn't allowed",
    "if qty then 1": "bare IF",
    "lambda x: x": "can't be read",
    "cast(qty as int[])": "can't cast to",
    "cast(qty as struct(a int))": "no function 'struct'",
    "cast(qty as blob)": "can't cast to",
    "cast(name as my_enum)": "can't cast to",
    "cast(name as text format 'x')": "isn't allowed",
    "date_trunc('century', day)": "no unit 'century'",
    "interval 3 fortnight": "no unit 'fortnight'",
    "day + interval '1 year 2 months'": "one unit",
    "ceil(price, 2)": "ceil takes up to 1 arguments",
    "qty between symmetric 5 and 1": "BETWEEN SYMMETRIC",
    "99999999999999999999": "too large a number",
    "1e999": "too large a number",
    "regexp_matches(name, '(')": "isn't a regular expression",
    "regexp_matches(name, '(?=a)')": "isn't a regular expression",
    "regexp_matches(name, name)": "must be a text written out",
    "sum(qty)": "reduces rows",
    "row_number()": "reduces rows",
    "upper(name) over ()": "can't take OVER",
    "sum(sum(qty) over ()) over ()": "window within a window",
    "sum(qty) over w": "isn't allowed",
    "sum(qty) over (rows between 1 preceding and 1 following exclude ties)": "isn't allowed",
    "lower(distinct name)": "isn't allowed",
    "ｑｔｙ + 1": "no column 'ｑｔｙ'",
    "qt\u200by": "no column 'qt\\u200by'",
    "ѕum(qty) over ()": "no function 'ѕum'",
    "‘Ann’ = name": "no column '‘Ann’'",
    "qty＋1": "no column",
    "qty\0": "zero bytes",
    "qty \u202e+ 1": "near '\\u202e'",
    "t.qty": "write qty, not t.qty",
    "staging.t.qty + 1": "write qty, not staging.t.qty",
    'name = "Ann"': "in single quotes: 'Ann'",
}


@pytest.mark.parametrize(("sql", "reason"), HOSTILE.items(), ids=[repr(sql)[:60] for sql in HOSTILE])
def test_what_is_not_allowed_is_refused_with_its_reason(sql: str, reason: str) -> None:
    with pytest.raises(PlanError, match=re.escape(reason)):
        parse(sql, SCHEMA)


BOMBS = {
    **{
        f"{word}(...": f"{word}(" * 200 + "qty" + ")" * 200
        for word in ("", "lower", "date", "decimal", "cast", "if", "struct")
    },
    **{
        f"({word} (...": f"({word} " * 200 + "qty" + ")" * 200
        for word in ("char", "case when", "not", "interval", "date")
    },
    **{f"{word} ...": f"{word} " * 400 + "qty" for word in ("not", "-", "interval", "case when", "cast", "date")},
    **{f"{call} ...": f"{call}(1, " * 14 + "qty" + ")" * 14 for call in ("ceil", "floor", "strpos", "left", "substr")},
    "symmetric": "qty between symmetric (" * 14 + "1" + ") and 2" * 14,
    "else": "else qty",
    "plus": "+",
    "case": "case when paid then " * 60 + "1" + " end" * 60,
    "brackets": "[" * 500 + "]" * 500,
    "braces": "{'a':" * 300 + "1" + "}" * 300,
    "long": "qty + " * 400 + "1",
    "between": "qty between " * 150 + "1",
    "lists": "qty in (" * 200 + "1" + ")" * 200,
    **{
        f"{word} at the limit": f"{word}(" * 15 + "qty" + ")" * 15
        for word in ("date", "decimal", "char", "json", "row", "map")
    },
}


@pytest.mark.parametrize("sql", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_quickly(sql: str) -> None:
    started = time.process_time()
    with pytest.raises(PlanError) as refusal:
        parse(sql, SCHEMA)
    assert time.process_time() - started < 2
    assert len(str(refusal.value)) < 1000


def test_long_but_flat_expressions_are_fine(con: duckdb.DuckDBPyConnection) -> None:
    sql = " or ".join(f"qty = {n}" for n in range(150))
    assert len(sql) < MAX_LENGTH
    assert con.execute(f"SELECT count(*) FROM t WHERE {parse(sql, SCHEMA, boolean=True).sql}").fetchone() == (2,)
    deep = "(" * 15 + "qty" + ")" * 15
    assert parse(deep, SCHEMA).type == "int"


#: Types that don't fit, which the engine would find only at run time, or never: text, and a part of the reason given.
MISFITS = {
    "name * 2": "'*' needs a number, but name is text; try_cast(name as double) makes it one",
    "name > 5": "can't mix types: name is text, 5 is int",
    "day > 5": "can't mix types",
    "day > 'June'": "'June' can't be read as date; write 'YYYY-MM-DD'",
    "day = '2024-02-30'": "can't be read as date",
    "qty in ('a', 'b')": "'a' can't be read as int",
    "paid = 'maybe'": "can't be read as bool",
    "upper(qty)": "upper needs text, but qty is int; cast(qty as text) makes it one",
    "year(name)": "year needs a date or timestamp, but name is text; try_cast(name as date) makes it one",
    "year('2024-01-01')": "write date '2024-01-01'",
    "coalesce(name, 0)": "coalesce can't mix types",
    "case when paid then 'a' else 1 end": "case: 'a' can't be read as int",
    "case when qty then 1 end": "when needs true or false, but qty is int",
    "price // 2": "use floor(a / b)",
    "paid + 1": "'+' needs a number, but paid is bool",
    "day + qty": "write date + interval (number) day",
    "day + day": "can't compute date + date",
    "at - at": "date_diff('day', a, b)",
    "interval 3 day": "an interval can't be stored",
    "sum(name) over ()": "sum needs a number, but name is text",
    "not qty": "not needs true or false",
    "name is true": "needs true or false",
    "date_diff('day', name, day)": "can't mix types",
    "cast('soon' as date)": "'soon' can't be read as date",
    "qty like '1%'": "like needs text, but qty is int",
}


@pytest.mark.parametrize(("sql", "reason"), MISFITS.items(), ids=MISFITS)
def test_types_that_do_not_fit_are_named(sql: str, reason: str) -> None:
    with pytest.raises(PlanError, match=re.escape(reason)):
        parse(sql, SCHEMA)


def test_a_condition_must_be_true_or_false_and_holds_no_window() -> None:
    with pytest.raises(PlanError, match="must be true or false, this gives float"):
        parse("price * 2", SCHEMA, boolean=True)
    with pytest.raises(PlanError, match="derive a column first"):
        parse("row_number() over (order by qty) = 1", SCHEMA, boolean=True)


def test_all_faults_come_back_at_once_nearest_names_first() -> None:
    with pytest.raises(PlanError) as refusal:
        parse("qtty + prices + uper(nam)", SCHEMA)
    assert "did you mean 'upper'" in str(refusal.value)
    with pytest.raises(PlanError) as refusal:
        parse("qtty + prices", SCHEMA)
    assert "did you mean 'qty'" in str(refusal.value)
    assert "did you mean 'price'" in str(refusal.value)
