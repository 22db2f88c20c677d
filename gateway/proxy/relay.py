"""Relay of an upstream's response to the client, byte for byte, as it arrives.

To every policy a `RelayedResponse` is an ordinary aiohttp response: its status and headers can be
changed until it is sent. Its body never passes through a task or a queue: bytes read from the
upstream connection are written to the client's transport in the same call.

A stream ends in exactly one way: complete; with one error event of the route's dialect and no
terminating chunk; or, where no event can be sent, cut off so that the client notices.
"""

from __future__ import annotations

from collections.abc import Callable

from multidict import CIMultiDict

from gateway.chunks import LAST_CHUNK, chunk
from gateway.client_response import ClientResponse
from gateway.dialects import Dialect, backend_words
from gateway.errors import GatewayError
from gateway.exchange import Commit, Exchange
from gateway.headers import checked_lines, lines
from gateway.proxy.compression import Encoder
from gateway.proxy.continuation import Continuation
from gateway.proxy.heartbeat import COMMENT, Heartbeat, Heartbeats
from gateway.proxy.preface import WithoutBom
from gateway.proxy.response_body import ResponseBody, end_reason
from gateway.request import Request
from gateway.sse import TAIL_BYTES, between_events, is_event_stream
from gateway.upstream.response import UpstreamResponse

_WAITING_CAP_BYTES = 32 * 1024
"""Bytes that may wait in memory for a slow client before its upstream is paused."""
_COPY_CAP_BYTES = 16 * 1024
"""Up to this size, a copy is cheaper than three buffers in one write."""
_STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n"}
_BODILESS = (204, 304)


