"""Nobody gets an answer without the secret, from another host name or from another site."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from hive.ui.guard import ENTRY, HEADERS, Keys
from manifests import Repository
from tests.hive.ui.sites import ORIGIN, PORT, Pages, commit_survey, pages_of

PATHS = (
    *("/", "/run?name=survey", "/step?run=survey&at=1", "/diff?run=survey&at=2&from=1"),
    *("/parts?run=survey&at=1", "/text?run=survey&at=1&path=goal", "/changed?name=survey"),
    *("/static/style.css", "/static/hive.js", "/go?ref=survey", "/absent"),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with Repository.open(tmp_path_factory.mktemp("home")) as opened:
        commit_survey(opened, steps=3)
        yield opened


@pytest.fixture
def pages(repository: Repository) -> Pages:
    return pages_of(repository)


def stranger(pages: Pages, **headers: str) -> TestClient:
    """Return a client that has not opened the link."""
    return TestClient(pages.app, base_url=ORIGIN, headers=headers, follow_redirects=False)


def assert_hardened(headers: object) -> None:
    for name, text in HEADERS.items():
        assert headers.get(name) == text  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_cookie_nothing_answers(pages: Pages, path: str) -> None:
    answer = stranger(pages).get(path)
    assert answer.status_code == 403
    assert "survey" not in answer.text
    assert_hardened(answer.headers)


@pytest.mark.parametrize("path", PATHS)
def test_with_it_every_answer_is_hardened(pages: Pages, path: str) -> None:
    answer = pages.client.get(path)
    assert answer.status_code in (200, 303, 404)
    assert_hardened(answer.headers)
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("token", ["", "x", "é" * 9, "\x00", "../..", "a" * 5_000])
def test_a_wrong_token_gets_nowhere(pages: Pages, token: str) -> None:
    client = stranger(pages)
    answer = client.get(ENTRY, params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert client.get("/").status_code == 403


def test_a_token_must_be_given_once(pages: Pages) -> None:
    token = pages.keys.token
    assert stranger(pages).get(ENTRY).status_code == 403
    assert stranger(pages).get(f"{ENTRY}?token={token}&token={token}").status_code == 403
    assert stranger(pages).get(f"/?token={token}").status_code == 403


def test_the_cookie_stays_with_this_site(pages: Pages) -> None:
    answer = stranger(pages).get(ENTRY, params={"token": pages.keys.token})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"hive-ui-{PORT}=")
    assert {"Path=/", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert pages.keys.token not in cookie
    assert pages.keys.token not in answer.text


@pytest.mark.parametrize(
    "cookie", ["hive-ui-8123=", "hive-ui-8123=x", "hive-ui-9={}", "\x07=;;", "hive-ui-8123=é"]
)
def test_a_wrong_cookie_gets_nowhere(pages: Pages, cookie: str) -> None:
    headers = {"cookie": cookie.format(pages.keys.cookie).encode()}
    assert stranger(pages).get("/", headers=headers).status_code == 403  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "others", ['a={"x": 1}', "é=1", "a flag", 'a="x y"z', "a:b=1", "=", "hive-ui-8123=old"]
)
def test_cookies_of_other_programs_do_not_shut_anybody_out(pages: Pages, others: str) -> None:
    own = f"hive-ui-{PORT}={pages.keys.cookie}"
    for cookie in (f"{others}; {own}", f"{own}; {others}"):
        answer = stranger(pages).get("/", headers={"cookie": cookie.encode()})  # type: ignore[arg-type]
        assert answer.status_code == 200


def test_a_ticket_opens_once() -> None:
    keys = Keys()
    ticket, other = keys.ticket(), keys.ticket()
    assert keys.admits(ticket)
    assert not keys.admits(ticket)
    assert keys.admits(other)
    assert keys.admits(keys.token)
    assert keys.admits(keys.token)
    assert not keys.admits(keys.cookie)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8123", "127.0.0.1", "127.0.0.1:80", "127.0.0.2:8123"),
        *("localhost.evil.example:8123", "127.0.0.1:8123.evil.example", "[::1]:8123", ""),
        *("127.0.0.1:8123@evil.example", "2130706433:8123", "LOCALHOST:8123/"),
    ],
)
def test_a_foreign_host_name_gets_nowhere(pages: Pages, host: str) -> None:
    answer = pages.client.get("/", headers={"host": host})
    assert answer.status_code == 421
    token = {"token": pages.keys.token}
    assert stranger(pages).get(ENTRY, params=token, headers={"host": host}).status_code == 421


def test_localhost_is_a_name_of_this_machine(pages: Pages) -> None:
    answer = stranger(pages).get(
        ENTRY, params={"token": pages.keys.token}, headers={"host": f"localhost:{PORT}"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"http://localhost:{PORT}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_gets_nowhere_even_with_the_cookie(
    pages: Pages, headers: dict[str, str]
) -> None:
    assert pages.client.get("/", headers=headers).status_code == 403
    assert pages.client.get("/").status_code == 200


def test_a_link_in_another_page_may_lead_to_the_entry_with_the_token(pages: Pages) -> None:
    client = stranger(pages)
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = client.get(ENTRY, params={"token": pages.keys.token}, headers=headers)
    assert answer.status_code == 200
    assert client.get("/", headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_answered(pages: Pages, method: str) -> None:
    for path in ("/", "/step?run=survey&at=1", ENTRY):
        answer = pages.client.request(method, path)
        assert answer.status_code == 405
        assert_hardened(answer.headers)


def test_head_is_reading(pages: Pages) -> None:
    answer = pages.client.head("/")
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../guard.py", "/static/%2e%2e/guard.py", "/static/..%2fguard.py", "/static/"),
        *("/static//etc/passwd", "/..%2f..%2fetc/passwd", "/templates/base.html", "/static/%00"),
    ],
)
def test_paths_lead_to_pages_and_nothing_else(pages: Pages, path: str) -> None:
    answer = pages.client.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "import" not in answer.text


def test_a_websocket_is_closed(pages: Pages) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, pages.client.websocket_connect("/"):
        pass
    assert closed.value.code == 1_008
