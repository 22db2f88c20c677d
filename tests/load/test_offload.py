"""The helper process: what it returns and raises, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from gateway import json_body
from gateway.errors import NotTranslatable, Overloaded, RequestError
from gateway.load.offload import Offload
from tests.support.loop_hold import LoopHold


@pytest.fixture
def offload() -> Iterator[Offload]:
    made = Offload()
    yield made
    made.close()


def _refuse(what: str) -> None:
    raise NotTranslatable(what, "no reason")


async def test_work_is_done_in_another_process(offload: Offload) -> None:
    body = b'{"model":"a","max_tokens":7,"messages":[' + b"[]," * 100_000 + b"1]}"
    assert await offload.run(os.getpid) != os.getpid()
    read = await offload.run(json_body.read_elsewhere, body)
    assert read.model == "a"
    assert read.asked == json_body.read(body).asked
    assert read.document == {"model": "a", "max_tokens": 7, "messages": []}


async def test_what_it_raises_is_raised_here(offload: Offload) -> None:
    with pytest.raises(RequestError) as caught:
        await offload.run(json_body.read_elsewhere, b'{"model":1}')
    assert (caught.value.param, caught.value.status) == ("model", 400)
    with pytest.raises(NotTranslatable) as other:
        await offload.run(_refuse, "x")
    assert other.value.message == NotTranslatable("x", "no reason").message


async def test_a_helper_that_dies_or_hangs_fails_one_request_only() -> None:
    offload = Offload()
    try:
        with pytest.raises(Overloaded):
            await offload.run(os.abort)
        assert await offload.run(abs, -1) == 1  # another one has started, which takes its time
        patience_s, offload.longest_s = offload.longest_s, 0.1
        with pytest.raises(Overloaded):
            await offload.run(time.sleep, 60)
        offload.longest_s = patience_s
        assert await offload.run(abs, -1) == 1
    finally:
        offload.close()


async def test_a_helper_without_work_exits_and_another_takes_its_place() -> None:
    offload = Offload(idle_s=0.01)
    try:
        first = await offload.run(os.getpid)
        assert offload.helper is not None
        await asyncio.to_thread(offload.helper.wait)
        assert await offload.run(os.getpid) != first
    finally:
        offload.close()


async def test_the_loop_is_free_while_the_helper_parses(offload: Offload) -> None:
    depth = 1000
    body = b'{"model":"m","x":[%b]}' % b",".join([b"[" * depth + b"]" * depth] * 1000)
    await offload.run(abs, -1)  # it has started
    async with LoopHold() as hold:
        read = await offload.run(json_body.read_elsewhere, body)
    assert read.model == "m"
    assert hold.longest_s < 0.05
