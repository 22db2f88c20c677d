"""Relay of an upstream's response to the client, byte for byte, as it arrives.

To every policy a `RelayedResponse` is an ordinary aiohttp response: its status and headers can be
changed until it is sent. Its body never passes through a task or a queue: the upstream connection
calls the writer of the client's connection (`client_stream`) with the bytes it has read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from multidict import CIMultiDict

from gateway.client_response import ClientResponse
from gateway.dialects import Dialect, backend_words
from gateway.dialects.usage_tap import UsageTap, WholeAnswer
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.heartbeat import Heartbeats
from gateway.http.headers import checked_lines
from gateway.proxy.continuation import Continuation
from gateway.proxy.early_head import heeds_retry
from gateway.proxy.event_batch import BatchOptions, EventBatch
from gateway.proxy.response_body import ResponseBody, end_reason
from gateway.request import Request
from gateway.response_head import (
    CHUNKED,
    UNBUFFERED,
    fields_of_exchange,
    http_head,
)
from gateway.response_writer import BodyEncoder, ResponseWriter
from gateway.sse import is_event_stream
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UNREAD_CAP_BYTES, UpstreamResponse
from gateway.usage import Usage

_BODILESS = (204, 304)
_OF_CHUNKS = CHUNKED + UNBUFFERED


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Options of a route for its responses."""

    dialect: Dialect
    hide_server: bool
    heartbeats: Heartbeats | None = None
    """Comments that keep a silent event stream alive."""
    preface: bytes = b""
    """Bytes that open an event stream for a client that `heeds_retry`."""
    batch: BatchOptions | None = None
    """Options for gathering events; None if each is sent at once."""


