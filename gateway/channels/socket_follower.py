"""A WebSocket that follows a channel: each event is one text message, a JSON object."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.channels import notices
from gateway.channels.channel import Channel
from gateway.channels.channels import Channels
from gateway.channels.position import FollowerPosition
from gateway.client_connection import ClientConnection
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.session import By
from gateway.sse import Event
from gateway.websocket.codes import Closing
from gateway.websocket.frames import TEXT, frame
from gateway.websocket.peer import Peer
from gateway.websocket.session import WebSocketSession
from gateway.websocket.watch import SessionOptions, Validity


def message_of(event: bytes) -> bytes:
    """Return the message of an event: `id`, `event` and `data`. Events without an id have none."""
    fields = Event(event)
    said: dict[str, Any] = {"event": _text(fields.type), "data": _text(fields.data or b"")}
    if fields.id is not None:
        said = {"id": _text(fields.id), **said}
    if fields.retry_ms is not None:
        said["retry"] = fields.retry_ms
    return orjson.dumps(said)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _as_frames(events: Sequence[bytes]) -> bytes:
    return b"".join(frame(TEXT, message_of(event)) for event in events)


class SocketFollower(WebSocketSession):
    """Follower that receives WebSocket messages. What its client sends is ignored."""

    def __init__(
        self,
        channels: Channels,
        position: FollowerPosition,
        caller: bytes,
        exchange: Exchange,
        client: ClientConnection,
        options: SessionOptions,
        *,
        validity: Validity | None,
    ) -> None:
        super().__init__(exchange, client, options, deflate=None, validity=validity)
        self._channels = channels
        self._channel: Channel = position.channel
        self._position = position
        self._caller = caller
        self._encoded = self._channel.encoded(_as_frames)

    def _open(self) -> None:
        """Send the position, and the events after it. Then follow the channel."""
        first = self._position.begin()
        self._write(_as_frames(first), len(first))
        self._channels.join(self._channel, self, self._caller)
        self.wake()

    async def run(self) -> None:
        """Wait until the session has ended."""
        await asyncio.wait((self._ended,))

    # -- the fan-out calls these ----------------------------------------------------------------

    @property
    def validity_holds(self) -> bool:
        """True: the session's watch checks the credential."""
        return True

    def wake(self) -> None:
        """Write the events after the follower's position, unless its client lags."""
        position = self._position
        while not (self._over or self._transport.is_closing()):
            if position.is_lost and (not self._client.congested or position.is_dropped):
                notice = position.skip(self._channels)
                if isinstance(notice, GatewayError):
                    self.fail(notice)
                    return
                self._write(_as_frames([notice]), 1)
                continue
            if position.is_current or self._client.congested:
                return
            data, position.after, count = self._encoded.after(position.after)
            self._write(data, count)
            if not position.is_current:
                self._channels.fanout.news(self._channel)  # the rest comes in the next round
            return

    def note(self) -> None:
        """Write the number of followers, unless the client lags."""
        if not (self._over or self._client.congested or self._transport.is_closing()):
            self._write(self._encoded.presence(self._channel.present), 1)

    # -- the client's connection calls these ------------------------------------------------------

    def pause(self) -> None:
        """Note that the client lags."""
        self._client.congested = True

    def resume(self) -> None:
        """Continue writing: the client has caught up."""
        self._client.resume_writing()
        self.wake()

    # -- the peer calls these ---------------------------------------------------------------------

    def piece(self, peer: Peer, opcode: int, payload: bytes, first: bool, final: bool) -> None:
        """Ignore a message of the client."""
        self._exchange.bytes_in += len(payload)
        self.tally.messages_in += final

    def pieces_end(self, peer: Peer) -> None:
        """Ignore the end of a message: no message is assembled."""

    def closes(self, peer: Peer, closing: Closing) -> None:
        """Answer a close frame with the same code."""
        self._end(EndReason.COMPLETE, closing, By.CLIENT)

    # -- the watch calls these --------------------------------------------------------------------

    def idle(self) -> None:
        """Go on: a channel may be silent for long. Pings detect a dead client."""
        self._watch.active_at = self._loop.time()

    def ping(self) -> None:
        """Ping the client."""
        self._ping_client(is_read=True)

    # -- private ----------------------------------------------------------------------------------

    def _failing(self, error: GatewayError) -> None:
        if not self._transport.is_closing():
            self._write(_as_frames([notices.ended(error, self._channels.retry_ms())]), 1)

    def _close(self) -> None:
        self._channels.left(self._channel, self, self._caller)

    def _write(self, data: bytes, count: int) -> None:
        self.tally.messages_out += count
        self._exchange.bytes_out += len(data)
        self._transport.write(data)
