"""A second endpoint is asked when the first is late; one of them answers, the other is let go."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gateway.upstream.upstream import Upstream
from tests.support.client import RawClient, Response, request
from tests.support.exchange import EVENTS, ask
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.peers import busy_connections, idle, ranked, refusing_endpoint, upstream_of
from tests.support.refusal import assert_error
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    reply,
    sse_reply,
)
from tests.support.waiting import PATIENCE_S, SLACK_S

GET = request("GET")
UNAVAILABLE = reply(b'{"failed":1}', status="503 Service Unavailable")


def hedged(*upstreams: ScriptedUpstream | str, **upstream: Any) -> dict[str, Any]:
    """The first is asked first; the next after 100 ms."""
    urls = [one if isinstance(one, str) else one.url for one in upstreams]
    return ranked(*urls, **{"hedge": {"after": "100ms"}, **upstream})


async def get(gateway: RunningGateway) -> Response:
    return await ask(gateway.port, GET, "GET")


async def taken(upstream: ScriptedUpstream) -> UpstreamConnection:
    """The connection on which the next request came."""
    connection = await upstream.accept()
    await connection.read_request()
    return connection


def spent(upstream: Upstream, requests: int = 1) -> float:
    """How many retries so many requests took from its budget."""
    options = upstream.options
    return round(options.budget_reserve + requests * options.budget_share - upstream.budget.balance)


async def test_a_late_endpoint_is_let_go_when_another_has_answered(
    start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(hang) as first, ScriptedUpstream(sse_reply(EVENTS)) as second:
        gateway = await start_gateway(hedged(first, second))
        started = time.perf_counter()
        response = await get(gateway)
        took_s = time.perf_counter() - started
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        await first.connections[0].wait_client_gone()
        await idle(gateway)
        upstream = upstream_of(gateway)
        assert (upstream.counts.hedges, spent(upstream)) == (1, 1)
        assert (len(first.requests), len(second.requests)) == (1, 1)
        assert (logged["endpoint"], logged["attempts"]) == (second.url, 2)
    assert (response.status, response.body) == (200, b"".join(EVENTS))
    assert response.clean_end
    report("hedge", "hanging endpoint, second asked after 100 ms, to its answer, ms", took_s * 1e3)
    assert 0.1 <= took_s < SLACK_S


async def test_an_answer_counts_when_its_body_begins(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream(sse_reply(EVENTS)) as second:
        gateway = await start_gateway(hedged(first, second))
        asked = asyncio.create_task(get(gateway))
        connection = await taken(first)
        await connection.send(STREAM_HEAD)
        response = await asked
        await connection.wait_client_gone()
    assert (response.body, response.clean_end) == (b"".join(EVENTS), True)


async def test_the_first_answers_late_and_the_second_is_let_go(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream() as second:
        gateway = await start_gateway(hedged(first, second))
        asked = asyncio.create_task(get(gateway))
        one, other = await taken(first), await taken(second)
        await one.send(STREAM_HEAD + chunk(EVENTS[0]))
        await other.wait_client_gone()
        await one.send(chunk(EVENTS[1]) + LAST_CHUNK)
        response = await asked
        assert spent(upstream_of(gateway)) == 1
    assert (response.body, response.clean_end) == (b"".join(EVENTS), True)


async def test_who_is_in_time_is_not_hedged(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as first, ScriptedUpstream() as second:
        gateway = await start_gateway(hedged(first, second, hedge={"after": "5s"}))
        assert {(await get(gateway)).status for _ in range(10)} == {200}
        assert upstream_of(gateway).counts.hedges == 0
        assert second.connections == []


async def test_late_is_later_than_95_in_100_where_nothing_is_said(
    start_gateway: StartGateway, report: Report
) -> None:
    stuck = asyncio.Event()

    async def sometimes(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            if stuck.is_set():
                await connection.wait_client_gone()
            await asyncio.sleep(0.02)
            await connection.send(reply(b"{}"))

    async with (
        ScriptedUpstream(sometimes) as first,
        ScriptedUpstream(json_reply({"second": True})) as second,
    ):
        gateway = await start_gateway(hedged(first, second, hedge={}))
        upstream = upstream_of(gateway)
        for _ in range(20):
            assert (await get(gateway)).status == 200
        p95_s = upstream.begin_s.at(0.95)
        assert p95_s is not None
        assert upstream.counts.hedges == 0  # nothing was known yet
        stuck.set()
        started = time.perf_counter()
        response = await get(gateway)
        took_s = time.perf_counter() - started
        assert upstream.counts.hedges == 1
    assert response.json() == {"second": True}
    report("hedge", "p95 of beginning, after which a second is asked, ms", p95_s * 1e3)
    report("hedge", "hanging endpoint to the second's answer after p95, ms", took_s * 1e3)
    assert took_s >= p95_s


async def test_where_all_are_quick_hardly_anybody_is_late(
    start_gateway: StartGateway, report: Report
) -> None:
    async with (
        ScriptedUpstream(json_reply({})) as first,
        ScriptedUpstream(json_reply({})) as second,
    ):
        gateway = await start_gateway(hedged(first, second, hedge={}))
        for _ in range(100):
            assert (await get(gateway)).status == 200
        hedges = upstream_of(gateway).counts.hedges
    report("hedge", "hedges of 100 requests that begin within a millisecond", hedges)
    assert hedges <= 12


# -- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["reset", "503", "close-after-head"])
async def test_the_second_answers_where_the_first_fails_meanwhile(
    start_gateway: StartGateway, failure: str
) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream() as second:
        gateway = await start_gateway(hedged(first, second))
        asked = asyncio.create_task(get(gateway))
        one, other = await taken(first), await taken(second)
        if failure == "reset":
            one.reset()
        elif failure == "503":
            await one.send(UNAVAILABLE)
        else:
            await one.send(STREAM_HEAD)
            one.close()
        async with asyncio.timeout(PATIENCE_S):
            carrying, _ = upstream_of(gateway).endpoints
            while carrying.in_flight:  # noqa: ASYNC110 -- the loop's next turn
                await asyncio.sleep(0)
        await other.send(reply(b'{"second":1}'))
        response = await asked
        assert (response.status, response.json()) == (200, {"second": 1})
        await idle(gateway)
        assert (len(first.connections), len(second.connections)) == (1, 1)
        assert spent(upstream_of(gateway)) == 1


async def test_the_second_fails_and_the_first_answers(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as first:
        with refusing_endpoint() as refusing:
            gateway = await start_gateway(hedged(first, refusing))
            asked = asyncio.create_task(get(gateway))
            one = await taken(first)
            async with asyncio.timeout(PATIENCE_S):
                while not upstream_of(gateway).counts.hedges:  # noqa: ASYNC110 -- the next turn
                    await asyncio.sleep(0)
            await one.send(reply(b"{}"))
            assert (await asked).status == 200
        assert len(first.requests) == 1


async def test_both_fail_and_it_is_one_error(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream() as second:
        gateway = await start_gateway(hedged(first, second, retries={"attempts": 0}))
        asked = asyncio.create_task(get(gateway))
        one, other = await taken(first), await taken(second)
        other.reset()
        one.reset()
        assert_error(await asked, 502, code="upstream_reset")
        await idle(gateway)
        assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_after_both_have_failed_a_third_is_asked(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream() as first,
        ScriptedUpstream() as second,
        ScriptedUpstream(json_reply({"third": True})) as third,
    ):
        gateway = await start_gateway(hedged(first, second, third))
        asked = asyncio.create_task(get(gateway))
        one, other = await taken(first), await taken(second)
        one.reset()
        other.reset()
        assert (await asked).json() == {"third": True}
        await idle(gateway)
        assert (len(first.requests), len(second.requests), len(third.requests)) == (1, 1, 1)
        assert spent(upstream_of(gateway)) == 2


async def test_both_are_let_go_when_the_client_leaves(
    start_gateway: StartGateway, report: Report
) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(hang) as first, ScriptedUpstream(hang) as second:
        gateway = await start_gateway(hedged(first, second))
        async with RawClient(gateway.port) as client:
            await client.send(GET)
            await second.wait_requests(1)
            left_at = loop.time()
            client.reset()
        gone_at = [await one.connections[0].wait_client_gone() for one in (first, second)]
        await idle(gateway)
    report("hedge", "client gone to both closed, ms", (max(gone_at) - left_at) * 1e3)


@pytest.mark.parametrize("turns", range(10))
async def test_nothing_is_left_behind_when_a_client_leaves_as_the_second_answers(
    start_gateway: StartGateway, turns: int
) -> None:
    async with ScriptedUpstream(hang) as first, ScriptedUpstream() as second:
        gateway = await start_gateway(hedged(first, second, hedge={"after": "20ms"}))
        async with RawClient(gateway.port) as client:
            await client.send(GET)
            connection = await taken(second)
            await connection.send(reply(b"{}"))
            for _ in range(turns):  # of the event loop, which is the gateway's too
                await asyncio.sleep(0)
            client.reset()
        await first.connections[0].wait_client_gone()
        await idle(gateway)
        assert [busy_connections(e) for e in upstream_of(gateway).endpoints] == [0, 0]


# -- where there is none -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["post", "streamed", "no-budget", "nobody-else"])
async def test_there_is_no_second(start_gateway: StartGateway, what: str) -> None:
    raw = {
        "post": request("POST", body=b"{}"),
        "streamed": request("PUT", headers=["Transfer-Encoding: chunked"]) + b"1\r\na\r\n",
    }.get(what, GET)
    retries = {"budget": "0%", "reserve": 0} if what == "no-budget" else {}
    async with ScriptedUpstream() as first, ScriptedUpstream() as second:
        used = (first,) if what == "nobody-else" else (first, second)
        document = hedged(*used, retries=retries, hedge={"after": "50ms"})
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(raw)
            connection = await first.accept()
            await connection.read_head()
            await asyncio.sleep(0.2)  # there is no event for "nobody else was asked"
            await connection.send(reply(b"{}"))
            assert (await client.read_response()).status == 200
        assert second.connections == []
        assert upstream_of(gateway).counts.hedges == 0


async def test_a_second_that_has_no_room_is_not_waited_for(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream() as second:
        document = hedged(first, second, max_requests=1, pending_wait="15s")
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as other:
            # What is not repeated takes both places.
            await one.send(request("POST"))
            holding = await taken(first)
            await other.send(request("POST"))
            await taken(second)
            await holding.send(reply(b"{}"))
            assert (await one.read_response("POST")).status == 200
            asked = asyncio.create_task(get(gateway))
            await holding.read_request()
            await asyncio.sleep(0.3)  # three times what it takes to be late
            started = time.perf_counter()
            await holding.send(reply(b'{"first":1}'))
            response = await asked
            took_s = time.perf_counter() - started
        assert (response.status, response.json()) == (200, {"first": 1})
        assert took_s < SLACK_S
