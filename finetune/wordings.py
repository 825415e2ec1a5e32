"""Run blind wordings of the demo's five sentences to their end state, each in a fresh lab, and count the right ones.

    python -m finetune.wordings [--model M] [--cases data/cases/story_wordings.jsonl] [--show]

The labs are made by hand-written plans, so each wording meets the state that its sentence has in the demo. What is right is
judged on files and catalog, never on the plan's text. `--show` prints each failure; don't use it while writing phrasings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentlab import Lab, demo
from agentlab.actions import Analyze, Derive, Provision, Publish, Pull, Rename, SuggestFixes
from agentlab.models import load
from agentlab.plan import Plan
from agentlab.runs import RunResult

CASES = Path(__file__).parent.parent / "data" / "cases" / "story_wordings.jsonl"
TABLE = "staging.orders"
DAILY = "SELECT CAST(order_date AS DATE) AS day, sum(quantity * try_cast(unit_price AS DOUBLE)) AS revenue FROM staging.orders GROUP BY 1 ORDER BY 1"
NIGHT = {*range(6), 22, 23}


def prepare(root: Path, source: dict[str, Any]) -> dict[int, Path]:
    """The lab that each sentence of the demo meets, by the sentence's number."""
    stages: dict[int, Path] = {}
    lab_at = root / "lab"

    def keep(number: int) -> None:
        stages[number] = Path(shutil.copytree(lab_at, root / f"before-{number}"))

    def act(*plans: Any) -> None:
        with Lab(lab_at, approve=True) as lab:
            for plan in plans:
                done = lab.run(Plan(actions=plan))
                assert done.status == "done", done.message

    with Lab(lab_at) as lab:
        lab.add_source("sales_api", **source)
    keep(1)
    act((Pull(source="sales_api", resource="orders", into=TABLE, limit=10_000, order="newest"),))
    with Lab(lab_at) as lab:
        for _ in range(5):
            lab.query("daily revenue", DAILY)
    keep(2)
    act((Analyze(table=TABLE), SuggestFixes(table=TABLE)))
    keep(3)
    revenue = Derive(table=TABLE, column="total_revenue", expr="quantity * unit_price")
    act((revenue, Rename(table=TABLE, column="customer_id", to="cust_id")))
    keep(4)
    act((Provision(store="sales"), Publish(table=TABLE, store="sales")))
    keep(5)
    return stages


def pulled(lab: Lab, result: RunResult) -> bool:
    """The newest 10,000 rows are in one staging table."""
    staged = [name for name, doc in lab.tables().items() if name.startswith("staging.") and doc.rows == 10_000]
    return len(staged) == 1 and str(lab.table(staged[0])["order_date"].max()) > "2026-10"


def judged(lab: Lab, result: RunResult) -> bool:
    """The staging table has a report with findings, and fixes were suggested."""
    report = lab.reports().get(TABLE)
    suggested = any(call["name"] == "suggest_fixes" for call in result.plan.to_calls())
    return report is not None and bool(report.doc["report"]["findings"]) and suggested


def derived(lab: Lab, result: RunResult) -> bool:
    """A new column is quantity times price, and customer_id is now cust_id."""
    frame = lab.table(TABLE)
    if "cust_id" not in frame or "customer_id" in frame:
        return False
    wanted = frame["quantity"] * frame["unit_price"]
    new = [c for c in frame.columns if "revenue" in c.lower()]
    return any(all(map(math.isclose, frame[c].astype(float), wanted)) for c in new)


def provisioned(lab: Lab, result: RunResult) -> bool:
    """A store for sales holds the table, and something runs every night."""
    stores = [doc for name, doc in lab.stores().items() if "sales" in name.lower()]
    crons = [str(row["cron"]).split() for row in lab.schedules()]
    nightly = any(c[2:] == ["*", "*", "*"] and c[1].isdigit() and int(c[1]) in NIGHT for c in crons)
    return bool(stores) and "orders" in stores[0].tables and nightly


def tuned(lab: Lab, result: RunResult) -> bool:
    """Layouts were tried on the slow query; what was kept gives the same rows."""
    tried = any(event.type == "tuned" and event.subject == "daily revenue" for event in result.events)
    applied = any(call["name"] == "recommend" and call["arguments"].get("apply") for call in result.plan.to_calls())
    return tried or applied


RIGHT: dict[int, Callable[[Lab, RunResult], bool]] = {1: pulled, 2: judged, 3: derived, 4: provisioned, 5: tuned}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    model = load(options.model)
    cases = [json.loads(line) for line in options.cases.read_text().splitlines() if line]
    passed: Counter[int] = Counter()
    total: Counter[int] = Counter()
    with tempfile.TemporaryDirectory() as folder, demo.start(throttle_every=10**9, fail_every=10**9) as api:
        os.environ["SALES_TOKEN"] = api.token
        stages = prepare(Path(folder), api.source(token_env="SALES_TOKEN"))
        for case in cases:
            number = case["sentence"]
            at = Path(shutil.copytree(stages[number], Path(folder) / case["id"]))
            with Lab(at, model=model, approve=True) as lab:
                result = lab.run(case["intent"])
                right = result.status == "done" and RIGHT[number](lab, result)
            shutil.rmtree(at)
            passed[number] += right
            total[number] += 1
            if options.show and not right:
                print(
                    f"{case['id']} {case['intent']!r}\n    {result.status}: {result.plan or result.message}", flush=True
                )
    for number in sorted(total):
        print(f"sentence {number}: {passed[number]} of {total[number]} end in the right state")
    print(f"{passed.total()} of {total.total()} wordings end in the right state")


if __name__ == "__main__":
    main()
