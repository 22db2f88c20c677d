"""An HTTP/1.1 connection to an upstream: an asyncio protocol on the parser llhttp.

aiohttp's client costs more per request than the rest of the gateway together, so the gateway has
its own. A connection carries one exchange at a time. Received data is parsed for its framing only
and passed on in the same call: there is no queue, task or copy between the two sockets.

Trailers and interim (1xx) responses are dropped. A protocol switch is accepted only if the request
asked for it. From then on the connection carries raw bytes, as a `Tunnel`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from enum import Enum
from typing import cast

import httptools

from gateway.deadline import NEVER, MovingDeadline
from gateway.dialects.stream_end import has_end
from gateway.errors import (
    GatewayError,
    UpstreamFirstByteTimeout,
    UpstreamIdleTimeout,
    UpstreamInvalidResponse,
    UpstreamReset,
    UpstreamTruncated,
)
from gateway.load.backlog import Backlog
from gateway.load.pacing import FREE_BYTES, LINES_A_TURN, turn_end
from gateway.upstream.credential_mask import CredentialMask, MaskedResponse
from gateway.upstream.head import (
    KNOWN_HEADS,
    LONGEST_HEAD_BYTES,
    InvalidHead,
    RawHeader,
    ResponseHead,
    remember,
)
from gateway.upstream.reader import HeadReader
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.truncation import cut_off
from gateway.upstream.unread import unread_check

HEAD_CAP_BYTES = 32 * 1024
FIELD_CAP_BYTES = 16 * 1024
_LAST_WORDS_S = 1.0
_DONE = b"[DONE]\n\n"
"""End of nearly every stream in OpenAI's format."""
INTERIM_CAP = 32
"""Maximum number of interim responses before the final one. More indicate an attack or a fault."""


class ConnectionState(Enum):
    """States of a connection: NEW → ACTIVE ⇄ IDLE → CLOSED."""

    NEW = "new"
    ACTIVE = "active"
    IDLE = "idle"
    CLOSED = "closed"


# A member of an enum is found by a slow path.
_NEW, _ACTIVE = ConnectionState.NEW, ConnectionState.ACTIVE
_IDLE, _CLOSED = ConnectionState.IDLE, ConnectionState.CLOSED


