"""The early head: who asked for an event stream and has to wait gets its head before its answer.

Between arrival and first token a request may wait in queues, for a connection, for retries, and for
a long prompt to be read. Proxies and clients give up on such silence. So after as much of it as a
heartbeat breaks, the stream is opened, and kept alive with comments until its answer begins. That
is a commit point: see `Commit`.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from typing import Protocol, cast

from aiohttp.hdrs import ACCEPT

from gateway import sse
from gateway.chunks import chunk
from gateway.dialects import Dialect
from gateway.errors import GatewayError, RequestError
from gateway.exchange import ClientConnection, Commit, GatewayRequest
from gateway.headers import lines
from gateway.proxy import json_body
from gateway.proxy.heartbeat import COMMENT, Heartbeats
from gateway.proxy.json_body import ALWAYS_LIGHT_BYTES
from gateway.sse import EVENT_STREAM

_KEY = b'"stream"'
_TRUE = re.compile(rb"\s*:\s*true")
_HEAD = (
    f"HTTP/1.1 200 OK\r\nContent-Type: {EVENT_STREAM}\r\nCache-Control: no-cache\r\n"
    "X-Accel-Buffering: no\r\nServer: gateway\r\nTransfer-Encoding: chunked\r\n%b%b\r\n"
).encode()


class Place(Protocol):
    """A place in a queue."""

    @property
    def position(self) -> int:
        """1: it is next."""

    @property
    def left_s(self) -> float:
        """Seconds until it is given up."""


class EarlyHead:
    """Of one request. What comes before its answer is written by this, what comes after is not."""

    __slots__ = (
        "_attached",
        "_client",
        "_heartbeat",
        "_place",
        "_preface",
        "_request",
        "_sure",
        "_task",
        "dialect",
    )

    def __init__(
        self,
        request: GatewayRequest,
        dialect: Dialect,
        heartbeats: Heartbeats,
        preface: bytes,
        *,
        sure: bool,
    ) -> None:
        """Waits from now on. `preface` opens the stream; `sure`: the request asks for one, which
        its body has to be read for otherwise.
        """
        self.dialect = dialect
        self._place: Place | None = None
        self._request = request
        self._preface = preface
        self._sure = sure
        self._client = cast(ClientConnection, request.protocol)
        self._task = cast("asyncio.Task[None]", asyncio.current_task())
        self._attached = False
        silent_s = time.perf_counter() - request.exchange.started_at
        self._heartbeat = heartbeats.watch(_nothing, self._beat, silent_s=silent_s)
        request.exchange.at_end(lambda _: self.close())

    @property
    def is_stream(self) -> bool:
        return True

    def queued(self, place: Place | None) -> None:
        """The request waits at this place now; or no more."""
        self._place = place

    def close(self) -> None:
        """Nothing is written by this any more: there is an answer, or nobody to read one."""
        self._heartbeat.close()
        if self._attached:
            self._attached = False
            self._client.detach()

    def _beat(self) -> bool:
        transport = self._client.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if self._attached:
            transport.write(chunk(self._comment()))
            return True
        if not self._request.content.is_eof():
            # It is the client who is not done. Many read no answer before they have sent all.
            return False
        if self._sure or _asks_for_stream(self._request):
            self._open(transport)
        else:
            self._heartbeat.close()
        return True

    def _open(self, transport: asyncio.Transport) -> None:
        exchange = self._request.exchange
        exchange.commit = Commit.EARLY
        exchange.status = 200
        if not self._client.may_keep_alive():
            exchange.must_close = True  # what is said now holds
        closes = b"Connection: close\r\n" if exchange.must_close else b""
        head = _HEAD % (lines(exchange.response_headers), closes)
        transport.write(head + chunk(self._preface + self._comment()))
        self._attached = True
        self._client.attach(self)

    def _comment(self) -> bytes:
        place = self._place
        if place is None:
            return COMMENT
        return sse.comment(
            b"queued position=%d deadline=%ds" % (place.position, math.ceil(place.left_s))
        )

    # The client's connection calls these.

    def pause(self) -> None:
        """The client is behind: there is nothing yet that could wait."""

    def resume(self) -> None:
        """It has caught up."""

    def fail(self, error: GatewayError) -> None:
        """End the stream, and the request, which has no answer yet."""
        exchange, transport = self._request.exchange, self._client.transport
        exchange.failed(error)
        if transport is not None and not transport.is_closing():
            transport.write(chunk(self.dialect.error_event(error, exchange.request_id, b"")))
        self._task.cancel()

    def probe(self) -> bool:
        """See `RelayedResponse.probe`."""
        transport = self._client.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(b"0")
        return True


def open_if_silent(
    request: GatewayRequest,
    body: bytes | None,
    dialect: Dialect,
    heartbeats: Heartbeats,
    preface: bytes,
) -> None:
    """From now on, if the request asks for a stream. `preface` is for a client that
    `heeds_retry`.
    """
    asks = may_ask(request, body)
    if asks is not False and request.exchange.early is None:
        request.exchange.early = EarlyHead(
            request,
            dialect,
            heartbeats,
            preface if preface and heeds_retry(request) else b"",
            sure=bool(asks),
        )


def may_ask(request: GatewayRequest, body: bytes | None) -> bool | None:
    """Whether a request asks for an event stream: True, False, or None if its body, a small JSON
    object perhaps, has to be parsed for it. On the path of every request.
    """
    exchange = request.exchange
    if body is not None and exchange.method == "POST":
        if exchange.json is not None:
            if exchange.json.streams:
                return True
        elif len(body) <= ALWAYS_LIGHT_BYTES and _says_stream(body):
            return None
    accept = request._message.headers.get(ACCEPT)
    # Who takes other types too may get one of them, and will not know what to make of this.
    return (
        accept is not None
        and EVENT_STREAM in accept
        and exchange.method != "HEAD"
        and all(_is_event_stream(range_) for range_ in accept.split(","))
    )


def _says_stream(body: bytes) -> bool:
    """Whether `"stream": true` stands in it, somewhere."""
    at = body.find(_KEY)
    while at >= 0:
        if _TRUE.match(body, at + len(_KEY)) is not None:
            return True
        at = body.find(_KEY, at + len(_KEY))
    return False


def heeds_retry(request: GatewayRequest) -> bool:
    """Whether a client connects again by itself, as EventSource does and SDKs do not."""
    return EVENT_STREAM in request._message.headers.get(ACCEPT, "")


def _is_event_stream(media_range: str) -> bool:
    return media_range.partition(";")[0].strip().lower() == EVENT_STREAM


def _asks_for_stream(request: GatewayRequest) -> bool:
    body = request.exchange.body or request._read_bytes or b""
    try:
        return json_body.read(body).streams
    except RequestError:
        return False


def _nothing() -> int:
    return 0
