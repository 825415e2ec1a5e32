"""One suite for both engines: `pytest --engine spark` runs on Spark what runs on DuckDB without it.

A test asks for `open_engine`. Where Spark must differ, a test says why: `@pytest.mark.differs("reason")`, which is
strict, so that it fails when it is mended.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentlab.engine import DuckDB, Engine, opened

OpenEngine = Callable[[Path], Engine]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", default="duckdb", help="duckdb, spark, local[2] or spark://host:port")


def pytest_configure(config: pytest.Config) -> None:
    # Compiling queries for speed costs more than tests of a few rows take.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    config.addinivalue_line("markers", "differs(reason): what Spark does otherwise than DuckDB, and why")
    config.addinivalue_line("markers", "million: compares the engines on a million rows; for `make test-spark`")


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
        if item.get_closest_marker("million") and not on_spark:
            item.add_marker(pytest.mark.skip(reason="a million rows on two engines: make test-spark"))


@pytest.fixture(scope="session")
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--engine"))


@pytest.fixture(scope="session")
def open_engine(engine_name: str) -> OpenEngine:
    return lambda root: opened(engine_name, DuckDB(root))
