"""Concurrency slots, compared with a model that looks at every slot each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.limiting.demand import Demand, Kind
from gateway.stores.memory.limits import MemoryLimits

SIZE = 3.0
steps = st.lists(
    st.tuples(
        st.sampled_from([Kind.LEASE, Kind.LEASE, Kind.RELEASE, Kind.RENEW]),
        st.sampled_from("abcd"),
        st.sampled_from([1.0, 5.0, 20.0]),
        st.sampled_from([0.0, 0.0, 0.5, 1.0, 4.0, 30.0]),
    ),
    max_size=60,
)


@given(steps)
def test_slots_are_held_until_they_expire_or_are_released(
    taken: list[tuple[Kind, str, float, float]],
) -> None:
    now = 0.0
    store = MemoryLimits(lambda: now)
    model: dict[str, float] = {}
    for kind, holder, ttl_s, gap_s in taken:
        now += gap_s
        model = {name: until for name, until in model.items() if until > now}
        store.decide_now([Demand(Kind.LEASE, "k", 0.0, SIZE)])  # drops what has expired
        demand = Demand(kind, "k", 1.0, SIZE, 0.0, ttl_s, holder)
        if kind is not Kind.LEASE:
            store.post([demand])
            if kind is Kind.RELEASE:
                model.pop(holder, None)
            elif holder in model:
                model[holder] = now + ttl_s
            continue
        verdict = store.decide_now([demand])
        assert verdict.admitted == (len(model) + 1 <= SIZE)
        if verdict.admitted:
            assert verdict.levels[0].remaining == SIZE - len(model) - 1
            model[holder] = now + ttl_s
        else:
            assert verdict.levels[0].wait_s == min(model.values()) - now


def test_all_slots_of_a_key_expire_at_once() -> None:
    now = 0.0
    store = MemoryLimits(lambda: now)
    for number in range(10_000):
        store.decide_now([Demand(Kind.LEASE, "k", 1.0, 1e9, 0.0, 60.0, f"h{number}")])
    now = 60.0
    assert store.decide_now([Demand(Kind.LEASE, "k", 0.0, 1e9)]).levels[0].remaining == 1e9
