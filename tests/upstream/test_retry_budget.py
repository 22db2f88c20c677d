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
            budget.deposit()
            requests += 1
        assert retries <= 3 + 0.2 * requests + 1e-9


def test_what_is_saved_up_is_bounded() -> None:
    budget = RetryBudget()
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(1000)) == 100


def test_without_a_reserve_a_retry_has_to_be_earned() -> None:
    budget = RetryBudget(share=0.5, reserve=0.0)
    assert not budget.withdraw()
    budget.deposit()
    budget.deposit()
    assert budget.withdraw()
    assert not budget.withdraw()
