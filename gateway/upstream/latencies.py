"""Times to first byte: their p95, for hedging, and the endpoint whose are much longer."""

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
"""Answers kept of each endpoint to compare others with."""


class Quantile:
    """Of the last 256 values, exactly. Adding one costs about a microsecond."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, value: float) -> None:
        """Take a value in; the oldest leaves."""
        if len(self._recent) == _WINDOW:
            oldest = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._recent.append(value)
        insort(self._sorted, value)

    def at(self, share: float) -> float | None:
        """The value below which `share` of them lie; None until there are 20."""
        if len(self._sorted) < _ENOUGH:
            return None
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]


@dataclass(frozen=True, slots=True)
class SlownessOptions:
    """When an endpoint counts as slow. Times in seconds."""

    factor: float = 5.0
    """An answer is slow if it begins so many times later than comparable ones of its siblings."""
    floor_s: float = 0.5
    """An answer that begins within this time is never slow."""
    answers: int = 10
    """Slow answers, one after the other and no quick one among them, that make an endpoint slow."""
    peers: int = 5
    """Comparable answers of siblings that a judgement needs."""
    recent_s: float = 60.0
    """The age at which a sibling's answer is not compared with any more."""
    memory_s: float = 300.0
    """The pause between two slow answers after which their count begins anew."""


class Beginning(NamedTuple):
    """A streamed answer whose first byte has come. Times are seconds of one monotonic clock."""

    at: float
    """When the first byte came."""
    waited_s: float
    """From the request, body included, to the first byte."""
    idle_s: float
    """How long ago another answer of the endpoint began or ended."""
    load: int = 1
    """Requests under way at the endpoint when this one was sent, itself included."""
    begun: int = 1
    """Answers of the endpoint that have begun and not ended, this one included."""
    size: int = 0
    """Of the request's body in bytes, which stands for the length of the prompt."""
    model: str | None = None
    """Models differ in speed, and one endpoint may serve several."""


class _Sample(NamedTuple):
    """One answer, as it is compared."""

    at: float
    seconds: float
    """To the first byte, without the time in the backend's queue."""
    size: int
    model: str | None


class _Record:
    """What is known of one endpoint's answers."""

    __slots__ = ("_peaks", "_peaks_until", "last_at", "recent", "slow")

    def __init__(self) -> None:
        self.recent: deque[_Sample] = deque(maxlen=_RECENT)
        self.slow: list[tuple[float, float]] = []
        """Seconds of the slow answers since the last quick one, each with its siblings' median."""
        self.last_at = 0.0
        """When the last of those began."""
        self._peaks = (0, 0)
        """The most answers at once, in this period and in the one before."""
        self._peaks_until = 0.0

    def slots(self, beginning: Beginning, period_s: float) -> int:
        """How many answers the endpoint has lately given at once, this one included."""
        before, latest = self._peaks
        if beginning.at >= self._peaks_until:
            before, latest = latest, 0
            self._peaks_until = beginning.at + period_s
        self._peaks = before, latest = before, max(latest, beginning.begun)
        return max(before, latest)


class Slowness:
    """Finds the endpoint whose answers begin much later than those of its siblings. No I/O.

    Like is compared with like: first bytes of streamed answers to the same model, recent, with at
    least half as long a prompt on the sibling's side.

    The time in a backend's queue is left out. An endpoint that has given n answers at once has at
    least n slots; where more requests than that are under way, the next answer begins when one
    ends, and only the time since the endpoint's last progress counts.

    One observation is one interval. Of slow answers whose intervals overlap only the first counts,
    so that a pause that a hundred requests wait out is seen once. A quick answer clears the
    endpoint, and one that waited in a queue, which proves little, takes two slow ones back: that
    keeps endpoints in whose queues are full of requests of other workers or other clients.
    """

    def __init__(self, options: SlownessOptions) -> None:
        self._options = options
        self._records: dict[str, _Record] = {}

    def add(
        self, key: str, beginning: Beginning, siblings: Iterable[str]
    ) -> tuple[float, float] | None:
        """Take in an answer of the endpoint `key`; `siblings` are the keys to compare it with.

        Return the endpoint's and its siblings' median time to the first byte, in seconds, if the
        endpoint is slow by now; its evidence is then used up. Linear in the number of siblings,
        and constant for an answer that begins within the floor.
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
        """Count a slow answer, unless the one before it covers it."""
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
        """Drop what is known of endpoints that are gone or begin anew."""
        for key in keys:
            self._records.pop(key, None)

    def _comparable(self, sample: _Sample, siblings: Iterable[str]) -> list[float]:
        """Seconds of the siblings' recent answers to such a request."""
        since = sample.at - sample.seconds - self._options.recent_s
        return [
            other.seconds
            for sibling in siblings
            if (record := self._records.get(sibling)) is not None
            for other in record.recent
            if other.at >= since and other.model == sample.model and 2 * other.size >= sample.size
        ]
