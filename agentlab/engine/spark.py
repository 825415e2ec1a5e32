"""Spark, the engine of more than one machine: the same files, the same order of rows, the same results as DuckDB's.

A version that Spark wrote is several files, whose names give their order. A JVM runs one Spark for a process; each lab
has a session of its own in it. What Ibis's SQL for Spark would mean differently is in `sparksql.py`.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import warnings
from pathlib import Path

import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot as sg
from sqlglot import exp

from agentlab.actions import ColumnType
from agentlab.engine.base import DTYPES, Written, schema_of
from agentlab.engine.faults import explained
from agentlab.entries import TableDoc
from agentlab.errors import LabError
from agentlab.sparkforms import SPARK_TYPES

with warnings.catch_warnings():
    # pyspark 4.3 warns of pandas 3; Arrow carries all our data, so its pandas is never used.
    warnings.simplefilter("ignore")
    try:
        import pyspark
        from pyspark.sql import SparkSession

        from agentlab.engine.sparksql import Backend, placed
    except ImportError as fault:
        raise LabError("Spark needs pyspark; install it: pip install 'agentlab[spark]'") from fault

#: Of the JVM, and of the SQL that runs in it. DuckDB's meaning of moments, overflows and casts is the measure.
_CONTEXT = {
    "spark.app.name": "agentlab",
    "spark.driver.memory": "2g",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}
_SESSION = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # A union keeps the order of its parts only if Spark doesn't zip them.
    "spark.sql.unionOutputPartitioning": "false",
}

_STARTING = threading.Lock()


class Spark:
    """Spark as an engine for the lab at `root`; `master` is a local one or a cluster's, None whichever runs already.

    On a cluster the lab's folder must be one that every worker sees under the same path. LabError where it can't start.
    """

    def __init__(self, root: Path, master: str | None = None) -> None:
        self.root = root.resolve()
        self._session = _session(master, self.root / "tmp")
        for key, value in _SESSION.items():
            self._session.conf.set(key, value)
        cores = self._session.sparkContext.defaultParallelism
        self._session.conf.set("spark.sql.shuffle.partitions", str(max(2, cores)))
        # pyspark logs each failed query as JSON besides raising it.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
        self._con = Backend()
        self._con.do_connect(self._session)

    @property
    def con(self) -> Backend:
        """The Ibis backend on this lab's session."""
        return self._con

    def close(self) -> None:
        """Nothing to let go of: the JVM goes with the process, since it serves other labs, too."""

    def read(self, doc: TableDoc, root: Path) -> ibis.Table:
        """A version of a table; LabError if its files are gone."""
        path = (root / doc.path).resolve()
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not path.exists() or not files:
            raise LabError(f"the files of a table are gone: {doc.path}; undo to a version whose files are there")
        columns = doc.projection or [(column, column, None) for column in doc.schema_]
        stored = [column[1] for column in columns]
        chosen = [_projected(*column) for column in columns]
        query = sg.select(*chosen).from_(placed(files, stored).subquery("stored"))
        schema = ibis.schema({column: DTYPES[kind] for column, kind in doc.schema_.items()})
        return ops.SQLQueryResult(query.sql("spark"), schema, self._con).to_expr()

    def write(self, table: ibis.Table, path: Path) -> Written:
        """Compute the table and store it in the new folder `path`, whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        if path.exists() and any(path.iterdir()):
            raise LabError(f"{path.name} is written already, and versions don't change; write to a fresh path")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with explained():
                self._con.frame(_shaped(table)).write.parquet(f"file:{part}")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        files = _tidied(part)
        part.replace(path)
        return Written(schema_of(table), sum(rows for rows, _ in files), sum(size for _, size in files))

    def memtable(self, data: pa.Table) -> ibis.Table:
        """Arrow data as a table."""
        return ibis.memtable(data)


def _session(master: str | None, folder: Path) -> SparkSession:
    """A session of its own in this process's Spark, which starts with the first."""
    with _STARTING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running = pyspark.SparkContext._active_spark_context
        if running is None:
            running = _started(master or "local[*]", folder)
        elif master and running.master != master:
            raise LabError(f"this process runs Spark on {running.master} already; open {master} in another process")
        return SparkSession(running).newSession()


def _started(master: str, folder: Path) -> pyspark.SparkContext:
    from pyspark.java_gateway import launch_gateway

    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        raise LabError("Spark needs Java 17 or newer; install it (apt-get install openjdk-17-jre-headless)")
    settings = {"spark.master": master, **_CONTEXT}
    if master.startswith("local") or "://127.0.0.1:" in master:
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    conf = pyspark.SparkConf().setAll(list(settings.items()))
    folder.mkdir(parents=True, exist_ok=True)
    # What the JVM has to say goes to a file, so that a notebook stays quiet.
    with (folder / "spark.log").open("a") as log, explained():
        try:
            gateway = launch_gateway(conf, {"stdout": log, "stderr": log})
            return pyspark.SparkContext(gateway=gateway, conf=conf)
        except (pyspark.errors.PySparkException, OSError, RuntimeError) as fault:
            raise LabError(f"Spark can't start on {master}; the reason is in {log.name}") from fault


def _projected(name: str, stored: str, kind: ColumnType | None) -> exp.Expr:
    column = exp.column(stored, quoted=True)
    value = (
        exp.TryCast(this=column, to=exp.DataType.build(SPARK_TYPES[kind], dialect="spark"), safe=True)
        if kind
        else column
    )
    return exp.alias_(value, name, quoted=True)


def _shaped(table: ibis.Table) -> ibis.Table:
    """The table in our types: decimals as floats, nested data as JSON."""
    kinds = schema_of(table)
    unlike = {c: table[c].cast(DTYPES[kind]) for c, kind in kinds.items() if table.schema()[c] != DTYPES[kind]}
    return table.mutate(**unlike) if unlike else table


def _tidied(part: Path) -> list[tuple[int, int]]:
    """Remove what Spark leaves beside its files; of each file its rows and bytes."""
    for path in part.iterdir():
        if path.suffix != ".parquet" or path.name.startswith((".", "_")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [(pq.read_metadata(file).num_rows, file.stat().st_size) for file in part.iterdir()]
