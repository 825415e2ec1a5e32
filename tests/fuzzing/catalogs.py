"""The labs that plans are tried on: a shop with everything, one with awkward names, and an empty one."""

from __future__ import annotations

from agentlab.evaluation.form import State

_ORDERS = "id,name,email,qty,price,day,at,paid\n" + "".join(
    f"{n},{'abcd'[n % 4]} {n % 7},p{n % 9}@x.org,{n % 5},{n * 1.25},2024-0{n % 9 + 1}-1{n % 10},"
    f"2024-01-02 0{n % 10}:00:00,{n % 2 == 0}\n"
    for n in range(40)
)
_CUSTOMERS = "id,name,city,vip\n1,a 1,Graz,true\n2,b 2,,false\n3,c 3,Linz,\n4,d 4,Graz,true\n"
_WIDE = '"order no","Größe €",select,"a""b"\n1,2.5,x,2024-05-01\n2,,y,2024-05-02\n3,7,,\n'

SHOP = State.model_validate(
    {
        "tables": {
            "staging.orders": {"csv": _ORDERS},
            "core.customers": {"csv": _CUSTOMERS},
            "core.numbers": {"sql": "SELECT i AS n, i % 10 AS k, i * 0.5 AS half FROM range(300) t(i)"},
        },
        "sources": {
            "api": {"kind": "rest", "resources": {"orders": {"csv": _ORDERS}, "customers": {"csv": _CUSTOMERS}}},
            "erp": {"kind": "sql", "tables": {"customers": {"csv": _CUSTOMERS}}},
        },
        "files": {"in/new.csv": _CUSTOMERS, "in/new.parquet": {"csv": _ORDERS}, "in/lines.jsonl": {"csv": _CUSTOMERS}},
        "stores": {"mart": {"quota": "1 GB", "tables": {"core.customers": {"csv": _CUSTOMERS}}}, "lake": {}},
        "pipelines": {"nightly": {"does": "analyze staging.orders"}},
        "schedules": {"nightly": {"task": "nightly", "cron": "0 2 * * *"}},
        "snapshots": {"earlier": {"table": "core.customers", "csv": _CUSTOMERS}},
        "workload": [
            {"name": "by city", "sql": "SELECT city, count(*) AS n FROM core.customers GROUP BY city ORDER BY 1"}
        ],
    }
)
AWKWARD = State.model_validate(
    {
        "tables": {"staging.Odd_1": {"csv": _WIDE}, "x": {"csv": "id\n1\n2\n"}, "core.empty": {"csv": "id,at\n"}},
        "stores": {"S": {"format": "duckdb"}},
    }
)
EMPTY = State()
ALL = (SHOP, AWKWARD, SHOP, EMPTY, SHOP)
