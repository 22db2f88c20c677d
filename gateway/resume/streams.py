"""The streams of a process: those it runs, those it keeps, and those it follows elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import Draining, StreamLost, StreamNotFound
from gateway.load.tasks import BackgroundTasks
from gateway.resume.claims import Claim, LocalClaims, StreamClaims
from gateway.resume.ids import new_stream_id
from gateway.resume.log import StreamLog, StreamState
from gateway.resume.saved_request import SavedRequest
from gateway.resume.sharing import Sharing, StreamTerms
from gateway.store.records import StoreUnavailable

_NO_BODY = bytes(16)
_KEPT_SHARE = 0.9
"""Share of the size limit to which streams are evicted when the limit is exceeded."""


class Run(Protocol):
    """Interface of a generation, for the streams of its process."""

    @property
    def log(self) -> StreamLog:
        """Log that it fills."""

    def cancel(self) -> None:
        """End it now."""

    def superseded(self) -> None:
        """End it now, without a trace: another process continues it."""


class Streams:
    """Streams of one process, within a limit on their total size."""

    def __init__(self, cap_bytes: int, *, slot: int = 0, sharing: Sharing | None = None) -> None:
        """`slot` is that of this worker. `sharing` connects it to other processes, if any."""
        self.cap_bytes = cap_bytes
        self.size_bytes = 0
        self.evicted = 0
        """Number of finished streams that were evicted before their TTL was over."""
        self.deferred = 0
        """Number of streams that started while the store did not answer."""
        self.taken_over = 0
        """Number of streams of other processes that this one continued, or tried to."""
        self.heir: Callable[[StreamLog, SavedRequest], None] | None = None
        """Function that continues a stream of a process that died; None if this process does not
        do so now.
        """
        self.sharing = sharing
        self.claims: StreamClaims = sharing.claims if sharing is not None else LocalClaims()
        self._slot = slot
        self._kept: dict[str, _Kept] = {}
        """Streams of this process, the oldest first."""
        self._generations: dict[str, Run] = {}
        self._tasks = BackgroundTasks()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def start(self) -> None:
        """Start the background work."""
        if self.sharing is not None:
            self.sharing.start(self)

    async def close(self) -> None:
        """Stop the background work, and drop all streams."""
        for kept in self._kept.values():
            if kept.timer is not None:
                kept.timer.cancel()
        self._kept.clear()
        self._tasks.cancel()
        if self.sharing is not None:
            await self.sharing.close()

    @property
    def generations(self) -> int:
        """Number of generations that this process runs."""
        return len(self._generations)

    @property
    def unwritten(self) -> int:
        """Number of streams in memory that other processes cannot find, because the store did not
        answer when they began.
        """
        return 0 if self.sharing is None else self.sharing.unopened

    def __len__(self) -> int:
        return len(self._kept)

    # -- making and finding --------------------------------------------------------------------

    def new_id(self) -> str:
        """Return an id for a stream of this process."""
        return new_stream_id(self._slot)

    def expect(self, stream: str) -> None:
        """Announce that a stream with this id may start soon. `arrived` waits for it."""
        self._waiting.setdefault(stream, [])

    async def open(self, stream: str, terms: StreamTerms, sharing: Sharing) -> StreamLog:
        """Create the log of a stream that starts now, and that `sharing` makes known to other
        processes. Raise StoreUnavailable.
        """
        log = self._log(stream, terms)
        try:
            await sharing.open(log, terms)
        except asyncio.CancelledError:
            # The store may have the stream already. If this process died, another one would
            # continue the answer, though nobody waits for it.
            sharing.forgotten(stream)
            raise
        return self._keep(log, terms.ttl_s, terms.claim)

    def open_later(self, stream: str, terms: StreamTerms, sharing: Sharing) -> StreamLog:
        """Create the log of a stream that starts while the store does not answer. Other processes
        find the stream when the store answers again.
        """
        log = self._log(stream, terms)
        self.deferred += 1
        sharing.open_later(log, terms)
        return self._keep(log, terms.ttl_s, terms.claim)

    def open_here(self, stream: str, terms: StreamTerms) -> StreamLog:
        """Create the log of a stream that starts now, and that no other process reads."""
        return self._keep(self._log(stream, terms), terms.ttl_s, terms.claim)

    def _log(self, stream: str, terms: StreamTerms) -> StreamLog:
        log = StreamLog(stream, terms.owner, terms.cap_bytes, self)
        log.holds = terms.saved is not None
        return log

    def _keep(self, log: StreamLog, ttl_s: float, claim: bytes | None) -> StreamLog:
        self._kept[log.id] = _Kept(log, ttl_s, claim)
        self.settled(log.id)
        return log

    # -- streams of processes that died ----------------------------------------------------------

    @property
    def takes_over(self) -> bool:
        """True if this process can continue streams of processes that died."""
        return self.heir is not None

    def take_over(self, log: StreamLog, terms: StreamTerms) -> None:
        """Continue a stream of a process that died. The log has its events so far."""
        self._keep(log, terms.ttl_s, None)
        self.taken_over += 1
        if self.heir is None or terms.saved is None or log.first > 1:
            self.abandon(log)  # the request, or the beginning of the answer, is not known
        else:
            self.heir(log, terms.saved)

    def abandon(self, log: StreamLog) -> None:
        """End a stream that this process has taken over and cannot continue."""
        if not (log.ended or self.runs(log.id)):
            log.end(StreamState.LOST, StreamLost())
            self.ended(log)

    def superseded(self, stream: str) -> None:
        """End a generation without a trace: another process continues it."""
        generation, kept = self._generations.pop(stream, None), self._kept.get(stream)
        if generation is not None:
            generation.superseded()
        if kept is not None:
            kept.log.lose(Draining())  # readers may ask again
        self._forget(stream)

    def settled(self, stream: str) -> None:
        """Wake the callers of `arrived`: the stream has started, or will not start."""
        for waiting in self._waiting.pop(stream, ()):
            if not waiting.done():
                waiting.set_result(None)

    def name(self, stream: str, alias: bytes) -> None:
        """Register an alias of a stream of this process for `named`. Does not wait."""
        kept = self._kept.get(stream)
        if kept is None or kept.alias is not None:
            return
        kept.alias = alias
        self._tasks.spawn(self._name(alias, Claim(_NO_BODY, stream)))

    async def _name(self, alias: bytes, claim: Claim) -> None:
        try:
            await self.claims.take(alias, claim)
        except StoreUnavailable:
            self.claims.hold(alias, claim)

    async def named(self, alias: bytes) -> str | None:
        """Return the stream with this alias, or None. Raise StoreUnavailable."""
        claim = await self.claims.find(alias)
        return claim.stream if claim is not None else None

    async def arrived(self, stream: str) -> None:
        """Wait until an expected stream has started, or is no longer expected."""
        if stream in self._waiting:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[stream].append(waiting)
            await waiting

    async def find(self, stream: str, owners: Collection[bytes], after: int) -> StreamLog | None:
        """Return the log of a stream, to be read after number `after`, or None if there is none.

        Raise StreamNotFound if none of the owners owns it, InvalidEventId, StoreUnavailable. The
        log may begin after `after` + 1: events may have been dropped.
        """
        kept = self._kept.get(stream)
        if kept is not None:
            if kept.log.owner not in owners:
                raise StreamNotFound
            return kept.log
        if self.sharing is None:
            return None
        return await self.sharing.follow(stream, owners, after)

    def local(self, stream: str) -> StreamLog | None:
        """Return the log of a stream that this process runs or ran, else None."""
        kept = self._kept.get(stream)
        return kept.log if kept is not None else None

    def runs(self, stream: str) -> bool:
        """True if this process runs the stream's generation."""
        return stream in self._generations

    def knows(self, stream: str) -> bool:
        """True if this process has the stream, or expects it."""
        return stream in self._kept or stream in self._waiting

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        """End a generation. Return False if none of the owners has such a stream."""
        kept = self._kept.get(stream)
        if kept is not None:
            if kept.log.owner not in owners:
                return False
            generation = self._generations.get(stream)
            if generation is not None:
                generation.cancel()
            return True
        return self.sharing is not None and await self.sharing.cancel(stream, owners)

    # -- generations -----------------------------------------------------------------------------

    def started(self, generation: Run) -> None:
        """Register a generation that has started."""
        self._generations[generation.log.id] = generation

    def ended(self, log: StreamLog) -> None:
        """Record the end of a generation, complete or not. Start the TTL of its log."""
        self._generations.pop(log.id, None)
        kept = self._kept.get(log.id)
        if kept is None:
            return
        # A client that repeats a request that broke off wants a new answer, not the old failure.
        if kept.claim is not None and log.state is not StreamState.COMPLETE:
            self.claims.drop(kept.claim, log.id)
            kept.claim = None
        kept.timer = asyncio.get_running_loop().call_later(kept.ttl_s, self._expire, log.id)
        # Keep the order by age: the stream that ended last is the youngest.
        self._kept[log.id] = self._kept.pop(log.id)
        if self.sharing is not None:
            self.sharing.grown(log)

    def _expire(self, stream: str) -> None:
        self._forget(stream)
        if self.sharing is not None:
            self.sharing.expired(stream)

    def _forget(self, stream: str) -> None:
        kept = self._kept.pop(stream, None)
        if kept is None:
            return
        if kept.timer is not None:
            kept.timer.cancel()
        for name in (kept.claim, kept.alias):
            if name is not None:
                self.claims.drop(name, stream)
        kept.log.clear()

    # -- bytes ---------------------------------------------------------------------------------

    def grown(self, size_bytes: int) -> None:
        """Add to the total size. Above the limit, evict the oldest finished streams. If that is not
        enough, drop the oldest events of the largest streams.
        """
        self.size_bytes += size_bytes
        if self.size_bytes > self.cap_bytes:
            self._evict(int(self.cap_bytes * _KEPT_SHARE))

    def shrunk(self, size_bytes: int) -> None:
        """Subtract from the total size."""
        self.size_bytes -= size_bytes

    def _evict(self, left_bytes: int) -> None:
        finished = [stream for stream, kept in self._kept.items() if kept.log.ended]
        for stream in finished:
            if self.size_bytes <= left_bytes:
                return
            self.evicted += 1
            self._forget(stream)
            if self.sharing is not None:
                self.sharing.forgotten(stream)
        logs = [kept.log for kept in self._kept.values()]
        logs += self.sharing.followed if self.sharing is not None else ()
        while self.size_bytes > left_bytes and logs:
            largest = max(logs, key=lambda log: log.size_bytes)
            before = largest.size_bytes
            largest.trim(before // 2)
            if largest.size_bytes == before:
                return  # each log is down to a single event


@dataclass(slots=True)
class _Kept:
    log: StreamLog
    ttl_s: float
    claim: bytes | None
    alias: bytes | None = None
    timer: asyncio.TimerHandle | None = None
