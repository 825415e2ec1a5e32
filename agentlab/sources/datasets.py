"""Hugging Face data sets as sources: from the notebook, from a folder, from files, or from the hub by its name.

A split is a resource. One handed over from a notebook is kept in the lab as Parquet, named by its content. No code
that comes with a data set is run: `datasets` itself doesn't any more, and nothing here asks it to.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentlab.actions.base import Schema
from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError, PlanError
from agentlab.sources.arrow import fitted, kinds_of, schema_for
from agentlab.sources.base import (
    DatasetResource,
    DatasetSource,
    Progress,
    Span,
    arrange,
    inside,
    only_time,
    resource_of,
    secret_of,
)
from agentlab.sources.fetched import Fetched
from agentlab.sources.pacing import Pace, paced

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 50_000
_INSTALL = "Hugging Face data sets need their library: pip install datasets"
_FILES = ("csv", "json", "parquet", "text")


def save_dataset(root: Path, name: str, dataset: Any, time_column: str | None = None) -> DatasetSource:
    """Keep a `datasets.Dataset`, or a `DatasetDict` of several, in the lab; each split is a resource.

    A single one is called as the source. LabError for what is neither, and for a time column that isn't there.
    """
    library = _library()
    if not isinstance(dataset, library.Dataset | library.DatasetDict):
        raise LabError(f"a data set is a datasets.Dataset or DatasetDict, not a {type(dataset).__name__}")
    splits = dataset if isinstance(dataset, library.DatasetDict) else {name: dataset}
    if not splits:
        raise LabError("the data set has no split; there is nothing to register")
    return DatasetSource(resources={str(split): _kept(root, name, d, time_column) for split, d in splits.items()})


def discovered(source: DatasetSource, root: Path) -> DatasetSource:
    """The source with its splits and their columns; those that it names keep what is said of them."""
    if source.path is None:
        raise LabError("a data set needs a path: a folder, a name on the hub, or csv, json, parquet, text for files")
    with _loaded(source, root) as splits:
        named = source.resources or {split: DatasetResource(split=split) for split in splits}
        resources = {name: _known(name, resource, splits) for name, resource in named.items()}
    return source.model_copy(update={"resources": resources})


def fetch(source: DatasetSource, action: Pull, root: Path, progress: Progress | None, pace: Pace) -> Fetched:
    """See `agentlab.sources.fetch`."""
    resource = resource_of(source.resources, action)
    Span.of(action)
    kinds: Schema = resource.schema_ or {}
    if action.order and resource.time_column is None:
        raise PlanError(f"{action.source}.{action.resource} has no time column; leave order out")
    rows = _rows(source, resource, root, kinds)
    batches = paced(_arranged(rows, action, resource.time_column, progress), pace)
    sort = (resource.time_column, action.order) if action.order and resource.time_column else None
    return Fetched(schema_for(kinds), batches, sort=sort)


def describe(source: DatasetSource, name: str, root: Path) -> dict[str, dict[str, Any]]:
    """See `agentlab.sources.describe`."""
    return {
        resource: {
            **{"paging": "whole", "time_column": doc.time_column, "key": list(doc.key)},
            **{"schema": doc.schema_, "columns": doc.schema_},
        }
        for resource, doc in source.resources.items()
    }


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise LabError(_INSTALL) from None
    return datasets


def _kept(root: Path, name: str, dataset: Dataset, time_column: str | None) -> DatasetResource:
    kinds = kinds_of(dataset.features.arrow_schema)
    _check_time(time_column, kinds, name)
    folder = root / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.{os.getpid()}.part"
    schema = schema_for(kinds)
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for batch in fitted(_arrow(dataset), kinds):
            writer.write_batch(batch)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    path = f"sources/{name}-{digest}.parquet"
    part.replace(root / path)
    return DatasetResource(path=path, time_column=time_column or only_time(kinds), schema_=kinds)


def _arrow(dataset: Dataset) -> Iterator[pa.RecordBatch]:
    for table in dataset.with_format("arrow").iter(batch_size=_BATCH):
        yield from table.combine_chunks().to_batches()


def _known(name: str, resource: DatasetResource, splits: Mapping[str, Dataset]) -> DatasetResource:
    split = resource.split or name
    if split not in splits:
        raise LabError(f"the data set has no split {split!r}; it has {', '.join(splits)}")
    kinds = kinds_of(splits[split].features.arrow_schema)
    _check_time(resource.time_column, kinds, name)
    time = resource.time_column or only_time(kinds)
    return resource.model_copy(update={"split": split, "time_column": time, "schema_": kinds})


def _check_time(column: str | None, kinds: Schema, where: str) -> None:
    if column is not None and kinds.get(column) not in ("date", "timestamp"):
        raise LabError(f"time column {column!r} is no column of times in {where}; there are: {', '.join(kinds)}")


def _rows(source: DatasetSource, resource: DatasetResource, root: Path, kinds: Schema) -> Iterator[pa.RecordBatch]:
    if resource.path is not None:
        path = inside(root, resource.path)
        try:
            yield from pq.ParquetFile(path).iter_batches(_BATCH)
        except (OSError, pa.ArrowException) as fault:
            raise LabError(f"{resource.path}, a data set's rows, can't be read: {fault}. Register it again") from None
        return
    with _loaded(source, root) as splits:
        if (dataset := splits.get(resource.split or "")) is None:
            raise LabError(f"the data set has no split {resource.split!r} any more; it has {', '.join(splits)}")
        if (found := kinds_of(dataset.features.arrow_schema)) != kinds:
            raise LabError(f"the data set's columns have changed to {', '.join(found)}; register the source again")
        yield from fitted(_arrow(dataset), kinds)


def _arranged(
    batches: Iterable[pa.RecordBatch], action: Pull, time: str | None, progress: Progress | None
) -> Iterator[pa.RecordBatch]:
    """The rows in the span of time, and no more than asked for where nothing is left for the caller to do."""
    most = action.limit if not action.where and not action.order else None
    spanned, rows = action.model_copy(update={"order": None, "limit": None}), 0
    for number, batch in enumerate(batches, 1):
        table = arrange(pa.Table.from_batches([batch]), spanned, time)
        table = table.slice(0, most - rows) if most is not None else table
        rows += len(table)
        if progress:
            progress(rows, number, 0)
        yield from table.combine_chunks().to_batches()
        if most is not None and rows >= most:
            return


@contextmanager
def _loaded(source: DatasetSource, root: Path) -> Iterator[Mapping[str, Dataset]]:
    """Its splits by name; LabError where it can't be loaded."""
    library = _library()
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / "tmp", prefix="datasets-") as cache, _quiet(library):
        try:
            found = _load(library, source, root, cache)
        except LabError:
            raise
        except Exception as fault:
            # It fails with errors of a dozen libraries: of the hub, of fsspec, of pandas, of Arrow.
            raise LabError(f"the data set {source.path!r} can't be loaded: {_told(fault)}") from None
        yield found if isinstance(found, library.DatasetDict) else {str(found.split or "train"): found}


def _load(library: Any, source: DatasetSource, root: Path, cache: str) -> Any:
    path = source.path or ""
    if path in _FILES:
        files = [str(_local(root, name)) for name in source.data_files]
        if not files:
            raise LabError(f"a data set of {path} files needs data_files, the paths of the files")
        return library.load_dataset(path, source.name, data_files=files, cache_dir=cache)
    if (folder := _local(root, path)).is_dir():
        return library.load_from_disk(str(folder))
    given = {"data_files": list(source.data_files) or None, "token": secret_of(root, source)}
    return library.load_dataset(path, source.name, revision=source.revision, **given)


def _local(root: Path, path: str) -> Path:
    return Path(path) if Path(path).is_absolute() else inside(root, path)


def _told(fault: Exception) -> str:
    return f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without progress bars; they are on again afterwards, if they were on before."""
    were_on = not library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if were_on:
            library.enable_progress_bars()
