"""Call of a bridge: one request of a socket, with a connection of its own.

The request passes through the same pipeline and relay, ends in the same ways and has its own line
in the access log, like any other request. Neither it nor its response is written as HTTP: the
connection takes a parsed request, and `BridgeWriter` hands over the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from gateway.bridge.answer import BridgeAnswer
from gateway.bridge.writer import BridgeWriter
from gateway.client_connection import Branch, MakeWriter, SessionRequest
from gateway.errors import GatewayError, StreamCancelled
from gateway.load.backlog import Backlog
from gateway.virtual_transport import VirtualTransport

_LOOK_BYTES = 512
"""Maximum bytes of a response that are read at once: about 60 of the smallest events."""
_TURN_MESSAGES = 16
_TURN_BYTES = 64 * 1024
"""Maximum messages and bytes of a response that are handled in one turn of the event loop."""


class BridgeCall(VirtualTransport):
    """Client side of one request: the transport of its connection, as far as it has one, and the
    receiver of its response.
    """

    def __init__(
        self,
        branch: Branch,
        answer: BridgeAnswer,
        underneath: asyncio.Transport,
        backlog: Backlog,
        *,
        send: Callable[[Sequence[bytes]], None],
        ended: Callable[[BridgeCall], None],
    ) -> None:
        """Create the call.

        `underneath` is the socket's connection, and `send` sends messages on it. `ended` is called
        after the final message was sent.
        """
        super().__init__()
        self.answer = answer
        self._branch = branch
        self._underneath = underneath
        self._send_messages = send
        self._ended = ended
        self._backlog = backlog
        self._closing = self._lost = False
        self._congested = False
        """True while the socket is congested."""
        self._paused = False
        """True while the gateway's side is paused."""
        self._unread = b""
        """Response bytes that wait to be read, from index `_at` on."""
        self._at = 0
        self._queued = False
        self._is_complete = False
        """True once the whole body has been received."""

    def begin(self, request: SessionRequest) -> None:
        """Send the request."""
        self._branch.ask(request, self, self)

    @property
    def generates(self) -> bool:
        """True if this request began the generation; False if it reads another request's stream."""
        exchange = self._branch.exchange
        return self.answer.stream is None or (
            exchange is not None and exchange.detached_owner is not None
        )

    def pause(self) -> None:
        """Pause, because the socket is congested."""
        self._congested = True
        self._update_flow()

    def resume(self) -> None:
        """Resume, because the socket takes data again."""
        self._congested = False
        if self._unread:
            self._read()
        self._update_flow()

    def cancel(self) -> None:
        """Cancel the generation for its client, and stop the backend."""
        messages = self.answer.cancelled()
        self._branch.end(StreamCancelled())
        self.disconnect()
        self._send(messages)

    def fail(self, error: GatewayError) -> None:
        """End the call with an error of the gateway."""
        self._branch.end(error)  # sends an error event, if the response has begun
        if not self.answer.over:
            self._send(self.answer.closed(error))
        self.disconnect()

    def abandon(self, error: GatewayError) -> None:
        """End the call because the client is disconnected, and send it the reason.

        The route's disconnect policy decides whether the generation continues.
        """
        self._send(self.answer.closed(error))
        self.disconnect()

    def disconnect(self) -> None:
        """Handle the loss of the client."""
        self._closing = True
        self._unread = b""
        self._at = 0
        if not self._lost:
            self._lost = True
            self._branch.connection_lost(None)

    # Called by the gateway's side: the writer of the response.

    @property
    def make_writer(self) -> MakeWriter:
        """Maker of the writer of the response."""
        return partial(BridgeWriter, self)

    @property
    def unread_bytes(self) -> int:
        """Bytes of the body that wait for a slow client, or for their turn."""
        return len(self._unread) - self._at

    def head(self, status: int, fields: Mapping[str, str]) -> None:
        """Translate the head of the response."""
        if not self._closing:
            self._send(self.answer.begin(status, fields))

    def body(self, data: bytes) -> None:
        """Translate a piece of the body: at once if it is small, or in several turns."""
        if self._closing:
            return
        if not self._unread and not self._congested and len(data) <= _LOOK_BYTES:
            self._send(self.answer.feed(data))
            return
        self._unread = self._unread[self._at :] + data
        self._at = 0
        self._read()

    def complete(self) -> None:
        """Send the last message, behind what waits."""
        if self._closing:
            return
        self._is_complete = True
        if not self._unread:
            self._send(self.answer.complete())

    # Called by the gateway's side: the connection, which takes this for its transport.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._unread:
                self._close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return default
        return self._underneath.get_extra_info(name, default)

    # -- private -----------------------------------------------------------------------------

    def _read(self) -> None:
        """Translate waiting bytes into messages, for one turn of the event loop."""
        if self._queued or self._congested:
            return
        unread, at = self._unread, self._at
        most = min(len(unread), at + _TURN_BYTES)
        messages: list[bytes] = []
        while at < most and len(messages) < _TURN_MESSAGES:
            messages += self.answer.feed(unread[at : at + _LOOK_BYTES])
            at += _LOOK_BYTES
        if at < len(unread):
            self._at = at
            self._queue()
        else:
            self._unread = b""
            self._at = 0
            if self._is_complete:
                messages += self.answer.complete()
        self._send(messages)
        self._update_flow()
        if self._closing and not (self._unread or self._lost):
            self._close()

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._backlog.add(self._read_on)

    def _read_on(self) -> None:
        self._queued = False
        if self._unread:
            self._read()

    def _update_flow(self) -> None:
        """Pause the gateway's side while the socket is congested or bytes wait."""
        paused = self._congested or bool(self._unread)
        if paused is not self._paused and not self._lost:
            self._paused = paused
            self._branch.pause_writing() if paused else self._branch.resume_writing()

    def _close(self) -> None:
        if not self.answer.over:
            self._send(self.answer.closed())
        asyncio.get_running_loop().call_soon(self.disconnect)

    def _send(self, messages: Sequence[bytes]) -> None:
        if messages:
            self._send_messages(messages)
            if self.answer.over:
                self._ended(self)
                if self._congested:
                    # Nobody tells it any more when the socket takes something again, and the
                    # gateway's side would wait for that with its end.
                    asyncio.get_running_loop().call_soon(self.resume)
