"""Cache-Control as RFC 9111 describes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.response_cache.directives import (
    RequestDirectives,
    age_s,
    lifetime_s,
    request_directives,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("no-store", RequestDirectives(no_store=True)),
        ("No-Cache, foo", RequestDirectives(no_cache=True)),
        ('max-age="30"', RequestDirectives(max_age_s=30.0)),
        ("max-age=30, max-age=60", RequestDirectives(max_age_s=30.0)),
        ("max-age=soon", RequestDirectives(max_age_s=0.0)),
        ("max-age=-1", RequestDirectives(max_age_s=0.0)),
        ("max-age=99999999999999", RequestDirectives(max_age_s=2.0**31)),
        (f"max-age={'9' * 5000}", RequestDirectives(max_age_s=2.0**31)),
        (f"max-age={'0' * 5000}7", RequestDirectives(max_age_s=7.0)),
        ("min-fresh=5,max-stale", RequestDirectives(min_fresh_s=5.0)),
        ('ext="no-store"', RequestDirectives()),
        ("", RequestDirectives()),
    ],
)
def test_directives_of_requests(value: str, expected: RequestDirectives) -> None:
    assert request_directives([value]) == expected


def test_pragma_counts_only_without_cache_control() -> None:
    assert request_directives([], "no-cache").no_cache
    assert not request_directives(["max-age=5"], "no-cache").no_cache


@pytest.mark.parametrize(
    ("value", "shared_s", "private_s"),
    [
        ("", 100.0, 100.0),
        ("no-store", 0.0, 0.0),
        ("private", 0.0, 100.0),
        ("private, max-age=5", 0.0, 5.0),
        ("no-cache", 0.0, 0.0),
        ("max-age=5", 5.0, 5.0),
        ("max-age=500", 100.0, 100.0),
        ("max-age=5, s-maxage=20", 20.0, 5.0),
        ("s-maxage=0, max-age=5", 0.0, 5.0),
        ("max-age=x", 0.0, 0.0),
    ],
)
def test_directives_of_responses(value: str, shared_s: float, private_s: float) -> None:
    for expected, is_private in ((shared_s, False), (private_s, True)):
        assert lifetime_s([value], 100.0, is_private=is_private, is_stream=False) == expected


def test_the_age_of_a_response() -> None:
    told = {"5": 5.0, " 7 ": 7.0, "x": 0.0, "-1": 0.0, "9" * 5000: 2.0**31}
    assert {value: age_s(value) for value in told} == told
    assert age_s(None) == 0.0


def test_no_cache_of_a_stream_is_for_proxies() -> None:
    assert lifetime_s(["no-cache"], 100.0, is_private=False, is_stream=True) == 100.0
    assert lifetime_s(["no-cache, no-store"], 100.0, is_private=False, is_stream=True) == 0.0


@given(st.text())
def test_no_value_breaks_the_parser(value: str) -> None:
    request_directives([value])
    assert 0.0 <= lifetime_s([value], 1.0, is_private=False, is_stream=False) <= 1.0
