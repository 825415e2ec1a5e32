"""What others see of a store outside the catalog, brought to what the catalog says: Delta logs, views, left copies.

Publishing writes rows where nobody looks, the commit of the run decides, and only then is the outside switched: here.
Whatever stops in between (a kill, a database that is away) leaves the outside as it was before the run, whole; the next
publish into the store, or the next opening of the lab, settles it. Settling reads the catalog's present state, so it is
the same for a commit and for an undo, and doing it twice, or in two processes, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agentlab.catalog import Catalog
from agentlab.entries import Entry
from agentlab.errors import AgentlabError
from agentlab.stores import buckets, delta, postgres
from agentlab.stores.base import StoreDoc


def settle(catalog: Catalog, stores: Iterable[str] | None = None) -> list[str]:
    """Bring the outside of these stores up to date, or of all that aren't; a line for each that can't be now.

    Nothing is raised: the catalog is right in any case, and the outside follows when it can.
    """
    named = _every(catalog) if stores is None else dict.fromkeys(stores)
    return [fault for name in named if (fault := _settled(catalog, name, again=stores is not None))]


def tidy(catalog: Catalog, name: str) -> list[str]:
    """Remove the copies of a store outside the lab that no document names, of this lab's runs that have ended.

    Documents of other stores count, too: one that was dropped may have been in the same place.
    """
    store = _latest(catalog.history("store", name))
    if store is None or not (store.remote or store.format == "postgres"):
        return []
    written = _written(catalog.root, store)
    ended = [path for path, run in written.items() if _over(catalog, run)]
    # Read last: what a run has committed that ended meanwhile is among them.
    named = _named(catalog)
    left = [path for path in ended if path not in named]
    for path in left:
        if store.remote:
            buckets.remove(path)
        else:
            postgres.remove(catalog.root, store, path)
    return left


def _settled(catalog: Catalog, name: str, again: bool) -> str | None:
    """Settle one store until its head stays what was settled; what keeps it from being settled, in words."""
    try:
        while True:
            entry = catalog.find("store", name)
            n = entry.n if entry else 0
            if not again and _mark(catalog.root, name) == str(n):
                return None
            _bring(catalog, name, entry)
            head = catalog.find("store", name)
            if (head.n if head else 0) == n:
                _note(catalog.root, name, n)
                return None
    except AgentlabError as fault:
        return f"what others see of store {name} isn't up to date yet: {fault}"


def _bring(catalog: Catalog, name: str, entry: Entry | None) -> None:
    history = catalog.history("store", name)
    tables = sorted({table for doc in map(_doc, history) for table in doc.tables})
    # A name may have had several places over time; each shows the present tables, or none.
    for place in {(d.format, d.location): d for d in map(_doc, history) if d.outside}.values():
        present = _doc(entry) if entry else None
        same = present is not None and (present.format, present.location) == (place.format, place.location)
        _show(catalog.root, present if present and same else place.model_copy(update={"tables": {}}), tables)
        if entry is None and place.remote and not tables:
            buckets.remove_empty(place.location)


def _show(root: Path, store: StoreDoc, tables: list[str]) -> None:
    if store.format == "postgres":
        postgres.settle(root, store, tables)
    elif store.format == "delta":
        for table in tables:
            delta.settle(root, store, table)


def _written(root: Path, store: StoreDoc) -> dict[str, str]:
    """Each copy outside that there is, with the run that wrote it."""
    if store.format == "postgres":
        return postgres.written(root, store)
    above = [f"{store.location}/{table}" for table in buckets.names(store.location)]
    found = {f"{table}/{name}": name.partition(".")[0] for table in above for name in buckets.names(table)}
    return {path: run for path, run in found.items() if not run.startswith("_")}


def _over(catalog: Catalog, run: str) -> bool:
    """Whether a run is one of this lab's and has ended; another lab may share the place."""
    rows = catalog.database.query("SELECT json_extract(doc, '$.status') AS status FROM runs WHERE id = ?", run)
    return bool(rows) and rows[0]["status"] not in ("planned", "running", "approval")


def _every(catalog: Catalog) -> list[str]:
    sql = "SELECT DISTINCT name FROM versions WHERE kind = 'store' ORDER BY name"
    names = [row["name"] for row in catalog.database.query(sql)]
    return [name for name in names if any(_doc(entry).outside for entry in catalog.history("store", name))]


def _named(catalog: Catalog) -> set[str]:
    """Every copy that a document of any store names, current or not."""
    rows = catalog.database.query("SELECT doc FROM versions WHERE kind = 'store'")
    docs = [StoreDoc.model_validate_json(row["doc"]) for row in rows]
    return {part.path for doc in docs for table in doc.tables.values() for part in table.parts}


def _latest(history: list[Entry]) -> StoreDoc | None:
    return _doc(history[-1]) if history else None


def _doc(entry: Entry) -> StoreDoc:
    return StoreDoc.model_validate(entry.doc)


def _mark(root: Path, name: str) -> str:
    path = root / "stores" / f".{name}.settled"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _note(root: Path, name: str, n: int) -> None:
    path = root / "stores" / f".{name}.settled"
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(n), encoding="utf-8")
