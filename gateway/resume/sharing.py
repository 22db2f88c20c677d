"""Interface between the streams of a process and other processes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway.resume.claims import StreamClaims
from gateway.resume.log import Budget, StreamLog
from gateway.resume.saved_request import SavedRequest


class LocalStreams(Budget, Protocol):
    """Interface to the streams of this process, for requests of other processes."""

    def local(self, stream: str) -> StreamLog | None:
        """Return the log of a stream that this process runs or ran, else None."""

    def knows(self, stream: str) -> bool:
        """True if this process has the stream, or expects it."""

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        """End a generation. Return False if none of the owners has such a stream."""

    @property
    def takes_over(self) -> bool:
        """True if this process can continue streams of processes that died."""

    def take_over(self, log: StreamLog, terms: StreamTerms) -> None:
        """Continue a stream of a process that died. The log has its events so far."""

    def superseded(self, stream: str) -> None:
        """End a generation without a trace: another process continues it, because this one did not
        give a sign of life.
        """


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """Terms on which a stream is kept."""

    owner: bytes
    """Label of the owner."""
    cap_bytes: int
    ttl_s: float
    """Seconds for which the stream is kept after its end."""
    claim: bytes | None = None
    """Idempotency-Key that the stream holds."""
    saved: SavedRequest | None = None
    """Request to store with the stream, if another process is to continue it."""


class Sharing(Protocol):
    """Access to the streams of the other workers or replicas."""

    @property
    def claims(self) -> StreamClaims:
        """Claims by Idempotency-Key, shared by all processes."""

    @property
    def available(self) -> bool:
        """True if streams of other processes can be found now."""

    @property
    def followed(self) -> Iterable[StreamLog]:
        """Logs of streams that run elsewhere and are followed here."""

    def start(self, streams: LocalStreams) -> None:
        """Start to share these streams."""

    async def close(self) -> None:
        """Send what is pending, and disconnect."""

    # -- own streams ---------------------------------------------------------------------------

    async def open(self, log: StreamLog, terms: StreamTerms) -> None:
        """Make a new stream of this process known to the others. Raise StoreUnavailable."""

    def open_later(self, log: StreamLog, terms: StreamTerms) -> None:
        """Make a new stream known as soon as the store answers. Returns at once."""

    @property
    def unopened(self) -> int:
        """Number of streams of `open_later` that the others cannot find yet."""

    def grown(self, log: StreamLog) -> None:
        """Handle new events of a stream, or its end. Called for every event."""

    def expired(self, stream: str) -> None:
        """Handle the end of a stream's TTL: its events are no longer in memory."""

    def forgotten(self, stream: str) -> None:
        """Handle the eviction of a stream before its TTL was over."""

    # -- streams of other processes ------------------------------------------------------------

    async def follow(self, stream: str, owners: Collection[bytes], after: int) -> StreamLog | None:
        """Return a log that follows a stream after number `after` as long as it has readers.

        Return None if there is no such stream. Raise StoreUnavailable; StreamNotFound if none of
        the owners owns it; InvalidEventId if it is known that no event has this number yet.
        """

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        """End a stream's generation. False if not found. Raise StoreUnavailable."""
