"""Quota that a provider reports: what is left of it, and what is sent near its limit."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.provider_quota import ProviderQuota, ReportedQuota

REPORTS = st.lists(
    st.builds(
        ReportedQuota,
        st.sampled_from(["requests", "tokens", "input-tokens"]),
        st.floats(0, 1e6),
        st.floats(0, 1e6),
        st.none() | st.floats(0, 1e4),
    ),
    max_size=4,
)


def test_without_a_report_everything_is_allowed() -> None:
    quota = ProviderQuota()
    assert quota.allows(1e9, 0.0)
    assert quota.share(0.0) == 1.0
    assert quota.changes_at(0.0) == math.inf


def test_a_candidate_near_its_limit_gets_less_until_the_quota_is_renewed() -> None:
    quota = ProviderQuota()
    quota.learn([ReportedQuota("requests", 100, 4, 96.0)], 0.0)
    assert quota.share(0.0) == 0.1
    assert quota.share(8.0) == 0.5
    assert quota.share(16.0) == 1.0
    assert quota.changes_at(0.0) == 1.0


def test_requests_that_were_sent_since_the_report_count() -> None:
    quota = ProviderQuota()
    quota.learn([ReportedQuota("tokens", 1000, 500), ReportedQuota("requests", 10, 2)], 0.0)
    assert quota.allows(500, 0.0)
    assert not quota.allows(501, 0.0)
    quota.spend(300)
    assert not quota.allows(201, 0.0)
    quota.spend(100)
    assert not quota.allows(1, 0.0), "no request is left"
    assert quota.allows(1, 60.0), "a quota without a reset time is one of a minute"


def test_a_request_larger_than_the_whole_quota_is_the_providers_to_refuse() -> None:
    quota = ProviderQuota()
    quota.learn([ReportedQuota("tokens", 1000, 1000)], 0.0)
    assert quota.allows(5000, 0.0)


def test_a_backend_that_invents_names_takes_no_memory() -> None:
    quota = ProviderQuota()
    quota.learn([ReportedQuota(f"k{number}", 1, 0) for number in range(10_000)], 0.0)
    quota.learn([ReportedQuota("requests", 10, 10)], 0.0)
    assert quota.share(120.0) == 1.0


@given(reports=REPORTS, now=st.floats(0, 1e6), later=st.floats(0, 1e6))
def test_the_share_is_a_factor_and_grows_by_itself(
    reports: list[ReportedQuota], now: float, later: float
) -> None:
    quota = ProviderQuota()
    quota.learn(reports, now)
    assert 0.0 < quota.share(now) <= quota.share(now + later) <= 1.0
