"""Last handler of every chain: send the request and return the response."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.hdrs import HOST

from gateway.dialects import Dialect
from gateway.errors import RequestError
from gateway.exchange import GatewayRequest
from gateway.proxy.answered_name import told_as_asked
from gateway.proxy.asking_usage import send_asking
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts
from gateway.proxy.continuation import continuation_of
from gateway.proxy.early_head import heeds_retry
from gateway.proxy.heartbeat import Heartbeats
from gateway.proxy.locations import Exposure, rewrite
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.resolve import Target
from gateway.proxy.translated import send_translated
from gateway.upstream.head import LOCATIONS
from gateway.upstream.response import UpstreamResponse


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """Options of a route for forwarding."""

    sending: SendOptions
    dialect: Dialect
    hide_server: bool
    heartbeats: Heartbeats | None
    preface: bytes
    """Bytes that open an event stream for a client that `heeds_retry`."""
    switched: Callable[[UpstreamResponse, GatewayRequest], web.StreamResponse] | None = None
    """Factory of the response after the upstream has switched protocols."""


class Forward:
    """Handler that forwards the requests of one route."""

    def __init__(self, options: ForwardOptions) -> None:
        self._options = options

    async def __call__(self, request: GatewayRequest) -> web.StreamResponse:
        """Return the response to relay. Raise GatewayError if there is none."""
        options = self._options
        sending = options.sending
        exchange = request.exchange
        target, body = exchange.target, exchange.body
        assert target is not None  # Resolve has run before
        exchange.upstream = target.upstream.name
        if body is None and request.body_exists:
            # A body that has already arrived is sent with the head, in one write.
            body = sending.reader.here(request)
            if body is None and target.upstream.latest.is_full_of_uploads:
                body = await sending.reader.held(request)
        if target.reads_json and body is not None and exchange.json is None:
            with contextlib.suppress(RequestError):  # such a route does not require valid JSON
                await sending.reader.parsed(request, body)
        translation = target.translation
        if translation is None and exchange.filter is not None and body is not None:
            response = await send_asking(request, target, body, sending)
        elif translation is None:
            response = await Attempts(request, target, body, sending).send()
            if response.tunnel is not None:
                # Only a route with this option requests a switch.
                assert options.switched is not None
                return options.switched(response, request)
        else:
            if exchange.body is None:
                body = await sending.reader.whole(request)
            assert body is not None
            response = await send_translated(request, target, translation, body, sending)
        if target.tells_asked:
            response = await told_as_asked(response, exchange)
        if response.head.located:
            response.head.fields = rewrite(
                response.head.fields, LOCATIONS, _exposure(request, target, sending.strip)
            )
        dialect, preface = options.dialect, options.preface
        return RelayedResponse(
            response,
            exchange,
            dialect,
            options.hide_server,
            continuation_of(request, body, dialect, sending) if target.continues else None,
            options.heartbeats,
            preface if preface and heeds_retry(request) else b"",
        )


def _exposure(request: GatewayRequest, target: Target, strip: int) -> Exposure:
    """Return the addresses under which the client and the answering endpoint know this request."""
    exchange = request.exchange
    assert exchange.attempt is not None  # the response has arrived
    base = exchange.attempt.endpoint.base
    authorities = [request._message.headers[HOST]] if target.keeps_host else []
    for endpoint in target.upstream.latest.endpoints:
        # Addresses of the sibling endpoints are hidden from the client like the endpoint's own.
        address = endpoint.pool.address
        authorities += (address.authority, urlsplit(address.url).netloc)
    return Exposure(
        exchange.public_url, exchange.path, exchange.path[:strip], base, tuple(authorities)
    )
