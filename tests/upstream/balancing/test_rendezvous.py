"""Rendezvous hashing with bounded load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Candidate
from gateway.upstream.balancing.rendezvous import with_room
from tests.support.endpoints import Server

any_weights = st.floats(1e-6, 1e6)


@given(st.lists(st.tuples(any_weights, st.integers(0, 2**31)), min_size=1, max_size=64))
def test_somebody_always_has_room(found: list[tuple[float, int]]) -> None:
    candidates: list[Candidate] = [Server(str(n), *one) for n, one in enumerate(found)]
    assert with_room(candidates)
