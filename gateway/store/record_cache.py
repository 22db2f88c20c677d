"""A bounded local copy of the records of one kind, whose cost does not grow with their number.

Up to `CAP` records, the copy is complete: a look-up never asks the store, not even for a key that
does not exist, and the copy is used while the store does not answer. Beyond that, the copy has the
records that were looked up last, and another one is fetched when it is asked for. Twice a second,
the changes since the last look are read, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gateway.store.polling import PolledCopy
from gateway.store.records import Records

CAP = 20_000
"""Maximum number of records in the copy."""
_ABSENT_CAP = 10_000
_PAGE = 1_000
"""Records that are parsed before other work gets its turn."""

Parsed = TypeVar("Parsed")


class NotCached(Exception):
    """The record has to be fetched."""


class RecordCache(PolledCopy, Generic[Parsed]):
    """Copy of the records of one kind, at most half a second old while the store answers."""

    def __init__(
        self,
        records: Records,
        kind: str,
        parse: Callable[[str, bytes], Parsed | None],
        *,
        changed: Callable[[], None] = lambda: None,
        report: Callable[[str], None] = lambda reason: None,
        cap: int = CAP,
    ) -> None:
        """`parse` returns the value of a record, or None for one that counts as absent. `changed`
        is called when records have changed.
        """
        super().__init__(records, kind, report)
        self._parse = parse
        self._changed = changed
        self._cap = cap
        self._found: dict[str, Parsed] = {}
        self._absent: set[str] = set()
        self._is_complete = False
        self._mark: str | None = None

    def __len__(self) -> int:
        return len(self._found)

    def find(self, key: str) -> Parsed | None:
        """Return a record, or None if there is none. Raise NotCached if it has to be fetched."""
        found = self._found.get(key)
        if found is None and not self._is_complete and key not in self._absent:
            raise NotCached
        return found

    async def fetch(self, key: str) -> Parsed | None:
        """Return a record that is not in the copy, or None. Raise StoreUnavailable."""
        while True:
            mark = self._mark
            value = await self._records.get(self._kind, key)
            if mark == self._mark:
                break
            # A change that was read meanwhile may be one of this record.
        found = None if value is None else self._parse(key, value)
        self._keep(key, found)
        return found

    async def _look(self) -> None:
        changes = await self._records.changes(self._kind, self._mark)
        if changes.keys is None:
            await self._read_all()
        elif changes.keys:
            await self._apply(changes.keys)
        if changes.mark == self._mark:
            return
        self._mark = changes.mark
        self._changed()
        self.ready.set()

    async def _apply(self, keys: Sequence[str]) -> None:
        is_held = self._is_complete
        held = [key for key in keys if is_held or key in self._found]
        values = {key: await self._records.get(self._kind, key) for key in held}
        for key in keys:
            self._absent.discard(key)
            if key in values:
                value = values[key]
                self._keep(key, None if value is None else self._parse(key, value))
            else:
                self._found.pop(key, None)  # fetched meanwhile, perhaps before the change

    async def _read_all(self) -> None:
        """Read all records, if they fit into the copy. Otherwise begin with an empty copy."""
        found: dict[str, Parsed] = {}
        after = ""
        while page := await self._records.page(self._kind, after, _PAGE):
            for after, value in page.items():
                if (parsed := self._parse(after, value)) is not None:
                    found[after] = parsed
            if len(found) > self._cap:
                break
            await asyncio.sleep(0)
        self._is_complete = not page
        self._found = found if self._is_complete else {}
        self._absent = set()

    def _keep(self, key: str, value: Parsed | None) -> None:
        if value is None:
            self._found.pop(key, None)
            if not self._is_complete:
                if len(self._absent) >= _ABSENT_CAP:
                    self._absent.clear()
                self._absent.add(key)
            return
        self._found[key] = value
        if len(self._found) > self._cap:
            self._is_complete = False
            # The first in the dict are the oldest. A record in use is fetched again.
            for old in [*self._found][: max(1, self._cap // 10)]:
                del self._found[old]
