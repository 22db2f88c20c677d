"""Pauses and quotas in the response headers of providers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.provider_quota import ReportedQuota
from gateway.upstream.quota import (
    LONGEST_PAUSE_S,
    pause_after_s,
    reported_quotas,
    retry_after_s,
    used_up_s,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Fields = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        ([(b"Retry-After", b"7")], 7.0),
        ([(b"retry-after", b" 2.5 ")], 2.5),
        ([(b"Retry-After", b"Sun, 01 Mar 2026 12:00:30 GMT")], 30.0),
        ([(b"Retry-After", b"Sun, 01 Mar 2026 11:59:30 GMT")], 0.0),
        ([(b"Retry-After", b"7"), (b"retry-after-ms", b"250")], 0.25),
        ([(b"Retry-After", b"soon")], None),
        ([(b"Retry-After", b"-1")], None),
    ],
)
def test_a_pause_is_read_in_seconds_in_milliseconds_and_as_a_date(
    fields: Fields, seconds: float | None
) -> None:
    assert retry_after_s(fields, NOW) == seconds


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 0.0),
        ([(b"x-ratelimit-remaining-requests", b"1"), (b"x-ratelimit-reset-requests", b"8s")], 0.0),
        ([(b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"8s")], 8.0),
        ([(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"1m6.5s")], 66.5),
        ([(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"20ms")], 0.02),
        ([(b"x-ratelimit-remaining-tokens", b"0")], 0.0),
        (
            [
                (b"anthropic-ratelimit-requests-remaining", b"0"),
                (b"anthropic-ratelimit-requests-reset", b"2026-03-01T12:00:12Z"),
            ],
            12.0,
        ),
        (
            [
                (b"anthropic-ratelimit-input-tokens-remaining", b"0"),
                (b"anthropic-ratelimit-input-tokens-reset", b"2026-03-01T13:00:00Z"),
            ],
            LONGEST_PAUSE_S,
        ),
    ],
)
def test_a_quota_that_is_used_up_tells_when_it_is_renewed(fields: Fields, seconds: float) -> None:
    assert used_up_s(fields, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("status", "fields", "seconds"),
    [
        (429, [], 1.0),
        (429, [(b"retry-after", b"9")], 9.0),
        (
            429,
            [(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"3s")],
            3.0,
        ),
        (429, [(b"retry-after", b"86400")], LONGEST_PAUSE_S),
        (401, [], 60.0),
    ],
)
def test_an_endpoint_that_refuses_gets_the_pause_it_asks_for_or_a_usual_one(
    status: int, fields: Fields, seconds: float
) -> None:
    assert pause_after_s(status, fields, NOW) == seconds


NAMES = st.sampled_from(
    [
        b"retry-after",
        b"retry-after-ms",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
        b"anthropic-ratelimit-tokens-remaining",
        b"anthropic-ratelimit-tokens-reset",
    ]
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=24)), max_size=6))
def test_any_value_of_a_backend_means_a_pause_within_bounds(fields: Fields) -> None:
    assert 0.0 <= used_up_s(fields, NOW) <= LONGEST_PAUSE_S
    assert 0.0 <= pause_after_s(429, fields, NOW) <= LONGEST_PAUSE_S


def test_quotas_are_read_in_the_forms_of_openai_azure_and_anthropic() -> None:
    openai = [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"X-RateLimit-Limit-Tokens", b"150000"),
        (b"X-RateLimit-Remaining-Tokens", b"149984"),
        (b"X-RateLimit-Reset-Tokens", b"6m0s"),
    ]
    azure = [(b"x-ratelimit-remaining-requests", b"9"), (b"x-ratelimit-limit-requests", b"10")]
    anthropic = [
        (b"anthropic-ratelimit-input-tokens-limit", b"400000"),
        (b"anthropic-ratelimit-input-tokens-remaining", b"398000"),
        (b"anthropic-ratelimit-input-tokens-reset", b"2026-03-01T12:00:12Z"),
    ]
    assert reported_quotas(openai, NOW) == [
        ReportedQuota("requests", 60, 59, 1.0),
        ReportedQuota("tokens", 150_000, 149_984, 360.0),
    ]
    assert reported_quotas(azure, NOW) == [ReportedQuota("requests", 10, 9, None)]
    assert reported_quotas(anthropic, NOW) == [
        ReportedQuota("input-tokens", 400_000, 398_000, 12.0)
    ]


@pytest.mark.parametrize("value", [b"", b"-1", b"many", b"1e9", b"\xff", b"9" * 40])
def test_a_quota_without_numbers_is_no_quota(value: bytes) -> None:
    fields = [(b"x-ratelimit-remaining-requests", value), (b"x-ratelimit-limit-requests", b"1")]
    assert reported_quotas(fields, NOW) == []
    assert reported_quotas([fields[0]], NOW) == []
