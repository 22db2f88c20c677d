"""A deadline that moves, on a loop whose clock the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.deadline import NEVER, MovingDeadline


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Clock and timers of an event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.set = 0
        """Number of timers set so far."""

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        self.set += 1
        self.timers.append(timer := Timer(at, call))
        return timer

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def run(self, until: float) -> None:
        """Advance the clock, and call the timers that are due, in order."""
        while due := [timer for timer in self.waiting if timer.at <= until]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.call()
        self.now = until


class Watched:
    """A deadline, and the times at which it was reached."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.reached: list[float] = []
        loop = cast(asyncio.AbstractEventLoop, self.loop)
        self.deadline = MovingDeadline(loop, lambda: self.reached.append(self.loop.now))


def test_a_deadline_is_reached_once() -> None:
    watched = Watched()
    watched.deadline.move(5.0)
    watched.loop.run(4.9)
    assert watched.reached == []
    watched.loop.run(100.0)
    assert watched.reached == [5.0]


def test_a_move_to_a_later_time_sets_no_timer() -> None:
    watched = Watched()
    for at in range(5, 100):
        watched.deadline.move(float(at))
    watched.deadline.at = 100.0
    assert watched.loop.set == 1
    watched.loop.run(99.9)
    assert watched.reached == []
    watched.loop.run(200.0)
    assert (watched.reached, watched.loop.set) == ([100.0], 2)


def test_a_move_to_an_earlier_time_replaces_the_timer() -> None:
    watched = Watched()
    watched.deadline.move(50.0)
    watched.deadline.move(5.0)
    assert len(watched.loop.waiting) == 1
    watched.loop.run(100.0)
    assert watched.reached == [5.0]


def test_a_stopped_deadline_can_be_set_again() -> None:
    watched = Watched()
    watched.deadline.move(5.0)
    watched.deadline.move(NEVER)
    watched.loop.run(10.0)
    watched.deadline.move(20.0)
    watched.loop.run(30.0)
    assert watched.reached == [20.0]


def test_a_closed_deadline_stays_silent() -> None:
    watched = Watched()
    watched.deadline.move(5.0)
    watched.deadline.close()
    watched.deadline.move(3.0)
    assert watched.loop.waiting == []
    watched.loop.run(100.0)
    assert watched.reached == []


@given(
    st.lists(
        st.tuples(st.floats(0.0, 10.0), st.one_of(st.floats(0.0, 20.0), st.just(NEVER))),
        max_size=20,
    )
)
def test_a_deadline_is_reached_at_its_last_time_only(moves: list[tuple[float, float]]) -> None:
    """`moves`: the time that passes before each move, and how much later the new deadline is."""
    watched = Watched()
    expected: list[float] = []
    at = NEVER
    for passed, later in moves:
        now = watched.loop.now + passed
        if at <= now:
            expected.append(at)
        watched.loop.run(now)
        at = now + later
        watched.deadline.move(at)
    watched.loop.run(1000.0)
    if at < NEVER:
        expected.append(at)
    assert watched.reached == expected
