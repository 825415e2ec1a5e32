"""Models: whatever turns an `Ask` into a `Plan`. Importing this loads no torch; `load` does, for a large checkpoint."""

from __future__ import annotations

from agentlab.models.base import OFFLINE, Model, load
from agentlab.models.remote import Remote
from agentlab.models.scripted import Scripted

__all__ = ["OFFLINE", "Model", "Remote", "Scripted", "load"]