class RelayedResponse(ClientResponse):
    """Response that the upstream is sending."""

    __slots__ = (
        "_batch",
        "_continuation",
        "_encoder",
        "_exchange",
        "_options",
        "_response_body",
        "_stream",
        "_upstream",
        "error",
        "feed",
    )

    completes_head = True
    feed: Callable[[bytes], None]
    """Writer of a piece of the body, for the upstream connection to call."""

    def __init__(
        self,
        upstream: UpstreamResponse,
        exchange: Exchange,
        options: RelayOptions,
        continuation: Continuation | None = None,
    ) -> None:
        head = upstream.head
        self.status = head.status
        self.reason = "OK" if head.reason == b"OK" else head.reason.decode("latin-1")
        self.keep_alive = self.made_headers = self.made_cookies = None
        self._client = self._waiter = None
        self.prepared = self.over = False
        self._upstream = upstream
        self._exchange = exchange
        self._options = options
        self._stream: ResponseWriter | None = None
        """Writer of the body while it arrives from the upstream."""
        self._batch: EventBatch | None = None
        """Events that wait to be written together, on a route that gathers them."""
        self._encoder: BodyEncoder | None = None
        self._response_body: ResponseBody | None = None
        self.error: GatewayError | None = None
        """Error that broke off the body, if any."""
        self._continuation = continuation
        trace = exchange.trace
        if (
            head.content_length is None
            or head.status >= 400
            or (trace is not None and trace.sampled)
        ):  # otherwise nothing but the tap inspects the body, and most bodies are whole at `start`
            self._open_body()

    def _open_body(self) -> ResponseBody:
        """Return the body, which something inspects."""
        self._response_body = body = ResponseBody(
            self._upstream, self._exchange, self._options.dialect, self._continuation
        )
        return body

    @property
    def body(self) -> ResponseBody:
        """Body to send to the client. A caller that takes it must not send this response as
        well.
        """
        return self._response_body or self._open_body()

    @property
    def is_event_stream(self) -> bool:
        """True if the body is an event stream that is not compressed, by the headers to send."""
        changed = self.made_headers
        if changed is None:
            return self._upstream.head.is_event_stream and not self._upstream.head.encoded
        content_type = changed.get("Content-Type", "").encode("latin-1", "replace")
        return is_event_stream(content_type) and "Content-Encoding" not in changed

    def initial_headers(self) -> CIMultiDict[str]:
        """Return the header dict. Unless something asks for it, the upstream's bytes are sent
        unchanged.
        """
        return CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._upstream.head.fields
        )

    async def held(self, cap_bytes: int) -> bytes | None:
        """Wait for the whole body and return it, without consuming it; None if it is larger than
        the cap or broke off.
        """
        try:
            return await self._upstream.held(cap_bytes)
        except GatewayError:
            return None

    async def whole_usage(self) -> Usage | None:
        """Wait for the whole body of a response that is no stream, and return its usage. None if
        none is known, the body is a stream, or is larger than the buffer of the upstream.
        """
        exchange, head = self._exchange, self._upstream.head
        if head.encoded or (head.content_length is None and self.body.is_stream):
            return None
        body = await self.held(UNREAD_CAP_BYTES)
        if body is None:
            return None
        tap = UsageTap()
        tap.begin(head.status, head.content_type, encoded=False)
        tap.feed(body)
        return tap.usage(WholeAnswer(exchange.method, exchange.path, exchange.asked))

    @property
    def words(self) -> str | None:
        """Error message in the part of the body that has arrived, which stays unread; None if there
        is none.
        """
        return backend_words.words_of(b"".join(self._upstream.unread), self._exchange.backend_url)

    @property
    def size(self) -> int | None:
        """Size of the body in bytes, if known before it is sent; None for a stream."""
        upstream = self._upstream
        if upstream.head.content_length is None and upstream.complete:
            return upstream.unread_bytes
        return upstream.head.content_length

    @property
    def is_legible_stream(self) -> bool:
        """True if the body is an event stream without a content coding."""
        return self._upstream.head.is_legible_stream

    def tee(self, receive: Callable[[bytes], None]) -> None:
        """Pass the body to `receive` as well, as the client gets it."""
        self.body.tee(receive)

    @property
    def may_be_continued(self) -> bool:
        """True if another backend can continue the answer."""
        return self._continuation is not None

    def compress(self, encoder: BodyEncoder) -> None:
        """Send the body through this encoder. The caller adapts the headers."""
        self._encoder = encoder

    def let_body_go(self, request: Request) -> None:
        """Release the memory of the request body, because this response was chosen. Keep it if
        another backend may have to continue the answer.
        """
        if self._continuation is None and self._exchange.let_body_go():
            request.received = b""

    @property
    def joins(self) -> bool:
        """True if the body can continue in an event stream that was opened early."""
        head = self._upstream.head
        return self.status == 200 and not head.encoded and head.is_event_stream

    def start(self, request: Request) -> None:
        """Send the head, and the part of the body that has arrived, in one write."""
        client = self._begin(request)
        exchange, upstream, encoder = self._exchange, self._upstream, self._encoder
        head = upstream.head
        if exchange.held is not None:
            self.let_body_go(request)
        status = self.status
        has_body = exchange.method != "HEAD" and status not in _BODILESS
        sends_head = exchange.answered(status)
        chunked = not sends_head or (
            has_body and (head.content_length is None or encoder is not None)
        )
        complete, inspected = upstream.complete, self._response_body
        if complete and not chunked:
            body = b""
            if has_body:
                body = upstream.take_unread()
                if inspected is not None and inspected.look is not None:
                    body = inspected.look(body)
                elif exchange.tap is not None:
                    exchange.tap.whole(head.status, head.content_type, body, encoded=head.encoded)
            if body:
                exchange.begun()
                exchange.bytes_out = len(body)
            client.write_whole(self, body)
            self.over = True
            client.sent(self)
            return
        options, preface = self._options, b""
        if options.preface and head.is_legible_stream and head.status == 200:
            preface = options.preface if heeds_retry(request) else b""
        if inspected is None and exchange.tap is not None:
            inspected = self._open_body()
        look = None if inspected is None else inspected.look
        unread = upstream.take_unread() if has_body and upstream.unread else b""
        stream = client.make_writer(client, exchange, self, chunked, encoder)
        stream.look = look
        if inspected is not None and not complete:
            inspected.on_seen = stream.stop_looking
        stream.begin(
            self if sends_head else None,
            preface,
            unread,
            self.body.rest if complete else None,
        )
        if complete:
            self._complete()
            return
        self._stream = stream
        self.feed = stream.feed
        if options.batch is not None and exchange.streamed and chunked and not head.encoded:
            self._batch = batch = EventBatch(
                options.batch, exchange, stream, stream.feed, asyncio.get_running_loop()
            )
            batch.begun = exchange.first_token_at is not None  # it was written with the head
            batch.look, stream.look = stream.look, None
            self.feed = batch.feed
        error = upstream.error
        if error is None:
            upstream.attach(self)
        stream.follow(options.heartbeats if chunked and head.is_legible_stream else None)
        if error is not None:
            self.finish(error)  # or another upstream continues the body

    def left(self) -> None:
        """Release the client's connection: the client has left, or the body has ended."""
        self.over = True
        if self._stream is not None:
            self._stream.close()
            self._let_go()

    # Called by the upstream connection, which calls `feed` as well:

    def finish(self, error: GatewayError | None) -> None:
        """End the response, or start failover if the body broke off."""
        stream = self._stream
        if stream is None or (error is not None and self.body.goes_on(error, self)):
            return
        if self._batch is not None:
            self._batch.flush()
        stream.rest(self.body.rest())
        self._end(stream, error)

    # Called by the writer:

    def http_bytes(self, *, chunked: bool) -> bytes:
        """Return the head as bytes of HTTP/1.1. The lines of a head that nobody changes are made
        once.
        """
        head, changed = self._upstream.head, self.made_headers
        key = chunked, self._options.hide_server
        if changed is None and self.made_cookies is None:
            fields = head.rendered.get(key)
            if fields is None:
                fields = head.rendered[key] = head.lines() + _framing(head, *key)
        else:
            fields = head.lines() if changed is None else checked_lines(changed.items())
            for cookie in (self.made_cookies or {}).values():
                fields += b"Set-Cookie: %b\r\n" % cookie.OutputString().encode("latin-1")
            fields += _framing(head, *key)
        return http_head(self.status, self.reason, fields, self.keep_alive, self._exchange)

    def header_fields(self) -> CIMultiDict[str]:
        """Return the fields of the head, without those of the framing."""
        fields = self.headers.copy()
        fields.extend(fields_of_exchange(self._exchange))
        return fields

    def pause(self) -> None:
        """Pause the upstream: too many bytes wait for the client."""
        self.body.pause()

    def caught_up(self) -> None:
        """Resume the upstream: the client has caught up."""
        self.body.resume()

    def fail(self, error: GatewayError) -> None:
        """End the body with an error that the upstream did not cause. Closes the upstream
        connection.
        """
        if self._stream is not None:
            self.body.abort()
            if self._batch is not None:
                self._batch.flush()
            self._end(self._stream, error)

    # -- private -----------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Write no more to the stream: the client has left, or the body has ended."""
        self._stream = None
        if self._batch is not None:
            self._batch.close()
        body = self._response_body
        if body is not None and body.paused:
            body.left()

    def _end(self, stream: ResponseWriter, error: GatewayError | None) -> None:
        self._let_go()
        if error is None:
            stream.end()
        else:
            self._break_off(stream, error)
        self._complete()

    def _break_off(self, stream: ResponseWriter, error: GatewayError) -> None:
        exchange, head = self._exchange, self._upstream.head
        self.keep_alive = False
        self.error = error
        exchange.failed(error)
        dialect = self._options.dialect
        legible = not head.encoded and head.content_type.lower().startswith(dialect.stream_type)
        stream.end(dialect.error_event(error, exchange.request_id, stream.tail) if legible else b"")
        exchange.end(end_reason(error))


def _framing(head: ResponseHead, chunked: bool, hides_server: bool) -> bytes:
    """Return the lines for Server, framing, caching and buffering, for clients."""
    lines = b""
    if head.server is not None and not hides_server:
        lines += b"Server: %b\r\n" % head.server
    if chunked:
        # The gateway frames the body anew.
        lines += _OF_CHUNKS
        if head.is_event_stream and not head.cacheable:
            lines += b"Cache-Control: no-cache\r\n"
    elif head.is_event_stream:
        lines += UNBUFFERED
    elif head.accel is not None:
        lines += b"X-Accel-Buffering: %b\r\n" % head.accel
    return lines
