"""Common code of WebSocket sessions: the client's side, from protocol switch to close frame.

Subclasses implement the other side: an upstream (`upstream_session`) or a coroutine inside the
gateway (`client_socket`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from gateway.client_connection import ClientConnection
from gateway.errors import GatewayError, SessionBroken, SessionExpired, SessionIdle
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.session import By, SessionTally
from gateway.websocket.codes import Closing, Code, Violation
from gateway.websocket.deflate import Deflate
from gateway.websocket.endings import ending_of
from gateway.websocket.peer import Peer, PeerOwner
from gateway.websocket.watch import SessionOptions, Validity, Watch


class WebSocketSession(PeerOwner, ABC):
    """WebSocket session of one client."""

    is_stream = False
    """Tells the client's connection that the watch ends this session, no stream timeout."""

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        options: SessionOptions,
        *,
        deflate: Deflate | None,
        validity: Validity | None,
    ) -> None:
        """Create the session. `validity` is None if callers are not authenticated."""
        assert client.transport is not None
        loop = self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._over = False
        self._expires = False
        """True if the session ends after the message that is being sent."""
        assert exchange.session is not None  # the handshake was read
        self.tally = exchange.session.tally = SessionTally()
        self._exchange = exchange
        self._options = options
        self._connection, self._transport = client, client.transport
        self._client = Peer(
            self,
            self._transport.write,
            loop.time,
            client.backlog,
            pause_connection=client.pause_reading,
            resume_connection=client.resume_reading,
            is_client=True,
            max_message_bytes=options.max_message_bytes,
            messages=options.messages() if options.messages is not None else None,
            deflate=deflate,
        )
        self._watch = Watch(self, options, validity)

    # -- called by the response ----------------------------------------------------------------

    def start(self) -> None:
        """Take over the connection, including data that the client has sent already."""
        early = self._connection.take_over(self)
        self._open()
        self._connection.attach(self)
        if early:
            self.received(early)
        if not self._over:
            self._watch.look()

    def _open(self) -> None:
        """Take over the other side's connection, before the client's data is read."""

    @abstractmethod
    async def run(self) -> None:
        """Wait until the session has ended."""

    def client_left(self) -> None:
        """End the session after the client's connection was lost."""
        self.tally.closed(Code.ABNORMAL, By.CLIENT)
        self._end(EndReason.CLIENT_ABORT, Closing(Code.GOING_AWAY), By.CLIENT)

    def detach(self) -> None:
        """Release the client's connection."""
        self._connection.detach()

    # -- called by the client's connection -----------------------------------------------------

    def received(self, data: bytes) -> None:
        """Read bytes from the client."""
        self._client.received(data)

    @abstractmethod
    def pause(self) -> None:
        """Note that the client's connection is congested."""

    @abstractmethod
    def resume(self) -> None:
        """Note that the client's connection takes data again."""

    def fail(self, error: GatewayError) -> None:
        """End the session with an error of the gateway, such as a limit or a drain."""
        if not self._over:
            self._exchange.failed(error)
            self._failing(error)
            reason, closing = ending_of(error)
            self._end(reason, closing, By.GATEWAY)

    def _failing(self, error: GatewayError) -> None:
        """Send final messages before the close frame."""

    def probe(self) -> bool:
        """Return False: a client that has closed its sending side has left.

        A WebSocket has no half-close.
        """
        return False

    # -- called by the peers -------------------------------------------------------------------

    def violates(self, peer: Peer, violation: Violation) -> None:
        """End the session after a protocol violation by the client."""
        closing = violation.closing
        self._exchange.failed(SessionBroken(reason=closing.reason))
        self._end(EndReason.REFUSED, closing, By.CLIENT)

    # -- called by the watch -------------------------------------------------------------------

    def idle(self) -> None:
        """End the session because no message was sent."""
        self.fail(SessionIdle(reason=f"no message for {self._options.idle_s} s"))

    def warn(self, left_s: float) -> None:
        """Do nothing: most protocols have no message for this."""

    def expire(self) -> None:
        """End the session, which has reached its lifetime, between two messages.

        The second call ends it in any case.
        """
        if self._expires or not self._is_mid_message:
            self.fail(SessionExpired())
        else:
            self._expires = True

    @property
    def _is_mid_message(self) -> bool:
        """True while part of a message was sent."""
        return False

    @abstractmethod
    def ping(self) -> None:
        """Ping the client, and an upstream."""

    def _ping_client(self, *, is_read: bool) -> bool:
        """Ping the client. End the session and return False if it has not answered the last ping.

        `is_read`: the client's connection is being read, so that a pong would be seen.
        """
        answers = self._client.ping(is_read=is_read)
        if not answers:
            self.fail(SessionIdle("No answer to a ping.", reason="the client answers no ping"))
        return answers

    # -- the end -------------------------------------------------------------------------------

    def _end(self, reason: EndReason, closing: Closing, by: By) -> None:
        """Send a close frame to the client if it has not received one, and end the exchange.

        The code that awaits `run` closes the client's connection.
        """
        if self._over:
            return
        self._over = True
        if (
            not self._ended.done()
        ):  # cancelled if the task that waits for this session was cancelled
            self._ended.set_result(None)
        self._watch.stop()
        self.tally.closed(closing.code, by)
        self._client.ignore()
        if not self._transport.is_closing():
            self._transport.write(self._client.close_frame(closing))
        self._close()
        self._exchange.end(reason)

    @abstractmethod
    def _close(self) -> None:
        """End the other side of the session."""
