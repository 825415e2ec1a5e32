"""Plans over HTTP, as many users ask for them at once. Speaks to a running `agentlab serve`, changes nothing there.

    agentlab serve --lab demo-lab &
    AGENTLAB_TOKEN=... locust -f loadtests/locustfile.py --headless -u 8 -r 2 -t 30s --host http://127.0.0.1:8765

`AGENTLAB_TOKEN` is the token that `serve` was given, or printed when it first began.
"""

from __future__ import annotations

import os
import random

from locust import HttpUser, between, task

INTENTS = (
    "rename status to state",
    "drop the email column",
    "keep the rows with quantity over 5",
    "sort by order_date, newest first",
    "check the staging table for quality problems",
    "add total revenue",
    "total quantity per country",
    "write me a poem",
)


class Planner(HttpUser):
    """Asks for a plan every second or two and reads the runs now and then."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        """Take the token along."""
        self.client.headers["Authorization"] = f"Bearer {os.environ['AGENTLAB_TOKEN']}"

    @task(8)
    def plan(self) -> None:
        """A plan that isn't carried out; whatever it is, its status is told."""
        body = {"intent": random.choice(INTENTS), "dry_run": True}
        with self.client.post("/v1/intents", json=body, name="plan", catch_response=True) as answer:
            if answer.ok and "status" not in answer.json():
                answer.failure(f"no status in {answer.text[:200]!r}")

    @task(1)
    def runs(self) -> None:
        """The latest runs."""
        self.client.get("/v1/runs")
