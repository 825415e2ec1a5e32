"""Acting: one function an action, which prepares in a run's draft what the action does, and tells it in words."""

from __future__ import annotations

from agentlab.acting import (
    compacting,
    diagnosing,
    exporting,
    ingestion,
    keeping,
    optimization,
    quality,
    storage,
    syncing,
    transformation,
)
from agentlab.acting.base import Outcome, Workspace, perform

#: The agents' modules register with `perform` what their actions do.
__all__ = [
    "Outcome",
    "Workspace",
    "compacting",
    "diagnosing",
    "exporting",
    "ingestion",
    "keeping",
    "optimization",
    "perform",
    "quality",
    "storage",
    "syncing",
    "transformation",
]
