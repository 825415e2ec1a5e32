"""One suite for both engines: `pytest --engine spark` runs on Spark what runs on DuckDB without it.

A test asks for `open_engine`, or for `judged` if DuckDB's SQL makes its tables. Where Spark must differ, a test says
why: `@pytest.mark.differs("reason")`, which is strict, so that it fails when it is mended.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ibis
import pytest

from agentlab.engine import DuckDB, Engine, opened
from agentlab.entries import TableDoc

OpenEngine = Callable[[Path], Engine]
Judged = Callable[[Any, str], tuple[Any, ibis.Table]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", default="duckdb", help="duckdb, spark, local[2] or spark://host:port")


def pytest_configure(config: pytest.Config) -> None:
    # Compiling queries for speed costs more than tests of a few rows take.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    config.addinivalue_line("markers", "differs(reason): what Spark does otherwise than DuckDB, and why")
    config.addinivalue_line("markers", "million: compares the engines on a million rows; for `make test-spark`")
    config.addinivalue_line("markers", "smoke: of the tests on Spark, what `make test` runs, too")


def no_spark() -> str | None:
    """Why Spark can't run here; None if it can."""
    if importlib.util.find_spec("pyspark") is None:
        return "needs pyspark: pip install 'agentlab[spark]'"
    return None if shutil.which("java") or os.environ.get("JAVA_HOME") else "needs Java 17 or newer"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    on_spark = config.getoption("--engine") != "duckdb"
    missing = no_spark()
    for item in items:
        if on_spark and (marker := item.get_closest_marker("differs")):
            item.add_marker(pytest.mark.xfail(strict=True, reason=marker.args[0]))
        if missing and item.get_closest_marker("spark"):
            item.add_marker(pytest.mark.skip(reason=missing))
        elif item.get_closest_marker("spark") and not (on_spark or item.get_closest_marker("smoke")):
            item.add_marker(pytest.mark.skip(reason="compares Spark with DuckDB at length: make test-spark"))


@pytest.fixture(scope="session")
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--engine"))


@pytest.fixture(scope="session")
def open_engine(engine_name: str) -> OpenEngine:
    return lambda root: opened(engine_name, DuckDB(root))


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> Iterator[tuple[DuckDB, Engine]]:
    """DuckDB, and Spark, on the same folder."""
    duck = DuckDB(tmp_path_factory.mktemp("lab"))
    yield duck, opened("local[2]" if engine_name == "duckdb" else engine_name, duck)
    duck.close()


@pytest.fixture
def judged(tmp_path: Path, engine_name: str) -> Iterator[Judged]:
    """What judges a table of a DuckDB connection: that connection, or Spark, which reads a version with its rows."""
    duck = DuckDB(tmp_path / "judged")
    engine = opened(engine_name, duck)

    def version(con: Any, name: str) -> tuple[Any, ibis.Table]:
        table = con.table(name)
        if engine is duck:
            return SimpleNamespace(con=con), table
        path = f"tables/{ibis.util.gen_name('judged')}"
        written = duck.write(duck.memtable(con.to_pyarrow(table)), duck.root / path)
        return engine, engine.read(TableDoc(path=path, schema=written.schema, rows=written.rows), duck.root)

    yield version
    duck.close()
