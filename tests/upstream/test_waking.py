"""Requests of a backend that scales from zero: who tries, who waits, and when all go on."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamBusy, UpstreamWaking
from gateway.upstream.waking import WakeOptions, Waking
from tests.support.waiting import eventually

PATIENCE_S = 30.0


def asleep(**options: float) -> Waking:
    waking = Waking(WakeOptions(**{"pause_s": 0.0, **options}))  # type: ignore[arg-type]
    waking.asleep(None)
    return waking


async def test_one_request_tries_and_the_others_wait_until_the_backend_is_awake() -> None:
    waking = asleep()
    turns = [asyncio.create_task(waking.turn(PATIENCE_S)) for _ in range(3)]
    await turns[0]
    await asyncio.sleep(0)
    assert waking.waiting == 2
    waking.awake()
    await asyncio.gather(*turns)
    assert (waking.is_waking, waking.starts) == (False, 1)


async def test_the_next_request_tries_when_the_first_finds_it_asleep_still() -> None:
    waking = asleep()
    first, second = (asyncio.create_task(waking.turn(PATIENCE_S)) for _ in range(2))
    await first
    assert not second.done()
    waking.asleep(0.0)
    await second
    assert waking.starts == 1, "it is the same start"
    waking.close()


async def test_the_next_request_tries_when_the_first_comes_to_no_result() -> None:
    waking = asleep()
    first, second = (asyncio.create_task(waking.turn(PATIENCE_S)) for _ in range(2))
    waking.undecided(await first)
    await second
    waking.close()


async def test_a_request_that_leaves_keeps_nobody_from_trying() -> None:
    waking = asleep(pause_s=0.05)
    first, second = (asyncio.create_task(waking.turn(PATIENCE_S)) for _ in range(2))
    await eventually(lambda: waking.waiting == 2)
    first.cancel()
    await second
    waking.close()


async def test_a_request_that_waited_in_vain_is_told_when_to_come_back() -> None:
    waking = asleep(pause_s=7.0)
    with pytest.raises(UpstreamWaking) as caught:
        await waking.turn(0.01)
    assert caught.value.retry_after_s in (6, 7)
    assert (waking.waiting, waking.timeouts) == (0, 1)
    waking.close()


async def test_too_many_requests_do_not_wait() -> None:
    waking = asleep(most=1, pause_s=60.0)
    first = asyncio.create_task(waking.turn(PATIENCE_S))
    await eventually(lambda: waking.waiting == 1)
    with pytest.raises(UpstreamBusy):
        await waking.turn(PATIENCE_S)
    waking.awake()
    await first


async def test_the_wake_request_is_sent_once_and_its_failure_is_told() -> None:
    told: list[str] = []
    sent = 0

    async def wake() -> str | None:
        nonlocal sent
        sent += 1
        return "status 500"

    waking = Waking(WakeOptions(pause_s=0.0), report=told.append, wake=wake)
    waking.asleep(None)
    waking.asleep(None)
    await eventually(lambda: len(told) == 2)
    waking.asleep(None)
    waking.awake()
    waking.awake()
    assert sent == 1
    assert told[:2] == [
        "asleep: requests wait for its start",
        "the wake request failed: status 500",
    ]
    assert told[2].startswith("awake after ")
    assert len(told) == 3
