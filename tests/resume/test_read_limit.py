"""Rate of reads: a burst, then a steady rate, for each caller."""

from __future__ import annotations

import pytest

from gateway.resume.read_limit import ReadLimit


def test_a_read_limit_lets_a_burst_through_and_then_a_rate() -> None:
    limit = ReadLimit(2.0, 3.0)
    assert [limit.wait_s(b"a", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.wait_s(b"b", 10.0) == 0.0
    assert limit.wait_s(b"a", 10.4) == pytest.approx(0.1)
    assert limit.wait_s(b"a", 10.5) == 0.0
    for number in range(30_000):
        limit.wait_s(b"%d" % number, 100.0 + number)
    assert limit.callers <= 10_000
