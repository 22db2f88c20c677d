"""A gate: who passes, who waits, who gives up."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.gate import Gate, GateOptions
from gateway.errors import QueueFull, QueueTimeout


def gate(concurrency: int = 1, queue: int = 10, max_wait_s: float = 10.0) -> Gate:
    return Gate("test", GateOptions(concurrency, queue, max_wait_s))


async def waiting(one: Gate, count: int, tenant: str = "a") -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(one.enter(tenant)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_who_finds_room_passes_without_waiting() -> None:
    one = gate(concurrency=2)
    assert [await one.enter("a"), await one.enter("a")] == [0, 0]
    assert (one.passing, one.waiting) == (2, 0)


async def test_who_finds_none_waits_for_one_to_leave() -> None:
    one = gate()
    await one.enter("a")
    first, second = await waiting(one, 2)
    one.leave()
    assert await first == 1
    assert not second.done()
    one.leave()
    assert await second == 2
    one.leave()
    assert (one.passing, one.waiting) == (0, 0)


async def test_nobody_overtakes_those_who_wait() -> None:
    one = gate()
    await one.enter("a")
    (first,) = await waiting(one, 1)
    one.leave()
    (late,) = await waiting(one, 1)
    assert await first == 1
    assert not late.done()
    one.leave()
    assert await late == 1
    one.leave()


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    one = gate(queue=2, max_wait_s=7.0)
    await one.enter("a")
    tasks = await waiting(one, 2)
    with pytest.raises(QueueFull) as caught:
        await one.enter("a")
    assert caught.value.headers == (("Retry-After", "7"),)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert one.waiting == 0


async def test_who_waits_too_long_is_told_and_forgotten() -> None:
    one = gate(max_wait_s=0.01)
    await one.enter("a")
    with pytest.raises(QueueTimeout):
        await one.enter("a")
    assert (one.passing, one.waiting) == (1, 0)


async def test_who_gives_up_in_the_moment_of_its_turn_passes_the_turn_on() -> None:
    one = gate()
    await one.enter("a")
    first, second = await waiting(one, 2)
    one.leave()
    first.cancel()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
    assert one.passing == 1


async def test_who_gives_up_just_before_its_turn_loses_nobody_theirs() -> None:
    one = gate()
    await one.enter("a")
    first, second = await waiting(one, 2)
    first.cancel()
    one.leave()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (one.passing, one.waiting) == (1, 0)


@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["enter", "leave", "cancel"]), st.integers(0, 9))),
)
def test_never_more_pass_than_may_and_no_turn_is_lost(
    concurrency: int, steps: list[tuple[str, int]]
) -> None:
    asyncio.run(_play(concurrency, steps))


async def _play(concurrency: int, steps: list[tuple[str, int]]) -> None:
    one = gate(concurrency=concurrency, queue=1000)
    tasks: list[asyncio.Task[int]] = []
    left: set[asyncio.Task[int]] = set()
    for step, number in steps:
        inside = [t for t in tasks if t.done() and not t.cancelled() and t not in left]
        if step == "enter":
            tasks.append(asyncio.create_task(one.enter("abc"[number % 3])))
        elif step == "leave" and inside:
            left.add(inside[number % len(inside)])
            one.leave()
        elif step == "cancel" and tasks:
            tasks[number % len(tasks)].cancel()
        if number % 2:
            await asyncio.sleep(0)
        assert one.passing <= concurrency
    for _ in range(len(tasks) + 2):
        await asyncio.sleep(0)
        for task in tasks:
            if task.done() and not task.cancelled() and task not in left:
                left.add(task)
                one.leave()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and task not in left:
            one.leave()
    assert (one.passing, one.waiting) == (0, 0)
