"""How an API is told who asks: by a bearer token, user and password, a key, or OAuth2's client credentials.

What is kept in the catalog says how; the secret itself lies where `token_env` or `token_file` of the source says. An
OAuth2 token is kept in this process's memory until it expires.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import quote, quote_plus, urlsplit

import httpx
from pydantic import AfterValidator, Field

from agentlab.errors import LabError
from agentlab.sources.secrets import without_secrets
from agentlab.sources.settings import Doc


def web_address(url: str) -> str:
    """The address, if it is one and holds no secret; ValueError otherwise."""
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018 (reading it is what checks it)
    except ValueError:
        # What stands there may be part of a password.
        raise ValueError("the url has a port that is no number") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{without_secrets(url)!r} is no web address; write e.g. 'https://api.example.com'")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the url must hold no user, password or parameters; name a token_env or a token_file")
    return url


WebAddress = Annotated[str, AfterValidator(web_address)]


class BearerAuth(Doc):
    """The token in the header `Authorization: Bearer`."""

    kind: Literal["bearer"] = "bearer"


class BasicAuth(Doc):
    """User and password (RFC 7617); the token is the password."""

    kind: Literal["basic"] = "basic"
    user: Annotated[str, Field(pattern=r"^[\x20-\x39\x3b-\x7e]*$")]


class KeyAuth(Doc):
    """The token as a key in a header, or in a parameter of the address."""

    kind: Literal["key"] = "key"
    place: Literal["header", "query"] = "header"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "X-API-Key"


class ClientCredentials(Doc):
    """OAuth2 client credentials (RFC 6749, 4.4); the token is the client's secret.

    `send` says whether it goes to the token endpoint in the `Authorization` header or in the body.
    """

    kind: Literal["client_credentials"] = "client_credentials"
    token_url: WebAddress
    client_id: str
    scope: str | None = None
    params: dict[str, str] = {}
    send: Literal["header", "body"] = "header"


Auth = Annotated[BearerAuth | BasicAuth | KeyAuth | ClientCredentials, Field(discriminator="kind")]

#: Of an OAuth2 token's life the last part isn't used: it might end on the way. Seconds, and a part of the whole.
_MARGIN, _PART = 30.0, 0.1
#: Where an answer doesn't say how long a token lives, in seconds.
_LIFE = 300.0


@dataclass(frozen=True)
class _Access:
    token: str = field(repr=False)
    until: float


_KNOWN: dict[str, _Access] = {}
_LOCK = threading.Lock()


@dataclass
class Credentials:
    """What goes with every question to the source `name`, made anew for each: tokens may expire between two pages.

    `ask` posts a form to the token endpoint: address, form, user and password or None.
    """

    name: str
    auth: BearerAuth | BasicAuth | KeyAuth | ClientCredentials
    secret: str | None = field(repr=False)
    client: httpx.Client = field(repr=False)

    def headers(self) -> dict[str, str]:
        """The headers that say who asks."""
        if self.secret is None:
            return {}
        if isinstance(self.auth, BasicAuth):
            return {"Authorization": f"Basic {_basic(self.auth.user, self.secret)}"}
        if isinstance(self.auth, KeyAuth):
            return {self.auth.name: self.secret} if self.auth.place == "header" else {}
        token = self._access() if isinstance(self.auth, ClientCredentials) else self.secret
        return {"Authorization": f"Bearer {token}"}

    def params(self) -> dict[str, str]:
        """The parameters that say who asks."""
        in_query = isinstance(self.auth, KeyAuth) and self.auth.place == "query"
        return {self.auth.name: self.secret} if isinstance(self.auth, KeyAuth) and in_query and self.secret else {}

    def renew(self, headers: Mapping[str, str]) -> bool:
        """Forget the token that these headers had, since the API refuses it; False if there can be no other one."""
        if not isinstance(self.auth, ClientCredentials):
            return False
        with _LOCK:
            known = _KNOWN.get(self._key())
            # Another thread may have renewed it meanwhile.
            if known and headers.get("Authorization") == f"Bearer {known.token}":
                del _KNOWN[self._key()]
        return True

    def hidden(self, text: str) -> str:
        """The text without any secret, however an answer or an address may spell it."""
        for spelled in _spellings(self._secrets()):
            text = text.replace(spelled, "***")
        return text

    def _secrets(self) -> list[str]:
        known = _KNOWN.get(self._key()) if isinstance(self.auth, ClientCredentials) else None
        users = (self.auth.user,) if isinstance(self.auth, BasicAuth) else ()
        users = (self.auth.client_id,) if isinstance(self.auth, ClientCredentials) else users
        pairs = [(user, self.secret) for user in users if self.secret]
        encoded = [way for user, s in pairs for way in (_basic(user, s), _basic(quote_plus(user), quote_plus(s)))]
        return [*encoded, *([self.secret] if self.secret else []), *([known.token] if known else [])]

    def _key(self) -> str:
        """Which token: the secret is part of it by a digest, in memory only."""
        told = self.auth.model_dump_json() + sha256((self.secret or "").encode()).hexdigest()
        return sha256(told.encode()).hexdigest()

    def _access(self) -> str:
        with _LOCK:
            known = _KNOWN.get(self._key())
            if known is None or time.monotonic() >= known.until:
                known = _KNOWN[self._key()] = self._granted()
            return known.token

    def _granted(self) -> _Access:
        assert isinstance(self.auth, ClientCredentials) and self.secret is not None
        body = {"grant_type": "client_credentials", **self.auth.params}
        body |= {"scope": self.auth.scope} if self.auth.scope else {}
        asker: Any = None
        if self.auth.send == "body":
            body |= {"client_id": self.auth.client_id, "client_secret": self.secret}
        else:
            asker = (quote_plus(self.auth.client_id), quote_plus(self.secret))
        try:
            answer = self.client.post(self.auth.token_url, data=body, auth=asker)
        except httpx.RequestError as fault:
            raise self._refused(f"no answer ({type(fault).__name__})") from None
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> _Access:
        try:
            told: Any = answer.json()
        except ValueError:
            told = None
        token = told.get("access_token") if isinstance(told, dict) else None
        if answer.status_code != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            why = told.get("error_description") or told.get("error") if isinstance(told, dict) else None
            raise self._refused(f"status {answer.status_code}" + (f", it says {str(why)[:120]!r}" if why else ""))
        life = told.get("expires_in")
        life = float(life) if isinstance(life, int | float | str) and str(life).replace(".", "", 1).isdigit() else _LIFE
        return _Access(token, time.monotonic() + life - min(_MARGIN, life * _PART))

    def _refused(self, told: str) -> LabError:
        place = getattr(self.auth, "token_url", "")
        return LabError(
            self.hidden(f"{place} gave no token for {self.name}: {told}. Is the client_id right, and scope?")
        )


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _spellings(secrets: Iterable[str]) -> list[str]:
    """How answers and our own messages may spell secrets, the longest first, so that no part of one is left."""
    spelled = {way for s in secrets for way in (s, quote(s), quote(s, safe=""), quote_plus(s), repr(s)[1:-1])}
    return sorted(spelled, key=len, reverse=True)
