"""Construction of a route's WebSocket parts: the check of handshakes, and the sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from gateway.auth.provider import Provider
from gateway.auth.validity import CredentialValidity
from gateway.bucket import TokenBucket
from gateway.client_connection import ClientConnection
from gateway.config import models
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


def _messages(rate: str | None) -> Callable[[], TokenBucket] | None:
    if rate is None:
        return None
    per_s, burst = per_second(rate)
    return lambda: TokenBucket(per_s, burst)
