"""Adaptor to aiohttp's internals: the only file of the gateway that uses aiohttp's private names.

aiohttp promises nothing about these names, so `pyproject.toml` limits its version to those that the
tests of this file run with, and each name stands here with its reason:

- `HttpProtocol`: aiohttp's server starts a task for each connection and a request object for each
  request. This base class keeps its C parser and its flow control, without either.
- Functions of a body: `StreamReader` has no public way to tell how much of a body has arrived, or
  to wait for more without reading it.
- `LeanResponse`: aiohttp's response makes a dict of headers that most responses never need.
- `aiohttp_request`: aiohttp's request object, for plug-ins.
- `client_protocol`: aiohttp's client has no public way to speak through a socket that is connected.
- `ConnectionRunner`: aiohttp has no setting for the protocol class of a server.
- Names that aiohttp uses in what it returns, but does not export: the parsed head, the parser's
  errors, the mask of WebSocket frames, the date of a response.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from http.cookies import SimpleCookie
from typing import Any, TypeVar, cast

from aiohttp import BaseConnector, HttpVersion11, StreamReader, http_parser, web
from aiohttp._websocket.helpers import websocket_mask
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpProcessingError, RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.tcp_helpers import tcp_keepalive
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

__all__ = [
    "ConnectionRunner",
    "HttpProcessingError",
    "HttpProtocol",
    "LeanResponse",
    "LineTooLong",
    "RawRequestMessage",
    "aiohttp_request",
    "arrived_body",
    "body_to_feed",
    "buffered_bytes",
    "client_protocol",
    "has_c_parser",
    "more_of",
    "request_message",
    "rfc822_formatted_time",
    "websocket_mask",
    "whole",
]

Parsed = tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]
"""Requests whose heads are complete, whether another protocol follows, and its first bytes."""

_NOT_POSSIBLE = (AttributeError, NotImplementedError, RuntimeError)
"""Errors of a transport that cannot pause reading, or not any more because it closes."""
_BUFFER_BYTES = 64 * 1024
_CLOSED: Parsed = ((), False, b"")
_NO_MESSAGES: deque[Any] = deque()
"""Queue of aiohttp's own server, which nothing fills here."""


def has_c_parser() -> bool:
    """Tell whether aiohttp uses its C parser."""
    return http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy


# -- connections -----------------------------------------------------------------------------------


