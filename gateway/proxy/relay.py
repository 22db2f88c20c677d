"""The relay: an upstream's response on its way to the client, byte for byte, as it comes.

A `RelayedResponse` is an ordinary aiohttp response to every middleware: it has a status and
headers that can be changed until it is sent. Its body never passes through a task or a queue:
what the upstream connection reads is written to the client's transport in the same call.

A stream ends in exactly one way: complete; or with one error event of the route's dialect and
no terminating chunk; or, where no event can be said, cut short so that it shows.
"""

from __future__ import annotations

import asyncio
import time
from functools import cached_property
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from gateway.dialects import Dialect
from gateway.errors import GatewayError
from gateway.exchange import ClientConnection, Exchange
from gateway.headers import lines
from gateway.proxy.continuation import Continuation
from gateway.proxy.response_body import ResponseBody, end_reason
from gateway.upstream.response import UpstreamResponse

_LAST_CHUNK = b"0\r\n\r\n"
_COPY_CAP_BYTES = 16 * 1024
"""Up to here one write of a copy is cheaper than three writes without."""
_STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n"}
_BODILESS = (204, 304)


class RelayedResponse(web.StreamResponse):
    """The response the upstream is sending."""

    def __init__(
        self,
        upstream: UpstreamResponse,
        exchange: Exchange,
        dialect: Dialect,
        *,
        hide_server: bool,
        continuation: Continuation | None = None,
    ) -> None:
        # Not super().__init__(): it would build a header dict that most responses never need.
        self._state: dict[Any, Any] = {}
        head = upstream.head
        self._status = head.status
        self._reason = head.reason.decode("latin-1")
        self._upstream = upstream
        self._exchange = exchange
        self._dialect = dialect
        self._hide_server = hide_server
        self._done: asyncio.Future[None] | None = None
        self._chunked = False
        self._tail = b""
        self.body = ResponseBody(upstream, exchange, dialect, continuation)
        """What a client is to get; whoever takes it instead must not send this response."""
        self._look = self.body.look
        self.error: GatewayError | None = None
        """Why the body broke off, if it did."""

    @cached_property
    def _headers(self) -> CIMultiDict[str]:  # type: ignore[override]
        """Made when somebody looks; otherwise the upstream's bytes are sent as they are."""
        return CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._upstream.head.fields
        )

    async def held(self, cap_bytes: int) -> bytes | None:
        """Its whole body, not sent yet; None if it is larger, or broke off."""
        try:
            return await self._upstream.held(cap_bytes)
        except GatewayError:
            return None

    @property
    def prepared(self) -> bool:
        return self._req is not None

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, with as much of the body as is here, in one write."""
        if self._req is not None:
            return None
        self._req = request
        exchange, upstream = self._exchange, self._upstream
        client = cast(ClientConnection, request.protocol)
        transport = client.transport
        if transport is None:
            raise ConnectionResetError("the client has left")
        self._transport = transport
        exchange.status = self._status
        if self._keep_alive is None:
            self._keep_alive = client.may_keep_alive()
        has_body = request.method != "HEAD" and self._status not in _BODILESS
        data = self._head_bytes(has_body)
        if has_body and upstream.unread:
            data += self._framed(upstream.take_unread())
        if upstream.complete:
            if self._chunked:
                rest = self.body.rest()
                data += b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b""
                data += _LAST_CHUNK
            transport.write(data)
        else:
            transport.write(data)
            self._done = asyncio.get_running_loop().create_future()
            error = upstream.error
            if error is None:
                upstream.attach(self)
            client.attach(self)
            if error is not None:
                self.finish(error)  # or somebody goes on with it
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait for the end of the body."""
        if self._done is not None:
            try:
                await self._done
            finally:
                cast(ClientConnection, cast(BaseRequest, self._req).protocol).detach()
                self.body.left()

    # The upstream connection calls these two, from its data_received.

    def feed(self, data: bytes) -> None:
        """Write what has just arrived. On the path of every event: nothing else belongs here."""
        transport = self._transport
        if transport.is_closing():
            return  # the client left in this turn of the loop; it will be told in the next
        if self._look is not None and not (data := self._look(data)):
            return
        if self._chunked:
            size = len(data)
            if size <= _COPY_CAP_BYTES:
                transport.write(b"%x\r\n%b\r\n" % (size, data))
            else:
                transport.write(b"%x\r\n" % size)
                transport.write(data)
                transport.write(b"\r\n")
        else:
            transport.write(data)
        self._tail = data[-1:]
        exchange = self._exchange
        if not exchange.bytes_out:
            self._begun()
        exchange.bytes_out += len(data)

    def finish(self, error: GatewayError | None) -> None:
        """The body is complete, or broke off."""
        if self.body.goes_on(error, self):
            return
        if rest := self.body.rest():
            self._look = None
            self.feed(rest)
        self._end(error)

    def _end(self, error: GatewayError | None) -> None:
        if error is not None:
            self._break_off(error)
        elif self._chunked and not self._transport.is_closing():
            self._transport.write(_LAST_CHUNK)
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    # The client's connection calls these three.

    def pause(self) -> None:
        """The client is behind: its upstream waits."""
        self.body.pause()

    def resume(self) -> None:
        """The client has caught up."""
        self.body.resume()

    def fail(self, error: GatewayError) -> None:
        """End it with an error that is not the upstream's, whose connection closes."""
        self.body.upstream.abort()
        self._end(error)

    def probe(self) -> bool:
        """Write the first digit of the next chunk's size: it may begin with zeros (RFC 9112
        section 7.1), so a client that is there sees no difference, and one that is gone resets.
        """
        probing = self._chunked and not self._transport.is_closing()
        if probing:
            self._transport.write(b"0")
        return probing

    def _break_off(self, error: GatewayError) -> None:
        exchange = self._exchange
        self._keep_alive = False
        self.error = error
        exchange.error_code, exchange.reason = error.code, error.reason
        head = self._upstream.head
        if (
            self._chunked
            and head.content_type.lower().startswith(self._dialect.stream_type)
            and not self._transport.is_closing()
        ):
            event = self._dialect.error_event(error, exchange.request_id, self._tail)
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        exchange.end(end_reason(error))

    def _framed(self, data: bytes) -> bytes:
        if self._look is not None and not (data := self._look(data)):
            return b""
        self._begun()
        self._exchange.bytes_out = len(data)
        self._tail = data[-1:]
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _begun(self) -> None:
        exchange = self._exchange
        exchange.first_byte_at = now = time.perf_counter()
        if exchange.on_first_byte is not None:
            exchange.on_first_byte(now)

    def _head_bytes(self, has_body: bool) -> bytes:
        head = self._upstream.head
        status = self._status
        parts = [
            _STATUS_LINES.get(status)
            or b"HTTP/1.1 %d %b\r\n" % (status, self._reason.encode("latin-1"))
        ]
        changed: CIMultiDict[str] | None = self.__dict__.get("_headers")
        if changed is None:
            parts += [b"%b: %b\r\n" % field for field in head.fields]
        else:
            parts.append(_checked_lines(changed))
        if self._cookies:
            parts += [
                b"Set-Cookie: %b\r\n" % cookie.OutputString().encode("latin-1")
                for cookie in self._cookies.values()
            ]
        extra = self._exchange.response_headers
        if extra:
            parts.append(lines(extra))
        if head.server is not None and not self._hide_server:
            parts.append(b"Server: %b\r\n" % head.server)
        if head.content_length is None and has_body:
            # A stream: nginx must not collect it, and we frame it anew.
            self._chunked = True
            parts.append(b"Transfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n")
            if not head.cacheable and head.content_type.lower().startswith(b"text/event-stream"):
                parts.append(b"Cache-Control: no-cache\r\n")
        elif head.content_type.lower().startswith(b"text/event-stream"):
            parts.append(b"X-Accel-Buffering: no\r\n")
        elif head.accel is not None:
            parts.append(b"X-Accel-Buffering: %b\r\n" % head.accel)
        parts.append(b"\r\n" if self._keep_alive else b"Connection: close\r\n\r\n")
        return b"".join(parts)


def _checked_lines(headers: CIMultiDict[str]) -> bytes:
    """Header lines of a middleware's making. Raise ValueError rather than split a response."""
    for name, value in headers.items():
        if "\r" in value or "\n" in value or "\r" in name or "\n" in name or "\0" in value:
            raise ValueError(f"a middleware put a line break into header {name!r}")
    return lines(headers.items())
