"""Regular reading of one kind of records from the store, for a local copy of them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable

from gateway.load.tasks import BackgroundLoop
from gateway.store.records import Records, StoreUnavailable

EVERY_S = 0.5
"""Interval between two readings of the store."""


class PolledCopy(BackgroundLoop):
    """Base of copies that a background task updates twice a second."""

    def __init__(self, records: Records, kind: str, report: Callable[[str], None]) -> None:
        """`report` is called once with the reason when the store does not answer."""
        self.ready = asyncio.Event()
        """Set when the records have been read for the first time."""
        self._records = records
        self._kind = kind
        self._report = report
        self._failing = False

    @abstractmethod
    async def _look(self) -> None:
        """Read what has changed. Raise StoreUnavailable."""

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
                self._failing = False
            except StoreUnavailable as exc:
                if not self._failing:
                    self._failing = True
                    self._report(
                        f"{self._kind}: the store does not answer, its last copy is used: {exc}"
                    )
            await asyncio.sleep(EVERY_S)
