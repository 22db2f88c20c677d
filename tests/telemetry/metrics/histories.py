"""Histories of metrics whose rates are known."""

from __future__ import annotations

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import STEP_S, History
from gateway.telemetry.metrics.merge import Buckets, Merged

BOUNDS = table.FIRST_TOKEN.buckets


def merged(requests: float, *, failed: float = 0.0, firsts: int = 0, streams: int = 0) -> Merged:
    """Return the merged metrics of all workers at one time."""
    counts = [0] * (len(BOUNDS) + 1)
    counts[8] = firsts
    labels = ("chat", "openai", "m", "mm", "r", "u")
    return {
        table.REQUESTS.name: {
            ("r", "m", "u", "2xx", "complete"): requests,
            ("other", "", "", "5xx", "complete"): failed,
        },
        table.FIRST_TOKEN.name: {labels: Buckets(0.2 * firsts, counts)},
        table.ACTIVE_STREAMS.name: {("r", "m", "u"): float(streams)},
    }


def filled(steps: int, per_step: float = 10.0) -> History:
    """Return a history of so many steps, with 10 requests and one failure in each."""
    history = History()
    for number in range(steps + 1):
        history.add(
            1e9 + number * STEP_S,
            merged(number * per_step, failed=number, firsts=number, streams=number),
        )
    return history
