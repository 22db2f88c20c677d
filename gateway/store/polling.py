"""Regular reading of one kind of records from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.store.records import StoreUnavailable

EVERY_S = 0.5
"""Interval between two readings of the store."""


class StorePolling:
    """Background task that reads the store twice a second."""

    def __init__(
        self, kind: str, look: Callable[[], Awaitable[None]], report: Callable[[str], None]
    ) -> None:
        """`look` reads the store. `report` is called once with the reason when it raises
        StoreUnavailable.
        """
        self._kind = kind
        self._look = look
        self._report = report
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to poll the store. Needs a running event loop."""
        self._task = asyncio.create_task(self._follow())

    def close(self) -> None:
        """Stop polling the store."""
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
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
