"""The token bucket: a rate and a burst, as arithmetic on times. No clock and no I/O here."""

from __future__ import annotations

from dataclasses import dataclass

_SWEEP_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` tokens flow in each second, until the bucket holds `burst`."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a bucket said. `retry_after_s` is 0 when the request was admitted."""

    admitted: bool
    remaining: int
    retry_after_s: float


class Buckets:
    """Buckets by key, in memory. A bucket is one float: the time at which it will be full.

    That is the generic cell rate algorithm (ITU-T I.371) read as a leaky bucket; it admits exactly
    what a token bucket of the same rate and burst does, and never drifts.
    """

    __slots__ = ("_cost_s", "_depth_s", "_full_at", "_sweep_size", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._cost_s = 1.0 / rate.per_s
        self._depth_s = rate.burst * self._cost_s
        self._full_at: dict[str, float] = {}
        self._sweep_size = _SWEEP_SIZE

    def take(self, key: str, now: float) -> Decision:
        """Take one token if there is one. `now` is a monotonic time in seconds."""
        full_at = self._full_at
        level_at = full_at.get(key, now)
        if level_at < now:
            level_at = now
        after = level_at + self._cost_s
        wait_s = after - now - self._depth_s
        # Floating point: a wait below a nanosecond is none.
        if wait_s > 1e-9:
            return Decision(False, 0, wait_s)
        full_at[key] = after
        if len(full_at) > self._sweep_size:
            self._sweep(now)
        return Decision(True, int((self._depth_s - (after - now)) / self._cost_s + 1e-9), 0.0)

    def __len__(self) -> int:
        return len(self._full_at)

    def _sweep(self, now: float) -> None:
        """Forget full buckets: they are as good as new ones. Amortised over as many new keys."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._sweep_size = max(_SWEEP_SIZE, 2 * len(self._full_at))
