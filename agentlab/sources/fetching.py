"""Ask a REST API for one page: patiently, at its pace, and never telling a secret to anybody but the API itself."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from random import uniform
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from agentlab.errors import LabError
from agentlab.sources.auth import Credentials
from agentlab.sources.base import RestResource, RestSource

FIRST_WAIT = 0.2
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass
class Caller:
    """Asks one resource of the source `name` for its pages; may be used from several threads.

    `retries` counts what was asked again.
    """

    source: RestSource
    resource: RestResource
    name: str
    root: Path
    retries: int = 0
    client: httpx.Client = field(init=False, repr=False)
    credentials: Credentials = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        # A proxy can't reach this machine's own servers.
        proxies = not _is_loopback(self.source.url)
        headers = {"Accept": "application/json"}
        self.client = httpx.Client(headers=headers, timeout=self.source.timeout, trust_env=proxies)
        self.credentials = Credentials(self.name, self.source.auth, self.source.token(self.root), self.client)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def url(self) -> str:
        """The resource's address."""
        return self.source.url.rstrip("/") + self.resource.path

    def get(self, url: str, query: dict[str, str], number: int) -> httpx.Response:
        """The answer with status 200 to one question, after as many tries as the source allows."""
        tries, renewed = self.source.tries, False
        for attempt in range(1, tries + 1):
            headers = self.credentials.headers()
            answer = self._ask(url, query, headers)
            if _status(answer) == 401 and not renewed and self.credentials.renew(headers):
                renewed = True
                answer = self._ask(url, query, self.credentials.headers())
            if isinstance(answer, httpx.Response) and answer.status_code not in PASSING:
                return self._accepted(answer, number)
            if attempt < tries:
                self._wait(answer, attempt, number)
        told = f"{self.place(number)}: {_told(answer, self)}; gave up after {tries} tries"
        raise LabError(f"{told}. {_advice(answer, self)}")

    def link(self, found: str, number: int) -> str:
        """The address of a next page, as a link in an answer says it; LabError if it leads away from the source."""
        there = urljoin(self.url, found)
        if _origin(there) != _origin(self.source.url):
            place = self.hidden(there.partition("?")[0])
            raise self.broken(
                number, f"has a next page at {place[:80]!r}, which is not on {self.source.url}; nothing was sent there"
            )
        return there

    def place(self, number: int) -> str:
        """Which page of what, in words."""
        return f"GET {self.resource.path} of {self.name}, page {number}"

    def broken(self, number: int, found: str) -> LabError:
        """The error of a page that isn't what was promised."""
        return LabError(f"{self.place(number)} {found}; is {self.resource.path} described rightly in the source?")

    def hidden(self, text: str) -> str:
        """The text without any secret, should an answer repeat one."""
        return self.credentials.hidden(text)

    def shown(self, value: Any) -> str:
        """A value of an answer as errors may tell it: short, without secrets."""
        text = self.hidden(repr(value))
        return text if len(text) <= 80 else f"{text[:80]}…"

    def _ask(self, url: str, query: dict[str, str], headers: dict[str, str]) -> httpx.Response | httpx.RequestError:
        try:
            asked = httpx.URL(url).copy_merge_params({**query, **self.credentials.params()})
        except (httpx.InvalidURL, UnicodeError):
            # Only an answer's cursor or link can make it so; the source's own address has been checked.
            raise LabError(f"GET {self.resource.path} of {self.name} leads on to what is no web address") from None
        try:
            return self.client.get(asked, headers=headers)
        except httpx.RequestError as fault:
            return fault

    def _accepted(self, answer: httpx.Response, number: int) -> httpx.Response:
        if answer.status_code == 200:
            return answer
        raise LabError(f"{self.place(number)}: {_told(answer, self)}. {_advice(answer, self)}")

    def _wait(self, answer: httpx.Response | httpx.RequestError, attempt: int, number: int) -> None:
        wait = min(FIRST_WAIT * 2 ** (attempt - 1) * uniform(0.8, 1.2), self.source.longest_wait)
        asked = _retry_after(answer) if isinstance(answer, httpx.Response) else None
        if asked is not None and asked > self.source.longest_wait:
            most = self.source.longest_wait
            raise LabError(
                f"{self.place(number)}: {_told(answer, self)}; it asks to wait {asked:.0f} s, and this source waits"
                f" {most:g} s at most. Try again later, or raise the source's longest_wait"
            )
        time.sleep(wait if asked is None else asked)
        with self._lock:
            self.retries += 1


def _status(answer: httpx.Response | httpx.RequestError) -> int | None:
    return answer.status_code if isinstance(answer, httpx.Response) else None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None, None


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the answer asks to wait, by number or by date; None if it doesn't say, or not readably."""
    said = answer.headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _told(answer: httpx.Response | httpx.RequestError, caller: Caller) -> str:
    if isinstance(answer, httpx.RequestError):
        return f"no answer from {caller.source.url} ({type(answer).__name__}: {caller.hidden(str(answer))})"
    said = " ".join(caller.hidden(_message(answer)).split())[:200]
    return f"status {answer.status_code}" + (f", it says {said!r}" if said else "")


def _message(answer: httpx.Response) -> str:
    """The sentence in an error's body, in the shapes that APIs commonly use, or the body itself."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return answer.text
    for key in ("error", "message", "detail", "title"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else answer.text


def _advice(answer: httpx.Response | httpx.RequestError, caller: Caller) -> str:
    if isinstance(answer, httpx.RequestError):
        return "Is the server running, and the source's url right?"
    status = answer.status_code
    if status == 401:
        return f"The token comes from {caller.source.token_place}"
    if status == 403:
        return f"The token (from {caller.source.token_place}) doesn't reach this resource"
    if answer.is_redirect:
        place = caller.shown(answer.headers.get("location", "nowhere"))
        return f"It moved to {place}; a token isn't sent after a redirect, so mend the url"
    if status == 404:
        return "Mend the resource's path, or the source's url"
    return "Try again later" if status in PASSING else "Mend the source's description of this resource"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