class UpstreamConnection(asyncio.BufferedProtocol):
    """A connection that `EndpointPool` opened. It reports to it by `on_idle` and `on_closed`."""

    __slots__ = (
        "_backlog",
        "_before",
        "_block",
        "_bodiless",
        "_buffer",
        "_by_lines",
        "_bytes",
        "_deadline",
        "_drained",
        "_end_mark",
        "_full_parser",
        "_head_bytes",
        "_head_end",
        "_head_only",
        "_idle_bytes",
        "_idle_s",
        "_in_backlog",
        "_interim",
        "_keepalive_s",
        "_known",
        "_last",
        "_lean_parser",
        "_left",
        "_loop",
        "_mask",
        "_message_done",
        "_on_closed",
        "_on_idle",
        "_parser",
        "_parts",
        "_paused",
        "_raw",
        "_reader",
        "_reason",
        "_request_sent",
        "_response",
        "_resumed_idle_s",
        "_spent",
        "_tls_cut",
        "_unparsed",
        "_unread",
        "_upgrade",
        "_violation",
        "_written_paused",
        "on_body",
        "on_writable",
        "spoke_first",
        "state",
        "transport",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_idle: Callable[[UpstreamConnection], None],
        on_closed: Callable[[UpstreamConnection], None],
        buffer: memoryview,
        backlog: Backlog,
        *,
        keepalive_s: float = NEVER,
        end_mark: bool = True,
        mask: CredentialMask | None = None,
    ) -> None:
        """`buffer`, of a bytearray, receives the socket's data. Parsing copies the data before
        control returns to the event loop, so that connections can share one buffer. `backlog` takes
        work for later turns of the event loop. The connection closes when it was idle for
        `keepalive_s` seconds. `end_mark`: streams have to end with the mark of
        their dialect. `mask` removes the gateway's credential from error responses.
        """
        self._keepalive_s = keepalive_s
        self._end_mark = end_mark
        self._mask = mask
        self._buffer = buffer
        self._bytes = cast(bytearray, buffer.obj)  # searchable without a copy
        self._backlog = backlog
        self._in_backlog = False
        self._unparsed = b""
        """Data received that exceeds the parsing budget of its turn."""
        self._unread: Callable[[], int] | None = None
        self._loop = loop
        self._on_idle = on_idle
        self._on_closed = on_closed
        self.transport: asyncio.Transport | None = None
        self.state = _NEW
        self.spoke_first = False
        """True if the upstream sent data before the first request."""
        self._parts: list[bytes] = []
        """Pieces of the body in the data that is being parsed."""
        self.on_body: Callable[[bytes], None] = self._parts.append
        self._full_parser = self._parser = httptools.HttpResponseParser(self)
        self._lean_parser: httptools.HttpResponseParser | None = None
        """Parser of responses whose head is known. It does not report the fields, which costs most
        of the time of a parser.
        """
        self._known: ResponseHead | None = None
        self._left: float | None = None
        """Bytes of the body that are still to come, if they are only counted: see
        `ResponseHead.counted`. NEVER is their number in a tunnel. None if a parser finds the end.
        """
        self._block = b""
        """Bytes of a head that is to be remembered."""
        self._before = self._last = b""
        """Last two pieces of the body, for the search for its end."""
        self._tls_cut = False
        """True if the connection is encrypted, unless its end was announced (close_notify)."""
        self._reader: HeadReader | None = None
        """The receiver of the response, from `send` to the end of the exchange."""
        self._response: UpstreamResponse | None = None
        self._raw: list[RawHeader] = []
        self._reason = b""
        self._head_bytes = 0
        self._head_end = b""
        self._idle_bytes = 0
        self._interim = 0
        self._head_only = False
        self._message_done = self._bodiless = False
        self._spent = False
        self._request_sent = True
        self._violation: str | None = None
        self._paused = False
        self._written_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._upgrade = False
        self.on_writable: Callable[[bool], None] | None = None
        self._by_lines = True
        """True if parsing may cost time per line: heads, chunked bodies and event streams."""
        self._idle_s = self._resumed_idle_s = 0.0
        """Idle timeout in seconds, now and when reading is resumed; NEVER while it is paused."""
        self._deadline = MovingDeadline(loop, self._on_deadline)

    # -- the request ---------------------------------------------------------------------

    def send(
        self,
        data: bytes,
        reader: HeadReader,
        first_byte_s: float,
        idle_s: float,
        last: bool = True,
        head_only: bool = False,
        upgrade: bool = False,
    ) -> None:
        """Write a request's head (and body, if `last`). `reader` is called with its response.

        `head_only`: a HEAD request, whose response has no body. `upgrade`: the request asks for
        WebSocket, so that the response may have a `tunnel`. The first-byte timer starts when the
        request is complete. `reader` fails with an UpstreamError, or the error passed to `fail`.
        """
        assert self.transport is not None
        self.state = _ACTIVE
        self._reader = reader
        self._head_only = head_only
        self._upgrade = upgrade
        self._request_sent = last
        self._idle_s = idle_s
        # While a long body is being uploaded, the client sets the pace; see `body_sent`.
        self._deadline.move(self._loop.time() + first_byte_s if last else NEVER)
        self.transport.write(data)

    def send_body(self, data: bytes) -> None:
        """Write a piece of the request body."""
        if self.transport is not None:
            self.transport.write(data)

    def body_sent(self, first_byte_s: float) -> None:
        """Mark the request as complete, and start the first-byte timer."""
        self._request_sent = True
        if self.state is _ACTIVE and self._response is None:
            self._deadline.move(self._loop.time() + first_byte_s)

    async def drain(self) -> None:
        """Wait until the write buffer has room again."""
        if self._written_paused and self.state is _ACTIVE:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    def abort(self) -> None:
        """Drop the exchange and close at once."""
        self._close()

    def abandon(self, reader: HeadReader) -> None:
        """Abort the exchange of `reader`, which is not called any more. Do nothing if that exchange
        has ended: the connection may be idle, or carry the next one.
        """
        if self._reader is reader:
            self._close()

    def hang_up(self, data: bytes) -> None:
        """Write the last data of a tunnel, and close when it is sent, or after 1 s."""
        transport = self.transport
        if self.state is not _ACTIVE or transport is None:
            return
        self.transport = None
        transport.write(data)
        transport.close()
        # The peer may no longer read.
        self._loop.call_later(_LAST_WORDS_S, transport.abort)
        self._close()

    # -- reading -------------------------------------------------------------------------

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last data of a response that has begun. None for a tunnel and while
        paused. Every read sets the deadline anew, so the deadline tells when the last read was.
        """
        if self._response is None or self._deadline.at == NEVER:
            return None
        return self._loop.time() - (self._deadline.at - self._idle_s)

    def pause(self) -> None:
        """Pause reading. Stops the idle timeout, as the upstream does not cause the silence."""
        if not self._paused and self.transport is not None:
            self._paused = True
            self._resumed_idle_s, self._idle_s = self._idle_s, NEVER
            self._deadline.at = NEVER
            self.transport.pause_reading()

    def resume(self) -> None:
        """Resume reading, and restart the idle timeout."""
        if self._paused and self.transport is not None:
            self._paused = False
            self._idle_s = self._resumed_idle_s
            self._deadline.move(self._loop.time() + self._idle_s)
            if self._unparsed:
                self._parse_later()
            else:
                self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        if self._reader is None:
            # No request is open, so this data must not become the response to the next one.
            self.spoke_first = self.state is _NEW
            self._close()
            return
        data = self._buffer[:size]
        if size > FREE_BYTES and self._by_lines:
            end = turn_end(self._bytes, 0, size, LINES_A_TURN)
            if end < size:
                assert self.transport is not None
                self.transport.pause_reading()
                self._unparsed = bytes(data[end:])
                self._parse_later()
                data = data[:end]
        self._parse(data)

    def _parse_later(self) -> None:
        if not self._in_backlog:
            self._in_backlog = True
            self._backlog.add(self._parse_more)

    def _parse_more(self) -> None:
        """Parse one more turn's budget of the buffered data. Resume reading when all is parsed."""
        self._in_backlog = False
        if self._paused or not self._unparsed or self.transport is None:
            return
        received = self._unparsed
        end = len(received)
        if self._by_lines:
            end = turn_end(received, 0, end, LINES_A_TURN)
        self._unparsed = received[end:]
        if self._unparsed:
            self._parse_later()
        else:
            self.transport.resume_reading()
        self._parse(memoryview(received)[:end])

    def _parse(self, data: memoryview) -> None:
        """Parse the data, and pass it on. Runs on the path of every event: keep it minimal."""
        response = self._response
        if response is None:
            if self._head_bytes or self._interim:
                self._parse_head(data)
            else:
                self._recognise(data)
            return
        if self._left is not None:
            self._count(response, data, self._left)
        else:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
                self._stopped(exc)
            parts = self._parts
            if parts:
                self._idle_bytes = 0
                body = parts.pop()  # nearly always the only one
                if parts:
                    body = self._take_parts() + body
                self._before, self._last = self._last, body
                (response.sink_feed or response.feed)(body)
            else:
                # Data without body bytes: chunk extensions and trailers.
                self._idle_bytes += len(data)
                if self._idle_bytes > HEAD_CAP_BYTES and not self._message_done:
                    self._break_off("endless trailer or chunk extension")
        if self._message_done:
            self._settle()
        else:
            self._deadline.at = self._loop.time() + self._idle_s

    def _take_parts(self) -> bytes:
        """Return the pieces of the body in the data that was parsed, as one."""
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    def _recognise(self, data: memoryview) -> None:
        """Handle the first data of a response. A known head needs no parser, nor does a body whose
        length it says.
        """
        received = bytes(data[:LONGEST_HEAD_BYTES])
        self._block = block = received[: received.find(b"\r\n\r\n") + 4]
        head = KNOWN_HEADS.get(block)
        if head is None or self._head_only:
            self._parser = self._full_parser
            self._parse_head(data)
            return
        if not head.counted:
            # Both parsers are at the start of a message, and the bytes mean the same to both.
            self._known = head
            if self._lean_parser is None:
                self._lean_parser = httptools.HttpResponseParser(_Framing(self))
            self._parser = self._lean_parser
            self._parse_head(data)
            return
        reader, size, at = self._reader, head.content_length, len(block)
        assert reader is not None
        assert size is not None
        if len(data) == at + size:  # nearly always, if the body is small
            response = UpstreamResponse(head, None, bytes(data[at:]))
            self.stand_by()
        else:
            self._by_lines = False
            self._response = response = UpstreamResponse(head, self)
            self._count(response, data[at:], size)
            self._go_on()
        reader.answered(response)  # last, as it may send the next request on this connection

    def _parse_head(self, data: memoryview) -> None:
        """Parse data that has the head of the response, or a part of it, and maybe body bytes."""
        reader = self._reader
        assert reader is not None
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            response = self._response
            if response is not None and response.tunnel is not None and self._violation is None:
                self._switched(response, reader, data, exc)
                return
            self._stopped(exc)
        response = self._response
        if response is None:
            self._await_head(data)
            return
        if self._bodiless and (self._parts or self._last_four(data) != b"\r\n\r\n"):
            self._spent = True
            self._parts.clear()
        # The next response begins like the first one.
        self._head_bytes = self._idle_bytes = self._interim = 0
        self._head_end = b""
        self._bodiless = False
        if self._parts:
            self._last = body = self._take_parts()
            response.feed(body)
        self._go_on()
        reader.answered(response)  # last, as it may send the next request on this connection

    def _go_on(self) -> None:
        """Settle the response if it is over; otherwise await the rest of its body."""
        if self._message_done:
            self._settle()
        else:  # the deadline until the head may have been later
            self._deadline.move(self._loop.time() + self._idle_s)

    def _count(self, response: UpstreamResponse, data: memoryview, left: float) -> None:
        """Pass on the next data of a counted body, of which `left` bytes are still to come."""
        size = len(data)
        self._left = left - size
        if size >= left:
            self._message_done = True
            if size > left:
                # llhttp would skip empty lines between messages, too.
                self._spent = bytes(data[int(left) :]).strip(b"\r\n") != b""
                data = data[: int(left)]
        if left and size:
            (response.sink_feed or response.feed)(bytes(data))

    def _stopped(self, exc: Exception) -> None:
        """Note that the parser takes no more data. Data after the end of the message does not
        affect it. Only the connection is closed.
        """
        self._spent = True
        if not self._message_done and self._violation is None:
            self._break_off(f"{type(exc).__name__}: {exc}")

    def _break_off(self, violation: str) -> None:
        """Note that the message is over, because of this violation."""
        self._violation = violation
        self._message_done = True

    def _await_head(self, data: memoryview) -> None:
        """Handle data that did not complete the head of the final response."""
        if self._violation is None and self._head_bytes > HEAD_CAP_BYTES:
            self._violation = f"head larger than {HEAD_CAP_BYTES} bytes"
        if self._violation is not None:
            self.fail(UpstreamInvalidResponse(self._violation))
        else:
            self._head_end = self._last_four(data)

    def _last_four(self, data: memoryview) -> bytes:
        """Return the last four bytes of the head, of which `data` is the end."""
        return (self._head_end + bytes(data[-4:]))[-4:]

    # httptools calls these methods from feed_data, and `on_body`.

    def on_message_begin(self) -> None:
        if self._message_done:
            raise _SecondMessage
        self._raw.clear()
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._raw.append((name, value))  # of a trailer too, which nobody reads

    def on_headers_complete(self) -> None:
        if self._violation is not None:
            return
        # If the whole head has fewer bytes than the limit for one field, no field can be too large.
        # (After an interim response the count starts again.)
        if (self._interim or self._head_bytes > FIELD_CAP_BYTES) and _too_large(self._raw):
            self._violation = "header field or head too large"
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status == 101 and self._upgrade:
                self._switch()
            elif status == 101 or status < 100 or self._interim > INTERIM_CAP:
                self._violation = f"interim response {status}, number {self._interim}"
            self._head_bytes = 0
            self._block = b""
            return
        try:
            head = ResponseHead(status, self._reason, self._raw, self._parser.get_http_version())
        except InvalidHead as exc:
            self._violation = str(exc)
            return
        if status >= 400 and self._mask is not None:
            self._response = MaskedResponse(head, self, self._mask)
        else:
            self._response = UpstreamResponse(head, self)
        self._by_lines = head.content_length is None
        if self._head_only or status in (204, 304):
            # llhttp does not know that this response has no body, and would wait for one.
            self._message_done = self._bodiless = True
            # A response that announces a body where none is allowed (RFC 9112 section 6.3) may send
            # it nevertheless, and the bytes would be taken for the next response. HEAD and 304 may
            # announce a body, but a new connection costs less than the risk that it is sent.
            announced = head.content_length or head.chunked
            self._spent = bool(announced) or not self._parser.should_keep_alive()
            self._full_parser = self._parser = httptools.HttpResponseParser(self)
        else:
            head.counted = head.content_length is not None and self._parser.should_keep_alive()
            remember(self._block, head)

    def on_known_head(self) -> None:
        head = self._known
        assert head is not None
        self._response = UpstreamResponse(head, self)
        self._by_lines = head.content_length is None

    def _switch(self) -> None:
        """Switch protocols, as the request asked for. From here on there is no idle timeout."""
        try:
            head = ResponseHead(101, self._reason, self._raw, self._parser.get_http_version())
        except InvalidHead as exc:
            self._violation = str(exc)
            return
        if (head.upgrade or b"").lower() != b"websocket":
            self._violation = "switched to another protocol than it was asked for"
            return
        self._response = response = UpstreamResponse(head, self)
        response.tunnel = self
        self._left = NEVER
        self._by_lines = False
        self._idle_s = NEVER
        self._deadline.at = NEVER

    def _switched(
        self,
        response: UpstreamResponse,
        reader: HeadReader | None,
        data: memoryview,
        exc: httptools.HttpParserError | httptools.HttpParserUpgrade,
    ) -> None:
        """Handle the end of the head after a protocol switch. The remaining data is not HTTP."""
        if not isinstance(exc, httptools.HttpParserUpgrade):
            self.fail(UpstreamInvalidResponse(f"after the switch: {exc}"))
        elif rest := bytes(data[exc.args[0] :]):
            response.feed(rest)
        if reader is not None:
            reader.answered(response)

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and not self._message_done:
            if response.tunnel is not None:
                return  # what follows is not HTTP
            self._message_done = True
            # llhttp decides this only here, from trailers and Proxy-Connection too.
            self._spent = not self._parser.should_keep_alive()

    # -- ends ----------------------------------------------------------------------------

    def _settle(self) -> None:
        """Finish a response that is over: keep or close the connection, then notify the reader."""
        if self._violation is not None:
            self.fail(UpstreamInvalidResponse(self._violation))
            return
        response = self._response
        if response is None:
            return  # the reader dropped the response when it received the last piece
        error = None
        response.ending = ending = self._before + self._last
        if response.head.content_length is None and not self._last.endswith(_DONE):
            error = cut_off(response.head, ending) if ending and self._end_mark else None
        self._before = self._last = b""
        # The next response begins like the first one.
        self._message_done, self._by_lines, self._left = False, True, None
        self.stand_by()
        response.finish(error)

    def stand_by(self) -> None:
        """Keep the connection for the next request, or close it: its response is complete, or it
        was opened ahead.
        """
        if self._spent or not self._request_sent or self._unparsed:
            self._close(keep_response=True)
            return
        self._response = self._reader = None
        if self._paused:
            self.resume()
        self.state = _IDLE
        self._deadline.move(self._loop.time() + self._keepalive_s)
        on_idle = self._on_idle
        on_idle(self)

    def fail(self, error: GatewayError) -> None:
        """End the exchange with an error, unless it has ended. Its reader receives the error."""
        if self.state is not _ACTIVE:
            return
        response, reader = self._response, self._reader
        self._close(keep_response=True)
        if response is not None:
            response.ending = self._before + self._last
            response.finish(error)
        elif reader is not None:
            reader.failed(error)

    def _close(self, *, keep_response: bool = False) -> None:
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        self._deadline.close()
        # They refer back to the connection.
        del self._parser, self._full_parser, self._lean_parser
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._unparsed = b""
        transport, self.transport = self.transport, None
        if transport is not None:
            # abort() instead of close(): unsent data has no recipient any more.
            transport.abort()
        self._reader = None
        if not keep_response:
            self._response = None
        self._on_closed(self)

    def is_usable(self) -> bool:
        """Tell whether this idle connection can carry a request: it is open, and nothing has
        arrived on it, neither data nor the end of the stream.

        This asks the kernel. The event loop may not yet have read data that followed the last
        response, and data read after the next request is sent would be taken for its response.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        unread = self._unread
        if unread is None:
            unread = self._unread = unread_check(transport.get_extra_info("socket").fileno())
        return not unread()

    def close(self) -> None:
        """Close an idle connection."""
        self._close()

    # -- asyncio calls these -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._tls_cut = transport.get_extra_info("ssl_object") is not None

    def eof_received(self) -> None:
        if self._tls_cut and self.transport is not None:
            # uvloop calls this for a close_notify only, asyncio for any end. Before a close_notify,
            # a read waits for more data.
            with contextlib.suppress(ssl.SSLError):
                self.transport.get_extra_info("ssl_object").read(1)
                self._tls_cut = False

    def pause_writing(self) -> None:
        self._written_paused = True
        if self.on_writable is not None:
            self.on_writable(False)

    def resume_writing(self) -> None:
        self._written_paused = False
        if self.on_writable is not None:
            self.on_writable(True)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._unparsed:
            received, self._unparsed = self._unparsed, b""
            self._parse(memoryview(received))
        if self.state is not _ACTIVE:
            self._close()
            return
        response = self._response
        if (
            response is not None
            and exc is None
            and not response.head.chunked
            and response.head.content_length is None
        ):
            # The end of the connection marks the end of this body (RFC 9112 section 6.3). With TLS,
            # the end has to be announced (RFC 9112 section 9.8), or the answer marks its own end.
            if self._tls_cut and not has_end(self._before + self._last):
                self.fail(UpstreamTruncated("TLS ended without close_notify"))
                return
            self._spent = True
            self._settle()
        else:
            self.fail(UpstreamReset(f"connection lost: {exc or 'end of stream'}"))

    # -- time ----------------------------------------------------------------------------

    def _on_deadline(self) -> None:
        if self.state is _IDLE:
            self._close()
        elif self._response is not None:
            self.fail(UpstreamIdleTimeout(f"silent for {self._idle_s} s"))
        else:
            self.fail(UpstreamFirstByteTimeout("no response head in time"))


class _Framing:
    """The callbacks of a parser without those for the fields of a head."""

    __slots__ = ("on_body", "on_headers_complete", "on_message_begin", "on_message_complete")

    def __init__(self, connection: UpstreamConnection) -> None:
        self.on_body = connection.on_body
        self.on_headers_complete = connection.on_known_head
        self.on_message_begin = connection.on_message_begin
        self.on_message_complete = connection.on_message_complete


class _SecondMessage(Exception):
    """A message follows the response. Stops the parser; the connection is not used again."""


def _too_large(fields: list[RawHeader]) -> bool:
    """True if the head or one of its fields exceeds its size limit."""
    sizes = [len(name) + len(value) + 4 for name, value in fields]
    return bool(sizes) and (max(sizes) > FIELD_CAP_BYTES or sum(sizes) > HEAD_CAP_BYTES)
