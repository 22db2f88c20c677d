"""An endpoint's health, from failure to recovery, without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.health import EndpointState, Health, HealthOptions

QUICK = HealthOptions(slow_start_s=0.0)


def broken(health: Health, now: float = 0.0) -> Health:
    """Ejected at that time."""
    health.eject(now, "test")
    return health


def test_it_is_healthy_until_it_fails_five_times_in_a_row() -> None:
    health = Health(HealthOptions())
    for _ in range(3):
        assert not any(health.failed(0.0) for _ in range(4))
        health.succeeded()
    assert [health.failed(0.0) for _ in range(5)] == [False] * 4 + [True]
    assert health.state(0.0) is EndpointState.HEALTHY  # who ejects is the upstream's to say


def test_an_ejection_lasts_30_s_then_60_s_and_at_most_300_s() -> None:
    health, now = Health(QUICK), 0.0
    lengths = []
    for _ in range(12):
        health.eject(now, "test")
        began = now
        while health.state(now) is EndpointState.EJECTED:
            now += 1.0
        lengths.append(now - began)
    assert lengths == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_after_an_ejection_it_has_to_prove_itself() -> None:
    health = broken(Health(QUICK))
    assert health.state(29.9) is EndpointState.EJECTED
    assert health.state(30.0) is EndpointState.PROBING
    assert [health.answered(31.0) for _ in range(3)] == [False, False, True]
    assert health.state(31.0) is EndpointState.HEALTHY


def test_one_failure_while_it_is_tried_is_enough() -> None:
    health = broken(Health(QUICK))
    health.answered(30.0)
    assert health.failed(31.0)
    health.eject(31.0, "again")
    assert health.state(31.0 + 59.9) is EndpointState.EJECTED
    assert health.state(31.0 + 60.0) is EndpointState.PROBING


def test_a_failure_between_probes_begins_their_count_anew_even_where_nobody_may_be_ejected() -> (
    None
):
    health = broken(Health(QUICK))
    assert [health.answered(30.0) for _ in range(2)] == [False, False]
    assert health.failed(30.0)  # and the upstream leaves it at that
    assert [health.answered(30.0) for _ in range(3)] == [False, False, True]


def test_answers_to_what_was_asked_before_do_not_let_it_in() -> None:
    health = broken(Health(QUICK))
    assert not any(health.answered(1.0) for _ in range(10))
    health.succeeded()
    assert not health.failed(1.0)
    assert health.state(1.0) is EndpointState.EJECTED


def test_its_share_grows_when_it_comes_back() -> None:
    health = broken(Health(HealthOptions(slow_start_s=10.0)))
    assert health.state(30.0) is EndpointState.PROBING
    for _ in range(3):
        health.answered(30.0)
    assert health.state(30.0) is EndpointState.WARMING
    shares = [round(health.share(30.0 + second), 6) for second in range(11)]
    assert shares == [0.1, 0.1, *(n / 10 for n in range(2, 11))]
    assert health.state(39.9) is EndpointState.WARMING
    assert health.state(40.0) is EndpointState.HEALTHY
    assert health.changes_at(35.0) == float("inf")


def test_a_long_time_without_failure_is_forgiving() -> None:
    health = Health(QUICK)
    for now in (0.0, 1000.0):
        for _ in range(2):
            health.eject(now, "test")
        health.state(now + 60.0)
        for _ in range(3):
            health.answered(now + 60.0)
        assert health.ejections == 2
    health.eject(1100.0, "soon after")
    assert health.ejections == 3


def test_checks_take_it_out_and_let_it_in_by_their_thresholds() -> None:
    health = Health(QUICK)
    said = [health.checked(0.0, "status 500") for _ in range(4)]
    assert said == [False, False, True, False]
    assert (health.state(0.0), health.why(0.0)) == (EndpointState.UNHEALTHY, "status 500")
    health.checked(0.0, None)
    health.checked(0.0, "no answer")  # one good check between does not count
    assert [health.checked(0.0, None) for _ in range(2)] == [False, True]
    assert health.state(0.0) is EndpointState.HEALTHY


def test_good_checks_end_an_ejection_too() -> None:
    health = broken(Health(QUICK))
    for failure in ("x", "x", "x", None, None):
        health.checked(1.0, failure)
    assert health.state(1.0) is EndpointState.HEALTHY


def test_a_pause_it_asked_for_is_no_ejection() -> None:
    health = Health(QUICK)
    health.cool(0.0, 10.0)
    health.cool(0.0, 5.0)
    assert health.state(9.9) is EndpointState.COOLING
    assert health.changes_at(5.0) == 10.0
    assert health.state(10.0) is EndpointState.HEALTHY
    assert health.ejections == 0


def test_what_an_operator_says_comes_first() -> None:
    health = broken(Health(QUICK))
    health.drain(out=True)
    assert (health.state(0.0), health.why(0.0)) == (
        EndpointState.DRAINING,
        "drained by an operator",
    )
    health.drain(out=False)
    assert health.state(0.0) is EndpointState.EJECTED
    assert health.why(10.0) == "test; 20 s left"


def test_time_passes_for_who_is_out_for_another_reason() -> None:
    health = broken(Health(QUICK))
    health.drain(out=True)
    assert health.state(30.0) is EndpointState.DRAINING
    assert health.changes_at(30.0) == float("inf")
    health.drain(out=False)
    assert health.state(30.0) is EndpointState.PROBING


@given(st.lists(st.sampled_from(["fail", "answer", "end", "wait", "check", "bad check", "cool"])))
def test_whatever_happens_it_comes_back_if_it_does_well_from_now_on(events: list[str]) -> None:
    health, now = Health(HealthOptions()), 0.0
    for event in events:
        if event == "fail" and health.failed(now):
            health.eject(now, "test")
        elif event == "answer":
            health.answered(now)
        elif event == "end":
            health.succeeded()
        elif event == "wait":
            now += 17.0
        elif event == "cool":
            health.cool(now, 20.0)
        elif "check" in event:
            health.checked(now, "bad" if "bad" in event else None)
        assert 0.1 <= health.share(now) <= 1.0
    for _ in range(1000):
        if health.state(now) is EndpointState.HEALTHY:
            break
        health.answered(now)
        health.succeeded()
        health.checked(now, None)
        now += 1.0
    assert health.state(now) is EndpointState.HEALTHY
