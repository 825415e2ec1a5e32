"""Expectations about storage: stores, what was published, exports, schedules, retention, snapshots, usage."""

from __future__ import annotations

from collections.abc import Iterator

from agentlab import retention as ages
from agentlab.actions import Retain
from agentlab.actions import Usage as UsageAction
from agentlab.actions.amounts import bytes_of
from agentlab.errors import unknown
from agentlab.evaluation.ended import Ended, seen
from agentlab.evaluation.expectations import holds
from agentlab.evaluation.form import Expectation, Json, RetentionSaid, ScheduleSaid
from agentlab.evaluation.plans import fires, spans_equal
from agentlab.evaluation.reading import read_file
from agentlab.retention import RetentionDoc


@holds("store")
def store(said: Expectation, ended: Ended) -> Iterator[str]:
    """There is such a store; only what is given is compared, a quota by its bytes."""
    wanted, stores = said.store, ended.docs("store")
    if wanted is None or wanted.name not in stores:
        yield unknown("store", wanted.name if wanted else "", stores)
        return
    doc = stores[wanted.name]
    if wanted.format is not None and doc["format"] != wanted.format:
        yield f"{wanted.name} is of {doc['format']}, not {wanted.format}"
    if wanted.partition_by is not None and list(doc["partition_by"]) != wanted.partition_by:
        yield f"{wanted.name} is split by {doc['partition_by'] or 'nothing'}, not by {wanted.partition_by}"
    if wanted.quota is not None and bytes_of(doc.get("quota") or "0 KB") != bytes_of(wanted.quota):
        yield f"the quota of {wanted.name} is {doc.get('quota') or 'none'}, not {wanted.quota}"


@holds("published")
def published(said: Expectation, ended: Ended) -> Iterator[str]:
    """The store holds so many rows of the table, and they came there by that mode."""
    wanted, stores = said.published, ended.docs("store")
    if wanted is None or wanted.store not in stores:
        yield unknown("store", wanted.store if wanted else "", stores)
        return
    found = _held(stores[wanted.store], wanted.table)
    if found is None:
        yield unknown("table", wanted.table, stores[wanted.store]["tables"], f"in the store {wanted.store}")
        return
    if wanted.rows is not None and found["rows"] != wanted.rows:
        yield f"{wanted.store} holds {found['rows']} rows of {wanted.table}, not {wanted.rows}"
    modes = {str(a.model_dump().get("mode")) for a in ended.acting if a.tool() == "publish"}
    if wanted.mode is not None and wanted.mode not in modes:
        yield f"it was published by mode {', '.join(modes) or 'none'}, not {wanted.mode}"


def _held(store: Json, table: str) -> Json | None:
    """What a store's document says of a table, by the name of its source or the one that it has in the store."""
    held: dict[str, Json] = store["tables"]
    return next((doc for name, doc in held.items() if table in (doc["source"], name)), None)


@holds("export")
def export(said: Expectation, ended: Ended) -> Iterator[str]:
    """The file is there, in the format, with so many rows."""
    wanted = said.export
    if wanted is None or not (path := ended.lab.root / wanted.path).is_file():
        yield unknown("file", wanted.path if wanted else "", _written(ended), "among those that the run wrote")
        return
    format, rows = read_file(path)
    if wanted.format is not None and format != wanted.format:
        yield f"{wanted.path} is {format}, not {wanted.format}"
    if wanted.rows is not None and rows != wanted.rows:
        yield f"{wanted.path} has {rows} rows, not {wanted.rows}"


@holds("no_export")
def no_export(said: Expectation, ended: Ended) -> Iterator[str]:
    """There is no such file."""
    if said.no_export and (ended.lab.root / said.no_export.path).exists():
        yield f"there is a file {said.no_export.path}"


def _written(ended: Ended) -> list[str]:
    return [name for name, size in seen(ended.lab.root).items() if ended.before.files.get(name) != size]


