"""Averages of what the latest answers of a backend took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.speed import MovingAverage


def test_an_average_is_unknown_until_there_is_a_value_and_a_minute_after_the_last() -> None:
    average = MovingAverage()
    assert average.at(0.0) == 0.0
    average.add(2.0, 10.0)
    assert average.at(69.0) == 2.0
    assert average.at(71.0) == 0.0


def test_a_slow_answer_counts_at_once_and_fast_ones_bit_by_bit() -> None:
    average = MovingAverage()
    average.add(1.0, 0.0)
    average.add(5.0, 1.0)
    assert average.at(1.0) == 5.0
    average.add(0.0, 2.0)
    assert average.at(2.0) == pytest.approx(4.0)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=50))
def test_an_average_is_between_the_least_and_the_greatest_value(values: list[float]) -> None:
    average = MovingAverage()
    for at, value in enumerate(values):
        average.add(value, at / 100)
    assert min(values) * 0.999 <= average.at(len(values) / 100) <= max(values) * 1.001
