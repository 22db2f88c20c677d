"""Durations and sizes as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (" 1s ", 1.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("64KiB", 65536), ("10MiB", 10485760), ("1GB", 10**9), ("5kB", 5000)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["", "30", 30, 1.5, None, "-1s", "1 s", "s", "1e3s", "1sec"])
def test_what_is_not_a_duration_is_told_what_is(value: object) -> None:
    with pytest.raises(ValueError, match="such as 500ms"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["", "10", 10, None, "1.5MiB", "-1B", "1 KiB", "10mib"])
def test_what_is_not_a_size_is_told_what_is(value: object) -> None:
    with pytest.raises(ValueError, match="such as 64KiB"):
        parse_size(value)


@given(st.integers(0, 10**9), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: tuple[str, float]) -> None:
    assert parse_duration(f"{number}{unit[0]}") == pytest.approx(number * unit[1])


@given(st.text())
def test_any_text_is_a_unit_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0
