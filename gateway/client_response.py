"""Base of the responses that the gateway writes to a client's connection itself."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict

from gateway.aiohttp_adaptor import LeanResponse, rfc822_formatted_time
from gateway.client_connection import ClientConnection
from gateway.http.headers import checked_lines
from gateway.request import Request
from gateway.response_head import CHUNKED, http_head
from gateway.sse import EVENT_STREAM

_EVENT_STREAM_HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class ClientResponse(LeanResponse):
    """Response that writes itself, and tells the client's connection when it is complete.

    To plug-ins it is an ordinary aiohttp response: its status and headers can be changed until it
    is sent, and it can be prepared.
    """

    __slots__ = ("_client", "_waiter", "over", "prepared")

    completes_head = False
    """True if the response adds the headers of its exchange itself."""
    _client: ClientConnection | None
    """Connection that it is sent on; None before."""
    prepared: bool
    """True once it is being sent."""
    over: bool
    """True once nothing more will be written."""
    _waiter: asyncio.Future[None] | None

    def __init__(
        self, *, status: int = 200, reason: str | None = None, headers: LooseHeaders | None = None
    ) -> None:
        self._client = self._waiter = None
        self.prepared = self.over = False
        super().__init__(status=status, reason=reason, headers=headers)

    def start(self, request: Request) -> None:
        """Write what there is. Call `_complete` at the end, now or later.

        Raise ConnectionResetError if the client has left.
        """
        raise NotImplementedError

    def left(self) -> None:
        """Stop writing: the client has left, or was cut off."""
        self.over = True

    def _begin(self, request: Request) -> ClientConnection:
        """Note the connection, and return it. Raise ConnectionResetError if it is lost."""
        client = request.client
        if client.transport is None:
            raise ConnectionResetError("the client has left")
        self._client = client
        self.prepared = True
        if self.keep_alive is None:
            self.keep_alive = client.may_keep_alive()
        return client

    def _complete(self) -> None:
        """Tell the connection that the response is complete."""
        self.over = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        client = self._client
        assert client is not None
        client.sent(self)

    # For plug-ins that send a response themselves.

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if not self.prepared:
            original = cast(Request, getattr(request, "original", request))
            self.start(original)
            original.client.pending = self  # until the pipeline hands the response over
        return None

    def cancel(self) -> None:
        """Stop writing: the client has left before the pipeline handed the response over."""
        self.left()

    async def write_eof(self, data: bytes = b"") -> None:
        if not self.over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


class EventStreamResponse(ClientResponse):
    """Response that reads a log of events: its body is chunked, and nothing waits for a client that
    lags. It is the source of its writer, and knows its own head.
    """

    __slots__ = ()

    def __init__(self, headers: CIMultiDict[str] | None = None) -> None:
        """`headers` are those of an upstream's stream, if the events are its."""
        super().__init__(headers=headers or CIMultiDict(_EVENT_STREAM_HEADERS))

    def wake(self) -> None:
        """Write the new events, unless the client lags."""
        raise NotImplementedError

    # The writer calls the next methods.

    def http_bytes(self, *, chunked: bool) -> bytes:
        """Return the head as bytes of HTTP/1.1. The body is always chunked."""
        self.headers.setdefault("Date", rfc822_formatted_time())
        fields = checked_lines(self.headers.items()) + CHUNKED
        return http_head(self.status, self.reason, fields, self.keep_alive)

    def header_fields(self) -> CIMultiDict[str]:
        """Return the fields of the head. The connection has added those of the exchange."""
        return self.headers

    def pause(self) -> None:
        """Do nothing: no events are read while the client lags."""

    def caught_up(self) -> None:
        """Continue writing: the client has caught up."""
        self.wake()
