"""All streams a process knows: those it runs, those it has kept, those it follows elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from gateway.errors import StreamNotFound
from gateway.resume.claims import Claim, Claims, LocalClaims
from gateway.resume.ids import new_stream_id
from gateway.resume.log import State, StreamLog
from gateway.resume.sharing import Sharing
from gateway.store.records import StoreUnavailable

if TYPE_CHECKING:
    from gateway.resume.generation import Generation

_NO_BODY = bytes(16)
_KEPT_SHARE = 0.9
"""Of the cap, when something had to be forgotten."""


class Streams:
    """Of one process. Their bytes together stay within a cap."""

    def __init__(self, cap_bytes: int, *, slot: int = 0, sharing: Sharing | None = None) -> None:
        """`slot` is this worker's; `sharing` is how other processes are reached, if there are."""
        self.cap_bytes = cap_bytes
        self.size_bytes = 0
        self.evicted = 0
        """Finished streams that were forgotten before their time."""
        self.sharing = sharing
        self.claims: Claims = sharing.claims if sharing is not None else LocalClaims()
        self._slot = slot
        self._kept: dict[str, _Kept] = {}
        """Of this process, oldest first."""
        self._generations: dict[str, Generation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def start(self) -> None:
        """Begin what goes on beside requests."""
        if self.sharing is not None:
            self.sharing.start(self)

    async def close(self) -> None:
        """Let go of everything."""
        for kept in self._kept.values():
            if kept.timer is not None:
                kept.timer.cancel()
        self._kept.clear()
        for task in self._tasks:
            task.cancel()
        if self.sharing is not None:
            await self.sharing.close()

    @property
    def generations(self) -> int:
        """How many are under way here."""
        return len(self._generations)

    def __len__(self) -> int:
        return len(self._kept)

    # -- making and finding --------------------------------------------------------------------

    def new_id(self) -> str:
        """An id for a stream of this process."""
        return new_stream_id(self._slot)

    def expect(self, stream: str) -> None:
        """There may soon be a stream with this id, for `arrived`."""
        self._waiting.setdefault(stream, [])

    async def open(
        self, stream: str, owner: bytes, *, cap_bytes: int, ttl_s: float, claim: bytes | None
    ) -> StreamLog:
        """A log for a stream that begins now, and is kept for `ttl_s` after its end. Raise
        StoreUnavailable.
        """
        log = StreamLog(stream, owner, cap_bytes, self)
        if self.sharing is not None:
            await self.sharing.open(log, ttl_s)
        self._kept[stream] = _Kept(log, ttl_s, claim)
        self.settled(stream)
        return log

    def settled(self, stream: str) -> None:
        """There is a stream now that was expected, or there will be none."""
        for waiting in self._waiting.pop(stream, ()):
            if not waiting.done():
                waiting.set_result(None)

    def name(self, stream: str, alias: bytes) -> None:
        """Have a stream of this process found by `named`, too, as soon as that is known."""
        kept = self._kept.get(stream)
        if kept is None or kept.alias is not None:
            return
        kept.alias = alias
        task = asyncio.create_task(self._name(alias, Claim(_NO_BODY, stream)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _name(self, alias: bytes, claim: Claim) -> None:
        with contextlib.suppress(StoreUnavailable):  # then it is found by its own id only
            await self.claims.take(alias, claim)

    async def named(self, alias: bytes) -> str | None:
        """The stream of that name. Raise StoreUnavailable."""
        claim = await self.claims.find(alias)
        return claim.stream if claim is not None else None

    async def arrived(self, stream: str) -> None:
        """Wait until a stream that is expected here is there, or is not to be expected any more."""
        if stream in self._waiting:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[stream].append(waiting)
            await waiting

    async def find(self, stream: str, owners: Collection[bytes], after: int) -> StreamLog | None:
        """The log of a stream, to be read behind number `after`; None if there is none. Raise
        StreamNotFound if it is none of these owners', StreamTrimmed, InvalidEventId,
        StoreUnavailable.
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
        """The log of a stream that this process runs or ran."""
        kept = self._kept.get(stream)
        return kept.log if kept is not None else None

    def knows(self, stream: str) -> bool:
        """Whether this process has such a stream, or is about to."""
        return stream in self._kept or stream in self._waiting

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        """End a generation. False: there is no such stream of one of these owners."""
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

    def started(self, generation: Generation) -> None:
        """It is under way."""
        self._generations[generation.log.id] = generation

    def ended(self, generation: Generation) -> None:
        """Its log is complete, or will never be."""
        log = generation.log
        self._generations.pop(log.id, None)
        kept = self._kept.get(log.id)
        if kept is None:
            return
        # Who asks again for what broke off wants it done, not to hear of it again.
        if kept.claim is not None and log.state is not State.COMPLETE:
            self.claims.drop(kept.claim, log.id)
            kept.claim = None
        kept.timer = asyncio.get_running_loop().call_later(kept.ttl_s, self._forget, log.id)
        # The one that ended last is the youngest.
        self._kept[log.id] = self._kept.pop(log.id)
        if self.sharing is not None:
            self.sharing.grown(log)

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
        """So many have come. Beyond the cap the oldest finished streams are forgotten; where there
        is none, the largest one that is under way loses its beginning.
        """
        self.size_bytes += size_bytes
        if self.size_bytes > self.cap_bytes:
            self._evict(int(self.cap_bytes * _KEPT_SHARE))

    def shrunk(self, size_bytes: int) -> None:
        """So many have gone."""
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
                return  # single events, all of them


class _Kept:
    __slots__ = ("alias", "claim", "log", "timer", "ttl_s")

    def __init__(self, log: StreamLog, ttl_s: float, claim: bytes | None) -> None:
        self.log = log
        self.ttl_s = ttl_s
        self.claim = claim
        self.alias: bytes | None = None
        self.timer: asyncio.TimerHandle | None = None
