"""Beginnings of requests in each turn of the event loop, by a clock that only they move."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.server.turns import LONGEST_S, PATIENCE_S, SHARE, TURN_S, Turns


class Crowd:
    """Requests that each take some time to begin."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.turns = Turns(asyncio.get_running_loop(), lambda: self.now_s)
        self.begun: list[str] = []

    def arrives(self, name: str, owner: str = "", *, takes_s: float = 0.0) -> None:
        def begin() -> None:
            self.begun.append(name)
            self.now_s += takes_s

        if self.turns.take():
            begin()
        else:
            self.turns.wait(begin, owner)

    async def begun_in_each_turn(self, count: int, *, others_s: float = 0.0) -> list[int]:
        """Let the loop turn until so many have begun. Return how many began before, and in each
        turn. Everything else in a turn takes `others_s`.
        """
        seen = [0, len(self.begun)]
        while len(self.begun) < count:
            self.now_s += others_s
            await asyncio.sleep(0)
            seen.append(len(self.begun))
        return [b - a for a, b in itertools.pairwise(seen)]


@pytest.fixture
async def crowd() -> Crowd:
    return Crowd()


async def test_one_begins_at_once(crowd: Crowd) -> None:
    crowd.arrives("one")
    assert crowd.begun == ["one"]


async def test_requests_begin_for_some_time_of_each_turn(crowd: Crowd) -> None:
    for number in range(20):
        crowd.arrives(str(number), takes_s=TURN_S / 4.5)
    assert await crowd.begun_in_each_turn(20) == [5, 5, 5, 5]
    assert crowd.begun == [str(number) for number in range(20)], "in the order of arrival"


async def test_one_begins_in_each_turn_however_long_it_takes(crowd: Crowd) -> None:
    for number in range(4):
        crowd.arrives(str(number), takes_s=10 * TURN_S)
    assert await crowd.begun_in_each_turn(4) == [1, 1, 1, 1]


async def test_other_work_of_a_turn_uses_its_time(crowd: Crowd) -> None:
    crowd.arrives("first")
    crowd.now_s += 2 * TURN_S  # events of streams, for instance
    crowd.arrives("second")
    assert crowd.begun == ["first"]
    assert await crowd.begun_in_each_turn(2) == [1, 1]


async def test_streams_that_take_long_go_first(crowd: Crowd) -> None:
    for number in range(21):
        crowd.arrives(str(number), takes_s=TURN_S / 4.5)
    others_s = PATIENCE_S / 5
    assert await crowd.begun_in_each_turn(21, others_s=others_s) == [5, 5, 5, 5, 1]


async def test_requests_that_have_waited_begin_for_longer(crowd: Crowd) -> None:
    others_s = 9.5 * TURN_S / SHARE
    turns = int(PATIENCE_S / (others_s + TURN_S))
    for number in range(1 + turns + 20):
        crowd.arrives(str(number), takes_s=TURN_S)
    begun = await crowd.begun_in_each_turn(1 + turns + 20, others_s=others_s)
    assert begun == [1, *[1] * turns, 10, 10]


async def test_streams_never_wait_long_for_requests_to_begin(crowd: Crowd) -> None:
    for number in range(9):
        crowd.arrives(str(number), takes_s=LONGEST_S / 3.5)
    assert await crowd.begun_in_each_turn(9, others_s=1.0) == [1, 4, 4]


async def test_a_request_does_not_overtake_one_that_waits(crowd: Crowd) -> None:
    for name in ("first", "second", "third"):
        crowd.arrives(name, takes_s=2 * TURN_S)
    await asyncio.sleep(0)
    crowd.now_s -= 2 * TURN_S  # there is time left
    crowd.arrives("last")
    assert crowd.begun == ["first", "second"]
    await crowd.begun_in_each_turn(4)
    assert crowd.begun == ["first", "second", "third", "last"]


async def test_after_a_crowd_one_begins_at_once_again(crowd: Crowd) -> None:
    for number in range(100):
        crowd.arrives(str(number), takes_s=TURN_S / 3)
    await crowd.begun_in_each_turn(100)
    for _ in range(3):
        await asyncio.sleep(0)
    crowd.arrives("late")
    assert crowd.begun[-1] == "late"


async def test_clients_that_wait_take_turns_however_much_each_of_them_begins(crowd: Crowd) -> None:
    crowd.arrives("first", takes_s=2 * TURN_S)
    for _ in range(40):
        crowd.arrives("crowd", "one", takes_s=TURN_S / 4)
    crowd.arrives("alone", "other", takes_s=TURN_S / 4)
    await crowd.begun_in_each_turn(42)
    assert crowd.begun.index("alone") == 2
