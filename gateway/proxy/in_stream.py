"""What came of a request whose stream was opened early, said in the stream."""

from __future__ import annotations

from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from gateway.dialects import Dialect
from gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamRejected
from gateway.exchange import ClientConnection, Exchange
from gateway.proxy.relay import RelayedResponse

_LONGEST_ERROR_BYTES = 64 * 1024


class LastEvent(web.StreamResponse):
    """The one event that is left to say. It ends the stream, and not cleanly."""

    def __init__(self, event: bytes, exchange: Exchange) -> None:
        super().__init__()
        self._event = event
        self._exchange = exchange
        self.force_close()

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Say it."""
        transport = cast(ClientConnection, request.protocol).transport
        if transport is not None:
            transport.write(b"%x\r\n%b\r\n" % (len(self._event), self._event))
            self._exchange.bytes_out = len(self._event)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing: there is no clean end."""


def failed(error: GatewayError, dialect: Dialect, exchange: Exchange) -> LastEvent:
    """There is no answer."""
    exchange.error_code, exchange.reason = error.code, error.reason
    return LastEvent(dialect.error_event(error, exchange.request_id, b""), exchange)


async def joined(
    response: web.StreamResponse, dialect: Dialect, exchange: Exchange
) -> web.StreamResponse:
    """The answer: what can go on in the stream does, anything else ends it."""
    if isinstance(response, LastEvent):
        return response
    if getattr(response, "joins", False):
        return response
    body: bytes | None
    if isinstance(response, RelayedResponse):
        body = await response.held(_LONGEST_ERROR_BYTES) if response.status >= 400 else None
    else:
        body = response.body if isinstance(response, web.Response) else None  # type: ignore[assignment]
    if response.status < 400:
        return failed(UpstreamInvalidResponse("no event stream"), dialect, exchange)
    error = UpstreamRejected(response.status)
    event = dialect.passed_error(body) if isinstance(body, bytes) else None
    if event is None:
        return failed(error, dialect, exchange)
    exchange.error_code, exchange.reason = error.code, error.reason
    return LastEvent(event, exchange)
