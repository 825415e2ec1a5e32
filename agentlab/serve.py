"""A lab over HTTP, on loopback: intents, runs, reviews, tables, events; and the thread that keeps its schedules.

Every request needs the lab's token, and a Host (and Origin, where there is one) that is this machine, so that no web
page can speak to the lab. Errors have one form: `{"error": {message, type, param, code}}`.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from agentlab.actions import Role
from agentlab.errors import AgentlabError, Conflict, LabError, PlanError
from agentlab.lab import Lab
from agentlab.schedules import Keeper
from agentlab.sources import keep_secret

try:
    import uvicorn
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response
    from starlette.exceptions import HTTPException
except ImportError as fault:
    raise LabError(f'serving needs {fault.name}: pip install "agentlab[serve]"') from fault

#: Where the token is taken from; without it one is made and kept in the lab's `secrets` folder.
TOKEN = "AGENTLAB_TOKEN"  # noqa: S105 (a variable's name)
#: A source's token can't be in a file of this name, nor can a source name it: theirs begin with a letter.
KEPT = ".serve"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
#: Bodies are sentences; in bytes.
LONGEST_BODY = 100_000
#: What the catalog can count to.
LAST_EVENT = 2**63 - 1

Next = Callable[[Request], Awaitable[Response]]


class Intent(BaseModel):
    """What a client asks. `dry_run` shows the plan only; `approve` answers in advance what would wait for approval."""

    model_config = ConfigDict(extra="forbid")

    intent: Annotated[str, Field(min_length=1, max_length=4000)]
    agent: Role | None = None
    dry_run: bool = False
    approve: bool | None = None


class Door:
    """Who may come in: the token, and the host names that requests may be for."""

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        self.token, self.hosts = token, hosts

    def refusal(self, request: Request) -> JSONResponse | None:
        """Why a request may not come in; None if it may."""
        host, origin = _host(f"//{request.headers.get('host', '')}"), request.headers.get("origin")
        if host not in self.hosts:
            return _error(403, f"this lab doesn't answer for the host {host!r}", "forbidden", "host")
        if origin is not None and _host(origin) not in self.hosts:
            return _error(403, f"pages of {origin[:100]!r} may not speak to this lab", "forbidden", "origin")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self.token.encode())
        if request.url.path == "/healthz" or known:
            return None
        refused = _error(401, "send the header 'Authorization: Bearer <token>' with the lab's token", "auth", "token")
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused


def token_of(lab: Lab) -> tuple[str, bool]:
    """The token that clients need, and whether it was made just now; kept in `secrets/.serve`, for its owner only."""
    if given := os.environ.get(TOKEN):
        return given, False
    path = lab.root / "secrets" / KEPT
    if path.exists():
        return path.read_text(encoding="utf-8").strip(), False
    made = secrets.token_urlsafe(24)
    keep_secret(path, made)
    return made, True


def create_app(lab: Lab, token: str, hosts: frozenset[str] = LOOPBACK) -> FastAPI:
    """The app that serves a lab to those who know the token."""
    app = FastAPI(title="agentlab", docs_url=None, redoc_url=None, openapi_url=None)
    door = Door(token, hosts)
    _answer_in_one_form(app)
    _add_runs(app, lab)
    _add_looks(app, lab)

    @app.middleware("http")
    async def guard(request: Request, go_on: Next) -> Response:
        if int(request.headers.get("content-length") or 0) > LONGEST_BODY:
            return _error(413, f"the body may have {LONGEST_BODY:,} bytes at most", "invalid", "body")
        try:
            return door.refusal(request) or await go_on(request)
        except Exception as fault:
            # Here and not in a handler of exceptions: one of those answers too, but then the connection is lost.
            logging.getLogger(__name__).exception("%s %s", request.method, request.url.path)
            return _error(500, f"unexpected: {type(fault).__name__}; the server's log says more", "internal", None)

    return app


def serve(lab: Lab, host: str = "127.0.0.1", port: int = 8765) -> None:
    """Serve a lab until Ctrl-C, and keep its schedules. LabError for a port in use, naming it and the way out."""
    hosts = LOOPBACK if host in LOOPBACK else LOOPBACK | {host.lower(), *_names(host)}
    with _listening(host, port) as door, Keeper(lab):
        token, made = token_of(lab)
        bound = door.getsockname()
        print(f"serving {lab.root.name} at http://{bound[0]}:{bound[1]}/v1; Ctrl-C ends it", flush=True)
        if made:
            print(f"token (shown once; kept in secrets/{KEPT} of the lab): {token}", flush=True)
        app = create_app(lab, token, hosts)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[door])


def _names(host: str) -> set[str]:
    """A server that listens on every address is reached by the machine's own name."""
    return {socket.gethostname().lower()} if host in ("0.0.0.0", "::") else set()  # noqa: S104 (only compared)


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise LabError(f"{port} is no port; choose 1 to 65535, or 0 for any free one")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as fault:
        remedy = "choose another with --port, 0 for any free one, or end the program that holds it"
        raise LabError(f"port {port} on {host} can't be opened ({fault.strerror}); {remedy}") from fault


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _add_runs(app: FastAPI, lab: Lab) -> None:
    # Plain functions: FastAPI runs them in threads, and the lab takes care of its own.
    @app.post("/v1/intents")
    def intents(asked: Intent) -> dict[str, Any]:
        if not asked.dry_run:
            return lab.run(asked.intent, agent=asked.agent, approve=asked.approve).to_dict()
        plan = lab.plan(asked.intent, agent=asked.agent)
        calls = [{"action": call["name"], "arguments": call["arguments"]} for call in plan.to_calls()]
        told = {"run": None, "status": plan.status, "message": "", "agents": plan.agents, "plan": calls}
        nothing: dict[str, Any] = {"events": [], "tables": {}, "plan_ms": plan.origin.milliseconds, "act_ms": 0.0}
        return {**told, "confidence": plan.confidence, **nothing}

    @app.get("/v1/runs")
    def runs(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        return {"runs": [run.model_dump(mode="json", exclude={"plan"}) for run in lab.history(limit)]}

    @app.get("/v1/runs/{run}")
    def one(run: str) -> dict[str, Any]:
        return lab.result(_known(lab, run)).to_dict()

    @app.post("/v1/runs/{run}/undo")
    def undo(run: str) -> dict[str, Any]:
        return {"run": run, "status": "undone", "undone": lab.undo(_known(lab, run))}

    @app.post("/v1/runs/{run}/approve")
    def approve(run: str) -> dict[str, Any]:
        return lab.approve(_known(lab, run)).to_dict()

    @app.post("/v1/runs/{run}/reject")
    def reject(run: str) -> dict[str, Any]:
        return lab.reject(_known(lab, run)).to_dict()


def _add_looks(app: FastAPI, lab: Lab) -> None:
    @app.get("/v1/tables")
    def tables() -> dict[str, Any]:
        found = lab.catalog.entries("table")
        keep = ("schema", "rows", "bytes", "source")
        return {"tables": [{"table": e.name, "version": e.n, **{k: e.doc.get(k) for k in keep}} for e in found]}

    @app.get("/v1/events")
    def events(after: Annotated[int, Query(ge=0, le=LAST_EVENT)] = 0, run: str | None = None) -> dict[str, Any]:
        return {"events": [event.model_dump() for event in lab.catalog.events(after, run)]}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}


