"""Follow streams that other processes write to Redis: one mirror serves all readers here.

One task updates all mirrors, one call at a time. A mirror is updated when a notification arrives,
and also every second, so that a lost notification only causes a delay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.errors import ResumeUnavailable, StreamLost, StreamTrimmed
from gateway.resume.log import StreamLog, StreamState
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import answering_within
from gateway.stores.redis.streams import keys
from gateway.stores.redis.streams.written import parse_entry

_COUNT = 256
"""Maximum number of entries of one stream in one reply."""
_BATCH = 128
_UNREAD_S = 5.0
"""Time for which a mirror without a first reader is kept."""
HEIR_S = 15.0
"""Time that another process has to continue a stream whose process is gone."""
_GAP_S = 15.0
"""Time that a process has to write events again that Redis has lost."""
_CHECK_S = 5.0
"""Time after which it is looked up again which process runs a stream."""


class StreamMirror:
    """Mirror of one stream from a certain event on."""

    def __init__(self, log: StreamLog, process: str, epoch: int) -> None:
        self.log = log
        self.process = process
        """Process that runs the stream."""
        self.epoch = epoch
        self.made_at = self.checked_at = time.monotonic()
        self.orphan_since: float | None = None
        """Time since when its process is gone."""
        self.may_be_continued = False
        """True if another process may continue the stream."""
        self.gap_since: float | None = None
        """Time since when the next event is missing in Redis, and later ones are there."""

    def waits_for_heir(self, now: float) -> bool:
        """Tell whether another process may still continue the stream, whose process is gone."""
        if not self.may_be_continued:
            return False
        if self.orphan_since is None:
            self.orphan_since = now
        return now - self.orphan_since < HEIR_S


class Mirrors:
    """Mirrors of one process."""

    def __init__(self, client: Any, timeout_s: float, left: Callable[[StreamMirror], None]) -> None:
        """`left` is called with a mirror when its stream has no mirror here any more."""
        self._client = client
        self._timeout_s = timeout_s
        self._left = left
        self._mirrors: dict[str, list[StreamMirror]] = {}
        self._dirty: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._missed: set[str] = set()

    def __iter__(self) -> Iterator[StreamMirror]:
        return (mirror for mirrors in [*self._mirrors.values()] for mirror in mirrors)

    def __len__(self) -> int:
        return len(self._mirrors)

    def find(self, stream: str, after: int) -> StreamMirror | None:
        """Return a mirror that contains the events after number `after`, or None."""
        for mirror in self._mirrors.get(stream, ()):
            if mirror.log.first <= after + 1 and not mirror.log.ended:
                return mirror
        return None

    async def open(self, log: StreamLog, process: str, epoch: int) -> StreamMirror:
        """Create a mirror with all events that are in Redis now. Raise StoreUnavailable."""
        mirror = StreamMirror(log, process, epoch)
        try:
            while await self._fetch([mirror]):
                pass
        except BaseException:
            log.clear()
            raise
        log.on_readers = lambda: self._readers_changed(mirror)
        self._mirrors.setdefault(log.id, []).append(mirror)
        return mirror

    def news(self, streams: Iterable[str]) -> None:
        """Schedule an update of these streams."""
        self._dirty.update((stream, None) for stream in streams if stream in self._mirrors)
        if self._dirty and self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def look_around(self) -> None:
        """Update all mirrors, end those whose process is gone, and drop those without a first
        reader.

        Raise StoreUnavailable.
        """
        now = time.monotonic()
        for mirror in [*self]:
            if not mirror.log.readers and now - mirror.made_at > _UNREAD_S:
                self._drop(mirror)
        running = [mirror for mirror in self if not mirror.log.ended]
        gone = await self._gone({mirror.process for mirror in running})
        # After an outage of Redis, a process may not have reported yet. It counts as gone only if
        # it is missing twice.
        orphans = {mirror for mirror in running if mirror.process in gone & self._missed}
        self._missed = gone
        await self._find_heirs(
            [m for m in running if m in orphans or now - m.checked_at > _CHECK_S]
        )
        self.news(mirror.log.id for mirror in running)
        without_heir = [m for m in orphans if m.process in gone and not m.waits_for_heir(now)]
        while without_heir and await self._fetch(without_heir):
            pass
        for mirror in without_heir:
            mirror.log.end(StreamState.LOST, StreamLost())

    async def _find_heirs(self, mirrors: list[StreamMirror]) -> None:
        """Look up which process runs each stream, and whether another one may continue it. Raise
        StoreUnavailable.
        """
        if not mirrors:
            return
        pipeline = self._client.pipeline(transaction=False)
        for mirror in mirrors:
            pipeline.execute_command("HMGET", keys.meta(mirror.log.id), "p", "k", "t")
        found, now = await self._execute(pipeline), time.monotonic()
        for mirror, (process, epoch, ttl) in zip(mirrors, found, strict=True):
            mirror.checked_at = now
            mirror.may_be_continued = ttl is not None
            if process is not None and process.decode() != mirror.process:
                mirror.process, mirror.epoch = process.decode(), int(epoch or 0)
                mirror.orphan_since = None

    def give_up(self) -> None:
        """End all mirrors, because Redis has not answered for too long."""
        for mirror in [*self]:
            mirror.log.end(StreamState.LOST, ResumeUnavailable())

    async def _gone(self, processes: Iterable[str]) -> set[str]:
        """Return the processes that have not reported for a while. Raise StoreUnavailable."""
        asked = [*processes]
        if not asked:
            return set()
        pipeline = self._client.pipeline(transaction=False)
        for process in asked:
            pipeline.execute_command("EXISTS", keys.alive(process))
        found = await self._execute(pipeline)
        return {process for process, there in zip(asked, found, strict=True) if not there}

    def close(self) -> None:
        """Stop following, and end all mirrors."""
        if self._task is not None:
            self._task.cancel()
        for mirror in [*self]:
            mirror.log.end(StreamState.LOST, StreamLost())

    # -- private -----------------------------------------------------------------------------

    def _readers_changed(self, mirror: StreamMirror) -> None:
        if not mirror.log.readers:
            self._drop(mirror)

    def _drop(self, mirror: StreamMirror) -> None:
        mirrors = self._mirrors.get(mirror.log.id, [])
        if mirror not in mirrors:
            return
        mirrors.remove(mirror)
        mirror.log.on_readers = None
        mirror.log.clear()
        if not mirrors:
            del self._mirrors[mirror.log.id]
            self._left(mirror)

    async def _follow(self) -> None:
        try:
            while self._dirty:
                streams = [*self._dirty][:_BATCH]
                for stream in streams:
                    del self._dirty[stream]
                mirrors = [m for stream in streams for m in self._mirrors.get(stream, ())]
                try:
                    more = await self._fetch([m for m in mirrors if not m.log.ended])
                except StoreUnavailable:
                    return  # all mirrors are updated every second anyway
                self._dirty.update((mirror.log.id, None) for mirror in more)
        finally:
            self._task = None

    async def _fetch(self, mirrors: list[StreamMirror]) -> list[StreamMirror]:
        """Fetch new entries. Return the mirrors that have more to fetch. Raise StoreUnavailable."""
        if not mirrors:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for mirror in mirrors:
            log = mirror.log
            pipeline.execute_command(
                "XRANGE", keys.events(log.id, mirror.epoch), f"({log.last}-0", "+", "COUNT", _COUNT
            )
        more, with_gap = [], []
        for mirror, entries in zip(mirrors, await self._execute(pipeline), strict=True):
            if not self._take(mirror.log, entries):
                with_gap.append(mirror)
                continue
            mirror.gap_since = None
            if len(entries) == _COUNT and not mirror.log.ended:
                more.append(mirror)
        if with_gap:
            more += await self._judge(with_gap)
        return more

    @staticmethod
    def _take(log: StreamLog, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> bool:
        """Add entries to the log. Return False if events before one of them are missing."""
        before = log.last
        try:
            for name, fields in entries:
                first, events, state = parse_entry(fields)
                if first > log.last + 1 or int(name.partition(b"-")[0]) > log.last + len(events):
                    return False
                log.extend(first, events)
                if state is not None:
                    log.end(state)
                    return True
        finally:
            if log.last != before and not log.ended:
                log.wake()
        return True

    async def _judge(self, mirrors: list[StreamMirror]) -> list[StreamMirror]:
        """Tell apart why events are missing. If they were dropped because of their number, a mirror
        without events begins later, and is returned; another one ends. If Redis has lost them,
        their process writes them again. Raise StoreUnavailable.
        """
        pipeline = self._client.pipeline(transaction=False)
        for mirror in mirrors:
            name = keys.events(mirror.log.id, mirror.epoch)
            pipeline.execute_command("XRANGE", name, "-", "+", "COUNT", 1)
        now, begin_later = time.monotonic(), []
        for mirror, oldest in zip(mirrors, await self._execute(pipeline), strict=True):
            log = mirror.log
            if mirror.gap_since is None:
                mirror.gap_since = now
            first = parse_entry(oldest[0][1])[0] if oldest else 0
            if first > log.last + 1:
                if log.size_bytes:
                    log.end(StreamState.LOST, StreamTrimmed())
                else:
                    log.first = first
                    begin_later.append(mirror)
            elif now - mirror.gap_since > _GAP_S:
                log.end(StreamState.LOST, ResumeUnavailable())
        return begin_later

    async def _execute(self, pipeline: Any) -> list[Any]:
        async with answering_within(self._timeout_s):
            results: list[Any] = await pipeline.execute()
        return results
