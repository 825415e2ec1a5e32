"""The rules: a plan is walked over a real catalog, and every problem comes back at once, with what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis
import pytest

from agentlab.actions import ACTIONS, ROLES, Join, Role, Schema, Transform, Union
from agentlab.catalog import Catalog, Run, TableDoc
from agentlab.compile import compile
from agentlab.engine import DTYPES, schema_of
from agentlab.plan import Plan, action_from
from agentlab.rules import RULES, Issue, base, check, removal_needs_approval
from agentlab.simulation import Sight, World

ORDERS: Schema = {
    **{"id": "int", "customer_id": "int", "qty": "int", "price": "float", "status": "text", "day": "date"},
    **{"at": "timestamp", "paid": "bool", "extra": "json"},
}
#: A schema that has columns of the orders, spelled otherwise.
LOUD: Schema = {"ID": "float", "Status": "text", "Extra2": "int"}
CUSTOMERS: Schema = {"customer_id": "int", "name": "text", "status": "text", "city": "text"}

Call = tuple[str, dict[str, Any]]


def plan(*calls: Call) -> Plan:
    return Plan.from_calls({"name": name, "arguments": arguments} for name, arguments in calls)


def table(schema: Schema, call: Call | None = None, source: str | None = None) -> TableDoc:
    name, arguments = call or ("pull", {})
    return TableDoc(path="tables/x", schema_=schema, rows=3, call={"name": name, "arguments": arguments}, source=source)


@pytest.fixture
def lab(tmp_path: Path) -> Catalog:
    """Two tables, a source with three resources, a store and a query."""
    catalog = Catalog(tmp_path / "lab")
    draft = catalog.draft("r0")
    draft.put("table", "staging.orders", table(ORDERS, source="sales_api.orders"))
    draft.put("table", "customers", table(CUSTOMERS, ("select", {})))
    times = {"schema": {"id": "int", "amount": "float"}, "time_column": "at"}
    resources = {"orders": {"path": "/orders", **times}, "people": {"path": "/people"}, "log": {"order": "sort"}}
    draft.put("source", "sales_api", {"kind": "rest", "resources": resources})
    draft.put("store", "sales", {"name": "sales", "partition_by": ["day"]})
    draft.put("query", "daily revenue", {"name": "daily revenue", "sql": "select 1", "runs": []})
    draft.put("snapshot", "first", {"table": "customers", "version": 1, "rows": 3, "run": "r0", "at": "2026-01-01"})
    draft.commit()
    (catalog.root / "visits.csv").write_text("id,any\n1,2\n")
    return catalog


def told(lab: Catalog, *calls: Call, role: Any = None) -> list[tuple[str, str, int]]:
    """The issues of a plan, as (rule, severity, action)."""
    return [(issue.rule, issue.severity, issue.action) for issue in check(plan(*calls), lab, role)]


O = "staging.orders"  # noqa: E741
PULL = {"source": "sales_api", "resource": "orders", "into": "staging.orders"}


#: Plans without a problem, each a list of calls.
SOUND: list[list[Call]] = [
    [("pull", PULL)],
    [("pull", {**PULL, "into": "staging.new", "where": "amount > 5 and city = 'Rome'", "order": "newest"})],
    [("pull", {**PULL, "resource": "log", "into": "staging.log", "order": "newest"})],
    [("pull", {**PULL, "mode": "upsert", "key": ["id"]})],
    [("analyze", {"table": O, "columns": ["qty"]}), ("suggest_fixes", {"table": O})],
    [
        ("quarantine", {"table": O, "where": "qty < 0"}),
        ("analyze", {"table": "quarantine.orders", "columns": ["reason"]}),
    ],
    [("rename", {"table": O, "column": "qty", "to": "quantity"}), ("sort", {"table": O, "by": ["quantity"]})],
    [("rename", {"table": O, "column": "qty", "to": "QTY"})],
    [
        ("derive", {"table": O, "column": "total", "expr": "qty * price"}),
        (
            "aggregate",
            {"table": O, "by": ["day"], "measures": [{"function": "sum", "column": "total"}], "into": "daily"},
        ),
        ("publish", {"table": "daily", "store": "sales"}),
    ],
    [
        ("derive", {"table": O, "column": "rank", "expr": "rank() over (order by price desc)"}),
        ("filter", {"table": O, "where": "rank <= 3"}),
    ],
    [
        ("join", {"table": O, "other": "customers", "on": ["customer_id"], "columns": ["city"]}),
        ("filter", {"table": O, "where": "city = 'Rome'"}),
    ],
    [
        ("join", {"table": O, "other": "customers", "on": ["customer_id"]}),
        ("drop_columns", {"table": O, "columns": ["status_customers"]}),
    ],
    [
        ("provision", {"store": "finance"}),
        ("publish", {"table": O, "store": "finance"}),
        ("schedule", {"task": "finance refresh", "when": "nightly"}),
    ],
    [
        ("pivot", {"table": O, "index": ["day"], "columns": "status", "values": "qty", "into": "wide"}),
        ("select", {"table": "wide", "columns": ["day", "open"]}),
    ],
    [
        ("unpivot", {"table": O, "columns": ["qty", "price"], "into": "long"}),
        ("fill", {"table": "long", "column": "value", "method": "mean"}),
    ],
    [
        ("fill", {"table": O, "column": "day", "value": "2024-01-01"}),
        ("replace", {"table": O, "column": "paid", "old": True, "new": False}),
    ],
    [
        ("split", {"table": O, "column": "status", "into_columns": ["a", "b"], "separator": "-"}),
        ("normalize_text", {"table": O, "column": "a", "case": "lower"}),
    ],
    [("diagnose", {"query": "daily revenue"}), ("recommend", {"table": O}), ("index", {"table": O, "columns": ["id"]})],
    [
        ("order_by", {"table": O, "columns": ["day"]}),
        ("partition", {"table": O, "by": "day"}),
        ("materialize", {"query": "daily revenue"}),
    ],
    [
        ("pull", {**PULL, "into": "staging.people", "resource": "people"}),
        ("derive", {"table": "staging.people", "column": "t", "expr": "a * b"}),
        ("aggregate", {"table": "staging.people", "measures": [{"function": "sum", "column": "t"}]}),
    ],
    [
        ("dedupe", {"table": O, "by": ["id"], "order": "at"}),
        ("sample", {"table": O, "n": 2, "into": "some"}),
        ("limit", {"table": "some", "n": 1}),
    ],
    [("cast", {"table": O, "column": "at", "type": "date"}), ("union", {"table": O, "other": "customers"})],
    [
        ("reorder", {"table": O, "columns": ["day"]}),
        ("split", {"table": O, "column": "status", "into_columns": ["a", "b"], "separator": "-"}),
    ],
    [
        ("schedule", {"task": "staging.orders refresh", "when": "mondays at 7:30", "zone": "Europe/Berlin"}),
        ("pause", {"task": "staging.orders refresh"}),
        ("resume", {"task": "staging.orders refresh"}),
        ("unschedule", {"task": "staging.orders refresh"}),
        ("schedule", {"task": "sales_api.people pull", "when": "hourly"}),
    ],
    [
        ("retain", {"table": O, "column": "day", "older_than": "90 days"}),
        ("retain", {"table": O, "column": "at", "older_than": "2 years", "then": "delete"}),
    ],
    [
        ("snapshot", {"table": O, "name": "before cleanup"}),
        ("snapshot", {"table": O}),
        ("drop_columns", {"table": O, "columns": ["qty"]}),
        ("restore", {"table": O, "snapshot": "before cleanup"}),
        ("sort", {"table": O, "by": ["qty"]}),
        ("restore", {"table": O, "version": -2}),
        ("restore", {"table": "customers", "version": 1}),
    ],
    [
        ("drop", {"table": "customers"}),
        ("restore", {"table": "customers", "version": -1}),
        ("sort", {"table": "customers", "by": ["city"]}),
    ],
    [("drop", {"store": "sales"}), ("provision", {"store": "sales"}), ("publish", {"table": O, "store": "sales"})],
    [
        ("provision", {"store": "mart", "format": "delta", "partition_by": ["day"], "location": "s3://acme/mart"}),
        ("publish", {"table": O, "store": "mart", "mode": "append"}),
        ("resize", {"store": "mart", "quota": "1 GB"}),
        ("usage", {"store": "mart"}),
    ],
    [("provision", {"store": "here", "location": "marts/here", "quota": "40 GB"}), ("usage", {})],
    [("sync", {**PULL, "into": "staging.new"}), ("sort", {"table": "staging.new", "by": ["amount"]})],
    [("sync", {**PULL, "resource": "people", "cursor": "changed", "key": ["mail"], "into": "staging.people"})],
    [("describe_source", {"source": "sales_api"})],
    [("clarify", {"question": "which table?"})],
    [
        ("load_file", {"path": "visits.csv", "into": "staging.visits"}),
        ("sort", {"table": "staging.visits", "by": ["any"]}),
    ],
    [("load_file", {"path": "visits.csv", "into": O, "mode": "upsert", "key": ["id"], "format": "csv"})],
    [("export", {"table": O}), ("export", {"table": O, "path": "out/o.xlsx"})],
    [("refuse", {"reason": "no"})],
    [
        ("check", {"table": O, "rule": "in_set", "columns": ["qty"], "values": [1, 2]}),
        ("check", {"table": O, "rule": "references", "columns": ["customer_id"], "other": "customers"}),
        ("check", {"table": O, "rule": "compares", "columns": ["day"], "operator": "<=", "than": "at"}),
        ("check", {"table": O, "rule": "matches", "columns": ["status"], "pattern": "[a-z]+"}),
        ("check", {"table": O, "rule": "fresh", "columns": ["at"], "within": "2 days"}),
        ("find_outliers", {"table": O, "columns": ["price"], "method": "mad"}),
        ("compare", {"table": O, "reference": "customers", "columns": ["status"]}),
    ],
    [
        ("compact", {"table": O}),
        ("throttle", {"source": "sales_api", "rows_per_second": 100}),
        ("materialize", {"query": "daily revenue", "name": "revenue", "refresh": "nightly"}),
    ],
    [("diagnose", {}), ("diagnose", {"table": O}), ("recommend", {"objective": "cost", "apply": True})],
]


#: Every call above.
EVERY = [call for calls in SOUND for call in calls]


@pytest.mark.parametrize("calls", SOUND, ids=[" ".join(name for name, _ in calls) for calls in SOUND])
def test_sound_plans_have_no_issue(lab: Catalog, calls: list[Call]) -> None:
    assert check(plan(*calls), lab, None) == []
    assert check(plan(*calls), lab.draft("r9"), None) == [], "a run's own draft is as good as the catalog"


#: A call with a fault, the rule that finds it, and a part of what it says.
FAULTS: list[tuple[Call, str, str]] = [
    (("compare", {"table": O, "reference": O}), "compares_another", "which other table is the reference?"),
    (("compare", {"table": O, "reference": "customers", "columns": ["qty"]}), "others_have_columns", "in customers"),
    (
        ("check", {"table": O, "rule": "references", "columns": ["id"], "other": "customers"}),
        "others_have_columns",
        "no column 'id' in customers",
    ),
    (("check", {"table": O, "rule": "row_count", "min": 9, "max": 3}), "limits_in_order", "at least 9 and at most 3"),
    (
        ("check", {"table": O, "rule": "matches", "columns": ["status"], "pattern": "("}),
        "patterns_read",
        "nor a regular expression",
    ),
    (("check", {"table": O, "rule": "in_range", "columns": ["day"], "min": 1}), "checks_fit", "'day' is date"),
    (("check", {"table": O, "rule": "fresh", "within": "1 day"}), "checks_fit", "name one of day, at"),
    (("find_outliers", {"table": O, "columns": ["paid"]}), "checks_fit", "'paid' is bool"),
    (
        ("check", {"table": O, "rule": "in_set", "columns": ["qty"], "values": ["many"]}),
        "checks_fit",
        "'many' isn't",
    ),
    (("load_file", {"path": "visit.csv", "into": "staging.x"}), "files_exist", "did you mean 'visits.csv'"),
    (("load_file", {"path": "tables/x", "into": "staging.x"}), "files_exist", "no file 'tables/x'"),
    (
        ("load_file", {"path": "visits.csv", "into": O, "mode": "upsert", "key": ["nr"]}),
        "key_columns_exist",
        "no column 'nr' in staging.orders",
    ),
    (("load_file", {"path": "visits.csv", "into": "visits"}), "staging_name", "write 'staging.visits'"),
    (("export", {"table": "staging.order"}), "tables_exist", "did you mean 'staging.orders'"),
    (("export", {"table": O, "path": "a.csv", "format": "excel"}), "exports_fit", "name it with .xlsx"),
    (("export", {"table": O, "path": "secrets/x.csv"}), "exports_fit", "a place of the lab's own"),
    (("limit", {"table": "staging.order", "n": 5}), "tables_exist", "did you mean 'staging.orders'"),
    (
        ("sort", {"table": O, "by": ["prices"]}),
        "columns_exist",
        "no column 'prices' in staging.orders; did you mean 'price'",
    ),
    (("sort", {"table": O, "by": ["Price"]}), "columns_exist", "did you mean 'price'"),
    (("analyze", {"table": O, "columns": ["x"]}), "columns_exist", "no column 'x'"),
    (
        ("aggregate", {"table": O, "measures": [{"function": "sum", "column": "amount"}]}),
        "columns_exist",
        "no column 'amount'",
    ),
    (("pull", {**PULL, "source": "sales", "into": "staging.x"}), "sources_exist", "did you mean 'sales_api'"),
    (
        ("pull", {**PULL, "resource": "order", "into": "staging.x"}),
        "sources_exist",
        "no resource 'order' in source sales_api; did you mean 'orders'",
    ),
    (("sync", {**PULL, "resource": "order"}), "sources_exist", "did you mean 'orders'"),
    (("sync", {**PULL, "key": ["order_id"]}), "key_columns_exist", "no column 'order_id' in staging.orders"),
    (("sync", {**PULL, "into": "orders"}), "staging_name", "write 'staging.orders'"),
    (("describe_source", {"source": "sales"}), "sources_exist", "did you mean 'sales_api'"),
    (("publish", {"table": O, "store": "sale"}), "stores_exist", "did you mean 'sales'"),
    (("resize", {"store": "sale", "quota": "1 GB"}), "stores_exist", "did you mean 'sales'"),
    (("usage", {"store": "sale"}), "stores_exist", "did you mean 'sales'"),
    (
        ("provision", {"store": "mart", "format": "duckdb", "partition_by": ["day"]}),
        "stores_fit",
        "has no partitions; use format parquet or delta",
    ),
    (("provision", {"store": "mart", "format": "postgres"}), "stores_fit", "needs location, the name of a registered"),
    (("provision", {"store": "mart", "location": "gs://acme"}), "stores_fit", "no 'gs' place; write a folder"),
    (("provision", {"store": "mart", "location": "../x"}), "stores_fit", "isn't a folder of the lab"),
    (("provision", {"store": "mart", "location": "tables/x"}), "stores_fit", "the lab keeps its own things in tables"),
    (("provision", {"store": "mart", "location": "s3://A/x"}), "stores_fit", "'A' can't name a bucket"),
    (
        ("provision", {"store": "mart", "format": "duckdb", "location": "s3://acme"}),
        "stores_fit",
        "has to lie on a disk",
    ),
    (
        ("provision", {"store": "mart", "format": "postgres", "location": "erp"}),
        "databases_exist",
        "no database 'erp' is registered",
    ),
    (("provision", {"store": "staging"}), "names_differ", "'staging' is a group of tables"),
    (
        ("publish", {"table": "customers", "store": "sales"}),
        "partition_columns_exist",
        "no column 'day' in customers; sales is split by it",
    ),
    (
        ("schedule", {"task": "sale refresh", "when": "nightly"}),
        "tasks_exist",
        "no task 'sale refresh'; did you mean 'sales refresh'",
    ),
    (
        ("schedule", {"task": "sales_api.order pull", "when": "nightly"}),
        "tasks_exist",
        "did you mean 'sales_api.orders pull'",
    ),
    (("pause", {"task": "sales refresh"}), "schedules_exist", "no schedule of 'sales refresh'; there are none yet"),
    (("unschedule", {"task": "sales"}), "schedules_exist", "no schedule of 'sales'"),
    (
        ("retain", {"table": O, "column": "status", "older_than": "90 days"}),
        "ages_known",
        "column 'status' is text, take 'day' or 'at'",
    ),
    (("retain", {"table": "customers", "column": "name", "older_than": "1 year"}), "ages_known", "cast it to date"),
    (("retain", {"table": O, "column": "dy", "older_than": "1 year"}), "columns_exist", "did you mean 'day'"),
    (("snapshot", {"table": O, "name": "a\nb"}), "snapshots_new", "can't name a snapshot"),
    (("snapshot", {"table": O, "name": "first"}), "snapshots_new", "a snapshot 'first' of customers already"),
    (("restore", {"table": O, "snapshot": "firts"}), "versions_exist", "no snapshot 'firts' of staging.orders"),
    (("restore", {"table": O, "snapshot": "first"}), "versions_exist", "is of customers, not of staging.orders"),
    (("restore", {"table": O, "version": 7}), "versions_exist", "no version '7' of staging.orders; did you mean '1'"),
    (("restore", {"table": O, "version": -1}), "versions_exist", "before it there is none"),
    (("restore", {"table": "staging.order", "version": 1}), "versions_exist", "did you mean 'staging.orders'"),
    (("drop", {"table": "customer"}), "tables_exist", "did you mean 'customers'"),
    (("drop", {"store": "sale"}), "stores_exist", "did you mean 'sales'"),
    (("diagnose", {"query": "revenue"}), "queries_exist", "did you mean 'daily revenue'"),
    (("materialize", {"query": "weekly"}), "queries_exist", "no query 'weekly'"),
    (
        ("join", {"table": O, "other": "customers", "on": ["id"]}),
        "columns_exist_in_other",
        "no column 'id' in customers",
    ),
    (
        ("join", {"table": O, "other": "customers", "on": ["customer_id"], "columns": ["town"]}),
        "columns_exist_in_other",
        "no column 'town' in customers",
    ),
    (("join", {"table": O, "other": "people", "on": ["id"]}), "tables_exist", "no table 'people'"),
    (
        ("pull", {**PULL, "mode": "upsert", "key": ["order_id"]}),
        "key_columns_exist",
        "no column 'order_id' in staging.orders",
    ),
    (("pull", {**PULL, "into": "orders"}), "staging_name", "write 'staging.orders'"),
    (("limit", {"table": O, "n": 5, "into": "a.b.c"}), "names_valid", "at most one dot"),
    (("limit", {"table": O, "n": 5, "into": "../x"}), "names_valid", "can't name a table"),
    (("provision", {"store": "a.b"}), "names_valid", "can't name a store"),
    (("provision", {"store": "sales"}), "names_free", "there is a store 'sales' already"),
    (
        ("materialize", {"query": "daily revenue", "name": "customers"}),
        "names_free",
        "there is a table 'customers' already",
    ),
    (("limit", {"table": O, "n": 5, "into": "Customers"}), "names_differ", "there is a table 'customers' already"),
    (("pull", {**PULL, "into": "staging.Orders"}), "names_differ", "differ only by case are one to SQL"),
    (("provision", {"store": "Sales"}), "names_differ", "there is a store 'sales' already"),
    (("provision", {"store": "Core"}), "names_differ", "'Core' is a group of tables"),
    (("rename", {"table": O, "column": "qty", "to": "qty"}), "rename_changes", "what should it be called?"),
    (("union", {"table": O, "other": O}), "two_tables", "this would double every row of staging.orders"),
    (("derive", {"table": O, "column": "a\nb", "expr": "1"}), "column_names_valid", "can't name a column"),
    (("rename", {"table": O, "column": "qty", "to": "price"}), "column_names_free", "two columns 'price'"),
    (("rename", {"table": O, "column": "qty", "to": "PRICE"}), "column_names_free", "two columns 'PRICE'"),
    (("derive", {"table": O, "column": "Price", "expr": "1"}), "column_names_free", "two columns 'Price'"),
    (
        ("split", {"table": O, "column": "status", "into_columns": ["a", "a"], "separator": "-"}),
        "column_names_free",
        "two columns 'a'",
    ),
    (("unpivot", {"table": O, "columns": ["qty"], "name_to": "day"}), "column_names_free", "two columns 'day'"),
    (
        ("aggregate", {"table": O, "by": ["day"], "measures": [{"function": "count", "name": "day"}]}),
        "column_names_free",
        "two columns 'day'",
    ),
    (("select", {"table": O, "columns": ["id", "id"]}), "columns_once", "lists 'id' more than once"),
    (("drop_columns", {"table": "customers", "columns": list(CUSTOMERS)}), "columns_left", "keep at least one"),
    (("derive", {"table": O, "column": "x", "expr": "qty * pric"}), "expressions_parse", "did you mean 'price'"),
    (("derive", {"table": O, "column": "x", "expr": "status * 2"}), "expressions_parse", "'*' needs a number"),
    (("derive", {"table": O, "column": "x", "expr": "getenv('HOME')"}), "expressions_parse", "no function 'getenv'"),
    (("filter", {"table": O, "where": "qty + 1"}), "expressions_parse", "must be true or false"),
    (("quarantine", {"table": O, "where": "email is null"}), "expressions_parse", "no column 'email'"),
    (("pull", {**PULL, "where": "amount * 2"}), "expressions_parse", "must be true or false"),
    (("pull", {**PULL, "where": "read_csv('x')"}), "expressions_parse", "no function 'read_csv'"),
    (("pull", {**PULL, "since": "2024-13-01"}), "when_valid", "'2024-13-01' is no day"),
    (("pull", {**PULL, "since": "2024-03-01", "until": "2024-02-01"}), "when_valid", "exchange them"),
    (
        ("aggregate", {"table": O, "measures": [{"function": "sum", "column": "status"}]}),
        "types_fit",
        "sum needs int or float; column 'status' is text",
    ),
    (
        ("pivot", {"table": O, "index": ["day"], "columns": "status", "values": "at"}),
        "types_fit",
        "column 'at' is timestamp",
    ),
    (("fill", {"table": O, "column": "day", "method": "mean"}), "types_fit", "fill by mean needs"),
    (("normalize_text", {"table": O, "column": "qty", "case": "lower"}), "types_fit", "normalize_text needs text"),
    (
        ("split", {"table": O, "column": "day", "into_columns": ["a", "b"], "separator": "-"}),
        "types_fit",
        "split needs text",
    ),
    (("cast", {"table": O, "column": "day", "type": "int"}), "cast_types_fit", "a date can't become a int"),
    (("fill", {"table": O, "column": "qty", "value": "none"}), "values_fit", "'none' isn't"),
    (("fill", {"table": O, "column": "day", "value": 5}), "values_fit", "column 'day' is date"),
    (("replace", {"table": O, "column": "qty", "old": 1, "new": 1.5}), "values_fit", "1.5 isn't"),
    (("throttle", {"source": "sales_apl", "concurrency": 1}), "throttled_sources_exist", "did you mean 'sales_api'"),
    (
        ("materialize", {"query": "daily revenue", "name": "sales"}),
        "result_names_free",
        "there is a store 'sales' already",
    ),
    (("compact", {"table": "staging.order"}), "tables_exist", "did you mean 'staging.orders'"),
    (("recommend", {"query": "daily revenu"}), "queries_exist", "did you mean 'daily revenue'"),
]


@pytest.mark.parametrize(("call", "rule", "words"), FAULTS, ids=[f"{c[0]} {r}" for c, r, _ in FAULTS])
def test_one_fault_is_one_issue_that_a_model_can_mend(lab: Catalog, call: Call, rule: str, words: str) -> None:
    (issue,) = check(plan(call), lab, None)
    assert (issue.rule, issue.severity, issue.action) == (rule, "mend", 1)
    assert words in issue.message


def test_every_rule_is_tried() -> None:
    elsewhere = {"ages_archivable", "staging_authority", "aside_once", "source_when", "new_can_be_told"}
    elsewhere |= {"files_inside", "exports_inside"}
    elsewhere |= {"replaces_work", "join_types_fit"}
    elsewhere |= {"quotas_suffice", "new_can_be_told"}
    assert {rule.name for rule in RULES} == {rule for _, rule, _ in FAULTS} | elsewhere


def test_all_problems_come_back_at_once_and_are_told_once(lab: Catalog) -> None:
    calls: list[Call] = [
        ("rename", {"table": O, "column": "amout", "to": "total"}),
        ("filter", {"table": O, "where": "total > 5 and upperr(status) = 'A'"}),
        ("aggregate", {"table": "customers", "by": ["town"], "measures": [{"function": "sum", "column": "name"}]}),
        ("publish", {"table": O, "store": "mart"}),
    ]
    assert told(lab, *calls) == [
        ("columns_exist", "mend", 1),
        ("expressions_parse", "mend", 2),
        ("columns_exist", "mend", 3),
        ("types_fit", "mend", 3),
        ("stores_exist", "mend", 4),
    ]


def test_what_an_earlier_action_takes_away_is_gone(lab: Catalog) -> None:
    drop: Call = ("drop_columns", {"table": O, "columns": ["price"]})
    sort: Call = ("sort", {"table": O, "by": ["price"]})
    assert told(lab, drop, sort) == [("columns_exist", "mend", 2)]
    assert told(lab, sort, drop) == []
    aside: Call = ("drop_columns", {"table": O, "columns": ["price"], "into": "slim"})
    assert told(lab, aside, sort) == [], "the table itself keeps the column"


def test_a_derived_column_has_the_type_of_its_expression(lab: Catalog) -> None:
    derive: Call = ("derive", {"table": O, "column": "label", "expr": "upper(status)"})
    total: Call = ("aggregate", {"table": O, "measures": [{"function": "sum", "column": "label"}]})
    assert told(lab, derive, total) == [("types_fit", "mend", 2)]
    number: Call = ("derive", {"table": O, "column": "label", "expr": "length(status)"})
    assert told(lab, number, total) == []


def test_join_keys_must_be_comparable(lab: Catalog) -> None:
    cast: Call = ("derive", {"table": "customers", "column": "customer_id", "expr": "current_date"})
    join: Call = ("join", {"table": O, "other": "customers", "on": ["customer_id"]})
    assert told(lab, cast, join) == [("join_types_fit", "mend", 2)]


def test_a_store_may_hold_at_least_what_it_holds(lab: Catalog) -> None:
    draft = lab.draft("r1")
    draft.put("store", "sales", {"name": "sales", "partition_by": [], "tables": {"orders": {"bytes": 3 * 1024**2}}})
    draft.commit()
    assert told(lab, ("resize", {"store": "sales", "quota": "2 MB"})) == [("quotas_suffice", "clarify", 1)]
    (issue,) = check(plan(("resize", {"store": "sales", "quota": "2 MB"})), lab, None)
    assert "holds 3,145,728 bytes already, over 2 MB (2,097,152 bytes)" in issue.message
    assert told(lab, ("resize", {"store": "sales", "quota": "3 MB"})) == []


# Authority


def test_an_action_of_another_agent_is_refused(lab: Catalog) -> None:
    (issue,) = check(plan(("rename", {"table": O, "column": "qty", "to": "n"})), lab, "ingestion")
    assert (issue.rule, issue.severity) == ("authority", "refuse")
    assert issue.message == (
        "rename is for the transformation agent; the ingestion agent may pull, load_file, sync, describe_source, "
        "clarify, refuse"
    )
    assert told(lab, ("rename", {"table": O, "column": "qty", "to": "n"}), role="transformation") == []


@pytest.mark.parametrize("role", ROLES)
def test_every_action_is_refused_to_every_other_agent(lab: Catalog, role: Role) -> None:
    foreign = {name for name, cls in ACTIONS.items() if cls.agent not in (role, None)}
    refused = {call[0] for call in EVERY if ("authority", "refuse", 1) in told(lab, call, role=role)}
    assert refused == foreign


def test_ingestion_writes_staging_only(lab: Catalog) -> None:
    assert told(lab, ("pull", {**PULL, "into": "sales.orders"})) == [("staging_authority", "refuse", 1)]
    assert told(lab, ("pull", {**PULL, "into": "stagingx.orders"})) == [("staging_authority", "refuse", 1)]


def test_what_is_set_aside_is_not_set_aside_once_more(lab: Catalog) -> None:
    aside: Call = ("quarantine", {"table": O, "where": "qty < 0"})
    again: Call = ("quarantine", {"table": "quarantine.orders", "where": "qty < -1"})
    assert told(lab, aside, again) == [("aside_once", "refuse", 2)]


def test_newest_of_what_has_no_time_is_asked_back(lab: Catalog) -> None:
    (issue,) = check(plan(("pull", {**PULL, "resource": "people", "into": "staging.p", "order": "newest"})), lab, None)
    assert (issue.rule, issue.severity) == ("source_when", "clarify")
    assert "sales_api.people names no time column, so order 'newest' can't be told" in issue.message


def test_a_sync_asks_back_what_tells_new_rows_and_which_is_which(lab: Catalog) -> None:
    (issue,) = check(plan(("sync", {**PULL, "resource": "people", "into": "staging.p"})), lab, None)
    assert (issue.rule, issue.severity) == ("new_can_be_told", "clarify")
    assert "sales_api.people names no time column, so what is new can't be told" in issue.message
    draft = lab.draft("r1")
    odd = {"path": "/odd", "schema": {"mail": "text", "at": "timestamp"}, "time_column": "at"}
    draft.put("source", "crm", {"kind": "rest", "resources": {"odd": odd}})
    call = {"source": "crm", "resource": "odd", "into": "staging.odd"}
    (issue,) = check(plan(("sync", call)), draft, None)
    assert "crm.odd names no key" in issue.message
    assert not check(plan(("sync", {**call, "key": ["mail"]})), draft, None)


def test_a_sync_writes_staging_only(lab: Catalog) -> None:
    assert told(lab, ("sync", {**PULL, "into": "sales.orders"})) == [("staging_authority", "refuse", 1)]


def test_a_plan_without_actions_is_asked_back(lab: Catalog) -> None:
    assert check(Plan(actions=()), lab, None) == [
        Issue(rule="says_something", severity="clarify", message="the plan has no action", action=0)
    ]


# Approval


def write(lab: Catalog, run: str, name: str, doc: TableDoc, parent: str | None = None) -> None:
    lab.save_run(Run(id=run, intent="x", parent=parent))
    draft = lab.draft(run)
    draft.put("table", name, doc)
    draft.commit()


def test_pulling_again_from_the_same_place_needs_no_approval(lab: Catalog) -> None:
    assert told(lab, ("pull", PULL)) == []
    assert told(lab, ("pull", {**PULL, "limit": 10})) == []


def test_pulling_over_other_work_waits_for_approval(lab: Catalog) -> None:
    assert told(lab, ("pull", {**PULL, "resource": "people"})) == [("replaces_work", "approval", 1)]
    write(lab, "r1", O, table(ORDERS, ("dedupe", {"table": O})))
    (issue,) = check(plan(("pull", PULL)), lab, None)
    assert issue.severity == "approval"
    assert issue.message == "pull would replace the table staging.orders, version 2, made by dedupe of run r1"
    assert told(lab, ("pull", {**PULL, "mode": "append"})) == [], "appending replaces nothing"


def test_what_a_pipeline_did_to_its_own_pull_may_be_done_again(lab: Catalog) -> None:
    lab.save_run(Run(id="night", intent="pipeline"))
    write(lab, "night-s1", O, table(ORDERS, source="sales_api.orders"), parent="night")
    write(lab, "night-s2", O, table(ORDERS, ("dedupe", {"table": O})), parent="night")
    assert told(lab, ("pull", PULL)) == []
    write(lab, "by-hand", O, table(ORDERS, ("rename", {"table": O})))
    assert told(lab, ("pull", PULL)) == [("replaces_work", "approval", 1)]


def test_a_result_into_another_runs_table_waits_for_approval_unless_it_was_made_so(lab: Catalog) -> None:
    top: Call = ("limit", {"table": O, "n": 5, "into": "customers"})
    assert told(lab, top) == [("replaces_work", "approval", 1)]
    write(lab, "r1", "customers", table(ORDERS, top))
    assert told(lab, top) == []
    assert told(lab, ("limit", {**top[1], "n": 6})) == [("replaces_work", "approval", 1)]
    assert told(lab, ("limit", {"table": O, "n": 5})) == [], "in place is a new version of the same work"


def test_a_runs_own_tables_may_be_replaced(lab: Catalog) -> None:
    first: Call = ("limit", {"table": O, "n": 5, "into": "top"})
    second: Call = ("sample", {"table": O, "n": 5, "into": "top"})
    assert told(lab, first, second) == [], "an earlier action of the same plan made it"
    draft = lab.draft("r1")
    draft.put("table", "top", table(ORDERS, first))
    assert check(plan(second), draft, None) == [], "so did the same run"
    draft.commit()
    assert told(lab, second) == [("replaces_work", "approval", 1)]


@pytest.mark.parametrize(
    "first",
    [
        ("sort", {"table": "customers", "by": ["name"]}),
        ("quarantine", {"table": "elsewhere.customers", "where": "city = 'Rome'"}),
        ("limit", {"table": "customers", "n": 5, "into": "customers"}),
    ],
)
def test_a_plan_may_not_replace_what_it_only_changed(lab: Catalog, first: Call) -> None:
    write(lab, "r1", "elsewhere.customers", table(CUSTOMERS))
    write(lab, "r2", "quarantine.customers", table(CUSTOMERS, ("quarantine", {})))
    target = "quarantine.customers" if first[0] == "quarantine" else "customers"
    assert told(lab, first, ("limit", {"table": O, "n": 0, "into": target})) == [("replaces_work", "approval", 2)]


def test_what_a_run_has_written_over_others_work_is_judged_by_what_was_there(lab: Catalog) -> None:
    top: Call = ("limit", {"table": O, "n": 5, "into": "customers"})
    draft = lab.draft("r1")
    draft.put("table", "customers", table(ORDERS, top))
    assert [issue.rule for issue in check(plan(top), draft, None)] == ["replaces_work"]


def test_appending_makes_a_table_nobody_elses(lab: Catalog) -> None:
    append: Call = ("pull", {**PULL, "resource": "people", "mode": "append"})
    people: Call = ("pull", {**PULL, "resource": "people"})
    write(lab, "r1", O, table(ORDERS, append, source="sales_api.people"))
    assert told(lab, people) == [("replaces_work", "approval", 1)], "the orders below would be gone"
    assert told(lab, ("pull", PULL)) == [("replaces_work", "approval", 1)], "the people above would be gone"


def test_what_was_appended_from_the_same_place_comes_again(lab: Catalog) -> None:
    append: Call = ("pull", {**PULL, "mode": "append"})
    for run in ("r1", "r2"):
        write(lab, run, O, table(ORDERS, append, source="sales_api.orders"))
    assert told(lab, ("pull", PULL)) == []
    write(lab, "r3", O, table(ORDERS, ("sort", {"table": O})))
    write(lab, "r4", O, table(ORDERS, append, source="sales_api.orders"))
    assert told(lab, ("pull", PULL)) == [("replaces_work", "approval", 1)], "the work of r3 would be gone"


def test_what_was_undone_does_not_speak_for_a_table(lab: Catalog) -> None:
    people: Call = ("pull", {**PULL, "resource": "people"})
    write(lab, "r1", O, table(ORDERS, people, source="sales_api.people"))
    lab.undo("r1")
    write(lab, "r2", O, table(ORDERS, ("pull", {**people[1], "mode": "append"}), source="sales_api.people"))
    assert told(lab, people) == [("replaces_work", "approval", 1)]


def test_anothers_work_between_is_not_the_same_way(lab: Catalog) -> None:
    write(lab, "night-s1", O, table(ORDERS, source="sales_api.orders"), parent="night")
    lab.save_run(Run(id="night", intent="pipeline"))
    write(lab, "by-hand", O, table(ORDERS, ("rename", {"table": O})))
    write(lab, "night-s2", O, table(ORDERS, ("dedupe", {"table": O})), parent="night")
    assert told(lab, ("pull", PULL)) == [("replaces_work", "approval", 1)]


def test_more_than_half_is_many() -> None:
    assert [removal_needs_approval(10, after) for after in (10, 5, 4, 0)] == [False, False, True, True]
    assert not removal_needs_approval(0, 0)


# The simulated schemas are those of the engine.

EFFECTS: list[Call] = [
    ("rename", {"column": "qty", "to": "quantity"}),
    ("derive", {"column": "total", "expr": "qty * price"}),
    ("derive", {"column": "qty", "expr": "upper(status)"}),
    ("derive", {"column": "n", "expr": "row_number() over (order by day)"}),
    ("derive", {"column": "late", "expr": "date_diff('day', day, current_date) > 30"}),
    ("derive", {"column": "month", "expr": "date_trunc('month', day)"}),
    ("cast", {"column": "qty", "type": "text"}),
    ("drop_columns", {"columns": ["qty", "day"]}),
    ("select", {"columns": ["price", "id"]}),
    ("reorder", {"columns": ["price"], "position": "last"}),
    ("filter", {"where": "qty > 1"}),
    ("split", {"column": "status", "into_columns": ["a", "b"], "separator": "-"}),
    ("join", {"other": "customers", "on": ["customer_id"]}),
    ("join", {"other": "customers", "on": ["customer_id"], "columns": ["status", "city"], "how": "outer"}),
    ("union", {"other": "customers"}),
    ("union", {"other": "loud"}),
    ("unpivot", {"columns": ["qty", "price"]}),
    ("unpivot", {"columns": ["qty", "day"], "name_to": "k", "value_to": "v"}),
    (
        "aggregate",
        {
            "by": ["status"],
            "measures": [
                {"function": "sum", "column": "qty"},
                {"function": "avg", "column": "qty"},
                {"function": "max", "column": "day"},
                {"function": "count"},
                {"function": "count_distinct", "column": "day"},
                {"function": "median", "column": "price"},
            ],
        },
    ),
]


@pytest.mark.parametrize(("name", "arguments"), EFFECTS, ids=[f"{n} {a}"[:60] for n, a in EFFECTS])
def test_the_simulation_foresees_the_schema_that_the_engine_gives(
    lab: Catalog, name: str, arguments: dict[str, Any]
) -> None:
    action = action_from({"name": name, "arguments": {"table": O, **arguments}})
    assert isinstance(action, Transform)
    world = World(lab)
    world.tables["loud"] = Sight(LOUD)
    world.apply(action)
    second = LOUD if arguments.get("other") == "loud" else CUSTOMERS
    this, other = (
        ibis.table({c: DTYPES[t] for c, t in schema.items()}, name=n) for n, schema in (("o", ORDERS), ("c", second))
    )
    made = compile(action, this, other if isinstance(action, Join | Union) else None)
    assert world.tables[O] == Sight(schema_of(made))
    assert list(world.tables[O].schema) == list(made.columns)


@pytest.mark.parametrize(
    ("call", "rule", "message"),
    [
        (("load_file", {"path": "/etc/passwd", "into": "staging.x"}), "files_inside", "leads out of the lab"),
        (("load_file", {"path": "visits.csv", "into": "core.x"}), "staging_authority", "writes staging.* only"),
        (("export", {"table": O, "path": "a/../../x.csv"}), "exports_inside", "leads out of the lab"),
    ],
)
def test_files_stay_in_the_lab(lab: Catalog, call: Call, rule: str, message: str):
    (issue,) = check(plan(call), lab, None)
    assert (issue.rule, issue.severity, message in issue.message) == (rule, "refuse", True)


def test_a_column_compared_with_its_own_name_is_nothing_anybody_means() -> None:
    sight = Sight({"store": "text", "n": "int"})
    assert base.compared_with_itself(sight.parse("store = 'store'", boolean=True)) == "store"
    assert base.compared_with_itself(sight.parse("store = 'north' OR n = 1", boolean=True)) == ""
