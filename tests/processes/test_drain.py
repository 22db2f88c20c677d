"""Stopping: what is under way ends in order, or is told why it does not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from tests.support.admin import admin
from tests.support.client import RawClient, ask
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    stepped_stream,
)
from tests.support.waiting import PATIENCE_S

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STREAM = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAMS = 500


async def read_stream(client: RawClient) -> bytes:
    """The rest of a body in chunks."""
    body = b""
    while (piece := await client.read_chunk()) is not None:
        body += piece
    return body


async def refused(port: int) -> None:
    """Wait until nobody listens any more: the last of the sockets closes in a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()


async def test_o3_500_streams_end_while_the_gateway_drains(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    end = asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await end.wait()
        await connection.send(chunk(b"data: 2\n\n") + LAST_CHUNK)

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(RawClient(gateway.port)) for _ in range(STREAMS)
            ]
            await asyncio.gather(*(client.send(STREAM) for client in clients))
            await asyncio.gather(*(client.read_head() for client in clients))
            told_at = time.perf_counter()
            gateway.signal(signal.SIGTERM)
            for _ in range(2):
                await gateway.log.wait_for(lambda line: line["event"] == "draining")
            await refused(gateway.port)
            end.set()
            bodies = await asyncio.gather(*(read_stream(client) for client in clients))
        finished = sum(body == b"data: 1\n\ndata: 2\n\n" for body in bodies)
        assert await gateway.wait() == 0
        report("O3", f"of {STREAMS} streams, finished, %", 100 * finished / STREAMS)
        report("O3", "s to exit", time.perf_counter() - told_at)
        assert finished == STREAMS


async def test_o4_when_the_grace_is_over_a_stream_is_told_so(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"drain": "300ms"})
        )
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            assert await client.read_chunk() == b"data: 1\n\n"
            told_at = time.perf_counter()
            gateway.signal(signal.SIGTERM)
            event = await client.read_chunk()
            assert event is not None
            assert b'"code":"gateway_draining"' in event
            assert b"Send the request again" in event
            assert b"retry: 1000\ndata: " in event
            assert await client.read_to_end() == b""  # and no clean end
        assert await gateway.wait() == 0
        report("O4", "grace of 300 ms: s to exit", time.perf_counter() - told_at)
    assert [line["end"] for line in gateway.log.requests] == ["drain"]


async def test_o4_a_request_without_an_answer_yet_is_told_so_too(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"drain": "300ms"})
        )
        asking = asyncio.create_task(ask(gateway.port, GET))
        await upstream.wait_requests(1)
        gateway.signal(signal.SIGTERM)
        answer = await asking
        assert answer.status == 503
        assert answer.json()["error"]["code"] == "gateway_draining"
        assert answer.value("retry-after") == b"1"
        assert await gateway.wait() == 0


async def test_readiness_goes_red_before_the_listener_closes(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"drain_delay": "2s"})
        )
        assert (await admin(gateway, "GET", "/readyz")).status == 200
        gateway.signal(signal.SIGTERM)
        await gateway.log.wait_for(lambda line: line["event"] == "draining")
        said = await admin(gateway, "GET", "/readyz")
        assert (said.status, said.json()["reasons"]) == (503, ["worker 0: draining"])
        assert (await admin(gateway, "GET", "/livez")).status == 200
        assert (await ask(gateway.port, GET)).status == 200
        gateway.signal(signal.SIGTERM)
        assert await gateway.wait() == 0


async def test_an_idle_connection_ends_when_the_gateway_drains(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            assert (await client.read_response()).status == 200
            gateway.signal(signal.SIGTERM)
            assert await client.read_to_end() == b""
        assert await gateway.wait() == 0


async def test_a_request_on_a_connection_that_was_just_made_is_answered(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.port) as new, RawClient(gateway.port) as begun:
            await begun.send(STREAM[:10])
            await control(gateway.port)  # both were accepted before this was
            await begin_to_drain(gateway)
            await refused(gateway.port)
            await new.send(STREAM)
            await begun.send(STREAM[10:])
            for client in (new, begun):
                answer = await client.read_response()
                assert (answer.status, answer.value("connection")) == (200, b"close")
                assert await client.read_to_end() == b""
        assert await gateway.wait() == 0


async def test_an_idle_client_that_was_not_told_has_one_more_request_answered(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            assert (await client.read_response()).value("connection") is None
            await begin_to_drain(gateway)
            await client.send(STREAM)
            answer = await client.read_response()
            assert (answer.status, answer.value("connection")) == (200, b"close")
            assert await client.read_to_end() == b""
        assert await gateway.wait() == 0


async def test_a_client_whose_stream_ends_in_a_drain_has_one_more_request_answered(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            await upstream.release(b"data: 1\n\n")
            assert (await client.read_head()).value("connection") is None
            assert await client.read_chunk() == b"data: 1\n\n"
            await begin_to_drain(gateway)
            await upstream.finish()
            assert await client.read_chunk() is None
            await client.send(STREAM)
            await upstream.finish()
            assert (await client.read_head()).value("connection") == b"close"
            assert await client.read_chunk() is None
            assert await client.read_to_end() == b""
        assert await gateway.wait() == 0


async def test_a_connection_that_sends_nothing_keeps_no_gateway(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await control(gateway.port)
            gateway.signal(signal.SIGTERM)
            assert await client.read_to_end() == b""
        assert await gateway.wait() == 0


async def control(port: int) -> None:
    """A request that is answered: those before it have arrived."""
    assert (await ask(port, GET)).status == 200


async def begin_to_drain(gateway: GatewayProcess) -> None:
    """Tell it to, and wait until it does."""
    gateway.signal(signal.SIGTERM)
    await gateway.log.wait_for(lambda line: line["event"] == "draining")
