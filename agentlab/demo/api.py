"""The sales API as a FastAPI app: a bearer token, pages by cursor, and now and then a 429 or a 500.

Faults come by request count, so that a run sees the same ones each time. The app counts what it answered (`/stats`),
so that a test can prove that a page was fetched once. It keeps everything in memory and writes nothing.
"""

from __future__ import annotations

import base64
import json
import secrets
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Literal

from agentlab.demo.shop import Row, Shop
from agentlab.errors import LabError

try:
    import uvicorn
    from fastapi import Depends, FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException
except ImportError as fault:
    raise LabError(f'the demo server needs {fault.name}: pip install "agentlab[serve]"') from fault

MAX_PAGE = 500
RESOURCES = ("/orders", "/customers", "/products")

Order = Literal["newest", "oldest"]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE, description="rows in a page")]


class Refusal(Exception):
    """An answer that isn't data: its HTTP status, a code for programs and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


@dataclass(frozen=True)
class Keys:
    """Two tokens: `full` reads everything, `guest` the products only (and gets a 403 elsewhere)."""

    full: str
    guest: str


@dataclass(frozen=True)
class Faults:
    """Every how many requests for data one fails, counted over all resources; 0 for never. `retry_after` in seconds."""

    throttle_every: int = 9
    fail_every: int = 13
    retry_after: int = 1


@dataclass
class Stats:
    """What the server was asked and what it answered."""

    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Requests for data; answers by `path status`; pages by `path?what=from row`, those sent with a 200."""
        return {"requests": self.requests, "answers": dict(self.answers), "pages": dict(self.pages)}


class Desk:
    """Serves one shop to those who have a key, and keeps count."""

    def __init__(self, shop: Shop, keys: Keys, faults: Faults) -> None:
        self.shop, self.keys, self.faults, self.stats = shop, keys, faults, Stats()
        self.newest_first = shop.orders[::-1]
        self.times = [row["order_date"] for row in shop.orders]

    def admit(self, request: Request) -> None:
        """Check the token; 401 without a valid one, 403 for one that doesn't reach this resource."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            header = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "no_token", "send the header 'Authorization: Bearer <token>'", header)
        if secrets.compare_digest(token.encode(), self.keys.guest.encode()):
            if request.url.path != "/products":
                raise Refusal(403, "not_allowed", f"this token reads /products only, not {request.url.path}")
        elif not secrets.compare_digest(token.encode(), self.keys.full.encode()):
            raise Refusal(401, "bad_token", "the token isn't valid", {"WWW-Authenticate": "Bearer error=invalid_token"})

    def serve(self, request: Request) -> None:
        """Admit, count, and fail when it is this request's turn."""
        self.admit(request)
        self.stats.requests += 1
        turn, faults = self.stats.requests, self.faults
        if faults.throttle_every and turn % faults.throttle_every == 0:
            seconds = str(faults.retry_after)
            message = f"too many requests; try again in {seconds} s"
            raise Refusal(429, "too_many_requests", message, {"Retry-After": seconds})
        if faults.fail_every and turn % faults.fail_every == 0:
            raise Refusal(500, "internal", "the warehouse didn't answer; try again")

    def orders(self, order: Order, since: str | None, until: str | None) -> list[Row]:
        """The orders of a span of time, both ends inclusive."""
        start = bisect_left(self.times, _moment(since, "since")) if since else 0
        stop = bisect_right(self.times, _moment(until, "until", end=True)) if until else len(self.times)
        if order == "oldest":
            return self.shop.orders[start:stop]
        total = len(self.times)
        return self.newest_first[total - stop : total - start]

    def page(self, rows: list[Row], what: str, cursor: str | None, limit: int) -> dict[str, Any]:
        """One page of `rows`; the cursor is good for the same question only."""
        start = _position(cursor, what) if cursor is not None else 0
        self.stats.pages[f"{what}={start}"] += 1
        stop = start + limit
        return {"items": rows[start:stop], "next_cursor": _cursor(stop, what) if stop < len(rows) else None}


def create_app(shop: Shop, keys: Keys, faults: Faults | None = None) -> FastAPI:
    """The app that serves `shop`; it fails as `faults` says."""
    desk = Desk(shop, keys, faults or Faults())
    app = FastAPI(title="Sales API", description="Orders, customers and products of a small shop.")
    _answer_in_json(app)
    _add_resources(app, desk)

    @app.middleware("http")
    async def count(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        if request.url.path in RESOURCES:
            desk.stats.answers[f"{request.url.path} {answer.status_code}"] += 1
        return answer

    return app


def run_by(app: FastAPI) -> uvicorn.Server:
    """A server for the app that speaks only of trouble; give it a listening socket: `run(sockets=[door])`."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))


def _add_resources(app: FastAPI, desk: Desk) -> None:
    # async without awaiting: the counters are touched by one thread only and need no lock.
    async def served(request: Request) -> None:
        desk.serve(request)

    async def admitted(request: Request) -> None:
        desk.admit(request)

    @app.get("/orders", dependencies=[Depends(served)])
    async def orders(
        cursor: str | None = None,
        limit: PageSize = 100,
        order: Order = "oldest",
        since: str | None = None,
        until: str | None = None,
    ) -> dict[str, Any]:
        """Orders by time; `since` and `until` are ISO dates or timestamps, both inclusive."""
        rows = desk.orders(order, since, until)
        return desk.page(rows, f"/orders?{order},{since or ''},{until or ''}", cursor, limit)

    @app.get("/customers", dependencies=[Depends(served)])
    async def customers(cursor: str | None = None, limit: PageSize = 100) -> dict[str, Any]:
        return desk.page(desk.shop.customers, "/customers?", cursor, limit)

    @app.get("/products", dependencies=[Depends(served)])
    async def products(cursor: str | None = None, limit: PageSize = 100) -> dict[str, Any]:
        return desk.page(desk.shop.products, "/products?", cursor, limit)

    @app.get("/stats", dependencies=[Depends(admitted)])
    async def stats() -> dict[str, Any]:
        """What was asked and answered so far; asking for it isn't counted."""
        return desk.stats.to_json()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}


def _answer_in_json(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> JSONResponse:
        return _error(refusal.status, refusal.code, refusal.message, refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{e['loc'][-1]}: {e['msg']} (got {e['input']!r})" for e in fault.errors())
        return _error(422, "invalid", told)

    @app.exception_handler(HTTPException)
    async def other(request: Request, fault: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {fault.detail}; there are: GET {', '.join(RESOURCES)}"
        return _error(fault.status_code, "not_found" if fault.status_code == 404 else "http", message, fault.headers)


def _error(status: int, code: str, message: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _moment(text: str, name: str, end: bool = False) -> str:
    """An ISO date or timestamp in the spelling of `order_date`; a date is its first second, or its last."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(422, "invalid", f"{name}: write an ISO date or timestamp (got {text!r})") from None
    if end and len(text) == len("2026-01-31"):
        moment += timedelta(days=1, seconds=-1)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _digest(what: str) -> str:
    return sha256(what.encode()).hexdigest()[:12]


def _cursor(position: int, what: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, _digest(what)]).encode()).decode().rstrip("=")


def _position(cursor: str, what: str) -> int:
    try:
        position, digest = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        raise Refusal(422, "bad_cursor", f"cursor: not one of ours (got {cursor[:40]!r})") from None
    if digest != _digest(what) or not isinstance(position, int) or position < 0:
        raise Refusal(422, "bad_cursor", "cursor: made for another resource, order or span of time; start without one")
    return position
