"""Who may come in on the admin listener: a program by its token, a browser by a session.

A page can set no header on what a browser loads by itself, so it shows the token once, and is known
by a cookie afterwards. The cookie says nothing of the token, and its sessions are kept here, as
digests: ending one ends it everywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from aiohttp import web

from gateway.target import host_name, is_origin_of

SESSION_S = 12 * 3600.0
_SESSIONS_CAP = 1000
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_SAFE = ("GET", "HEAD")
_GUESS_S = 0.2
_FREE_GUESSES = 5
_LONGEST_DELAY_S = 10.0
_REPORT_S = 10.0
_OWN_SITES = ("same-origin", "none")
"""Values of Sec-Fetch-Site that are answered; `none` is an address that a person typed."""


class Door:
    """Of one admin listener."""

    def __init__(
        self,
        token: bytes | None,
        *,
        now: Callable[[], float] = time.monotonic,
        report: Callable[[str | None, int], None] = lambda _client, _count: None,
    ) -> None:
        """`token` is asked for; None: whoever reaches the listener is an operator. `report` is told
        of wrong tokens: the address of the last client, and how many there were since the last
        report.
        """
        self._token = token
        self._now = now
        self._report = report
        self._guesses = 0
        """Wrong tokens that were not reported yet."""
        self._reported_at = -_REPORT_S
        self._answered_at = 0.0
        """Time at which the last answer to a wrong token is due."""
        self._sessions: dict[bytes, float] = {}

    @property
    def needs_token(self) -> bool:
        """Whether one is asked for."""
        return self._token is not None

    def foreign(self, request: web.Request, *, is_document: bool = False) -> tuple[int, str] | None:
        """Status and reason, if a page of another origin sent it, in whatever way.

        Fetch Metadata (W3C) tells of reads that come without an Origin, such as scripts and images.
        Programs send neither header. Any page may link to a document, which tells nothing.
        """
        headers = request.headers
        foreign = not all(
            is_origin_of(origin, _host(request)) for origin in headers.getall("Origin", ())
        ) or not (
            is_document or all(site in _OWN_SITES for site in headers.getall("Sec-Fetch-Site", ()))
        )
        return (403, "not from another origin") if foreign else None

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """Status and reason for which this request is not answered."""
        if self._token is None:
            # A page whose name was pointed at this address would have its own name in Host.
            if host_name(_host(request)) not in _LOCAL:
                return 403, "ask for it as localhost, or set admin.token"
            return None
        if self.has_session(request):
            # Browsers say where a change comes from; what says nothing is no page of ours.
            if request.method in _SAFE or "Origin" in request.headers:
                return None
            return 403, "a session changes things from its own page only"
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(shown, b"Bearer " + self._token):
            return None
        return 401, "a token is needed: Authorization: Bearer ..."

    def has_session(self, request: web.Request) -> bool:
        """Whether it comes with a cookie that is good now."""
        shown = request.cookies.get(_cookie(request))
        if shown is None:
            return False
        until = self._sessions.get(_digest(shown))
        return until is not None and until > self._now()

    def enter(self, request: web.Request, token: str, response: web.StreamResponse) -> bool:
        """Give a session to whoever shows the token; False if it is another one."""
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
            # What terminates TLS before this listener is seen by what the browser calls us.
            secure=request.headers.get("Origin", "").startswith("https:"),
        )
        return True

    def delay_s(self, client: str | None) -> float:
        """Count a wrong token; how long its answer has to wait.

        All wrong tokens wait in one line, whoever sends them: about five a second are answered. The
        right token never waits, so nobody can keep an operator out by guessing.
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

    async def hold_back(self, request: web.Request) -> None:
        """Wait before a wrong token is answered."""
        await asyncio.sleep(self.delay_s(request.remote))

    def leave(self, request: web.Request, response: web.StreamResponse) -> None:
        """End its session."""
        shown = request.cookies.get(_cookie(request))
        if shown is not None:
            self._sessions.pop(_digest(shown), None)
        response.del_cookie(_cookie(request), httponly=True, samesite="Strict")


def _host(request: web.Request) -> str:
    """The authority that was asked. aiohttp looks its own name up in the DNS where there is none,
    and would hold up the event loop for it.
    """
    return request.headers.get("Host", "")


def _cookie(request: web.Request) -> str:
    """Cookies are shared by the ports of a host: two gateways of a machine are told apart."""
    port = _host(request).rpartition(":")[2]
    return f"gateway_session_{port}" if port.isdecimal() else "gateway_session"


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
