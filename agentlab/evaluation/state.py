"""The state of a case, made for real in a fresh lab: tables, sources that are served, stores, schedules, a workload.

What the lab can do by itself is done by it, as runs of their own that are over before the case's run begins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentlab.entries import Run, TableDoc
from agentlab.errors import LabError
from agentlab.evaluation import serving
from agentlab.evaluation.form import CaseStore, CaseTable, Json, RestCase, Rows, SqlCase, State
from agentlab.evaluation.reading import resource, rows_of, write_file
from agentlab.lab import Lab
from agentlab.models import Model
from agentlab.pipelines import PipelineDoc, PipelineStep
from agentlab.plan import Plan
from agentlab.tasks import tasks

#: Runs of a query that are logged, at most, however often it is asked.
LOGGED = 3


class Skipped(Exception):
    """Why a case can't be tried here."""


@contextmanager
def prepared(state: State, folder: Path, model: Model | None = None) -> Iterator[Lab]:
    """A lab in the state, with all that it needs outside, until the `with` ends; Skipped where that can't be started.

    The lab reacts to nothing by itself: what happens in a case is what its intent made happen.
    """
    with ExitStack() as stack:
        outside = {need: stack.enter_context(_started(need)) for need in state.needs}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "policy.yaml").write_text("[]\n", encoding="utf-8")
        lab = stack.enter_context(Lab(folder, model=model))
        _lay_files(state, folder)
        _Setting(state, lab, outside, stack).make()
        yield lab


@contextmanager
def _started(need: str) -> Iterator[str]:
    """The address of an outside service while it runs."""
    if need != "postgres":
        raise Skipped(f"it needs {need}, which agentlab can't start")
    from agentlab.evaluation.postgres import Absent, postgres

    server = postgres()
    try:
        address = server.__enter__()
    except Absent as why:
        raise Skipped(f"it needs postgres: {why}") from why
    try:
        yield address
    finally:
        server.__exit__(None, None, None)


def _lay_files(state: State, folder: Path) -> None:
    for name, content in state.files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise LabError(f"the file {name!r} of the case leads out of the lab")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="")
        else:
            write_file(rows_of(Rows(csv=content.csv)), path)


