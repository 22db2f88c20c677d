"""A kind of records, followed: every process keeps a copy, so that a request asks nobody.

The store is asked twice a second whether anything was put. While it is away the copy stays as it
was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.store.records import Records, StoreUnavailable

_EVERY_S = 0.5


class Following:
    """The records of one kind, at most half a second old. `found` may be looked at whenever."""

    def __init__(
        self,
        records: Records,
        kind: str,
        *,
        changed: Callable[[Mapping[str, bytes]], None] = lambda found: None,
        report: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`changed` is given the records when they are others; `report` is told once when the
        store cannot be asked.
        """
        self.found: Mapping[str, bytes] = {}
        self.ready = asyncio.Event()
        """Set once they were read."""
        self._records = records
        self._kind = kind
        self._changed = changed
        self._report = report
        self._version: str | None = None
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow())

    def close(self) -> None:
        """Stop."""
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
                        f"{self._kind}: goes on by what was known, the store does not answer: {exc}"
                    )
            await asyncio.sleep(_EVERY_S)

    async def _look(self) -> None:
        version = await self._records.version(self._kind)
        if version == self._version:
            return
        self.found = await self._records.all(self._kind)
        self._version = version
        self._changed(self.found)
        self.ready.set()
