"""The channels of a process: its own, and those of other processes that it follows."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from gateway.channels.channel import Channel, Follower
from gateway.channels.fanout import Fanout
from gateway.channels.ids import id_at
from gateway.channels.link import ChannelLink
from gateway.channels.space import ChannelAddress, Once
from gateway.errors import (
    ChannelsUnavailable,
    CredentialExpired,
    Draining,
    TooManyChannels,
    TooManyFollowers,
)
from gateway.load.tasks import BackgroundTasks
from gateway.store.records import StoreUnavailable

TICK_S = 1.0
"""Time between two looks at all channels."""
VALIDITY_TICKS = 5
"""Ticks between two checks of the followers' credentials."""
_UNFOLLOWED_S = 5.0
"""Time for which a channel of another process is kept up to date without a follower."""
_MOST_FLOORS = 10_000
_KEPT_SHARE = 0.9
"""Share of the size limit to which histories are trimmed when the limit is exceeded."""
_RETRY_MS = 1000, 5000
"""Range of the delay after which a disconnected follower is asked to reconnect. Those of one worker
must not come back all at once.
"""


class ChannelCounts:
    """Counters of the channels of one route."""

    __slots__ = ("disconnects", "gaps", "published")

    def __init__(self) -> None:
        self.published = 0
        """Events published in this process."""
        self.gaps = 0
        """Times that events were dropped for a follower that lagged."""
        self.disconnects = 0
        """Followers disconnected because they lagged."""


