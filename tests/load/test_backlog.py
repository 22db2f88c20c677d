"""Work left for later turns: others are looked at between two turns."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.load.backlog import STEPS_A_TURN, Backlog


async def turn() -> None:
    """Let the loop look at everybody once."""
    await asyncio.sleep(0)


async def test_a_turn_does_a_few_steps_however_many_wait() -> None:
    backlog, done = Backlog(asyncio.get_running_loop()), list[int]()
    for number in range(100):
        backlog.add(partial(done.append, number))
    assert done == []
    for turns in range(1, 100 // STEPS_A_TURN):
        await turn()
        assert len(done) <= turns * STEPS_A_TURN
    await turn()
    await turn()
    assert done == [*range(100)]


async def test_who_adds_more_work_waits_for_those_who_wait_already() -> None:
    backlog, done = Backlog(asyncio.get_running_loop()), list[str]()

    def greedy() -> None:
        done.append("greedy")
        if len(done) < 20:
            backlog.add(greedy)

    backlog.add(greedy)
    backlog.add(lambda: done.append("modest"))
    for _ in range(3):
        await turn()
    assert "modest" in done[:2]


async def test_a_step_that_fails_stops_nobody_else() -> None:
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    backlog, done = Backlog(loop), list[int]()

    def fails() -> None:
        raise ZeroDivisionError

    backlog.add(fails)
    backlog.add(lambda: done.append(1))
    for _ in range(3):
        await turn()
    loop.set_exception_handler(None)
    assert done == [1]
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
