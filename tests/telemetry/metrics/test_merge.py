"""Putting workers together: nothing that only grows ever falls, whoever dies."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.merge import Buckets, Merge, Merged
from gateway.telemetry.metrics.registry import OTHER, Registry, Snapshot


def counted(requests: int, *, tenant: str = "a", first_s: float | None = None) -> Snapshot:
    registry = Registry()
    registry.count(table.TENANT_REQUESTS, tenant, "2xx").value += requests
    if first_s is not None:
        registry.distribution(table.TENANT_FIRST_TOKEN, tenant).add(first_s, "ab")
    return registry.snapshot()


def total(merged: Merged) -> float:
    values = merged.get(table.TENANT_REQUESTS.name, {}).values()
    return sum(value for value in values if isinstance(value, float))


def test_counters_and_histograms_of_workers_are_added() -> None:
    merged = Merge(10).merge(
        {0: ("x", counted(3, first_s=0.002)), 1: ("y", counted(4, first_s=0.003))}
    )
    assert total(merged) == 7
    first = merged[table.TENANT_FIRST_TOKEN.name]["a",]
    assert isinstance(first, Buckets)
    assert (first.count, round(first.sum, 3), first.counts[1]) == (2, 0.005, 2)


def test_a_worker_that_died_keeps_what_it_told() -> None:
    merge = Merge(10)
    merge.merge({0: ("x", counted(3)), 1: ("y", counted(4))})
    assert total(merge.merge({0: ("x", counted(5)), 1: None})) == 9
    assert total(merge.merge({0: ("x", counted(5)), 1: ("z", counted(1))})) == 10
    assert total(merge.merge({0: ("x", counted(5)), 1: ("z", counted(2))})) == 11
    assert merge.starts == {0: 1, 1: 2}


def test_gauges_are_those_of_workers_that_answer() -> None:
    merge = Merge(10)

    def told(lag_s: float, streams: int) -> Snapshot:
        return {
            table.LOOP_LAG.name: [[["0"], lag_s]],
            table.CONNECTIONS.name: [[[], streams]],
        }

    both = merge.merge({0: ("x", told(0.2, 3)), 1: ("y", told(0.1, 4))})
    assert both[table.CONNECTIONS.name] == {(): 7.0}
    assert both[table.LOOP_LAG.name] == {("0",): 0.2}
    one = merge.merge({0: None, 1: ("y", told(0.1, 4))})
    assert one[table.CONNECTIONS.name] == {(): 4.0}


def test_tenants_are_capped_in_all_workers_together() -> None:
    merge = Merge(2)
    told = {number: (str(number), counted(1, tenant=f"t{number}")) for number in range(5)}
    merged = merge.merge(dict(told))
    series = merged[table.TENANT_REQUESTS.name]
    assert series == {("t0", "2xx"): 1.0, ("t1", "2xx"): 1.0, (OTHER, "2xx"): 3.0}
    assert merge.merge(dict(told)) == merged


def test_more_tenants_are_told_apart_once_that_is_asked_for() -> None:
    merge = Merge(1)
    told = {number: (str(number), counted(1, tenant=f"t{number}")) for number in range(3)}
    merge.merge(dict(told))
    merge.tell_apart(3)
    assert len(merge.merge(dict(told))[table.TENANT_REQUESTS.name]) == 3


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["more", "more", "die", "silent", "die"])),
        max_size=40,
    )
)
def test_what_only_grows_never_falls(events: list[tuple[int, str]]) -> None:
    merge = Merge(10)
    lives: Counter[int] = Counter()
    now: Counter[int] = Counter()
    told_last: Counter[int] = Counter()
    before, gone = 0.0, 0
    for worker, event in events:
        if event == "more":
            now[worker] += 2
        elif event == "die":
            lives[worker] += 1
            gone += told_last[worker]  # what it counted since then is lost
            now[worker] = told_last[worker] = 0
        silent = worker if event == "silent" else None
        merged = merge.merge(
            {n: None if n == silent else (f"life {lives[n]}", counted(now[n])) for n in range(3)}
        )
        for n in range(3):
            if n != silent:
                told_last[n] = now[n]
        assert total(merged) >= before
        assert total(merged) == gone + sum(told_last.values())
        before = total(merged)
