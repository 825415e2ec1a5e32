"""A private Postgres on loopback, from the installed programs, for the cases that need one."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

#: Seconds that a server may take to come up.
PATIENCE = 60


class Absent(Exception):
    """Why no server can be started here."""


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a fresh, empty database; Absent where the programs aren't there or don't start."""
    programs, account = _programs(), _account()
    folder = Path(tempfile.mkdtemp(prefix="agentlab-postgres-"))
    try:
        secret, port = secrets.token_hex(8), _free_port()
        (folder / "password").write_text(secret)
        if account:
            _give(folder, account)
        data = folder / "data"
        made = [
            "-D",
            data,
            "-U",
            "agentlab",
            "-A",
            "scram-sha-256",
            "--pwfile",
            folder / "password",
            "-E",
            "UTF8",
            "-N",
        ]
        _run([programs / "initdb", *made], account, folder)
        control = [programs / "pg_ctl", "-D", data, "-w", "-s"]
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
        _run([*control, "-l", folder / "log", "-t", PATIENCE, "-o", options, "start"], account, folder)
        try:
            yield f"postgresql://agentlab:{secret}@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], account, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(url: str, tables: Mapping[str, pa.Table]) -> None:
    """Put tables into the database. LabError-free: whatever fails here fails the case, and says so."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as database:
        for name, rows in tables.items():
            columns = [
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_type(kind)))
                for column, kind in zip(rows.column_names, rows.schema.types, strict=True)
            ]
            database.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(name), sql.SQL(", ").join(columns)))
            marks = sql.SQL(", ").join([sql.Placeholder()] * rows.num_columns)
            insert = sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(name), marks)
            with database.cursor() as cursor:
                cursor.executemany(insert, [list(row.values()) for row in rows.to_pylist()])


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "bigint"
    if pa.types.is_floating(kind):
        return "double precision"
    if pa.types.is_decimal(kind):
        return "numeric"
    return "date" if pa.types.is_date(kind) else "timestamp" if pa.types.is_timestamp(kind) else "text"


def _programs() -> Path:
    """The folder of `initdb` and `pg_ctl`: on the path, or where Debian puts them."""
    places = [Path(found).resolve().parent for found in [shutil.which("pg_ctl")] if found]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "pg_ctl").exists():
            return place
    raise Absent("initdb and pg_ctl aren't installed")


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as: Postgres refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Absent("Postgres doesn't run as root, and there is no other account")


def _give(folder: Path, account: pwd.struct_passwd) -> None:
    folder.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def _run(command: list[object], account: pwd.struct_passwd | None, folder: Path) -> None:
    words = [str(part) for part in command]
    who: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    # Into a file: the server keeps what it inherits open, and a pipe would never end.
    with (folder / "told").open("ab") as told:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd=folder, check=False, **who)  # noqa: S603 (installed programs, our own arguments)
    if done.returncode:
        said = (folder / "told").read_text(errors="replace")
        raise Absent(f"{Path(words[0]).name} says: {said.strip()[-300:]}")
