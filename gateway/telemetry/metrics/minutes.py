"""Metrics of a period without labels: small enough to keep every minute of a week.

`History` makes one a minute; the local store, or memory where there is none, keeps them for eight
days: a week, and the day before it to compare.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import orjson

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import Step, Where, Window, quantile
from gateway.telemetry.metrics.instruments import Instrument
from gateway.telemetry.metrics.minute import Minute

AGE_S = 8 * 86400.0
"""Retention of minutes, in seconds."""
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_BAD_ENDS = frozenset({"upstream_reset", "timeout", "internal_error", "drain"})
_HISTOGRAMS = {"ttft": table.FIRST_TOKEN, "duration": table.HTTP_DURATION}
_GAUGES = {
    "active_streams": table.ACTIVE_STREAMS,
    "active_requests": table.ACTIVE_REQUESTS,
    "queue_depth": table.QUEUE_DEPTH,
    "loop_lag_s": table.LOOP_LAG,
    "memory_bytes": table.MEMORY,
}


def failed(labels: Mapping[str, str]) -> bool:
    """True if a request counted by `gateway_requests` failed, and its client did not cause it."""
    return labels["code"] == "5xx" or labels["end"] in _BAD_ENDS


def of_type(kind: str) -> Where:
    """Select tokens of a type: `input` or `output`."""
    return lambda labels: labels["type"] == kind


def refused(labels: Mapping[str, str]) -> bool:
    """True if a limit refused the request."""
    return labels["decision"] == "refused"


def _anything(_: Mapping[str, str]) -> bool:
    return True


_COUNTS: Mapping[str, tuple[Instrument, Where]] = {
    "requests": (table.REQUESTS, _anything),
    "errors": (table.REQUESTS, failed),
    "tokens_in": (table.TOKENS, of_type("input")),
    "tokens_out": (table.TOKENS, of_type("output")),
    "limited": (table.LIMIT_DECISIONS, refused),
}


NAMES = (
    *(f"{name}_per_s" for name in _COUNTS),
    *_GAUGES,
    *(f"{name}_{share}_s" for name in _HISTOGRAMS for share in _SHARES),
)
"""Names of the values of a period."""


def minute_of(step: Step) -> Minute:
    """Return the metrics of a step without their labels. They are computed once."""
    if step.minute is None:
        step.minute = _minute_of(step)
    return step.minute


def _minute_of(step: Step) -> Minute:
    window = Window([step])
    counts = {name: window.total(*what) for name, what in _COUNTS.items()}
    histograms = {name: window.buckets(one) for name, one in _HISTOGRAMS.items()}
    return Minute(
        step.at,
        step.seconds,
        {name: count for name, count in counts.items() if count},
        {
            name: step.gauges[gauge.name]
            for name, gauge in _GAUGES.items()
            if gauge.name in step.gauges
        },
        {name: found for name, found in histograms.items() if found is not None},
    )


def parse(data: bytes) -> Minute:
    """Return a stored minute. Histograms with the buckets of another version are left out."""
    at, seconds, counts, gauges, histograms = orjson.loads(data)
    known = {
        name: found
        for name, found in histograms.items()
        if name in _HISTOGRAMS and len(found) == len(_HISTOGRAMS[name].buckets) + 1
    }
    return Minute(at, seconds, counts, gauges, known)


def values(minute: Minute | None) -> dict[str, float | None]:
    """Return rates, gauges and quantiles of a period by `NAMES`; all None without a period."""
    if minute is None or not minute.seconds:
        return dict.fromkeys(NAMES)
    found: dict[str, float | None] = {
        f"{name}_per_s": minute.counts.get(name, 0.0) / minute.seconds for name in _COUNTS
    }
    for name in _GAUGES:
        found[name] = minute.gauges.get(name)
    for name, instrument in _HISTOGRAMS.items():
        counts = minute.histograms.get(name)
        for word, share in _SHARES.items():
            found[f"{name}_{word}_s"] = (
                None if counts is None else quantile(share, instrument.buckets, counts)
            )
    return found


def joined(
    minutes: Sequence[Minute], ends: Sequence[float], step_s: float
) -> list[dict[str, float | None]]:
    """Return the values of periods of `step_s` seconds that end at `ends`, a step apart."""
    whole: list[Minute | None] = [None] * len(ends)
    first = ends[0] - step_s if ends else 0.0
    for one in minutes:
        place = int((one.at - one.seconds / 2 - first) // step_s)
        if 0 <= place < len(ends):
            known = whole[place]
            if known is None:
                known = whole[place] = Minute(one.at, 0.0)
            known.add(one)
    return [values(one) for one in whole]


def covering(minutes: Sequence[Minute], times: Sequence[float]) -> list[dict[str, float | None]]:
    """Return the values of the minute in which each time is. `minutes` is sorted."""
    ends = [one.at for one in minutes]
    found = []
    for time in times:
        place = bisect_left(ends, time)
        one = minutes[place] if place < len(minutes) else None
        found.append(values(one if one is not None and time > one.at - one.seconds else None))
    return found


class MinuteLog(Protocol):
    """Storage of minutes for `AGE_S`."""

    def add(self, minute: Minute) -> None:
        """Store a minute. Never blocks."""

    def read(self, since: float, until: float) -> list[Minute]:
        """Return the minutes that end after `since` and not after `until`, oldest first. May
        block. Raise OSError or sqlite3.Error.
        """


class MinutesInMemory:
    """Minutes of a gateway without a local store. They are lost when it restarts."""

    def __init__(self) -> None:
        self._found: deque[tuple[float, bytes]] = deque(maxlen=int(AGE_S / 60))

    def add(self, minute: Minute) -> None:
        # As bytes: a tenth of the memory, and nothing for the garbage collector to scan.
        self._found.append((minute.at, minute.dump()))

    def read(self, since: float, until: float) -> list[Minute]:
        return [parse(data) for at, data in list(self._found) if since < at <= until]
