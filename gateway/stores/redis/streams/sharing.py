"""Share streams by Redis: any replica serves streams that another has begun.

Each process writes its streams and reports every second that it is alive. It listens on a channel
of its own. There other processes tell which of its streams they follow (`follow`, `leave`) or want
to end (`cancel`), and that streams it follows have new events (`news`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterable

from gateway.errors import StreamNotFound
from gateway.resume.log import StreamLog
from gateway.resume.sharing import LocalStreams, StreamTerms
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.streams import keys
from gateway.stores.redis.streams.claims import RedisClaims
from gateway.stores.redis.streams.journal import Journal
from gateway.stores.redis.streams.mirrors import Mirrors, StreamMirror
from gateway.stores.redis.streams.orphans import Orphans
from gateway.stores.redis.streams.written import ALIVE_S, NO_BEAT
from gateway.stores.redis.watched import TICK_S, TIMEOUT_S, WatchedRedis

_GIVE_UP_S = 10.0
"""Time for which readers of other processes' streams wait for a Redis that does not answer."""
_SETTLE_S = 5.0
"""Time that processes get to write their streams, after Redis was away or has lost data."""


class RedisSharing:
    """Share the streams of a process by Redis."""

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
        self.process = secrets.token_hex(8)
        self._redis = redis = WatchedRedis(url, timeout_s, report, self._back)
        self._client = client = redis.client
        self.claims = RedisClaims(client, redis.reachable, redis.tasks.spawn)
        self._journal = Journal(client, self.process, timeout_s, redis.changed, self._superseded)
        self._orphans = Orphans(client, self.process, redis.reachable, self._journal)
        self._mirrors = Mirrors(client, timeout_s, self._unfollow)
        self._streams: LocalStreams
        self._remote: dict[tuple[str, str], RemoteReader] = {}
        self._settled_at = 0.0
        self._beat = NO_BEAT
        """Number of signs of life. It is the value of the process's `alive` key."""
        self._closed = False

    def start(self, streams: LocalStreams) -> None:
        self._streams = streams
        redis = self._redis
        redis.tasks.spawn(self._tick())
        redis.tasks.spawn(redis.listen(keys.channel(self.process), self._hear))

    async def close(self) -> None:
        self._closed = True
        await self._journal.close()
        self._mirrors.close()
        await self._redis.tasks.close()
        try:
            await self._orphans.leave()
            async with self._redis.reachable():
                await self._client.delete(keys.alive(self.process))
        except StoreUnavailable:
            pass
        await self._redis.disconnect()

    @property
    def available(self) -> bool:
        return self._redis.available

    @property
    def followed(self) -> Iterable[StreamLog]:
        return (mirror.log for mirror in self._mirrors)

    # -- own streams ---------------------------------------------------------------------------

    async def open(self, log: StreamLog, terms: StreamTerms) -> None:
        if not self.available:
            raise StoreUnavailable("Redis did not answer the last call")
        try:
            await self._journal.open(log, terms)
        except StoreUnavailable as exc:
            self._redis.changed(False, str(exc))
            raise

    def open_later(self, log: StreamLog, terms: StreamTerms) -> None:
        self._journal.open_later(log, terms)

    @property
    def unopened(self) -> int:
        return self._journal.unopened

    def grown(self, log: StreamLog) -> None:
        self._journal.grown(log)

    def expired(self, stream: str) -> None:
        self._journal.forget(stream)

    def forgotten(self, stream: str) -> None:
        self._journal.forget(stream)
        self._redis.tasks.spawn(self._delete(stream))

    async def _delete(self, stream: str) -> None:
        try:
            async with self._redis.reachable():
                await self._client.delete(keys.events(stream), keys.meta(stream))
        except StoreUnavailable:
            pass  # the keys expire by themselves

    # -- streams of other processes ------------------------------------------------------------

    async def follow(self, stream: str, owners: Collection[bytes], after: int) -> StreamLog | None:
        where = await self._whereabouts(stream)
        if where is None:
            return None
        if where[2] not in owners:
            raise StreamNotFound
        mirror = self._mirrors.find(stream, after)
        if mirror is None:
            process, cap_bytes, owner, epoch = where
            log = StreamLog(stream, owner, cap_bytes, self._streams, first=after + 1)
            mirror = await self._mirrors.open(log, process, epoch)
            if not mirror.log.ended:
                self._redis.tasks.spawn(self._say(mirror.process, "follow", [stream]))
        return mirror.log

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        where = await self._whereabouts(stream)
        if where is None or where[2] not in owners:
            return False
        async with self._redis.reachable():
            await self._client.publish(keys.channel(where[0]), f"cancel {self.process} {stream}")
        return True

    async def _whereabouts(self, stream: str) -> tuple[str, int, bytes, int] | None:
        """Return a stream's process, size limit, owner and epoch, or None. Raise StoreUnavailable,
        also while it may still be written after an outage.
        """
        async with self._redis.reachable():
            found = await self._client.hmget(keys.meta(stream), "o", "p", "c", "k")
        if found[0] is not None:
            return found[1].decode(), int(found[2]), found[0], int(found[3] or 0)
        if time.monotonic() < self._settled_at:
            raise StoreUnavailable("streams are still being written after an outage")
        return None

    def _unfollow(self, mirror: StreamMirror) -> None:
        if not self._closed and not mirror.log.ended:
            self._redis.tasks.spawn(self._say(mirror.process, "leave", [mirror.log.id]))

    async def _say(self, process: str, word: str, streams: Iterable[str]) -> None:
        """Send a message that may be lost: it is repeated, or its content found out otherwise."""
        try:
            async with self._redis.reachable():
                text = f"{word} {self.process} {' '.join(streams)}"
                await self._client.publish(keys.channel(process), text)
        except StoreUnavailable:
            pass

    # -- background tasks ----------------------------------------------------------------------

    async def _tick(self) -> None:
        answered_at = time.monotonic()
        while True:
            try:
                await self._report_alive()
                self._redis.changed(True)
                answered_at = time.monotonic()
                await self._orphans.look_around(self._streams)
                await self._mirrors.look_around()
                followed: dict[str, list[str]] = {}
                for mirror in self._mirrors:
                    if not mirror.log.ended:
                        followed.setdefault(mirror.process, []).append(mirror.log.id)
                for process, streams in followed.items():
                    await self._say(process, "follow", streams)
                await self.claims.renew()
            except StoreUnavailable as exc:
                self._redis.changed(False, str(exc))
                if time.monotonic() - answered_at > _GIVE_UP_S:
                    self._mirrors.give_up()
            self._journal.refresh()
            now = time.monotonic()
            for reader in [*self._remote.values()]:
                if now > reader.until:
                    self._remote_left(reader.process, reader.log.id)
            await asyncio.sleep(TICK_S)

    async def _report_alive(self) -> None:
        """Write the next sign of life. If the last one is not there, Redis has lost data. Raise
        StoreUnavailable.
        """
        name, beat, life_ms = keys.alive(self.process), self._beat + 1, int(ALIVE_S * 1000)
        async with self._redis.reachable():
            before = await self._client.set(name, beat, px=life_ms, get=True)
        if self._beat != NO_BEAT and before != b"%d" % self._beat:
            self._back()
        self._beat = beat

    def _hear(self, text: str) -> None:
        word, process, *streams = text.split(" ")
        if word == "news":
            self._mirrors.news(streams)
            return
        for stream in streams:
            if word == "follow":
                self._remote_joined(process, stream)
            elif word == "leave":
                self._remote_left(process, stream)
            elif word == "cancel" and (log := self._streams.local(stream)) is not None:
                self._redis.tasks.spawn(self._cancel(log))

    def _superseded(self, stream: str) -> None:
        self._streams.superseded(stream)

    async def _cancel(self, log: StreamLog) -> None:
        await self._streams.cancel(log.id, (log.owner,))

    def _remote_joined(self, process: str, stream: str) -> None:
        reader = self._remote.get((process, stream))
        if reader is None:
            log = self._journal.log(stream)
            if log is None:
                self._journal.announce(process, stream)  # it is completely in Redis
                return
            reader = RemoteReader(self._journal, log, process)
            self._remote[process, stream] = reader
            log.join(reader)
            reader.wake()
        reader.until = time.monotonic() + ALIVE_S

    def _remote_left(self, process: str, stream: str) -> None:
        reader = self._remote.pop((process, stream), None)
        if reader is not None:
            reader.log.leave(reader)

    # -- private -----------------------------------------------------------------------------

    def _back(self) -> None:
        """Write again what Redis may have lost. Do not report streams as unknown for a while."""
        self._settled_at = time.monotonic() + _SETTLE_S
        self._journal.compare()
        self.claims.doubt()


class RemoteReader:
    """A reader for another process, which follows a stream on behalf of its own readers."""

    def __init__(self, journal: Journal, log: StreamLog, process: str) -> None:
        self.log = log
        self.process = process
        self.until = 0.0
        """Time at which it counts as gone unless it reports again, in `time.monotonic` seconds."""
        self._journal = journal

    @property
    def after(self) -> int:
        return self.log.last  # it reads from Redis, so the log never waits for it

    def wake(self) -> None:
        self._journal.announce(self.process, self.log.id)
