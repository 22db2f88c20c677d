"""WebSocket endpoint inside the gateway: messages from and to a client, without an upstream."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.client_connection import ClientConnection
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.session import By
from gateway.websocket.codes import Closing, Code, Violation
from gateway.websocket.deflate import Deflate
from gateway.websocket.frames import TEXT
from gateway.websocket.peer import Peer
from gateway.websocket.session import WebSocketSession
from gateway.websocket.watch import SessionOptions, Validity

_WAITING_BYTES = 64 * 1024
_WAITING_MESSAGES = 64
"""Maximum bytes and messages that wait to be received. Above either, the client is not read."""


class Closed(Exception):
    """The session has ended; nothing more is sent to the client."""


class Host(Protocol):
    """Party that sends outside of the talk coroutine. It is notified of the socket's events."""

    def flow(self, *, congested: bool) -> None:
        """Note that the client's connection is congested (`congested`) or takes data again.

        Messages that are posted meanwhile are buffered.
        """

    def failing(self, error: GatewayError) -> None:
        """Note that the gateway is about to end the session. Final messages may be posted."""

    def pinged(self) -> None:
        """Note that a ping was sent to the client."""

    def expiring(self, left_s: float) -> None:
        """Note that the session ends in so many seconds, because of its lifetime."""

    def active_at(self) -> float:
        """Return the time of the last activity, in seconds of the loop's clock."""


class ClientSocket(WebSocketSession):
    """WebSocket of one client, served by one coroutine."""

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        options: SessionOptions,
        talk: Callable[[ClientSocket], Awaitable[None]],
        *,
        deflate: Deflate | None,
        validity: Validity | None,
        binary: bool = True,
    ) -> None:
        """Create the socket. `talk` is cancelled if the session ends first.

        When `talk` returns, the session is closed with 1000. A GatewayError that it raises ends the
        session with that error's close code. `binary`: accept binary messages as well as text.
        """
        super().__init__(exchange, client, options, deflate=deflate, validity=validity)
        self.host: Host | None = None
        """Receiver of the socket's events; set by the code that talks, if it needs them."""
        self._talk = talk
        self._binary = binary
        self._parts: list[bytes] = []
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None

    # -- for the talk coroutine ------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next message; text is UTF-8. Raise Closed. Only one call may wait at a time.

        Each further message waits for the next turn of the event loop, so that a client that sends
        many messages at once does not delay other sessions.
        """
        if self._waiting:
            await asyncio.sleep(0)
        while not self._waiting:
            if self._over:
                raise Closed
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._waiting.popleft()
        self._waiting_bytes -= len(message)
        if not self._waiting:
            self._client.resume()
        return message

    async def send(self, message: bytes, *, opcode: int = TEXT) -> None:
        """Send a message, and wait while the client's connection is congested. Raise Closed."""
        if self._over:
            raise Closed
        self._watch.active_at = self._loop.time()
        self.tally.messages_out += 1
        self._exchange.bytes_out += len(message)
        self._client.send(opcode, message, True, True)
        self._client.flush()
        await self.room()

    async def room(self) -> None:
        """Wait while the client's connection is congested. Raise Closed."""
        while self._client.congested:
            self._sender = self._loop.create_future()
            try:
                await self._sender
            finally:
                self._sender = None
            if self._over:
                raise Closed

    @property
    def congested(self) -> bool:
        """True while the client's connection is congested."""
        return self._client.congested

    def post(self, messages: Sequence[bytes], *, quiet: bool = False) -> None:
        """Send text messages without waiting, even if the connection is congested.

        `quiet`: do not count them as activity.
        """
        if self._over or self._transport.is_closing():
            return
        if not quiet:
            self._watch.active_at = self._loop.time()
        self.tally.messages_out += len(messages)
        self._exchange.bytes_out += sum(map(len, messages))
        self._client.send_texts(messages)

    def close(self, closing: Closing) -> None:
        """End the session with this close frame."""
        self._end(EndReason.COMPLETE, closing, By.GATEWAY)

    # -- for the response ------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the talk coroutine until it returns or the session ends."""
        talking = asyncio.ensure_future(self._until_closed())
        try:
            await asyncio.wait((talking, self._ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over = not talking.done()
            if over:
                talking.cancel()
                await asyncio.wait((talking,))
        if over:
            return
        try:
            talking.result()
        except GatewayError as error:
            self.fail(error)
        self.close(Closing(Code.NORMAL))

    async def _until_closed(self) -> None:
        # Suppress it inside the task: nobody reads the task's result if the client leaves first.
        with contextlib.suppress(Closed):
            await self._talk(self)

    def pause(self) -> None:
        """Note that the client's connection is congested."""
        self._client.congested = True
        if self.host is not None:
            self.host.flow(congested=True)

    def resume(self) -> None:
        """Note that the client's connection takes data again."""
        self._client.resume_writing()
        _wake(self._sender)
        if self.host is not None:
            self.host.flow(congested=False)

    def _failing(self, error: GatewayError) -> None:
        if self.host is not None:
            self.host.failing(error)

    # -- the peer calls these --------------------------------------------------------------------

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Assemble messages: the receiver reads whole messages."""
        if opcode != TEXT and not self._binary:
            raise Violation(Code.UNSUPPORTED, "only text messages are understood")
        if self.host is None:
            self._watch.active_at = self._loop.time()
        self._exchange.bytes_in += len(payload)
        self._parts.append(payload)
        if not final:
            return
        message = b"".join(self._parts) if len(self._parts) > 1 else payload
        self._parts.clear()
        self.tally.messages_in += 1
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        if self._is_full():
            peer.pause()
        _wake(self._receiver)

    def pieces_end(self, peer: Peer) -> None:
        """Do nothing: `piece` has assembled the message."""

    def closes(self, peer: Peer, closing: Closing) -> None:
        """Answer a close frame with the same code."""
        self._end(EndReason.COMPLETE, closing, By.CLIENT)

    # -- the watch calls these -------------------------------------------------------------------

    def idle(self) -> None:
        """End the session if the host has not been active either."""
        if self.host is not None:
            at = self.host.active_at()
            if at + self._options.idle_s > self._loop.time():
                self._watch.active_at = at
                return
        super().idle()

    def warn(self, left_s: float) -> None:
        """Tell the host that the session ends soon."""
        if self.host is not None:
            self.host.expiring(left_s)

    def ping(self) -> None:
        """Ping the client, and tell the host."""
        if self._ping_client(is_read=not self._is_full()) and self.host is not None:
            self.host.pinged()

    # -- private ---------------------------------------------------------------------------------

    def _is_full(self) -> bool:
        return self._waiting_bytes > _WAITING_BYTES or len(self._waiting) > _WAITING_MESSAGES

    def _close(self) -> None:
        _wake(self._receiver)
        _wake(self._sender)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
