"""WebSocket session between a client and an upstream, from protocol switch to close frames.

Messages are passed on as they arrive, no faster than the other side takes them. A close frame from
one side is passed on to the other with the same code. In all other cases the gateway chooses the
code (RFC 6455 section 7.4.1, IANA's registry):

    the client disconnected     upstream 1001, going away
    the upstream disconnected   client 1014, bad gateway
    the client broke a rule     client 1002, 1007, 1008 or 1009; upstream 1001
    the upstream broke a rule   upstream 1002, 1007, 1008 or 1009; client 1014, or 1009 for 1009
    idle, or no pong of client  both 1001
    no pong of the upstream     client 1014; upstream 1001
    the credential expired      client 3000, unauthorized; upstream 1001
    a limit was reached         client 1008, policy; upstream 1001
    the gateway stops           client 1012, service restart; upstream 1001
"""

from __future__ import annotations

import asyncio

from gateway.errors import (
    GatewayError,
    SessionBroken,
    SessionIdle,
    UpstreamError,
    UpstreamIdleTimeout,
    UpstreamInvalidResponse,
    UpstreamReset,
)
from gateway.exchange import ClientConnection, EndReason, Exchange
from gateway.upstream.response import UpstreamResponse
from gateway.usage import Usage
from gateway.websocket.codes import Closing, Code, Violation
from gateway.websocket.deflate import Deflate
from gateway.websocket.endings import By, Tally, ending_of
from gateway.websocket.model_check import ModelCheck
from gateway.websocket.peer import Peer
from gateway.websocket.usage import SessionUsage
from gateway.websocket.watch import SessionOptions, Standing, Watch

_GOODBYE_S = 5.0
"""Maximum seconds to wait for an upstream's answer to a client's close frame."""
_LEFT = Closing(Code.GOING_AWAY)


