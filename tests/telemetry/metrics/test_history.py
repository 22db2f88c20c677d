"""The last hour: rates, quantiles, and a bound in memory."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import STEP_S, History, quantile
from gateway.telemetry.metrics.merge import Value
from gateway.telemetry.metrics.registry import Labels
from tests.telemetry.metrics.histories import BOUNDS, filled, merged


def test_rates_are_of_what_was_added_in_the_window() -> None:
    window = filled(24).window(60.0)
    assert window.seconds == 60.0
    assert window.rate(table.REQUESTS) == pytest.approx(11 / STEP_S)
    assert window.rate_by(table.REQUESTS, "route") == pytest.approx({"r": 2.0, "other": 0.2})
    only = window.total(table.REQUESTS, lambda labels: labels["code"] == "5xx")
    assert only == 12


def test_the_first_look_is_no_rate() -> None:
    history = History()
    history.add(1e9, merged(1000.0))
    assert history.window(60.0).rate(table.REQUESTS) == 0.0
    assert history.window(60.0).quantiles(table.FIRST_TOKEN, (0.5,)) is None
    assert history.points() == []


def test_a_counter_that_began_anew_counts_from_nothing() -> None:
    history = History()
    for number, value in enumerate((100.0, 150.0, 20.0)):
        history.add(1e9 + number * STEP_S, merged(value))
    assert history.window(60.0).total(table.REQUESTS) == 70.0


def test_quantiles_lie_in_the_bucket_of_their_values() -> None:
    window = filled(24).window(60.0)
    found = window.quantiles(table.FIRST_TOKEN, (0.5, 0.99))
    assert found is not None
    assert all(BOUNDS[7] < value <= BOUNDS[8] for value in found)
    assert window.quantiles_by(table.FIRST_TOKEN, "gen_ai_request_model", (0.5,)).keys() == {"m"}


def test_an_hour_is_remembered_and_no_more() -> None:
    history = filled(2000)
    hour = history.window(3600.0)
    assert 3500 <= hour.seconds <= 3660
    assert hour.rate_by(table.REQUESTS, "route")["r"] == pytest.approx(2.0)
    assert len(history.points()) <= 61
    assert history.steps <= 60 + 60 + 60


def test_of_a_step_only_the_busiest_series_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.telemetry.metrics.history._SERIES_A_STEP", 10)
    history = History()
    history.add(1e9, {table.TENANT_REQUESTS.name: {}})
    many: dict[Labels, Value] = {(f"t{number}", "2xx"): float(number) for number in range(100)}
    history.add(1e9 + 5, {table.TENANT_REQUESTS.name: many})
    kept = history.window(60.0).total_by(table.TENANT_REQUESTS, "tenant")
    assert set(kept) == {f"t{number}" for number in range(90, 100)}


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 300.0), min_size=1, max_size=100),
    st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_a_quantile_is_off_by_no_more_than_its_bucket(values: list[float], share: float) -> None:
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    rank = share * len(values)
    exact = sorted(values)[max(0, int(-(-rank // 1)) - 1)]
    assume(exact <= BOUNDS[-1])
    place = bisect_left(BOUNDS, exact)
    low = BOUNDS[place - 1] if place else 0.0
    assert low <= quantile(share, BOUNDS, counts) <= BOUNDS[place]
