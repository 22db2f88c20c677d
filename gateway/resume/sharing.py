"""What streams need of other processes: the interface, for whatever connects them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Protocol

from gateway.resume.claims import Claims
from gateway.resume.log import StreamLog

if TYPE_CHECKING:
    from gateway.resume.streams import Streams


class Sharing(Protocol):
    """The other workers, or the replicas."""

    @property
    def claims(self) -> Claims:
        """What Idempotency-Keys stand for."""

    @property
    def available(self) -> bool:
        """Whether streams can be found elsewhere now."""

    @property
    def followed(self) -> Iterable[StreamLog]:
        """The logs of streams that others run."""

    def start(self, streams: Streams) -> None:
        """Begin, for these streams."""

    async def close(self) -> None:
        """Send what is not sent yet, and let go."""

    # -- our streams ---------------------------------------------------------------------------

    async def open(self, log: StreamLog, ttl_s: float) -> None:
        """A stream begins here: from now on it is found elsewhere. Raise StoreUnavailable."""

    def grown(self, log: StreamLog) -> None:
        """It has more events, or has ended. On the path of every event."""

    def forgotten(self, stream: str) -> None:
        """It was evicted before its time."""

    # -- theirs --------------------------------------------------------------------------------

    async def follow(self, stream: str, owners: Collection[bytes], after: int) -> StreamLog | None:
        """A log that goes on behind number `after` as long as it has readers; None if there is no
        such stream. Raise StreamNotFound if it is none of these owners', InvalidEventId where it
        is known that there was no such number yet, StoreUnavailable.
        """

    async def cancel(self, stream: str, owners: Collection[bytes]) -> bool:
        """End their generation. False: there is no such stream. Raise StoreUnavailable."""
