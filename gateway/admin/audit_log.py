"""Audit log: writes entries to the log and to the store, finds entries, and drops old ones."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from gateway.admin.audit import KIND, AuditEntry, parse, place, write_line
from gateway.bucket import TokenBucket
from gateway.store.records import Records, StoreUnavailable

_RETRY_S = 2.0
_TRIM_S = 3600.0
_WAITING_CAP = 1000
"""Maximum number of entries that wait for a store which does not answer. The log has all of them.
"""
_PAGE = 1000
_SCANNED = 10_000
"""Number of entries that one call reads at most; it then returns the matches so far."""
_QUIET_S = 60.0
_QUIET_CAP = 1000
_STRANGERS_PER_S, _STRANGERS_BURST = 0.1, 30.0
"""Rate and burst of refusals of unknown clients that are written, for all addresses together."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Filter of the audit log. A field that is None matches all entries. Texts match a part, in any
    case.
    """

    who: str | None = None
    action: str | None = None
    object: str | None = None
    result: str | None = None
    since: float | None = None
    """Time of the oldest entry, in seconds since the epoch."""
    until: float | None = None

    def fits(self, one: AuditEntry) -> bool:
        """Tell whether an entry passes the filter."""
        who = f"{one.who} {one.subject or ''} {one.address or ''}"
        return (
            _has(who, self.who)
            and _has(one.action, self.action)
            and _has(one.object, self.object)
            and self.result in (None, one.result)
            and (self.since is None or one.at >= self.since)
            and (self.until is None or one.at <= self.until)
        )


class AuditLog:
    """Audit log of one gateway. Replicas with the same store share it."""

    def __init__(
        self,
        logger: FilteringBoundLogger,
        records: Callable[[], Records],
        *,
        retention_s: float,
        most: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`records` returns the store, or raises StoreUnavailable. Entries are dropped when they
        are older than `retention_s`, and the oldest when there are more than `most`.
        """
        self._logger = logger
        self._records = records
        self._retention_s = retention_s
        self._most = most
        self._now = now
        self._waiting: deque[AuditEntry] = deque(maxlen=_WAITING_CAP)
        self._written = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._failing = False
        self._trimmed_at = 0.0
        self._strangers = TokenBucket(_STRANGERS_PER_S, _STRANGERS_BURST)
        self._refused: OrderedDict[tuple[str, str, str | None], float] = OrderedDict()

    def change(self, retention_s: float, most: int) -> None:
        """Keep entries for another time, and another number of them."""
        self._retention_s, self._most = retention_s, most

    def add(self, one: AuditEntry, *, has_line: bool = False) -> None:
        """Write an entry to the log now, unless it `has_line` there, and to the store soon.

        The same refusal of the same operator is written once a minute, and those of strangers are
        limited together, so that nobody can push other entries out.
        """
        if one.result == "refused" and not self._is_news(one):
            return
        if not has_line:
            write_line(self._logger, one)
        self._waiting.append(one)
        self._written.set()

    async def write(self, entries: Sequence[AuditEntry]) -> None:
        """Write entries to the log, and to the store if it answers."""
        for one in entries:
            self.add(one)
        if entries:
            await self.flush()

    async def flush(self) -> None:
        """Write to the store what waits for it."""
        async with self._one_at_a_time:
            try:
                while self._waiting:
                    one = self._waiting.popleft()
                    await self._records().put(KIND, *one.record())
            except StoreUnavailable as exc:
                self._waiting.appendleft(one)
                if not self._failing:
                    self._logger.error("audit_not_stored", reason=str(exc))
                self._failing = True
            else:
                self._failing = False

    async def keep(self) -> None:
        """Write waiting entries to the store, and drop old ones. Runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_RETRY_S):
                    await self._written.wait()
            except TimeoutError:
                pass
            self._written.clear()
            await self.flush()
            if self._now() >= self._trimmed_at + _TRIM_S:
                self._trimmed_at = self._now()
                await self.trim()

    async def trim(self) -> None:
        """Drop entries that are too old or too many."""
        try:
            records = self._records()
            after = await self._last_kept(records)
            oldest = place(self._now() - self._retention_s)
            after = oldest if after is None else min(after, oldest)
            while found := await records.page(KIND, after, _PAGE):
                for after in found:
                    await records.take(KIND, after)
        except StoreUnavailable:
            pass  # in an hour, then

    async def find(
        self, wanted: AuditFilter, after: str, limit: int
    ) -> tuple[list[AuditEntry], str | None]:
        """Return a page of entries, the newest first, and what `after` has to be for the next page,
        or None. A page may be shorter than `limit` although another one follows, because a call
        looks at a bounded number of entries. Raise StoreUnavailable.
        """
        await self.flush()
        records = self._records()
        if wanted.until is not None:
            after = max(after, place(wanted.until))
        found: list[AuditEntry] = []
        seen = 0
        while seen < _SCANNED:
            values = await records.page(KIND, after, _PAGE)
            for after, value in values.items():
                one = parse(after, value)
                if one is None:
                    continue
                if wanted.since is not None and one.at < wanted.since:
                    return found, None
                if wanted.fits(one):
                    if len(found) == limit:
                        return found, found[-1].id
                    found.append(one)
            seen += len(values)
            if len(values) < _PAGE:
                return found, None
        return found, after

    async def _last_kept(self, records: Records) -> str | None:
        """Return the key of the oldest entry within the maximum number; None if there are fewer."""
        after, count = "", 0
        while count < self._most:
            values = await records.page(KIND, after, min(_PAGE, self._most - count))
            if not values:
                return None
            count, after = count + len(values), max(values)
        return after

    def _is_news(self, one: AuditEntry) -> bool:
        key, now = (one.who, one.action, one.address), self._now()
        before = self._refused.get(key)
        if before is not None and now < before + _QUIET_S:
            return False
        if not one.who and self._strangers.take(now):
            return False
        self._refused[key] = now
        self._refused.move_to_end(key)
        if len(self._refused) > _QUIET_CAP:
            self._refused.popitem(last=False)
        return True


def _has(text: str, part: str | None) -> bool:
    return part is None or part.lower() in text.lower()
