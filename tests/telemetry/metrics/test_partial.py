"""Counts that are added to several histograms later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.metrics.partial import PartialDistribution
from gateway.telemetry.metrics.registry import Distribution

BOUNDS = st.lists(st.integers(0, 20), unique=True, max_size=6).map(
    lambda bounds: tuple(map(float, sorted(bounds)))
)
VALUES = st.lists(st.integers(-1, 21).map(float))


@given(st.lists(BOUNDS, min_size=1, max_size=3), VALUES, VALUES, VALUES)
def test_each_histogram_counts_as_if_values_were_added_to_it(
    all_bounds: list[tuple[float, ...]],
    first: list[float],
    second: list[float],
    third: list[float],
) -> None:
    targets = [Distribution(bounds) for bounds in all_bounds]
    partial = PartialDistribution(*targets)
    for values in (first, second):
        partial.values += values
        partial.settle()
    partial.values += third
    partial.fold()
    assert partial.values == []
    partial.values += first
    partial.settle()
    for target in targets:
        expected = Distribution(target.bounds)
        for value in first + second + third + first:
            expected.add(value)
        assert (target.counts, target.sum) == (expected.counts, expected.sum)


def test_an_exemplar_is_kept_in_the_bucket_of_each_histogram() -> None:
    coarse, fine = Distribution((1.0,)), Distribution((1.0, 2.0, 3.0))
    PartialDistribution(coarse, fine).note(2.5, "trace")
    assert [*coarse.exemplars] == [1]
    assert [*fine.exemplars] == [2]
