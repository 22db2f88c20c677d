"""Response cache of one process: its store, the answers that are being made, and counts.

A store that fails is a miss, never an error. It is then not asked for a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gateway.load.tasks import BackgroundTasks
from gateway.response_cache.shared_flight import Find, SharedFlight
from gateway.response_cache.store import AnswerLabels, AnswerStore
from gateway.response_cache.stored_answer import StoredAnswer, decoded
from gateway.response_cache.use import CacheStatus
from gateway.store.records import StoreUnavailable

_PAUSE_S = 1.0
"""Time for which a store that failed is not asked."""
_MOST_WRITES = 256
"""Answers that are being written at once. Others are not stored."""


@dataclass(frozen=True, slots=True)
class Landing:
    """End of a request that others wait for."""

    answer: StoredAnswer | None
    """Answer of the request; None if it cannot be shared."""
    leads_on: bool = False
    """True if one of those who wait has to be sent, and the others wait for that one: the client
    has left, which says nothing of the answer.
    """


class CacheCounts:
    """Counts of one process, by route."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, CacheStatus]] = Counter()
        self.stored: Counter[str] = Counter()
        self.saved: Counter[tuple[str, str, str]] = Counter()
        """Tokens that hits did not use: by route, model, and `input` or `output`."""
        self.failures = 0
        """Calls of the store that failed."""


class AnswerCache:
    """Answers that all routes share."""

    def __init__(
        self,
        store: AnswerStore,
        *,
        report: Callable[[str, str], None] = lambda state, why: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`report` is called with `lost` and the reason, or with `back`, when the store fails or
        works again.
        """
        self.store = store
        self.counts = CacheCounts()
        self._report = report
        self._now = now
        self._failed = False
        self._asked_again_at = 0.0
        self._being_made: dict[str, asyncio.Future[Landing]] = {}
        self._writes = BackgroundTasks()
        self._storing: dict[str, asyncio.Task[None]] = {}
        """Answers that are being written, by key."""
        self._flight = None if store.leads is None else SharedFlight(store.leads, self._lost)

    @property
    def is_shared(self) -> bool:
        """True if requests of all processes share answers, and wait for one another."""
        return self._flight is not None

    async def find(self, key: str) -> StoredAnswer | None:
        """Return a stored answer that has not expired; None if there is none, or the store does not
        answer.
        """
        if self._pauses:
            return None
        try:
            data = await self.store.get(key)
        except StoreUnavailable as exc:
            self._lost(exc)
            return None
        self._works()
        answer = None if data is None else decoded(data)
        return None if answer is None or answer.expires_at <= time.time() else answer

    def keep(self, key: str, answer: StoredAnswer, labels: AnswerLabels) -> bool:
        """Store an answer, later if the store has to be waited for. Return False if it is not
        stored: the store does not answer, or too many answers wait for it.
        """
        if self._pauses or len(self._writes) >= _MOST_WRITES:
            return False
        task = self._storing[key] = self._writes.spawn(self._put(key, answer, labels))
        task.add_done_callback(lambda _: self._stored(key, task))
        return True

    def _stored(self, key: str, task: asyncio.Task[None]) -> None:
        if self._storing.get(key) is task:
            del self._storing[key]

    async def _put(self, key: str, answer: StoredAnswer, labels: AnswerLabels) -> None:
        ttl_s = answer.expires_at - time.time()
        if ttl_s <= 0:
            return
        try:
            await self.store.put(key, answer.encoded(), labels, ttl_s)
        except StoreUnavailable as exc:
            self._lost(exc)
        else:
            self._works()

    async def remove(self, wanted: AnswerLabels) -> int:
        """Remove all answers that match. Return their number. Raise StoreUnavailable."""
        return await self.store.remove(wanted)

    # -- single flight -------------------------------------------------------------------------

    def lead(self, key: str) -> bool:
        """Have later requests with this key wait for this one. Return False if one leads already.
        Call `landed` at the end.
        """
        if key in self._being_made:
            return False
        self._being_made[key] = asyncio.get_running_loop().create_future()
        return True

    async def await_leader(self, key: str, until: float) -> Landing | None:
        """Wait for the end of a request that leads. Return None if none leads, or it has not ended
        at `until`, in seconds of the event loop's clock.
        """
        made = self._being_made.get(key)
        if made is None:
            return None
        try:
            async with asyncio.timeout_at(until):
                return await asyncio.shield(made)
        except TimeoutError:
            return None

    async def lead_everywhere(self, key: str, find: Find, until: float) -> StoredAnswer | None:
        """Have equal requests of other processes wait for this one, which leads in this process; or
        wait for theirs, and return its answer. None if the request has to be sent.
        """
        if self._flight is None or self._pauses:
            return None
        return await self._flight.lead(key, find, until)

    def landed(self, key: str, landing: Landing) -> None:
        """Tell the requests that wait for this one."""
        made = self._being_made.pop(key, None)
        if made is not None and not made.done():
            made.set_result(landing)
        flight = self._flight
        if flight is not None and (owner := flight.landed(key)) is not None:
            self._writes.spawn(self._give_up(flight, key, owner, landing))

    async def _give_up(self, flight: SharedFlight, key: str, owner: str, landing: Landing) -> None:
        """Tell the other processes, once the answer is stored."""
        storing = self._storing.get(key)
        if storing is not None:
            await asyncio.wait([storing])
        await flight.give_up(key, owner, failed=landing.answer is None and not landing.leads_on)

    async def close(self) -> None:
        """Write what is to be stored, and close the store."""
        await self._writes.wait()
        if self._flight is not None:
            await self._flight.close()
        await self.store.close()

    # -- private -------------------------------------------------------------------------------

    @property
    def _pauses(self) -> bool:
        return self._failed and self._now() < self._asked_again_at

    def _lost(self, exc: StoreUnavailable) -> None:
        self.counts.failures += 1
        self._asked_again_at = self._now() + _PAUSE_S
        if not self._failed:
            self._failed = True
            self._report("lost", str(exc))

    def _works(self) -> None:
        if self._failed:
            self._failed = False
            self._report("back", "")
