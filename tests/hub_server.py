"""A hub on loopback with one checkpoint, `agentlab/tiny`: as much of the Hugging Face hub as loading a model needs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Hub(BaseHTTPRequestHandler):
    """Answers for the files of a folder; whatever else it is asked isn't there. No connection is kept open."""

    server: Any

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        repository, _, name = self.path.partition("/resolve/main/")
        file = self.server.folder / name
        here = repository == "/agentlab/tiny" and file.is_file()
        data = file.read_bytes() if here else b""
        self.server.asked.append((self.command, self.path))
        self.send_response(200 if here else 404)
        commit = {"X-Repo-Commit": "0" * 40, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        for header, value in (commit if here else {"X-Error-Code": "EntryNotFound"}).items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *told: object) -> None:
        pass


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Its address, and what it is asked."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked, server.daemon_threads = folder, [], True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
