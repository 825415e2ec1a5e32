"""A model served elsewhere by an OpenAI-compatible API (agentlab serve, vLLM, Ollama, ...), asked with tools.

There is no grammar on the other side: the answer is checked as it comes. Nothing is retried here.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from agentlab.errors import LabError, PlanError
from agentlab.plan import Call, Origin, Plan
from agentlab.prompts import Ask, messages, tools


class Remote:
    """A model behind `<url>/chat/completions`; `http://host/v1#name` says which, else the only one served is asked.

    The key, if the server wants one, is read from the environment variable `key_env`. `timeout` is in seconds, from the
    request to the answer's first byte.
    """

    def __init__(
        self, url: str, model: str | None = None, key_env: str = "AGENTLAB_API_KEY", timeout: float = 120.0
    ) -> None:
        base, _, fragment = url.partition("#")
        self.url = base.rstrip("/")
        self.key_env = key_env
        self.timeout = timeout
        self._model = model or fragment or None

    @property
    def name(self) -> str:
        """What the server calls the model; asks the server when it wasn't said."""
        if self._model is None:
            self._model = self._only_one()
        return self._model

    def plan(self, ask: Ask) -> Plan:
        """One request, one plan. `confidence` is 1: such an API doesn't tell the probabilities of tool calls."""
        started = time.perf_counter()
        body = self._body(ask)
        answer = self._request("POST", "/chat/completions", body)
        try:
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            origin = _origin(ask, self.name, body, usage, time.perf_counter() - started)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as fault:
            raise LabError(f"{self._place('/chat/completions')} answered in another form: {_start(answer)}") from fault
        return Plan.from_calls(_calls(choice), origin=origin)

    def _body(self, ask: Ask) -> dict[str, Any]:
        chat = {"model": self.name, "messages": messages(ask), "temperature": 0, "max_tokens": 1024}
        return {**chat, "tools": tools(ask.role), "tool_choice": "required"}

    def _only_one(self) -> str:
        answer = self._request("GET", "/models")
        try:
            names = [str(model["id"]) for model in answer["data"]]
        except (KeyError, TypeError) as fault:
            raise LabError(f"{self._place('/models')} lists no models: {_start(answer)}") from fault
        if len(names) != 1:
            raise LabError(
                f"{self._place()} serves {', '.join(names) or 'no model'}; say which: '{self._place()}#<name>'"
            )
        return names[0]

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        import httpx  # here, since whoever plans with a local model needs none of it

        place = self._place(path)
        try:
            response = httpx.request(method, self.url + path, json=body, headers=self._headers(), timeout=self.timeout)
        except httpx.TimeoutException as fault:
            raise LabError(
                f"no answer from {place} within {self.timeout:g} s; is the model too large for its machine?"
            ) from fault
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise LabError(f"can't reach a model at {place} ({fault}); is the server running?") from fault
        start = response.text.replace(self._key or "\0", "***")[:200]
        if response.status_code != 200:
            hint = f"; its key belongs in {self.key_env}" if response.status_code in (401, 403) else ""
            raise LabError(f"{place} answered {response.status_code}{hint}: {start}")
        try:
            return response.json()
        except (ValueError, RecursionError) as fault:
            raise LabError(f"{place} answered something else than JSON: {start}") from fault

    @property
    def _key(self) -> str:
        return os.environ.get(self.key_env, "")

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _place(self, path: str = "") -> str:
        """The address without a password that may be in it."""
        scheme, _, rest = (self.url + path).partition("://")
        host, slash, tail = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{tail}"


def _calls(choice: Mapping[str, Any]) -> list[Call]:
    message = choice.get("message") or {}
    if choice.get("finish_reason") == "length":
        raise PlanError("the answer was cut off at the server's limit of tokens; ask for less at once")
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    if not calls:
        raise PlanError(f"the answer holds no tool call: {_start(message.get('content'))}")
    return [{"name": call.get("name"), "arguments": _arguments(call)} for call in calls]


def _arguments(call: Mapping[str, Any]) -> Any:
    given = call.get("arguments") or {}
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as fault:
        raise PlanError(f"the arguments of {call.get('name')!r} aren't JSON ({fault}): {given[:200]!r}") from fault


def _origin(ask: Ask, name: str, body: Mapping[str, Any], usage: Mapping[str, Any], seconds: float) -> Origin:
    asked = json.dumps([body["messages"], body["tools"]], ensure_ascii=False)
    return Origin(
        intent=ask.intent,
        model=name,
        prompt_hash=hashlib.sha256(f"remote\n{asked}".encode()).hexdigest()[:16],
        milliseconds=round(seconds * 1000, 1),
        prompt_tokens=usage.get("prompt_tokens") or 0,
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
    )


def _start(answer: object) -> str:
    return repr(answer)[:200]
