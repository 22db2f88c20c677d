"""A few beginnings in each turn of the event loop."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.server.turns import ALONE, BESIDE_STREAMS, Turns


@pytest.fixture
async def turns() -> Turns:
    return Turns(asyncio.get_running_loop())


async def begun_in_each_turn(turns: Turns, count: int) -> list[int]:
    """How many of a crowd begin at once, and then in each turn; all in their order."""
    begun: list[int] = []
    for number in range(count):
        turns.take(lambda number=number: begun.append(number), number)  # type: ignore[misc]
    seen = [0, len(begun)]
    while len(begun) < count:
        await asyncio.sleep(0)
        seen.append(len(begun))
    assert begun == list(range(count))
    return [b - a for a, b in itertools.pairwise(seen)]


async def test_one_begins_at_once(turns: Turns) -> None:
    assert await begun_in_each_turn(turns, 1) == [1]


async def test_a_crowd_begins_some_at_a_time(turns: Turns) -> None:
    assert max(await begun_in_each_turn(turns, 10 * ALONE)) == ALONE


async def test_beside_streams_it_begins_fewer_at_a_time(turns: Turns) -> None:
    turns.streams = 1
    first, *later = await begun_in_each_turn(turns, 10 * ALONE)
    assert first == ALONE, "what was free before the streams came"
    assert max(later) == BESIDE_STREAMS


async def test_after_a_crowd_one_begins_at_once_again(turns: Turns) -> None:
    await begun_in_each_turn(turns, 100)
    for _ in range(3):
        await asyncio.sleep(0)
    assert await begun_in_each_turn(turns, 1) == [1]


async def test_clients_that_wait_take_turns_however_much_each_of_them_begins(turns: Turns) -> None:
    begun: list[str] = []
    for number in range(ALONE + 40):  # those that begin at once, and 40 that wait
        turns.take(lambda: begun.append("crowd"), "one" if number >= ALONE else number)
    turns.take(lambda: begun.append("alone"), "other")
    for _ in range(40):
        await asyncio.sleep(0)
    assert begun.index("alone") == ALONE + 1
    assert len(begun) == ALONE + 41
