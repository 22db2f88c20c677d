"""Share channels by Redis: any replica publishes in them and follows them.

The events of a channel are a Redis stream with the same ids. A script publishes, trims, and
announces the channel on a topic that all processes listen to. A process fetches the news of the
channels that it follows. It also asks every 5 s, and when its connection was lost, so that a lost
announcement only causes a delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.channels.channel import Channel
from gateway.channels.ids import parsed, written
from gateway.channels.link import Home
from gateway.channels.space import ChannelAddress, Once
from gateway.errors import IdempotencyConflict, TooManyChannels
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.channel_scripts import FETCH, PUBLISH
from gateway.stores.redis.watched import TICK_S, TIMEOUT_S, WatchedRedis

_PREFIX = "llm-gateway:channel:"
_TOPIC = "llm-gateway:channels"
_LOOK_TICKS = 5
_PRESENT_S = 6.0
"""Time for which the followers of a process count without being reported again."""
_STATE_S = 3600.0
"""Time for which the state of a channel outlives its events."""
_COUNT = 500
"""Maximum number of events of one channel in one reply."""
_BATCH = 128
_KNOWN_S = 30.0
"""Time for which a channel counts as one of its tenant's without being checked again."""


class RedisChannels:
    """Link of one process to the others, by Redis."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        report: Callable[[str, str], None] = lambda state, why: None,
    ) -> None:
        """`report` is called with `lost` and the reason, or with `back`, when Redis goes or
        returns.

        Raise ValueError.
        """
        self._process = secrets.token_hex(8)
        self._redis = WatchedRedis(url, timeout_s, report)
        self._home: Home
        self._followed: dict[str, Channel] = {}
        self._dirty: dict[str, None] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._known: dict[tuple[str, str], float] = {}
        """Times until which channels need not be checked against their tenant's maximum."""

    @property
    def available(self) -> bool:
        return self._redis.available

    def start(self, home: Home) -> None:
        self._home = home
        redis = self._redis
        redis.tasks.spawn(self._tick())
        listening = redis.listen(
            _TOPIC, lambda key: self._news([key]), lambda: self._news(self._followed)
        )
        redis.tasks.spawn(listening)

    async def close(self) -> None:
        await self._redis.tasks.close()
        with contextlib.suppress(StoreUnavailable):  # the numbers expire by themselves
            await self._execute([("HDEL", _who(key), self._process) for key in self._followed])
        await self._redis.disconnect()

    def owns(self, key: str) -> bool:
        return False

    async def publish(
        self, address: ChannelAddress, blocks: Sequence[bytes], once: Once | None = None
    ) -> list[int]:
        await self._admit(address, "published")
        kept = address.space.retention
        age_ms = int(kept.age_s * 1000)
        mark_ms = age_ms
        if once is None:
            # redis-py sends a command again if the connection broke before its reply.
            once, mark_ms = Once(secrets.token_hex(8), ""), int(2000 * self._redis.timeout_s)
        keys = _events(address.key), _state(address.key), _mark(address.key, once.key)
        bounds = kept.events, kept.size_bytes, age_ms, age_ms + int(_STATE_S * 1000), mark_ms
        (ids,) = await self._execute(
            [("EVAL", PUBLISH, 3, *keys, *bounds, once.content, _TOPIC, address.key, *blocks)]
        )
        if not ids:
            raise IdempotencyConflict
        return [parsed(one.decode()) for one in ids]

    async def follow(self, channel: Channel) -> None:
        await self._admit(channel.address, "followed")
        self._followed[channel.key] = channel  # before it is fetched: news must not be missed
        try:
            while await self._fetch([channel]):
                pass
        except BaseException:
            del self._followed[channel.key]
            raise

    def leave(self, channel: Channel) -> None:
        if self._followed.pop(channel.key, None) is not None:
            self._redis.tasks.spawn(self._withdraw(channel.key))

    def counted(self, channel: Channel) -> None:
        pass

    async def presence(self, address: ChannelAddress) -> int:
        (counts,) = await self._execute([("HGETALL", _who(address.key))])
        return self._elsewhere(counts) + self._here(address.key)

    # -- private -----------------------------------------------------------------------------------

    async def _admit(self, address: ChannelAddress, how: str) -> None:
        """Count a channel as one of its tenant's that are published in, or followed. Raise
        TooManyChannels or StoreUnavailable.
        """
        key, now = address.key, time.time()
        if self._known.get((how, key), 0.0) > now:
            return
        group, age_s = _group(address.group, how), address.space.retention.age_s + _KNOWN_S
        _, score, count = await self._execute(
            [
                ("ZREMRANGEBYSCORE", group, 0, now - age_s),
                ("ZSCORE", group, key),
                ("ZCARD", group),
            ]
        )
        if score is None and count >= address.space.max_channels:
            raise TooManyChannels
        await self._execute([("ZADD", group, now, key), ("PEXPIRE", group, int(1000 * age_s))])
        if len(self._known) >= 10 * address.space.max_channels:
            self._known.clear()
        self._known[how, key] = now + _KNOWN_S

    async def _tick(self) -> None:
        for number in itertools.count():
            try:
                await self._execute([("PING",)])
                for channel in [*self._followed.values()]:
                    with contextlib.suppress(TooManyChannels):
                        # Others have taken the places; those who follow stay.
                        await self._admit(channel.address, "followed")
                await self._count()
                self._redis.changed(True)
            except StoreUnavailable as exc:
                self._redis.changed(False, str(exc))
            if number % _LOOK_TICKS == 0:
                self._news(self._followed)
            await asyncio.sleep(TICK_S)

    async def _count(self) -> None:
        """Report the numbers of followers here, and read those elsewhere."""
        followed = [*self._followed.values()]
        until_ms = int((time.time() + _PRESENT_S) * 1000)
        commands: list[tuple[Any, ...]] = []
        for channel in followed:
            who = _who(channel.key)
            commands += [
                ("HSET", who, self._process, f"{len(channel.followers)} {until_ms}"),
                ("PEXPIRE", who, int(_PRESENT_S * 1000)),
                ("HGETALL", who),
            ]
        replies = await self._execute(commands)
        for channel, counts in zip(followed, replies[2::3], strict=True):
            channel.elsewhere = self._elsewhere(counts)

    def _elsewhere(self, counts: Mapping[bytes, bytes]) -> int:
        """Return the number of followers in other processes."""
        now_ms, total = time.time() * 1000, 0
        for process, told in counts.items():
            number, until_ms = told.split(b" ")
            if process.decode() != self._process and int(until_ms) > now_ms:
                total += int(number)
        return total

    def _here(self, key: str) -> int:
        channel = self._followed.get(key)
        return 0 if channel is None else len(channel.followers)

    async def _withdraw(self, key: str) -> None:
        with contextlib.suppress(StoreUnavailable):  # the number expires by itself
            await self._execute([("HDEL", _who(key), self._process)])

    def _news(self, keys: Iterable[str]) -> None:
        """Fetch the new events of these channels, if they are followed here."""
        self._dirty.update((key, None) for key in keys if key in self._followed)
        if self._dirty and self._fetching is None:
            self._fetching = self._redis.tasks.spawn(self._fetch_all())

    async def _fetch_all(self) -> None:
        try:
            while self._dirty:
                keys = [*self._dirty][:_BATCH]
                for key in keys:
                    del self._dirty[key]
                channels = [self._followed[key] for key in keys if key in self._followed]
                more = await self._fetch(channels)
                self._dirty.update((channel.key, None) for channel in more)
        except StoreUnavailable:
            pass  # all channels are asked for every second anyway
        finally:
            self._fetching = None

    async def _fetch(self, channels: Sequence[Channel]) -> list[Channel]:
        """Fetch new events. Return the channels that have more. Raise StoreUnavailable."""
        replies = await self._execute(
            [
                (
                    *("EVAL", FETCH, 2, _events(channel.key), _state(channel.key)),
                    *(written(channel.history.last), _COUNT),
                    int((channel.space.retention.age_s + _STATE_S) * 1000),
                )
                for channel in channels
            ]
        )
        more = []
        for channel, (floor, found) in zip(channels, replies, strict=True):
            if channel.gone:
                continue
            ids = [parsed(one.decode()) for one in found[::2]]
            events = zip(ids, found[1::2], strict=True)
            self._home.arrived(channel, events, parsed(floor.decode()))
            if len(ids) == _COUNT:
                more.append(channel)
        return more

    async def _execute(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run commands in one call. Raise StoreUnavailable."""
        if not commands:
            return []
        pipeline = self._redis.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        async with self._redis.reachable():
            results: list[Any] = await pipeline.execute()
        return results


def _events(key: str) -> str:
    return f"{_PREFIX}{{{key}}}:events"


def _state(key: str) -> str:
    return f"{_PREFIX}{{{key}}}:state"


def _mark(key: str, once: str) -> str:
    return f"{_PREFIX}{{{key}}}:once:{once}"


def _who(key: str) -> str:
    return f"{_PREFIX}{{{key}}}:followers"


def _group(group: str, how: str) -> str:
    return f"{_PREFIX}{{{group}}}:{how}"
