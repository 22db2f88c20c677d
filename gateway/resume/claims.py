"""Single flight: of all requests with one Idempotency-Key, one is sent on; the others follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands for: a request, by the digest of its body, and the stream that answers."""

    body: bytes
    stream: str


class Claims(Protocol):
    """Where all processes look."""

    async def take(self, key: bytes, claim: Claim) -> Claim:
        """What the key stands for, if it stands for something already, else now `claim`. Raise
        StoreUnavailable.
        """

    async def find(self, key: bytes) -> Claim | None:
        """What the key stands for, if anything. Raise StoreUnavailable."""

    def drop(self, key: bytes, stream: str) -> None:
        """The key no longer stands for this stream. Nobody waits for it."""


class LocalClaims:
    """For one process."""

    def __init__(self) -> None:
        self._claims: dict[bytes, Claim] = {}

    async def take(self, key: bytes, claim: Claim) -> Claim:
        return self._claims.setdefault(key, claim)

    async def find(self, key: bytes) -> Claim | None:
        return self._claims.get(key)

    def drop(self, key: bytes, stream: str) -> None:
        found = self._claims.get(key)
        if found is not None and found.stream == stream:
            del self._claims[key]

    def __len__(self) -> int:
        return len(self._claims)
