"""Write streams to Redis in the background: events that arrive within a few ms share one call.

An entry contains the events that arrived together, and its id is the number of the last one.
Writing an entry twice is therefore an error that proves that it is there. A call whose reply was
lost can safely be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from gateway.resume.log import StreamLog, StreamState, Trimmed
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import answering
from gateway.stores.redis.streams import keys

_GATHER_S = 0.005
_PAUSE_S = 0.25
_BATCH_STREAMS = 256
_ENTRY_BYTES = 256 * 1024
_SPARE_S = 60.0
"""Extra lifetime of a running stream beyond its TTL. It is refreshed after a third of its TTL."""
ALIVE_S = 4.0
"""Time without a sign of life after which a process counts as gone."""
_IS_THERE = "equal or smaller"


class Journal:
    """Writer of one process's streams."""

    def __init__(
        self,
        client: Any,
        process: str,
        timeout_s: float,
        changed: Callable[[bool, str], None],
    ) -> None:
        """`changed` is called with the availability of Redis, and the reason for an outage."""
        self._client = client
        self._process = process
        self._timeout_s = timeout_s
        self._changed = changed
        self._written: dict[str, _Written] = {}
        self._dirty: dict[str, None] = {}
        self._news: dict[str, set[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self, log: StreamLog, ttl_s: float) -> None:
        """Register a stream in Redis, and write its events from now on. Raise StoreUnavailable."""
        written = _Written(log, ttl_s)
        pipeline = self._client.pipeline(transaction=False)
        share = written.share(pipeline, self._process)
        await self._execute(pipeline)
        written.done(share)
        self._written[log.id] = written

    def grown(self, log: StreamLog) -> None:
        """Schedule a write of the stream's new events. Called for every event."""
        self._dirty[log.id] = None
        if self._task is None:
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
            while self._dirty or self._news:
                await asyncio.sleep(0 if self._closing else _GATHER_S)
                try:
                    await self._write_some()
                except StoreUnavailable as exc:
                    self._changed(False, str(exc))
                    if self._closing:
                        return
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self._changed(True, "")
        finally:
            self._task = None

    async def _write_some(self) -> None:
        """Write one batch, then send its notifications. On StoreUnavailable, it is queued again."""
        streams = [*self._dirty][:_BATCH_STREAMS]
        news = {} if len(streams) < len(self._dirty) else self._news
        if news:
            self._news = {}
        parts = [self._written[stream] for stream in streams if stream in self._written]
        for stream in streams:
            del self._dirty[stream]
        pipeline = self._client.pipeline(transaction=False)
        shares = [written.share(pipeline, self._process) for written in parts]
        said: Sequence[Any] = ()
        try:
            if parts:
                said = await self._execute(pipeline)
            if news:
                await self._execute(self._told(news))
        except StoreUnavailable:
            self._dirty.update(dict.fromkeys(streams))
            for process, told in news.items():
                self._news.setdefault(process, set()).update(told)
            raise
        for written, share in zip(parts, shares, strict=True):
            if share.added is not None and said[share.added] is None:
                # The stream was there and is missing now: Redis has lost its data. Write it again.
                written.begin_anew()
                self._dirty[written.log.id] = None
                continue
            written.done(share)
            if written.finished:
                del self._written[written.log.id]
            elif written.log.ended or written.sent < written.log.last:
                self._dirty[written.log.id] = None

    def _told(self, news: Mapping[str, Iterable[str]]) -> Any:
        pipeline = self._client.pipeline(transaction=False)
        for process, streams in news.items():
            pipeline.execute_command(
                "PUBLISH", keys.channel(process), f"news {self._process} {' '.join(streams)}"
            )
        return pipeline

    async def _execute(self, pipeline: Any) -> Sequence[Any]:
        with answering():
            async with asyncio.timeout(self._timeout_s):
                results: Sequence[Any] = await pipeline.execute(raise_on_error=False)
        for result in results:
            if isinstance(result, ResponseError) and _IS_THERE in str(result):
                continue
            if isinstance(result, Exception):
                raise StoreUnavailable(f"{type(result).__name__}: {result}")
        return results


@dataclass(frozen=True, slots=True)
class _Share:
    """A call's part of one stream, and the position after the call."""

    sent: int
    first: int
    finished: bool
    refreshed_at: float
    added: int | None
    """Index of the command in the call that needs an existing Redis stream (NOMKSTREAM), if any."""


class _Written:
    """Write position of a stream."""

    __slots__ = ("finished", "first", "log", "refreshed_at", "sent", "ttl_s")

    def __init__(self, log: StreamLog, ttl_s: float) -> None:
        self.log = log
        self.ttl_s = ttl_s
        self.finished = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Start again: nothing is written."""
        self.sent = 0
        self.first = 1
        self.refreshed_at = float("-inf")

    def share(self, pipeline: Any, process: str) -> _Share:
        """Add the commands for the new events to the pipeline. Pass the result to `done`."""
        log, name = self.log, keys.events(self.log.id)
        now = time.monotonic()
        try:
            events = log.pieces(self.sent, _ENTRY_BYTES)
        except Trimmed:
            self.sent = log.first - 1
            events = log.pieces(self.sent, _ENTRY_BYTES)
        sent = self.sent + len(events)
        ends = log.ended and sent == log.last
        goes_on = ("NOMKSTREAM",) if self.sent else ()
        added = len(pipeline) if goes_on and (events or ends) else None
        if events:
            added_events = entry(self.sent + 1, events)
            pipeline.execute_command("XADD", name, *goes_on, f"{sent}-0", *added_events)
        if ends:
            pipeline.execute_command("XADD", name, *goes_on, f"{sent}-1", "e", log.state.value)
        if log.first != self.first:
            pipeline.execute_command("XTRIM", name, "MINID", f"{log.first}-0")
        due = now - self.refreshed_at > self.ttl_s / 3
        if due or ends:
            left_ms = int((self.ttl_s if ends else self.ttl_s + _SPARE_S) * 1000)
            told = ("o", log.owner, "p", process, "c", log.cap_bytes)
            pipeline.execute_command("HSET", keys.meta(log.id), *told)
            pipeline.execute_command("SET", keys.alive(process), 1, "PX", int(ALIVE_S * 1000))
            pipeline.execute_command("PEXPIRE", keys.meta(log.id), left_ms)
            pipeline.execute_command("PEXPIRE", name, left_ms)
        return _Share(sent, log.first, ends, now if due else self.refreshed_at, added)

    def done(self, share: _Share) -> None:
        """Record that the call succeeded."""
        self.sent, self.first = share.sent, share.first
        self.finished, self.refreshed_at = share.finished, share.refreshed_at


def entry(first: int, events: Sequence[bytes]) -> tuple[str | int | bytes, ...]:
    """Return the fields of an entry: number of its first event, sizes of the events, the events."""
    return "n", first, "l", b",".join(b"%d" % len(e) for e in events), "d", b"".join(events)


def parse_entry(fields: Mapping[bytes, bytes]) -> tuple[int, list[bytes], StreamState | None]:
    """Return an entry's first number, its events and, if it marks the end, the final state."""
    ends = fields.get(b"e")
    if ends is not None:
        return 0, [], StreamState(ends.decode())
    data, start = fields[b"d"], 0
    events = []
    for size in fields[b"l"].split(b","):
        end = start + int(size)
        events.append(data[start:end])
        start = end
    return int(fields[b"n"]), events, None
