"""How long backends take to begin: the p95 for hedging, and which endpoint is much slower."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

_WINDOW = 256
_ENOUGH = 20


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
    """When an endpoint is slow: compared with the median of its siblings. Times in seconds."""

    factor: float = 5.0
    floor_s: float = 0.5
    """Below that nobody is slow."""
    requests: int = 5
    """Of the endpoint, since the last look."""
    every_s: float = 1.0


@dataclass(slots=True)
class Slowness:
    """Collects times to first byte, and says now and then whose are out of line."""

    options: SlownessOptions
    _times_s: dict[str, deque[float]] = field(default_factory=dict)
    _look_at: float = 0.0

    def add(self, key: str, seconds: float) -> None:
        """A time of one endpoint."""
        times = self._times_s.get(key)
        if times is None:
            times = self._times_s[key] = deque(maxlen=_WINDOW)
        times.append(seconds)

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        return now >= self._look_at

    def outliers(self, now: float, keys: frozenset[str]) -> Mapping[str, tuple[float, float]]:
        """Of those endpoints, the slow ones, with their median and the others'. Begins anew."""
        options = self.options
        self._look_at = now + options.every_s
        medians = {
            key: median(times)
            for key, times in self._times_s.items()
            if key in keys and len(times) >= options.requests
        }
        for key in [key for key in self._times_s if key not in keys]:
            del self._times_s[key]
        if len(medians) < 2:
            return {}  # nobody to compare with
        slow = {}
        for key, own in medians.items():
            del self._times_s[key]
            others = median(value for other, value in medians.items() if other != key)
            if own > options.floor_s and own > options.factor * others:
                slow[key] = (own, others)
        return slow
