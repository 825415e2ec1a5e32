"""DBOS, which makes runs durable: what a killed process left unfinished goes on when the lab is opened again.

DBOS is one to a process and one to a database; labs take turns with it. Each process that has a lab open holds a slot
by a file lock, so that nobody takes over the steps of a process that lives. What steps do is `orchestrator.py`'s.
Importing this module takes a second or two, so others import it when a run begins.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from contextvars import copy_context
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import dbos._serialization as serialization
from dbos import DBOS, SetWorkflowID
from sqlalchemy import URL

from agentlab.errors import LabError

FILE = "dbos.sqlite"

#: Fixed: workflows that an older process of another version began must go on, too.
VERSION = "1"

#: How often a run may end its process before it is given up.
MOST_TRIES = 5

#: Processes that may have one lab open at a time.
SLOTS = 64

Json = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")


def _apart(action: Callable[P, R]) -> Callable[P, R]:
    """Do it in a thread of its own where an event loop runs, as under a notebook's cells: DBOS refuses there."""

    @wraps(action)
    def done(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return action(*args, **kwargs)
        context, thread = copy_context(), ThreadPoolExecutor(1, "agentlab")
        try:
            return thread.submit(lambda: context.run(action, *args, **kwargs)).result()
        finally:
            # Whoever interrupts the cell doesn't wait for the run: it is cancelled, and ends at its next step.
            thread.shutdown(wait=False)

    return done


class Steps:
    """What a workflow is made of. What was done before a crash isn't done again: what came of it is returned."""

    def do(self, name: str, action: Callable[[], Any]) -> Any:
        """A step, whose result is JSON. It may be repeated if the process is killed within it."""
        return DBOS.run_step({"name": name}, action)

    def run(self, key: str, request: Json) -> Json:
        """A workflow within this one, once for its key."""
        with SetWorkflowID(key):
            result: Json = _workflow(request)
        return result


class House(Protocol):
    """What carries out workflows."""

    def carry_out(self, request: Json, steps: Steps) -> Json:
        """One workflow, from its beginning; the same steps in the same order for the same request."""


class Durable:
    """Durable workflows of one lab. Requests and results are JSON, never pickled."""

    def __init__(self, root: Path, house: House) -> None:
        self.root = root
        self.house = house
        self._slot: sqlite3.Connection | None = None

    @_apart
    def run(self, key: str, request: Json) -> Json:
        """Carry out a request, once for its key: a second time its result is returned.

        LabError when this thread is in a run of another lab.
        """
        with _turns.taken(self):
            return Steps().run(key, request)

    @_apart
    def recover(self) -> None:
        """Finish what killed processes left, and wait for it."""
        with _turns.taken(self):
            self._finish(self._dead())

    @_apart
    def cancel(self, prefix: str) -> None:
        """Give up the requests whose keys begin so, so that nothing goes on with them later."""
        with _turns.taken(self):
            for key in self.open(prefix):
                DBOS.cancel_workflow(key)

    @_apart
    def open(self, prefix: str) -> list[str]:
        """The requests whose keys begin so and that haven't ended."""
        with _turns.taken(self):
            found = DBOS.list_workflows(status=_OPEN, workflow_id_prefix=prefix)
            return [workflow.workflow_id for workflow in found]

    @_apart
    def close(self) -> None:
        """Let go of DBOS, if this lab has it, once its workflows have ended."""
        _turns.give_up(self)

    def launch(self) -> None:
        """Start DBOS on this lab and finish what this slot's last holder left."""
        _refuse_pickles(self.root / FILE)
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        number, self._slot = _take_slot(self.root)
        _use_wal(self.root / FILE)
        url = URL.create("sqlite", database=str(self.root / FILE)).render_as_string()
        DBOS(
            config={
                "name": "agentlab",
                "system_database_url": url,
                "executor_id": f"slot-{number}",
                "application_version": VERSION,
                "serializer": serialization.DBOSPortableJSON,
                "log_level": "CRITICAL",
                "enable_otlp": False,
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": 0.05,
            }
        )
        DBOS.launch()

    def shut_down(self) -> None:
        """Stop DBOS; the slot is free then."""
        _running.wait_until_none()
        DBOS.destroy()
        vars(serialization.DBOSDefaultSerializer).pop("deserialize", None)
        if self._slot:
            self._slot.close()
            self._slot = None

    def unfinished(self) -> list[str]:
        """The workflows that the former holder of this slot left."""
        return [w.workflow_id for w in DBOS.list_workflows(status=_OPEN, executor_id=DBOS.executor_id)]

    def _dead(self) -> list[str]:
        """The workflows of slots that nobody holds; from now on they are ours."""
        found: list[str] = []
        for number in sorted(int(path.stem) for path in (self.root / "slots").glob("*.lock")):
            lock = _lock(self.root, number)
            if lock is None:
                continue
            with closing(lock):
                mine = DBOS.list_workflows(status="PENDING", executor_id=f"slot-{number}")
                found += [DBOS.resume_workflow(workflow.workflow_id).get_workflow_id() for workflow in mine]
        return found

    def _finish(self, keys: list[str]) -> None:
        for key in keys:
            try:
                DBOS.retrieve_workflow(key).get_result(polling_interval_sec=0.05)
            except Exception as fault:  # Of DBOS itself: the house's steps raise nothing.
                logging.getLogger(__name__).warning("run %s can't go on: %s", key, fault)


_OPEN = ["PENDING", "ENQUEUED"]


@DBOS.workflow(name="agentlab", max_recovery_attempts=MOST_TRIES)
def _workflow(request: Json) -> Json:
    with _running:
        return _turns.holder().house.carry_out(request, Steps())


class _Running:
    """Counts the workflows of this process, so that none loses its lab."""

    def __init__(self) -> None:
        self._count = 0
        self._change = threading.Condition()

    def __enter__(self) -> None:
        with self._change:
            self._count += 1

    def __exit__(self, *fault: object) -> None:
        with self._change:
            self._count -= 1
            self._change.notify_all()

    def wait_until_none(self) -> None:
        with self._change:
            self._change.wait_for(lambda: self._count == 0)


class _Turns:
    """Which lab of this process has DBOS. It changes hands when another needs it and no run is under way."""

    def __init__(self) -> None:
        self._holder: Durable | None = None
        self._users = 0
        self._change = threading.Condition()
        self._mine = threading.local()

    def holder(self) -> Durable:
        assert self._holder is not None
        return self._holder

    @contextmanager
    def taken(self, durable: Durable) -> Iterator[None]:
        held: list[Durable] = self._mine.__dict__.setdefault("held", [])
        if held and held[-1] is not durable:
            raise LabError("a run of one lab can't start a run of another; end it first")
        self._take(durable)
        held.append(durable)
        try:
            yield
        finally:
            held.pop()
            with self._change:
                self._users -= 1
                self._change.notify_all()

    def give_up(self, durable: Durable) -> None:
        with self._change:
            self._change.wait_for(lambda: self._holder is not durable or not self._users)
            if self._holder is durable:
                durable.shut_down()
                self._holder = None

    def _take(self, durable: Durable) -> None:
        with self._change:
            self._change.wait_for(lambda: self._holder is durable or not self._users)
            if self._holder is not durable:
                if self._holder:
                    self._holder.shut_down()
                self._holder = None
                self._launched(durable)
            self._users += 1

    def _launched(self, durable: Durable) -> None:
        self._holder = durable
        try:
            durable.launch()
            durable._finish(durable.unfinished())
        except BaseException:
            durable.shut_down()
            self._holder = None
            raise


_running = _Running()
_turns = _Turns()


def _take_slot(root: Path) -> tuple[int, sqlite3.Connection]:
    for number in range(SLOTS):
        if lock := _lock(root, number):
            return number, lock
    raise LabError(f"{SLOTS} processes have this lab open; close one")


def _lock(root: Path, number: int) -> sqlite3.Connection | None:
    """A lock on a slot that ends with the connection or the process; None when another holds it."""
    folder = root / "slots"
    folder.mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / f"{number}.lock", timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection


def _use_wal(path: Path) -> None:
    """One write to the disk for each step instead of four; the file remembers it."""
    # Another process that is just opening the file may be in the way; then it does this.
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


def _refuse_pickles(path: Path) -> None:
    """DBOS unpickles what a file says is pickled, and a pickle can run anything: a lab may come from a stranger."""
    vars(serialization.DBOSDefaultSerializer)["deserialize"] = _no_pickle
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            query = f"SELECT 1 FROM \"{table}\" WHERE serialization <> 'portable_json' LIMIT 1"  # noqa: S608
            if "serialization" in columns and connection.execute(query).fetchone():
                raise LabError(f"{path} holds pickled data in {table}, which could run anything; agentlab writes none")


def _no_pickle(text: str) -> Any:
    raise LabError("agentlab reads no pickles")
