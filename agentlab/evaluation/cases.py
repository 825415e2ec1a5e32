"""Cases: what a person wrote, on which state, and what must be true afterwards. JSONL, one case a line.

Every key is known, or the file is refused: a misspelt expectation would else pass for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from agentlab.actions import Role
from agentlab.errors import LabError, nearest
from agentlab.evaluation import form
from agentlab.evaluation.form import Expectation, Json, State


class FormError(LabError):
    """Cases that aren't of the form; a line for each thing that is wrong, with file and line."""


class Case(State):
    """One case. The keys after `expect` are the author's own and prove the case; no model sees them."""

    id: str
    agent: Literal["ingestion", "quality", "transformation", "storage", "optimization", "routing"]
    intent: Annotated[str, Field(min_length=1)]
    voice: str = ""
    expect: Annotated[list[Expectation], Field(min_length=1)]
    actions: int | list[Any] | None = None
    note: Any = None
    premise: Any = None
    reference_sql: Any = None
    alternative_sql: Any = None

    @property
    def state(self) -> State:
        """What there is before, without what is expected after."""
        return State.model_construct(**{name: getattr(self, name) for name in State.model_fields})

    @property
    def role(self) -> Role | None:
        """Whose authority it is run with; None for an intent that must find its agent."""
        return None if self.agent == "routing" else self.agent

    @property
    def calls(self) -> list[Json] | None:
        """The right plan as tool calls, where the author gives one: `{"name", "arguments"}`, also within `function`."""
        if not isinstance(self.actions, list):
            return None
        return [call.get("function", call) if isinstance(call, dict) else {"name": call} for call in self.actions]

    @property
    def abstains(self) -> bool:
        """Whether asking or declining is the right answer."""
        return any(said in ("clarify", "refuse") for said in self.status.split("|"))

    @property
    def status(self) -> str:
        """The status that is expected."""
        return next((e.status for e in self.expect if e.status), "done")


def load(path: Path) -> list[Case]:
    """The cases of a file, or of every `.jsonl` of a folder; FormError with `file:line` for each fault."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise FormError(f"{path} has no .jsonl file, and cases are in such; name another folder or a file")
    cases, faults = list[Case](), list[str]()
    for file in files:
        for line, text in _lines(file):
            try:
                cases.append(case_from(text))
            except ValueError as fault:
                faults += [f"{file}:{line}: {told}" for told in str(fault).splitlines()]
    faults += _twice(cases)
    if faults:
        raise FormError("\n".join(faults))
    return cases


def case_from(text: str) -> Case:
    """One case from its line; ValueError with a line for each fault, and for an unknown key the nearest known one.

    >>> case_from('{"id": "a", "agent": "quality", "intent": "hi", "expect": [{"stats": "done"}]}')
    Traceback (most recent call last):
    ValueError: expect.0: unknown key 'stats'; did you mean 'status'?
    """
    try:
        # JSON's own rules of strictness: a list is a list, and whole numbers are no texts.
        return Case.model_validate_json(text)
    except ValidationError as fault:
        raise ValueError("\n".join(dict.fromkeys(_told(fault, text)))) from fault


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise FormError(f"can't read the cases {file}: {fault}") from fault
    # Not splitlines: a cell may hold other line ends than \n.
    yield from ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())


def _twice(cases: list[Case]) -> Iterator[str]:
    seen = set[str]()
    for case in cases:
        if case.id in seen:
            yield f"there are two cases {case.id!r}; an id is one case's"
        seen.add(case.id)


def _told(fault: ValidationError, text: str) -> Iterator[str]:
    errors = fault.errors(include_url=False)
    unknown_in = {error["loc"][:-1] for error in errors if error["type"] == "extra_forbidden"}
    for error in errors:
        place = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            yield _unknown_key(error["loc"])
        elif not (error["type"] == "value_error" and error["loc"] in unknown_in):
            message = error["msg"].removeprefix("Value error, ")
            yield f"{place}: {message}" if place else message


def _unknown_key(where: tuple[int | str, ...]) -> str:
    *outer, key = where
    near = nearest(str(key), _keys(Case, outer), limit=1)
    place = f"{'.'.join(map(str, outer))}: " if outer else ""
    return f"{place}unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _keys(known: type[BaseModel], outer: list[int | str]) -> list[str]:
    """The keys that are known at a place of a case."""
    for step in outer:
        known = _FORMS.get(str(step), known)
        if step == "tables" and outer[0] in ("stores", "sources"):
            known = form.Published if outer[0] == "stores" else form.Rows
    return list(known.model_fields)


#: Which form is behind a key.
_FORMS: dict[str, type[BaseModel]] = {
    **{"tables": form.CaseTable, "rest": form.RestCase, "sql": form.SqlCase, "resources": form.RestRows},
    **{"files": form.CsvFile, "stores": form.CaseStore, "pipelines": form.CasePipeline},
    **{"schedules": form.CaseSchedule, "snapshots": form.CaseSnapshot, "versions": form.CaseVersion},
    **{"workload": form.CaseQuery, "expect": Expectation, "finding": form.FindingSaid, "store": form.StoreSaid},
    **{"published": form.PublishedSaid, "export": form.ExportSaid, "no_export": form.PathSaid},
    **{"schedule": form.ScheduleSaid, "no_schedule": form.TaskSaid, "retention": form.RetentionSaid},
    **{"snapshot": form.SnapshotSaid, "usage": form.StoreNamed, "layout": form.LayoutSaid},
    **{"no_layout": form.LayoutSaid, "limit": form.LimitSaid, "no_limit": form.LimitSaid, "faster": form.QueryNamed},
}
