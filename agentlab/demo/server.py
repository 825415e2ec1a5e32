"""Run the sales API as a process of its own, and end it surely: on leaving, at exit, and when this process dies."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.request import ProxyHandler, build_opener

from agentlab.errors import LabError

TOKEN_VARIABLE = "AGENTLAB_DEMO_TOKEN"  # noqa: S105 (a variable's name)
GUEST_VARIABLE = "AGENTLAB_DEMO_GUEST_TOKEN"
START_SECONDS = 60.0


class SalesAPI:
    """A running server: `url`, `token` (reads everything), `guest_token` (the products only).

    Use it in a `with`, or call `stop()`.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, token: str, guest_token: str) -> None:
        self.url, self.token, self.guest_token = url, token, guest_token
        self.pid = process.pid
        self._end = weakref.finalize(self, _end, process)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stats(self) -> dict[str, Any]:
        """The server's own counters: `requests`, `answers` by path and status, `pages` sent and how often."""
        found: dict[str, Any] = _get(f"{self.url}/stats", self.token)
        return found

    def source(self, *, token_env: str | None = None, token_file: str | None = None) -> dict[str, Any]:
        """The document by which a lab registers this server as a source; say where the token is to be found."""
        orders = {"path": "/orders", "order": "order", "since": "since", "until": "until", "time_column": "order_date"}
        resources = {"orders": orders, "customers": {"path": "/customers"}, "products": {"path": "/products"}}
        where = {"token_env": token_env, "token_file": token_file}
        return {"kind": "rest", "url": self.url, "resources": resources, **{k: v for k, v in where.items() if v}}

    def stop(self) -> None:
        """End the server; a second call does nothing."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    port: int = 0,
    token: str | None = None,
    *,
    rows: int = 12_000,
    seed: int = 7,
    throttle_every: int = 9,
    fail_every: int = 13,
    retry_after: int = 1,
) -> SalesAPI:
    """Start the sales API on loopback and wait until it answers; port 0 takes any free one, no token makes one.

    Every `throttle_every`th request gets a 429 that asks to wait `retry_after` seconds, every `fail_every`th a 500;
    0 for never. A port in use, a missing extra or a server that doesn't come up is a LabError.
    """
    token, guest = token or secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    options = {"port": port, "rows": rows, "seed": seed, "throttle-every": throttle_every, "fail-every": fail_every}
    options["retry-after"] = retry_after
    with tempfile.TemporaryFile() as log:
        process = _launch([f"--{name}={value}" for name, value in options.items()], token, guest, log)
        try:
            url = _first_words(process, log)
            _get(f"{url}/health", token)
        except BaseException:
            _end(process)
            raise
    return SalesAPI(process, url, token, guest)


def listen(port: int) -> socket.socket:
    """A socket that listens on loopback; a port in use or out of range is a LabError that names it."""
    if not 0 <= port <= 65_535:
        raise LabError(f"{port} is no port; choose 1 to 65535, or 0 for any free one")
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as fault:
        why = "is in use" if fault.errno == errno.EADDRINUSE else f"can't be opened ({fault.strerror})"
        remedy = "choose another, 0 for any free one, or end the program that holds it"
        raise LabError(f"port {port} on 127.0.0.1 {why}; {remedy}") from fault


def _launch(options: list[str], token: str, guest: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    # The tokens go by the environment: a command line can be read by every user of the machine.
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, TOKEN_VARIABLE: token, GUEST_VARIABLE: guest}
    return subprocess.Popen(  # noqa: S603 (our own interpreter, our own arguments)
        [sys.executable, "-m", "agentlab.demo", "--child", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        # Interrupting a notebook's cell signals the whole process group; the server must outlive that.
        start_new_session=True,
    )


def _first_words(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    assert process.stdout is not None
    late = threading.Timer(START_SECONDS, process.kill)
    late.start()
    try:
        said = process.stdout.readline()
    finally:
        late.cancel()
    words: dict[str, str] = json.loads(said) if said.startswith(b"{") else {}
    if "url" not in words:
        raise LabError(f"the demo server didn't start: {words.get('error') or _tail(log)}")
    return words["url"]


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it said nothing within {START_SECONDS:g} s"


def _get(url: str, token: str) -> Any:
    # Never through a proxy: the server is on loopback.
    opener = build_opener(ProxyHandler({}))
    opener.addheaders = [("Authorization", f"Bearer {token}")]
    try:
        with opener.open(url, timeout=START_SECONDS) as answer:
            return json.load(answer)
    except OSError as fault:
        raise LabError(f"the demo server at {url} doesn't answer: {fault}") from fault


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closing its stdin asks the server to end; if it doesn't within five seconds it is killed."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
