"""A Spark cluster on loopback, from the pip package: a standalone master and one worker, for as long as a command runs.

python tests/spark_cluster.py python -m pytest tests/test_spark.py --engine {master}
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyspark.find_spark_home import _find_spark_home

#: In seconds, on a busy machine.
PATIENCE = 180


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The master's URL; what goes wrong is in the logs in `folder`."""
    port, page, other = (free_port() for _ in range(3))
    master = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        there = ("--host", "127.0.0.1")
        stack.enter_context(
            started(folder / "master.log", "master.Master", *there, "--port", str(port), "--webui-port", str(page))
        )
        answers(port)
        worker = ("--cores", "2", "--memory", "2g", "--webui-port", str(other), "--work-dir", str(folder / "work"))
        stack.enter_context(started(folder / "worker.log", "worker.Worker", *there, *worker, master))
        registered(folder / "worker.log")
        yield master


@contextmanager
def started(log: Path, name: str, *arguments: str) -> Iterator[None]:
    command = [str(Path(_find_spark_home()) / "bin/spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "512m"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nothing listens on port {port}")


def registered(log: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if "Successfully registered with master" in log.read_text():
            return
        time.sleep(0.5)
    raise TimeoutError(f"the worker didn't register: {log.read_text()[-2000:]}")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as master:
        print(f"Spark's master is {master}", flush=True)
        return subprocess.run([part.format(master=master) for part in sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
