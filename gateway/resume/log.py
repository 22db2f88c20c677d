"""The events of one stream, numbered, in memory; and those who read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Protocol

from gateway.errors import GatewayError

_PIECE_BYTES = 256 * 1024
"""What a reader that is behind is given at once."""
_KEPT_SHARE = 0.75
"""Of its cap, when a log that outgrew it is trimmed: so that this is not done for each event."""


class State(Enum):
    """How a stream stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    """It came to its own end."""
    BROKEN = "broken"
    """It broke off; its last event says why."""
    LOST = "lost"
    """What ran it is gone, or out of reach: how it went on is not known."""


class Trimmed(Exception):
    """What is asked for is no longer here: the stream has outgrown its cap."""


class Reader(Protocol):
    """Whoever follows a stream. What it reads it takes from the log itself, when it can."""

    @property
    def after(self) -> int:
        """The number of the last event it has taken."""

    def wake(self) -> None:
        """There is more to read, or the stream has ended. Must return at once."""


class Budget(Protocol):
    """Where the bytes of all logs are counted."""

    def grown(self, size_bytes: int) -> None:
        """So many have come."""

    def shrunk(self, size_bytes: int) -> None:
        """So many have gone."""


class StreamLog:
    """Appended to by one, read by any number, each at its own place."""

    __slots__ = (
        "_budget",
        "_events",
        "cap_bytes",
        "error",
        "first",
        "id",
        "on_progress",
        "on_readers",
        "owner",
        "prefix",
        "readers",
        "size_bytes",
        "state",
    )

    def __init__(
        self, id: str, owner: bytes, cap_bytes: int, budget: Budget, *, first: int = 1
    ) -> None:
        """`owner` says whose it is. `first` is the number of its first event."""
        self.id = id
        self.owner = owner
        self.prefix = id.encode() + b"."
        """Of the ids of its events."""
        self.first = first
        """The number of the oldest event that is here, or of the next one."""
        self.size_bytes = 0
        self.state = State.RUNNING
        self.error: GatewayError | None = None
        """Why it is lost."""
        self.readers: set[Reader] = set()
        self.on_readers: Callable[[], None] | None = None
        """Called when the last reader has left, or the first one has come."""
        self.on_progress: Callable[[], None] | None = None
        """Called when a reader that was behind has taken something."""
        self.cap_bytes = cap_bytes
        self._budget = budget
        self._events: list[bytes] = []

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before there is one."""
        return self.first + len(self._events) - 1

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state is not State.RUNNING

    def append(self, event: bytes) -> None:
        """Keep the next event. Readers learn of it by `wake`: once for all that came at once."""
        self._events.append(event)
        size = len(event)
        self.size_bytes += size
        self._budget.grown(size)
        if self.size_bytes > self.cap_bytes:
            self.trim(int(self.cap_bytes * _KEPT_SHARE))

    def extend(self, first: int, events: Iterable[bytes]) -> None:
        """Keep those of these events that are new here. Raise Trimmed where one is missing."""
        if first > self.last + 1:
            if self._events:
                raise Trimmed
            self.first = first  # the beginning was gone before it was followed
        for number, event in enumerate(events, first):
            if number > self.last:
                self.append(event)

    def read(self, after: int, most_bytes: int = _PIECE_BYTES) -> tuple[bytes, int]:
        """The events behind number `after`, but not many more than `most_bytes`; and the number of
        the last of them, or `after` if there is none. Raise Trimmed.
        """
        start = after + 1 - self.first
        events = self._events
        if start == len(events) - 1 and start >= 0:
            return events[-1], after + 1
        if start < 0:
            raise Trimmed
        size, end = 0, start
        for event in events[start:]:
            if size >= most_bytes:
                break
            size += len(event)
            end += 1
        return b"".join(events[start:end]), after + max(0, end - start)

    def lag_bytes(self) -> int:
        """What not even the foremost reader has taken; 0 if there is none."""
        if not self.readers:
            return 0
        foremost = max(reader.after for reader in self.readers)
        return sum(map(len, self._events[max(0, foremost + 1 - self.first) :]))

    def pieces(self, after: int, most_bytes: int) -> list[bytes]:
        """As `read`, each event for itself. Raise Trimmed."""
        start = after + 1 - self.first
        if start < 0:
            raise Trimmed
        size, taken = 0, []
        for event in self._events[start:]:
            if size >= most_bytes:
                break
            size += len(event)
            taken.append(event)
        return taken

    def wake(self) -> None:
        """Tell the readers that there is more."""
        readers = self.readers
        for reader in readers if len(readers) < 2 else tuple(readers):
            reader.wake()

    def end(self, state: State, error: GatewayError | None = None) -> None:
        """Nothing more will come."""
        if self.ended:
            return
        self.state, self.error = state, error
        for reader in tuple(self.readers):
            reader.wake()

    def join(self, reader: Reader) -> None:
        """Have it woken from now on."""
        self.readers.add(reader)
        if len(self.readers) == 1 and self.on_readers is not None:
            self.on_readers()

    def leave(self, reader: Reader) -> None:
        """It has what it wants, or is gone."""
        if reader not in self.readers:
            return
        self.readers.remove(reader)
        if not self.readers and self.on_readers is not None:
            self.on_readers()

    def trim(self, left_bytes: int) -> None:
        """Forget its oldest events until so many bytes are left; the newest one stays."""
        size, count = self.size_bytes, 0
        for event in self._events[:-1]:
            if size <= left_bytes:
                break
            size -= len(event)
            count += 1
        del self._events[:count]
        self.first += count
        self._budget.shrunk(self.size_bytes - size)
        self.size_bytes = size

    def clear(self) -> None:
        """Forget all its events."""
        self.first = self.last + 1
        self._events.clear()
        self._budget.shrunk(self.size_bytes)
        self.size_bytes = 0
