"""The end of a stream waits for its turn, beside the events of other streams."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.client import RawClient
from tests.support.exchange import EVENTS, POST
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
)
from tests.support.waiting import eventually

CHUNKED_JSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class BusyTurn:
    """A turn of the event loop that has no time left, until `over`."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def take(self) -> bool:
        return False

    def wait(self, begin: Callable[[], None], owner: str = "") -> None:
        self.waiting.append(begin)

    def over(self) -> None:
        waiting, self.waiting = self.waiting, []
        for begin in waiting:
            begin()


def busy(gateway: RunningGateway) -> BusyTurn:
    turn = BusyTurn()
    gateway.server.listener.ends = turn  # type: ignore[assignment]
    return turn


async def ended(gateway: RunningGateway) -> object:
    return (await gateway.wait_for_log(lambda line: line["event"] == "request"))["end"]


async def test_a_stream_has_all_of_its_events_before_the_turn_of_its_end(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        turn = busy(gateway)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_until(EVENTS[0])
            await connection.send(chunk(EVENTS[1]) + LAST_CHUNK)
            await client.read_until(EVENTS[1])
            await eventually(lambda: len(turn.waiting) == 1)
            (exchange,) = gateway.server.listener.exchanges
            assert exchange.end_reason is None
            turn.over()
            await client.read_until(LAST_CHUNK)
            assert await ended(gateway) == "complete"


async def test_a_whole_stream_that_is_cancelled_before_the_turn_of_its_end_is_complete(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        turn = busy(gateway)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_until(EVENTS[0])
            await connection.send(LAST_CHUNK)
            await eventually(lambda: len(turn.waiting) == 1)
            (exchange,) = gateway.server.listener.exchanges
            gateway.server.listener.cancel(exchange.request_id)
            assert b"error" not in await client.read_until(LAST_CHUNK)
            turn.over()
            assert await ended(gateway) == "complete"


async def test_a_client_may_leave_before_the_turn_of_its_end(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        turn = busy(gateway)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_until(EVENTS[0])
            await connection.send(LAST_CHUNK)
            await eventually(lambda: len(turn.waiting) == 1)
        assert await ended(gateway) == "client_abort"
        turn.over()
        assert not list(gateway.server.listener.exchanges)


async def test_an_answer_that_is_no_stream_ends_at_once(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        turn = busy(gateway)
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(CHUNKED_JSON + chunk(b"{"))
            await client.read_until(b"{")
            await connection.send(chunk(b"}") + LAST_CHUNK)
            await client.read_until(LAST_CHUNK)
            assert not turn.waiting
            assert await ended(gateway) == "complete"
