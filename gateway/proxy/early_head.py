"""Early response head: if a request for an event stream has to wait, its head is sent before the
answer.

Between arrival and first token, a request may wait in queues, for a connection, for retries, and
while the backend reads a long prompt. Proxies and clients give up on such silence. So after one
heartbeat interval of silence the gateway opens the stream, and keeps it alive with comments until
the answer begins. From then on the response is committed: see `Commit`.
"""

from __future__ import annotations

import math
import time

from aiohttp.hdrs import ACCEPT
from multidict import CIMultiDict

from gateway import json_body, sse
from gateway.dialects import Dialect
from gateway.errors import GatewayError, RequestError
from gateway.exchange import Exchange, Place
from gateway.heartbeat import COMMENT, Heartbeat, Heartbeats
from gateway.http.headers import lines
from gateway.json_body import ALWAYS_LIGHT_BYTES
from gateway.request import Request
from gateway.response_head import CHUNKED, STREAM_ID, fields_of_exchange, http_head
from gateway.response_writer import ResponseWriter
from gateway.sse import EVENT_STREAM, accepts_only_events

_MEMBER = b'"stream"'
"""Member with which a body may ask for a stream. It may be anywhere in it."""
_FIELDS = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "Server": "gateway",
}
_LINES = lines(_FIELDS.items()) + CHUNKED


class _Head:
    """Head of a stream that is opened before there is an answer."""

    status = 200

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def http_bytes(self, *, chunked: bool) -> bytes:
        """Return the head as bytes of HTTP/1.1. The body is always chunked."""
        exchange = self._exchange
        fields = _LINES
        if exchange.new_stream is not None:
            fields += lines([(STREAM_ID, exchange.new_stream.id)])
        return http_head(self.status, "OK", fields, not exchange.must_close, exchange)

    def header_fields(self) -> CIMultiDict[str]:
        """Return the fields of the head, without those of the framing."""
        fields = CIMultiDict(_FIELDS)
        fields.extend(fields_of_exchange(self._exchange))
        if self._exchange.new_stream is not None:
            fields[STREAM_ID] = self._exchange.new_stream.id
        return fields


class EarlyHead(Heartbeat):
    """Watch over one request for silence, until its answer begins. The first heartbeat opens the
    stream.
    """

    __slots__ = ("_place", "_preface", "_request", "_stream", "_sure", "dialect")

    def __init__(
        self,
        request: Request,
        dialect: Dialect,
        heartbeats: Heartbeats,
        preface: bytes,
        sure: bool,
    ) -> None:
        """Start to watch for silence. `preface` opens the stream. `sure` is True if the request
        certainly asks for a stream; otherwise the body is parsed when needed.
        """
        self.dialect = dialect
        self._place: Place | None = None
        self._request = request
        self._preface = preface
        self._sure = sure
        self._stream: ResponseWriter | None = None
        """Writer of the stream, once it is open."""
        heartbeats.watch(self, time.perf_counter() - request.exchange.started_at)

    def queued(self, place: Place | None) -> None:
        """Note the request's place in a queue; None once it has left."""
        self._place = place

    def close(self) -> None:
        """Stop writing: the answer begins, or the client has left."""
        self.stop_beating()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def written(self) -> int:
        return 0

    def beat(self) -> bool:
        """Open the stream, or write another comment."""
        if self._stream is not None:
            return self._stream.comment(self._comment())
        request = self._request
        transport = request.client.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        if not request.content.is_eof():
            # The client is still sending. Many clients read nothing before they have sent all.
            return False
        if self._sure or _asks_for_stream(request):
            self._open()
        else:
            self.stop_beating()
        return True

    def _open(self) -> None:
        exchange, client = self._request.exchange, self._request.client
        exchange.opened_early()
        if not client.may_keep_alive():
            exchange.must_close = True  # the Connection header sent below is final
        self._stream = stream = client.make_writer(client, exchange, self)
        stream.begin(_Head(exchange), self._preface + self._comment())
        stream.follow(None)

    def _comment(self) -> bytes:
        place = self._place
        if place is None:
            return COMMENT
        return sse.comment(
            b"queued position=%d deadline=%ds" % (place.position, math.ceil(place.left_s))
        )

    # Called by the writer:

    def pause(self) -> None:
        """Do nothing: there is no source to pause."""

    def caught_up(self) -> None:
        """Do nothing: see `pause`."""

    def fail(self, error: GatewayError) -> None:
        """End the stream with an error event, and drop the request, which has no answer yet."""
        exchange, stream = self._request.exchange, self._stream
        exchange.failed(error)
        if stream is not None:
            stream.end(self.dialect.error_event(error, exchange.request_id, b""))
        self._request.client.drop()


def open_if_silent(
    request: Request,
    asks: bool | None,
    dialect: Dialect,
    heartbeats: Heartbeats,
    preface: bytes,
) -> None:
    """Start an `EarlyHead` if the request asks for a stream, or may ask for one: `asks` is the
    result of `may_ask`. `preface` is sent only to a client that `heeds_retry`.
    """
    if asks is not False and request.exchange.early is None:
        request.exchange.early = EarlyHead(
            request,
            dialect,
            heartbeats,
            preface if preface and heeds_retry(request) else b"",
            bool(asks),
        )


def may_ask(request: Request, body: bytes | None) -> bool | None:
    """Tell whether a request asks for an event stream. None if only parsing its body, possibly a
    small JSON object, can tell. Runs on the path of every request.
    """
    exchange = request.exchange
    if body is not None and exchange.method == "POST":
        if exchange.json is not None:
            if exchange.json.streams:
                return True
        elif len(body) <= ALWAYS_LIGHT_BYTES:
            # Searches by `rfind` and matches of a regular expression take longer.
            for after in body.split(_MEMBER)[1:]:
                colon = after.lstrip()
                if colon[:1] == b":" and colon[1:].lstrip()[:4] == b"true":
                    return None
    known = request.known
    # A client that accepts other types as well may get one of those and may not expect a stream.
    by_head = accepts_only_events(request.headers) if known is None else known.accepts_only_events
    return by_head and exchange.method != "HEAD"


def heeds_retry(request: Request) -> bool:
    """Tell whether the client reconnects by itself, as EventSource does and SDKs do not."""
    return EVENT_STREAM in request.headers.get(ACCEPT, "")


def _asks_for_stream(request: Request) -> bool:
    exchange = request.exchange
    if exchange.json is not None:
        return exchange.json.streams
    body = exchange.body or request.received or b""
    try:
        return json_body.read(body).streams
    except RequestError:
        return False
