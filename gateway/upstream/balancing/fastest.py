"""Latency: the faster of two random endpoints, by what their latest answers took."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from gateway.upstream.balancing.balancer import Candidate, Hint
from gateway.upstream.speed import MovingAverage, Speed

Measure = Callable[[Speed], MovingAverage]


def first_token(speed: Speed) -> MovingAverage:
    """Return the time to the first event."""
    return speed.first_token


def next_token(speed: Speed) -> MovingAverage:
    """Return the time for each further token."""
    return speed.next_token


class Fastest:
    """Draw two endpoints and use the one that is expected to be faster: its average time, times
    the requests it would have in flight (peak EWMA, as in Finagle and Linkerd).

    An endpoint without an average, a new one or one that was not asked for a minute, is tried with
    one request; until that is answered, it counts as an average one.
    """

    def __init__(
        self,
        measure: Measure,
        *,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        """`draw` returns a random number from 0 up to its argument, exclusive."""
        self._measure = measure
        self._now = now
        self._draw = draw

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the index of the endpoint to use."""
        now, measure = self._now(), self._measure
        times = [measure(candidate.speed).at(now) for candidate in candidates]
        known = [value for value in times if value]
        usual = sum(known) / len(known) if known else 1.0
        for index, value in enumerate(times):
            if not value and known and not candidates[index].in_flight:
                return index
        count = len(candidates)
        if count < 2:
            return 0
        first = self._draw(count)
        second = (first + 1 + self._draw(count - 1)) % count

        def cost(index: int) -> float:
            candidate = candidates[index]
            return (times[index] or usual) * (candidate.in_flight + 1) / candidate.weight

        return second if cost(second) < cost(first) else first
