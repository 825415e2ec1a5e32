"""Who asks: tokens, passwords, keys and OAuth2's client credentials, against a real server; secrets stay secret."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from list_server import Api, serving

from agentlab.actions.ingestion import Pull
from agentlab.errors import LabError
from agentlab.lab import Lab
from agentlab.models import Scripted
from agentlab.plan import Plan
from agentlab.sources import RestSource, auth, fetch, pull, read_doc

ENV = "SECRET_OF_TESTS"
SECRET = "hunter2/+x"
ASKED = Pull(source="api", resource="list", into="staging.list")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv(ENV, SECRET)
    monkeypatch.setattr(auth, "_KNOWN", {})
    with serving(Api([{"id": n} for n in range(45)])) as api:
        api.secret = SECRET
        yield api


def source(api: Api, **settings: Any) -> RestSource:
    doc = {"kind": "rest", "url": api.url, "resources": {"list": {"path": "/cursor", "page_size": 10}}, "tries": 2}
    found = read_doc({**doc, "token_env": ENV, **settings})
    assert isinstance(found, RestSource)
    return found


def oauth(api: Api, **settings: Any) -> RestSource:
    kind = {"kind": "client_credentials", "token_url": f"{api.url}/token", "client_id": "lab", **settings}
    api.before = api.wants_token
    return source(api, auth=kind)


BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({}, "authorization", f"Bearer {SECRET}"),
        ({"auth": {"kind": "bearer"}}, "authorization", f"Bearer {SECRET}"),
        ({"auth": {"kind": "basic", "user": "me"}}, "authorization", f"Basic {BASIC}"),
        ({"auth": {"kind": "key"}}, "x-api-key", SECRET),
        ({"auth": {"kind": "key", "name": "X-Token"}}, "x-token", SECRET),
    ],
)
def test_the_secret_goes_into_the_header_that_it_belongs_in(
    api: Api, tmp_path: Path, settings: dict[str, Any], header: str, value: str
) -> None:
    api.before = lambda path, query, headers: None if headers.get(header) == value else (401, {}, {"error": "who?"})
    assert len(pull(source(api, **settings), ASKED, tmp_path)) == 45
    assert api.answers == {200: 5}


@pytest.mark.parametrize("way", ["/cursor", "/next_url"])
def test_a_key_may_be_a_parameter_of_every_page(api: Api, tmp_path: Path, way: str) -> None:
    api.before = lambda path, query, _: None if query.get("key") == SECRET else (401, {}, {"error": f"bad {query}"})
    paging = {"by": "next_url"} if way == "/next_url" else None
    resources = {"list": {"path": way, "page_size": 10, "paging": paging}}
    keyed = source(api, auth={"kind": "key", "place": "query", "name": "key"}, resources=resources)
    assert len(pull(keyed, ASKED, tmp_path)) == 45
    assert api.answers == {200: 5}


@pytest.mark.parametrize("send", ["header", "body"])
def test_one_oauth_token_serves_every_page_and_the_next_pull(api: Api, tmp_path: Path, send: str) -> None:
    known = oauth(api, send=send, scope="orders:read")
    assert len(pull(known, ASKED, tmp_path)) == 45
    assert len(pull(known, ASKED, tmp_path)) == 45
    assert (api.grants, api.answers) == (1, {200: 10})


def test_a_token_that_expires_amid_the_pages_is_renewed_before_it_does(api: Api, tmp_path: Path) -> None:
    api.life = 0.5
    known, slow = oauth(api), 0.2
    assert len(pull(known, ASKED, tmp_path, lambda *_: time.sleep(slow))) == 45
    assert api.grants > 1 and api.answers == {200: 5}, "no page was asked for with an old token"


def test_a_token_that_the_api_takes_back_is_renewed_once_and_the_page_comes(api: Api, tmp_path: Path) -> None:
    pages: list[int] = []

    def progress(rows: int, page: int, retries: int) -> None:
        pages.append(page)
        if page == 2:
            api.tokens.clear()

    assert len(pull(oauth(api), ASKED, tmp_path, progress)) == 45
    assert (api.grants, api.answers, pages) == (2, {200: 5, 401: 1}, [1, 2, 3, 4, 5])


def test_a_token_that_is_never_good_enough_is_asked_for_twice_and_no_more(api: Api, tmp_path: Path) -> None:
    known = oauth(api)
    api.before = lambda *_: (401, {}, {"error": "not you"})
    with pytest.raises(LabError, match=r"status 401, it says 'not you'.*environment variable SECRET_OF_TESTS"):
        pull(known, ASKED, tmp_path)
    assert (api.grants, api.answers) == (2, {401: 2})


def test_a_wrong_client_is_told_and_its_secret_is_not(api: Api, tmp_path: Path) -> None:
    for send in ("header", "body"):
        with pytest.raises(LabError, match=r"/token gave no token for api: status 401, it says .no client") as fault:
            pull(oauth(api, client_id="somebody", send=send), ASKED, tmp_path)
        encoded = [base64.b64encode(f"somebody:{s}".encode()).decode() for s in (SECRET, quote_plus(SECRET))]
        assert not any(word in str(fault.value) for word in (SECRET, *encoded))
    assert not api.asked


def test_a_dead_token_endpoint_is_named(api: Api, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"127.0.0.1:1/token gave no token for api: no answer \(ConnectError\)"):
        pull(oauth(api, token_url="http://127.0.0.1:1/token"), ASKED, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": {"kind": "basic", "user": "me"}},
        {"auth": {"kind": "key"}},
        {"auth": {"kind": "key", "place": "query", "name": "key"}},
        {},
    ],
)
def test_a_server_that_repeats_all_it_hears_gets_no_secret_told(
    api: Api, tmp_path: Path, settings: dict[str, Any]
) -> None:
    api.before = lambda path, query, headers: (400, {}, {"error": f"what is {headers} and {query}?"})
    with pytest.raises(LabError, match=r"status 400.*") as fault:
        pull(source(api, **settings), ASKED, tmp_path)
    assert SECRET not in str(fault.value) and BASIC not in str(fault.value)


def test_an_auth_without_a_secret_is_no_source() -> None:
    doc = {"kind": "rest", "url": "https://example.com", "resources": {}}
    with pytest.raises(LabError, match=r"key needs a secret: give it as token, or name a token_env or a token_file"):
        read_doc({**doc, "auth": {"kind": "key"}})
    with pytest.raises(LabError, match=r"auth.basic.user: Field required"):
        read_doc({**doc, "auth": {"kind": "basic"}, "token_env": "X"})
    with pytest.raises(LabError, match=r"token_url: Value error, the url must hold no user") as fault:
        kind = {"kind": "client_credentials", "client_id": "x", "token_url": "https://me:opensesame@example.com/t"}
        read_doc({**doc, "token_env": "X", "auth": kind})
    assert "opensesame" not in str(fault.value)
    with pytest.raises(LabError, match=r"the url has a port that is no number") as fault:
        read_doc({**doc, "url": "https://me:open/sesame@example.com"})
    assert "open" not in str(fault.value)


def test_a_lab_keeps_the_secret_out_of_its_catalog(api: Api, tmp_path: Path) -> None:
    api.before = api.wants_token
    kind = {"kind": "client_credentials", "token_url": f"{api.url}/token", "client_id": "lab"}
    with Lab(tmp_path / "lab", Scripted({})) as lab:
        resources = {"list": {"path": "/cursor", "page_size": 10}}
        lab.add_source("api", url=api.url, resources=resources, token=SECRET, auth=kind)
        call = {"name": "pull", "arguments": {"source": "api", "resource": "list", "into": "staging.list"}}
        assert lab.run(Plan.from_calls([call])).status == "done"
        assert len(lab.table("staging.list")) == 45
    holding = [
        path for path in (tmp_path / "lab").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert [path.parent.name for path in holding] == ["secrets"]
    token = next(iter(api.tokens)).encode()
    assert not [path for path in (tmp_path / "lab").rglob("*") if path.is_file() and token in path.read_bytes()]


def test_pages_that_come_at_a_time_share_one_token(api: Api, tmp_path: Path) -> None:
    resources = {"list": {"path": "/page", "page_size": 1, "paging": {"by": "page", "total": "/meta/total"}}}
    known = oauth(api).model_copy(update={"resources": source(api, resources=resources).resources})
    assert len(fetch(known, ASKED, tmp_path).table()) == 45
    assert api.grants == 1
