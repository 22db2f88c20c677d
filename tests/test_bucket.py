"""Token bucket: what it admits, and how long it makes callers wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bucket import TokenBucket


@given(st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 2), max_size=200))
def test_no_more_is_taken_than_the_burst_and_what_flowed_in(
    per_s: float, burst: int, pauses: list[float]
) -> None:
    bucket, now, taken = TokenBucket(per_s, burst), 1000.0, 0
    for pause_s in pauses:
        now += pause_s
        taken += not bucket.take(now)
    assert taken <= burst + (now - 1000.0) * per_s + 0.01


def test_the_burst_is_there_at_once_and_again_after_a_while() -> None:
    bucket = TokenBucket(10.0, 3)
    assert [not bucket.take(5.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(5.1)
    assert bucket.take(5.1)
    assert [not bucket.take(9.0) for _ in range(4)] == [True, True, True, False]


def test_a_refusal_says_when_the_next_token_comes_and_takes_none() -> None:
    bucket = TokenBucket(10.0, 1)
    assert bucket.take(5.0) == 0.0
    assert bucket.take(5.04) == pytest.approx(0.06)
    assert bucket.take(5.04) == pytest.approx(0.06)
    assert bucket.take(5.1) == 0.0


@given(st.floats(0.1, 100), st.integers(1, 50), st.lists(st.floats(-5, 20), max_size=50))
def test_what_is_spent_has_to_flow_in_again(per_s: float, burst: int, amounts: list[float]) -> None:
    bucket, debt = TokenBucket(per_s, burst), 0.0
    for amount in amounts:
        bucket.spend(1000.0, amount)
        debt = max(0.0, debt + amount)
    assert bucket.wait_s(1000.0) == pytest.approx(
        max(0.0, debt + 1 - burst) / per_s, rel=1e-3, abs=1e-3
    )
