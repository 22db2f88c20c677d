"""A local copy of one kind of records, so that requests need not ask the store.

The store is polled twice a second for changes. While it is not available, the copy stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.store.polling import PolledCopy
from gateway.store.records import Records


class RecordWatcher(PolledCopy):
    """Copy of the records of one kind, at most half a second old. Read `found` at any time."""

    def __init__(
        self,
        records: Records,
        kind: str,
        *,
        changed: Callable[[Mapping[str, bytes]], None] = lambda found: None,
        report: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`changed` is called with the records when they have changed."""
        super().__init__(records, kind, report)
        self.found: Mapping[str, bytes] = {}
        self._changed = changed
        self._version: str | None = None

    async def _look(self) -> None:
        version = await self._records.version(self._kind)
        if version == self._version:
            return
        self.found = await self._records.all(self._kind)
        self._version = version
        self._changed(self.found)
        self.ready.set()
