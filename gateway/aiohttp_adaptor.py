"""Adaptor to aiohttp's internals: the only file of the gateway that uses aiohttp's private names.

aiohttp promises nothing about these names, so `pyproject.toml` limits its version to those that the
tests of this file run with, and each name stands here with its reason:

- `HttpProtocol`: aiohttp's server starts a task for each connection and a request object for each
  request. This base class has its C parser and its flow control, without either.
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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.cookies import SimpleCookie
from typing import Any, TypeVar, cast

from aiohttp import BaseConnector, HttpVersion11, StreamReader, http_parser, web
from aiohttp._websocket.helpers import websocket_mask
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

__all__ = [
    "ConnectionRunner",
    "HeadCaps",
    "HttpProcessingError",
    "HttpProtocol",
    "LeanResponse",
    "LineTooLong",
    "RawRequestMessage",
    "aiohttp_request",
    "arrived_body",
    "arrived_pieces",
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
_LARGE_PIECE_BYTES = 16 * 1024
"""Mean size of pieces above which joining them takes longer than handling each."""
_READ_AHEAD_BYTES = 256 * 1024
"""Part of a body that nobody has read at which its connection pauses is twice that."""
_NOTHING: Parsed = ((), False, b"")


def has_c_parser() -> bool:
    """Tell whether aiohttp uses its C parser."""
    return http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy


# -- connections -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadCaps:
    """Caps on the head of a request."""

    line_bytes: int
    """Size of the request line, and of one field."""
    fields: int
    """Number of fields."""


class HttpProtocol(BaseProtocol):
    """aiohttp's parser and its flow control, without its server.

    A subclass implements `data_received`, and calls `feed` with one head, one body, or a part of
    one. aiohttp's reader of a body pauses and resumes the connection.
    """

    __slots__ = ("_parses", "caps", "loop", "upgraded")

    def __init__(self, loop: asyncio.AbstractEventLoop, caps: HeadCaps) -> None:
        super().__init__(loop)
        self.loop = loop
        self.upgraded = False
        """True once another protocol follows: the parser is not used any more."""
        self.caps = caps
        self._parses = True
        """False once nothing more is parsed."""

    def feed(self, piece: bytes) -> Parsed:
        """Parse a piece of a request, and return what is complete. With an empty piece, the parser
        continues where it paused. Raise HttpProcessingError. The caller notes in `upgraded` whether
        another protocol follows.
        """
        if self._parser is None:  # made here: a connection needs none for heads that are known
            if not self._parses:
                return _NOTHING
            caps = self.caps
            self._parser = HttpRequestParser(
                self,
                self.loop,
                _READ_AHEAD_BYTES,
                max_line_size=caps.line_bytes,
                max_field_size=caps.line_bytes,
                max_headers=caps.fields,
                payload_exception=web.RequestPayloadError,
                auto_decompress=False,
            )
        parsed: Parsed = self._parser.feed_data(piece)
        return parsed

    def parse_nothing(self) -> None:
        """Release the parser: the connection is closed, or requests do not come as bytes."""
        self._parser = None
        self._parses = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the transport and the parser, which refers to this object."""
        super().connection_lost(exc)
        self.parse_nothing()

    # -- read by aiohttp's request object ------------------------------------------------------

    @property
    def peername(self) -> object:
        """Address of the client."""
        return self._extra_info("peername")

    @property
    def sockname(self) -> object:
        """Address that the client has connected to."""
        return self._extra_info("sockname")

    @property
    def ssl_context(self) -> object:
        """TLS context; None without TLS."""
        return self._extra_info("sslcontext")

    @property
    def max_field_size(self) -> int:
        """Cap on the size of a field in a part of a multipart body."""
        return self.caps.line_bytes

    @property
    def max_headers(self) -> int:
        """Cap on the number of fields in a part of a multipart body."""
        return self.caps.fields

    def _extra_info(self, name: str) -> object:
        return None if self.transport is None else self.transport.get_extra_info(name)

    # -- flow control --------------------------------------------------------------------------

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


def arrived_pieces(content: StreamReader) -> Sequence[bytes]:
    """Take what has arrived of a body, in one piece if it came in small ones. aiohttp would copy
    large pieces to join them. Raise RequestPayloadError if its framing is broken.
    """
    count = len(content._buffer)
    if content._exception is None and content._size > count * _LARGE_PIECE_BYTES:
        return [content._read_nowait_chunk(-1) for _ in range(count)]
    data = content.read_nowait(-1)
    return (data,) if data else ()


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

    A subclass may set the slots instead of calling `__init__`. Its headers are then made when
    something asks for them. They are slots, without values in the class: CPython 3.11 has no fast
    path for an attribute whose class has a value of the same name.
    """

    __slots__ = ("keep_alive", "made_cookies", "made_headers", "reason", "status")

    status: int
    reason: str
    keep_alive: bool | None
    """True if the connection stays open after the response; None until it is decided."""
    made_headers: CIMultiDict[str] | None
    """Headers, which may have been changed; None if nothing has asked for them."""
    made_cookies: SimpleCookie | None
    """Cookies; None if nothing has asked for them."""

    def __init__(
        self, *, status: int = 200, reason: str | None = None, headers: LooseHeaders | None = None
    ) -> None:
        self.keep_alive = self.made_headers = self.made_cookies = None
        super().__init__(status=status, reason=reason, headers=headers)

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


class ObservedRequest(web.Request):
    """aiohttp's request, which notes when a response of aiohttp's own begins."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        await super()._prepare_hook(response)
        self.answered(response.status)

    def answered(self, status: int) -> None:
        """Note that the head of a response is sent now."""
        raise NotImplementedError


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
