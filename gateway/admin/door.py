"""Who may come in on the admin listener: a program by its token, a browser by a session.

A page can set no header on what a browser loads by itself, so it shows the token once, and is known
by a cookie afterwards. The cookie says nothing of the token, and its sessions are kept here, as
digests: ending one ends it everywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web

SESSION_S = 12 * 3600.0
_SESSIONS_CAP = 1000
_LOCAL = ("localhost", "127.0.0.1", "::1")
_SAFE = ("GET", "HEAD")


class Door:
    """Of one admin listener."""

    def __init__(self, token: bytes | None, *, now: Callable[[], float] = time.monotonic) -> None:
        """`token` is asked for; None: whoever reaches the listener is an operator."""
        self._token = token
        self._now = now
        self._sessions: dict[bytes, float] = {}

    @property
    def needs_token(self) -> bool:
        """Whether one is asked for."""
        return self._token is not None

    def foreign(self, request: web.Request) -> tuple[int, str] | None:
        """Status and reason, if it comes from a page of another origin."""
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return 403, "not from another origin"
        return None

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """Status and reason for which this request is not answered."""
        if self._token is None:
            # A page whose name was pointed at this address would have its own name in Host.
            if urlsplit(f"//{request.host}").hostname not in _LOCAL:
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

    def leave(self, request: web.Request, response: web.StreamResponse) -> None:
        """End its session."""
        shown = request.cookies.get(_cookie(request))
        if shown is not None:
            self._sessions.pop(_digest(shown), None)
        response.del_cookie(_cookie(request), httponly=True, samesite="Strict")


def _cookie(request: web.Request) -> str:
    """Cookies are shared by the ports of a host: two gateways of a machine are told apart."""
    port = request.host.rpartition(":")[2]
    return f"gateway_session_{port}" if port.isdecimal() else "gateway_session"


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
