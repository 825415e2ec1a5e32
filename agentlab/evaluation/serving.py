"""The outside of a case, for real: a REST API on loopback that answers in pages, and a private Postgres."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from agentlab.engine import schema_of

#: Rows in a page: few, so that a case needs several pages.
PAGE = 4
#: Larger lists come in larger pages, so that a case has at most about so many.
PAGES = 20


@contextmanager
def served(resources: Mapping[str, pa.Table]) -> Iterator[dict[str, Any]]:
    """The settings of a source whose resources these are, while they are served: `{"url", "resources"}`."""
    rows = {name: [_plain(row) for row in table.to_pylist()] for name, table in resources.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, rows)

        def log_message(self, format: str, *told: Any) -> None:
            """Nothing: a case says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        described = {name: described_as(name, table) for name, table in resources.items()}
        yield {"url": f"http://127.0.0.1:{server.server_address[1]}", "resources": described}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def described_as(name: str, table: pa.Table) -> dict[str, Any]:
    """How a resource is registered: its path, its page size, its types, and its time column if it has one."""
    schema = schema_of_arrow(table)
    times = [column for column, kind in schema.items() if kind in ("date", "timestamp")]
    size = max(PAGE, -(-len(table) // PAGES))
    return {"path": f"/{name}", "page_size": size, "schema": schema, "time_column": times[0] if times else None}


def schema_of_arrow(table: pa.Table) -> dict[str, str]:
    """The types of Arrow data, in ours."""
    import ibis

    return {column: str(kind) for column, kind in schema_of(ibis.memtable(table)).items()}


def _answer(request: BaseHTTPRequestHandler, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    asked = urlsplit(request.path)
    given = {key: values[-1] for key, values in parse_qs(asked.query).items()}
    found = rows.get(asked.path.strip("/"))
    if found is None:
        _send(request, 404, {"error": {"message": f"no list {asked.path}"}})
        return
    start, most = int(given.get("cursor", 0)), int(given.get("limit", PAGE))
    end = start + most
    _send(request, 200, {"items": found[start:end], "next_cursor": str(end) if end < len(found) else None})


def _send(request: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    data = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, date | datetime | time) else _number(value)
        for key, value in row.items()
    }


def _number(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str | list | dict) else str(value)
