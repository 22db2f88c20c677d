"""The end of every chain: pick an endpoint, send, hand back the response.

A request is sent again only where nothing can happen twice: when no connection was made, or
when an idempotent one met a pooled connection that closed before answering.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from gateway.dialects import Dialect
from gateway.errors import GatewayError, UpstreamBusy, UpstreamConnectFailed, UpstreamReset
from gateway.exchange import GatewayRequest
from gateway.headers import connection_tokens
from gateway.proxy import body as bodies
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.resolve import Target
from gateway.upstream.connection import UpstreamConnection, UpstreamResponse
from gateway.upstream.upstream import Endpoint

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_ACCEPT_ENCODING = frozenset({b"accept-encoding"})
_CONNECTION_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te"}


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """What a route says about forwarding. Sizes in bytes, times in seconds."""

    strip: int
    """How many characters of the path belong to the route and are not forwarded."""
    body_cap_bytes: int
    body_silence_s: float
    dialect: Dialect
    hide_server: bool


class Forward:
    """Serves one route."""

    def __init__(self, options: ForwardOptions) -> None:
        self._options = options

    async def __call__(self, request: GatewayRequest) -> web.StreamResponse:
        """Raise GatewayError where there is no response to pass on."""
        options = self._options
        exchange = request.exchange
        target, body = exchange.target, exchange.body
        assert target is not None  # Resolve has run
        exchange.upstream = target.upstream.name
        if body is None and request.content.is_eof() and request.body_exists:
            # It is here already: send it with the head, in one write.
            body = await bodies.whole(request, options.body_cap_bytes, options.body_silence_s)
        response = await self._send(request, target, body)
        return RelayedResponse(response, exchange, options.dialect, hide_server=options.hide_server)

    # -- sending ---------------------------------------------------------------------------

    async def _send(
        self, request: GatewayRequest, target: Target, body: bytes | None
    ) -> UpstreamResponse:
        upstream = target.upstream
        tried: list[Endpoint] = []
        failure: GatewayError | None = None
        fresh = False
        while (endpoint := upstream.pick(tried)) is not None:
            request.exchange.endpoint = endpoint.url
            connection = None if fresh else endpoint.pool.take_idle()
            if connection is None:
                try:
                    connection = await endpoint.pool.connect()
                except (UpstreamConnectFailed, UpstreamBusy) as exc:
                    failure = exc
                    tried.append(endpoint)
                    continue
            reused = connection.reused
            try:
                return await self._exchange(request, target, endpoint, connection, body)
            except UpstreamReset:
                # It may have been closing as we picked it. Whether it saw the request cannot
                # be known, so only what may safely be repeated is.
                streamed = body is None and request.body_exists
                if not reused or streamed or request.method not in _IDEMPOTENT:
                    raise
                fresh = True
        assert failure is not None
        raise failure

    async def _exchange(
        self,
        request: GatewayRequest,
        target: Target,
        endpoint: Endpoint,
        connection: UpstreamConnection,
        body: bytes | None,
    ) -> UpstreamResponse:
        """Send on this connection and wait for the response head."""
        timeouts = target.upstream.timeouts
        streamed = body is None and request.body_exists
        head = self._request_head(request, target, endpoint, body)
        answer = connection.send(
            head + body if body else head,
            last=not streamed,
            head_only=request.method == "HEAD",
            first_byte_s=timeouts.first_byte_s,
            idle_s=timeouts.idle_s,
        )
        exchange = request.exchange
        if streamed:
            upload = asyncio.create_task(self._upload(request, connection, timeouts.first_byte_s))
            # It may go on beside the response; it never outlives the exchange.
            exchange.at_end(lambda _: _cancel(upload))
        try:
            response = await answer
        except asyncio.CancelledError:
            connection.abort()
            raise
        exchange.at_end(lambda _: response.abort())
        return response

    async def _upload(
        self, request: GatewayRequest, connection: UpstreamConnection, first_byte_s: float
    ) -> None:
        options = self._options
        chunked = request.content_length is None
        try:
            async for piece in bodies.pieces(
                request, options.body_cap_bytes, options.body_silence_s
            ):
                if chunked:
                    piece = b"%x\r\n%b\r\n" % (len(piece), piece)
                connection.send_body(piece)
                await connection.drain()
        except GatewayError as exc:
            connection.fail(exc)
        else:
            if chunked:
                connection.send_body(b"0\r\n\r\n")
            connection.body_sent(first_byte_s)

    def _request_head(
        self, request: GatewayRequest, target: Target, endpoint: Endpoint, body: bytes | None
    ) -> bytes:
        exchange = request.exchange
        # A compressed body could not be read for its tokens.
        dropped = target.dropped if exchange.tap is None else target.dropped | _ACCEPT_ENCODING
        path = exchange.path[self._options.strip :] if self._options.strip else exchange.path
        if exchange.query:
            path = f"{path}?{exchange.query}"
        parts = [
            b"%b %b%b HTTP/1.1\r\n%b%b%bX-Request-ID: %b\r\n"
            % (
                request.method.encode(),
                endpoint.base,
                path.encode("latin-1"),
                endpoint.fixed_lines,
                exchange.forwarded,
                exchange.principal.headers if exchange.principal is not None else b"",
                exchange.request_id.encode(),
            )
        ]
        nominated: set[bytes] = set()
        for name, value in request.raw_headers:
            lowered = name.lower()
            if lowered in dropped:
                if lowered == b"connection":
                    nominated |= connection_tokens(value)
            elif b"_" not in name:
                # Names with an underscore pass for the same name with a hyphen in CGI and WSGI.
                parts.append(b"%b: %b\r\n" % (name, value))
        if not nominated <= _CONNECTION_OPTIONS:
            parts[1:] = [p for p in parts[1:] if p[: p.index(b":")].lower() not in nominated]
        if body is not None:
            parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
        elif request.body_exists and request.content_length is None:
            parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
        elif request.content_length is not None:
            parts.append(b"Content-Length: %d\r\n\r\n" % request.content_length)
        else:
            parts.append(b"\r\n")
        return b"".join(parts)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
