"""Records: small values that all processes share, each with a kind and a key.

Revoked tokens, API keys and tickets are records. Counters of limits are in `limiting/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class StoreUnavailable(Exception):
    """The store did not answer in time. The message gives the reason, for the log."""


class Records(Protocol):
    """Record store. Every method except `close` raises StoreUnavailable."""

    async def put(self, kind: str, key: str, value: bytes, ttl_s: float | None = None) -> None:
        """Store a value, replacing any previous one. It expires after `ttl_s` seconds, if given."""

    async def take(self, kind: str, key: str) -> bytes | None:
        """Remove a value and return it. If several callers try, one gets it; others get None."""

    async def all(self, kind: str) -> Mapping[str, bytes]:
        """Return the values of a kind by key."""

    async def version(self, kind: str) -> str:
        """Return a text that changes with every `put` of this kind, not with `take` or expiry."""

    async def close(self) -> None:
        """Close the store."""
