"""A model behind an OpenAI-compatible API on loopback, which replays plans by intent: for processes of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Calls = Sequence[Mapping[str, Any]]


@contextmanager
def served(plans: Mapping[str, Calls]) -> Iterator[str]:
    """Its URL, as `--model` takes it, for as long as the `with` lasts."""

    class Replaying(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = asked["messages"][-1]["content"]
            calls = next((calls for intent, calls in plans.items() if intent in said), ())
            tools = [{"function": {"name": c["name"], "arguments": json.dumps(c["arguments"])}} for c in calls]
            body = json.dumps({"choices": [{"message": {"tool_calls": tools}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *told: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Replaying)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#replayed"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
