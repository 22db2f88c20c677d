"""Talking with a client ourselves, behind a real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.support import talking_plugin
from tests.support.client import RawClient
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.waiting import PATIENCE_S, settled
from tests.support.websocket import CONTINUATION, TEXT, close, config, frame, hear, opened

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> RunningGateway:
    talking_plugin.RECEIVED.clear()
    talking_plugin.PING_S.clear()
    talking_plugin.ENDED = asyncio.Event()
    document = config(NOWHERE, deflate=True)
    document["routes"][0]["middleware"] = [{"use": "tests.support.talking_plugin.talk"}]
    return await start_gateway(document)


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[RawClient]:
    async with RawClient(gateway.port, receive_buffer_bytes=64 * 1024) as client:
        await opened(client)
        yield client


async def ended(gateway: RunningGateway) -> dict[str, object]:
    """The access line, once nobody talks any more."""
    async with asyncio.timeout(PATIENCE_S):
        await talking_plugin.ENDED.wait()
    return await gateway.wait_for_log(lambda line: line["event"] == "request")


async def test_messages_are_received_whole_and_sent(
    gateway: RunningGateway, client: RawClient
) -> None:
    await client.send(frame("a", fin=False) + frame("b", CONTINUATION) + frame("c") + close(4000))
    heard = await hear(client)
    assert heard.messages in ([], [(TEXT, b"ab")], [(TEXT, b"ab"), (TEXT, b"c")])
    assert heard.code == 4000
    line = await ended(gateway)
    assert (line["end"], line["messages_in"], line["closed_by"]) == ("complete", 2, "client")


async def test_it_ends_with_1000_when_all_was_said(
    gateway: RunningGateway, client: RawClient
) -> None:
    await client.send(frame("hello") + frame("done"))
    heard = await hear(client)
    assert (heard.messages, heard.code) == ([(TEXT, b"hello")], 1000)
    line = await ended(gateway)
    assert (line["end"], line["closed_by"], line["close_code"]) == ("complete", "gateway", 1000)


async def test_an_error_is_told_and_logged(gateway: RunningGateway, client: RawClient) -> None:
    await client.send(frame("fail"))
    heard = await hear(client)
    assert (heard.code, heard.reason) == (
        1008,
        "The gateway cannot take this request now. Retry shortly.",
    )
    assert (await ended(gateway))["error"] == "unavailable"


@pytest.mark.parametrize("how", ["leaves", "closes", "breaks a rule", "is cancelled"])
async def test_who_talks_is_stopped_when_the_client(
    gateway: RunningGateway, client: RawClient, how: str
) -> None:
    await client.send(frame("think"))
    while not talking_plugin.RECEIVED:  # noqa: ASYNC110 -- the loop's next turn
        await asyncio.sleep(0)
    if how == "leaves":
        client.reset()
    elif how == "closes":
        await client.send(close())
        assert (await hear(client)).code == 1000
    elif how == "breaks a rule":
        await client.send(frame("x", mask=None))
        assert (await hear(client)).code == 1002
    else:
        (exchange,) = gateway.server.listener.exchanges
        gateway.server.listener.cancel(exchange.request_id)
        assert (await hear(client)).code == 1008
    expected = {
        "leaves": "client_abort",
        "closes": "complete",
        "breaks a rule": "refused",
        "is cancelled": "cancelled",
    }
    assert (await ended(gateway))["end"] == expected[how]


async def test_a_client_that_does_not_read_is_waited_for(
    gateway: RunningGateway, client: RawClient
) -> None:
    client.pause_reading()
    await client.send(frame("flood"))
    assert await settled(lambda: len(talking_plugin.RECEIVED)) < 32
    client.resume_reading()
    await client.send(frame("done"))
    heard = await hear(client)
    assert len(heard.messages) == 65
    assert heard.code == 1000


async def test_a_client_that_is_not_listened_to_is_not_read_and_missed_all_the_same(
    gateway: RunningGateway,
) -> None:
    talking_plugin.PING_S.append(0.1)
    async with RawClient(gateway.port) as client:
        await opened(client)
        message = frame(1024 * 1000 * b"x")
        await client.send(frame("think"))
        sent = 0
        with suppress(TimeoutError):
            while sent < 64:
                async with asyncio.timeout(0.3):
                    await client.send(message)
                sent += 1
        assert sent < 32
        client.reset()
        assert (await ended(gateway))["end"] == "client_abort"
