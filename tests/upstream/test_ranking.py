"""Ranking of endpoints by state and priority."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.load.turn_writes import TurnWrites
from gateway.upstream.address import parse_address
from gateway.upstream.dialer import Dialer
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState, Health, HealthOptions
from gateway.upstream.pool import EndpointPool
from gateway.upstream.ranking import Groups, ranked

S = EndpointState


def endpoint(name: str, priority: int = 0, *, slow: bool = False) -> Endpoint:
    health = Health(HealthOptions())
    health.slow = slow
    address = parse_address(f"http://{name}.test", None, None)
    return Endpoint(
        EndpointPool(Dialer(address), max_connections=1, keepalive_s=1.0, writes=TurnWrites()),
        health,
        full_weight=1,
        priority=priority,
        max_requests=1,
        fixed_lines=b"",
        name=name,
    )


def names(groups: Groups) -> list[str]:
    return [" ".join(each.key for each in group) for group in groups]


def test_lower_priorities_come_first_and_those_that_asked_for_a_pause_last() -> None:
    a, b, c, spare = endpoint("a"), endpoint("b"), endpoint("c"), endpoint("spare", 1)
    states = {spare: S.HEALTHY, a: S.HEALTHY, b: S.COOLING, c: S.WARMING}
    assert names(ranked(states, 0.5).in_service) == ["a c", "spare", "b"]


def test_what_is_out_of_service_is_a_last_resort_the_slow_ones_first() -> None:
    a, b, c = endpoint("a"), endpoint("b", slow=True), endpoint("c")
    found = ranked({c: S.UNHEALTHY, a: S.EJECTED, b: S.EJECTED}, 0.0)
    assert (names(found.in_service), names(found.last_resort)) == ([], ["b", "a", "c"])


def test_with_too_few_sound_endpoints_slow_ones_serve_again_then_those_that_failed() -> None:
    a, b, c, d = endpoint("a"), endpoint("b", slow=True), endpoint("c"), endpoint("d")
    states = {a: S.HEALTHY, b: S.EJECTED, c: S.EJECTED, d: S.UNHEALTHY}
    some, all_out = ranked(states, 0.5), ranked(states, 0.75)
    assert (some.panicking, names(some.in_service)) == (True, ["a b"])
    assert (all_out.panicking, names(all_out.in_service)) == (True, ["a b c"])
    assert names(all_out.last_resort) == ["d"]
    assert not ranked(states, 0.25).panicking


@given(st.lists(st.tuples(st.sampled_from(S), st.integers(0, 2), st.booleans())), st.floats(0, 1))
def test_every_endpoint_has_a_place_unless_it_is_drained(
    made: list[tuple[EndpointState, int, bool]], panic: float
) -> None:
    states = {endpoint(f"e{n}", p, slow=slow): s for n, (s, p, slow) in enumerate(made)}
    found = ranked(states, panic)
    served = [each for group in found.in_service for each in group]
    kept = [each for group in found.last_resort for each in group]
    assert len(set(served)) == len(served)
    assert {*served, *kept} == {each for each, state in states.items() if state is not S.DRAINING}
    assert all(found.in_service) and all(found.last_resort)  # noqa: PT018