class RelayedResponse(ClientResponse):
    """Response that the upstream is sending."""

    # Initial values as class attributes: most responses end before any of them changes.
    completes_head = True
    _waiting: list[bytes] | None = None
    """Pieces that arrived while the client was reading too slowly."""
    _waiting_bytes = 0
    _client_is_behind = False
    _upstream_waits = False
    _in_chunks = False
    _tail = b""
    _heartbeats: Heartbeats | None = None
    _heartbeat: Heartbeat | None = None
    _preface = b""
    _without_bom: WithoutBom | None = None
    _encoder: Encoder | None = None
    _response_body: ResponseBody | None = None
    _look: Callable[[bytes], bytes] | None = None
    _follows = False
    """True while the body arrives from the upstream."""
    error: GatewayError | None = None
    """Error that broke off the body, if any."""

    def __init__(
        self,
        upstream: UpstreamResponse,
        exchange: Exchange,
        dialect: Dialect,
        hide_server: bool,
        continuation: Continuation | None = None,
        heartbeats: Heartbeats | None = None,
        preface: bytes = b"",
    ) -> None:
        """`heartbeats` keep a silent event stream alive; `preface` is sent at its start."""
        head = upstream.head
        self.begin_lean(
            head.status, "OK" if head.reason == b"OK" else head.reason.decode("latin-1")
        )
        self._upstream = upstream
        self._exchange = exchange
        self._dialect = dialect
        self._hide_server = hide_server
        if head.content_length is None and not head.encoded and is_event_stream(head.content_type):
            self._heartbeats = heartbeats
            if head.status == 200:
                self._preface = preface
        self._continuation = continuation
        trace = exchange.trace
        if (
            head.content_length is None
            or exchange.tap is not None
            or head.status >= 400
            or (trace is not None and trace.sampled)
        ):  # otherwise nothing inspects the body, and most end before a ResponseBody is needed
            self._look = self.body.look

    @property
    def body(self) -> ResponseBody:
        """Body to send to the client. A caller that takes it must not send this response as
        well.
        """
        body = self._response_body
        if body is None:
            body = self._response_body = ResponseBody(
                self._upstream, self._exchange, self._dialect, self._continuation
            )
        return body

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

    @property
    def words(self) -> str | None:
        """Error message in the part of the body that has arrived, which stays unread; None if there
        is none.
        """
        return backend_words.words_of(b"".join(self._upstream.unread), self._exchange.endpoint)

    @property
    def size(self) -> int | None:
        """Size of the body in bytes, if known before it is sent; None for a stream."""
        upstream = self._upstream
        if upstream.head.content_length is None and upstream.complete:
            return upstream.unread_bytes
        return upstream.head.content_length

    def compress(self, encoder: Encoder) -> None:
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
        return self.status == 200 and not head.encoded and is_event_stream(head.content_type)

    @property
    def is_stream(self) -> bool:
        return self._exchange.streamed

    def start(self, request: Request) -> None:
        """Send the head, and the part of the body that has arrived, in one write."""
        self._transport = transport = self._begin(request)
        exchange, upstream = self._exchange, self._upstream
        exchange.status = self.status
        has_body = exchange.method != "HEAD" and self.status not in _BODILESS
        if exchange.held is not None:
            self.let_body_go(request)
        if exchange.commit is Commit.EARLY:
            data = b""
            self._in_chunks = True
            self._spoke_first()
        else:
            exchange.commit = Commit.ANSWERED
            data = self._head_bytes(has_body)
            if self._preface and self._in_chunks:
                self._spoke_first()
                data += self._chunk(self._preface)
        if has_body and upstream.unread:
            data += self._framed(upstream.take_unread())
        if upstream.complete:
            if self._in_chunks:
                data += self._chunk(self._rest()) + self._last_chunk()
            transport.write(data)
            self._complete()
            return
        transport.write(data)
        self._follows = True
        error = upstream.error
        if error is None:
            upstream.attach(self)
        request.client.attach(self)
        if self._heartbeats is not None and self._in_chunks:
            self._heartbeat = self._heartbeats.watch(self._written, self._beat)
        if error is not None:
            self.finish(error)  # or another upstream continues the body

    def left(self) -> None:
        """Release the client's connection: the client has left, or the body has ended."""
        self.over = True
        if self._follows:
            self._follows = False
            if self._heartbeat is not None:
                self._heartbeat.close()
            assert self._client is not None
            self._client.detach()
            self.body.left()

    # Called by the upstream connection, from its data_received:

    def feed(self, data: bytes) -> None:
        """Write bytes that have just arrived. Runs on the path of every event: keep it minimal."""
        transport = self._transport
        if transport.is_closing():
            return  # the client has left; its connection reports that in the next turn of the loop
        if self._look is not None and not (data := self._look(data)):
            return
        if self._client_is_behind:
            self._wait(data)
            return
        self._tail = data[-3:] if len(data) > 2 else (self._tail + data)[-TAIL_BYTES:]
        if self._encoder is not None:
            data = self._encoded(data, self._encoder)
        size = len(data)
        if self._in_chunks:
            if size <= _COPY_CAP_BYTES:
                transport.write(b"%x\r\n%b\r\n" % (size, data))
            else:
                transport.writelines((b"%x\r\n" % size, data, b"\r\n"))
        else:
            transport.write(data)
        exchange = self._exchange
        if not exchange.bytes_out:
            exchange.begun()
        exchange.bytes_out += size

    def finish(self, error: GatewayError | None) -> None:
        """End the response, or start failover if the body broke off."""
        if self.body.goes_on(error, self):
            return
        if rest := self._rest():
            self._look = None
            self.feed(rest)
        self._end(error)

    def _rest(self) -> bytes:
        """Return the bytes that filters held back, at the end of the stream."""
        rest = self.body.rest()
        if self._without_bom is not None:
            rest = self._without_bom.feed(rest) + self._without_bom.flush()
        return rest

    def _wait(self, data: bytes) -> None:
        """Keep the bytes until the client has caught up; they are then sent in one write with what
        follows.
        """
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._hold_upstream()

    def _hold_upstream(self) -> None:
        """Pause the upstream if too many bytes wait."""
        buffered = self._transport.get_write_buffer_size()
        if buffered + self._waiting_bytes > _WAITING_CAP_BYTES:
            self._upstream_waits = True
            self.body.pause()

    def _write_waiting(self) -> None:
        self._client_is_behind = False
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting = None
            self._waiting_bytes = 0
            look, self._look = self._look, None  # the bytes were inspected when they arrived
            self.feed(data)
            self._look = look

    def _written(self) -> int:
        return self._exchange.bytes_out

    def _beat(self) -> bool:
        """Write a heartbeat, unless the client has unread bytes or an event is incomplete. Return
        True if possible.
        """
        transport = self._transport
        beats = not transport.get_write_buffer_size() and between_events(self._tail)
        if beats and not transport.is_closing():
            if not self._tail:
                self._spoke_first()
            transport.write(self._chunk(COMMENT))
        return beats

    def _spoke_first(self) -> None:
        """Note that the gateway wrote bytes before the upstream's stream: a byte order mark must
        go.
        """
        if self._without_bom is None:
            self._without_bom = without = WithoutBom()
            look = self.body.look
            # A closure instead of a method of this class: see `ResponseBody.look`.
            self._look = without.feed if look is None else lambda data: without.feed(look(data))

    def _end(self, error: GatewayError | None) -> None:
        if self.over:
            return
        self._write_waiting()
        if error is not None:
            self._break_off(error)
        elif self._in_chunks and not self._transport.is_closing():
            self._transport.write(self._last_chunk())
        self.left()
        self._complete()

    # Called by the client's connection:

    def pause(self) -> None:
        """Note that the client reads too slowly."""
        self._client_is_behind = True
        self._hold_upstream()

    def resume(self) -> None:
        """Write the waiting bytes: the client has caught up."""
        self._write_waiting()
        if self._upstream_waits and not self._client_is_behind:
            self._upstream_waits = False
            self.body.resume()

    def fail(self, error: GatewayError) -> None:
        """End the body with an error that the upstream did not cause. Closes the upstream
        connection.
        """
        if not self.over:
            self.body.abort()
            self._end(error)

    def probe(self) -> bool:
        """Write the first digit of the next chunk's size, to detect a dead client. Return False if
        that is not possible.

        A chunk size may begin with zeros (RFC 9112 section 7.1), so a live client sees no
        difference, and a dead one resets the connection.
        """
        probing = self._in_chunks and not self.over and not self._transport.is_closing()
        if probing:
            self._transport.write(b"0")
        return probing

    def _break_off(self, error: GatewayError) -> None:
        exchange = self._exchange
        self.keep_alive = False
        self.error = error
        exchange.failed(error)
        head = self._upstream.head
        if (
            self._in_chunks
            and not head.encoded
            and head.content_type.lower().startswith(self._dialect.stream_type)
            and not self._transport.is_closing()
        ):
            event = self._dialect.error_event(error, exchange.request_id, self._tail)
            self._transport.write(self._chunk(event))
        exchange.end(end_reason(error))

    def _framed(self, data: bytes) -> bytes:
        if self._look is not None and not (data := self._look(data)):
            return b""
        self._exchange.begun()
        self._tail = data[-TAIL_BYTES:]
        if self._encoder is not None:
            data = self._encoded(data, self._encoder)
        self._exchange.bytes_out = len(data)
        return chunk(data) if self._in_chunks else data

    def _encoded(self, data: bytes, encoder: Encoder) -> bytes:
        encoded = encoder.feed(data)
        self._exchange.bytes_saved += len(data) - len(encoded)
        return encoded

    def _chunk(self, data: bytes) -> bytes:
        """Return a chunk with bytes of the gateway's own."""
        if self._encoder is not None:
            data = self._encoder.feed(data)
        return chunk(data) if data else b""

    def _last_chunk(self) -> bytes:
        if self._encoder is None:
            return LAST_CHUNK
        return chunk(self._encoder.finish()) + LAST_CHUNK

    def _head_bytes(self, has_body: bool) -> bytes:
        head = self._upstream.head
        status = self.status
        parts = [
            _STATUS_LINES.get(status)
            or b"HTTP/1.1 %d %b\r\n" % (status, self.reason.encode("latin-1"))
        ]
        changed = self.accessed_headers
        if changed is None:
            for name, value in head.fields:
                parts += (name, b": ", value, b"\r\n")
        else:
            parts.append(checked_lines(changed.items()))
        cookies = self.changed_cookies
        if cookies:
            parts += [
                b"Set-Cookie: %b\r\n" % cookie.OutputString().encode("latin-1")
                for cookie in cookies.values()
            ]
        extra = self._exchange.response_headers
        if extra:
            parts.append(lines(extra))
        if self._exchange.decided is not None:
            parts.append(self._exchange.decided.header_lines())
        if head.server is not None and not self._hide_server:
            parts.append(b"Server: %b\r\n" % head.server)
        if (head.content_length is None or self._encoder is not None) and has_body:
            # A stream: nginx must not buffer it, and the gateway frames it anew.
            self._in_chunks = True
            parts.append(b"Transfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n")
            if not head.cacheable and is_event_stream(head.content_type):
                parts.append(b"Cache-Control: no-cache\r\n")
        elif is_event_stream(head.content_type):
            parts.append(b"X-Accel-Buffering: no\r\n")
        elif head.accel is not None:
            parts.append(b"X-Accel-Buffering: %b\r\n" % head.accel)
        parts.append(b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n")
        return b"".join(parts)
