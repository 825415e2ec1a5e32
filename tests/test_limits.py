"""Limits: how fast a source is read, and how many bytes layouts may take."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from agentlab.catalog import Catalog
from agentlab.entries import TableDoc
from agentlab.limits import BUDGET, LEAST_TOTAL, BudgetDoc, LimitDoc, budget, limits_of


def test_the_budget_is_no_source_s_limit(tmp_path: Path):
    catalog = Catalog(tmp_path / "lab")
    draft = catalog.draft("r1")
    draft.put("limit", "shop", LimitDoc(source="shop", concurrency=2))
    draft.put("limit", BUDGET, BudgetDoc(bytes=7))
    draft.commit()
    assert limits_of(catalog) == {"shop": LimitDoc(source="shop", concurrency=2)}
    assert budget(catalog) == 7


def test_layouts_may_take_as_much_as_the_tables_and_never_next_to_nothing(tmp_path: Path):
    catalog = Catalog(tmp_path / "lab")
    assert budget(catalog) == LEAST_TOTAL
    draft = catalog.draft("r1")
    for name in ("a", "b"):
        draft.put("table", name, TableDoc(path=f"tables/{name}", schema_={"id": "int"}, rows=1, bytes=LEAST_TOTAL))
    assert budget(draft) == 2 * LEAST_TOTAL


def test_a_limit_says_itself_in_words():
    assert str(LimitDoc(source="shop")) == "shop is read at any speed"
    assert str(LimitDoc(source="shop", rows_per_second=5000)) == "shop is read at 5,000 rows a second"
    with pytest.raises(ValidationError):
        LimitDoc(source="shop", concurrency=0)
