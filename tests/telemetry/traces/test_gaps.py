"""The silences of a stream."""

from __future__ import annotations

import pytest

from gateway.telemetry.traces.gaps import BOUNDS_S, STALL_S, Gaps


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("gateway.telemetry.traces.gaps.time.perf_counter", lambda: now[0])
    return now


def test_every_gap_between_two_pieces_is_counted_in_its_bucket(clock: list[float]) -> None:
    gaps = Gaps()
    for after_s in (9.0, 0.001, 0.02, 0.02, 0.3, 60.0):
        clock[0] += after_s
        gaps.feed()
    assert gaps.pieces == 6
    assert sum(gaps.counts) == 5
    assert gaps.counts[0] == 1
    assert gaps.counts[BOUNDS_S.index(0.025)] == 2
    assert gaps.counts[-1] == 1
    assert gaps.longest_s == pytest.approx(60.0)


def test_each_long_one_is_told_by_itself_up_to_a_number(clock: list[float]) -> None:
    gaps = Gaps()
    gaps.feed()
    for after_s in (STALL_S + 5.0, 0.1, STALL_S + 1.0):
        clock[0] += after_s
        gaps.feed()
    assert [round(end - start, 3) for start, end in gaps.stalls] == [7.5, 3.5]
    for _ in range(100):
        clock[0] += 10.0
        gaps.feed()
    assert len(gaps.stalls) == 20
