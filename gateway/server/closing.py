"""Closing of a client connection so that the last response arrives, and detection of clients that
left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from gateway.aiohttp_adaptor import HttpProtocol
from gateway.client_connection import BodyWriter
from gateway.deadline import MovingDeadline
from gateway.errors import GatewayError, Unavailable
from gateway.exchange import Exchange
from gateway.middleware.request_id import new_request_id
from gateway.outcome import Commit
from gateway.server.half_closed import CAN_TELL, HalfClosed
from gateway.server.parsing import ParsingRules, RequestReader
from gateway.server.refusals import fixed_response
from gateway.server.send_timeout import SendTimeout

_LINGER_S = 2.0
_LINGER_CAP_BYTES = 1024 * 1024
_TURNED_AWAY_S = 0.5


class ClosingRules(ParsingRules, Protocol):
    """What closing uses of the listener."""

    logger: FilteringBoundLogger
    refusals: Counter[str]


class ClosingConnection(RequestReader):
    """Protocol that can close, and distinguishes a client that is gone from one that only stopped
    sending.
    """

    __slots__ = (
        "_admitted",
        "_deadline",
        "_discarded",
        "_discarding",
        "_half_closed",
        "_read_to_the_end",
        "_stall",
        "exchange",
        "writer",
    )

    _listener: ClosingRules

    def __init__(self, listener: ClosingRules) -> None:
        super().__init__(listener)
        self.exchange: Exchange | None = None
        """Exchange in flight, if any."""
        self.writer: BodyWriter | None = None
        """Writer of the response body in flight, if any."""
        self._admitted = False
        """False if the connection is beyond the cap."""
        self._discarding = False
        """True while the connection closes: everything that the client still sends is discarded."""
        self._discarded = 0
        self._read_to_the_end = False
        """True once the client has sent its FIN."""
        self._deadline = MovingDeadline(self.loop, self._on_deadline)
        """Deadline of a request head, of an idle connection, or of closing."""
        self._stall: SendTimeout | None = None
        self._half_closed: HalfClosed | None = None

    def _on_deadline(self) -> None:
        """Act on the deadline."""
        raise NotImplementedError

    # -- asyncio callbacks -----------------------------------------------------------------

    def connection_lost(self, exc: BaseException | None) -> None:
        for watch in (self._stall, self._half_closed, self._deadline):
            if watch is not None:
                watch.close()
        self._unparsed = b""
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """Handle the client's FIN. Return True to keep the connection open for the responses to
        the requests that have arrived.
        """
        self._read_to_the_end = True
        self._last = not self._queue
        if self._discarding:
            return False
        asked = self.exchange is not None or bool(self._queue)
        if not (asked and self._body.is_eof() and not self.upgraded and CAN_TELL):
            return False
        assert self.transport is not None
        self._half_closed = HalfClosed(self.loop, self.transport, self._say_nothing)
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.writer is not None:
            self.writer.pause()
        self._watch_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.writer is not None:
            self.writer.resume()

    # -- closing ---------------------------------------------------------------------------

    def _turn_away(self, tcp: asyncio.Transport) -> None:
        """Refuse a connection beyond the cap: send an error, and abort after `_TURNED_AWAY_S`, so
        that the client can read it.
        """
        self.transport = tcp
        self._discarding, self._at_start = True, False
        error = Unavailable(code="too_many_connections")
        self._listener.refusals[error.code] += 1
        self._write_refusal(error, new_request_id())
        if tcp.can_write_eof():
            tcp.write_eof()
        self._deadline.move(self.loop.time() + _TURNED_AWAY_S)

    def _say_refusal(self, refusal: GatewayError) -> None:
        self._listener.refusals[refusal.code] += 1
        request_id = new_request_id()
        self._listener.logger.info(
            "refused", request_id=request_id, client=self._peer[0], error=refusal.code
        )
        self._write_refusal(refusal, request_id)

    def _received(self, data: bytes) -> None:
        if not self._discarding:
            super()._received(data)
            return
        self._discarded += len(data)
        if self._discarded > _LINGER_CAP_BYTES:
            self._close_now()

    def _finish(self) -> None:
        """Close the connection so that the last response arrives (RFC 9112 section 9.6)."""
        tcp = self.transport
        if tcp is None or self._discarding:
            return
        unread = (
            self.upgraded or self._refusal is not None or self._unparsed or not self._body.is_eof()
        )
        if not unread or self._read_to_the_end:
            self._close_now()
            return
        # The client may still be sending. If the socket is closed before its data is read, the
        # kernel sends a reset, and the client may lose the response.
        self._discarding, self._at_start = True, False
        self._unparsed = b""
        if tcp.can_write_eof():
            tcp.write_eof()
        HttpProtocol.read_on(self)  # even if the body has no room: data is discarded from now on
        self._deadline.move(self.loop.time() + _LINGER_S)

    def _stop_lingering(self) -> None:
        """Close a connection whose time to read the last response is over."""
        if self._admitted:
            self._close_now()
        elif self.transport is not None:
            self.transport.abort()

    def _close_now(self) -> None:
        self._discarding, self._at_start = True, False
        tcp = self.transport
        if tcp is not None:
            unsent = tcp.get_write_buffer_size()
            tcp.close()
            if unsent:
                self._watch_stall()

    def cut(self) -> None:
        """Abort the connection now, whatever is in flight."""
        if self.transport is not None:
            self.transport.abort()

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _write_refusal(self, error: GatewayError, request_id: str) -> None:
        """Send the fixed response for an error, after which the connection closes."""
        self._write(fixed_response(error, request_id))

    # -- clients that are gone -------------------------------------------------------------

    def _watch_stall(self) -> None:
        """Cut the connection if the client reads none of the waiting bytes for `send_timeout`."""
        if self.transport is not None:
            if self._stall is None:
                self._stall = SendTimeout(self.loop, self.transport)
            self._stall.begin(self._listener.options.send_timeout)

    def _say_nothing(self) -> None:
        """Send bytes without meaning, to detect a dead client: those of the writer, or an interim
        response (RFC 9110 section 15.2) if there is no writer and no response yet.
        """
        exchange = self.exchange
        if self.writer is not None:
            self.writer.probe()
        elif exchange is not None and exchange.commit is Commit.OPEN:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
