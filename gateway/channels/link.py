"""Interface between the channels of a process and the other processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.channels.channel import Channel
from gateway.channels.space import ChannelAddress, Once


class Home(Protocol):
    """Channels of this process, as a link uses them."""

    def append(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        """Publish in this process's own channel, and return the ids. Raise TooManyChannels or
        IdempotencyConflict.
        """

    def own(self, address: ChannelAddress) -> Channel:
        """Return this process's own channel, created if needed. Raise TooManyChannels."""

    def find(self, key: str) -> Channel | None:
        """Return a channel of this process."""

    def arrived(self, channel: Channel, events: Iterable[tuple[int, bytes]], floor: int) -> None:
        """Add events that were published elsewhere. Those up to `floor` are gone there."""


class ChannelLink(Protocol):
    """Access to the channels that other processes share with this one."""

    @property
    def available(self) -> bool:
        """True if channels can be reached now."""

    def start(self, home: Home) -> None:
        """Start the background work."""

    async def close(self) -> None:
        """Stop the background work, and disconnect."""

    def owns(self, key: str) -> bool:
        """True if this process keeps the channel's history itself."""

    async def publish(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        """Publish events, and return their ids. If `once` was published before, return its ids.

        Raise StoreUnavailable, TooManyChannels or IdempotencyConflict.
        """

    async def follow(self, channel: Channel) -> None:
        """Fill a channel with its history, and keep it up to date until `leave`. Raise
        StoreUnavailable or TooManyChannels.
        """

    def leave(self, channel: Channel) -> None:
        """Stop to follow a channel."""

    def counted(self, channel: Channel) -> None:
        """Note that the number of followers in this process has changed."""

    async def presence(self, address: ChannelAddress) -> int:
        """Return the number of followers in all processes. Raise StoreUnavailable."""


class LocalLink:
    """Link of the only process: its channels are all its own."""

    available = True

    def start(self, home: Home) -> None:
        self._home = home

    async def close(self) -> None:
        pass

    def owns(self, key: str) -> bool:
        return True

    async def publish(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        return self._home.append(address, blocks, once)

    async def follow(self, channel: Channel) -> None:
        raise AssertionError("an own channel is followed without its link")

    def leave(self, channel: Channel) -> None:
        pass

    def counted(self, channel: Channel) -> None:
        pass

    async def presence(self, address: ChannelAddress) -> int:
        channel = self._home.find(address.key)
        return 0 if channel is None else channel.present
