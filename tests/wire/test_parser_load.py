"""P9 to P11: legal syntax in amounts nobody needs, against a process whose cost is counted."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.client import RawClient, request
from tests.support.control import Control, beside_control, control_request
from tests.support.figures import Report
from tests.support.gateway import (
    StartGatewayProcess,
    simple_config,
)
from tests.support.upstream import (
    LAST_CHUNK,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    reply,
)

MIB = 1024 * 1024


def post(*headers: str | bytes, body: bytes = b"") -> bytes:
    """A POST whose framing fields the test writes itself."""
    return request("POST", headers=headers) + body


async def count_body(connection: UpstreamConnection) -> None:
    """Answer the requests of a connection with the length of their bodies."""
    while True:
        body = connection.requests[-1].body
        await connection.send(reply(b"%d" % len(body)))
        await connection.read_request()


@pytest.mark.own_program
async def test_p9_a_million_chunks_of_one_byte_cost_bounded_cpu_and_memory(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    count = MIB
    async with ScriptedUpstream(beside_control(count_body)) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await control_request(gateway.port)
        rss_before, cpu_before = gateway.rss_bytes, gateway.cpu_s
        async with (
            RawClient(gateway.port, patience_s=30) as client,
            Control(gateway.port) as control,
        ):
            await client.send(post("Transfer-Encoding: chunked"))
            for _ in range(64):
                await client.send(b"1\r\na\r\n" * (count // 64))
            await client.send(LAST_CHUNK)
            response = await client.read_response("POST")
            cpu_s = gateway.cpu_s - cpu_before
            grown = gateway.rss_bytes - rss_before
        assert response.status == 200
        assert response.body == b"%d" % count
        report("P9", "1-byte chunks, CPU s/MiB", cpu_s)
        report("P9", "1-byte chunks, RSS Δ, KiB", grown // 1024)
        control.report(report, "P9")
        assert cpu_s < 10
        assert grown < 32 * MIB
        assert control.p99_ms < 1000


@pytest.mark.own_program
async def test_p9_long_chunk_extensions_are_bounded_and_not_forwarded(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    extended = b"1;" + b"x" * 1024 + b"\r\na\r\n"
    async with ScriptedUpstream(beside_control(count_body)) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await control_request(gateway.port)
        rss_before, cpu_before = gateway.rss_bytes, gateway.cpu_s
        async with RawClient(gateway.port) as client:
            await client.send(post("Transfer-Encoding: chunked"))
            sent = await client.send_until_answered([extended * 64] * 128)
            if not client.received_bytes:
                await client.send(LAST_CHUNK)
            response = await client.read_response("POST")
        if response.status == 200:
            assert response.body == b"%d" % (64 * 128)
            assert b"xxx" not in upstream.requests[-1].raw
        else:
            assert response.status in (400, 413)
        grown = gateway.rss_bytes - rss_before
        report("P9", "1 KiB extensions, CPU s/MiB sent", (gateway.cpu_s - cpu_before) * MIB / sent)
        report("P9", "1 KiB extensions, RSS Δ, KiB", grown // 1024)
        assert grown < 16 * MIB


@pytest.mark.own_program
async def test_p9_a_chunk_extension_without_end_is_cut_or_held_in_no_memory(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await control_request(gateway.port)
        before = gateway.rss_bytes
        async with RawClient(gateway.port) as client:
            await client.send(post("Transfer-Encoding: chunked") + b"1;")
            sent = await client.send_until_answered([b"x" * 65536] * 512)
            grown = gateway.rss_bytes - before
        report("P9", "bytes taken of one endless extension, KiB", sent // 1024)
        report("P9", "one endless extension, RSS Δ, KiB", grown // 1024)
        assert grown < 8 * MIB
        await control_request(gateway.port)


@pytest.mark.own_program
async def test_p10_100_000_trailers_close_the_connection(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await control_request(gateway.port)
        before = gateway.rss_bytes
        async with RawClient(gateway.port) as client:
            await client.send(post("Transfer-Encoding: chunked", body=chunk(b"hello") + b"0\r\n"))
            sent = await client.send_until_answered(
                b"".join(b"X-Trailer-%d: v\r\n" % (n + i) for i in range(100))
                for n in range(0, 100_000, 100)
            )
            await client.wait_closed()
            answer = client.unread
        grown = gateway.rss_bytes - before
        report("P10", "trailer bytes taken, KiB", sent // 1024)
        report("P10", "RSS Δ, KiB", grown // 1024)
        assert not answer.startswith(b"HTTP/1.1 2"), answer
        assert grown < 8 * MIB
        assert all(b"X-Trailer" not in request.raw for request in upstream.requests)
        await control_request(gateway.port)


@pytest.mark.own_program
@pytest.mark.timeout(180)  # a busy machine takes long for so many
async def test_p11_10_000_pipelined_requests_wait_in_the_socket_not_in_memory(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    count = 10_000
    released = asyncio.Event()

    async def hold_the_first(connection: UpstreamConnection) -> None:
        await released.wait()
        while True:
            await connection.send(reply(connection.requests[-1].target.encode()))
            await connection.read_request()

    async with ScriptedUpstream(beside_control(hold_the_first)) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await control_request(gateway.port)
        before = gateway.rss_bytes
        async with RawClient(gateway.port, patience_s=30) as client:
            writing = asyncio.create_task(
                client.send(b"".join(request(target=f"/v1/{n}") for n in range(count)))
            )
            async with Control(gateway.port) as control:
                await control.served(20)
            grown = gateway.rss_bytes - before
            attackers = [r for r in upstream.requests if r.target != "/v1/control"]
            assert [request.target for request in attackers] == ["/v1/0"]
            released.set()
            for n in range(count):
                response = await client.read_response()
                assert (response.status, response.body) == (200, b"/v1/%d" % n)
            await writing
        report("P11", "RSS Δ while 10 000 wait, KiB", grown // 1024)
        control.report(report, "P11")
        assert grown < 8 * MIB
