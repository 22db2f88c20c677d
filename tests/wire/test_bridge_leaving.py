"""Generations that are cancelled, left, and come back to, over a bridge."""

from __future__ import annotations

import time

from tests.support.bridge import (
    bridge_client,
    bridged,
    carried,
    endless,
    headers,
    of_socket,
    texts,
    under_way,
)
from tests.support.client import ask, request
from tests.support.exchange import EVENTS
from tests.support.figures import Report, percentile
from tests.support.gateway import StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    ScriptedUpstream,
    UpstreamConnection,
    sse_reply,
    stepped_stream,
)

CANCEL_S = 0.25


# -- cancel ----------------------------------------------------------------------------------------


async def test_cancel_stops_the_upstream_within_50_ms(
    start_gateway: StartGateway, report: Report
) -> None:
    took_s = []
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            for number in range(50):
                await under_way(client, number)
                connection = upstream.connections[-1]
                began = time.perf_counter()
                await client.say("cancel", id=number)
                await connection.wait_client_gone()
                took_s.append(time.perf_counter() - began)
                assert (await client.end_of(number))[-1] == {"id": number, "type": "cancelled"}
        line = await gateway.wait_for_log(carried)
    report("W12", "cancel said to upstream closed, p50 ms", percentile(took_s, 50) * 1e3)
    report("W12", "cancel said to upstream closed, p99 ms", percentile(took_s, 99) * 1e3)
    assert percentile(took_s, 50) < CANCEL_S
    assert line["end"] == "client_abort"


async def test_a_generation_that_waits_for_its_upstream_is_cancelled(
    start_gateway: StartGateway,
) -> None:
    async def silent(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.wait_client_gone()

    async with ScriptedUpstream(silent) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            await upstream.wait_requests(1)
            await client.say("cancel", id="a")
            assert await client.hear() == {"id": "a", "type": "cancelled"}
            await upstream.connections[0].wait_client_gone()
        line = await gateway.wait_for_log(carried)
    assert (line["end"], line["error"]) == ("client_abort", "stream_cancelled")


async def test_cancel_leaves_the_others_alone(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.create("b")
            await client.hear_until("created", tag="b")
            await client.say("cancel", id="a")
            await client.end_of("a")
            await upstream.connections[0].wait_client_gone()
            assert upstream.connections[1].is_open
            await client.say("cancel", id="b")
            await client.end_of("b")


async def test_an_operator_ends_one_generation(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            created = await client.hear()
            listener = gateway.server.listener
            assert listener.cancel(created["request_id"])
            heard = await client.end_of("a")
            assert (heard[-1]["type"], heard[-1]["error"]["code"]) == ("error", "request_cancelled")
            await client.say("ping")
            assert await client.hear() == {"type": "pong"}


# -- leaving, and coming back ----------------------------------------------------------------------


async def test_a_client_that_leaves_stops_all_its_generations(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await under_way(client, *range(8))
            client.connection.transport.abort()
        for connection in upstream.connections:
            await connection.wait_client_gone()
        await gateway.wait_for_log(of_socket)
        lines = [line for line in gateway.log.requests if carried(line)]
    assert {line["end"] for line in lines} == {"client_abort"}
    assert len(lines) == 8


RESUMED = {"on_disconnect": "grace", "grace": "60s"}


async def test_a_generation_is_gone_on_with_from_another_socket(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, resume=RESUMED))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            created = await client.hear()
            await upstream.release(EVENTS[0])
            first = await client.hear()
            client.connection.transport.abort()
        assert created["on_disconnect"] == "grace=60s"
        assert first["event_id"] == f"{created['stream']}.1"
        await gateway.wait_for_log(of_socket)
        await upstream.release(EVENTS[1])
        async with bridge_client(gateway.port) as client:
            await client.say("resume", id="b", after=first["event_id"])
            await client.say("resume", id="c", stream=created["stream"])
            await upstream.finish()
            ends = 0
            while ends < 2:
                ends += (await client.hear())["type"] == "done"
            heard = [[said for said in client.seen if said["id"] == tag] for tag in "bc"]
            await client.say("resume", id="d", stream=created["stream"], after=2)
            assert (await client.end_of("d"))[-1] == {"id": "d", "type": "done"}
        assert len(upstream.requests) == 1
    assert [texts(each) for each in heard] == [[{"n": 2}], [{"n": 1}, {"n": 2}]]
    assert [each[-1]["type"] for each in heard] == ["done", "done"]


async def test_who_came_back_may_cancel(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, resume=RESUMED))
        async with bridge_client(gateway.port) as client:
            await client.create("a")
            created = await client.hear()
            client.connection.transport.abort()
        async with bridge_client(gateway.port) as client:
            await client.say("resume", id="b", stream=created["stream"])
            await client.hear_until("created")
            await client.say("cancel", id="b")
            assert (await client.end_of("b"))[-1]["type"] == "cancelled"
            await upstream.connections[0].wait_client_gone()


async def test_cancel_is_no_disconnect(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(bridged(upstream.url, resume=RESUMED))
        async with bridge_client(gateway.port) as client:
            await under_way(client, "a")
            await client.say("cancel", id="a")
            await client.end_of("a")
            await upstream.connections[0].wait_client_gone()


async def test_a_stream_begun_by_http_is_read_by_a_socket_of_its_owner_only(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        config = bridged(upstream.url, auth=["corp"], resume={})
        gateway = await start_gateway({**config, "auth": auth})
        asked = request(
            "POST",
            "/v1/chat/completions",
            headers=["Content-Type: application/json", bearer()],
            body=b'{"stream": true}',
        )
        stream = ((await ask(gateway.port, asked, "POST")).value("x-stream-id") or b"").decode()
        async with bridge_client(gateway.port, **headers(bearer())) as client:
            await client.say("resume", id="a", stream=stream)
            assert texts(await client.end_of("a")) == [{"n": 1}, {"n": 2}]
        async with bridge_client(gateway.port, **headers(bearer(sub="mallory"))) as client:
            await client.say("resume", id="a", stream=stream)
            assert (await client.end_of("a"))[-1]["error"]["code"] == "stream_not_found"
