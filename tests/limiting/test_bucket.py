"""The token bucket, as arithmetic."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limiting.bucket import Buckets, Rate

rates = st.builds(Rate, per_s=st.floats(0.001, 1000), burst=st.integers(1, 50))
gaps_s = st.lists(st.floats(0, 100), min_size=1, max_size=200)


@given(rates, gaps_s)
def test_it_never_admits_more_than_its_burst_and_what_flowed_in(
    rate: Rate, gaps: list[float]
) -> None:
    buckets = Buckets(rate)
    times = list(itertools.accumulate(gaps))
    admitted = [now for now in times if buckets.take("k", now).admitted]
    for first, last in itertools.combinations_with_replacement(range(len(admitted)), 2):
        span_s = admitted[last] - admitted[first]
        assert last - first + 1 <= rate.burst + rate.per_s * span_s + 1e-6


@given(rates)
def test_a_new_bucket_holds_its_burst_and_no_more(rate: Rate) -> None:
    buckets = Buckets(rate)
    decisions = [buckets.take("k", 5.0) for _ in range(rate.burst + 1)]
    assert [decision.admitted for decision in decisions] == [True] * rate.burst + [False]
    assert [decision.remaining for decision in decisions[:-1]] == list(range(rate.burst))[::-1]


@given(rates)
def test_it_refills_exactly(rate: Rate) -> None:
    buckets = Buckets(rate)
    while buckets.take("k", 0.0).admitted:
        pass
    full_s = rate.burst / rate.per_s
    again = 0
    while buckets.take("k", full_s + 1e-9 * max(1.0, full_s)).admitted:
        again += 1
    assert again == rate.burst


@given(rates, gaps_s)
def test_whoever_waits_as_told_is_admitted(rate: Rate, gaps: list[float]) -> None:
    buckets = Buckets(rate)
    now = 0.0
    for gap in gaps:
        now += gap
        decision = buckets.take("k", now)
        if not decision.admitted:
            assert decision.retry_after_s > 0
            now += decision.retry_after_s * (1 + 1e-9) + 1e-9
            assert buckets.take("k", now).admitted


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_keys_do_not_touch_each_other(keys: list[str]) -> None:
    rate = Rate(1.0, 3)
    together, alone = Buckets(rate), {key: Buckets(rate) for key in "abc"}
    for key in keys:
        assert together.take(key, 1.0) == alone[key].take(key, 1.0)


def test_full_buckets_are_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 1))
    for number in range(100_000):
        buckets.take(f"k{number}", number * 0.01)
    assert len(buckets) < 10_000


def test_a_clock_that_stands_still_refills_nothing() -> None:
    buckets = Buckets(Rate(10.0, 2))
    assert [buckets.take("k", 1.0).admitted for _ in range(4)] == [True, True, False, False]
    assert buckets.take("k", 1.0).retry_after_s == pytest.approx(0.1)
