"""The retry budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.retry_budget import RetryBudget


@given(st.lists(st.booleans(), max_size=500))
def test_retries_never_exceed_a_fifth_of_the_requests_and_three(asks: list[bool]) -> None:
    budget = RetryBudget()
    requests = retries = 0
    for ask in asks:
        if ask:
            retries += budget.withdraw()
        else:
            budget.requests += 1
            requests += 1
        assert retries <= 3 + 0.2 * requests + 1e-9


def test_what_is_saved_up_is_bounded() -> None:
    budget = RetryBudget()
    budget.requests += 10_000
    assert sum(budget.withdraw() for _ in range(1000)) == 100


def test_without_a_reserve_a_retry_has_to_be_earned() -> None:
    budget = RetryBudget(share=0.5, reserve=0.0)
    assert not budget.withdraw()
    budget.requests += 2
    assert budget.withdraw()
    assert not budget.withdraw()


def test_requests_before_a_new_share_earn_the_old_one() -> None:
    budget = RetryBudget(share=0.5, reserve=0.0)
    budget.requests += 4
    budget.grant(0.0)
    budget.requests += 100
    assert budget.balance == 2.0
