"""agentlab: plain English in, a checked, undoable data pipeline out. See README.md."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentlab.agents import Agent
    from agentlab.evaluation import evaluate
    from agentlab.lab import Lab
    from agentlab.models import Model
    from agentlab.plan import Plan

__version__ = "0.1.0"

_WHERE = {
    **{"Agent": "agentlab.agents", "Lab": "agentlab.lab", "Model": "agentlab.models", "Plan": "agentlab.plan"},
    "evaluate": "agentlab.evaluation",
}

__all__ = ["Agent", "Lab", "Model", "Plan", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agentlab' has no attribute {name!r}; there are: {', '.join(__all__)}")
    return getattr(import_module(_WHERE[name]), name)
