"""The interface of a load-balancing policy: its input, and the method that picks an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.upstream.speed import Speed


class Candidate(Protocol):
    """An endpoint as a policy sees it. `in_flight` changes between calls; `weight` may change."""

    @property
    def key(self) -> str:
        """Identity of the endpoint, the same in every worker and replica: its name or URL."""

    @property
    def weight(self) -> float:
        """Current weight, above 0. Slow start may lower it."""

    @property
    def in_flight(self) -> int:
        """Requests that this worker has in flight at the endpoint."""

    @property
    def speed(self) -> Speed:
        """Speed of its latest answers."""

    @property
    def cost(self) -> float:
        """Cost relative to others."""


@dataclass(frozen=True, slots=True)
class Hint:
    """The parts of a request that a policy may look at."""

    key: str | None = None
    """Key for consistent hashing."""
    body: bytes | None = None
    """The JSON body, for prefix affinity. Bytes that are not JSON are accepted too."""


class Balancer(Protocol):
    """A load-balancing policy with its state. Each upstream has its own instance."""

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Return the index of the endpoint to use.

        `candidates` is never empty. It holds only endpoints that may be used now: unhealthy
        endpoints and those already tried are left out, so the sequence may differ from call to
        call. The weights in one tuple do not change: the caller makes a new one.
        """
