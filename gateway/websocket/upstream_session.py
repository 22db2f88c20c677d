"""WebSocket session between a client and an upstream, from protocol switch to close frames.

Messages are passed on as they arrive, no faster than the other side takes them. A close frame from
one side is passed on to the other with the same code. In all other cases the gateway chooses the
code (RFC 6455 section 7.4.1, IANA's registry):

    the client disconnected     upstream 1001, going away
    the upstream disconnected   client 1014, bad gateway
    the client broke a rule     client 1002, 1007, 1008 or 1009; upstream 1001
    the upstream broke a rule   upstream 1002, 1007, 1008 or 1009; client 1014, or 1009 for 1009
    idle, or no pong of client  both 1001
    the session's lifetime ends both 1001
    no pong of the upstream     client 1014; upstream 1001
    the credential expired      client 3000, unauthorized; upstream 1001
    a limit was reached         client 1008, policy; upstream 1001
    the gateway stops           client 1012, service restart; upstream 1001
"""

from __future__ import annotations

import asyncio

from gateway.client_connection import ClientConnection
from gateway.errors import (
    GatewayError,
    UpstreamError,
    UpstreamIdleTimeout,
    UpstreamInvalidResponse,
    UpstreamReset,
)
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.session import By
from gateway.upstream.response import UpstreamResponse
from gateway.usage import Usage
from gateway.websocket.codes import Closing, Code, Violation
from gateway.websocket.deflate import Deflate
from gateway.websocket.model_check import ModelCheck
from gateway.websocket.peer import Peer
from gateway.websocket.session import WebSocketSession
from gateway.websocket.usage import SessionUsage
from gateway.websocket.watch import SessionOptions, Validity

_CLOSING_S = 5.0
"""Maximum seconds to wait for an upstream's answer to a client's close frame."""
_LEFT = Closing(Code.GOING_AWAY)


