"""An HTTP/1.1 connection to an upstream: requests, flow control, timeouts and the end.

aiohttp's client costs more per request than the rest of the gateway together, so the gateway has
its own. A connection carries one exchange at a time. Received data is parsed for its framing only
and passed on in the same call: there is no queue, task or copy between the two sockets.

After a protocol switch, the connection carries raw bytes, as a `Tunnel`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from enum import Enum
from typing import cast

import httptools

from gateway.deadline import NEVER
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
from gateway.load.turn_writes import TurnTransport, TurnWrites
from gateway.upstream.credential_mask import CredentialMask
from gateway.upstream.head import InvalidHead, ResponseHead
from gateway.upstream.reader import HeadReader
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.response_parser import ResponseParser
from gateway.upstream.truncation import cut_off
from gateway.upstream.unread import unread_check

_LAST_WORDS_S = 1.0
_DONE = b"[DONE]\n\n"
"""End of nearly every stream in OpenAI's format."""


class ConnectionState(Enum):
    """States of a connection: NEW → ACTIVE ⇄ IDLE → CLOSED."""

    NEW = "new"
    ACTIVE = "active"
    IDLE = "idle"
    CLOSED = "closed"


# A member of an enum is found by a slow path.
_NEW, _ACTIVE = ConnectionState.NEW, ConnectionState.ACTIVE
_IDLE, _CLOSED = ConnectionState.IDLE, ConnectionState.CLOSED


class UpstreamConnection(ResponseParser):
    """A connection that `EndpointPool` opened. It reports to it by `on_idle` and `on_closed`."""

    __slots__ = (
        "_drained",
        "_end_mark",
        "_keepalive_s",
        "_on_closed",
        "_on_idle",
        "_request_sent",
        "_resumed_idle_s",
        "_tls_cut",
        "_unread",
        "_writes",
        "_written_paused",
        "on_writable",
        "spoke_first",
        "state",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_idle: Callable[[UpstreamConnection], None],
        on_closed: Callable[[UpstreamConnection], None],
        buffer: memoryview,
        backlog: Backlog,
        writes: TurnWrites,
        *,
        keepalive_s: float = NEVER,
        end_mark: bool = True,
        mask: CredentialMask | None = None,
    ) -> None:
        """`buffer`, `backlog` and `mask`: see `ResponseParser`. What is sent leaves with the
        other `writes` of the turn. The connection closes when it was
        idle for `keepalive_s` seconds. `end_mark`: streams have to end with the mark of their
        dialect.
        """
        super().__init__(loop, self._on_deadline, buffer, backlog, mask)
        self._writes = writes
        self._keepalive_s = keepalive_s
        self._end_mark = end_mark
        self._unread: Callable[[], int] | None = None
        self._on_idle = on_idle
        self._on_closed = on_closed
        self.state = _NEW
        self.spoke_first = False
        """True if the upstream sent data before the first request."""
        self._tls_cut = False
        """True if the connection is encrypted, unless its end was announced (close_notify)."""
        self._request_sent = True
        self._written_paused = False
        self.on_writable: Callable[[bool], None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._resumed_idle_s = 0.0
        """Idle timeout once reading is resumed after a pause."""

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
        deadline = self._deadline
        deadline.at = at = self._loop.time() + first_byte_s if last else NEVER
        if at < deadline.timer_at:
            deadline.move(at)
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
        # The sum and the difference round: it could be a little less than 0.
        return max(0.0, self._loop.time() - (self._deadline.at - self._idle_s))

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
        deadline = self._deadline
        deadline.at = at = self._loop.time() + self._keepalive_s
        if at < deadline.timer_at:
            deadline.move(at)
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

    def _spoke(self) -> None:
        self.spoke_first = self.state is _NEW
        self._close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = TurnTransport(cast(asyncio.Transport, transport), self._writes)
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
