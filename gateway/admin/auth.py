"""Authentication of the admin listener: a program uses the token, a browser uses a session.

A page cannot set headers on what a browser loads by itself. So it shows the token once, and is
recognized by a cookie afterwards. The cookie does not contain the token. Sessions are kept here, as
digests: a session that is ended here is ended everywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from aiohttp import web

from gateway.http.request_target import host_name, is_origin_of

SESSION_S = 12 * 3600.0
_SESSIONS_CAP = 1000
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_SAFE = ("GET", "HEAD")
_GUESS_S = 0.2
_FREE_GUESSES = 5
_LONGEST_DELAY_S = 10.0
_REPORT_S = 10.0
_OWN_SITES = ("same-origin", "none")
"""Accepted values of Sec-Fetch-Site. `none` means that a person entered the address."""


class AdminAuth:
    """Authentication of one admin listener."""

    def __init__(
        self,
        token: bytes | None,
        *,
        now: Callable[[], float] = time.monotonic,
        report: Callable[[str | None, int], None] = lambda _client, _count: None,
    ) -> None:
        """Create the check. `token` is required of clients; with None, everyone who reaches the
        listener is an operator. `report` is called about wrong tokens, with the address of the last
        client and the number of wrong tokens since the last report.
        """
        self._token = token
        self._now = now
        self._report = report
        self._guesses = 0
        """Number of wrong tokens that were not reported yet."""
        self._reported_at = -_REPORT_S
        self._answered_at = 0.0
        """Time at which the last answer to a wrong token is due."""
        self._sessions: dict[bytes, float] = {}

    @property
    def needs_token(self) -> bool:
        """True if a token is required."""
        return self._token is not None

    def change_token(self, token: bytes | None) -> None:
        """Require another token, and end all sessions. Whether a token is required stays as it
        is, so None changes nothing.
        """
        if self._token is None or token is None or hmac.compare_digest(token, self._token):
            return
        self._token = token
        self._sessions.clear()

    def refused_origin(
        self, request: web.Request, *, is_document: bool = False
    ) -> tuple[int, str] | None:
        """Return status and reason of the refusal if a page of another origin sent the request,
        otherwise None.

        Fetch Metadata (W3C) reveals requests without an Origin, such as those for scripts and
        images. Programs send neither header. Any page may link to a document, which contains no
        data.
        """
        headers = request.headers
        foreign = not all(
            is_origin_of(origin, _host(request)) for origin in headers.getall("Origin", ())
        ) or not (
            is_document or all(site in _OWN_SITES for site in headers.getall("Sec-Fetch-Site", ()))
        )
        return (403, "not from another origin") if foreign else None

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """Return status and reason if the request is refused, otherwise None."""
        if self._token is None:
            # DNS rebinding: a page whose name resolves to this address has its own name in Host.
            if host_name(_host(request)) not in _LOCAL:
                return 403, "ask for it as localhost, or set admin.token"
            return None
        if self.has_session(request):
            # Browsers send Origin with every change. A request without it is not from our page.
            if request.method in _SAFE or "Origin" in request.headers:
                return None
            return 403, "a session changes things from its own page only"
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(shown, b"Bearer " + self._token):
            return None
        return 401, "a token is needed: Authorization: Bearer ..."

    def has_session(self, request: web.Request) -> bool:
        """Tell whether a request has the cookie of a valid session."""
        shown = request.cookies.get(_cookie(request))
        if shown is None:
            return False
        until = self._sessions.get(_digest(shown))
        return until is not None and until > self._now()

    def sign_in(self, request: web.Request, token: str, response: web.StreamResponse) -> bool:
        """Start a session and set its cookie. Return False if the token is wrong."""
        shown = token.encode("utf-8", "surrogateescape")
        if self._token is None or not hmac.compare_digest(shown, self._token):
            return False
        now = self._now()
        self._sessions = {key: until for key, until in self._sessions.items() if until > now}
        while len(self._sessions) >= _SESSIONS_CAP:
            del self._sessions[next(iter(self._sessions))]
        name = secrets.token_urlsafe(32)
        self._sessions[_digest(name)] = now + SESSION_S
        response.set_cookie(
            _cookie(request),
            name,
            max_age=int(SESSION_S),
            httponly=True,
            samesite="Strict",
            # If a proxy terminates TLS in front of this listener, only the Origin shows it.
            secure=request.headers.get("Origin", "").startswith("https:"),
        )
        return True

    def delay_s(self, client: str | None) -> float:
        """Count a wrong token, and return the seconds to wait before its answer.

        All wrong tokens wait in one queue, regardless of the client: about five are answered in a
        second. The right token never waits, so guessing cannot lock an operator out.
        """
        now = self._now()
        self._guesses += 1
        if now >= self._reported_at + _REPORT_S:
            self._report(client, self._guesses)
            self._reported_at, self._guesses = now, 0
        earliest = now - _FREE_GUESSES * _GUESS_S
        due = min(max(self._answered_at, earliest) + _GUESS_S, now + _LONGEST_DELAY_S)
        self._answered_at = due
        return max(0.0, due - now)

    async def delay_answer(self, request: web.Request) -> None:
        """Count a wrong token, and wait as long as its answer must be delayed."""
        await asyncio.sleep(self.delay_s(request.remote))

    def sign_out(self, request: web.Request, response: web.StreamResponse) -> None:
        """End the session of a request, and delete its cookie."""
        shown = request.cookies.get(_cookie(request))
        if shown is not None:
            self._sessions.pop(_digest(shown), None)
        response.del_cookie(_cookie(request), httponly=True, samesite="Strict")


def _host(request: web.Request) -> str:
    """Return the Host header, or an empty text. aiohttp's `request.host` would look up its own name
    in the DNS if the header is missing, which blocks the event loop.
    """
    return request.headers.get("Host", "")


def _cookie(request: web.Request) -> str:
    """Return the name of the session cookie. All ports of a host share cookies, so the port is part
    of the name: it distinguishes two gateways on one machine.
    """
    port = _host(request).rpartition(":")[2]
    return f"gateway_session_{port}" if port.isdecimal() else "gateway_session"


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
