"""Parsing of the responses on one connection: from bytes to a head, pieces of a body, and an end.

llhttp finds the framing. A head that is known needs no fields from it, and a body whose length such
a head says need only be counted. Trailers and interim (1xx) responses are dropped. A protocol
switch is accepted only if the request asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from gateway.deadline import MovingDeadline
from gateway.errors import GatewayError, UpstreamInvalidResponse
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

HEAD_CAP_BYTES = 32 * 1024
FIELD_CAP_BYTES = 16 * 1024
INTERIM_CAP = 32
"""Maximum number of interim responses before the final one. More indicate an attack or a fault."""


class ResponseParser(asyncio.BufferedProtocol):
    """Parser of the responses on one connection, which is a subclass: that saves a call for each
    event.
    """

    __slots__ = (
        "_backlog",
        "_before",
        "_block",
        "_bodiless",
        "_buffer",
        "_by_lines",
        "_bytes",
        "_deadline",
        "_full_parser",
        "_head_bytes",
        "_head_end",
        "_head_only",
        "_idle_bytes",
        "_idle_s",
        "_in_backlog",
        "_interim",
        "_known",
        "_last",
        "_lean_parser",
        "_left",
        "_loop",
        "_mask",
        "_message_done",
        "_parser",
        "_parts",
        "_paused",
        "_raw",
        "_reader",
        "_reason",
        "_response",
        "_spent",
        "_unparsed",
        "_upgrade",
        "_violation",
        "on_body",
        "transport",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        expired: Callable[[], None],
        buffer: memoryview,
        backlog: Backlog,
        mask: CredentialMask | None,
    ) -> None:
        """`expired` is called at the end of a timeout. `buffer`, of a bytearray, receives the
        socket's data. Parsing copies the data before control returns to the event loop, so that
        connections can share one buffer. `backlog` takes work for later turns of the event loop.
        `mask` removes the gateway's credential from error responses.
        """
        self._mask = mask
        self._loop = loop
        self._buffer = buffer
        self._bytes = cast(bytearray, buffer.obj)  # searchable without a copy
        self._backlog = backlog
        self._in_backlog = False
        self._unparsed = b""
        """Data received that exceeds the parsing budget of its turn."""
        self.transport: asyncio.Transport | None = None
        self._paused = False
        """True while nothing is read, because the reader is slower."""
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
        self._violation: str | None = None
        self._upgrade = False
        self._by_lines = True
        """True if parsing may cost time per line: heads, chunked bodies and event streams."""
        self._idle_s = 0.0
        """Idle timeout in seconds; NEVER while reading is paused."""
        self._deadline = MovingDeadline(loop, expired)

    def _settle(self) -> None:
        """Finish a response that is over."""
        raise NotImplementedError

    def _spoke(self) -> None:
        """Close the connection: the upstream has sent data without a request."""
        raise NotImplementedError

    def _switch(self) -> None:
        """Switch protocols, as the request asked for."""
        raise NotImplementedError

    def _switched(
        self,
        response: UpstreamResponse,
        reader: HeadReader | None,
        data: memoryview,
        exc: httptools.HttpParserError | httptools.HttpParserUpgrade,
    ) -> None:
        """Handle the end of the head after a protocol switch."""
        raise NotImplementedError

    # -- the source of a response --------------------------------------------------------------

    @property
    def silent_s(self) -> float | None:
        raise NotImplementedError

    def pause(self) -> None:
        raise NotImplementedError

    def resume(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    def fail(self, error: GatewayError) -> None:
        raise NotImplementedError

    def stand_by(self) -> None:
        raise NotImplementedError

    # -- parsing -------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        if self._reader is None:
            # No request is open, so this data must not become the response to the next one.
            self._spoke()
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
        size = len(data)
        received = (data if size <= LONGEST_HEAD_BYTES else data[:LONGEST_HEAD_BYTES]).tobytes()
        fields, end, body = received.partition(b"\r\n\r\n")
        self._block = block = fields + end if end else b""
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
        reader, length, at = self._reader, head.content_length, len(block)
        assert reader is not None
        assert length is not None
        if size == at + length:  # nearly always, if the body is small
            if size > LONGEST_HEAD_BYTES:
                body = data[at:].tobytes()
            response = UpstreamResponse(head, None, body)
            self.stand_by()
        else:
            self._by_lines = False
            self._response = response = UpstreamResponse(head, self)
            self._count(response, data[at:], length)
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
        parts = self._parts
        if parts:
            self._last = body = parts.pop() if len(parts) == 1 else self._take_parts()
            response.feed(body)
        self._go_on()
        reader.answered(response)  # last, as it may send the next request on this connection

    def _go_on(self) -> None:
        """Settle the response if it is over; otherwise await the rest of its body."""
        if self._message_done:
            self._settle()
        else:  # the deadline until the head may have been later
            deadline = self._deadline
            deadline.at = at = self._loop.time() + self._idle_s
            if at < deadline.timer_at:
                deadline.move(at)

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

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and not self._message_done:
            if response.tunnel is not None:
                return  # what follows is not HTTP
            self._message_done = True
            # llhttp decides this only here, from trailers and Proxy-Connection too.
            self._spent = not self._parser.should_keep_alive()


class _Framing:
    """The callbacks of a parser without those for the fields of a head."""

    __slots__ = ("on_body", "on_headers_complete", "on_message_begin", "on_message_complete")

    def __init__(self, connection: ResponseParser) -> None:
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
