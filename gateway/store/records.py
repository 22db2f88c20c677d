"""Records: small values that all processes share, each with a kind and a key.

Revoked tokens, API keys, teams and tickets are records. Counters of limits are in `limiting/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

CHANGES_CAP = 10_000
"""Maximum number of keys that `Records.changes` names; after more changes, it names none."""


class StoreUnavailable(Exception):
    """The store did not answer in time. The message gives the reason, for the log."""


class StoreUntouched(StoreUnavailable):
    """The same, of a call that surely changed nothing."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Records of one kind that were put since an earlier mark."""

    mark: str
    """Mark to pass to the next call."""
    keys: Sequence[str] | None
    """Their keys; None if they are not known, so that everything has to be read again."""


class Records(Protocol):
    """Record store. Every method except `close` raises StoreUnavailable."""

    async def put(self, kind: str, key: str, value: bytes, ttl_s: float | None = None) -> None:
        """Store a value, replacing any previous one. It expires after `ttl_s` seconds, if given."""

    async def replace(self, kind: str, key: str, before: bytes | None, value: bytes) -> bool:
        """Store a value that does not expire, if the present one is `before`; None: if there is
        none. Return whether it was stored.
        """

    async def take(self, kind: str, key: str) -> bytes | None:
        """Remove a value and return it. If several callers try, one gets it; others get None."""

    async def all(self, kind: str) -> Mapping[str, bytes]:
        """Return the values of a kind by key."""

    async def get(self, kind: str, key: str) -> bytes | None:
        """Return one value, or None."""

    async def page(self, kind: str, after: str, limit: int) -> Mapping[str, bytes]:
        """Return the values of the first `limit` keys that are greater than `after`, in order of
        the keys. Records that expire are left out. `limit` is at least 1. Costs no more in a store
        with more records.
        """

    async def changes(self, kind: str, since: str | None) -> Changes:
        """Return what was put since a mark. None as the mark, and a mark of another store, is
        answered with a mark only. `take` and expiry are no changes.
        """

    async def version(self, kind: str) -> str:
        """Return a text that changes with every `put` of this kind, not with `take` or expiry."""

    async def close(self) -> None:
        """Close the store."""
