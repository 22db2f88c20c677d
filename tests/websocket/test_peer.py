"""One end: what it may send how often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.websocket.peer import Rate


@given(st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 2), max_size=200))
def test_no_more_is_taken_than_the_burst_and_what_flowed_in(
    per_s: float, burst: int, pauses: list[float]
) -> None:
    rate, now, taken = Rate(per_s, burst), 1000.0, 0
    for pause_s in pauses:
        now += pause_s
        taken += rate.take(now)
    assert taken <= burst + (now - 1000.0) * per_s + 0.01


def test_the_burst_is_there_at_once_and_again_after_a_while() -> None:
    rate = Rate(10.0, 3)
    assert [rate.take(5.0) for _ in range(4)] == [True, True, True, False]
    assert rate.take(5.1)
    assert not rate.take(5.1)
    assert [rate.take(9.0) for _ in range(4)] == [True, True, True, False]
