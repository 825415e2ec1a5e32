"""The front door: a folder with tables and everything about them, to which one speaks in sentences.

with Lab("sales") as lab:
    lab.add_source("sales_api", url="https://api.example.com", resources={"orders": {"path": "/orders"}}, token="...")
    print(lab.run("pull the newest 10,000 orders into a staging table"))
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pandas as pd

from agentlab import (
    blast,
    costs,
    display,
    enforcement,
    pipelines,
    placing,
    policy,
    provenance,
    recomputing,
    reviews,
    snapshots,
    stores,
    workload,
)
from agentlab.acting.optimization import Views
from agentlab.actions import Role
from agentlab.agents import Agent, role_of, settled, view_of
from agentlab.blast import Blast
from agentlab.catalog import Catalog
from agentlab.checks import Verdict
from agentlab.costs import Costs, Prices
from agentlab.draft import Draft
from agentlab.engine import DuckDB, Engine, check_engine, opened
from agentlab.entries import Entry, Run, TableDoc, check_name, twin
from agentlab.errors import Conflict, LabError, PlanError, unknown
from agentlab.events import Events, now
from agentlab.intents import check_intent
from agentlab.limits import BUDGET, BudgetDoc, LimitDoc, limits_of
from agentlab.models import Model
from agentlab.models import load as load_model
from agentlab.moments import upcoming
from agentlab.orchestrator import Orchestrator, new_id
from agentlab.pipelines import PipelineDoc
from agentlab.plan import Origin, Plan, action_from
from agentlab.rehearsal import Rehearsal, rehearse
from agentlab.retention import RetentionDoc
from agentlab.rules import check
from agentlab.runs import Approve, OnEvent, PipelineResult, Reviews, RunResult, result_of, undoable
from agentlab.snapshots import SnapshotDoc
from agentlab.sources import Source, apart, discovered, read_doc, save_dataset, save_frame, save_token, token_file
from agentlab.stores import StoreDoc
from agentlab.talks import Talk, Talks
from agentlab.view import View
from agentlab.workload import LayoutDoc, QueryDoc

#: `display` is imported for what it does to plans, results and lists of ours: notebooks show them well.
__all__ = ["AS_LAB", "Lab", "display"]

_LOG = logging.getLogger("agentlab")

#: As `approve` of a call: what the lab was opened with holds.
AS_LAB: Any = object()


class Lab:
    """A lab in a folder, made if there is none. What a killed process left unfinished is finished on opening.

    `model` is a folder, a hub id, a URL, a model, or None for the one that comes along; it is loaded when first asked.
    `approve` answers reviews: a function, True or False, or None to be asked later (`approve`, `reject`). `on_event`
    hears events and progress. LabError for a lab of a newer version, or an engine that there isn't.
    """

    def __init__(
        self,
        path: str | Path,
        model: str | Path | Model | None = None,
        engine: str = "duckdb",
        approve: Approve = None,
        on_event: OnEvent | None = None,
    ) -> None:
        check_engine(engine)
        self.catalog = Catalog(Path(path).expanduser())
        self.root = self.catalog.root
        self.engine = DuckDB(self.root)
        self._named = engine
        self._compute: Engine | None = self.engine if engine == "duckdb" else None
        self._spec = model
        self._model: Model | None = None
        self._talk = Talk(approve, on_event)
        rules = policy.of_lab(self.root)
        self._orchestrator = Orchestrator(self.catalog, self.engine, lambda: self.model, rules, self._talk)
        self._orchestrator.compute = lambda: self.compute
        #: The runs that a killed process left and that opening this lab has finished.
        self.recovered = tuple(self.recover() if self._orchestrator.unfinished() else ())
        self.catalog.sweep()
        for words in stores.settle(self.catalog):
            _LOG.warning("%s", words)

    @property
    def compute(self) -> Engine:
        """What transforms and judges tables: the engine, or Spark, which starts when it is first needed."""
        if self._compute is None:
            self._compute = opened(self._named, self.engine)
        return self._compute

    @property
    def model(self) -> Model:
        """The model, loaded when first asked for."""
        if self._model is None:
            self._model = load_model(self._spec)
        return self._model

    # Speaking to it

    def plan(self, intent: str, agent: Role | None = None) -> Plan:
        """The checked plan for an intent; nothing runs and nothing is kept. An intent that can't be is a question.

        Its `breaks` say which queries, checks, stores and the like its changes of columns and tables would break.
        PlanError for what is no intent: not text, empty, not UTF-8, too long.
        """
        said = check_intent(intent)
        plan = Agent(role_of(agent), self.model).plan(said, self.view(), self.catalog)
        return plan.model_copy(update={"breaks": blast.forecast(plan, self.catalog)})

    def preview(self, intent: str | Plan, agent: Role | None = None) -> Rehearsal:
        """What an intent or a plan would do: it is tried on the real tables, and all that it makes is thrown away.

        What reaches out of the lab (fetching, writing to a bucket or a database) is named and not tried. PlanError and
        LabError are those that a run would end in; a plan that asks or refuses has its question or reason as a step.
        """
        plan = intent if isinstance(intent, Plan) else self.plan(intent, agent)
        told = settled(plan, check(plan, self.catalog, role_of(agent)))
        return rehearse(told, self.catalog, self.engine, new_id("t"), self.compute)

    def run(
        self,
        intent: str | Plan,
        agent: Role | None = None,
        approve: Approve = AS_LAB,
        on_event: OnEvent | None = None,
    ) -> RunResult:
        """Plan and carry out an intent, or carry out a plan; what it causes by the policy, too.

        Faults of a run are told in the result (status `failed`), and nothing of it is visible then. A listener that
        fails is logged and told nothing more. PlanError for what is no intent, as of `plan`.
        """
        given = {"plan": intent.to_json()} if isinstance(intent, Plan) else {}
        said = (intent.origin.intent or str(intent)) if isinstance(intent, Plan) else check_intent(intent)
        return self._orchestrator.run(said, role_of(agent), self._talk_for(approve, on_event), **given)

    def pipeline(self, path: str | Path, approve: Approve = AS_LAB, on_event: OnEvent | None = None) -> PipelineResult:
        """Carry out a pipeline's file, or a pipeline that the lab has had before, by its name."""
        known = self.catalog.find("pipeline", str(path))
        doc = PipelineDoc.model_validate(known.doc) if known else pipelines.load(Path(path))
        return self._orchestrator.pipeline(doc, self._talk_for(approve, on_event))

    def approve(self, run: str, on_event: OnEvent | None = None) -> RunResult:
        """Let a run go on that waits for approval."""
        return self._orchestrator.answer(run, True, self._talk_for(AS_LAB, on_event))

    def reject(self, run: str) -> RunResult:
        """End a run that waits for approval; nothing of it takes effect."""
        return self._orchestrator.answer(run, False)

    def reviews(self) -> Reviews:
        """What waits for an answer, the oldest first: of each its run, its reasons, and a preview of what it would do.

        `approve` and `reject` take the `run` of one.
        """
        return reviews.waiting(self.catalog)

    def recover(self) -> list[RunResult]:
        """Finish what a killed process left; opening a lab does it, too."""
        return self._orchestrator.recover()

    def undo(self, run: str) -> list[str]:
        """Take back all that a run did, with what it caused by the policy or as a pipeline: everything or nothing.

        A line for each entry restored. Conflict names later runs to undo first; LabError if there is nothing to undo.
        """
        done = undoable(self.catalog, run)
        if not done:
            self.catalog.run(run)
            return [*self.catalog.undo(run), *stores.settle(self.catalog)]
        with self.catalog.database.transaction() as connection:
            lines = placing.undo(connection, self.root, done)
        if run not in done:
            self.catalog.save_run(self.catalog.run(run).model_copy(update={"status": "undone"}))
        talks = Talks(self._talk)
        for event in (event for member in done for event in self.catalog.events(run=member, type="undone")):
            talks.tell(run, event)
        return [*lines, *stores.settle(self.catalog)]

    # Putting things in

    def load(
        self,
        frame: pd.DataFrame,
        name: str,
        mode: Literal["replace", "append"] = "replace",
        time_column: str | None = None,
    ) -> RunResult:
        """Load a frame as the table `staging.<name>`; a run like any other, and undoable.

        The frame is kept as a source of the table's last name, so that it can be pulled again. LabError for what is no
        frame; PlanError for a name that no table can have, or that SQL can't tell from another, and for another mode.
        """
        if not isinstance(frame, pd.DataFrame):
            raise LabError(f"load needs a pandas DataFrame, not a {type(frame).__name__}; put it into one first")
        into = check_name(name if "." in name else f"staging.{name}")
        if fault := twin(into, self.tables()):
            raise PlanError(fault)
        source = into.rpartition(".")[2]
        # Before the frame is kept, so that a call that can't be leaves no file.
        pull = action_from(
            {"name": "pull", "arguments": {"source": source, "resource": source, "into": into, "mode": mode}}
        )
        known = self.catalog.find("source", source)
        if known and known.doc["kind"] != "frame":
            raise LabError(
                f"there is a {known.doc['kind']} source {source!r} already; load the frame under another name"
            )
        doc = save_frame(self.root, source, frame, time_column).model_dump(mode="json", by_alias=True)
        intent = f"load {len(frame):,} rows of a data frame into {into}"
        plan = Plan(actions=(pull,), origin=Origin(intent=intent))
        return self._orchestrator.run(intent, None, self._talk, plan=plan.to_json(), sources={source: doc})

    def add_source(self, name: str, token: str | None = None, kind: str = "rest", **settings: Any) -> RunResult:
        """Register a source, such as a REST API: `url`, `resources`, and `token` or `token_env`.

        A database is of kind "sql" with a `driver` (postgres, sqlite, duckdb) and a `url` or `path`; a Hugging Face
        data set of kind "dataset" with a `path`, or the `dataset` itself. What they hold is found out here; an API is
        asked once for a few rows of each resource. A token or password, also one in the url, is kept in the lab's
        `secrets` folder, readable by its owner only; an older one stays there for undo. LabError for settings that
        don't fit, and for the name of a source of another kind.
        """
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise LabError(f"{name!r} can't name a source; use letters, digits and _")
        if (known := self.catalog.find("source", name)) and known.doc["kind"] != kind:
            raise LabError(f"there is a {known.doc['kind']} source {name!r} already; give the {kind} one another name")
        if kind == "dataset" and "dataset" in settings:
            source: Source = save_dataset(self.root, name, **settings)
        else:
            source = self._found(name, token, {"kind": kind, **settings})
        return self._changed(f"register the source {name}", lambda d: d.put("source", name, source))

    def _found(self, name: str, token: str | None, settings: dict[str, Any]) -> Source:
        """A source from its settings, the secret put apart, with what can be found out of it."""
        if token is None:
            settings, token = apart(settings)
        kept = {"token_file": token_file(name)} if token is not None else {}
        source = read_doc({**settings, **kept})
        if token is not None:
            save_token(self.root, kept["token_file"], token)
        return discovered(source, self.root)

    def query(self, name: str, sql: str | None = None, freq: float | None = None) -> pd.DataFrame:
        """Run a query and log it under its name; with `sql` it is saved under it first. Tables, and `store.table`.

        It is answered from a kept layout where one fits; a kept result that a change has put out of use is kept anew.
        `freq` is how often it is asked, in a unit that is the same for all queries; None: as often as it was run.
        PlanError for SQL that is more than a SELECT of known tables.
        """
        views = self._views()
        known = self.catalog.find("query", name) if sql is not None else self.catalog.get("query", name)
        doc = QueryDoc.model_validate(known.doc) if known else QueryDoc(name=name, sql=sql or "")
        if sql is not None and doc.sql != sql:
            doc = QueryDoc(name=name, sql=sql, freq=doc.freq)
        checked = workload.check(doc.sql, views)
        layouts = [*self.layouts().values()]
        found = workload.answer(self.engine, checked, views, layouts, views.versions, root=self.root)
        saved = known is not None and known.doc["sql"] == doc.sql
        self._log(doc, found, saved, freq)
        if stale := workload.outdated(checked, layouts, views.versions):
            recomputing.try_again(self.catalog, self.engine, stale.name, new_id, found.rows)
        frame: pd.DataFrame = found.rows.to_pandas()
        return frame

    def allow_layouts(self, size: int) -> RunResult:
        """Let all layouts together take so many bytes at most; at first it is as much as all tables take."""
        doc = BudgetDoc(bytes=max(size, 0))
        return self._changed(f"let layouts take {size:,} bytes at most", lambda draft: draft.put("limit", BUDGET, doc))

    # Looking at it

    def table(self, name: str) -> pd.DataFrame:
        """A table, or `store.table`, whole; PlanError naming the nearest if there is none."""
        views = self._views()
        if name not in views:
            raise PlanError(unknown("table", name, views))
        frame: pd.DataFrame = self.engine.con.to_pyarrow(views[name]).to_pandas()
        return frame

    def tables(self) -> dict[str, TableDoc]:
        """Every table, by name: its columns, rows, bytes, and how it was made."""
        return {entry.name: TableDoc.model_validate(entry.doc) for entry in self.catalog.entries("table")}

    def sources(self) -> dict[str, list[str]]:
        """Every source and its resources."""
        return {entry.name: list(entry.doc["resources"]) for entry in self.catalog.entries("source")}

    def stores(self) -> dict[str, StoreDoc]:
        """Every store, with what was published to it."""
        return {entry.name: StoreDoc.model_validate(entry.doc) for entry in self.catalog.entries("store")}

    def schedules(self) -> list[dict[str, Any]]:
        """Every schedule: task, when, cron, zone, state, and the next five moments from now in its zone."""
        docs = [{"zone": None, "state": "active", **entry.doc} for entry in self.catalog.entries("schedule")]
        return [{**doc, "next": upcoming(doc["cron"], zone=doc["zone"])} for doc in docs]

    def snapshots(self) -> dict[str, SnapshotDoc]:
        """Every snapshot, by name: which version of which table it is."""
        return snapshots.taken(self.catalog)

    def retention(self) -> list[RetentionDoc]:
        """Every rule of what is kept how long, with how many rows are too old as it is now."""
        return enforcement.counted(self.catalog, self.engine)

    def enforce(self) -> list[RunResult]:
        """Let the rows leave that retention says are too old; a run for each rule that has some, undoable like any."""
        return [self.result(run) for run in enforcement.enforce_all(self.catalog, self.engine, new_id)]

    def blast(self, table: str, column: str | None = None) -> Blast:
        """What would break if a column, or the whole table, went or had another name: queries, checks, stores, ...

        PlanError naming the nearest if there is no such table or column.
        """
        return blast.radius(self.catalog, table, None if column is None else [column])

    def limits(self) -> dict[str, LimitDoc]:
        """How fast each source may be read, by its name; a source without a limit isn't among them."""
        return limits_of(self.catalog)

    def layouts(self) -> dict[str, LayoutDoc]:
        """Every layout that was kept, by name, also those that a change of their tables has put out of use."""
        return {entry.name: LayoutDoc.model_validate(entry.doc) for entry in self.catalog.entries("layout")}

    def queries(self) -> dict[str, QueryDoc]:
        """Every saved query with its last runs."""
        return {entry.name: QueryDoc.model_validate(entry.doc) for entry in self.catalog.entries("query")}

    def reports(self) -> dict[str, Entry]:
        """The latest reports: of quality by table, of queries as `diagnosis of <query>` and `tuning of <query>`."""
        return {entry.name: entry for entry in self.catalog.entries("report")}

    def checks(self) -> dict[str, Verdict]:
        """Every check that was asked for, with its last verdict, by name."""
        return {entry.name: Verdict.model_validate(entry.doc) for entry in self.catalog.entries("check")}

    def history(self, limit: int = 50) -> list[Run]:
        """The latest runs, newest first."""
        return self.catalog.runs(limit)

    def result(self, run: str) -> RunResult:
        """The result of an earlier run."""
        return result_of(self.catalog, run)

    def events(self, run: str | None = None) -> Events:
        """What happened, oldest first; only in a run, if given."""
        return Events(self.catalog.events(run=run))

    def lineage(self, table: str, column: str) -> provenance.Lineage:
        """Where a column comes from, newest step first."""
        return provenance.lineage(self.catalog, table, column)

    def costs(self, table: str, by: Sequence[str] | None = None) -> Costs:
        """What keeping a table would cost by format, columns to split by and place, the cheapest first.

        It is measured on a sample of up to 200,000 rows and priced by the lab's `prices.yaml`, or by the examples that
        come along. `by` are the columns to try; by default its days, texts and flags. PlanError for what isn't there.
        """
        doc, prices = self.catalog.table(table), Prices.of_lab(self.root)
        chosen = costs.candidates(doc.schema_.items()) if by is None else by
        rows = self.engine.read(doc, self.root)
        return costs.estimate(costs.measured(self.engine, rows, self.root, chosen, rows=doc.rows), prices)

    def view(self) -> View:
        """What a model is shown of this lab."""
        return view_of(self.catalog, self.engine)

    def close(self) -> None:
        """Let go of files and locks. The lab's runs in other threads are waited for."""
        self._orchestrator.close()
        self.engine.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _talk_for(self, approve: Approve, on_event: OnEvent | None) -> Talk:
        agreed = self._talk.approve if approve is AS_LAB else approve
        return Talk(agreed, on_event or self._talk.on_event)

    def _views(self) -> Views:
        return Views(self.catalog, self.engine, self.root)

    def _changed(self, intent: str, change: Any) -> RunResult:
        """A run of one change to the catalog, without a plan: it is over at once."""
        run = Run(
            id=new_id(), intent=intent, status="done", plan=Plan(actions=(), origin=Origin(intent=intent)).to_json()
        )
        draft: Draft = self.catalog.draft(run.id)
        change(draft)
        draft.commit(run.model_copy(update={"message": intent, "ended": now()}))
        return result_of(self.catalog, run.id)

    def _log(self, doc: QueryDoc, found: workload.Answer, saved: bool, freq: float | None) -> None:
        """Note a query's run. Of several processes that note theirs at once one comes first; the others try again."""
        for _ in range(20):
            entry = self.catalog.find("query", doc.name)
            if saved and entry:
                doc = QueryDoc.model_validate(entry.doc)
            try:
                doc = doc if freq is None else doc.model_copy(update={"freq": freq})
                logged = doc.logged(found.ms, found.rows.num_rows, found.layout)
                if not saved:
                    self._changed(f"save the query {doc.name}", lambda d, q=logged: d.put("query", q.name, q))
                else:
                    # Part of the run that saved the query, so that undoing it undoes the log, too.
                    first = entry.run.partition("-")[0] if entry else ""
                    draft = self.catalog.draft(f"{first}-{new_id('q')}")
                    draft.put("query", doc.name, logged)
                    draft.commit()
                return
            except Conflict:
                continue
