"""Times to first byte: their p95 for hedging, and detection of endpoints that are much slower."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

_WINDOW = 256
_ENOUGH = 20
_RECENT = 32
"""Number of answers kept for each endpoint for comparison."""


class Quantile:
    """Exact quantiles of the last 256 values. Adding a value costs about a microsecond."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, value: float) -> None:
        """Add a value. The oldest of 256 is dropped."""
        if len(self._recent) == _WINDOW:
            oldest = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._recent.append(value)
        insort(self._sorted, value)

    def at(self, share: float) -> float | None:
        """Return the value below which `share` of the values lie. None for fewer than 20."""
        if len(self._sorted) < _ENOUGH:
            return None
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]


@dataclass(frozen=True, slots=True)
class SlownessOptions:
    """Thresholds for an endpoint to count as slow. Times in seconds."""

    factor: float = 5.0
    """Factor to the median of comparable answers of siblings above which an answer is slow."""
    floor_s: float = 0.5
    """Time to first byte up to which an answer is never slow."""
    answers: int = 10
    """Number of consecutive slow answers after which the endpoint is slow."""
    peers: int = 5
    """Minimum number of comparable answers of siblings for a judgement."""
    recent_s: float = 60.0
    """Maximum age of a sibling's answer for comparison."""
    memory_s: float = 300.0
    """Maximum pause between two slow answers. After a longer one, the count starts again."""


class Beginning(NamedTuple):
    """A streamed answer whose first byte has arrived. Times are seconds of one monotonic clock."""

    at: float
    """Time of the first byte."""
    waited_s: float
    """Time from the complete request (body included) to the first byte."""
    idle_s: float
    """Time since another answer of the endpoint last began or ended."""
    load: int = 1
    """Requests in flight at the endpoint when this one was sent, including this one."""
    begun: int = 1
    """Answers of the endpoint that have begun and not ended, including this one."""
    size: int = 0
    """Size of the request body in bytes, a substitute for the length of the prompt."""
    model: str | None = None
    """Model of the request. Models differ in speed, and one endpoint may serve several."""


class _Sample(NamedTuple):
    """The compared properties of an answer."""

    at: float
    seconds: float
    """Time to first byte, without the time in the backend's queue."""
    size: int
    model: str | None


class _Record:
    """Observations of one endpoint."""

    __slots__ = ("_peaks", "_peaks_until", "last_at", "recent", "slow")

    def __init__(self) -> None:
        self.recent: deque[_Sample] = deque(maxlen=_RECENT)
        self.slow: list[tuple[float, float]] = []
        """Slow answers since the last quick one: time to first byte, and the siblings' median."""
        self.last_at = 0.0
        """Time at which the last slow answer began."""
        self._peaks = (0, 0)
        """Maximum number of simultaneous answers in the last period and in the current one."""
        self._peaks_until = 0.0

    def slots(self, beginning: Beginning, period_s: float) -> int:
        """Return the number of simultaneous answers seen recently, this one included."""
        before, latest = self._peaks
        if beginning.at >= self._peaks_until:
            before, latest = latest, 0
            self._peaks_until = beginning.at + period_s
        self._peaks = before, latest = before, max(latest, beginning.begun)
        return max(before, latest)


class Slowness:
    """Detect endpoints whose time to first byte is much longer than that of their siblings. No I/O.

    Only comparable answers are compared: first bytes of recent streamed answers from the same
    model, where the sibling's prompt is at least half as long.

    The time in a backend's queue is excluded. An endpoint that has given n answers at once has at
    least n slots. If more requests than that are in flight, the next answer begins when another
    ends, so only the time since the endpoint's last progress counts.

    Overlapping observations count once: of slow answers whose waiting times overlap, only the first
    is counted. A pause that a hundred requests wait out is therefore one observation. A quick
    answer clears the count. An answer that waited in a queue proves little and removes two slow
    ones from the count, so that an endpoint stays in service if its queue is full of requests from
    other workers or other clients.
    """

    def __init__(self, options: SlownessOptions) -> None:
        self._options = options
        self._records: dict[str, _Record] = {}

    def add(
        self, key: str, beginning: Beginning, siblings: Iterable[str]
    ) -> tuple[float, float] | None:
        """Record an answer of the endpoint `key`. `siblings` are the keys to compare it with.

        If the endpoint is now slow, return its median time to first byte and that of its siblings,
        in seconds, and clear the slow answers counted so far. Otherwise return None. The cost is
        linear in the number of siblings, and constant for an answer that begins within `floor_s`.
        """
        options = self._options
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
        waited_s = seconds = beginning.waited_s
        if beginning.load > record.slots(beginning, options.recent_s):
            seconds = min(seconds, beginning.idle_s)
        sample = _Sample(beginning.at, seconds, beginning.size, beginning.model)
        record.recent.append(sample)
        if waited_s <= options.floor_s:
            record.slow.clear()
            return None
        others = self._comparable(sample, siblings)
        if len(others) < options.peers:
            return None
        usual_s = median(others)
        limit_s = max(options.floor_s, options.factor * usual_s)
        if waited_s <= limit_s:
            record.slow.clear()
        elif seconds <= limit_s:
            del record.slow[-2:]
        else:
            return self._count(record, sample, usual_s)
        return None

    def _count(
        self, record: _Record, sample: _Sample, usual_s: float
    ) -> tuple[float, float] | None:
        """Count a slow answer, unless its waiting time overlaps that of the last one counted."""
        options, slow = self._options, record.slow
        since = sample.at - sample.seconds
        if slow and since < record.last_at:
            return None
        if since > record.last_at + options.memory_s:
            slow.clear()
        slow.append((sample.seconds, usual_s))
        record.last_at = sample.at
        if len(slow) < options.answers:
            return None
        own, their = zip(*slow, strict=True)
        slow.clear()
        return median(own), median(their)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the observations of endpoints that were removed or start afresh."""
        for key in keys:
            self._records.pop(key, None)

    def _comparable(self, sample: _Sample, siblings: Iterable[str]) -> list[float]:
        """Return the times to first byte of the siblings' comparable answers."""
        since = sample.at - sample.seconds - self._options.recent_s
        return [
            other.seconds
            for sibling in siblings
            if (record := self._records.get(sibling)) is not None
            for other in record.recent
            if other.at >= since and other.model == sample.model and 2 * other.size >= sample.size
        ]
