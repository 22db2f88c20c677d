"""The endpoint a key belongs to, in every worker and replica alike, as far as load allows.

Weighted rendezvous hashing (Thaler, Ravishankar 1996; Schindelhauer, Schomaker 2005) with bounded
load (Mirrokni, Thorup, Zadimoghaddam 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import inf, log

from gateway.upstream.balancing.balancer import Candidate

SLACK = 1.25
"""How much more than its share of what is in flight an endpoint may have."""

_PRIME = (1 << 61) - 1
_CACHED = 4096


def digest(key: str) -> int:
    """64 bits of any string. Never `hash()`: its seed is another in each process."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def with_room(candidates: Sequence[Candidate], slack: float = SLACK) -> list[int]:
    """Indexes of those that may get one more; there is at least one if `slack` is above 1.

    One may if in_flight + 1 <= ceil(slack * (all in flight + 1) * its share of the weights).
    """
    seen = [(candidate.in_flight, candidate.weight) for candidate in candidates]
    requests, weights = 1, 0.0
    for in_flight, weight in seen:
        requests += in_flight
        weights += weight
    # n + 1 <= ceil(x) is n < x; multiplied out, it is exact for whole weights.
    bound = slack * requests
    return [
        index
        for index, (in_flight, weight) in enumerate(seen)
        if in_flight * weights < bound * weight
    ]


class Rendezvous:
    """Every key has an order of preference among all endpoints; the first present one gets it.

    An endpoint that leaves gives up its own keys and no other changes place; one that joins, or
    gains weight, takes its share from each of the others.
    """

    def __init__(self) -> None:
        self._lines: dict[str, tuple[int, int]] = {}
        """Of each endpoint: factor and offset, from its key."""

    def nearest(self, key: int, candidates: Sequence[Candidate], among: Iterable[int]) -> int:
        """Which of the indexes in `among` this key prefers."""
        # Each endpoint has its own hash of the key, factor * key + offset modulo a prime: three
        # times as fast as a digest of both for each of them.
        lines = self._lines
        best, least = -1, inf
        for index in among:
            candidate = candidates[index]
            factor, offset = lines.get(candidate.key) or self._line(candidate.key)
            # Exponentially distributed with the weight as its rate: the least of several falls
            # to each by weight.
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
