"""Who gets how many requests, and how they wait where everybody is full."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from gateway.upstream.health import EndpointState
from tests.support.client import RawClient, Response, request
from tests.support.exchange import ask
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import idle, ranked, state_of, upstream_of
from tests.support.refusal import assert_error
from tests.support.upstream import (
    ScriptedUpstream,
    UpstreamConnection,
    hang,
    json_reply,
    reply,
)
from tests.support.waiting import PATIENCE_S


async def get(gateway: RunningGateway, path: str = "/v1/x") -> Response:
    return await ask(gateway.port, request("GET", path), "GET")


def weighted(*endpoints: tuple[str, int], **upstream: Any) -> dict[str, Any]:
    listed = [{"url": url, "weight": weight} for url, weight in endpoints]
    return simple_config(endpoints[0][0], upstream={"endpoints": listed, **upstream})


async def test_endpoints_carry_requests_by_their_weight(
    start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(hang) as light, ScriptedUpstream(hang) as heavy:
        gateway = await start_gateway(weighted((light.url, 1), (heavy.url, 3)))
        async with AsyncExitStack() as open_clients:
            for number in range(80):
                client = await open_clients.enter_async_context(RawClient(gateway.port))
                await client.send(request("GET"))
                async with asyncio.timeout(PATIENCE_S):
                    while len(light.requests) + len(heavy.requests) <= number:  # noqa: ASYNC110
                        await asyncio.sleep(0)
            share = len(heavy.requests) / 80
        await idle(gateway)
    report("balance", "requests of 80 at the endpoint of weight 3 beside 1, %", 100 * share)
    assert 0.6 <= share <= 0.9


async def test_a_later_priority_gets_what_the_first_has_no_room_for(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream(json_reply({})) as spare:
        gateway = await start_gateway(ranked(first.url, spare.url, max_requests=2))
        held = [asyncio.create_task(get(gateway)) for _ in range(2)]
        connections = [await first.accept() for _ in held]
        for connection in connections:
            await connection.read_request()
        assert [(await get(gateway)).status for _ in range(3)] == [200] * 3
        assert len(spare.requests) == 3
        for connection in connections:
            await connection.send(reply(b"{}"))
            connection.close()
        assert {(await task).status for task in held} == {200}
        await idle(gateway)
        again = asyncio.create_task(get(gateway))
        connection = await first.accept()
        await connection.read_request()
        await connection.send(reply(b"{}"))
        assert (await again).status == 200
        assert len(spare.requests) == 3


async def test_a_later_priority_serves_while_the_first_is_out(start_gateway: StartGateway) -> None:
    bad = json_reply({}, status="500 Internal Server Error")
    async with ScriptedUpstream(bad) as first, ScriptedUpstream(json_reply({})) as spare:
        gateway = await start_gateway(ranked(first.url, spare.url, outliers={"failures": 2}))
        assert [(await get(gateway)).status for _ in range(5)] == [500, 500, 200, 200, 200]
        assert state_of(gateway, first.url) is EndpointState.EJECTED


# -- when all are full -------------------------------------------------------------------------


async def pending(gateway: RunningGateway, count: int) -> None:
    """Return when so many wait."""
    async with asyncio.timeout(PATIENCE_S):
        while upstream_of(gateway).pending != count:  # noqa: ASYNC110 -- the loop's next turn
            await asyncio.sleep(0)


async def test_twenty_at_once_are_served_one_by_one_in_their_order(
    start_gateway: StartGateway, report: Report
) -> None:
    at_once = most = 0

    async def script(connection: UpstreamConnection) -> None:
        nonlocal at_once, most
        while True:
            await connection.read_request()
            at_once += 1
            most = max(most, at_once)
            await begun.wait()
            at_once -= 1
            await connection.send(reply(b"{}"))

    begun = asyncio.Event()
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"max_requests": 1, "pending_wait": "30s"})
        )
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(get(gateway, f"/v1/{number}")))
            await upstream.wait_requests(1)
            await pending(gateway, number)
        begun.set()
        answers = await asyncio.gather(*tasks)
        order = [int(seen.target.rpartition("/")[2]) for seen in upstream.requests]
        await idle(gateway)
        assert len(upstream.connections) == 1
    assert [answer.status for answer in answers] == 20 * [200]
    assert order == list(range(20))
    report("pending", "at once at an endpoint of max_requests 1, of 20", most)
    assert most == 1


async def test_one_more_than_may_wait_is_503(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"max_requests": 1, "pending": 1})
        )
        first = asyncio.create_task(get(gateway))
        connection = await upstream.accept()
        await connection.read_request()
        second = asyncio.create_task(get(gateway))
        await pending(gateway, 1)
        refused = await get(gateway)
        assert_error(refused, 503, code="upstream_busy")
        assert refused.value("retry-after") is not None
        await connection.send(reply(b"{}"))
        await connection.read_request()
        await connection.send(reply(b"{}"))
        assert [(await task).status for task in (first, second)] == [200, 200]


async def test_too_long_a_wait_is_503_and_it_is_never_sent(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"max_requests": 1, "pending_wait": "200ms"})
        )
        async with RawClient(gateway.port) as client:
            await client.send(request("GET"))
            await upstream.wait_requests(1)
            assert_error(await get(gateway), 503, code="upstream_busy")
            assert len(upstream.requests) == 1


async def test_who_leaves_while_waiting_is_never_sent(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, upstream={"max_requests": 1}))
        first = asyncio.create_task(get(gateway))
        connection = await upstream.accept()
        async with RawClient(gateway.port) as leaver:
            await connection.read_request()
            await leaver.send(request("GET", "/v1/leaver"))
            await pending(gateway, 1)
            last = asyncio.create_task(get(gateway, "/v1/last"))
            await pending(gateway, 2)
            leaver.reset()
        await pending(gateway, 1)
        await connection.send(reply(b"{}"))
        await connection.read_request()
        await connection.send(reply(b"{}"))
        assert [(await task).status for task in (first, last)] == [200, 200]
        assert [seen.target for seen in upstream.requests] == ["/v1/x", "/v1/last"]
