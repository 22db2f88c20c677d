"""Records: small values that all processes share, each under a kind and a key.

Revoked tokens, API keys and tickets are records. Counting is not done here: that is `limiting/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class StoreUnavailable(Exception):
    """The store did not answer in time; the text says why, for the log."""


class Records(Protocol):
    """Where they are kept. Every method but `close` raises StoreUnavailable."""

    async def put(self, kind: str, key: str, value: bytes, ttl_s: float | None = None) -> None:
        """Keep a value, for so many seconds if it says so; one that was there is replaced."""

    async def take(self, kind: str, key: str) -> bytes | None:
        """Remove a value and return it. Of all who try, one gets it; the others get None."""

    async def all(self, kind: str) -> Mapping[str, bytes]:
        """The values of a kind by their keys."""

    async def version(self, kind: str) -> str:
        """Another text whenever a record of that kind was put; taking and expiry do not count."""

    async def close(self) -> None:
        """Let go of everything."""