class UpstreamSession(WebSocketSession):
    """Session between two peers. It receives what both send and passes it on with backpressure."""

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        upstream: UpstreamResponse,
        options: SessionOptions,
        *,
        deflate: Deflate | None,
        validity: Validity | None,
    ) -> None:
        """Create the session. `validity` is None if callers are not authenticated."""
        super().__init__(exchange, client, options, deflate=deflate, validity=validity)
        assert upstream.tunnel is not None
        self._response, self._tunnel = upstream, upstream.tunnel
        self._upstream = Peer(
            self,
            self._tunnel.send_body,
            self._loop.time,
            client.backlog,
            pause_connection=upstream.pause,
            resume_connection=upstream.resume,
            is_client=False,
            max_message_bytes=options.max_message_bytes,
        )
        self._upstream_closing = _LEFT
        """Content of the close frame for the upstream, if it gets none before the end."""
        assert exchange.session is not None  # the handshake was read
        checks = exchange.session.checks_model
        self._model_check = ModelCheck(checks) if checks is not None else None
        self._meter = exchange.session.meter
        counts = self._meter is not None or exchange.tap is not None
        self._usage = SessionUsage() if counts else None
        self._spending: asyncio.Task[None] | None = None
        self._spent_more = False
        """True if tokens were counted since the last check of the remaining budget began."""
        self._closing_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take over both connections, including data that they have sent already."""
        super().start()
        if self._response.complete or self._response.error is not None:
            self.finish(self._response.error)

    def _open(self) -> None:
        self._tunnel.on_writable = self._upstream_takes
        unread = self._response.take_unread()
        self._response.attach(self)
        if unread:
            self.feed(unread)

    async def run(self) -> None:
        """Wait until the session has ended."""
        await self._ended

    def client_left(self) -> None:
        """End the session after the client's connection was lost."""
        if self._client.has_closed:
            self._end(EndReason.COMPLETE, _LEFT, By.CLIENT)
        else:
            super().client_left()

    def pause(self) -> None:
        """Pause the upstream, because the client's connection is congested."""
        self._client.congested = True
        self._upstream.pause()

    def resume(self) -> None:
        """Resume the upstream, because the client's connection takes data again."""
        self._client.resume_writing()
        self._upstream.resume()

    # -- called by the upstream's connection ---------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Read bytes from the upstream."""
        self._upstream.received(data)

    def finish(self, error: GatewayError | None) -> None:
        """Handle the end of the upstream's connection, after reading the data kept from it."""
        self._upstream.finish(lambda: self._upstream_gone(error))

    def _upstream_gone(self, error: GatewayError | None) -> None:
        if self._over:
            return
        if self._client.has_closed:
            self._no_close_frame()  # the upstream closed the connection instead of answering
            return
        lost = error if isinstance(error, UpstreamError) else UpstreamReset("no close frame")
        self._lose_upstream(lost, EndReason.UPSTREAM_RESET)

    def _upstream_takes(self, more: bool) -> None:
        """Pause the client while the upstream's connection is congested; resume it when `more`."""
        if self._over:
            return
        if more:
            self._upstream.resume_writing()
            self._client.resume()
        else:
            self._upstream.congested = True
            self._client.pause()

    # -- called by the peers -------------------------------------------------------------------

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Pass a piece of a message on to the other peer."""
        exchange, tally = self._exchange, self.tally
        self._watch.active_at = self._loop.time()
        if peer is self._client:
            tally.messages_in += first
            exchange.bytes_in += len(payload)
            if self._model_check is not None:
                message = self._model_check.feed(opcode, payload, first, final)
                if message is not None:
                    self._upstream.send(*message, True, True)
            else:
                self._upstream.send(opcode, payload, first, final)
        else:
            tally.messages_out += first
            exchange.bytes_out += len(payload)
            if not self._transport.is_closing():
                self._client.send(opcode, payload, first, final)
            if self._usage is not None and (used := self._usage.feed(payload, first, final)):
                self._spend(used)
        if self._expires and not self._is_mid_message:
            self.expire()

    def pieces_end(self, peer: Peer) -> None:
        """Flush the pieces passed on."""
        if peer is self._client:
            self._upstream.flush()
        elif not self._transport.is_closing():
            self._client.flush()

    def closes(self, peer: Peer, closing: Closing) -> None:
        """Pass a close frame on to the other peer.

        Wait for the upstream's answer to a client's close frame. The client's connection needs no
        wait: it lingers by itself.
        """
        if peer is self._client:
            self.tally.closed(closing.code, By.CLIENT)
            self._tunnel.send_body(self._upstream.close_frame(closing))
            self._closing_timer = self._loop.call_later(_CLOSING_S, self._no_close_frame)
        else:
            self._upstream_closing = closing
            by = By.CLIENT if self._client.has_closed else By.UPSTREAM
            self._end(EndReason.COMPLETE, closing, by)

    def violates(self, peer: Peer, violation: Violation) -> None:
        """End the session after a protocol violation. Both peers get a close frame."""
        if peer is self._client:
            super().violates(peer, violation)
            return
        closing = self._upstream_closing = violation.closing
        error = UpstreamInvalidResponse(f"WebSocket: {closing.reason}")
        self._lose_upstream(error, EndReason.UPSTREAM_RESET)

    # -- tokens ------------------------------------------------------------------------------

    def _spend(self, used: Usage) -> None:
        """Count tokens, and start a check of the remaining budget."""
        meter = self._meter
        if meter is None:
            return  # only the log and the metrics need the count
        meter.count(used)
        self._spent_more = True
        if self._spending is None or self._spending.done():
            self._spending = asyncio.create_task(self._stop_if_spent())

    async def _stop_if_spent(self) -> None:
        meter = self._meter
        assert meter is not None
        while self._spent_more:
            self._spent_more = False
            error = await meter.exhausted()
            if error is not None:
                self.fail(error)
                return

    # -- called by the watch -------------------------------------------------------------------

    @property
    def _is_mid_message(self) -> bool:
        return self._client.is_mid_message or self._upstream.is_mid_message

    def ping(self) -> None:
        """Ping both peers. A peer is not being read while the other one is congested."""
        if not self._ping_client(is_read=not self._upstream.congested):
            return
        if not self._upstream.ping(is_read=not self._client.congested):
            self._lose_upstream(UpstreamIdleTimeout("no answer to a ping"), EndReason.TIMEOUT)

    # -- the end -------------------------------------------------------------------------------

    def _no_close_frame(self) -> None:
        """End the session: the upstream does not answer the client's close frame."""
        self._end(EndReason.COMPLETE, self._upstream.closing or _LEFT, By.CLIENT)

    def _lose_upstream(self, error: UpstreamError, reason: EndReason) -> None:
        if self._response.error is None:
            self._response.error = error  # counts as a failure of its endpoint
        is_too_big = self._upstream_closing.code == Code.TOO_BIG
        self._exchange.failed(error)
        closing = Closing(Code.TOO_BIG if is_too_big else Code.BAD_GATEWAY, error.message)
        self._end(reason, closing, By.UPSTREAM)

    def _close(self) -> None:
        if self._closing_timer is not None:
            self._closing_timer.cancel()
        if self._spending is not None:
            self._spending.cancel()
        self._upstream.ignore()
        self._tunnel.on_writable = None
        self._tunnel.hang_up(self._upstream.close_frame(self._upstream_closing))
        exchange = self._exchange
        if self._usage is not None:
            if (rest := self._usage.rest()) is not None and self._meter is not None:
                self._meter.count(rest)
            exchange.usage = self._usage.total