@holds("schedule")
def schedule(said: Expectation, ended: Ended) -> Iterator[str]:
    """A schedule fires at the same moments as the cron line, and its task mentions the name."""
    wanted = said.schedule or ScheduleSaid()
    found = list(_mentioning(wanted.task, ended))
    if not any(_is_such(doc, wanted) for doc in found):
        told = "; ".join(f"{d['task']} at {d['cron']}, {d.get('state', 'active')}" for d in found)
        yield f"no such schedule; {told or f'none mentions {wanted.task}'}"


def _is_such(doc: Json, wanted: ScheduleSaid) -> bool:
    if wanted.state is not None and doc.get("state", "active") != wanted.state:
        return False
    # An author may have written the line for the schedule's own clock, or for UTC.
    return wanted.cron is None or fires(wanted.cron) in (fires(doc["cron"]), fires(doc["cron"], doc.get("zone")))


@holds("no_schedule")
def no_schedule(said: Expectation, ended: Ended) -> Iterator[str]:
    """No schedule's task mentions the name."""
    for doc in _mentioning(said.no_schedule.task if said.no_schedule else None, ended):
        yield f"there is one: {doc['task']} at {doc['cron']}"


def _mentioning(name: str | None, ended: Ended) -> Iterator[Json]:
    """The schedules whose task mentions a name, or that the case calls so."""
    called = {said.task: key for key, said in ended.state.schedules.items()}
    for entry, doc in ended.docs("schedule").items():
        told = " ".join([entry, doc["task"], called.get(doc["task"], "")]).lower()
        if name is None or name.lower() in told:
            yield doc


@holds("retention")
def retention(said: Expectation, ended: Ended) -> Iterator[str]:
    """There is such a rule, or one waits for approval; so many rows are over its age now."""
    wanted = said.retention
    if wanted is None:
        return
    rules = [RetentionDoc.model_validate(doc) for doc in ended.docs("retention").values()]
    planned = [a for a in ended.acting if isinstance(a, Retain)] if ended.result.status == "approval" else []
    kept, waiting = ([r for r in some if _is_rule(r, wanted)] for some in (rules, planned))
    if not kept and not waiting:
        yield f"no such rule; there are: {', '.join(map(str, [*rules, *planned])) or 'none'}"
        return
    if wanted.pending is not None and wanted.pending != (not kept):
        yield "it waits for approval" if not kept else "it is in force, and doesn't wait for approval"
    yield from _matching((kept or waiting)[0], wanted, ended)


def _is_rule(rule: RetentionDoc | Retain, wanted: RetentionSaid) -> bool:
    fits = rule.table == wanted.table and wanted.column in (None, rule.column) and wanted.then in (None, rule.then)
    return fits and (wanted.older_than is None or spans_equal(rule.older_than, wanted.older_than))


def _matching(rule: RetentionDoc | Retain, wanted: RetentionSaid, ended: Ended) -> Iterator[str]:
    if wanted.matching is not None:
        found = ages.matching(ended.lab.engine, ended.views[rule.table], rule.column, rule.older_than)
        if found != wanted.matching:
            yield f"{found} rows are over that age now, not {wanted.matching}"


@holds("snapshot")
def snapshot(said: Expectation, ended: Ended) -> Iterator[str]:
    """There is a snapshot of the table by that name; without one, the run made some."""
    wanted = said.snapshot
    known = ended.docs("snapshot")
    if wanted is None:
        return
    if wanted.name is not None and wanted.name not in known:
        yield unknown("snapshot", wanted.name, known)
    elif wanted.name is not None and known[wanted.name]["table"] != wanted.table:
        yield f"{wanted.name} is a snapshot of {known[wanted.name]['table']}, not of {wanted.table}"
    elif wanted.name is None and wanted.table not in [doc["table"] for doc in ended.made("snapshot").values()]:
        yield f"the run took no snapshot of {wanted.table}"


@holds("usage")
def usage(said: Expectation, ended: Ended) -> Iterator[str]:
    """What the store holds was told; without a name, of every store."""
    name = said.usage.store if said.usage else None
    asked = [action for action in ended.acting if isinstance(action, UsageAction)]
    if ended.result.status != "done" or not any(action.store in (None, name) for action in asked):
        yield f"the usage of {name or 'the stores'} wasn't told"
    elif name is not None and name not in ended.result.message:
        yield f"the report doesn't name {name}: {ended.result.message[:200]}"
