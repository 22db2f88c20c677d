"""The end of every chain: send the request, hand back the response."""

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
    """What a route says about forwarding."""

    sending: SendOptions
    dialect: Dialect
    hide_server: bool
    heartbeats: Heartbeats | None
    preface: bytes
    """What opens an event stream for a client that `heeds_retry`."""
    switched: Callable[[UpstreamResponse, GatewayRequest], web.StreamResponse] | None = None
    """Makes the response where the upstream switched protocols."""


class Forward:
    """Serves one route."""

    def __init__(self, options: ForwardOptions) -> None:
        self._options = options

    async def __call__(self, request: GatewayRequest) -> web.StreamResponse:
        """Raise GatewayError where there is no response to pass on."""
        options = self._options
        sending = options.sending
        exchange = request.exchange
        target, body = exchange.target, exchange.body
        assert target is not None  # Resolve has run
        exchange.upstream = target.upstream.name
        if body is None and request.body_exists:
            # If it is here already, it is sent with the head, in one write.
            body = sending.reader.here(request)
            if body is None and target.upstream.latest.is_full_of_uploads:
                body = await sending.reader.held(request)
        if target.reads_json and body is not None and exchange.json is None:
            with contextlib.suppress(RequestError):  # whose business it is on such a route
                await sending.reader.parsed(request, body)
        translation = target.translation
        if translation is None and exchange.filter is not None and body is not None:
            response = await send_asking(request, target, body, sending)
        elif translation is None:
            response = await Attempts(request, target, body, sending).send()
            if response.tunnel is not None:
                assert options.switched is not None  # nobody else asks for it
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
    """How the client and the endpoint that answered see this request."""
    exchange = request.exchange
    assert exchange.attempt is not None  # its answer is here
    base = exchange.attempt.endpoint.base
    authorities = [request._message.headers[HOST]] if target.keeps_host else []
    for endpoint in target.upstream.latest.endpoints:
        # A sibling's address is no more the client's business than the endpoint's own.
        address = endpoint.pool.address
        authorities += (address.authority, urlsplit(address.url).netloc)
    return Exposure(
        exchange.public_url, exchange.path, exchange.path[:strip], base, tuple(authorities)
    )