class Channels:
    """Channels of one process, within a limit on the total size of their histories."""

    def __init__(self, cap_bytes: int, link: ChannelLink) -> None:
        self.cap_bytes = cap_bytes
        self.size_bytes = 0
        self.link = link
        self.counts: dict[str, ChannelCounts] = {}
        """Counters by route."""
        self.draining = False
        """True once followers are asked to reconnect to another process."""
        self.fanout = Fanout()
        self._channels: dict[str, Channel] = {}
        self._opening: dict[str, asyncio.Future[None]] = {}
        self._groups: Counter[tuple[str, bool]] = Counter()
        """Numbers of channels of each tenant: those in which an event was published, and others."""
        self._floors: dict[str, int] = {}
        """Last ids of own channels that were dropped because they were empty, the oldest first."""
        self._oldest_floor = id_at(int(time.time() * 1000))
        """Floor of a channel that is not in `_floors`: nothing is known of the time before."""
        self._callers: Counter[bytes] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self.tasks = BackgroundTasks()
        """Tasks that `close` cancels."""

    def start(self) -> None:
        """Start the background work. Without channels there is none."""
        self.link.start(self)

    async def close(self) -> None:
        """Stop the background work, and drop all channels."""
        if self._timer is not None:
            self._timer.cancel()
        self.fanout.close()
        self.tasks.cancel()
        await self.link.close()
        for channel in [*self._channels.values()]:
            self._drop(channel)

    def drain(self) -> None:
        """Ask all followers to reconnect. They reach another worker, or the next process."""
        self.draining = True
        for channel in self._channels.values():
            self.fanout.visit(channel, "drain", lambda follower: follower.fail(Draining()))

    @property
    def all(self) -> Iterable[Channel]:
        """Channels of this process, and those that it follows."""
        return self._channels.values()

    # -- publishing and following ----------------------------------------------------------------

    async def publish(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        """Publish events. Each is a complete block without an id. Return their ids. If `once` was
        published before, return its ids.

        Raise ChannelsUnavailable, TooManyChannels or IdempotencyConflict.
        """
        try:
            ids = await self.link.publish(address, blocks, once)
        except StoreUnavailable as exc:
            raise ChannelsUnavailable(str(exc)) from exc
        self.counts_of(address.space.name).published += len(ids)
        return ids

    def here(self, address: ChannelAddress) -> Channel | None:
        """Return a channel that can be followed at once, else None. Raise TooManyChannels.

        Followers open channels of their own number: they cannot take the places of publishers.
        """
        if self.link.owns(address.key):
            return self.own(address)
        if address.key in self._opening:
            return None
        return self._touched(address)

    async def open(self, address: ChannelAddress) -> Channel:
        """Return a channel with its history, kept up to date while it has followers.

        Raise ChannelsUnavailable or TooManyChannels.
        """
        while (opening := self._opening.get(address.key)) is not None:
            await asyncio.wait((opening,))
        channel = self._touched(address)
        if channel is not None:
            return channel
        self._check_group(address, published=False)
        channel = self._made(address, 0)
        self._opening[address.key] = opening = asyncio.get_running_loop().create_future()
        try:
            await self.link.follow(channel)
        except BaseException as exc:
            self._drop(channel)
            if isinstance(exc, StoreUnavailable):
                raise ChannelsUnavailable(str(exc)) from exc
            raise
        finally:
            del self._opening[address.key]
            opening.set_result(None)
        return channel

    def check(self, address: ChannelAddress, channel: Channel | None, caller: bytes) -> None:
        """Check the caps on followers. Raise TooManyFollowers, or Draining during a shutdown."""
        if self.draining:
            raise Draining
        space = address.space
        if channel is not None and len(channel.followers) >= space.max_followers:
            raise TooManyFollowers("This channel has as many followers as it may have here.")
        if self._callers[caller] >= space.max_per_caller:
            raise TooManyFollowers("You follow as many channels as you may at once.")

    def join(self, channel: Channel, follower: Follower, caller: bytes) -> None:
        """Add a follower."""
        channel.followers[follower] = None
        self._callers[caller] += 1
        self.link.counted(channel)

    def left(self, channel: Channel, follower: Follower, caller: bytes) -> None:
        """Remove a follower. It may have been removed before."""
        if follower not in channel.followers:
            return
        del channel.followers[follower]
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]
        if not channel.followers:
            channel.idle_since = asyncio.get_running_loop().time()
        self.link.counted(channel)

    async def presence(self, address: ChannelAddress) -> int:
        """Return the number of a channel's followers in all processes, at most some seconds old.

        Raise ChannelsUnavailable.
        """
        try:
            return await self.link.presence(address)
        except StoreUnavailable as exc:
            raise ChannelsUnavailable(str(exc)) from exc

    def counts_of(self, route: str) -> ChannelCounts:
        """Return the counters of a route."""
        counts = self.counts.get(route)
        if counts is None:
            counts = self.counts[route] = ChannelCounts()
        return counts

    @staticmethod
    def retry_ms() -> int:
        """Return the time in milliseconds after which a follower should come back."""
        return random.randint(*_RETRY_MS)  # noqa: S311 -- no secret

    # -- for the link ----------------------------------------------------------------------------

    def append(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        """Publish in this process's own channel, and return the ids. Raise TooManyChannels or
        IdempotencyConflict.
        """
        channel = self._own(address, published=True)
        if once is not None and (known := channel.repeated(once)) is not None:
            return known
        if not channel.published:
            self._check_group(address, published=True)
            self._count(channel, -1)
            channel.published = True
            self._count(channel, 1)
        first = max(id_at(int(time.time() * 1000)), channel.history.last + 1)
        ids = [*range(first, first + len(blocks))]
        channel.history.extend(zip(ids, blocks, strict=True), address.space.retention)
        if once is not None:
            channel.remember(once, ids)
        self.fanout.news(channel)
        return ids

    def own(self, address: ChannelAddress) -> Channel:
        """Return this process's own channel, created if needed. Raise TooManyChannels."""
        return self._own(address, published=False)

    def _own(self, address: ChannelAddress, *, published: bool) -> Channel:
        channel = self._touched(address)
        if channel is None:
            self._check_group(address, published=published)
            floor = self._floors.pop(address.key, self._oldest_floor)
            channel = self._made(address, floor, published=published)
        return channel

    def find(self, key: str) -> Channel | None:
        """Return a channel of this process."""
        return self._channels.get(key)

    def arrived(self, channel: Channel, events: Iterable[tuple[int, bytes]], floor: int) -> None:
        """Add events that were published elsewhere. Those up to `floor` are gone there."""
        history, before = channel.history, channel.history.last
        if floor > history.last:
            history.jump(floor)
        history.extend(events, channel.space.retention)
        if history.last != before:
            self.fanout.news(channel)

    # -- bytes -----------------------------------------------------------------------------------

    def grown(self, size_bytes: int) -> None:
        """Add to the total size. Above the limit, drop the oldest events of the largest
        channels.
        """
        self.size_bytes += size_bytes
        if self.size_bytes <= self.cap_bytes:
            return
        histories = [channel.history for channel in self._channels.values()]
        while self.size_bytes > self.cap_bytes * _KEPT_SHARE and histories:
            largest = max(histories, key=lambda history: history.size_bytes)
            before = largest.size_bytes
            largest.trim_bytes(before // 2)
            if largest.size_bytes == before:
                return  # each history is down to a single event

    def shrunk(self, size_bytes: int) -> None:
        """Subtract from the total size."""
        self.size_bytes -= size_bytes

    # -- private ---------------------------------------------------------------------------------

    def _touched(self, address: ChannelAddress) -> Channel | None:
        channel = self._channels.get(address.key)
        if channel is not None:
            channel.address = address  # a reload may have changed the options
            channel.idle_since = asyncio.get_running_loop().time()
        return channel

    def _made(self, address: ChannelAddress, floor: int, *, published: bool = False) -> Channel:
        channel = self._channels[address.key] = Channel(address, floor, self)
        channel.published = published
        channel.idle_since = asyncio.get_running_loop().time()
        self._count(channel, 1)
        if self._timer is None:
            self._wait()
        return channel

    def _drop(self, channel: Channel) -> None:
        if channel.gone:
            return
        channel.gone = True
        del self._channels[channel.key]
        self._count(channel, -1)
        channel.history.clear()

    def _check_group(self, address: ChannelAddress, *, published: bool) -> None:
        if self._groups[address.group, published] >= address.space.max_channels:
            raise TooManyChannels

    def _count(self, channel: Channel, change: int) -> None:
        group = channel.address.group, channel.published
        self._groups[group] += change
        if not self._groups[group]:
            del self._groups[group]

    def _forget(self, channel: Channel) -> None:
        """Drop an own channel that is empty. Remember which events were seen before."""
        self._drop(channel)
        if len(self._floors) >= _MOST_FLOORS:
            oldest = next(iter(self._floors))
            self._oldest_floor = max(self._oldest_floor, self._floors.pop(oldest))
        self._floors[channel.key] = channel.history.last

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        """Drop old events and channels that nobody uses; tell presence; check credentials."""
        self._ticks += 1
        now, now_ms = asyncio.get_running_loop().time(), int(time.time() * 1000)
        for channel in [*self._channels.values()]:
            channel.history.expire(now_ms, channel.space.retention)
            if channel.followers or channel.mirrors:
                if channel.space.presence and channel.told != channel.present:
                    channel.told = channel.present
                    self.fanout.note(channel)
                if self._ticks % VALIDITY_TICKS == 0:
                    self.fanout.visit(channel, "validity", _check_validity)
            elif now - channel.idle_since > _UNFOLLOWED_S and channel.key not in self._opening:
                if not self.link.owns(channel.key):
                    self.link.leave(channel)
                    self._drop(channel)
                elif not len(channel.history):
                    self._forget(channel)
        if self._channels:
            self._wait()
        else:
            self._timer = None


def _check_validity(follower: Follower) -> None:
    if not follower.validity_holds:
        follower.fail(CredentialExpired())
