"""Write streams to Redis in the background: events that arrive within a few ms share one call.

An entry contains the events that arrived together, and its id is the number of the last one.
Writing an entry twice is therefore an error that proves that it is there. A call whose reply was
lost can safely be repeated.

While Redis does not answer, what is to be written stays in the logs, whose size is bounded. When it
answers again, it may have lost what was written before (a replica was promoted, or it began empty).
Each stream that is still in memory is then compared with Redis, and written again from the first
event that is missing there.

A replica may also be promoted without a call that fails. New events then follow a gap in Redis. So
the entries are counted now and then, and before the end of a stream. If some are missing, the
stream is removed and written again.

Another process may have taken a stream over, because this one gave no sign of life. Then the events
are under another key: what is written here finds no stream, and changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from gateway.resume.log import StreamLog
from gateway.resume.sharing import StreamTerms
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import answering_within
from gateway.stores.redis.streams import keys
from gateway.stores.redis.streams.written import WrittenStream

_GATHER_S = 0.005
_PAUSE_S = 0.25
_BATCH_STREAMS = 256
_BATCH_BYTES = 4 * 1024 * 1024
"""Size of a call above which no further stream is added to it."""
_IS_THERE = "equal or smaller"


class Journal:
    """Writer of one process's streams."""

    def __init__(
        self,
        client: Any,
        process: str,
        timeout_s: float,
        changed: Callable[[bool, str], None],
        superseded: Callable[[str], None],
    ) -> None:
        """`changed` is called with the availability of Redis, and the reason for an outage;
        `superseded` with a stream that another process has taken over.
        """
        self._client = client
        self._process = process
        self._timeout_s = timeout_s
        self._changed = changed
        self._superseded = superseded
        self._written: dict[str, WrittenStream] = {}
        """Streams that are not completely written."""
        self._finished: dict[str, WrittenStream] = {}
        """Streams that are completely written, and still in memory."""
        self._unopened: set[str] = set()
        self._dirty: dict[str, None] = {}
        self._doubtful: dict[str, None] = {}
        """Streams of which Redis may have lost events."""
        self._news: dict[str, set[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._readers_wait = False
        """True if readers wait for events to be stored: then none are gathered."""
        self._closing = False

    async def open(self, log: StreamLog, terms: StreamTerms) -> None:
        """Register a stream in Redis, and write its events from now on. Raise StoreUnavailable."""
        written = WrittenStream(log, terms)
        pipeline = self._client.pipeline(transaction=False)
        share = written.share(pipeline, self._process)
        await self._execute(pipeline)
        written.done(share)
        self._written[log.id] = written

    def open_later(self, log: StreamLog, terms: StreamTerms) -> None:
        """Register a stream in Redis and write its events as soon as Redis answers."""
        self._written[log.id] = WrittenStream(log, terms)
        self._unopened.add(log.id)
        self.grown(log)

    def take_over(self, log: StreamLog, terms: StreamTerms, epoch: int) -> None:
        """Write what follows the events of the log, which are in Redis."""
        written = self._written[log.id] = WrittenStream(log, terms, epoch)
        written.continues()

    @property
    def unopened(self) -> int:
        """Number of streams in memory that Redis does not know yet."""
        return len(self._unopened)

    def grown(self, log: StreamLog) -> None:
        """Schedule a write of the stream's new events. Called for every event."""
        self._dirty[log.id] = None
        if log.holds:
            self._readers_wait = True
        if self._task is None:
            self._task = asyncio.create_task(self._write())

    def forget(self, stream: str) -> None:
        """Forget a stream: its events are no longer in memory."""
        for streams in (self._written, self._finished, self._dirty, self._doubtful):
            streams.pop(stream, None)
        self._unopened.discard(stream)

    def compare(self) -> None:
        """Schedule a comparison of all streams with Redis, which may have lost events."""
        self._doubtful = dict.fromkeys((*self._written, *self._finished))
        if self._doubtful and self._task is None:
            self._task = asyncio.create_task(self._write())

    def announce(self, process: str, stream: str) -> None:
        """Notify a process of a stream's new events, once those that exist now are written."""
        self._news.setdefault(process, set()).add(stream)
        if self._task is None:
            self._task = asyncio.create_task(self._write())

    def log(self, stream: str) -> StreamLog | None:
        """Return the log of a stream that is not completely written, else None."""
        written = self._written.get(stream)
        return written.log if written is not None else None

    def refresh(self) -> None:
        """Extend the lifetime of running streams that have had no new events."""
        now = time.monotonic()
        for written in self._written.values():
            if now - written.refreshed_at > written.ttl_s / 3:
                self.grown(written.log)

    async def close(self) -> None:
        """Write what is left, if Redis answers within the time limit."""
        self._closing = True
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=self._timeout_s)
            if self._task is not None:
                self._task.cancel()

    # -- private -----------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while self._dirty or self._news or self._doubtful:
                await asyncio.sleep(0 if self._closing or self._readers_wait else _GATHER_S)
                try:
                    # What is missing in Redis is written before what is new: no gap appears.
                    while self._doubtful:
                        await self._compare_some()
                    await self._write_some()
                except StoreUnavailable as exc:
                    self.compare()
                    self._changed(False, str(exc))
                    self._show_all()
                    if self._closing:
                        return
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._changed(True, "")
        finally:
            self._task = None

    def _show_all(self) -> None:
        """Let readers get events that are not stored, rather than wait for Redis."""
        for written in [*self._written.values()]:
            written.log.show(None)

    async def _compare_some(self) -> None:
        """Compare one batch of streams with Redis. Raise StoreUnavailable."""
        streams = [*self._doubtful][:_BATCH_STREAMS]
        pipeline = self._client.pipeline(transaction=False)
        for stream in streams:
            written = self._written.get(stream) or self._finished[stream]
            name = keys.events(stream, written.epoch)
            pipeline.execute_command("XREVRANGE", name, "+", "-", "COUNT", 1)
            pipeline.execute_command("HGET", keys.meta(stream), "p")
            pipeline.execute_command("XLEN", name)
        found = await self._execute(pipeline)
        for stream, entries, process, count in zip(
            streams, found[::3], found[1::3], found[2::3], strict=True
        ):
            self._doubtful.pop(stream, None)
            known = self._written.get(stream) or self._finished.get(stream)
            if known is None:
                continue
            if process is not None and process.decode() != self._process:
                self._lose(stream)
                continue
            last = entries[-1][0] if entries and process is not None else b"0-0"
            if known.replaces or (entries and known.lacks_some(count)) or known.is_behind(last):
                self._finished.pop(stream, None)
                self._written[stream] = known
                self._dirty[stream] = None

    async def _write_some(self) -> None:
        """Write one batch, then send its notifications. On StoreUnavailable, it is queued again."""
        pipeline = self._client.pipeline(transaction=False)
        streams, parts, shares, size_bytes = [], [], [], 0
        for stream in [*self._dirty][:_BATCH_STREAMS]:
            del self._dirty[stream]
            streams.append(stream)
            written = self._written.get(stream)
            if written is not None:
                share = written.share(pipeline, self._process)
                parts.append(written)
                shares.append(share)
                size_bytes += share.size_bytes
                if size_bytes > _BATCH_BYTES:
                    break
        self._readers_wait = False
        news = {} if self._dirty else self._news
        if news:
            self._news = {}
        said: Sequence[Any] = ()
        try:
            if parts:
                said = await self._execute(pipeline)
            if news:
                await self._execute(self._told(news))
        except StoreUnavailable:
            self._dirty.update((stream, None) for stream in streams if stream in self._written)
            for process, told in news.items():
                self._news.setdefault(process, set()).update(told)
            raise
        for written, share in zip(parts, shares, strict=True):
            stream = written.log.id
            if stream not in self._written:
                continue  # it was forgotten meanwhile
            if share.checked is not None and said[share.checked] == 0:
                self._lose(stream)
                continue
            if share.counted is not None and written.lacks_some(said[share.counted]):
                # Redis has lost entries without an outage; newer ones may be there.
                self._dirty[stream] = None
                self.compare()
                continue
            if share.added is not None and said[share.added] is None:
                # The stream was there and is missing now: Redis has lost its data, or another
                # process has taken the stream over.
                self._dirty[stream] = None
                self.compare()
                continue
            written.done(share)
            self._unopened.discard(stream)
            if written.finished:
                self._finished[stream] = self._written.pop(stream)
            elif written.log.ended or written.sent < written.log.last:
                self._dirty[stream] = None

    def _lose(self, stream: str) -> None:
        """Stop writing a stream: another process runs it."""
        self.forget(stream)
        self._superseded(stream)

    def _told(self, news: Mapping[str, Iterable[str]]) -> Any:
        pipeline = self._client.pipeline(transaction=False)
        for process, streams in news.items():
            pipeline.execute_command(
                "PUBLISH", keys.channel(process), f"news {self._process} {' '.join(streams)}"
            )
        return pipeline

    async def _execute(self, pipeline: Any) -> Sequence[Any]:
        async with answering_within(self._timeout_s):
            results: Sequence[Any] = await pipeline.execute(raise_on_error=False)
        for result in results:
            if isinstance(result, ResponseError) and _IS_THERE in str(result):
                continue
            if isinstance(result, Exception):
                raise StoreUnavailable(f"{type(result).__name__}: {result}")
        return results
