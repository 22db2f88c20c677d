"""Endpoints as a balancing policy sees them, whose requests in flight a test sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.speed import Speed


@dataclass(slots=True)
class Server:
    """Candidate for a balancing policy."""

    key: str
    weight: float = 1.0
    in_flight: int = 0
    speed: Speed = field(default_factory=Speed)
    cost: float = 1.0


def servers(count: int, *, weights: Sequence[float] = ()) -> list[Server]:
    """Return idle servers, of weight 1 unless `weights` are given."""
    return [
        Server(f"http://10.0.0.{number}:8000", weights[number] if weights else 1.0)
        for number in range(count)
    ]


def picked(balancer: Balancer, candidates: Sequence[Server], hint: Hint) -> str:
    """Return the key of the picked candidate."""
    return candidates[balancer.pick(candidates, hint)].key


def has_room(server: Server, candidates: Sequence[Server], slack: str = "1.25") -> bool:
    """Tell whether in_flight + 1 <= ceil(slack * (all in flight + 1) * share of the weights),
    computed exactly.
    """
    requests = sum(one.in_flight for one in candidates) + 1
    share = Fraction(server.weight) / sum(Fraction(one.weight) for one in candidates)
    return server.in_flight + 1 <= -(-Fraction(slack) * requests * share // 1)


whole_weights = st.integers(1, 10).map(float)
crowds = st.lists(
    st.tuples(st.integers(0, 200), whole_weights, st.integers(0, 30)),
    min_size=1,
    max_size=12,
    unique_by=lambda found: found[0],
).map(
    lambda found: [
        Server(f"http://10.0.0.{number}:8000", weight, in_flight)
        for number, weight, in_flight in found
    ]
)
"""Strategy for some endpoints with integer weights and random loads."""
