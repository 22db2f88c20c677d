"""Counting in one worker: labels are closed, numbers are right."""

from __future__ import annotations

from bisect import bisect_left

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.registry import OTHER, SERIES_CAP, Family, Known, Registry


def test_a_metric_has_no_more_series_than_its_cap() -> None:
    registry = Registry()
    for number in range(10_000):
        registry.count(table.ERRORS, f"route-{number}", "up", "code").value += 1
    rows = registry.snapshot()[table.ERRORS.name]
    assert len(rows) == SERIES_CAP
    assert sum(value for _, value in rows) == 10_000
    beyond = 10_000 - (SERIES_CAP - 1)
    assert [(OTHER, OTHER, OTHER), beyond] in rows
    assert registry.overflows == {table.ERRORS.name: beyond}


def test_a_label_has_no_more_values_than_its_cap() -> None:
    known = Known(3)
    assert [known(name) for name in ("a", "b", "a", "c", "d", "b", "e")] == [
        *("a", "b", "a", "c", OTHER, "b", OTHER)
    ]


def test_what_is_known_of_a_label_outlives_a_reload() -> None:
    registry = Registry()
    assert registry.known("tenant", 2)("a") == "a"
    again = registry.known("tenant", 2)
    assert [again(name) for name in ("b", "c", "a")] == ["b", OTHER, "a"]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1000, allow_nan=False), max_size=50))
def test_values_lie_in_the_bucket_whose_bound_is_the_first_not_below_them(
    values: list[float],
) -> None:
    family = Family(table.HTTP_DURATION)
    series = family.find(("a",) * len(table.HTTP_DURATION.labels))
    for value in values:
        series.add(value)
    expected = [0] * (len(table.HTTP_DURATION.buckets) + 1)
    for value in values:
        expected[bisect_left(table.HTTP_DURATION.buckets, value)] += 1
    assert series.counts == expected
    assert sum(series.counts) == len(values)


def test_of_each_bucket_the_last_trace_is_kept() -> None:
    series = Registry().distribution(table.TENANT_FIRST_TOKEN, "a")
    series.add(0.002, "aa")
    series.add(0.003, "bb")
    series.add(0.003)
    series.add(400.0, "cc")
    kept = {index: one[:2] for index, one in series.exemplars.items()}
    assert kept == {1: ("bb", 0.003), len(series.bounds): ("cc", 400.0)}


def test_a_snapshot_can_be_told_as_json() -> None:
    registry = Registry()
    registry.distribution(table.TENANT_FIRST_TOKEN, "a").add(0.002, "aa")
    registry.count(table.TENANT_REQUESTS, "a", "2xx").value += 1
    told = orjson.loads(orjson.dumps(registry.snapshot()))
    assert told[table.TENANT_REQUESTS.name] == [[["a", "2xx"], 1]]
    labels, (total, counts, exemplars) = told[table.TENANT_FIRST_TOKEN.name][0]
    assert (labels, total, sum(counts)) == (["a"], 0.002, 1)
    assert exemplars[0][:3] == [1, "aa", 0.002]


class Deferred:
    """A subtotal that notes when it was settled."""

    def __init__(self, settled: list[Deferred]) -> None:
        self._settled = settled

    def settle(self) -> None:
        self._settled.append(self)


def test_what_was_deferred_is_settled_once_before_the_registry_is_read() -> None:
    registry, settled = Registry(), list[Deferred]()
    one = Deferred(settled)
    registry.defer(one)
    assert settled == []
    registry.snapshot()
    registry.snapshot()
    assert settled == [one]


def test_the_oldest_is_settled_if_too_much_is_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.telemetry.metrics.registry._UNSETTLED_CAP", 2)
    registry, settled = Registry(), list[Deferred]()
    first, second, third = (Deferred(settled) for _ in range(3))
    for one in (first, second, third):
        registry.defer(one)
    assert settled == [first]
    registry.settle()
    assert settled == [first, second, third]
