"""Single flight among processes: of equal requests everywhere, one is sent, and the others use its
answer, which they find in the store.

One request of each process takes part for a key; the others of the process wait for that one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.response_cache.store import AnswerLeads, LeadState
from gateway.response_cache.stored_answer import StoredAnswer
from gateway.store.records import StoreUnavailable

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.25
"""Pause between two looks at the store."""
Find = Callable[[], Awaitable[StoredAnswer | None]]
"""Function that returns the stored answer, if there is one that the request accepts."""


class SharedFlight:
    """Leads of one process."""

    def __init__(self, leads: AnswerLeads, failed: Callable[[StoreUnavailable], None]) -> None:
        """`failed` is called when the store does not answer."""
        self._leads = leads
        self._failed = failed
        self._owners: dict[str, str] = {}
        """Owners of the leads that this process has, by key."""
        self._renewing: asyncio.Task[None] | None = None

    def landed(self, key: str) -> str | None:
        """Return the owner of a lead whose request has ended, for `give_up`; None if this process
        does not lead. From now on another request of it may.
        """
        return self._owners.pop(key, None)

    async def lead(self, key: str, find: Find, until: float) -> StoredAnswer | None:
        """Lead, or return the answer of the request that leads. None if the request has to be sent:
        it leads, or there is no answer to share, or there is none `until` a time of the event
        loop's clock.
        """
        loop, owner, pause_s = asyncio.get_running_loop(), secrets.token_hex(8), _FIRST_PAUSE_S
        while True:
            # Noted before, so that a request that is cancelled meanwhile gives it up.
            self._owners[key] = owner
            try:
                state = await self._leads.take(key, owner)
            except StoreUnavailable as exc:
                self._failed(exc)
                return None
            if state is LeadState.LEADS:
                self._renew_soon()
                # Another request may have led, and ended, since the store was asked.
                return await find()
            del self._owners[key]
            if state is LeadState.FAILED or loop.time() >= until:
                return None
            await asyncio.sleep(min(pause_s, max(0.0, until - loop.time())))
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)
            answer = await find()
            if answer is not None:
                return answer

    async def give_up(self, key: str, owner: str, *, failed: bool) -> None:
        """End a lead; see `AnswerLeads.give_up`."""
        try:
            await self._leads.give_up(key, owner, failed=failed)
        except StoreUnavailable as exc:
            self._failed(exc)

    async def close(self) -> None:
        """Stop to renew leads."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    def _renew_soon(self) -> None:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Renew the leads while there are some."""
        while True:
            await asyncio.sleep(self._leads.renewal_s)
            if not self._owners:
                return
            with suppress(StoreUnavailable):  # a lead that is lost is taken by another request
                await self._leads.renew(dict(self._owners))
