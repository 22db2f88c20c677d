"""S5 to S7: clients that stop sending, or leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.client import End, RawClient, request
from tests.support.control import beside_control, control_request
from tests.support.figures import Report, percentile
from tests.support.flood import Flood, open_and_stall
from tests.support.gateway import (
    RunningGateway,
    StartGateway,
    simple_config,
)
from tests.support.refusal import assert_nothing_forwarded
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    PeerGone,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    reply,
)
from tests.support.waiting import PATIENCE_S, SLACK_S

KIB = 1024
EVENT = b"data: x\n\n"
ABORTS = 60


@pytest.fixture
async def player() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that the test plays itself."""
    async with ScriptedUpstream() as upstream:
        yield upstream


def now() -> float:
    return asyncio.get_running_loop().time()


# -- S5: half-close --------------------------------------------------------------------------


async def test_s5_a_half_close_before_the_first_byte_leaves_the_response_whole(
    player: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    gateway = await start_gateway(simple_config(player.url))
    whole = 0
    for _ in range(20):
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", body=b"{}"))
            connection = await player.accept()
            await connection.read_request()
            client.half_close()
            await asyncio.sleep(0.05)  # there is no event for "the gateway did nothing"
            await connection.send(reply(b"whole"))
            response = await client.read_response()
            assert (response.status, response.body, response.clean_end) == (200, b"whole", True)
            await client.read_to_end()
            assert client.end is End.CLOSED
            connection.close()
            whole += 1
    report("S5", "whole responses of 20 after a half-close, first byte", whole)


async def test_s5_a_half_close_in_mid_stream_leaves_the_stream_whole(
    player: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    gateway = await start_gateway(simple_config(player.url))
    whole = 0
    for _ in range(20):
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", body=b"{}"))
            connection = await player.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENT))
            assert (await client.read_head()).status == 200
            assert await client.read_chunk() == EVENT
            client.half_close()
            for _ in range(3):
                await asyncio.sleep(0.02)
                await connection.send(chunk(EVENT))
                assert await client.read_chunk() == EVENT
            await connection.send(LAST_CHUNK)
            assert await client.read_chunk() is None
            assert await client.read_to_end() == b""
            assert client.end is End.CLOSED
            connection.close()
            whole += 1
    report("S5", "whole streams of 20 after a half-close, mid-SSE", whole)


async def test_s5_a_half_close_with_the_request_in_one_go_is_served(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    # As `printf ... | nc` does it.
    gateway = await start_gateway(simple_config(upstream.url))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", body=b"{}"))
        client.half_close()
        response = await client.read_response()
        assert (response.status, response.clean_end) == (200, True)
        assert await client.read_to_end() == b""
        assert client.end is End.CLOSED


async def test_s5_a_half_close_in_the_middle_of_a_request_ends_it(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url))
    for raw in (
        b"GET /v1/x HTTP/1.1\r\n",
        request("POST", headers=["Content-Length: 9"]) + b"x",
        request("POST", headers=["Transfer-Encoding: chunked"]) + b"5\r\nhel",
    ):
        async with RawClient(gateway.port, patience_s=PATIENCE_S) as client:
            await client.send(raw)
            client.half_close()
            assert not (await client.read_to_end()).startswith(b"HTTP/1.1 2")
    await control_request(gateway.port)
    assert [r.target for r in upstream.requests] == ["/v1/control"]


