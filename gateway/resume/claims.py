"""Single flight: of all requests with one Idempotency-Key, one is forwarded; the others follow its
stream.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

_PIECE_BYTES = 256 * 1024
"""Size of the pieces in which a longer body is hashed, one in each turn of the event loop: 0.2 ms.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """Holder of an Idempotency-Key: the digest of the request's body, and the answering stream."""

    body: bytes
    stream: str


async def body_digest(body: bytes, query: str) -> bytes:
    """Digest of what a request asks: `access.digest` of its body and its query."""
    hashed = blake2b(b"%d:" % len(body), digest_size=16)
    if len(body) <= _PIECE_BYTES:
        hashed.update(body)
    else:
        view = memoryview(body)
        for start in range(0, len(body), _PIECE_BYTES):
            hashed.update(view[start : start + _PIECE_BYTES])
            await asyncio.sleep(0)
    asked = query.encode()
    hashed.update(b"%d:%b" % (len(asked), asked))
    return hashed.digest()


class StreamClaims(Protocol):
    """Registry of claims by Idempotency-Key, shared by all processes."""

    async def take(self, key: bytes, claim: Claim) -> Claim:
        """Return the claim that holds the key. If there is none, store `claim` and return it.

        Raise StoreUnavailable.
        """

    async def find(self, key: bytes) -> Claim | None:
        """Return the claim that holds the key, or None. Raise StoreUnavailable."""

    def hold(self, key: bytes, claim: Claim) -> Claim:
        """Take the key within this process only, because the registry does not answer. It is taken
        among all processes when the registry answers again. Returns like `take`, and at once.
        """

    def drop(self, key: bytes, stream: str) -> None:
        """Remove the claim if it refers to this stream. Returns at once."""


class LocalClaims:
    """Claims of a single process."""

    def __init__(self) -> None:
        self._claims: dict[bytes, Claim] = {}

    async def take(self, key: bytes, claim: Claim) -> Claim:
        return self._claims.setdefault(key, claim)

    def hold(self, key: bytes, claim: Claim) -> Claim:
        return self._claims.setdefault(key, claim)

    async def find(self, key: bytes) -> Claim | None:
        return self._claims.get(key)

    def drop(self, key: bytes, stream: str) -> None:
        found = self._claims.get(key)
        if found is not None and found.stream == stream:
            del self._claims[key]

    def __len__(self) -> int:
        return len(self._claims)
