"""Construction of a route's WebSocket parts: the check of handshakes, and the sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from aiohttp import web

from gateway.auth.principal import Principal
from gateway.auth.provider import Provider
from gateway.bucket import TokenBucket
from gateway.client_connection import ClientConnection
from gateway.config import models
from gateway.errors import AuthUnavailable
from gateway.middleware.upgrade import Upgrade
from gateway.request import Request
from gateway.upstream.response import UpstreamResponse
from gateway.websocket.handshake import handshake_of, read_answer
from gateway.websocket.response import WebSocketResponse
from gateway.websocket.upstream_session import UpstreamSession
from gateway.websocket.watch import SessionOptions
from gateway.wiring.limits import per_second


def settings(route: models.Route) -> models.WebSocket | None:
    """Return the route's WebSocket options, or None if it serves no WebSockets."""
    if isinstance(route.websocket, models.WebSocket):
        return route.websocket
    return models.WebSocket() if route.websocket or route.bridge is not None else None


def upgrade(options: models.WebSocket) -> Upgrade:
    """Return the middleware that checks the handshakes of clients."""
    return Upgrade(options.origins, deflate=options.deflate)


def switched(
    options: models.WebSocket, providers: Mapping[str, Provider]
) -> Callable[[UpstreamResponse, Request], web.StreamResponse]:
    """Return the function that makes a session from the upstream's 101 response."""
    session = session_options(options)

    def switch(upstream: UpstreamResponse, request: Request) -> web.StreamResponse:
        exchange = request.exchange
        principal = exchange.principal
        handshake = handshake_of(exchange.session)
        headers = read_answer(handshake, upstream.head.fields)
        validity = CredentialValidity(providers, principal) if principal is not None else None

        def begin(client: ClientConnection) -> UpstreamSession:
            return UpstreamSession(
                exchange, client, upstream, session, deflate=handshake.deflate, validity=validity
            )

        return WebSocketResponse(headers, exchange, begin)

    return switch


def session_options(options: models.WebSocket) -> SessionOptions:
    """Return the limits and timeouts of a session."""
    return SessionOptions(
        max_message_bytes=options.max_message,
        idle_s=options.idle,
        ping_s=options.ping,
        messages=_messages(options.messages),
        lifetime_s=options.max_session,
    )


class CredentialValidity:
    """Credential validity of a session's caller, as its provider sees it now."""

    def __init__(self, providers: Mapping[str, Provider], principal: Principal) -> None:
        self._provider = providers.get(principal.provider)
        self._principal = principal

    def holds(self) -> bool:
        """Tell whether the credential is still valid. If the provider cannot tell now, the
        credential stays valid until it expires.
        """
        if self.left_s() <= 0 or self._provider is None:
            return False
        try:
            return self._provider.stands(self._principal)
        except AuthUnavailable:
            return True

    def left_s(self) -> float:
        """Return the seconds until the credential expires; infinite if it does not."""
        expires_at = self._principal.expires_at
        return float("inf") if expires_at is None else expires_at - time.time()


def _messages(rate: str | None) -> Callable[[], TokenBucket] | None:
    if rate is None:
        return None
    per_s, burst = per_second(rate)
    return lambda: TokenBucket(per_s, burst)
