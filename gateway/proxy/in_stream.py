"""Result of a request whose stream was opened early, sent inside that stream."""

from __future__ import annotations

from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from gateway.chunks import LAST_CHUNK, chunk
from gateway.dialects import Dialect, backend_words
from gateway.errors import GatewayError, RequestError, UpstreamInvalidResponse, UpstreamRejected
from gateway.exchange import ClientConnection, Exchange
from gateway.proxy.relay import RelayedResponse
from gateway.sse import EVENT_STREAM

_LONGEST_ERROR_BYTES = 64 * 1024


class LastEvent(web.StreamResponse):
    """Response that writes one final event. It ends the stream without a terminating chunk."""

    def __init__(self, event: bytes, exchange: Exchange) -> None:
        super().__init__()
        self._event = event
        self._exchange = exchange
        self.force_close()

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the event."""
        transport = cast(ClientConnection, request.protocol).transport
        if transport is not None:
            transport.write(chunk(self._event))
            self._exchange.bytes_out = len(self._event)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: the stream must not end cleanly."""


class Whole(web.StreamResponse):
    """Response that writes all events of a plug-in's response into the open stream."""

    def __init__(self, events: bytes) -> None:
        super().__init__()
        self._events = events

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the events and the terminating chunk."""
        transport = cast(ClientConnection, request.protocol).transport
        if transport is not None:
            events = self._events
            said = chunk(events) if events else b""
            transport.write(said + LAST_CHUNK)
            self._body_length = len(events)
        self._keep_alive = cast(ClientConnection, request.protocol).may_keep_alive()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: the stream has already ended."""


def failed(error: GatewayError, dialect: Dialect, exchange: Exchange) -> LastEvent:
    """Return a response that ends the stream with this error. Record the error in the exchange."""
    exchange.failed(error)
    return LastEvent(dialect.error_event(error, exchange.request_id, b""), exchange)


async def joined(
    response: web.StreamResponse, dialect: Dialect, exchange: Exchange
) -> web.StreamResponse:
    """Return the response to send inside the open stream. An event stream continues in it; anything
    else ends the stream with an error.
    """
    if isinstance(response, LastEvent) or getattr(response, "joins", False):
        return response
    status = response.status
    error: GatewayError
    body: object
    if isinstance(response, RelayedResponse):
        if status < 400:
            return failed(UpstreamInvalidResponse("no event stream"), dialect, exchange)
        body = await response.held(_LONGEST_ERROR_BYTES)
        words = backend_words.words_of(body or b"", exchange.endpoint)
        error = UpstreamRejected(status, words)
    else:  # a plug-in made the response itself
        body = response.body if isinstance(response, web.Response) else None
        if status < 400:
            if status == 200 and response.content_type == EVENT_STREAM and isinstance(body, bytes):
                return Whole(body)
            why = f"a plug-in's answer, of status {status}, came after the stream was opened"
            return failed(GatewayError(reason=why), dialect, exchange)
        error = (GatewayError if status >= 500 else RequestError)(code=f"http_{status}")
        error.status = status
    event = dialect.passed_error(body) if isinstance(body, bytes) else None
    if event is None:
        return failed(error, dialect, exchange)
    exchange.failed(error)
    return LastEvent(event, exchange)
