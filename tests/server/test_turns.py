"""A few beginnings in each turn of the event loop."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.server.turns import _EACH_TURN, Turns


@pytest.fixture
async def turns() -> Turns:
    turns = Turns(asyncio.get_running_loop())
    turns.streams = 1
    return turns


async def test_where_nothing_streams_all_begin_at_once() -> None:
    turns = Turns(asyncio.get_running_loop())
    begun: list[int] = []
    for _ in range(10 * _EACH_TURN):
        turns.take(lambda: begun.append(1))
    assert len(begun) == 10 * _EACH_TURN


async def test_one_begins_at_once(turns: Turns) -> None:
    begun: list[int] = []
    turns.take(lambda: begun.append(1))
    assert begun == [1]


async def test_a_crowd_begins_a_few_at_a_time_in_order(turns: Turns) -> None:
    begun: list[int] = []
    for number in range(10 * _EACH_TURN):
        turns.take(lambda number=number: begun.append(number))  # type: ignore[misc]
    assert len(begun) == _EACH_TURN
    seen = [len(begun)]
    while len(begun) < 10 * _EACH_TURN:
        await asyncio.sleep(0)
        seen.append(len(begun))
    assert begun == list(range(10 * _EACH_TURN))
    assert max(b - a for a, b in itertools.pairwise(seen)) <= _EACH_TURN


async def test_after_a_crowd_one_begins_at_once_again(turns: Turns) -> None:
    begun: list[int] = []
    for _ in range(_EACH_TURN):
        turns.take(lambda: begun.append(0))
    for _ in range(5):
        await asyncio.sleep(0)
    turns.take(lambda: begun.append(1))
    assert begun[-1] == 1
