"""Expectations about speed: layouts, limits, what got faster with the same results, and what a diagnosis names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from agentlab import results, workload
from agentlab.acting.optimization import Views
from agentlab.errors import unknown
from agentlab.evaluation.ended import Ended
from agentlab.evaluation.expectations import holds
from agentlab.evaluation.form import Expectation, Json, LayoutSaid, LimitSaid
from agentlab.layouts import LayoutDoc
from agentlab.workload import QueryDoc


@holds("layout")
def layout(said: Expectation, ended: Ended) -> Iterator[str]:
    """There is such a layout; only what is given is compared."""
    wanted, found = said.layout or LayoutSaid(), ended.docs("layout")
    if not any(_is_layout(doc, wanted) for doc in found.values()):
        told = "; ".join(f"{name}: {doc['kind']} of {doc['table']} {doc['columns']}" for name, doc in found.items())
        yield f"no such layout; there is {told or 'none'}: {' '.join(ended.result.message.split())[:300]}"


@holds("no_layout")
def no_layout(said: Expectation, ended: Ended) -> Iterator[str]:
    """There is no such layout."""
    for name, doc in ended.docs("layout").items():
        if _is_layout(doc, said.no_layout or LayoutSaid()):
            yield f"there is {name}: {doc['kind']} of {doc['table']} {doc['columns']}"


def _is_layout(doc: Json, wanted: LayoutSaid) -> bool:
    named = {"table": wanted.table, "columns": wanted.columns, "name": wanted.name, "query": wanted.query}
    fits = all(value is None or doc.get(key) == value for key, value in named.items())
    return fits and (wanted.kind is None or doc["kind"] in wanted.kind.split("|"))


@holds("limit")
def limit(said: Expectation, ended: Ended) -> Iterator[str]:
    """A source may be read so fast and no faster."""
    wanted, found = said.limit or LimitSaid(), ended.docs("limit")
    if not any(_is_limit(name, doc, wanted) for name, doc in found.items()):
        yield f"no such limit; there are: {found or 'none'}"


@holds("no_limit")
def no_limit(said: Expectation, ended: Ended) -> Iterator[str]:
    """No such limit is set."""
    for name, doc in ended.docs("limit").items():
        if _is_limit(name, doc, said.no_limit or LimitSaid()):
            yield f"there is one on {name}: {doc}"


def _is_limit(name: str, doc: Json, wanted: LimitSaid) -> bool:
    given = wanted.model_dump(exclude_none=True)
    told = {"source": name, **doc}
    return all(told.get(key) == value for key, value in given.items())


@holds("faster")
def faster(said: Expectation, ended: Ended) -> Iterator[str]:
    """The query got faster, by the run's own paired measurements: a layout was kept for it."""
    name = said.faster.query if said.faster else ""
    queries = ended.docs("query")
    if name not in queries:
        yield unknown("query", name, queries)
        return
    sql = workload.check(queries[name]["sql"], ended.views).sql
    kept = [LayoutDoc.model_validate(doc) for doc in ended.made("layout").values()]
    if not any(sql in layout.faster and layout.gain > 1 for layout in kept):
        told = ", ".join(f"{layout.name} (for {layout.query})" for layout in kept)
        yield f"no layout was kept for it, but {told or 'none'}: {' '.join(ended.result.message.split())[:300]}"


@holds("same_results")
def same_results(said: Expectation, ended: Ended) -> Iterator[str]:
    """Every logged query returns the rows that it returned before the run, by whatever layout answers it now."""
    layouts = [LayoutDoc.model_validate(doc) for doc in ended.docs("layout").values()]
    for name, doc in ended.docs("query").items():
        sql = QueryDoc.model_validate(doc).sql
        before = _answer(ended, sql, ended.past, [])
        if difference := results.difference(before, _answer(ended, sql, ended.views, layouts)):
            yield f"{name}: {difference}"


def _answer(ended: Ended, sql: str, views: Views, layouts: list[LayoutDoc]) -> pa.Table:
    query = workload.check(sql, views)
    return workload.answer(ended.lab.engine, query, views, layouts, views.versions, root=ended.lab.root).rows


@holds("slowest")
def slowest(said: Expectation, ended: Ended) -> Iterator[str]:
    """The diagnosis names the query: it is the one that it measured as the slowest, or as the one that takes most."""
    measured = {name: _times(doc) for name, doc in ended.result.reports.items() if doc.get("kind") == "diagnosis"}
    queries = {str(doc["query"]): doc for doc in measured.values()}
    if said.slowest not in queries:
        yield unknown("query", str(said.slowest), queries, "among those that were diagnosed")
        return
    asked = {query.name: query.freq for query in ended.state.workload}
    alone = max(queries, key=lambda name: float(queries[name]["ms"]))
    in_all = max(queries, key=lambda name: float(queries[name]["ms"]) * asked.get(name, 1))
    if said.slowest not in (alone, in_all):
        yield f"{alone} is the slowest, and {in_all} takes most time in all"


def _times(report: Mapping[str, Json]) -> Json:
    return report["diagnosis"]