class Session:
    """Session between two peers. It receives what both send and passes it on with backpressure."""

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        upstream: UpstreamResponse,
        options: SessionOptions,
        *,
        deflate: Deflate | None,
        standing: Standing | None,
    ) -> None:
        """Create the session. `standing` is None if callers are not authenticated."""
        assert client.transport is not None
        assert upstream.tunnel is not None
        loop = self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._over = False
        self.tally = exchange.tally = Tally()
        self._exchange = exchange
        self._options = options
        self._connection, self._transport = client, client.transport
        self._response, self._tunnel = upstream, upstream.tunnel
        self._client = Peer(
            self,
            self._transport.write,
            loop.time,
            client.backlog,
            pause=client.pause_reading,
            resume=client.resume_reading,
            is_client=True,
            max_message_bytes=options.max_message_bytes,
            messages=options.messages() if options.messages is not None else None,
            deflate=deflate,
        )
        self._upstream = Peer(
            self,
            self._tunnel.send_body,
            loop.time,
            client.backlog,
            pause=upstream.pause,
            resume=upstream.resume,
            is_client=False,
            max_message_bytes=options.max_message_bytes,
        )
        checks = exchange.checks_model
        self._model_check = ModelCheck(checks) if checks is not None else None
        counts = exchange.meter is not None or exchange.tap is not None
        self._usage = SessionUsage() if counts else None
        self._spending: asyncio.Task[None] | None = None
        self._spent_more = False
        """True if tokens were counted since the last check of the remaining budget began."""
        self._watch = Watch(self, options, standing)
        self._goodbye: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take over both connections, including data they have sent already."""
        self._tunnel.on_writable = self._upstream_takes
        early = self._connection.take_over(self)
        unread = self._response.take_unread()
        self._response.attach(self)
        self._connection.attach(self)
        if unread:
            self.feed(unread)
        if early:
            self.received(early)
        if self._response.complete or self._response.error is not None:
            self.finish(self._response.error)
        if not self._over:
            self._watch.look()

    async def run(self) -> None:
        """Wait until the session has ended."""
        await self._ended

    def client_left(self) -> None:
        """End the session after the client's connection was lost."""
        if self._client.said_goodbye:
            self._end(EndReason.COMPLETE, _LEFT, By.CLIENT)
        else:
            self.tally.closed(Code.ABNORMAL, By.CLIENT)
            self._end(EndReason.CLIENT_ABORT, _LEFT, By.CLIENT)

    def detach(self) -> None:
        """Release the client's connection."""
        self._connection.detach()

    # Called by the client's connection.

    @property
    def is_stream(self) -> bool:
        return False  # the watch ends it

    def received(self, data: bytes) -> None:
        """Read bytes from the client."""
        self._client.received(data)

    def pause(self) -> None:
        """Pause the upstream, because the client's connection is congested."""
        self._client.behind = True
        self._upstream.hold()

    def resume(self) -> None:
        """Resume the upstream, because the client's connection takes data again."""
        self._client.caught_up()
        self._upstream.go_on()

    def fail(self, error: GatewayError) -> None:
        """End the session with an error of the gateway, such as a limit or a drain."""
        if not self._over:
            self._exchange.failed(error)
            reason, closing = ending_of(error)
            self._end(reason, closing, By.GATEWAY)

    def probe(self) -> bool:
        """Return False: a client that has closed its sending side has left.

        A WebSocket has no half-close.
        """
        return False

    # Called by the upstream's connection.

    def feed(self, data: bytes) -> None:
        """Read bytes from the upstream."""
        self._upstream.received(data)

    def finish(self, error: GatewayError | None) -> None:
        """Handle the end of the upstream's connection, after reading the data kept from it."""
        self._upstream.finish(lambda: self._upstream_gone(error))

    def _upstream_gone(self, error: GatewayError | None) -> None:
        if self._over:
            return
        if self._client.said_goodbye:
            # The upstream closed the connection instead of answering the client's close frame.
            self._end(EndReason.COMPLETE, self._upstream.closing or _LEFT, By.CLIENT)
            return
        lost = error if isinstance(error, UpstreamError) else UpstreamReset("no close frame")
        self._lose_upstream(lost, EndReason.UPSTREAM_RESET, _LEFT)

    def _upstream_takes(self, more: bool) -> None:
        """Pause the client while the upstream's connection is congested; resume it when `more`."""
        if self._over:
            return
        if more:
            self._upstream.caught_up()
            self._client.go_on()
        else:
            self._upstream.behind = True
            self._client.hold()

    # Called by the peers.

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
                return
            self._upstream.send(opcode, payload, first, final)
            return
        tally.messages_out += first
        exchange.bytes_out += len(payload)
        if not self._transport.is_closing():
            self._client.send(opcode, payload, first, final)
        if self._usage is not None and (used := self._usage.feed(payload, first, final)):
            self._spend(used)

    def pieces_end(self, peer: Peer) -> None:
        """Flush the pieces passed on."""
        if peer is self._client:
            self._upstream.flush()
        elif not self._transport.is_closing():
            self._client.flush()

    def says_goodbye(self, peer: Peer, closing: Closing) -> None:
        """Pass a close frame on to the other peer.

        Wait for the upstream's answer to a client's close frame. The client's connection needs no
        wait: it lingers by itself.
        """
        if peer is self._client:
            self.tally.closed(closing.code, By.CLIENT)
            self._tunnel.send_body(self._upstream.goodbye(closing))
            self._goodbye = self._loop.call_later(_GOODBYE_S, self._no_goodbye)
        else:
            by = By.CLIENT if self._client.said_goodbye else By.UPSTREAM
            self._end(EndReason.COMPLETE, closing, by, upstream=closing)

    def breaks(self, peer: Peer, violation: Violation) -> None:
        """End the session after a protocol violation. Both peers get a close frame."""
        closing, exchange = violation.closing, self._exchange
        if peer is self._client:
            exchange.error_code, exchange.reason = SessionBroken.code, closing.reason
            self._end(EndReason.REFUSED, closing, By.CLIENT)
        else:
            error = UpstreamInvalidResponse(f"WebSocket: {closing.reason}")
            self._lose_upstream(error, EndReason.UPSTREAM_RESET, closing)

    # -- tokens ------------------------------------------------------------------------------

    def _spend(self, used: Usage) -> None:
        """Count tokens, and start a check of the remaining budget."""
        meter = self._exchange.meter
        if meter is None:
            return  # only the log and the metrics need the count
        meter.count(used)
        self._spent_more = True
        if self._spending is None or self._spending.done():
            self._spending = asyncio.create_task(self._stop_if_spent())

    async def _stop_if_spent(self) -> None:
        meter = self._exchange.meter
        assert meter is not None
        while self._spent_more:
            self._spent_more = False
            error = await meter.exhausted()
            if error is not None:
                self.fail(error)
                return

    # -- time: the watch calls these -----------------------------------------------------------

    def idle(self) -> None:
        """End the session because neither side has sent a message."""
        self.fail(SessionIdle(reason=f"no message for {self._options.idle_s} s"))

    def ask(self) -> None:
        """Ping both peers. A peer is not being read while the other one is congested."""
        if not self._client.ping(is_read=not self._upstream.behind):
            self.fail(SessionIdle("No answer to a ping.", reason="the client answers no ping"))
        elif not self._upstream.ping(is_read=not self._client.behind):
            error = UpstreamIdleTimeout("no answer to a ping")
            self._lose_upstream(error, EndReason.TIMEOUT, _LEFT)

    def _no_goodbye(self) -> None:
        """End the session: the upstream has not answered the client's close frame in time."""
        self._end(EndReason.COMPLETE, self._upstream.closing or _LEFT, By.CLIENT)

    # -- the end -----------------------------------------------------------------------------

    def _lose_upstream(self, error: UpstreamError, reason: EndReason, said: Closing) -> None:
        if self._response.error is None:
            self._response.error = error  # counts as a failure of its endpoint
        code = Code.TOO_BIG if said.code == Code.TOO_BIG else Code.BAD_GATEWAY
        self._exchange.failed(error)
        self._end(reason, Closing(code, error.message), By.UPSTREAM, upstream=said)

    def _end(
        self, reason: EndReason, closing: Closing, by: By, *, upstream: Closing = _LEFT
    ) -> None:
        """Send a close frame to each peer that has not received one, and end the exchange.

        Whoever awaits `run` closes the client's connection.
        """
        if self._over:
            return
        self._over = True
        if not self._ended.done():  # cancelled if the task that waits for it was
            self._ended.set_result(None)
        self._watch.stop()
        if self._goodbye is not None:
            self._goodbye.cancel()
        if self._spending is not None:
            self._spending.cancel()
        self.tally.closed(closing.code, by)
        self._client.ignore()
        self._upstream.ignore()
        if not self._transport.is_closing():
            self._transport.write(self._client.goodbye(closing))
        self._tunnel.on_writable = None
        self._tunnel.hang_up(self._upstream.goodbye(upstream))
        exchange = self._exchange
        if self._usage is not None:
            if (rest := self._usage.rest()) is not None and exchange.meter is not None:
                exchange.meter.count(rest)
            exchange.usage = self._usage.total
        exchange.end(reason)
