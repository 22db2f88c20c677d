"""What every policy is given, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Candidate(Protocol):
    """What a policy sees of an endpoint. `in_flight` changes between calls; `weight` may."""

    @property
    def key(self) -> str:
        """Its stable identity, the same in every worker and replica: its URL."""

    @property
    def weight(self) -> float:
        """Its share as it is now, which a slow start may lower; above 0."""

    @property
    def in_flight(self) -> int:
        """Requests this worker has under way there."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a request brings that a policy may look at."""

    key: str | None = None
    """What consistent hashing hashes."""
    body: bytes | None = None
    """The JSON body, for prefix affinity. Any bytes will do."""


class Balancer(Protocol):
    """One policy, with what it has to remember; each upstream has its own."""

    def pick(self, candidates: Sequence[Candidate], hint: Hint) -> int:
        """Index of the one to use.

        `candidates` is never empty and has only endpoints that may be used now: what is unhealthy
        or was tried before is absent, so it may differ from call to call.
        """
