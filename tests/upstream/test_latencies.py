"""How long answers take to begin: quantiles, and who is out of line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.latencies import Quantile, Slowness, SlownessOptions


@given(st.lists(st.floats(0.0, 100.0), min_size=20, max_size=600))
def test_a_quantile_is_that_of_the_last_256(values: list[float]) -> None:
    quantile = Quantile()
    for value in values:
        quantile.add(value)
    recent = sorted(values[-256:])
    assert quantile.at(0.95) == recent[min(len(recent) - 1, int(0.95 * len(recent)))]
    assert quantile.at(0.0) == recent[0]
    assert quantile.at(1.0) == recent[-1]


def test_a_quantile_of_few_is_not_told() -> None:
    quantile = Quantile()
    for _ in range(19):
        quantile.add(1.0)
    assert quantile.at(0.95) is None


ALL = frozenset({"a", "b", "c"})


def filled(times: dict[str, float], count: int = 10) -> Slowness:
    slowness = Slowness(SlownessOptions())
    for key, seconds in times.items():
        for _ in range(count):
            slowness.add(key, seconds)
    return slowness


def test_who_takes_much_longer_than_the_others_is_slow() -> None:
    slowness = filled({"a": 0.1, "b": 0.12, "c": 2.0})
    assert slowness.outliers(0.0, ALL) == {"c": (2.0, 0.11)}


def test_two_are_compared_with_each_other() -> None:
    assert filled({"a": 0.1, "b": 2.0}).outliers(0.0, ALL) == {"b": (2.0, 0.1)}


def test_nobody_is_slow_when_all_are() -> None:
    assert filled({"a": 5.0, "b": 6.0, "c": 7.0}).outliers(0.0, ALL) == {}


def test_below_the_floor_nobody_is_slow() -> None:
    assert filled({"a": 0.001, "b": 0.4}).outliers(0.0, ALL) == {}


def test_few_requests_are_no_evidence_and_are_kept_until_they_are() -> None:
    slowness = filled({"a": 0.1, "b": 2.0}, count=4)
    assert slowness.outliers(0.0, ALL) == {}
    for key, seconds in (("a", 0.1), ("b", 2.0)):
        slowness.add(key, seconds)
    assert slowness.outliers(1.0, ALL) == {"b": (2.0, 0.1)}


def test_one_alone_is_never_slow() -> None:
    assert filled({"a": 50.0}).outliers(0.0, ALL) == {}


def test_who_is_out_already_is_not_looked_at() -> None:
    assert filled({"a": 0.1, "b": 0.1, "c": 2.0}).outliers(0.0, frozenset({"a", "b"})) == {}


def test_it_looks_once_a_second() -> None:
    slowness = filled({"a": 0.1, "b": 0.1})
    assert slowness.due(0.0)
    slowness.outliers(10.0, ALL)
    assert not slowness.due(10.9)
    assert slowness.due(11.0)
