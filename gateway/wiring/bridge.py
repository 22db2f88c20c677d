"""Final handler of a bridge route: a WebSocket whose requests another route serves."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.auth.provider import Provider
from gateway.auth.validity import CredentialValidity
from gateway.bridge.bridge import Bridge, BridgeOptions
from gateway.bridge.messages import BridgePaths
from gateway.client_connection import ClientConnection
from gateway.config import models
from gateway.config.types import Dialect
from gateway.dialects import DIALECTS
from gateway.errors import UpgradeRequired
from gateway.facts import DelegatedIdentity
from gateway.load.offload import Offload
from gateway.pipeline import Handler
from gateway.request import Request
from gateway.websocket.client_socket import ClientSocket
from gateway.websocket.handshake import answer_of_ours, handshake_of
from gateway.websocket.response import WebSocketResponse
from gateway.wiring.resume import streams_path
from gateway.wiring.websocket import session_options

_KEPT_HEADERS = (
    "Host",
    "User-Agent",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
)
"""Headers about the client that are copied from the handshake to each request of the socket."""


def bridged(
    route: models.Route,
    target: models.Route,
    dialect: Dialect,
    sockets: models.WebSocket,
    providers: Mapping[str, Provider],
    offload: Offload,
) -> Handler:
    """Return the handler for the handshakes of a bridge whose requests go to `target`."""
    assert route.bridge is not None
    options = _options(route.bridge, target, dialect, offload)
    session = session_options(sockets)

    def answer(request: Request) -> web.StreamResponse:
        exchange = request.exchange
        socket, principal = exchange.session, exchange.principal
        if socket is None:
            raise UpgradeRequired
        handshake = handshake_of(socket)
        delegated = DelegatedIdentity(principal, target.name, exchange.request_id)
        validity = CredentialValidity(providers, principal) if principal is not None else None
        headers = request.headers
        fields = tuple(
            # aiohttp decoded the values with the same codec.
            (name.encode(), ", ".join(headers.getall(name)).encode("utf-8", "surrogateescape"))
            for name in _KEPT_HEADERS
            if name in headers
        )

        def begin(client: ClientConnection) -> ClientSocket:
            bridge = Bridge(options, client, delegated, fields)
            socket.on_drain = bridge.drain
            return ClientSocket(
                exchange,
                client,
                session,
                bridge.talk,
                deflate=handshake.deflate,
                validity=validity,
                binary=False,
            )

        return WebSocketResponse(answer_of_ours(handshake), exchange, begin)

    return answer


def _options(
    bridge: models.BridgeSettings, target: models.Route, dialect: Dialect, offload: Offload
) -> BridgeOptions:
    path = target.path
    if path.endswith("/"):
        streams = [path[:-1] + end for end in DIALECTS[dialect].paths.generating]
        path = streams[0]
    else:
        streams = [path]
    return BridgeOptions(
        endpoints=BridgePaths(path, frozenset(streams)),
        streams_path=streams_path(target) if target.resume is not None else None,
        generations=bridge.generations,
        dialect=DIALECTS[dialect],
        offload=offload,
    )
