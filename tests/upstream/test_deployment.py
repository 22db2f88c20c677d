"""Load and quota of a deployment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.deployment import Quota

MINUTE = (1.0, 60.0)  # 60/minute


def test_a_quota_allows_what_is_left_of_its_requests() -> None:
    quota = Quota((0.1, 2.0), None)
    for _ in range(2):
        assert quota.allows(0, 100.0)
        quota.spend(0, 100.0)
    assert not quota.allows(0, 100.0)
    assert quota.allows(0, 110.0)


def test_a_quota_allows_a_request_whose_tokens_are_left() -> None:
    quota = Quota(None, MINUTE)
    quota.spend(50, 100.0)
    assert quota.allows(10, 100.0)
    assert not quota.allows(11, 100.0)


def test_a_request_of_more_tokens_than_the_quota_has_is_allowed_while_it_is_unused() -> None:
    quota = Quota(None, MINUTE)
    assert quota.allows(1000, 100.0)
    quota.spend(1, 100.0)
    assert not quota.allows(1000, 100.0)


def test_tokens_that_were_not_used_are_given_back() -> None:
    quota = Quota(None, MINUTE)
    quota.spend(60, 100.0)
    assert not quota.allows(30, 100.0)
    quota.correct(-40, 100.0)
    assert quota.allows(30, 100.0)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=60))
def test_no_more_is_spent_than_the_rate_grants(asked: list[tuple[float, int]]) -> None:
    quota, now, spent = Quota(None, MINUTE), 1000.0, 0
    for pause_s, tokens in asked:
        now += pause_s
        if quota.allows(tokens, now):
            quota.spend(tokens, now)
            spent += tokens
    assert spent <= 60 + (now - 1000.0) + 0.01


def test_without_rates_everything_is_allowed() -> None:
    quota = Quota(None, None)
    quota.spend(10**9, 1.0)
    assert quota.allows(10**9, 1.0)
