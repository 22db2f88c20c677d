"""Durations and sizes as people write them."""

from __future__ import annotations

import contextlib
import re
from string import ascii_letters
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.config.units import Duration, Size, parse_duration, parse_size

DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZE_UNITS = {
    **{"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9},
    **{"KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
}


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


@given(st.integers(0, 10**9), st.sampled_from(sorted(DURATION_UNITS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * DURATION_UNITS[unit])


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(DURATION_UNITS)))
def test_a_duration_may_have_decimals(whole: int, thousandths: int, unit: str) -> None:
    expected = (whole + thousandths / 1000) * DURATION_UNITS[unit]
    assert parse_duration(f"{whole}.{thousandths:03}{unit}") == pytest.approx(expected)


@given(st.integers(0, 10**12), st.sampled_from(sorted(SIZE_UNITS)))
def test_a_size_is_its_number_times_its_unit_to_the_byte(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * SIZE_UNITS[unit]


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(sorted(DURATION_UNITS)))
def test_of_two_durations_in_one_unit_the_larger_number_is_longer(a: int, b: int, u: str) -> None:
    assert (parse_duration(f"{a}{u}") < parse_duration(f"{b}{u}")) == (a < b)


@given(st.integers(0, 10**6), st.text(ascii_letters, max_size=4))
def test_a_number_with_anything_but_a_unit_is_refused(number: int, word: str) -> None:
    for parse, units in ((parse_duration, DURATION_UNITS), (parse_size, SIZE_UNITS)):
        if word not in units:
            with pytest.raises(ValueError, match="write a"):
                parse(f"{number}{word}")


@given(st.text())
def test_any_text_is_a_unit_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(ValueError):
            assert parse(text) >= 0


@pytest.mark.parametrize(("kind", "units"), [(Duration, DURATION_UNITS), (Size, SIZE_UNITS)])
def test_the_schema_accepts_what_the_gateway_does(kind: Any, units: dict[str, float]) -> None:
    adapter = TypeAdapter[float](kind)
    pattern = re.compile(adapter.json_schema()["pattern"])
    for unit in units:
        assert pattern.search(f"30{unit}")
        assert adapter.validate_python(f"30{unit}") == pytest.approx(30 * units[unit])
    for wrong in ("30", "", "30 apples", "-1s", "-1B", "x30s", "30sx", "30Bx"):
        assert not pattern.search(wrong)
        with pytest.raises(ValueError, match="not a"):
            adapter.validate_python(wrong)
