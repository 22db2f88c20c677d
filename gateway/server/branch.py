"""Connection for one request of a session, such as a generation of a bridge.

It has the life of a client connection: admission, turns, cancellation, expiry, drain. But it sends
and receives no HTTP: the request comes parsed, and the response goes to a receiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import EMPTY_PAYLOAD, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from gateway.aiohttp_adaptor import body_to_feed, request_message
from gateway.client_connection import AnswerReceiver, MakeWriter, SessionRequest
from gateway.errors import GatewayError, HeadersTooLarge
from gateway.exchange import Exchange
from gateway.facts import DelegatedIdentity
from gateway.proxy.client_stream import ClientStream
from gateway.response_writer import SentHead
from gateway.server.connection import Connection, Owner
from gateway.server.refusals import fixed_parts
from gateway.server.whole import whole_parts

_SMALL_BYTES = 32 * 1024
"""Largest body that is handed over as it is. A larger one comes in pieces, as from a socket, so
that it counts against the memory for bodies.
"""
_PIECE_BYTES = 64 * 1024


class BranchConnection(Connection):
    """Connection of one request. It closes after the response."""

    __slots__ = ("_receiver", "_rest", "make_writer")

    make_writer: MakeWriter

    def __init__(self, listener: Owner, delegated: DelegatedIdentity) -> None:
        """`delegated` is the identity that the session lends."""
        super().__init__(listener)
        self.parse_nothing()
        self._delegated = delegated
        self._receiver: AnswerReceiver | None = None
        self._rest = memoryview(b"")
        """Rest of the body, which the request has not read yet."""
        self.make_writer = ClientStream

    def ask(
        self, request: SessionRequest, receiver: AnswerReceiver, transport: asyncio.Transport
    ) -> None:
        """Serve a request. Its response goes to `receiver`. `transport` is closed at the end."""
        self._receiver, self.make_writer = receiver, receiver.make_writer
        self.connection_made(transport)
        if not self._admitted:
            return
        options = self._listener.options
        size = sum(len(name) + len(value) + 4 for name, value in request.fields)
        if (
            size + len(request.target) > options.header_bytes
            or len(request.fields) > options.header_count
        ):
            self._refuse(HeadersTooLarge())
        else:
            message = request_message(request.method, request.target, request.fields)
            if len(request.body) <= _SMALL_BYTES:
                self._queue.append((message, EMPTY_PAYLOAD, None, request.body))
            else:
                self._body = content = body_to_feed(self)
                self._rest = memoryview(request.body)
                self.data_received(b"")
                self._queue.append((message, content, None, None))
        self._arrived()

    def data_received(self, data: bytes) -> None:
        """Hand over more of the body, because its reader has room. No data comes from outside."""
        content = self._body
        while self._rest and not self.reading_paused:
            piece, self._rest = self._rest[:_PIECE_BYTES], self._rest[_PIECE_BYTES:]
            content.feed_data(bytes(piece))
        if not (self._rest or content.is_eof()):
            content.feed_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._rest = memoryview(b"")
        super().connection_lost(exc)
        self._receiver, self.make_writer = None, ClientStream  # they refer to this object

    # -- the response ----------------------------------------------------------------------

    def write_whole(self, head: SentHead, body: bytes) -> None:
        """Hand over a response whose body is there."""
        self._hand_over(head.status, head.header_fields(), body)

    def stream_writer(self) -> AbstractStreamWriter:
        """Return the writer for a response of a plug-in that is more than bytes."""
        return PluginWriter(self, self._receiver)

    def _send_whole(self, response: web.StreamResponse, exchange: Exchange) -> bool:
        parts = whole_parts(response, exchange.method)
        if parts is None:
            return False
        exchange.bytes_out = len(parts[1])
        self._hand_over(response.status, *parts)
        return True

    def _write_refusal(self, error: GatewayError, request_id: str) -> None:
        fields, body = fixed_parts(error, request_id)
        self._hand_over(error.status, CIMultiDict(fields), body)

    def _hand_over(self, status: int, fields: Mapping[str, str], body: bytes) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.head(status, fields)
            if body:
                receiver.body(body)
            receiver.complete()

    def _finish(self) -> None:
        """Close. No unread data could turn the close into a reset."""
        if self.transport is not None and not self._discarding:
            self._close_now()


class PluginWriter(AbstractStreamWriter):
    """aiohttp's interface for writing a response, in front of a receiver."""

    def __init__(self, connection: BranchConnection, receiver: AnswerReceiver | None) -> None:
        self._connection = connection
        self._receiver = receiver

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Hand over the head. The status line is that of HTTP/1.1."""
        if self._receiver is not None:
            self._receiver.head(int(status_line.split(" ", 2)[1]), headers)

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Hand over a piece of the body, and wait while the client reads too slowly."""
        data = bytes(chunk)
        if data and self._receiver is not None:
            self.output_size += len(data)
            self._receiver.body(data)
            await self.drain()

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Hand over the end of the body."""
        await self.write(chunk)
        if self._receiver is not None:
            self._receiver.complete()
            self._receiver = None

    async def drain(self) -> None:
        """Wait while the client reads too slowly."""
        await self._connection.written()

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Do nothing: messages are compressed by the socket, if at all."""

    def enable_chunking(self) -> None:
        """Do nothing: messages need no framing."""