class HttpProtocol(web.RequestHandler):
    """aiohttp's protocol class, reduced to its parser and its flow control.

    A subclass implements `data_received`, and calls `feed` with one head, one body, or a part of
    one. It then calls `consumed`. aiohttp's reader of a body pauses and resumes the connection.
    """

    __slots__ = ("consumed", "feed", "loop", "upgraded")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, keepalive_timeout=0, access_log=None, **options)  # type: ignore[arg-type]
        self._messages = _NO_MESSAGES  # one for all: an empty deque takes 700 bytes
        parser: Any = self._parser
        self.loop = self._loop
        self.feed: Callable[[bytes], Parsed] = parser.feed_data
        """Parse a piece of a request, and return what is complete. With an empty piece, the parser
        continues where it paused. Raise HttpProcessingError. The caller notes in `upgraded` whether
        another protocol follows.
        """
        self.consumed: Callable[[], None] = parser.message_consumed
        """Tell the parser, after each piece, that the request in it is taken. It stops after 32
        requests that are not.
        """
        self.upgraded = False
        """True once another protocol follows: the parser is not used any more."""

    def begin(self, transport: asyncio.Transport) -> None:
        """Use a transport. aiohttp's own `connection_made` would start a task."""
        BaseProtocol.connection_made(self, transport)
        tcp_keepalive(transport)

    def parse_nothing(self) -> None:
        """Release the parser: requests do not come as bytes."""
        self._parser = None
        self.feed = _fed_after_the_end
        self.consumed = _nothing

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the transport, the parser and all that refers to this object."""
        super().connection_lost(exc)
        self.feed = _fed_after_the_end
        self.consumed = _nothing

    def stream_writer(self) -> AbstractStreamWriter:
        """Return aiohttp's writer, for a response that only aiohttp can send."""
        return StreamWriter(self, self.loop)

    async def written(self) -> None:
        """Wait until the transport takes more. Raise ConnectionResetError if it is lost."""
        await self._drain_helper()

    @property
    def reading_paused(self) -> bool:
        """True while the body that is being received has no room."""
        return self._reading_paused

    def pause_reading(self) -> None:
        """Stop reading: the body that is being received has no room."""
        self._reading_paused = True
        if not self.upgraded and self._parser is not None:
            self._parser.pause_reading()
        self.stop_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Parse what the parser holds back, then read again. aiohttp's reader of a body calls this
        at its end and after each piece, even if nothing was paused.
        """
        if self._reading_paused:
            self._reading_paused = False
            if resume_parser and not self.upgraded:
                self.data_received(b"")
            if not self._reading_paused:
                self.read_on()

    def stop_reading(self) -> None:
        """Read no more from the transport."""
        if self.transport is not None:
            with suppress(*_NOT_POSSIBLE):
                self.transport.pause_reading()

    def read_on(self) -> None:
        """Read from the transport again."""
        if self.transport is not None:
            with suppress(*_NOT_POSSIBLE):
                self.transport.resume_reading()


def _fed_after_the_end(_: bytes) -> Parsed:
    return _CLOSED


def _nothing() -> None:
    pass


# -- bodies ----------------------------------------------------------------------------------------


def whole(content: StreamReader, small_bytes: int) -> bytes | None:
    """Take the whole body if it has arrived, otherwise return None. A body below `small_bytes`,
    which has never paused its connection, is taken without the reader's work for others.
    """
    if not content._eof or content._exception is not None:
        return None
    pieces = content._buffer
    if len(pieces) == 1 and content._size < small_bytes and not content._buffer_offset:
        content._size = 0
        return pieces.popleft()
    return content.read_nowait(-1)


def buffered_bytes(content: StreamReader) -> int:
    """Return the number of bytes of a body that have arrived and are not read."""
    return content._size


async def more_of(content: StreamReader) -> None:
    """Wait until more of a body arrives, without reading it. Raise RequestPayloadError if its
    framing is broken.
    """
    if content._exception is not None:
        raise content._exception
    await content._wait("body")


def arrived_body(client: object, data: bytes) -> StreamReader:
    """Return a whole body as a stream. `client` is the connection it came on."""
    loop = asyncio.get_running_loop()
    content = StreamReader(cast(web.RequestHandler, client), _BUFFER_BYTES, loop=loop)
    content.feed_data(data)
    content.feed_eof()
    return content


def body_to_feed(client: HttpProtocol) -> StreamReader:
    """Return the stream of a body that is fed piece by piece: `client` is told to pause."""
    return StreamReader(client, _BUFFER_BYTES, loop=client.loop)


def request_message(
    method: str, target: str, fields: tuple[tuple[bytes, bytes], ...]
) -> RawRequestMessage:
    """Return the head of a request that did not come as bytes, as the parser would have made it.
    No other request follows it on its connection.
    """
    headers = CIMultiDict(
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in fields
    )
    path, _, query = target.partition("?")
    return RawRequestMessage(
        method,
        target,
        HttpVersion11,
        CIMultiDictProxy(headers),
        fields,
        should_close=True,
        compression=None,
        upgrade=False,
        chunked=False,
        url=URL.build(path=path, query_string=query, encoded=True),
    )


# -- responses -------------------------------------------------------------------------------------


class LeanResponse(web.StreamResponse):
    """aiohttp's response for those that write themselves: what it knows are plain attributes.

    A subclass may set `status` and `reason` instead of calling `__init__`. Its headers are then
    made when something asks for them.
    """

    status = 200
    reason = "OK"
    keep_alive: bool | None = None
    """None until it is decided."""
    made_headers: CIMultiDict[str] | None = None
    """Headers, which may have been changed; None if nothing has asked for them."""
    made_cookies: SimpleCookie | None = None
    """Cookies; None if nothing has asked for them."""

    def initial_headers(self) -> CIMultiDict[str]:
        """Return the headers, on first access."""
        return CIMultiDict()

    @cached_property
    def _headers(self) -> CIMultiDict[str]:  # type: ignore[override]
        self.made_headers = headers = self.initial_headers()
        return headers

    @cached_property
    def _state(self) -> dict[Any, Any]:  # type: ignore[override]
        return {}

    @property
    def cookies(self) -> SimpleCookie:
        self.made_cookies = cookies = super().cookies
        return cookies

    def _set_status(self, status: int, reason: str | None) -> None:
        super()._set_status(status, reason)
        self.status, self.reason = self._status, self._reason

    def force_close(self) -> None:
        self.keep_alive = False


# -- plug-ins --------------------------------------------------------------------------------------

AnyRequest = TypeVar("AnyRequest", bound=web.Request)


def aiohttp_request(
    kind: type[AnyRequest],
    message: RawRequestMessage,
    content: StreamReader,
    client: object,
    body: bytes | None,
) -> AnyRequest:
    """Return aiohttp's request object, of the class `kind`, in the task that runs the plug-in.
    `client` is the connection, `body` the whole body if it was read before.
    """
    protocol = cast(web.RequestHandler, client)
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[None]", asyncio.current_task())
    writer = cast(HttpProtocol, client).stream_writer()
    made = kind(message, content, protocol, cast(StreamWriter, writer), task, loop)
    made._read_bytes = body
    return made


# -- client ----------------------------------------------------------------------------------------


def client_protocol(connector: BaseConnector) -> asyncio.Protocol:
    """Return the protocol of a new connection of aiohttp's client."""
    return connector._factory()


# -- admin listener --------------------------------------------------------------------------------


class ConnectionRunner(web.AppRunner):
    """Runner of an application whose connections are of the class `connection`."""

    connection: type[web.RequestHandler] = web.RequestHandler

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        made = type("_Server", (_Server,), {"connection": self.connection})
        server.__class__ = made
        return server


class _Server(web.Server):
    connection: type[web.RequestHandler]

    def __call__(self) -> web.RequestHandler:
        return self.connection(self, loop=self._loop, **self._kwargs)
