"""What a model is to the rest of the house, and how one is found. Loads nothing heavy by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from agentlab.errors import LabError
from agentlab.plan import Plan
from agentlab.prompts import Ask

#: The checkpoint that comes with the package and needs no network.
OFFLINE = Path(__file__).with_name("tiny")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HINT = "a folder with a checkpoint, a hub id such as 'Qwen/Qwen2.5-0.5B-Instruct', or a URL such as 'http://127.0.0.1:8000/v1'"


@runtime_checkable
class Model(Protocol):
    """Turns an intent into a plan. It may be wrong: whatever it plans is checked before anything runs."""

    @property
    def name(self) -> str:
        """What provenance calls it."""

    def plan(self, ask: Ask) -> Plan:
        """A plan, with its confidence and origin. PlanError: the answer is no plan; LabError: there is no answer."""


def load(spec: str | Path | Model | None = None) -> Model:
    """The model that `spec` names: None is the offline one, a URL a served one, else a folder or a hub id.

    A LabError says what was looked for, where, and what to do.

    >>> load("./models/none")
    Traceback (most recent call last):
    agentlab.errors.LabError: no model './models/none': ...
    """
    if isinstance(spec, Model):
        return spec
    text = str(OFFLINE if spec is None else spec)
    if text.startswith(("http://", "https://")):
        from agentlab.models.remote import Remote

        return Remote(text)
    return _checkpoint(text)


def _checkpoint(spec: str) -> Model:
    folder = Path(spec).expanduser()
    if folder.is_dir():
        spec = str(folder)
    elif Path(spec) == OFFLINE:
        raise LabError(f"the offline model isn't in {OFFLINE}; reinstall agentlab, or name a model: {_HINT}")
    elif not _HUB_ID.fullmatch(spec):
        raise LabError(
            f"no model {spec!r}: there is no such folder (looked in {Path.cwd()}), and it is no hub id; give {_HINT}"
        )
    from agentlab.models.qwen import Qwen

    return Qwen(spec)
