"""The silences of a stream."""

from __future__ import annotations

import pytest

from gateway.telemetry.traces.gaps import BOUNDS_S, STALL_S, Gaps


def test_every_gap_between_two_pieces_is_counted_in_its_bucket() -> None:
    gaps, now = Gaps(), 100.0
    for after_s in (9.0, 0.001, 0.02, 0.02, 0.3, 60.0):
        now += after_s
        gaps.feed(now)
    assert gaps.pieces == 6
    assert sum(gaps.counts) == 5
    assert gaps.counts[0] == 1
    assert gaps.counts[BOUNDS_S.index(0.025)] == 2
    assert gaps.counts[-1] == 1
    assert gaps.longest_s == pytest.approx(60.0)


def test_each_long_one_is_told_by_itself_up_to_a_number() -> None:
    gaps, now = Gaps(), 100.0
    gaps.feed(now)
    for after_s in (STALL_S + 5.0, 0.1, STALL_S + 1.0):
        now += after_s
        gaps.feed(now)
    assert [round(end - start, 3) for start, end in gaps.stalls] == [7.5, 3.5]
    for _ in range(100):
        now += 10.0
        gaps.feed(now)
    assert len(gaps.stalls) == 20


def test_a_body_of_one_piece_has_no_gaps() -> None:
    gaps = Gaps()
    assert gaps.pieces == 0
    gaps.feed(100.0)
    assert (gaps.pieces, sum(gaps.counts), gaps.longest_s) == (1, 0, 0.0)
