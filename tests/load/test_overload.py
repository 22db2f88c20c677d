"""How much a process takes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.load.overload import BodyBudget, Overload


def test_no_request_is_admitted_while_there_is_too_little_memory() -> None:
    overload = Overload(10, max_memory_bytes=1)
    overload.measure()
    assert (overload.admitted, overload.reason) == (0, "memory")
    overload.set_caps(20, max_memory_bytes=10**15)
    assert (overload.admitted, overload.reason) == (20, None)
    overload.requests = 21
    assert overload.reason == "requests"


def test_a_caller_holds_half_of_the_memory_for_bodies() -> None:
    budget = BodyBudget(100)
    assert budget.take(40, "a")
    assert not budget.take(20, "a")
    assert budget.take(10, "a")
    assert budget.take(50, "b")
    assert not budget.take(1, "c")
    budget.give_back(50, "b")
    assert budget.take(20, "c")
    assert budget.refused == 2


def test_one_body_always_fits() -> None:
    budget = BodyBudget(100)
    assert budget.take(1000, "a")
    assert not budget.take(1, "b")
    budget.give_back(1000, "a")
    assert budget.take(1, "b")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60)), max_size=20))
def test_what_is_given_back_leaves_nothing_held(bodies: list[tuple[str, int]]) -> None:
    budget = BodyBudget(100)
    held = [(caller, size) for caller, size in bodies if budget.take(size, caller)]
    assert budget.held_bytes == sum(size for _, size in held)
    for caller, size in held:
        budget.give_back(size, caller)
    assert budget.held_bytes == 0
    assert budget.callers == 0
