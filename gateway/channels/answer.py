"""Publication of one streamed answer, while its client receives it."""

from __future__ import annotations

import orjson

from gateway import sse
from gateway.channels.blocks import block_of_event
from gateway.channels.channels import Channels
from gateway.channels.space import ChannelAddress
from gateway.errors import GatewayError, InvalidEvent
from gateway.exchange import Exchange
from gateway.outcome import EndReason
from gateway.sse import Event, EventSplitter, EventTooLarge

_BATCH_EVENTS = 256
"""Maximum number of events in one call of the store."""
_WAITING_CAP_BYTES = 1024 * 1024
"""Bytes of events that may wait for the store. Further events are lost, and followers get a notice.
"""


class PublishedAnswer:
    """Events of one answer on their way to a channel. The client never waits for the channel."""

    def __init__(self, channels: Channels, where: ChannelAddress, max_event_bytes: int) -> None:
        self._channels = channels
        self._where = where
        self._splitter: EventSplitter | None = EventSplitter(max_event_bytes)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._lost = 0
        self._publishing = False

    def feed(self, data: bytes) -> None:
        """Publish the events that are now complete."""
        if self._splitter is None or not data:
            return
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            events, self._splitter = exc.events, None
            self._lost += 1
        for event in events:
            self._add(event)
        self._begin()

    def finish(self, exchange: Exchange) -> None:
        """Tell followers if the answer broke off: they have seen only a part of it."""
        if exchange.end_reason is not EndReason.COMPLETE or self._splitter is None:
            code = exchange.error_code or (exchange.end_reason or EndReason.INTERNAL).value
            said = {"error": {"code": code, "message": "The answer broke off."}}
            block = sse.event(orjson.dumps(said), b"error")
            self._waiting.append(block)
            self._waiting_bytes += len(block)
        self._splitter = None
        self._begin()

    def _add(self, event: Event) -> None:
        try:
            block = block_of_event(event)
        except InvalidEvent:
            self._lost += 1
            return
        if block is None:
            return
        if self._waiting_bytes > _WAITING_CAP_BYTES:
            self._lost += 1
            return
        self._waiting.append(block)
        self._waiting_bytes += len(block)

    def _begin(self) -> None:
        if self._waiting and not self._publishing:
            self._publishing = True
            self._channels.tasks.spawn(self._publish())

    async def _publish(self) -> None:
        try:
            while blocks := self._waiting[:_BATCH_EVENTS]:
                del self._waiting[:_BATCH_EVENTS]
                self._waiting_bytes -= sum(map(len, blocks))
                lost, self._lost = self._lost, 0
                if lost:
                    said = orjson.dumps({"lost_events": lost})
                    blocks = [sse.event(said, b"gateway.gap"), *blocks]
                try:
                    await self._channels.publish(self._where, blocks)
                except GatewayError:
                    self._lost += lost + len(blocks) - bool(lost)
        finally:
            self._publishing = False