def _known(lab: Lab, run: str) -> str:
    try:
        return lab.catalog.run(run).id
    except LabError as fault:
        raise HTTPException(404, str(fault)) from fault


def _answer_in_one_form(app: FastAPI) -> None:
    @app.exception_handler(AgentlabError)
    async def ours(request: Request, fault: AgentlabError) -> JSONResponse:
        status = 409 if isinstance(fault, Conflict) else 400
        kind = "invalid" if isinstance(fault, PlanError) else "lab"
        return _error(status, str(fault), kind, None, type(fault).__name__)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        errors = fault.errors()
        told = "; ".join(f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in errors)
        return _error(422, told, "invalid", ".".join(map(str, errors[0]["loc"][1:])) or None)

    @app.exception_handler(HTTPException)
    async def http(request: Request, fault: HTTPException) -> JSONResponse:
        if fault.detail in ("Not Found", "Method Not Allowed"):
            told = f"{request.method} {request.url.path}: {fault.detail.lower()}; see /v1/intents, /v1/runs, /v1/tables"
            return _error(fault.status_code, told, "not_found", "path")
        if fault.status_code == 404:
            return _error(404, str(fault.detail), "not_found", "run")
        return _error(fault.status_code, str(fault.detail), "invalid", "body")


def _error(status: int, message: str, kind: str, param: str | None, code: str | None = None) -> JSONResponse:
    body = {"message": message, "type": kind, "param": param, "code": code or str(status)}
    return JSONResponse({"error": body}, status)
