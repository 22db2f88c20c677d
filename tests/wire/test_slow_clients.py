"""S1 to S4: clients that send slowly, or read slowly."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from tests.support.client import End, RawClient, request
from tests.support.control import Control, beside_control, control_request
from tests.support.exchange import ask
from tests.support.figures import Report
from tests.support.flood import PAGE, Flood, open_and_stall
from tests.support.gateway import (
    StartGateway,
    StartGatewayProcess,
    simple_config,
)
from tests.support.peers import upstream_of
from tests.support.refusal import assert_error, assert_nothing_forwarded
from tests.support.upstream import (
    LAST_CHUNK,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    reply,
)
from tests.support.waiting import SLACK_S, eventually

KIB = 1024


def now() -> float:
    return asyncio.get_running_loop().time()


async def trickle(client: RawClient, data: bytes, period_s: float) -> float:
    """Send a byte each period until the gateway answers or ends; seconds that took."""
    started = now()
    for at in range(len(data)):
        if client.received_bytes or client.end is not End.OPEN:
            return now() - started
        await client.send(data[at : at + 1])
        await asyncio.sleep(period_s)
    raise AssertionError(f"{len(data)} bytes trickled in without an answer")


# -- S1: slow headers ------------------------------------------------------------------------


async def test_s1_a_header_that_trickles_in_is_408_in_time(
    upstream: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"header_timeout": "500ms"}))
    async with RawClient(gateway.port) as client:
        took_s = await trickle(client, request(headers=["X-Slow: " + "x" * 1000]), 0.02)
        response = await client.read_response()
        await client.read_to_end()
    assert_error(response, 408, code="request_timeout")
    assert response.value("connection") == b"close"
    report("S1", "s to 408 where 0.5 s are allowed", took_s)
    assert 0.45 <= took_s < 0.5 + SLACK_S
    await assert_nothing_forwarded(gateway.port, upstream)


async def test_s1_a_header_that_stops_is_408_on_a_kept_alive_connection_too(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"header_timeout": "300ms"}))
    async with RawClient(gateway.port) as client:
        await client.send(request())
        assert (await client.read_response()).status == 200
        started = now()
        await client.send(b"GET /v1/x HTTP/1.1\r\nHost: gate")
        response = await client.read_response()
        assert_error(response, 408)
        assert 0.25 <= now() - started < 0.3 + SLACK_S
        await client.read_to_end()


async def test_s1_the_408_has_a_fixed_body_but_for_the_id_of_the_request(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"header_timeout": "200ms"}))
    bodies = set()
    for raw in (b"GET /canary", b"GET /v1/x HTTP/1.1\r\nX-Canary: canary", b"POST / HTTP/1.1\r\n"):
        async with RawClient(gateway.port) as client:
            await client.send(raw)
            response = await client.read_response()
        assert b"canary" not in response.head.raw
        request_id = response.value("x-request-id")
        assert request_id
        assert response.json()["error"]["request_id"].encode() == request_id
        bodies.add(response.body.replace(request_id, b""))
    assert len(bodies) == 1


async def test_s1_a_client_that_never_says_anything_is_closed(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"header_timeout": "300ms"}))
    async with RawClient(gateway.port) as client:
        await client.wait_closed()
    assert client.end is End.CLOSED


async def test_s1_an_idle_connection_is_closed_without_a_word(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"keepalive": "300ms"}))
    async with RawClient(gateway.port) as client:
        started = now()
        await client.send(request())
        await client.read_response()
        assert await client.read_to_end() == b""
        assert 0.29 <= now() - started < 0.3 + SLACK_S
    assert client.end is End.CLOSED


async def test_s1_ten_seconds_are_allowed_unless_the_configuration_says_otherwise(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url))
    assert gateway.config.server.header_timeout == 10


async def test_s1_200_slow_headers_do_not_slow_an_innocent_client(
    upstream: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"header_timeout": "1s"}))

    async def be_slow() -> None:
        async with RawClient(gateway.port) as client:
            await trickle(client, b"GET /v1/x HTTP/1.1\r\nX: " + b"x" * 1000, 0.1)
            assert_error(await client.read_response(), 408)

    async with Control(gateway.port) as control:
        await asyncio.gather(*(be_slow() for _ in range(200)))
    control.report(report, "S1")


# -- S2: slow bodies -------------------------------------------------------------------------

FRAMINGS = {
    "length": request("POST", headers=["Content-Length: 1000"]) + b'{"model": ',
    "chunked": request("POST", headers=["Transfer-Encoding: chunked"]) + chunk(b'{"model": '),
    "mid-chunk": request("POST", headers=["Transfer-Encoding: chunked"]) + b'400\r\n{"model": ',
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_s2_a_buffered_body_that_stops_is_408_and_holds_no_upstream(
    upstream: ScriptedUpstream, start_gateway: StartGateway, framing: str, report: Report
) -> None:
    config = simple_config(upstream.url, server={"body_timeout": "300ms"}, models=["llama"])
    gateway = await start_gateway(config, models={"llama": {"upstream": "main"}})
    async with RawClient(gateway.port) as client:
        started = now()
        await client.send(FRAMINGS[framing])
        response = await client.read_response()
        took_s = now() - started
        await client.read_to_end()
    assert_error(response, 408, code="request_timeout")
    report("S2", f"s to 408 where 0.3 s are allowed, {framing}", took_s)
    report("S2", f"upstream connections held, buffered, {framing}", len(upstream.connections))
    assert 0.25 <= took_s < 0.3 + SLACK_S
    assert upstream.connections == []
    await assert_nothing_forwarded(gateway.port, upstream)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_s2_a_streamed_body_that_stops_is_408_and_frees_its_upstream(
    upstream: ScriptedUpstream, start_gateway: StartGateway, framing: str, report: Report
) -> None:
    gateway = await start_gateway(simple_config(upstream.url, server={"body_timeout": "300ms"}))
    async with RawClient(gateway.port) as client:
        started = now()
        await client.send(FRAMINGS[framing])
        response = await client.read_response()
        took_s = now() - started
        await client.read_to_end()
    assert_error(response, 408, code="request_timeout")
    assert 0.25 <= took_s < 0.3 + SLACK_S
    await upstream.wait_closed()
    report("S2", f"upstream connections held after 408, {framing}", upstream.open_connections)
    assert upstream.requests == []
    await control_request(gateway.port)


async def test_s2_a_body_that_trickles_into_a_buffer_holds_no_upstream(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    server = {"body_timeout": "1s", "body_rate": None}
    config = simple_config(upstream.url, server=server, models=["llama"])
    gateway = await start_gateway(config, models={"llama": {"upstream": "main"}})
    body = b'{"model": "llama", "pad": "xxxxxx"}'
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=[f"Content-Length: {len(body)}"]))
        for at in range(len(body)):
            assert upstream.connections == []
            await client.send(body[at : at + 1])
            await asyncio.sleep(0.04)  # together longer than the timeout
        assert (await client.read_response()).status == 200
    assert upstream.requests[-1].body == body


SLOW_UPLOAD = {
    "length": request("POST", headers=["Content-Length: 2097152"]) + b"{",
    "chunked": request("POST", headers=["Transfer-Encoding: chunked"]) + chunk(b"{"),
}


async def drip(client: RawClient, framing: str) -> None:
    """Send a byte now and then, until the gateway has had enough."""
    while client.end is End.OPEN:
        await client.send(b"x" if framing == "length" else chunk(b"x"))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("models", [["llama"], []], ids=["buffered", "streamed"])
@pytest.mark.parametrize("framing", SLOW_UPLOAD)
async def test_a_body_below_the_lowest_rate_is_408_though_it_never_stops(
    upstream: ScriptedUpstream, start_gateway: StartGateway, framing: str, models: list[str]
) -> None:
    server = {"body_timeout": "300ms"}
    config = simple_config(upstream.url, server=server, models=models)
    gateway = await start_gateway(config, models={"llama": {"upstream": "main"}})
    async with RawClient(gateway.port) as client:
        started = now()
        await client.send(SLOW_UPLOAD[framing])
        dripping = asyncio.create_task(drip(client, framing))
        response = await client.read_response()
        took_s = now() - started
        await client.read_to_end()
        dripping.cancel()
    assert_error(response, 408, code="request_timeout")
    assert 0.25 <= took_s < 0.3 + SLACK_S
    assert upstream.requests == []


async def test_a_body_above_the_lowest_rate_may_take_its_time(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    server = {"body_timeout": "1s", "body_rate": "100B"}
    gateway = await start_gateway(simple_config(upstream.url, server=server))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=["Content-Length: 600"]))
        for _ in range(12):  # longer than the timeout
            await asyncio.sleep(0.1)
            await client.send(b"x" * 50)
        assert (await client.read_response()).status == 200
    assert len(upstream.requests[0].body) == 600


async def test_the_time_in_which_an_upstream_takes_nothing_is_not_the_clients(
    start_gateway: StartGateway,
) -> None:
    async def hesitant(connection: UpstreamConnection) -> None:
        await connection.read_head()
        connection.pause_reading()
        await asyncio.sleep(1.2)  # twice what a client may be behind
        connection.resume_reading()
        await connection.read_exactly(len(body))
        await connection.send(reply(b"{}"))

    body = b"x" * 8 * 1024 * KIB
    async with ScriptedUpstream(hesitant) as upstream:
        server = {"body_timeout": "600ms"}
        gateway = await start_gateway(simple_config(upstream.url, server=server))
        assert (await ask(gateway.port, request("PUT", body=body))).status == 200


@pytest.mark.parametrize("framing", SLOW_UPLOAD)
async def test_slow_uploads_leave_half_of_an_upstreams_room_to_others(
    upstream: ScriptedUpstream, start_gateway: StartGateway, framing: str, report: Report
) -> None:
    config = simple_config(upstream.url, upstream={"max_requests": 8, "pending": 0})
    gateway = await start_gateway(config)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(gateway.port)) for _ in range(30)]
        for client in clients:
            await client.send(SLOW_UPLOAD[framing])
        await eventually(lambda: len(upstream.connections) >= 4)
        answers = [await ask(gateway.port, request("GET"), "GET") for _ in range(10)]
        # A body that comes in several packets is not held up by those that do not come.
        body = b"x" * 300 * KIB
        async with RawClient(gateway.port) as other:
            await other.send(request("POST", headers=[f"Content-Length: {len(body)}"]))
            for at in range(0, len(body), 50 * KIB):
                await other.send(body[at : at + 50 * KIB])
                await asyncio.sleep(0.005)
            answers.append(await other.read_response())
        held = upstream_of(gateway).uploads
        report("S2", f"places of 8 held by 30 slow uploads, {framing}", held)
        assert {answer.status for answer in answers} == {200}
        assert held == 4


async def test_slow_uploads_take_no_place_in_a_queue(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    queue = {"concurrency": 1, "queue": 0}
    gateway = await start_gateway(simple_config(upstream.url, upstream={"admission": queue}))
    async with RawClient(gateway.port) as one, RawClient(gateway.port) as other:
        for client in (one, other):
            await client.send(SLOW_UPLOAD["length"])
        assert (await ask(gateway.port, request("GET"), "GET")).status == 200
        assert len(upstream.connections) == 1


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked_once(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    for room in ({"admission": {"concurrency": 1}}, {"max_requests": 1}, {}):
        gateway = await start_gateway(simple_config(upstream.url, upstream=room))
        async with RawClient(gateway.port) as client:
            headers = ["Expect: 100-continue", "Content-Length: 3"]
            await client.send(request("POST", headers=headers))
            assert (await client.read_head()).status == 100
            await client.send(b"{}\n")
            assert (await client.read_head()).status == 200


async def test_slow_uploads_hold_no_memory_for_bodies(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    config = simple_config(upstream.url, server={"body_memory": "1MiB"}, models=["llama"])
    gateway = await start_gateway(config, models={"llama": {"upstream": "main"}})
    async with RawClient(gateway.port) as one, RawClient(gateway.port) as other:
        for client in (one, other):
            await client.send(SLOW_UPLOAD["length"])
        body = b'{"model": "llama", "pad": "%b"}' % (b"x" * 500 * KIB)
        raw = request("POST", body=body)
        assert (await ask(gateway.port, raw)).status == 200
        assert gateway.server.state.bodies.held_bytes == 0


# -- S3 and S4: slow readers -----------------------------------------------------------------

SOCKET_BUFFER = 32 * KIB  # Linux doubles it


@pytest.mark.long
@pytest.mark.own_program
async def test_s3_slow_readers_of_streams_cost_at_most_128_kib_each(
    start_gateway_process: StartGatewayProcess,
    pytestconfig: pytest.Config,
    report: Report,
) -> None:
    count: int = pytestconfig.getoption("--slow-readers")
    flood = Flood()
    async with ScriptedUpstream(beside_control(flood), send_buffer_bytes=SOCKET_BUFFER) as upstream:
        gateway = await start_gateway_process(
            simple_config(
                upstream.url,
                server={"send_timeout": "5m", "max_connections": count + 100},
                upstream={"max_connections": count + 100},
            ),
            nofile=2 * count + 200,
        )
        for _ in range(20):
            await control_request(gateway.port)
        before = gateway.rss_bytes
        clients: list[RawClient] = []
        try:
            for at in range(0, count, 50):
                batch = [
                    RawClient(gateway.port, receive_buffer_bytes=SOCKET_BUFFER)
                    for _ in range(min(50, count - at))
                ]
                await asyncio.gather(*(client.__aenter__() for client in batch))
                clients += batch
                await asyncio.gather(*(open_and_stall(client) for client in batch))
            await flood.stalled()
            grown = gateway.rss_bytes - before
            async with Control(gateway.port) as control:
                await control.served(50)
            report("S3", f"KiB/stream, {count} slow readers", grown / count / KIB)
            report("S3", "RSS, MiB", gateway.rss_bytes / KIB**2)
            control.report(report, "S3")
            assert grown / count <= 128 * KIB
            # None of them has lost or mixed up anything.
            for client in clients[:: max(1, count // 20)]:
                client.resume_reading()
                got = bytearray()
                while len(got) < 256 * KIB:
                    got += await client.read_chunk() or b"the stream ended"
                whole = len(got) // len(PAGE) * len(PAGE)
                assert got[:whole] == PAGE * (whole // len(PAGE))
                client.reset()
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)
        await upstream.wait_closed()


async def test_s4_a_client_with_a_closed_window_is_cut_in_time(
    start_gateway: StartGateway, report: Report
) -> None:
    flood = Flood()
    async with ScriptedUpstream(beside_control(flood)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server={"send_timeout": "1s"}))
        async with RawClient(gateway.port, receive_buffer_bytes=4 * KIB) as client:
            started = now()
            await open_and_stall(client)
            connection = upstream.connections[0]
            took_s = await connection.wait_client_gone() - started
            report("S4", "s to the cut where 1 s is allowed", took_s)
            assert 0.99 <= took_s < 1.0 + SLACK_S
            line = await gateway.wait_for_log(lambda line: line["event"] == "request")
            assert line["end"] == "client_abort"
            client.resume_reading()
            rest = await client.read_to_end()
        # It must not look like a stream that was complete.
        assert not rest.endswith(LAST_CHUNK)
        await control_request(gateway.port)


async def test_s4_a_finished_response_that_nobody_takes_is_cut_too(
    start_gateway: StartGateway,
) -> None:
    async def answer(connection: UpstreamConnection) -> None:
        await connection.send(reply(b"x" * 16 * KIB * KIB))

    async with ScriptedUpstream(beside_control(answer)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server={"send_timeout": "1s"}))
        async with RawClient(gateway.port, receive_buffer_bytes=4 * KIB) as client:
            await open_and_stall(client)
            started = now()
            await gateway.wait_for_log(lambda line: line["event"] == "request")
            assert now() - started < 1.0 + SLACK_S
        assert gateway.server.state.overload.requests == 0


async def test_s4_a_client_that_reads_slowly_but_steadily_is_not_cut(
    start_gateway: StartGateway, report: Report
) -> None:
    # The kernel takes megabytes for a slow reader before it lets the gateway write again: what
    # counts as progress is what the client acknowledges.
    flood = Flood()
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(beside_control(flood)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server={"send_timeout": "1s"}))
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
            await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(sock, request(target="/v1/stream"))
            started, taken = now(), 0
            while now() - started < 4.0:
                data = await loop.sock_recv(sock, 8 * KIB)
                assert data, f"cut after {now() - started:.1f} s of steady reading"
                taken += len(data)
                await asyncio.sleep(0.05)
        report("S4", "KiB/s of a slow reader that is not cut", taken / KIB / 4.0)
