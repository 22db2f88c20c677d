"""Use of the response cache by one request, and the copy of its answer while it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class CacheStatus(StrEnum):
    """Outcome of the search for a stored answer."""

    HIT = "hit"
    """A stored answer was sent."""
    MISS = "miss"
    """The backend was asked, since no answer was stored."""
    REFRESH = "refresh"
    """The backend was asked, since the request refuses stored answers."""
    BYPASS = "bypass"
    """The request neither reads nor writes the cache."""


class CacheUse:
    """Use of the cache by one request."""

    __slots__ = (
        "_pieces",
        "_room",
        "_size",
        "age_s",
        "fields",
        "is_stream",
        "key",
        "leads",
        "lifetime_s",
        "served",
        "status",
    )

    def __init__(self) -> None:
        self.status = CacheStatus.BYPASS
        self.key = ""
        """Key of the answer; empty if it is not stored."""
        self.leads = False
        """True if other requests with the same key wait for this one."""
        self.served: str | None = None
        """Fallback model that was chosen when the key was made; None for the model itself."""
        self.fields: Sequence[tuple[str, str]] = ()
        """Header fields of the answer to store."""
        self.is_stream = False
        """True if the answer is a stream."""
        self.age_s = 0.0
        """Age of the answer in seconds: a cache behind the gateway may have kept it."""
        self.lifetime_s = 0.0
        """Seconds for which the answer may be stored."""
        self._pieces: list[bytes] | None = None
        self._room = 0
        self._size: int | None = None

    def collect(self, most_bytes: int, size: int | None) -> None:
        """Begin to copy the body, up to `most_bytes`. `size` is its exact size, if known."""
        self._pieces = []
        self._room = most_bytes
        self._size = size

    def feed(self, data: bytes) -> None:
        """Copy a piece of the body. A body that is too long is dropped."""
        if self._pieces is None:
            return
        self._room -= len(data)
        if self._room < 0:
            self._pieces = None
        else:
            self._pieces.append(data)

    @property
    def body(self) -> bytes | None:
        """The whole body; None if there is none to store."""
        if not self._pieces:
            return None
        body = b"".join(self._pieces)
        return body if self._size in (None, len(body)) else None
