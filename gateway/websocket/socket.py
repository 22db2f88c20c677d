"""A WebSocket whose other side is the gateway itself: messages in, messages out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.errors import GatewayError, SessionBroken, SessionIdle
from gateway.exchange import ClientConnection, EndReason, Exchange
from gateway.websocket.codes import Closing, Code, Violation
from gateway.websocket.deflate import Deflate
from gateway.websocket.endings import By, Tally, ending_of
from gateway.websocket.frames import TEXT
from gateway.websocket.peer import Peer
from gateway.websocket.watch import SessionOptions, Standing, Watch

_WAITING_BYTES = 64 * 1024
_WAITING_MESSAGES = 64
"""What a client may send ahead; then it is not read until some of it was received."""


class Closed(Exception):
    """The session is over; the client is told nothing more."""


class Host(Protocol):
    """Who talks on a socket without waiting for its turn."""

    def flow(self, *, behind: bool) -> None:
        """The client takes no more for now, or does again. What is posted all the same is kept."""

    def failing(self, error: GatewayError) -> None:
        """The gateway is about to end it. Last words may be posted."""

    def asked(self) -> None:
        """The client was pinged."""

    def active_at(self) -> float:
        """When something was done last, in seconds of the loop's clock."""


class ClientSocket:
    """One client, and the coroutine that talks with it."""

    def __init__(
        self,
        exchange: Exchange,
        client: ClientConnection,
        options: SessionOptions,
        talk: Callable[[ClientSocket], Awaitable[None]],
        *,
        deflate: Deflate | None,
        standing: Standing | None,
        binary: bool = True,
    ) -> None:
        """`talk` is cancelled when the session ends before it does. When it returns, the session is
        closed with 1000; a GatewayError that it raises is told as one of the gateway's. `binary`:
        messages may be that, too.
        """
        assert client.transport is not None
        loop = asyncio.get_running_loop()
        self.host: Host | None = None
        """To be set by who talks, if it wants to know."""
        self.tally = exchange.tally = Tally()
        self._exchange = exchange
        self._options = options
        self._talk = talk
        self._binary = binary
        self._connection, self._transport = client, client.transport
        self._peer = Peer(
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
        self._loop = loop
        self._watch = Watch(self, options, standing)
        self._ended: asyncio.Future[None] = loop.create_future()
        self._over = False
        self._parts: list[bytes] = []
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._receiver: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None

    # -- for who talks -------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """The next message, text as UTF-8. Raise Closed. Not to be called twice at once.

        Each message has a turn of the event loop of its own: who sends many at once keeps nobody
        else waiting.
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
            self._peer.go_on()
        return message

    async def send(self, message: bytes, *, opcode: int = TEXT) -> None:
        """Send a message, and wait while the client is behind. Raise Closed."""
        if self._over:
            raise Closed
        self._watch.active_at = self._loop.time()
        self.tally.messages_out += 1
        self._exchange.bytes_out += len(message)
        self._peer.send(opcode, message, True, True)
        self._peer.flush()
        await self.room()

    async def room(self) -> None:
        """Wait while the client is behind. Raise Closed."""
        while self._peer.behind:
            self._sender = self._loop.create_future()
            try:
                await self._sender
            finally:
                self._sender = None
            if self._over:
                raise Closed

    @property
    def behind(self) -> bool:
        """Whether the client takes no more for now."""
        return self._peer.behind

    def post(self, messages: Sequence[bytes], *, quiet: bool = False) -> None:
        """Send text messages, whether the client is behind or not. `quiet`: nothing was done."""
        if self._over or self._transport.is_closing():
            return
        if not quiet:
            self._watch.active_at = self._loop.time()
        self.tally.messages_out += len(messages)
        self._exchange.bytes_out += sum(map(len, messages))
        self._peer.say(messages)

    def close(self, closing: Closing) -> None:
        """End it."""
        self._end(EndReason.COMPLETE, closing, By.GATEWAY)

    # -- for the response ------------------------------------------------------------------------

    def start(self) -> None:
        """Take over the connection, with what the client has sent already."""
        early = self._connection.take_over(self)
        self._connection.attach(self)
        if early:
            self.received(early)
        if not self._over:
            self._watch.look()

    async def run(self) -> None:
        """Talk, until one of both has enough."""
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
        # Here, and not where the result is taken: nobody takes it when the client leaves meanwhile.
        with contextlib.suppress(Closed):
            await self._talk(self)

    def client_left(self) -> None:
        """The client's connection is gone."""
        self.tally.closed(Code.ABNORMAL, By.CLIENT)
        self._end(EndReason.CLIENT_ABORT, Closing(Code.GOING_AWAY), By.CLIENT)

    def detach(self) -> None:
        """Let go of the client's connection."""
        self._connection.detach()

    # -- the client's connection calls these -----------------------------------------------------

    @property
    def is_stream(self) -> bool:
        return False  # the watch ends it

    def received(self, data: bytes) -> None:
        """Bytes of the client."""
        self._peer.received(data)

    def pause(self) -> None:
        """The client is behind."""
        self._peer.behind = True
        if self.host is not None:
            self.host.flow(behind=True)

    def resume(self) -> None:
        """It has caught up."""
        self._peer.caught_up()
        _wake(self._sender)
        if self.host is not None:
            self.host.flow(behind=False)

    def fail(self, error: GatewayError) -> None:
        """The gateway ends it."""
        if not self._over:
            self._exchange.failed(error)
            if self.host is not None:
                self.host.failing(error)
            reason, closing = ending_of(error)
            self._end(reason, closing, By.GATEWAY)

    def probe(self) -> bool:
        """A client that sends no more has left."""
        return False

    # -- the peer calls these --------------------------------------------------------------------

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Messages are put together here: they are for somebody who reads them whole."""
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
            peer.hold()
        _wake(self._receiver)

    def pieces_end(self, peer: Peer) -> None:
        """They were put together already."""

    def says_goodbye(self, peer: Peer, closing: Closing) -> None:
        """It is answered alike."""
        self._end(EndReason.COMPLETE, closing, By.CLIENT)

    def breaks(self, peer: Peer, violation: Violation) -> None:
        """It broke a rule."""
        closing, exchange = violation.closing, self._exchange
        exchange.error_code, exchange.reason = SessionBroken.code, closing.reason
        self._end(EndReason.REFUSED, closing, By.CLIENT)

    # -- the watch calls these -------------------------------------------------------------------

    def idle(self) -> None:
        """Nobody said a word."""
        if self.host is not None:
            at = self.host.active_at()
            if at + self._options.idle_s > self._loop.time():
                self._watch.active_at = at
                return
        self.fail(SessionIdle(reason=f"no message for {self._options.idle_s} s"))

    def ask(self) -> None:
        """Ping."""
        if not self._peer.ping(is_read=not self._is_full()):
            self.fail(SessionIdle("No answer to a ping.", reason="the client answers no ping"))
        elif self.host is not None:
            self.host.asked()

    # -- private ---------------------------------------------------------------------------------

    def _is_full(self) -> bool:
        return self._waiting_bytes > _WAITING_BYTES or len(self._waiting) > _WAITING_MESSAGES

    def _end(self, reason: EndReason, closing: Closing, by: By) -> None:
        if self._over:
            return
        self._over = True
        self._watch.stop()
        self._peer.ignore()
        self.tally.closed(closing.code, by)
        if not self._transport.is_closing():
            self._transport.write(self._peer.goodbye(closing))
        _wake(self._receiver)
        _wake(self._sender)
        _wake(self._ended)
        self._exchange.end(reason)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
