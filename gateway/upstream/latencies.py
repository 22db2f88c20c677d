"""How long backends take to begin: the p95 for hedging, and which endpoint is much slower."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
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
    """How many times later than comparable answers of its siblings an answer begins."""
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
    seconds: float
    """How long the request had waited, or how long ago another answer of the endpoint began or
    ended, whichever is less.
    """
    size: int = 0
    """Of the request's body in bytes, which stands for the length of the prompt."""
    model: str | None = None
    """Models differ in speed, and one endpoint may serve several."""

    def resembles(self, other: Beginning) -> bool:
        """Whether it stands for as much work as `other`: the same model, as long a prompt."""
        return self.model == other.model and 2 * self.size >= other.size


@dataclass(slots=True)
class _Record:
    """What is known of one endpoint's answers."""

    recent: deque[Beginning] = field(default_factory=lambda: deque(maxlen=_RECENT))
    slow: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of the slow answers since the last quick one, each with its siblings' median."""
    last_at: float = 0.0
    """When the last of those began."""


class Slowness:
    """Finds the endpoint whose answers begin much later than those of its siblings. No I/O.

    Like is compared with like: first bytes of streamed answers to the same model, recent, with at
    least half as long a prompt on the sibling's side.

    The time in a backend's queue is left out. A server with a limited number of slots begins the
    next answer when one ends, so that only the time since the endpoint's last progress counts:
    see `Beginning.seconds`.

    One observation is one interval. Of slow answers whose intervals overlap only the first counts,
    so that a pause that a hundred requests wait out is seen once; and one quick answer clears the
    endpoint. What remains are queues that others fill unseen (other workers, other clients).
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
        record.recent.append(beginning)
        if beginning.seconds <= options.floor_s:
            record.slow.clear()
            return None
        others = self._comparable(beginning, siblings)
        if len(others) < options.peers:
            return None
        usual_s = median(others)
        if beginning.seconds <= options.factor * usual_s:
            record.slow.clear()
            return None
        began_at = beginning.at - beginning.seconds
        if record.slow and began_at < record.last_at:
            return None
        if record.slow and began_at > record.last_at + options.memory_s:
            record.slow.clear()
        record.slow.append((beginning.seconds, usual_s))
        record.last_at = beginning.at
        if len(record.slow) < options.answers:
            return None
        own, their = zip(*record.slow, strict=True)
        record.slow.clear()
        return median(own), median(their)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop what is known of endpoints that are gone or begin anew."""
        for key in keys:
            self._records.pop(key, None)

    def _comparable(self, beginning: Beginning, siblings: Iterable[str]) -> list[float]:
        """Seconds of the siblings' recent answers to such a request."""
        since = beginning.at - beginning.seconds - self._options.recent_s
        return [
            other.seconds
            for sibling in siblings
            if (record := self._records.get(sibling)) is not None
            for other in record.recent
            if other.at >= since
            and other.resembles(beginning)
        ]