async def test_s5_requests_that_arrived_before_a_half_close_are_all_served(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(simple_config(upstream.url))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", body=b"{}") * 3)
        client.half_close()
        answers = [await client.read_response() for _ in range(3)]
        assert await client.read_to_end() == b""
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [answer.value("connection") for answer in answers] == [None, None, b"close"]


# -- S6: abort -------------------------------------------------------------------------------

LEAVE: dict[str, Callable[[RawClient], None]] = {"FIN": RawClient.close, "RST": RawClient.reset}


@pytest.mark.parametrize("when", ["before the first byte", "mid-SSE"])
@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_s6_an_abort_closes_the_upstream_in_50_ms(
    player: ScriptedUpstream,
    start_gateway: StartGateway,
    leave: Callable[[RawClient], None],
    when: str,
    report: Report,
) -> None:
    gateway = await start_gateway(simple_config(player.url))
    delays_ms = []
    for _ in range(ABORTS):
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", body=b"{}"))
            connection = await player.accept()
            await connection.read_request()
            if when == "mid-SSE":
                await connection.send(STREAM_HEAD + chunk(EVENT))
                await client.read_head()
                assert await client.read_chunk() == EVENT
            left = now()
            leave(client)
            delays_ms.append((await connection.wait_client_gone() - left) * 1e3)
            connection.close()
    how = "FIN" if leave is RawClient.close else "RST"
    report("S6", f"{how} {when} to upstream closed, p99 ms", percentile(delays_ms, 99))
    assert percentile(delays_ms, 50) <= 250


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_s6_after_an_abort_hardly_a_token_is_billed(
    start_gateway: StartGateway, leave: Callable[[RawClient], None], report: Report
) -> None:
    tokens: list[float] = []

    async def generate(connection: UpstreamConnection) -> None:
        try:
            await connection.read_request()
            await connection.send(STREAM_HEAD)
            while True:
                await connection.send(chunk(EVENT))
                tokens.append(now())
                await asyncio.sleep(0.005)
        except PeerGone:
            pass

    billed = []
    async with ScriptedUpstream(generate) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(ABORTS // 3):
            async with RawClient(gateway.port) as client:
                await client.send(request("POST", body=b"{}"))
                await client.read_head()
                await client.read_chunk()
                await client.read_chunk()
                left = now()
                leave(client)
                await upstream.wait_closed()
            billed.append(sum(at > left for at in tokens))
            tokens.clear()
    how = "FIN" if leave is RawClient.close else "RST"
    report("S6", f"tokens after a {how}, worst, at 200 tokens/s", max(billed))
    assert percentile(billed, 50) <= 10  # 50 ms of them


async def test_s6_an_abort_of_a_client_that_has_fallen_behind_closes_the_upstream(
    start_gateway: StartGateway, report: Report
) -> None:
    flood = Flood()
    delays_ms = []
    async with ScriptedUpstream(beside_control(flood)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(10):
            async with RawClient(gateway.port, receive_buffer_bytes=4 * KIB) as client:
                await open_and_stall(client)
                await flood.stalled()
                left = now()
                client.reset()
                gone = await upstream.connections[-1].wait_client_gone()
                delays_ms.append((gone - left) * 1e3)
    report("S6", "RST of a stalled reader to upstream closed, worst ms", max(delays_ms))
    assert percentile(delays_ms, 50) <= 250


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_s6_many_aborts_at_once_in_full_flow_break_nothing(
    start_gateway: StartGateway, leave: Callable[[RawClient], None], chunked: bool
) -> None:
    # Bytes of the upstream and the end of the client arrive in one turn of the event loop; what
    # is written to a client that has just gone must not fail (the fixture sees it if it does).
    async with ScriptedUpstream(beside_control(Flood(chunked=chunked))) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        for _ in range(5):
            clients = [RawClient(gateway.port) for _ in range(4)]
            for client in clients:
                await client.__aenter__()
                await client.send(request(target="/v1/stream"))
            for client in clients:
                await client.read_exactly(16 * KIB)
            for client in clients:
                leave(client)
            for client in clients:
                await client.__aexit__(None, None, None)
            await upstream.wait_closed()
        await control_request(gateway.port)


# -- S7: abort while queued ------------------------------------------------------------------


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_s7_requests_queued_behind_another_are_never_sent_once_the_client_has_left(
    player: ScriptedUpstream, start_gateway: StartGateway, leave: Callable[[RawClient], None]
) -> None:
    gateway = await start_gateway(simple_config(player.url))
    async with RawClient(gateway.port) as client:
        await client.send(b"".join(request("POST", f"/v1/{n}", body=b"{}") for n in range(5)))
        connection = await player.accept()
        assert (await connection.read_request()).target == "/v1/0"
        leave(client)
        await connection.wait_client_gone()
        connection.close()
    await assert_only(gateway, player, ["/v1/0"])


async def test_s7_a_request_waiting_for_its_connection_is_never_sent_once_the_client_has_left(
    player: ScriptedUpstream, start_gateway: StartGateway, report: Report
) -> None:
    # The upstream takes the connection and never answers the TLS handshake.
    url = player.url.replace("http:", "https:")
    gateway = await start_gateway(simple_config(url))
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", body=b"{}"))
        connection = await player.accept()
        assert (await connection.read_some()).startswith(b"\x16\x03")  # a ClientHello
        left = now()
        client.close()
        delay_s = await connection.wait_client_gone() - left
        connection.close()
    report("S7", "FIN while connecting to upstream closed, ms", delay_s * 1e3)
    assert delay_s < SLACK_S
    assert player.requests == []


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
async def test_s7_a_buffered_body_that_is_not_whole_is_never_sent(
    upstream: ScriptedUpstream, start_gateway: StartGateway, leave: Callable[[RawClient], None]
) -> None:
    config = simple_config(upstream.url, models=["llama"], body="1MiB")
    gateway = await start_gateway(config, models={"llama": {"upstream": "main"}})
    async with RawClient(gateway.port) as client:
        await client.send(request("POST", headers=["Content-Length: 99"]) + b'{"model":"llama"}')
        leave(client)
    line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "client_abort"
    await assert_nothing_forwarded(gateway.port, upstream)


async def assert_only(
    gateway: RunningGateway, player: ScriptedUpstream, targets: list[str]
) -> None:
    """The upstream has had these requests and, now, an innocent one; no other."""
    player.script = json_reply({})
    await control_request(gateway.port)
    assert [r.target for r in player.requests] == [*targets, "/v1/control"]
    assert len(player.connections) == len(targets) + 1


# -- clients that are gone before the gateway has seen their connection ----------------------


def send_and_reset(port: int, raw: bytes, address: str) -> None:
    """Send a request from this address, and reset the connection at once."""
    with socket.socket() as client:
        client.bind((address, 0))
        client.connect(("127.0.0.1", port))
        client.sendall(raw)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_a_client_that_has_reset_its_connection_is_not_taken_for_a_trusted_proxy(
    upstream: ScriptedUpstream, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(
        simple_config(upstream.url, server={"trusted_proxies": ["127.0.0.1/32"]})
    )
    await control_request(gateway.port)  # leaves an idle connection to the upstream
    forged = request("POST", headers=["X-Forwarded-For: 192.0.2.1"], body=b"{}")
    for _ in range(3):
        send_and_reset(gateway.port, forged, "127.0.0.2")  # no await: it is not accepted yet
    await control_request(gateway.port)
    await control_request(gateway.port)
    clients = [seen.value("x-forwarded-for") for seen in upstream.requests]
    assert clients == [b"127.0.0.1"] * 3
