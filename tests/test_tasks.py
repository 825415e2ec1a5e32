"""What a schedule may name, and what a name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentlab.catalog import Catalog, TableDoc
from agentlab.errors import PlanError
from agentlab.tasks import Task, find, tasks


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path / "lab")
    draft = catalog.draft("r0")
    for name in ("staging.orders", "mart", "quarantine.orders", "archive.orders"):
        draft.put("table", name, TableDoc(path="tables/x", schema_={"id": "int"}, rows=1))
    draft.put("source", "sales_api", {"kind": "rest", "resources": {"orders": {}, "people": {}}})
    draft.put("store", "mart", {"name": "mart", "tables": {}})
    draft.put("pipeline", "nightly sales", {"name": "nightly sales", "steps": []})
    draft.commit()
    return catalog


def test_pipelines_stores_tables_and_pulls(catalog: Catalog) -> None:
    assert tasks(catalog) == [
        *("nightly sales", "mart refresh", "staging.orders refresh"),
        *("sales_api.orders pull", "sales_api.people pull"),
    ]
    assert find("sales_api.people pull", catalog) == Task("pull", "sales_api", "people")
    assert find("staging.orders refresh", catalog) == Task("table", "staging.orders")
    assert find("mart refresh", catalog).kind == "store", "of a store and a table of one name it is the store"


def test_what_is_no_task_is_told_with_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(PlanError, match=r"no task 'sales_api\.order pull'; did you mean 'sales_api\.orders pull'"):
        find("sales_api.order pull", catalog)
