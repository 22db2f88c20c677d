"""Interface of the stores of answers: memory or Redis, in `gateway/stores/`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AnswerLabels:
    """Route, model and tenant of an answer, by which operators remove answers. In a filter, None
    stands for every value.
    """

    route: str | None = None
    model: str | None = None
    tenant: str | None = None

    def matches(self, wanted: AnswerLabels) -> bool:
        """Tell whether these labels match a filter."""
        return (
            wanted.route in (None, self.route)
            and wanted.model in (None, self.model)
            and wanted.tenant in (None, self.tenant)
        )


PURGE_FILTERS = ("route", "model", "tenant")
"""Names of the labels, in order."""


class AnswerStore(Protocol):
    """Store of answers by key, bounded in bytes: the least recently used are evicted. Methods raise
    StoreUnavailable.
    """

    is_shared: bool
    """True if all processes use the same store."""
    size_bytes: int
    """Bytes in use, as far as this process knows."""
    evicted: int
    """Answers that this process has evicted to make room."""

    async def get(self, key: str) -> bytes | None:
        """Return an answer, unless it has expired."""

    async def put(self, key: str, value: bytes, labels: AnswerLabels, ttl_s: float) -> None:
        """Store an answer for `ttl_s` seconds."""

    async def remove(self, wanted: AnswerLabels) -> int:
        """Remove all answers that match. Return their number."""

    async def close(self) -> None:
        """Close the store."""
