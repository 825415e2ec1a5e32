"""A private Postgres on loopback, from the installed binaries, in a folder of its own, for as long as a `with` lasts.

`with postgres() as url:` gives a URL with the user and the password, as `psycopg.connect(url)` takes it. `Absent` says
why none can be started; as a pytest fixture: see `postgres_url`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD, DATABASE = "agentlab", "p@ss:word/1", "erp"


class Absent(Exception):
    """Why no server can be started here."""


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a fresh database `erp`, its password percent-encoded; Absent where no server can be started."""
    binaries, account = _binaries(), _account()
    folder = Path(tempfile.mkdtemp(prefix="agentlab-postgres-"))
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        if account:
            _give(folder, account)
        port = _free_port()
        _made(binaries, account, folder, password)
        control = [binaries / "pg_ctl", "-D", folder / "data", "-w", "-s"]
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c full_page_writes=off -c max_connections=30"
        _run([*control, "-l", folder / "log", "-t", "60", "-o", options, "start"], account, folder)
        try:
            yield _with_database(port)
        finally:
            _run([*control, "-m", "immediate", "stop"], account, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server for the tests of a session: `from postgres_server import postgres_url`. It skips, and says why."""
    server = postgres()
    try:
        url = server.__enter__()
    except Absent as why:
        print(f"no Postgres: {why}")
        pytest.skip(f"no Postgres: {why}")
    try:
        yield url
    finally:
        server.__exit__(None, None, None)


def _binaries() -> Path:
    """The newest installed server's folder."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    found = shutil.which("initdb")
    for folder in (*packaged, *((Path(found).parent,) if found else ())):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise Absent("initdb is neither in /usr/lib/postgresql/*/bin nor on the PATH")


def _account() -> str | None:
    """Whom to run as: Postgres refuses root; None is the present user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        if shutil.which("runuser"):
            return name
    raise Absent("this is root, whom Postgres refuses, and there is no runuser with an account postgres or nobody")


def _give(folder: Path, account: str) -> None:
    user = pwd.getpwnam(account)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)


def _made(binaries: Path, account: str | None, folder: Path, password: Path) -> None:
    sign_in = ["--username", USER, "--pwfile", password, "--auth", "scram-sha-256"]
    quick = ["--no-sync", "--encoding", "UTF8", "--no-locale"]
    _run([binaries / "initdb", "-D", folder / "data", *sign_in, *quick], account, folder)


def _run(command: list[str | Path], account: str | None, folder: Path) -> None:
    words = [str(word) for word in command]
    if account:
        words = ["runuser", "-u", account, "--", *words]
    # Into a file: the server keeps what it inherits open, and a pipe would never end.
    with (folder / "told").open("ab") as told:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd=folder, check=False)
    if done.returncode:
        said = "\n".join(p.read_text(errors="replace") for p in (folder / "told", folder / "log") if p.exists())
        raise Absent(f"{Path(words[0]).name} failed: {said[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _with_database(port: int) -> str:
    import psycopg

    server = f"postgresql://{USER}:p%40ss%3Aword%2F1@127.0.0.1:{port}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return f"{server}/{DATABASE}"
