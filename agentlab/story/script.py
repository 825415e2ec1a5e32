"""The five sentences, and the plans that a model should find in them: the right answers, for tests and rehearsals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentlab.errors import LabError
from agentlab.models import Model, Scripted

SOURCE = "sales_api"
TABLE = "staging.orders"
#: How a lab begins without the demo.
OWN = "agentlab sources add NAME --url URL --resource orders=/orders --lab DIR"
STORE = "sales"
QUERY = "daily_revenue"

#: The day's revenue beside that of the three months before it. It reads columns that no step renames, and `try_cast`s
#: the price, which is text until the quality agent has mended it: so it means the same before and after.
SQL = f"""with days as (
  select cast(order_date as date) as day, sum(quantity * try_cast(unit_price as double)) as revenue
  from {TABLE} group by 1
)
select d.day, d.revenue, avg(b.revenue) as average_90_days, median(b.revenue) as median_90_days
from days d join days b on b.day between d.day - 90 and d.day
group by 1, 2 order by 1"""  # noqa: S608 (a name of ours)

Call = dict[str, Any]

PLANS: dict[str, list[Call]] = {
    "Pull the latest 10,000 rows from the sales API and store them in a temporary staging table.": [
        {
            "name": "pull",
            "arguments": {
                **{"source": SOURCE, "resource": "orders", "into": TABLE},
                **{"limit": 10_000, "order": "newest"},
            },
        }
    ],
    "Analyze the staging table for data quality issues and suggest remediation steps.": [
        {"name": "analyze", "arguments": {"table": TABLE}},
        {"name": "suggest_fixes", "arguments": {"table": TABLE}},
    ],
    "Add a calculated column for total revenue and rename the customer_id field to cust_id.": [
        {
            "name": "derive",
            "arguments": {"table": TABLE, "column": "total_revenue", "expr": "quantity * unit_price"},
        },
        {"name": "rename", "arguments": {"table": TABLE, "column": "customer_id", "to": "cust_id"}},
    ],
    "Provision a new columnar store for the sales data and set up a nightly refresh.": [
        {"name": "provision", "arguments": {"store": STORE}},
        {"name": "publish", "arguments": {"table": TABLE, "store": STORE}},
        {"name": "schedule", "arguments": {"task": f"{STORE} refresh", "when": "nightly"}},
    ],
    "The daily revenue query got slow, fix it.": [
        {"name": "diagnose", "arguments": {"query": QUERY}},
        {"name": "recommend", "arguments": {"query": QUERY, "apply": True}},
    ],
}


def model(spec: str | Path | Model | None) -> str | Path | Model | None:
    """What a lab is opened with: `scripted` is a rehearsal with the right answers, anything else is itself."""
    return Scripted(PLANS) if spec == "scripted" else spec


def pipeline() -> Path:
    """The file of the five sentences: beside the package in a checkout."""
    path = Path(__file__).parents[2] / "data" / "pipelines" / "sales.yaml"
    if not path.exists():
        raise LabError(
            "the demo's pipeline, data/pipelines/sales.yaml, isn't part of the installed package; get agentlab's "
            f"repository and run `make demo` in it, or begin a lab of your own: {OWN}"
        )
    return path
