"""Interface of the stores of answers: memory or Redis, in `gateway/stores/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
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


class LeadState(Enum):
    """Result of an attempt to lead the requests with one key."""

    LEADS = "leads"
    FOLLOWS = "follows"
    """The lead belongs to another request."""
    FAILED = "failed"
    """The request that led has just ended without an answer to share."""


class AnswerLeads(Protocol):
    """Registry of the requests that others wait for, shared by all processes. A process that dies
    loses its leads after a few seconds. Methods raise StoreUnavailable.
    """

    renewal_s: float
    """Time after which leads have to be renewed."""

    async def take(self, key: str, owner: str) -> LeadState:
        """Lead, unless another request does. `owner` is unique to the request."""

    async def renew(self, owners: Mapping[str, str]) -> None:
        """Keep leads, given as owners by key."""

    async def give_up(self, key: str, owner: str, *, failed: bool) -> None:
        """End a lead. `failed`: those who wait are to be sent; otherwise the answer is stored, or
        one of them leads.
        """


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
    leads: AnswerLeads | None
    """Registry of leads, if processes share the store."""

    async def get(self, key: str) -> bytes | None:
        """Return an answer, unless it has expired."""

    async def put(self, key: str, value: bytes, labels: AnswerLabels, ttl_s: float) -> None:
        """Store an answer for `ttl_s` seconds."""

    async def remove(self, wanted: AnswerLabels) -> int:
        """Remove all answers that match. Return their number."""

    async def close(self) -> None:
        """Close the store."""
