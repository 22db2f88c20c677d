"""Weighted rendezvous hashing with bounded load: every worker and replica maps a key alike.

Sources: rendezvous hashing (Thaler, Ravishankar 1996), weights (Schindelhauer, Schomaker 2005),
bounded load (Mirrokni, Thorup, Zadimoghaddam 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import inf, log

from gateway.upstream.balancing.balancer import Candidate

SLACK = 1.25
"""Factor by which an endpoint may exceed its share of the requests in flight."""

_PRIME = (1 << 61) - 1
_CACHED = 4096


def digest(key: str) -> int:
    """Return a 64-bit hash of any string. `hash()` will not do: its seed differs by process."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def with_room(candidates: Sequence[Candidate], slack: float = SLACK) -> list[int]:
    """Return the indexes of the endpoints that may take one more request.

    An endpoint may if in_flight + 1 <= ceil(slack * (all in flight + 1) * its share of the
    weights). At least one may if `slack` is above 1.
    """
    seen = [(candidate.in_flight, candidate.weight) for candidate in candidates]
    requests, weights = 1, 0.0
    for in_flight, weight in seen:
        requests += in_flight
        weights += weight
    # n + 1 <= ceil(x) is the same as n < x. Multiplied out, the test is exact for integer weights.
    bound = slack * requests
    return [
        index
        for index, (in_flight, weight) in enumerate(seen)
        if in_flight * weights < bound * weight
    ]


class Rendezvous:
    """An order of preference among all endpoints for every key; the first one present gets the key.

    When an endpoint leaves, only its own keys move. When one joins or gains weight, it takes a
    proportional part of the keys of each other endpoint.
    """

    def __init__(self) -> None:
        self._lines: dict[str, tuple[int, int]] = {}
        """Factor and offset of the hash function, by endpoint key."""

    def nearest(self, key: int, candidates: Sequence[Candidate], among: Iterable[int]) -> int:
        """Return the index in `among` that the key prefers."""
        # Each endpoint has its own hash of the key, (factor * key + offset) modulo a prime. That is
        # three times as fast as a digest of key and endpoint together.
        lines = self._lines
        best, least = -1, inf
        for index in among:
            candidate = candidates[index]
            factor, offset = lines.get(candidate.key) or self._line(candidate.key)
            # Exponentially distributed with the weight as its rate, so that an endpoint has the
            # least cost with a probability proportional to its weight.
            cost = -log(((factor * key + offset) % _PRIME + 1) / _PRIME) / candidate.weight
            if cost < least:
                best, least = index, cost
        return best

    def _line(self, name: str) -> tuple[int, int]:
        if len(self._lines) >= _CACHED:
            self._lines.clear()
        drawn = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        factor, offset = int.from_bytes(drawn[:8]), int.from_bytes(drawn[8:])
        line = (factor % (_PRIME - 1) + 1, offset % _PRIME)
        self._lines[name] = line
        return line
