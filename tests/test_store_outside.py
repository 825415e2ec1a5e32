"""What a store needs outside the lab: buckets made ready, Delta's own log, a database that others read, left copies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from moto_server import REGION, s3_url
from postgres_server import postgres_url

from agentlab import stores
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.runs import RunResult
from agentlab.stores import buckets, postgres

__all__ = ["postgres_url", "s3_url"]

T = "staging.orders"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        lab.load(pd.DataFrame({"id": [1, 2, 3], "day": ["2024-01-01", "2024-01-02", ""]}), "orders")
        yield lab


def act(lab: Lab, name: str, **arguments: Any) -> RunResult:
    return lab.run(Plan.from_calls([{"name": name, "arguments": arguments}]))


def publish(lab: Lab, **more: Any) -> RunResult:
    return act(lab, "publish", table=T, store="mart", **more)


# S3


@pytest.fixture
def client(s3_url: str) -> Any:
    import boto3

    return boto3.client("s3", region_name=REGION)


def test_a_bucket_is_made_ready_by_its_api(lab: Lab, client: Any):
    told = act(lab, "provision", store="mart", location="s3://acme-ready/sales/")
    assert told.status == "done", told.message
    assert "made the bucket acme-ready, encryption on, public access blocked, lifecycle rule set" in told.message
    named = {"Bucket": "acme-ready"}
    assert client.get_bucket_location(**named)["LocationConstraint"] == REGION
    (encryption,) = client.get_bucket_encryption(**named)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert all(client.get_public_access_block(**named)["PublicAccessBlockConfiguration"].values())
    (rule,) = client.get_bucket_lifecycle_configuration(**named)["Rules"]
    assert (rule["ID"], rule["Status"], rule["Filter"]["Prefix"]) == ("agentlab-mart", "Enabled", "sales/")
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30


def test_an_empty_bucket_of_ours_goes_with_the_store_that_it_was_made_for(lab: Lab, client: Any):
    run = act(lab, "provision", store="mart", location="s3://acme-gone")
    lab.undo(run.run)
    assert "acme-gone" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]


def test_a_bucket_that_was_there_keeps_its_settings_and_stays(lab: Lab, client: Any):
    named = {"Bucket": "acme-theirs"}
    client.create_bucket(**named, CreateBucketConfiguration={"LocationConstraint": REGION})
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(**named, LifecycleConfiguration={"Rules": [theirs]})
    run = act(lab, "provision", store="mart", location="s3://acme-theirs/sales")
    rules = {rule["ID"] for rule in client.get_bucket_lifecycle_configuration(**named)["Rules"]}
    assert rules == {"theirs", "agentlab-mart"}
    assert buckets.provision("s3://acme-theirs/sales", "mart") == [], "twice is as good as once"
    lab.undo(run.run)
    assert client.head_bucket(**named)


def test_files_lie_below_the_prefix_by_table_and_run(lab: Lab, client: Any):
    act(lab, "provision", store="mart", location="s3://acme-files/sales/eu", partition_by=["day"])
    run = publish(lab).run
    keys = [found["Key"] for found in client.list_objects_v2(Bucket="acme-files")["Contents"]]
    assert all(key.startswith(f"sales/eu/orders/{run}/day=") and key.endswith(".parquet") for key in keys)
    assert not list((lab.root / "stores").glob("mart/**/*.parquet")), "nothing of it stays here"


def test_what_a_run_left_that_did_not_commit_is_removed_by_the_next_publish(lab: Lab, client: Any):
    act(lab, "provision", store="mart", location="s3://acme-left/sales")
    failed = lab.run(
        Plan.from_calls(
            [
                {"name": "publish", "arguments": {"table": T, "store": "mart"}},
                {"name": "cast", "arguments": {"table": T, "column": "id", "type": "text"}},
                {"name": "publish", "arguments": {"table": T, "store": "mart", "mode": "append"}},
            ]
        )
    )
    assert failed.status == "failed" and "can't append to mart.orders" in failed.message
    location = "s3://acme-left/sales/orders"
    assert buckets.names(location) == [failed.run]
    kept = publish(lab).run
    assert buckets.names(location) == [kept]


def test_what_another_lab_wrote_there_stays(lab: Lab, tmp_path: Path, client: Any):
    act(lab, "provision", store="mart", location="s3://acme-shared/sales")
    first = publish(lab).run
    with Lab(tmp_path / "other", Scripted({})) as other:
        other.load(pd.DataFrame({"id": [7]}), "orders")
        act(other, "provision", store="mart", location="s3://acme-shared/sales")
        second = publish(other).run
    assert set(buckets.names("s3://acme-shared/sales/orders")) == {first, second}
    assert len(lab.table("mart.orders")) == 3


def test_no_credentials_are_kept_and_a_place_out_of_reach_is_told_so(
    lab: Lab, client: Any, monkeypatch: pytest.MonkeyPatch
):
    act(lab, "provision", store="mart", location="s3://acme-secret/sales")
    publish(lab)
    kept = [path.read_bytes() for path in lab.root.rglob("*") if path.is_file()]
    assert not any(b"s3cret" in data for data in kept)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = act(lab, "provision", store="other", location="s3://acme-other")
    assert result.status == "failed" and result.message.startswith("s3://acme-other can't be reached")
    assert "check AWS_ACCESS_KEY_ID" in result.message and "s3cret" not in result.message


# Delta


def test_each_publish_is_a_commit_of_delta_that_names_its_run(lab: Lab):
    from deltalake import DeltaTable

    act(lab, "provision", store="mart", format="delta")
    runs = [publish(lab).run, publish(lab, mode="append").run]
    where = str(lab.root / "stores/mart/orders")
    assert [len(DeltaTable(where, version=n).to_pyarrow_table()) for n in (0, 1)] == [3, 6]
    assert DeltaTable(where).history(1)[0]["agentlabParts"] == ",".join(runs)
    lab.undo(runs[1])
    table = DeltaTable(where)
    assert (table.version(), len(table.to_pyarrow_table()), table.count()) == (2, 3, 3)
    assert stores.settle(lab.catalog, ["mart"]) == [] and DeltaTable(where).version() == 2


def test_an_empty_text_is_none_to_delta_so_it_is_no_folder(lab: Lab):
    act(lab, "provision", store="mart", format="delta", partition_by=["day"])
    result = publish(lab)
    assert result.status == "failed" and "Delta can't tell an empty day from none" in result.message
    assert not list((lab.root / "stores/mart").rglob("*.parquet"))


def test_the_sweeper_leaves_deltas_log_and_other_peoples_files_alone(lab: Lab):
    act(lab, "provision", store="mart", format="delta", location="marts/sales")
    publish(lab)
    mine = lab.root / "marts/sales/notes/2024.csv"
    mine.parent.mkdir()
    mine.write_text("a\n1\n")
    assert lab.catalog.sweep(older_than=-1) == []
    assert mine.exists() and (lab.root / "marts/sales/orders/_delta_log").exists()


def test_what_a_failed_run_left_in_a_folder_elsewhere_is_discarded(lab: Lab):
    act(lab, "provision", store="mart", location="marts/sales")
    calls = [
        {"name": "publish", "arguments": {"table": T, "store": "mart"}},
        {"name": "derive", "arguments": {"table": T, "column": "x", "expr": "cast(day as date)"}},
    ]
    assert lab.run(Plan.from_calls(calls)).status == "failed"
    assert not list((lab.root / "marts").rglob("*.parquet"))


# Postgres


@pytest.fixture
def database(lab: Lab, postgres_url: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS mart CASCADE")
        connection.execute("CREATE TABLE IF NOT EXISTS regions (id bigint)")
        lab.add_source("warehouse", kind="sql", driver="postgres", url=postgres_url)
        act(lab, "provision", store="mart", format="postgres", location="warehouse")
        yield connection


def relations(database: Any) -> dict[str, str]:
    sql = "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = to_regnamespace('mart') ORDER BY 1"
    return dict(database.execute(sql).fetchall())


def test_a_view_is_switched_to_a_fresh_table_and_other_peoples_views_follow(lab: Lab, database: Any):
    first = publish(lab).run
    database.execute("CREATE VIEW many AS SELECT count(*) AS n FROM mart.orders")
    second = publish(lab, mode="append").run
    assert relations(database) == {"orders": "v", f"orders__{first}": "r", f"orders__{second}": "r"}
    assert database.execute("SELECT n FROM many").fetchone() == (6,)
    lab.undo(second)
    assert database.execute("SELECT n FROM many").fetchone() == (3,)
    database.execute("DROP VIEW many")


def test_the_password_is_not_in_the_catalog_nor_in_what_is_told(lab: Lab, database: Any, postgres_url: str):
    publish(lab)
    secret = next(iter((lab.root / "secrets").iterdir()))
    kept = [p.read_bytes() for p in lab.root.rglob("*") if p.is_file() and p.parent.name != "secrets"]
    for spelled in ("p@ss:word/1", "p%40ss%3Aword%2F1"):
        assert not any(spelled.encode() in data for data in kept)
    secret.write_text("wrong")
    result = publish(lab)
    assert result.status == "failed" and "password authentication failed" in result.message
    assert "wrong" not in result.message


def test_a_database_that_is_away_leaves_the_catalog_right_and_is_settled_later(
    lab: Lab, database: Any, monkeypatch: pytest.MonkeyPatch
):
    publish(lab)
    second = publish(lab, mode="append").run
    secret = next(iter((lab.root / "secrets").iterdir()))
    password = secret.read_text()
    secret.write_text("wrong")
    lines = lab.undo(second)
    assert "what others see of store mart isn't up to date yet" in lines[-1]
    assert database.execute("SELECT count(*) FROM mart.orders").fetchone() == (6,)
    secret.write_text(password)
    assert stores.settle(lab.catalog) == []
    assert database.execute("SELECT count(*) FROM mart.orders").fetchone() == (3,)


def test_tables_that_no_run_committed_are_dropped_by_the_next_publish(lab: Lab, database: Any):
    calls = [
        {"name": "publish", "arguments": {"table": T, "store": "mart"}},
        {"name": "derive", "arguments": {"table": T, "column": "x", "expr": "cast(day as date)"}},
    ]
    failed = lab.run(Plan.from_calls(calls))
    assert failed.status == "failed" and relations(database) == {f"orders__{failed.run}": "r"}
    kept = publish(lab).run
    assert relations(database) == {"orders": "v", f"orders__{kept}": "r"}
    store = lab.stores()["mart"]
    assert postgres.written(lab.root, store) == {f"mart.orders__{kept}": kept}


def test_what_postgres_cannot_keep_is_told(lab: Lab, database: Any):
    lab.load(pd.DataFrame({"id": [1], "note": ["a\x00b"]}), "notes")
    result = act(lab, "publish", table="staging.notes", store="mart")
    assert result.status == "failed" and "mart can't keep the rows: invalid byte sequence" in result.message
    assert relations(database) == {}


def test_another_source_is_no_place_for_a_postgres_store(lab: Lab):
    result = act(lab, "provision", store="other", format="postgres", location="orders")
    assert result.status != "done" and "no database 'orders' is registered" in result.message


def test_a_store_in_the_place_of_a_dropped_one_leaves_its_rows_for_undo(lab: Lab, s3_url: str):
    act(lab, "provision", store="mart", location="s3://acme-again/sales")
    publish(lab)
    dropped = lab.run(Plan.from_calls([{"name": "drop", "arguments": {"store": "mart"}}]), approve=True)
    again = act(lab, "provision", store="shop", location="s3://acme-again/sales")
    published = act(lab, "publish", table=T, store="shop")
    for run in (published, again, dropped):
        lab.undo(run.run)
    assert len(lab.table("mart.orders")) == 3


def test_what_others_made_in_the_database_is_never_replaced(lab: Lab, postgres_url: str):
    import psycopg

    lab.add_source("erp", kind="sql", driver="postgres", url=postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as theirs:
        theirs.execute("CREATE SCHEMA shared")
        theirs.execute("CREATE VIEW shared.orders AS SELECT 7 AS id, 'x' AS day")
        act(lab, "provision", store="shared", format="postgres", location="erp")
        told = act(lab, "publish", table=T, store="shared")
        assert told.status == "failed" and "agentlab didn't make" in told.message
        assert theirs.execute("SELECT id FROM shared.orders").fetchall() == [(7,)]
        theirs.execute("DROP SCHEMA shared CASCADE")


def test_a_delta_log_has_the_columns_of_what_is_published_after_an_undo(lab: Lab):
    from deltalake import DeltaTable

    act(lab, "provision", store="mart", format="delta")
    lab.undo(publish(lab).run)
    act(lab, "cast", table=T, column="id", type="text")
    publish(lab)
    log = DeltaTable(str(lab.root / "stores" / "mart" / "orders"))
    assert log.to_pyarrow_table()["id"].to_pylist() == ["1", "2", "3"]
