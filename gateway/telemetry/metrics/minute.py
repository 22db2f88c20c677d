"""Metrics of one period without labels: sums, maxima of gauges, and histograms.

Several can be joined into a longer period, of which rates and quantiles are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson


@dataclass(slots=True)
class Minute:
    """Metrics of a period, by the names that `minutes.py` gives them."""

    at: float
    """End of the period, in seconds since the epoch."""
    seconds: float
    counts: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    """Maxima. A gauge without a value is absent."""
    histograms: dict[str, list[int]] = field(default_factory=dict)
    """Number of values in each bucket. A histogram without values is absent."""

    def add(self, other: Minute) -> None:
        """Join another period into this one."""
        self.seconds += other.seconds
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + count
        for name, value in other.gauges.items():
            self.gauges[name] = max(value, self.gauges.get(name, value))
        for name, counts in other.histograms.items():
            mine = self.histograms.get(name) or [0] * len(counts)
            self.histograms[name] = [a + b for a, b in zip(mine, counts, strict=True)]

    def dump(self) -> bytes:
        """Return the stored form."""
        return orjson.dumps([self.at, self.seconds, self.counts, self.gauges, self.histograms])