class _Setting:
    """One state in the making."""

    def __init__(self, state: State, lab: Lab, outside: Mapping[str, str], stack: ExitStack) -> None:
        self.state, self.lab, self.outside, self.stack = state, lab, outside, stack
        self.count = 0

    def make(self) -> None:
        """Everything, in the order in which one thing needs another."""
        self._sources()
        self._stores()
        self._tables()
        for name, pipeline in self.state.pipelines.items():
            doc = PipelineDoc(name=name, steps=[PipelineStep(say=pipeline.does)])
            self._commit(lambda draft, name=name, doc=doc: draft.put("pipeline", name, doc))
        self._schedules()
        for query in self.state.workload:
            for _ in range(max(1, min(LOGGED, int(query.freq)))):
                self.lab.query(query.name, query.sql)

    # Tables

    def _tables(self) -> None:
        for name, rows in self._history():
            if isinstance(rows, str):
                self._do("snapshot", table=name, name=rows)
            else:
                self._put(name, rows)
        for name, table in self.state.tables.items():
            if table.store is not None:
                self._lie_in_store(name, table)

    def _history(self) -> Iterator[tuple[str, pa.Table | str]]:
        """Every version of every table in order, and after it the names of its snapshots."""
        names = dict.fromkeys((*(s.table for s in self.state.snapshots.values()), *self.state.versions))
        for name in names:
            yield from self._versions(name)
        for name, table in self.state.tables.items():
            if name not in self.state.versions:
                yield name, rows_of(table)
        for store in self.state.stores.values():
            for name, published in store.tables.items():
                if not {name} & {*names, *self.state.tables}:
                    yield name, rows_of(published)

    def _versions(self, name: str) -> Iterator[tuple[str, pa.Table | str]]:
        taken = {s: rows_of(doc) for s, doc in self.state.snapshots.items() if doc.table == name}
        versions = [rows_of(version) for version in self.state.versions.get(name, [])]
        alone = {s: rows for s, rows in taken.items() if not any(rows.equals(version) for version in versions)}
        if alone and versions:
            raise LabError(f"the snapshots {', '.join(alone)} are none of the versions of {name}")
        for snapshot, rows in alone.items():
            yield from ((name, rows), (name, snapshot))
        for version in versions:
            yield name, version
            for snapshot in [s for s, rows in taken.items() if s not in alone and rows.equals(version)]:
                del taken[snapshot]
                yield name, snapshot

    def _put(self, name: str, rows: pa.Table, files: int = 1, by: str = "") -> None:
        """The table's next version, by a run of its own, in so many files."""

        def put(draft: Any) -> None:
            path = draft.fresh(name)
            written = self.lab.engine.write(self.lab.engine.memtable(rows), path)
            if files > 1:
                _cut(path, files)
            doc = TableDoc(
                path=path.relative_to(self.lab.root).as_posix(),
                schema_=written.schema,
                rows=written.rows,
                bytes=sum(file.stat().st_size for file in path.iterdir()),
                lineage={column: [] for column in written.schema},
            )
            draft.put("table", name, doc)

        self._commit(put, by)

    def _commit(self, change: Any, by: str = "") -> None:
        self.count += 1
        run = Run(
            id=f"before{self.count}",
            intent=by or "the state before",
            status="done",
            plan=Plan(actions=()).to_json(),
            message="done",
        )
        draft = self.lab.catalog.draft(run.id)
        change(draft)
        draft.commit()
        self.lab.catalog.save_run(run)

    # Stores

    def _stores(self) -> None:
        for name, store in self.state.stores.items():
            self._provision(name, store)
            for table, published in store.tables.items():
                self._put(table, rows_of(published), by=published.written_by or "")
                self._do("publish", table=table, store=name)

    def _provision(self, name: str, store: CaseStore) -> None:
        given: Json = {"store": name, "format": store.format, "partition_by": list(store.partition_by)}
        if store.quota is not None:
            given["quota"] = store.quota
        if store.format == "postgres":
            given["location"] = self._database()
        self._do("provision", **given)

    def _lie_in_store(self, name: str, table: CaseTable) -> None:
        """The table as several files, here and in the store: what a plan may bring together."""
        rows, many = rows_of(table), table.files
        size = max(1, -(-len(rows) // many))
        for start in range(0, max(len(rows), 1), size):
            self._put(name, rows.slice(start, size))
            self._do("publish", table=name, store=table.store, mode="append")
        self._put(name, rows, files=many)

    # Sources

    def _sources(self) -> None:
        for name, source in self.state.sources.items():
            if isinstance(source, RestCase):
                found = {resource_: resource(rows) for resource_, rows in source.resources.items()}
                self.lab.add_source(name, **self.stack.enter_context(serving.served(found)))
            else:
                self._sql_source(name, source)

    def _sql_source(self, name: str, source: SqlCase) -> None:
        tables = {table: rows_of(rows) for table, rows in source.tables.items()}
        if "postgres" in self.outside:
            from agentlab.evaluation.postgres import fill

            fill(self.outside["postgres"], tables)
            self.lab.add_source(name, kind="sql", driver="postgres", url=self.outside["postgres"])
            return
        path = self.lab.root / "databases" / f"{name}.sqlite"
        path.parent.mkdir(exist_ok=True)
        _fill_sqlite(path, tables)
        self.lab.add_source(name, kind="sql", driver="sqlite", path=path.relative_to(self.lab.root).as_posix())

    def _database(self) -> str:
        """The registered database that stores of Postgres lie in."""
        if "postgres" not in self.outside:
            raise LabError('a store of postgres needs a server: say "needs": ["postgres"]')
        if "warehouse" not in self.lab.sources():
            self.lab.add_source("warehouse", kind="sql", driver="postgres", url=self.outside["postgres"])
        return "warehouse"

    # Schedules

    def _schedules(self) -> None:
        for name, schedule in self.state.schedules.items():
            known = tasks(self.lab.catalog)
            task = schedule.task if schedule.task in known else name
            if task not in known:
                doc = PipelineDoc(name=name, steps=[PipelineStep(say=schedule.task)])
                self._commit(lambda draft, name=name, doc=doc: draft.put("pipeline", name, doc))
            self._do("schedule", task=task, when=schedule.cron)
            if schedule.state == "paused":
                self._do("pause", task=task)

    def _do(self, action: str, **arguments: Any) -> None:
        """Let the lab itself do it, whoever would have to agree."""
        result = self.lab.run(Plan.from_calls([{"name": action, "arguments": arguments}]), approve=True)
        if result.status != "done":
            raise LabError(f"the state before can't be made: {action}: {result.status}: {result.message}")


def _cut(path: Path, files: int) -> None:
    """The rows of a version's one file in several, in their order."""
    (whole,) = path.glob("*.parquet")
    rows = pq.read_table(whole)
    whole.unlink()
    size = max(1, -(-len(rows) // files))
    for number, start in enumerate(range(0, max(len(rows), 1), size)):
        pq.write_table(rows.slice(start, size), path / f"data-{number:05}.parquet", compression="zstd")


def _fill_sqlite(path: Path, tables: Mapping[str, pa.Table]) -> None:
    with sqlite3.connect(path) as database:
        for name, rows in tables.items():
            columns = ", ".join(
                f"{_quoted(c)} {_affinity(t)}" for c, t in zip(rows.column_names, rows.schema.types, strict=True)
            )
            database.execute(f"CREATE TABLE {_quoted(name)} ({columns})")
            marks = ", ".join("?" * rows.num_columns)
            values = ([_stored(value) for value in row.values()] for row in rows.to_pylist())
            database.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", values)  # noqa: S608
    database.close()


def _affinity(kind: pa.DataType) -> str:
    """The declared type of a SQLite column."""
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind):
        return "INTEGER"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "REAL"
    return "DATE" if pa.types.is_date(kind) else "TIMESTAMP" if pa.types.is_timestamp(kind) else "TEXT"


def _stored(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat(" ") if hasattr(value, "hour") and hasattr(value, "year") else str(value)


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
