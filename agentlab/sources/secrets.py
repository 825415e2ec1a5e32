"""Where the secrets of sources lie: in an environment variable, or in a file of the lab's `secrets` folder.

Nothing here is kept in the catalog but the name of the place; the file can be read by nobody but its owner.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from agentlab.errors import LabError


def read_secret(root: Path, env: str | None, file: str | None) -> str | None:
    """The secret in an environment variable or in a file of `secrets`, read anew each time; None without a place.

    LabError if it isn't where it should be, can be read by others, or can't be one.
    """
    found = kept_secret(root, env, file)
    return None if found is None else _clean(found, f"the environment variable {env}" if env else f"secrets/{file}")


def kept_secret(root: Path, env: str | None, file: str | None) -> str | None:
    """The same, as it is kept, but for a line's end: a password may have any letters."""
    if env:
        return _from_environment(env)
    return _from_file(root, file).rstrip("\r\n") if file else None


def place_of(env: str | None, file: str | None) -> str:
    """Where a secret is kept, in words."""
    if env:
        return f"the environment variable {env}"
    return f"the file secrets/{file} of the lab" if file else "no place: the source names none"


def token_file(source: str) -> str:
    """A file's name for a new token of a source. Each has its own, so that undoing a registration finds the older one.

    It is drawn by chance: a digest of the token would let whoever reads the catalog try out guesses.
    """
    return f"{source}-{secrets.token_hex(4)}"


def save_token(root: Path, name: str, token: str) -> str:
    """Keep a token in the lab's `secrets` folder for its owner only; returns the `token_file` to name in the source."""
    keep_secret(_secret_path(root, name), token)
    return name


def keep_secret(path: Path, secret: str) -> None:
    """Write a secret to a file that its owner alone can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(secret)
    part.replace(path)


def without_secrets(url: str) -> str:
    """An address as it may be told: without user, password and parameters.

    >>> without_secrets("https://me:pw@example.com/orders?key=1")
    'https://example.com/orders'
    """
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def _from_environment(name: str) -> str:
    token = os.environ.get(name)
    if not token:
        raise LabError(f"the token is expected in the environment variable {name}, which isn't set")
    return token


def _from_file(root: Path, name: str) -> str:
    path = _secret_path(root, name)
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise LabError(f"the token is expected in secrets/{name} of the lab: {fault.strerror}") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise LabError(
            f"secrets/{name} can be read by others (mode {mode & 0o777:o}): chmod 600 it, then renew the token"
        )
    return token


def _secret_path(root: Path, name: str) -> Path:
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise LabError(f"{name!r} is no name of a file in the lab's secrets folder; use letters, digits, '.', '_', '-'")
    return root / "secrets" / name


def _clean(token: str, place: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise LabError(f"{place} holds no usable token: it is empty, or has line breaks or letters outside ASCII")
    return token
