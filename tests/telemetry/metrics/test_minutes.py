"""Metrics without labels: exact when minutes are joined, and bounded in memory."""

from __future__ import annotations

import pytest

from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.history import History
from gateway.telemetry.metrics.merge import Buckets, Merged
from gateway.telemetry.metrics.minute import Minute
from gateway.telemetry.metrics.minutes import (
    NAMES,
    MinutesInMemory,
    covering,
    joined,
    minute_of,
    parse,
    values,
)

NOW = 1_800_000_000.0
BUCKETS = len(table.FIRST_TOKEN.buckets) + 1


def slow(count: int, bucket: int) -> list[int]:
    """A histogram with all values in one bucket."""
    return [count if index == bucket else 0 for index in range(BUCKETS)]


def counted(requests: float) -> Merged:
    ok = ("chat", "m", "main", "2xx", "complete")
    bad = ("chat", "m", "main", "5xx", "complete")
    labels = tuple("x" for _ in table.FIRST_TOKEN.labels)
    return {
        table.REQUESTS.name: {ok: requests, bad: requests / 10},
        table.ACTIVE_STREAMS.name: {("chat", "m", "main"): requests / 100},
        table.FIRST_TOKEN.name: {labels: Buckets(0.0, slow(int(requests), 9))},
    }


def test_every_minute_of_the_history_is_told_once() -> None:
    minutes: list[Minute] = []
    history = History(lambda step: minutes.append(minute_of(step)))
    for number in range(26):
        history.add(NOW + 5.0 * number, counted(100.0 * number))
    assert [(one.at, one.seconds) for one in minutes] == [(NOW + 60, 60.0), (NOW + 120, 60.0)]
    found = values(minutes[-1])
    assert found["requests_per_s"] == pytest.approx(1320 / 60)
    assert found["errors_per_s"] == pytest.approx(120 / 60)
    assert found["active_streams"] == 24.0
    assert 0.25 < (found["ttft_p95_s"] or 0) <= 0.5
    history.end_minute()
    assert minutes[-1].seconds == 5.0


def test_quantiles_of_a_longer_period_are_those_of_all_its_values() -> None:
    """The mean of two p99 is no p99."""
    many = Minute(NOW + 60, 60.0, {"requests": 990.0}, {}, {"ttft": slow(990, 1)})
    few = Minute(NOW + 120, 60.0, {"requests": 10.0}, {}, {"ttft": slow(10, 15)})
    (row,) = joined([many, few], [NOW + 120], 120.0)
    assert row["requests_per_s"] == pytest.approx(1000 / 120)
    assert row["ttft_p50_s"] is not None
    assert row["ttft_p50_s"] <= table.FIRST_TOKEN.buckets[1]
    assert row["ttft_p99_s"] == pytest.approx(table.FIRST_TOKEN.buckets[1])


def test_a_period_without_measurements_has_no_values() -> None:
    rows = joined([Minute(NOW, 60.0)], [NOW, NOW + 300, NOW + 600], 300.0)
    assert rows[0]["requests_per_s"] == 0.0
    assert rows[1] == rows[2] == dict.fromkeys(NAMES)


def test_each_moment_has_the_values_of_the_minute_around_it() -> None:
    minutes = [Minute(NOW + 60 * n, 60.0, {"requests": 60.0 * n}) for n in (1, 2, 4)]
    rows = covering(minutes, [NOW + 61, NOW + 120, NOW + 121, NOW + 999])
    assert [row["requests_per_s"] for row in rows] == [2.0, 2.0, None, None]


def test_a_stored_minute_is_what_it_was_unless_its_buckets_are_of_another_version() -> None:
    one = Minute(NOW, 60.0, {"requests": 6.0}, {"active_streams": 2.0}, {"ttft": slow(1, 2)})
    assert parse(one.dump()) == one
    one.histograms["duration"] = [1, 2, 3]
    assert parse(one.dump()).histograms == {"ttft": slow(1, 2)}


def test_memory_keeps_eight_days_and_no_more() -> None:
    log = MinutesInMemory()
    for number in range(8 * 1440 + 10):
        log.add(Minute(NOW + 60.0 * number, 60.0))
    found = log.read(0.0, NOW * 2)
    assert len(found) == 8 * 1440
    assert found[0].at == NOW + 600
    assert [one.at for one in log.read(NOW + 600, NOW + 720)] == [NOW + 660, NOW + 720]
