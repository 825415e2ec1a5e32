"""Pull a long list from an API on loopback into a table, against dlt: seconds and peak memory, each in its own process.

    python tests/benchmarks/pull.py --rows 1000000

The server is a process of its own and sends pages that were made before. Both sides go by the same cursor, both leave a
table that can be queried: a lab's, by a whole run with its commit; a DuckDB file's, by dlt's `rest_api` source with
`replace`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


def row(n: int) -> dict[str, Any]:
    """An order as shops send them: numbers, texts, a time, a flag, something missing, an object."""
    return {
        "order_id": n,
        "order_date": f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:{n % 60:02}:00Z",
        "customer": {"id": f"C-{n % 5000:05}", "name": f"Customer {n % 5000}", "city": ("Rome", "Oslo", "Lyon")[n % 3]},
        "email": f"c{n % 5000}@example.com" if n % 50 else None,
        "quantity": n % 9 + 1,
        "unit_price": round(n % 9973 / 7, 2),
        "paid": n % 3 == 0,
        "status": ("open", "sent", "returned")[n % 3],
    }


# The server


def serve(rows: int, size: int) -> None:
    """Make the pages, say the address, and send them until stdin is closed."""
    pages = []
    for start in range(0, rows, size):
        following = str(start + size) if start + size < rows else None
        items = [row(n) for n in range(start, min(start + size, rows))]
        pages.append(json.dumps({"items": items, "next_cursor": following}).encode())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            content = pages[int(query.get("cursor", ["0"])[0]) // size]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


@contextmanager
def served(rows: int, size: int) -> Iterator[str]:
    """The address of a server process with so many rows."""
    command = [sys.executable, __file__, "--part", "server", "--rows", str(rows), "--page", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


# The two sides, each in a process of its own


def ours(url: str, size: int, folder: Path) -> Callable[[], int]:
    """A lab's run: pull, check, commit. What is imported and opened first isn't measured on either side."""
    from agentlab.lab import Lab
    from agentlab.models import Scripted
    from agentlab.plan import Plan

    call = {"name": "pull", "arguments": {"source": "api", "resource": "orders", "into": "staging.orders"}}
    lab = Lab(folder / "lab", Scripted({}))
    lab.add_source("api", url=url, resources={"orders": {"path": "/orders", "page_size": size}})

    def run() -> int:
        result = lab.run(Plan.from_calls([call]))
        assert result.status == "done", result.message
        return lab.tables()["staging.orders"].rows

    return run


def dlts(url: str, size: int, folder: Path) -> Callable[[], int]:
    """dlt's own REST source into a DuckDB file, as its documentation does it."""
    import dlt
    import duckdb
    from dlt.sources.rest_api import rest_api_source

    paginator = {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "cursor"}
    endpoint = {"path": "orders", "params": {"limit": size}, "data_selector": "items", "paginator": paginator}
    orders = {"name": "orders", "write_disposition": "replace", "endpoint": endpoint}
    source = rest_api_source({"client": {"base_url": f"{url}/"}, "resources": [orders]})
    file = folder / "dlt.duckdb"
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.duckdb(str(file)), pipelines_dir=str(folder / "dlt"))

    def run() -> int:
        pipeline.run(source)
        with duckdb.connect(str(file)) as con:
            counted = f"SELECT count(*) FROM {pipeline.dataset_name}.orders"
            (found,) = con.execute(counted).fetchone() or (0,)
        return int(found)

    return run


def child(part: str, url: str, size: int, rows: int) -> None:
    """Do one side and say its seconds, of the clock and of processors, and its greatest memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        run = (ours if part == "ours" else dlts)(url, size, Path(folder))
        begun, busy = time.perf_counter(), time.process_time()
        found = run()
        seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    assert found == rows, f"{part} has {found} of {rows} rows"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "busy": busy, "peak_mb": peak}))


def measured(part: str, url: str, size: int, rows: int) -> dict[str, float]:
    """What a side's process says of itself."""
    command = [sys.executable, __file__, "--part", part, "--url", url, "--rows", str(rows), "--page", str(size)]
    quiet = {**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=quiet)
    told: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    took = f"{told['seconds']:>7.1f} s  {told['busy']:>7.1f} s of processors"
    print(f"{part:>5}  {rows:>9,} rows  {took}  {told['peak_mb']:>7.0f} MB at most", flush=True)
    return told


def compare(rows: int, size: int, rounds: int) -> dict[str, float]:
    """Both sides in turn, `rounds` times, and ours with a tenth of the rows; medians."""
    with served(rows // 10, size) as url:
        little = measured("ours", url, size, rows // 10)
    with served(rows, size) as url:
        pairs = [(measured("ours", url, size, rows), measured("dlt", url, size, rows)) for _ in range(rounds)]
    return {
        "rows": rows,
        "pull_seconds": statistics.median(one["seconds"] for one, _ in pairs),
        "dlt_seconds": statistics.median(other["seconds"] for _, other in pairs),
        "pull_vs_dlt": statistics.median(other["seconds"] / one["seconds"] for one, other in pairs),
        "pull_vs_dlt_by_processors": statistics.median(other["busy"] / one["busy"] for one, other in pairs),
        "pull_peak_mb": max(one["peak_mb"] for one, _ in pairs),
        "dlt_peak_mb": max(other["peak_mb"] for _, other in pairs),
        "pull_peak_mb_of_a_tenth": little["peak_mb"],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--page", type=int, default=5_000, help="rows in a page")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--part", choices=["server", "ours", "dlt"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "server":
        return serve(given.rows, given.page)
    if given.part:
        return child(given.part, given.url, given.page, given.rows)
    found = compare(given.rows, given.page, given.rounds)
    print(f"{found['pull_vs_dlt']:.1f} times as fast as dlt")
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()
