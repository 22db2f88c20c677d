"""Which endpoint is next, by each policy that does not look into bodies."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.balancing.cheapest import Cheapest
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.fastest import Fastest, first_token
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from gateway.upstream.balancing.round_robin import RoundRobin
from gateway.upstream.balancing.weighted_random import Random
from tests.support.endpoints import Server

any_weights = st.floats(1e-6, 1e6)
hints = st.builds(
    Hint,
    key=st.none() | st.text(st.characters(exclude_categories=())),
    body=st.none() | st.binary() | st.binary().map(lambda rest: b'{"messages":["' + rest),
)


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.builds(Server, st.sampled_from("abcdefgh"), any_weights, st.integers(0, 2**31)),
                min_size=1,
                unique_by=lambda server: server.key,
            ),
            hints,
        ),
        max_size=10,
    )
)
def test_whatever_the_candidates_one_of_them_is_picked(
    calls: list[tuple[list[Server], Hint]],
) -> None:
    balancers: list[Balancer] = [
        LeastRequests(),
        RoundRobin(),
        Random(),
        ConsistentHash(),
        PrefixAffinity(),
        Fastest(first_token),
        Cheapest(),
    ]
    for candidates, hint in calls:
        for balancer in balancers:
            assert 0 <= balancer.pick(candidates, hint) < len(candidates)


_ELSEWHERE = """
from tests.support.endpoints import picked, servers
from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
for key in range(200):
    body = b'{"messages":[{"role":"user","content":"%d"}]}' % key
    print(picked(ConsistentHash(), servers(7), Hint(key=str(key))))
    print(picked(PrefixAffinity(), servers(7), Hint(body=body)))
"""


def test_processes_agree(request: pytest.FixtureRequest) -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=request.config.rootpath,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert len(set(next(iter(said)).split())) == 7
