"""An upstream: equal endpoints, what to say to them, and which is next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.upstream.pool import EndpointPool


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds each phase may take."""

    first_byte_s: float
    idle_s: float


class Endpoint:
    """One address of an upstream, with its pool and its share."""

    __slots__ = ("base", "fixed_lines", "pool", "url", "weight")

    def __init__(self, pool: EndpointPool, weight: int, fixed_lines: bytes) -> None:
        self.pool = pool
        self.weight = weight
        self.url = pool.address.url
        self.base = pool.address.base.encode()
        self.fixed_lines = fixed_lines
        """Host, credentials and configured headers: the same on every request."""


class Upstream:
    """Equal endpoints. The one with the fewest requests for its weight is picked."""

    def __init__(
        self,
        name: str,
        endpoints: tuple[Endpoint, ...],
        timeouts: Timeouts,
        replaced: frozenset[bytes],
    ) -> None:
        self.name = name
        self.endpoints = endpoints
        self.timeouts = timeouts
        self.replaced = replaced
        """Lower-cased header names that `fixed_lines` sets: the client's own are dropped."""
        self._turn = 0

    def pick(self, avoid: Iterable[Endpoint] = ()) -> Endpoint | None:
        """The least busy endpoint that is not in `avoid`; ties take turns. None if none is left."""
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return None if endpoints[0] in avoid else endpoints[0]
        self._turn += 1
        best: Endpoint | None = None
        best_load = float("inf")
        count = len(endpoints)
        for offset in range(count):
            endpoint = endpoints[(self._turn + offset) % count]
            load = (endpoint.pool.in_use + 1) / endpoint.weight
            if load < best_load and endpoint not in avoid:
                best, best_load = endpoint, load
        return best

    def close(self) -> None:
        """Close idle connections; exchanges under way go on."""
        for endpoint in self.endpoints:
            endpoint.pool.close()
