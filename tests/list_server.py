"""A real API on loopback that gives a list in every way of paging, counts what it was asked, and can misbehave."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

Row = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]


class Api:
    """`rows` in pages of at most `most`. `asked` counts questions by path and query, `answers` by status.

    `before` may answer in place of the list: it is given the path, the parameters and the headers.
    """

    def __init__(self, rows: list[Row], most: int = 10) -> None:
        self.rows, self.most = rows, most
        self.asked: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.times: list[float] = []
        self.open = self.most_open = 0
        self.grants = 0
        self.life = 3600.0
        self.secret = "s3cret"
        self.tokens: dict[str, float] = {}
        self.url = ""
        self.total = True
        self.slow = 0.0
        self.before: Callable[[str, dict[str, str], dict[str, str]], Answer | None] = lambda *_: None
        self.lock = threading.Lock()

    def pages(self) -> list[str]:
        """The questions for data, each as often as it was asked."""
        return sorted(self.asked.elements())

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        size = min(int(query.get("limit", self.most)), self.most)
        return self.before(path, query, headers) or getattr(self, path.strip("/"))(query, size)

    def whole(self, query: dict[str, str], size: int) -> Answer:
        return 200, {}, self.rows

    def cursor(self, query: dict[str, str], size: int) -> Answer:
        at = int(query.get("cursor", "0"))
        rows = [row for row in self.rows if "since" not in query or row["at"] >= query["since"]]
        more = str(at + size) if at + size < len(rows) else None
        return 200, {}, {"items": rows[at : at + size], "next_cursor": more}

    def page(self, query: dict[str, str], size: int) -> Answer:
        at = (int(query["page"]) - 1) * size
        pages = -(-len(self.rows) // size)
        told = {"meta": {"total": len(self.rows), "pages": pages}} if self.total else {}
        return 200, {}, {"items": self.rows[at : at + size], **told}

    def offset(self, query: dict[str, str], size: int) -> Answer:
        at = int(query["offset"])
        return 200, {"X-Total-Count": str(len(self.rows))} if self.total else {}, self.rows[at : at + size]

    def link(self, query: dict[str, str], size: int) -> Answer:
        at = int(query.get("at", "0"))
        there = f'<{self.url}/link?at={at + size}&limit={size}>; rel="next", <{self.url}/link>; rel="first"'
        return 200, {"Link": there} if at + size < len(self.rows) else {}, self.rows[at : at + size]

    def next_url(self, query: dict[str, str], size: int) -> Answer:
        at = int(query.get("at", "0"))
        there = f"/next_url?at={at + size}&limit={size}" if at + size < len(self.rows) else None
        return 200, {}, {"items": self.rows[at : at + size], "next": there}

    def grant(self, headers: dict[str, str], form: dict[str, str]) -> Answer:
        """The token endpoint of OAuth2's client credentials: `lab` and the secret, in the header or the form."""
        self.grants += 1
        encoded = headers.get("authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(encoded).decode().partition(":")
        told = (unquote_plus(user), unquote_plus(password)) == ("lab", self.secret)
        if not (told or (form.get("client_id"), form.get("client_secret")) == ("lab", self.secret)):
            return 401, {}, {"error": "invalid_client", "error_description": f"no client with {form or headers}"}
        token = f"token-{self.grants}-of-tests"
        self.tokens[token] = time.monotonic() + self.life
        return 200, {}, {"access_token": token, "token_type": "Bearer", "expires_in": self.life}

    def wants_token(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer | None:
        """As `before`: only who has a token that hasn't expired gets the list."""
        token = headers.get("authorization", "").removeprefix("Bearer ")
        return None if self.tokens.get(token, 0.0) > time.monotonic() else (401, {}, {"error": "the token has expired"})


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    """The API on a free port of loopback, at `api.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with api.lock:
                api.open += 1
                api.most_open = max(api.most_open, api.open)
                api.times.append(time.monotonic())
                api.asked[self.path] += 1
            time.sleep(api.slow)
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            answer = api.answer(parts.path, query, {name.lower(): value for name, value in self.headers.items()})
            with api.lock:
                api.open -= 1
                api.answers[answer[0]] += 1
            self._send(*answer)

        def do_POST(self) -> None:
            said = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[-1] for name, values in parse_qs(said).items()}
            self._send(*api.grant({name.lower(): value for name, value in self.headers.items()}, form))

        def _send(self, status: int, headers: dict[str, str], body: Any) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
