"""Recent events of one channel in memory, within bounds on number, bytes and age. No clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from gateway.channels.ids import id_at, written
from gateway.channels.space import ChannelRetention
from gateway.resume.log import Budget

_NEVER = 1 << 80
_KEPT_SHARE = 0.9
"""Share of a bound to which a history is trimmed, so that not every event causes a trim."""


class ChannelHistory:
    """Events with their ids, the oldest first."""

    __slots__ = ("_budget", "_events", "_ids", "floor", "jumped_from", "last", "size_bytes")

    def __init__(self, floor: int, budget: Budget) -> None:
        """`floor` is the position before the first event."""
        self.floor = floor
        """Id up to which events are gone, or were never seen here."""
        self.last = floor
        """Id of the newest event; the floor if there was none."""
        self.jumped_from = _NEVER
        """Id of the newest event when events after it were lost; see `jump`."""
        self.size_bytes = 0
        self._budget = budget
        self._ids: list[int] = []
        self._events: list[bytes] = []

    def __len__(self) -> int:
        return len(self._ids)

    def extend(self, events: Iterable[tuple[int, bytes]], retention: ChannelRetention) -> None:
        """Add events with their ids, which grow. Those that are here already are skipped."""
        size = 0
        for event_id, block in events:
            if event_id <= self.last:
                continue
            raw = b"id: %b\n%b" % (written(event_id), block)
            self._ids.append(event_id)
            self._events.append(raw)
            self.last = event_id
            size += len(raw)
        self.size_bytes += size
        self._budget.grown(size)
        if self.size_bytes > retention.size_bytes:
            self.trim_bytes(int(retention.size_bytes * _KEPT_SHARE))
        if len(self._ids) > retention.events:
            self._drop(len(self._ids) - max(1, int(retention.events * _KEPT_SHARE)))

    def expire(self, now_ms: int, retention: ChannelRetention) -> None:
        """Drop the events that are too old. `now_ms` is in milliseconds since the epoch."""
        oldest = id_at(now_ms - int(retention.age_s * 1000))
        if self._ids and self._ids[0] < oldest:
            self._drop(bisect_right(self._ids, oldest))

    def trim_bytes(self, left_bytes: int) -> None:
        """Drop the oldest events until at most this many bytes are left. The newest stays."""
        size, count = self.size_bytes, 0
        for raw in self._events[:-1]:
            if size <= left_bytes:
                break
            size -= len(raw)
            count += 1
        self._drop(count)

    def jump(self, floor: int) -> None:
        """Note that events after the newest one, up to this id, were lost elsewhere."""
        self.jumped_from = self.last
        self.clear()
        self.floor = self.last = floor

    def clear(self) -> None:
        """Drop all events."""
        self._drop(len(self._ids))

    def after(self, position: int, most_bytes: int) -> tuple[Sequence[bytes], int]:
        """Return the events after a position, and the id of the last of them.

        The size exceeds `most_bytes` by less than one event. If there are none, the id is
        `position`. The caller has compared the position with `floor`.
        """
        ids, events = self._ids, self._events
        if len(ids) > 1 and ids[-2] == position:
            return events[-1:], ids[-1]
        start = end = bisect_right(ids, position)
        size = 0
        while end < len(ids) and size < most_bytes:
            size += len(events[end])
            end += 1
        return events[start:end], ids[end - 1] if end > start else position

    def blocks_after(self, position: int, most_bytes: int) -> tuple[list[int], list[bytes]]:
        """Return the same as ids, and as the blocks that were published."""
        start = bisect_right(self._ids, position)
        events, _ = self.after(position, most_bytes)
        blocks = [raw.partition(b"\n")[2] for raw in events]
        return self._ids[start : start + len(blocks)], blocks

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        size = sum(map(len, self._events[:count]))
        self.floor = self._ids[count - 1]
        del self._ids[:count], self._events[:count]
        self.size_bytes -= size
        self._budget.shrunk(size)
