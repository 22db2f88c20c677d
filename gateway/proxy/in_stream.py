"""Result of a request whose stream was opened early, sent inside that stream."""

from __future__ import annotations

from aiohttp import web

from gateway.client_response import ClientResponse
from gateway.dialects import Dialect, backend_words
from gateway.errors import GatewayError, RequestError, UpstreamInvalidResponse, UpstreamRejected
from gateway.exchange import Exchange
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request
from gateway.sse import EVENT_STREAM

_LONGEST_ERROR_BYTES = 64 * 1024


class LastEvents(ClientResponse):
    """Response that writes the last events of the open stream."""

    def __init__(self, events: bytes, exchange: Exchange, *, complete: bool = False) -> None:
        """`events` is an error event unless the stream is then `complete`."""
        super().__init__()
        self._events = events
        self._exchange = exchange
        self._is_complete = complete
        if not complete:
            self.force_close()

    def start(self, request: Request) -> None:
        """Write the events, and end the stream."""
        client = self._begin(request)
        stream = client.make_writer(client, self._exchange, None)
        if self._events and self._is_complete:
            stream.events(self._events)
        stream.end(None if self._is_complete else self._events)
        self._exchange.bytes_out = len(self._events)
        self._complete()


def failed(error: GatewayError, dialect: Dialect, exchange: Exchange) -> LastEvents:
    """Return a response that ends the stream with this error. Record the error in the exchange."""
    exchange.failed(error)
    return LastEvents(dialect.error_event(error, exchange.request_id, b""), exchange)


def joins(response: web.StreamResponse) -> bool:
    """Tell whether a response can be sent inside the open stream as it is."""
    return isinstance(response, LastEvents) or getattr(response, "joins", False)


async def joined(
    response: web.StreamResponse, dialect: Dialect, exchange: Exchange
) -> web.StreamResponse:
    """Return the response to send inside the open stream. An event stream continues in it; anything
    else ends the stream with an error.
    """
    status = response.status
    error: GatewayError
    body: object
    if isinstance(response, RelayedResponse):
        if status < 400:
            return failed(UpstreamInvalidResponse("no event stream"), dialect, exchange)
        body = await response.held(_LONGEST_ERROR_BYTES)
        words = backend_words.words_of(body or b"", exchange.backend_url)
        error = UpstreamRejected(status, words)
    else:  # a plug-in made the response itself
        body = response.body if isinstance(response, web.Response) else None
        if status < 400:
            if status == 200 and response.content_type == EVENT_STREAM and isinstance(body, bytes):
                return LastEvents(body, exchange, complete=True)
            why = f"a plug-in's answer, of status {status}, came after the stream was opened"
            return failed(GatewayError(reason=why), dialect, exchange)
        error = (GatewayError if status >= 500 else RequestError)(code=f"http_{status}")
        error.status = status
    event = dialect.passed_error(body) if isinstance(body, bytes) else None
    if event is None:
        return failed(error, dialect, exchange)
    exchange.failed(error)
    return LastEvents(event, exchange)
