"""Quota that a provider reports in its answers: the remaining amount, and its renewal. No I/O.

Providers renew a quota continuously, so what is left grows from one answer to the next. A candidate
that is near its limit gets a smaller share of the requests, before the provider refuses any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_NEAR = 0.2
"""Share of a limit below which a candidate gets fewer requests."""
_STEPS = (1.0, 0.5, 0.25, 0.1, 0.05)
"""Factors on a weight. Few, so that a weight does not change with each answer."""
_UNTOLD_S = 60.0
"""Time in which a quota is renewed, if the provider does not tell: most count by the minute."""

_MOST_KINDS = 8
"""Number of quotas that are remembered: a backend chooses their names."""


@dataclass(frozen=True, slots=True)
class ReportedQuota:
    """Quota in the headers of an answer."""

    kind: str
    """Name of the quota, such as `requests`, `tokens` or `input-tokens`."""
    limit: float
    remaining: float
    reset_s: float | None = None
    """Time until the whole limit is available again, if the provider reports it."""


@dataclass(slots=True)
class _Window:
    limit: float
    remaining: float
    per_s: float
    at: float
    """Time of the report."""

    def left(self, now: float) -> float:
        return min(self.limit, self.remaining + self.per_s * max(0.0, now - self.at))


class ProviderQuota:
    """Latest quota of one credential and model. Every `now` is a time of one monotonic clock."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def learn(self, reported: Iterable[ReportedQuota], now: float) -> None:
        """Take what an answer reports."""
        for one in reported:
            is_new = one.kind not in self._windows
            if one.limit <= 0 or (is_new and len(self._windows) >= _MOST_KINDS):
                continue
            missing = max(0.0, one.limit - one.remaining)
            renewed_s = _UNTOLD_S if one.reset_s is None else max(one.reset_s, 0.001)
            self._windows[one.kind] = _Window(one.limit, one.remaining, missing / renewed_s, now)

    def spend(self, tokens: float) -> None:
        """Count a request that was sent since the last report."""
        for kind, window in self._windows.items():
            window.remaining -= 1.0 if kind == "requests" else tokens

    def allows(self, tokens: float, now: float) -> bool:
        """Tell whether enough is left for a request of so many tokens. The tokens of input or
        output alone are not known, so one has to be left.
        """
        for kind, window in self._windows.items():
            needed = max(1.0, tokens) if kind == "tokens" else 1.0
            if window.left(now) < min(needed, window.limit):
                return False
        return True

    def share(self, now: float) -> float:
        """Return the factor on a weight: 1 while enough is left, and less near a limit."""
        if not self._windows:
            return 1.0
        left = min(window.left(now) / window.limit for window in self._windows.values()) / _NEAR
        return next((step for step in _STEPS if left >= step), _STEPS[-1])

    def changes_at(self, now: float) -> float:
        """Return the time at which the share may have grown without a report."""
        return now + 1.0 if self._windows and self.share(now) < 1.0 else float("inf")
