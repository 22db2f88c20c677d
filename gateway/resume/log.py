"""The numbered events of one stream in memory, and the readers of the stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError

_PIECE_BYTES = 256 * 1024
"""Maximum size of one read by a reader that lags."""
_KEPT_SHARE = 0.75
"""Share of its size limit to which a log is trimmed, so that not every event causes a trim."""


class StreamState(Enum):
    """State of a stream."""

    RUNNING = "running"
    COMPLETE = "complete"
    """The stream ended normally."""
    BROKEN = "broken"
    """The stream broke off. Its last event reports the error."""
    LOST = "lost"
    """The process that ran the stream is gone or unreachable; the outcome is unknown."""


class Trimmed(Exception):
    """The requested events were dropped, because the stream exceeded its size limit."""


class LogReader(Protocol):
    """A reader of a stream. When woken, it takes events from the log itself, as soon as it can."""

    @property
    def after(self) -> int:
        """Number of the last event that the reader has taken."""

    def wake(self) -> None:
        """Signal that there are new events or that the stream has ended. Must return at once."""


class Budget(Protocol):
    """Counter for the bytes of all logs."""

    def grown(self, size_bytes: int) -> None:
        """Add this many bytes."""

    def shrunk(self, size_bytes: int) -> None:
        """Subtract this many bytes."""


@dataclass(slots=True, eq=False, repr=False)
class StreamLog:
    """Log with one writer and any number of readers, each at its own position."""

    id: str
    owner: bytes
    """Label of the owner."""
    cap_bytes: int
    budget: Budget
    _: KW_ONLY
    first: int = 1
    """Number of the oldest event kept; if there is none, of the next event."""
    size_bytes: int = field(default=0, init=False)
    state: StreamState = field(default=StreamState.RUNNING, init=False)
    error: GatewayError | None = field(default=None, init=False)
    """Cause, if the state is LOST."""
    holds: bool = field(default=False, init=False)
    """True if readers get only events that are stored, so that another process can continue from
    what they have read.
    """
    stored: int | None = field(default=None, init=False)
    """Number of the last event that readers may get; None for no limit."""
    readers: tuple[LogReader, ...] = field(default=(), init=False)
    """A tuple, because it is read for every event and rarely changed."""
    on_readers: Callable[[], None] | None = field(default=None, init=False)
    """Called when the first reader has joined, and when the last one has left."""
    on_progress: Callable[[], None] | None = field(default=None, init=False)
    """Called when a reader that lagged has taken events."""
    on_settled: Callable[[bool], None] | None = field(default=None, init=False)
    """Called once after the end: with True when readers may get all events, with False if the
    stream was lost before.
    """
    prefix: bytes = field(init=False)
    """Prefix of the ids of its events."""
    last: int = field(init=False)
    """Number of the newest event; 0 before the first one."""
    _events: list[bytes] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.prefix = self.id.encode() + b"."
        self.last = self.first - 1

    @property
    def shown(self) -> int:
        """Number of the newest event that readers may get."""
        last, stored = self.last, self.stored
        return last if stored is None or stored > last else stored

    def show(self, number: int | None) -> None:
        """Let readers get the events up to this number, or all of them if None."""
        if self.stored != number:
            self.stored = number
            for reader in self.readers:  # one that gets the last event leaves
                reader.wake()
        if self.ended and self.shown >= self.last:
            self._settle(True)

    def lose(self, error: GatewayError) -> None:
        """End the stream, even after its end, without the events that readers may not get yet."""
        kept = self.shown + 1 - self.first
        size = sum(map(len, self._events[kept:]))
        del self._events[kept:]
        self.last = self.first + kept - 1
        self.size_bytes -= size
        self.budget.shrunk(size)
        self.stored = None
        self.state, self.error = StreamState.LOST, error
        for reader in self.readers:
            reader.wake()
        self._settle(False)

    def _settle(self, stored: bool) -> None:
        settled, self.on_settled = self.on_settled, None
        if settled is not None:
            settled(stored)

    @property
    def ended(self) -> bool:
        """True if no more events will come."""
        return self.state is not StreamState.RUNNING

    def append(self, events: Collection[bytes]) -> None:
        """Add the next events. `wake` notifies the readers."""
        self._events += events
        self.last += len(events)
        size = sum(map(len, events))
        self.size_bytes += size
        self.budget.grown(size)
        if self.size_bytes > self.cap_bytes:
            self.trim(int(self.cap_bytes * _KEPT_SHARE))

    def extend(self, first: int, events: Iterable[bytes]) -> None:
        """Add those of the events that are new. Raise Trimmed if one before them is missing."""
        if first > self.last + 1:
            if self._events:
                raise Trimmed
            self.first = first  # the beginning was dropped before this log followed the stream
            self.last = first - 1
        self.append(tuple(events)[max(0, self.last + 1 - first) :])

    def read(self, after: int, most_bytes: int = _PIECE_BYTES) -> tuple[bytes, int]:
        """Return the events after number `after`, and the number of the last of them.

        The size exceeds `most_bytes` by less than one event. If there are no events, the number is
        `after`. Raise Trimmed if one of them was dropped.
        """
        events = self._events
        if self.stored is not None:
            taken = self.pieces(after, most_bytes)[: max(0, self.stored - after)]
            return b"".join(taken), after + len(taken)
        if after + 1 == self.last and events:
            return events[-1], after + 1
        taken = self.pieces(after, most_bytes)
        return b"".join(taken), after + len(taken)

    def lag_bytes(self) -> int:
        """Return the bytes that no reader has taken yet; 0 if there are no readers."""
        if not self.readers:
            return 0
        foremost = max(reader.after for reader in self.readers)
        return sum(map(len, self._events[max(0, foremost + 1 - self.first) :]))

    def pieces(self, after: int, most_bytes: int) -> list[bytes]:
        """Return the events like `read`, as a list. Raise Trimmed."""
        start = after + 1 - self.first
        if start < 0:
            raise Trimmed
        if self.size_bytes <= most_bytes:
            return self._events[start:]
        size, taken = 0, []
        for event in self._events[start:]:
            if size >= most_bytes:
                break
            size += len(event)
            taken.append(event)
        return taken

    def wake(self) -> None:
        """Notify the readers of new events."""
        for reader in self.readers:
            reader.wake()

    def end(self, state: StreamState, error: GatewayError | None = None) -> None:
        """Mark the stream as ended, and wake its readers."""
        if self.ended:
            return
        self.state, self.error = state, error
        for reader in self.readers:
            reader.wake()

    def join(self, reader: LogReader) -> None:
        """Add a reader. `wake` notifies it from now on."""
        self.readers += (reader,)
        if len(self.readers) == 1 and self.on_readers is not None:
            self.on_readers()

    def leave(self, reader: LogReader) -> None:
        """Remove a reader that has finished or disconnected."""
        if reader not in self.readers:
            return
        self.readers = tuple(one for one in self.readers if one is not reader)
        if not self.readers and self.on_readers is not None:
            self.on_readers()

    def trim(self, left_bytes: int) -> None:
        """Drop the oldest events until at most this many bytes remain. The newest event stays."""
        size, count = self.size_bytes, 0
        for event in self._events[:-1]:
            if size <= left_bytes:
                break
            size -= len(event)
            count += 1
        del self._events[:count]
        self.first += count
        self.budget.shrunk(self.size_bytes - size)
        self.size_bytes = size

    def clear(self) -> None:
        """Drop all events."""
        self.first = self.last + 1
        self._events.clear()
        self.budget.shrunk(self.size_bytes)
        self.size_bytes = 0
