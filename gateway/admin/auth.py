"""Authentication of the admin listener: a program shows a token, a browser has a session.

A page cannot set headers on what a browser loads by itself. So it shows a token once, or its user
signs in at the issuer, and the browser is recognized by a cookie afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from gateway.admin.access import Access
from gateway.admin.operator import Operator
from gateway.admin.roles import OperatorRole
from gateway.admin.sessions import OperatorSession, OperatorSessions, digest_of
from gateway.http.request_target import host_name, is_origin_of
from gateway.routing.forwarded import Claims, TrustedProxies
from gateway.store.records import StoreUnavailable

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
SAFE = ("GET", "HEAD")
_GUESS_S = 0.2
_FREE_GUESSES = 5
_LONGEST_DELAY_S = 10.0
_REPORT_S = 10.0
_OWN_SITES = ("same-origin", "none")
"""Accepted values of Sec-Fetch-Site. `none` means that a person entered the address."""
SECURE_PREFIX = "__Host-"
"""Prefix of a cookie that only an https page of the same host can set (RFC 6265bis section
4.1.3.2).
"""


class AccessRefused(Exception):
    """The request is refused. The text is the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class AdminAuth:
    """Authentication of one admin listener."""

    def __init__(
        self,
        access: Access,
        sessions: OperatorSessions,
        *,
        now: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        report: Callable[[str | None, int], None] = lambda _client, _count: None,
    ) -> None:
        """Create the check. `report` is called about wrong tokens, with the address of the last
        client and the number of wrong tokens since the last report.
        """
        self.access = access
        """Tokens and issuer that are accepted. May be replaced at any time."""
        self.sessions = sessions
        self.proxies = TrustedProxies(())
        """Proxies whose X-Forwarded-For is believed. They may be replaced at any time."""
        self._now = now
        self._clock = clock
        self._report = report
        self._guesses = 0
        """Number of wrong tokens that were not reported yet."""
        self._reported_at = -_REPORT_S
        self._answered_at = 0.0
        """Time at which the last answer to a wrong token is due."""

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
            is_origin_of(origin, host_of(request)) for origin in headers.getall("Origin", ())
        ) or not (
            is_document or all(site in _OWN_SITES for site in headers.getall("Sec-Fetch-Site", ()))
        )
        return (403, "not from another origin") if foreign else None

    async def identify(self, request: web.Request, *, uses: bool = True) -> Operator:
        """Return who sent a request. With `uses`, the request keeps a session from being idle.
        Raise AccessRefused.
        """
        address = self.address(request)
        if not self.access.is_restricted:
            # DNS rebinding: a page whose name resolves to this address has its own name in Host.
            if not is_local(request):
                raise AccessRefused(403, "ask for it as localhost, or set admin.token")
            return Operator("local", "local", OperatorRole.ADMIN, address)
        session = await self.session(request, uses=uses)
        if session is not None:
            # Browsers send Origin with every change. A request without it is not from our page.
            if request.method not in SAFE and "Origin" not in request.headers:
                raise AccessRefused(403, "a session changes things from its own page only")
            role = self.access.role(session)
            if role is not None:
                return Operator(session.name, "session", role, address, session.subject, session.id)
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        scheme, _, token = shown.partition(b" ")
        if scheme == b"Bearer" and (found := self.access.token(token)) is not None:
            return Operator(found.name, "token", found.role, address)
        raise AccessRefused(401, "a token is needed: Authorization: Bearer ...")

    async def still_admits(self, request: web.Request) -> bool:
        """Tell whether a viewer of a stream may go on. The stream does not keep its session from
        being idle.
        """
        try:
            await self.identify(request, uses=False)
        except AccessRefused:
            return False
        return True

    async def session(self, request: web.Request, *, uses: bool = True) -> OperatorSession | None:
        """Return the session of a request's cookie, or None. Raise AccessRefused if sessions
        cannot be looked up.
        """
        shown = self._cookie(request)
        if shown is None:
            return None
        try:
            return await self.sessions.find(shown, self.access.idle_s, uses=uses)
        except StoreUnavailable as exc:
            reason = "the store does not answer, which has the sessions; a token is accepted"
            raise AccessRefused(503, reason) from exc

    async def sign_in(
        self, request: web.Request, token: str, response: web.StreamResponse
    ) -> Operator | None:
        """Start a session with a token, and set its cookie. Return None if the token is wrong.
        Raise StoreUnavailable.
        """
        found = self.access.token(token.encode("utf-8", "surrogateescape"))
        if found is None:
            return None
        now = self._clock()
        session = OperatorSession(
            found.name,
            found.source,
            now,
            now + self.access.session_s(is_token=True),
            address=self.address(request),
        )
        await self.begin(request, session, response)
        return Operator(found.name, "token", found.role, self.address(request))

    async def begin(
        self, request: web.Request, session: OperatorSession, response: web.StreamResponse
    ) -> None:
        """Store a session, and set its cookie. A session that the browser had before ends. Raise
        StoreUnavailable.
        """
        await self._end(request)
        name = await self.sessions.begin(session, self.access.idle_s)
        secure = self.is_secure(request)
        response.set_cookie(
            cookie_name("session", request, secure=secure),
            name,
            max_age=int(session.ends_at - session.began_at),
            httponly=True,
            samesite="Strict",
            secure=secure,
        )

    async def sign_out(self, request: web.Request, response: web.StreamResponse) -> None:
        """End the session of a request, and delete its cookie. Raise StoreUnavailable."""
        await self._end(request)
        for secure in (False, True):
            name = cookie_name("session", request, secure=secure)
            if name in request.cookies:
                response.del_cookie(name, httponly=True, samesite="Strict", secure=secure)

    def address(self, request: web.Request) -> str | None:
        """Return the address of the client, which a trusted proxy tells."""
        peer = request.remote
        if not peer or not self.proxies.trusts(peer):
            return peer
        said = Claims(",".join(request.headers.getall("X-Forwarded-For", ())))
        return self.proxies.origin(peer, False, "", said).client_ip

    def is_secure(self, request: web.Request) -> bool:
        """Tell whether the browser reached this listener by https: through a proxy, so only the
        Origin or the configuration shows it.
        """
        if request.headers.get("Origin", "").startswith("https:"):
            return True
        return (self.access.base(host_of(request)) or "").startswith("https:")

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
        await asyncio.sleep(self.delay_s(self.address(request)))

    async def _end(self, request: web.Request) -> None:
        shown = self._cookie(request)
        if shown is not None:
            await self.sessions.end(digest_of(shown))

    def _cookie(self, request: web.Request) -> str | None:
        """Return the value of the session cookie, or None. Where the listener is reached by https,
        a cookie without the prefix does not count: another host of the domain can set it.
        """
        found = request.cookies.get(cookie_name("session", request, secure=True))
        if found is None and not self.is_secure(request):
            found = request.cookies.get(cookie_name("session", request, secure=False))
        return found


def host_of(request: web.Request) -> str:
    """Return the Host header, or an empty text. aiohttp's `request.host` would look up its own name
    in the DNS if the header is missing, which blocks the event loop.
    """
    return request.headers.get("Host", "")


def is_local(request: web.Request) -> bool:
    """Tell whether a request names this machine as its host."""
    return host_name(host_of(request)) in _LOCAL


def cookie_name(what: str, request: web.Request, *, secure: bool) -> str:
    """Return the name of a cookie. All ports of a host share cookies, so the port is part of the
    name: it distinguishes two gateways on one machine.
    """
    port = host_of(request).rpartition(":")[2]
    prefix = SECURE_PREFIX if secure else ""
    return f"{prefix}gateway_{what}_{port}" if port.isdecimal() else f"{prefix}gateway_{what}"
