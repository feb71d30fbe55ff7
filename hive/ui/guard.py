"""``Guard``: who gets an answer. Everything goes through it, before any page is looked for.

A page on loopback can be reached by every program and every user of the machine, and by every web
page that a browser of the machine shows. So an answer needs a secret (a cookie, which the link with
the token sets), the name of this very host (a foreign name that resolves to 127.0.0.1 is DNS
rebinding), and no sign that another site asked. Nothing is changed by any request.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ENTRY", "HEADERS", "Guard", "Keys"]

ENTRY: Final = "/open"
"""The path that takes a token and sets the cookie."""

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer, refusals included."""

_ENTERED: Final = (
    '<!doctype html><html lang="en"><title>Hive</title>'
    '<link rel="icon" href="/static/icon.svg"><meta http-equiv="refresh" content="0;url=/">'
    '<p><a href="/">Go on to Hive</a></p></html>'
)
_REFUSED: Final = (
    '<!doctype html><html lang="en"><title>Hive</title><h1>No access</h1><p>{reason}</p>'
    "<p>Open the link that <code>hive ui</code> printed where it was started.</p></html>"
)


class Keys:
    """The secrets of one server: its token, its cookie, and tickets that open it once."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self.cookie = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()
        self._lock = threading.Lock()

    def ticket(self) -> str:
        """Return a token that is good once, for what other users of the machine could see.

        The arguments of the process that opens a browser are such a thing.
        """
        made = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets.add(made)
        return made

    def admits(self, token: str) -> bool:
        """Tell whether a token opens this server; a ticket is used up by that."""
        if _same(token, self.token):
            return True
        with self._lock:
            for ticket in self._tickets:
                if _same(token, ticket):
                    self._tickets.remove(ticket)
                    return True
        return False

    def admits_cookie(self, value: str) -> bool:
        """Tell whether this is the value of the cookie that was set."""
        return _same(value, self.cookie)


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


class Guard:
    """Lets through to an application what may be answered, and hardens every answer."""

    def __init__(self, app: ASGIApp, keys: Keys, *, port: int) -> None:
        """Guard ``app``, which listens at ``port`` of the loopback address."""
        self._app = app
        self._keys = keys
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        # Cookies do not know ports: another server of this kind must not overwrite this one's.
        self._cookie = f"hive-ui-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), text.encode()) for name, text in HEADERS.items()]
                known = {name for name, _text in added}
                kept = [pair for pair in message["headers"] if pair[0].lower() not in known]
                message["headers"] = [*kept, *added]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(hardened, *refusal)
        elif scope["path"] == ENTRY:
            await self._enter(scope, hardened)
        elif not self._has_cookie(scope):
            await _refuse(hardened, 403, "This page is private to whoever started it.")
        else:
            await self._app(scope, receive, hardened)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return why a request cannot be meant for this server, whoever sent it."""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, _REFUSED.format(reason="These pages are for reading only.")
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 421, _REFUSED.format(reason="This is not the address of these pages.")
        foreign = [
            origin for origin in _headers(scope, b"origin") if origin != f"http://{hosts[0]}"
        ]
        # A link in another page may lead to the entry, which needs the token; nowhere else.
        allowed = {"same-origin", "none"}
        sites = [site for site in _headers(scope, b"sec-fetch-site") if site not in allowed]
        if foreign or (sites and scope["path"] != ENTRY):
            return 403, _REFUSED.format(reason="Another site asked for this page.")
        return None

    async def _enter(self, scope: Scope, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode("ascii", "replace"))
        tokens = query.get("token", [])
        if len(tokens) != 1 or not self._keys.admits(tokens[0]):
            await _refuse(send, 403, "The token of this link is not, or no longer, the right one.")
            return
        # Not a redirect: where a link in another program's page led here, a browser would follow it
        # without the cookie, because the whole chain counts as started by that page.
        cookie = f"{self._cookie}={self._keys.cookie}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 200, _ENTERED, ("set-cookie", cookie))

    def _has_cookie(self, scope: Scope) -> bool:
        # Not by http.cookies: it gives up at what it does not know, such as JSON in a cookie that
        # another program of this machine set, and would not find this one behind it.
        pairs = [
            pair.strip().partition("=")
            for header in _headers(scope, b"cookie")
            for pair in header.split(";")
        ]
        return any(
            name == self._cookie and self._keys.admits_cookie(value)
            for name, _equals, value in pairs
        )


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [text.decode("latin-1") for known, text in scope["headers"] if known == name]


async def _refuse(send: Send, status: int, reason: str) -> None:
    await _answer(send, status, _REFUSED.format(reason=reason))


async def _answer(send: Send, status: int, page: str, *headers: tuple[str, str]) -> None:
    body = page.encode()
    told: Iterable[tuple[str, str]] = (
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", str(len(body))),
        *headers,
    )
    start = [(name.encode(), text.encode()) for name, text in told]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
