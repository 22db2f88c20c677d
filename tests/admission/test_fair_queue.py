"""Who is next."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.fair_queue import Entry, FairQueue

tenants = st.sampled_from(["a", "b", "c"])


def order(queue: FairQueue) -> list[str]:
    """All tenants, as their turns come."""
    found = []
    while (entry := queue.next()) is not None:
        found.append(entry.tenant)
    return found


def test_one_tenant_is_first_come_first_served() -> None:
    queue = FairQueue()
    entries = [queue.add("a") for _ in range(5)]
    assert [queue.next() for _ in range(5)] == entries


def test_a_tenant_with_many_entries_delays_another_by_one_turn() -> None:
    queue = FairQueue()
    for _ in range(1000):
        queue.add("greedy")
    queue.add("modest")
    assert order(queue).index("modest") <= 1


def test_a_weight_is_a_share() -> None:
    queue = FairQueue()
    for _ in range(90):
        queue.add("heavy", weight=2)
        queue.add("light")
    first = Counter(order(queue)[:90])
    assert abs(first["heavy"] - 60) <= 1


def test_a_higher_priority_always_goes_first() -> None:
    queue = FairQueue()
    for _ in range(3):
        queue.add("low")
    for _ in range(3):
        queue.add("high", priority=1)
    assert order(queue) == ["high"] * 3 + ["low"] * 3


def test_idle_time_is_not_saved_up() -> None:
    queue = FairQueue()
    for _ in range(100):
        queue.add("busy")
    for _ in range(50):
        queue.next()
    for _ in range(10):
        queue.add("late")
    first = Counter(order(queue)[:10])
    assert abs(first["late"] - 5) <= 1


def test_a_position_is_how_many_go_before() -> None:
    queue = FairQueue()
    first, second = queue.add("a"), queue.add("b")
    assert (queue.position(first), queue.position(second)) == (0, 1)
    queue.remove(first)
    assert queue.position(second) == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), tenants, st.integers(0, 2)),
            st.tuples(st.just("next"), tenants, st.just(0)),
            st.tuples(st.just("remove"), tenants, st.integers(0, 30)),
        ),
        max_size=100,
    )
)
def test_every_entry_comes_out_once_or_was_removed(steps: list[tuple[str, str, int]]) -> None:
    queue = FairQueue()
    added: list[Entry] = []
    out: list[Entry] = []
    removed: list[Entry] = []
    for step, tenant, number in steps:
        if step == "add":
            added.append(queue.add(tenant, priority=number))
        elif step == "next":
            waiting = [entry for entry in added if entry.waiting]
            entry = queue.next()
            assert (entry is None) == (not waiting)
            if entry is not None:
                assert entry.priority == max(one.priority for one in waiting)
                out.append(entry)
        elif number < len(added):
            if added[number].waiting:
                removed.append(added[number])
            queue.remove(added[number])
        assert len(queue) == len(added) - len(out) - len(removed)
    while (entry := queue.next()) is not None:
        out.append(entry)
    assert len({id(entry) for entry in [*out, *removed]}) == len(added) == len(out) + len(removed)
