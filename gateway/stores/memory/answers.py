"""Answers in the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from gateway.response_cache.store import AnswerLabels, AnswerLeads

_ENTRY_BYTES = 700
"""Memory of an entry beside its value: its key, labels and objects."""


@dataclass(slots=True)
class _Entry:
    value: bytes
    labels: AnswerLabels
    expires_at: float


class MemoryAnswers:
    """Answers of a single process. They are lost when it ends."""

    is_shared = False
    leads: AnswerLeads | None = None

    def __init__(self, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        """Entries by key; the most recently used is the last."""
        self.size_bytes = 0
        self.evicted = 0

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= time.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def put(self, key: str, value: bytes, labels: AnswerLabels, ttl_s: float) -> None:
        if key in self._entries:
            self._drop(key)
        size = len(value) + _ENTRY_BYTES
        if size > self._cap_bytes:
            return
        self._entries[key] = _Entry(value, labels, time.monotonic() + ttl_s)
        self.size_bytes += size
        while self.size_bytes > self._cap_bytes:
            self._drop(next(iter(self._entries)))
            self.evicted += 1

    async def remove(self, wanted: AnswerLabels) -> int:
        found = [key for key, entry in self._entries.items() if entry.labels.matches(wanted)]
        for key in found:
            self._drop(key)
        return len(found)

    async def close(self) -> None:
        self._entries.clear()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key)
        self.size_bytes -= len(entry.value) + _ENTRY_BYTES
