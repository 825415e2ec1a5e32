"""An S3 on loopback: moto's server, a process of its own, with the environment that leads to it and to no other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

REGION = "eu-central-1"


@contextmanager
def moto() -> Iterator[str]:
    """The server's URL, for as long as it runs; whoever asks for AWS meanwhile gets it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # Not a thread of this process: delta-rs holds the interpreter while it waits for an answer.
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    named = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_DEFAULT_REGION": REGION}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    try:
        _wait(url, server)
        with mock.patch.dict(os.environ, {**named, **nowhere, "AWS_ENDPOINT_URL": url}):
            yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A server for the tests of a session: `from moto_server import s3_url`. It skips where moto isn't installed."""
    pytest.importorskip("moto.server", reason="no S3: moto isn't installed (pip install 'agentlab[s3]')")
    with moto() as url:
        yield url


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as fault:
            fault.close()
            return
        except OSError:
            if server.poll() is not None:
                raise RuntimeError("moto's server ended at once") from None
            time.sleep(0.1)
    raise RuntimeError("moto's server doesn't answer")
