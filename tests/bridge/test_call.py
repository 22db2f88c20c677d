"""One request of a socket: its response becomes messages, a few in each turn of the loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

from gateway.bridge.answer import BridgeAnswer
from gateway.bridge.call import BridgeCall
from gateway.client_connection import Branch
from gateway.dialects import DIALECTS
from gateway.errors import Draining
from gateway.load.backlog import Backlog
from tests.support.waiting import PATIENCE_S

MANY = 2000
EVENT = b"data: 1\n\n"
HEAD = {"Content-Type": "text/event-stream"}


class FakeBranch:
    """The gateway's side, which is told when to stop."""

    exchange = None

    def __init__(self) -> None:
        self.paused = self.lost = False

    def pause_writing(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_writing(self) -> None:
        assert self.paused
        self.paused = False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True

    def end(self, error: object) -> None:
        """It has been told."""


class Rig:
    """A call, and what it says."""

    def __init__(self) -> None:
        self.branch = FakeBranch()
        self.said: list[dict[str, Any]] = []
        self.ended: asyncio.Future[BridgeCall] = asyncio.get_running_loop().create_future()
        self.call = BridgeCall(
            cast(Branch, self.branch),
            BridgeAnswer(b"1", DIALECTS["openai"]),
            asyncio.Transport(),
            Backlog(asyncio.get_running_loop()),
            send=self.say,
            ended=self.ended.set_result,
        )

    def respond(self) -> None:
        """Hand over a whole response of many events."""
        self.call.head(200, HEAD)
        self.call.body(EVENT * MANY)
        self.call.complete()

    def say(self, messages: Sequence[bytes]) -> None:
        self.said += [json.loads(message) for message in messages]

    async def end(self) -> None:
        """Return when the last message was said."""
        async with asyncio.timeout(PATIENCE_S):
            await self.ended

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.said]


async def test_a_turn_says_a_few_of_many_small_events_and_the_source_waits() -> None:
    rig = Rig()
    rig.respond()
    rig.call.close()
    said = 0
    while not rig.ended.done():
        assert len(rig.said) - said <= 80
        said = len(rig.said)
        assert rig.branch.paused
        await asyncio.sleep(0)
    assert rig.types == ["created", *MANY * ["event"], "done"]
    await asyncio.sleep(0)
    assert rig.branch.lost


async def test_an_event_that_comes_alone_is_said_at_once() -> None:
    rig = Rig()
    rig.call.head(200, HEAD)
    for number in range(100):
        rig.call.body(b"data: %d\n\n" % number)
        assert rig.said[-1]["data"] == number
        assert not rig.branch.paused


async def test_nothing_is_said_while_the_socket_is_behind_and_all_of_it_after_that() -> None:
    rig = Rig()
    rig.respond()
    rig.call.pause()
    said = len(rig.said)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(rig.said) == said
    rig.call.resume()
    await rig.end()
    assert len(rig.said) == MANY + 2
    assert not rig.branch.paused


async def test_a_generation_whose_last_message_fills_the_socket_lets_its_request_end() -> None:
    class Full(Rig):
        def say(self, messages: Sequence[bytes]) -> None:
            super().say(messages)
            if self.types[-1] == "done":
                self.call.pause()

    rig = Full()
    rig.call.head(200, HEAD)
    rig.call.body(EVENT)
    rig.call.complete()
    await rig.end()
    await asyncio.sleep(0)
    assert not rig.branch.paused


async def test_a_response_that_ends_early_is_an_error_behind_its_last_event() -> None:
    rig = Rig()
    rig.call.head(200, HEAD)
    rig.call.body(EVENT * MANY)
    rig.call.close()
    await rig.end()
    assert rig.types == ["created", *MANY * ["event"], "error"]


async def test_what_waits_of_a_response_is_dropped_with_its_generation() -> None:
    for stop in (BridgeCall.cancel, lambda call: call.fail(Draining()), BridgeCall.disconnect):
        rig = Rig()
        rig.respond()
        said = len(rig.said)
        stop(rig.call)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(rig.said) <= said + 1
        assert rig.branch.lost
