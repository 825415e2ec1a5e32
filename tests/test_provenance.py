"""From a column back to the source, and from a run to all that it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab.errors import PlanError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Origin, Plan
from agentlab.provenance import lineage


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


PLANS = {
    "tidy up": Plan.from_calls(
        [
            call("rename", table="staging.orders", column="id", to="order_id"),
            call("derive", table="staging.orders", column="total", expr="price * qty", into="core.orders"),
        ],
        confidence=0.9,
        origin=Origin(model="tiny"),
    ),
    "totals": [
        call("aggregate", table="core.orders", measures=[{"function": "sum", "column": "total"}], into="core.sums")
    ],
    "keep few": [call("filter", table="core.orders", where="qty > 100")],
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", Scripted(PLANS)) as lab:
        lab.load(pd.DataFrame({"id": [1, 2], "price": [2.0, 3.0], "qty": [1, 2]}), "orders")
        yield lab


def test_a_column_leads_back_to_the_source(lab: Lab):
    tidy, totals = lab.run("tidy up"), lab.run("totals")
    steps = lineage(lab.catalog, "core.sums", "sum_total")
    assert [(step.table, step.version, step.column, step.source) for step in steps] == [
        ("core.sums", 1, "sum_total", None),
        ("core.orders", 1, "total", None),
        ("staging.orders", 2, "price", None),
        ("staging.orders", 2, "qty", None),
        ("staging.orders", 1, "price", "orders.orders"),
        ("staging.orders", 1, "qty", "orders.orders"),
    ]
    assert (steps[0].run, steps[0].intent) == (totals.run, "totals")
    assert (steps[1].run, steps[1].intent, steps[1].model, steps[1].confidence) == (tidy.run, "tidy up", "tiny", 0.9)
    assert "from orders.orders: pull(" in str(steps[-1])


def test_names_that_are_not_there(lab: Lab):
    with pytest.raises(PlanError, match=r"no table 'staging.order'; did you mean 'staging.orders'"):
        lineage(lab.catalog, "staging.order", "id")
    with pytest.raises(PlanError, match=r"no column 'idd' in staging[.]orders; did you mean 'id'"):
        lineage(lab.catalog, "staging.orders", "idd")
