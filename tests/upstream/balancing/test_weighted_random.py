"""Weighted random: each endpoint gets its share."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.weighted_random import Random
from tests.support.endpoints import servers

NOTHING = Hint()
any_weights = st.floats(1e-6, 1e6)


def evenly(count: int) -> Callable[[], float]:
    """Draws that fall once into each of `count` equal parts."""
    return ((number + 0.5) / count for number in itertools.count()).__next__


@given(st.lists(any_weights, min_size=1, max_size=20))
def test_random_gives_each_its_share(weights: list[float]) -> None:
    candidates = servers(len(weights), weights=weights)
    balancer = Random(evenly(1000))
    found = Counter(balancer.pick(candidates, NOTHING) for _ in range(1000))
    for index, weight in enumerate(weights):
        assert abs(found[index] - 1000 * weight / sum(weights)) <= 2
