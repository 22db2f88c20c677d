"""Neither side is sent more than it takes, nothing is lost by waiting, and uploads stream."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import suppress

import pytest

from tests.support.client import RawClient, request
from tests.support.exchange import EVENTS, POST, ask, read_stream
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    reply,
)
from tests.support.waiting import PATIENCE_S

KIB = 1024
MIB = 1024 * KIB
_STALL_S = 0.3
"""A write that takes longer has been stopped by backpressure."""


async def send_until_stalled(connection: UpstreamConnection, piece: bytes, cap: int) -> int:
    """How often the piece was sent before the peer took no more; the last may be on its way."""
    count = 0
    with suppress(TimeoutError):
        while count * len(piece) < cap:
            count += 1
            async with asyncio.timeout(_STALL_S):
                await connection.send(chunk(piece))
    return count


async def test_a_client_that_does_not_read_stalls_its_upstream_and_loses_nothing(
    start_gateway: StartGateway, report: Report
) -> None:
    """Nor is the silence taken for the upstream's: the idle timeout is shorter than the pause."""
    piece = b"data: " + 16 * KIB * b"x" + b"\n\n"
    async with ScriptedUpstream(send_buffer_bytes=64 * KIB) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"idle": "500ms"}})
        )
        async with RawClient(gateway.port, receive_buffer_bytes=64 * KIB) as client:
            client.pause_reading()
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD)
            count = await send_until_stalled(connection, piece, 64 * MIB)
            report(
                "E7", "upstream sent to a client that reads nothing, KiB", count * len(piece) / KIB
            )
            # What stalled it is the kernel's socket buffers and 64 KiB of the gateway's.
            assert count * len(piece) < 16 * MIB
            # Another client is served meanwhile.
            async with RawClient(gateway.port) as other:
                await other.send(POST)
                second = await upstream.accept()
                await second.read_request()
                await second.send(STREAM_HEAD + chunk(EVENTS[0]) + LAST_CHUNK)
                assert (await other.read_response()).body == EVENTS[0]
            await asyncio.sleep(_STALL_S)
            client.resume_reading()
            await connection.send(LAST_CHUNK)
            response = await client.read_response()
    assert response.clean_end
    assert response.body == count * piece


async def test_an_upload_is_passed_on_piece_by_piece(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", headers=["Transfer-Encoding: chunked"]))
            await client.send(chunk(b"one"))
            connection = await upstream.accept()
            _, method, _, headers = await connection.read_head()
            assert method == "POST"
            assert (b"transfer-encoding", b"chunked") in [(n.lower(), v) for n, v in headers]
            assert await connection.read_exactly(8) == chunk(b"one")
            for piece in (b"two", 3 * b"three", b"\r\n0\r\n\r\n"):
                await client.send(chunk(piece))
                assert await connection.read_exactly(len(chunk(piece))) == chunk(piece)
            await client.send(LAST_CHUNK)
            assert await connection.read_exactly(5) == LAST_CHUNK
            await connection.send(reply(b"{}"))
            assert (await client.read_response()).status == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_large_upload_arrives_byte_for_byte(
    start_gateway: StartGateway, chunked: bool
) -> None:
    body = random.Random(6).randbytes(3 * MIB + 1)
    if chunked:
        pieces = [body[start : start + 50_001] for start in range(0, len(body), 50_001)]
        raw = request("POST", headers=["Transfer-Encoding: chunked"])
        raw += b"".join(chunk(piece) for piece in pieces) + LAST_CHUNK
    else:
        raw = request("POST", body=body)
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert (await ask(gateway.port, raw)).status == 200
        seen = upstream.requests[0]
    assert seen.body == body
    assert (seen.value("content-length") is None) is chunked
    assert (seen.value("transfer-encoding") is None) is not chunked


async def test_an_upstream_that_does_not_read_stalls_the_upload_and_loses_nothing(
    start_gateway: StartGateway, report: Report
) -> None:
    body = random.Random(7).randbytes(MIB)
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, body="1GiB"))
        async with RawClient(gateway.port) as client:
            head = request("POST", headers=[f"Content-Length: {64 * MIB}"])
            await client.send(head)
            connection = await upstream.accept()
            await connection.read_head()
            connection.pause_reading()
            sent = 0
            with suppress(TimeoutError):
                while sent < 64:
                    sent += 1
                    async with asyncio.timeout(_STALL_S):
                        await client.send(body)
            report("E7", "client sent to an upstream that reads nothing, MiB", sent)
            assert sent < 24
            connection.resume_reading()

            async def rest() -> None:
                for _ in range(64 - sent):
                    await client.send(body)

            sending = asyncio.create_task(rest())
            digest = hashlib.sha256()
            for _ in range(64):
                digest.update(await connection.read_exactly(MIB))
            await sending
            await connection.send(reply(b"{}"))
            assert (await client.read_response()).status == 200
    assert digest.digest() == hashlib.sha256(64 * body).digest()


async def test_an_answer_that_comes_before_the_upload_is_complete_is_passed_on(
    start_gateway: StartGateway,
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        _, _, target, _ = await connection.read_head()
        early = target.endswith("early")
        await connection.send(reply(target.encode(), status="422 No" if early else "200 OK"))
        await connection.wait_client_gone()

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(request("POST", "/v1/early", headers=["Content-Length: 1000000"]))
            await client.send(b"only the beginning")
            response = await client.read_response()
            assert (response.status, response.body) == (422, b"/v1/early")
            await upstream.connections[0].wait_client_gone()
        # The rest of that body is not the beginning of another request.
        after = await ask(gateway.port, request(target="/v1/next"), "GET")
        assert (after.status, after.body) == (200, b"/v1/next")
        assert len(upstream.connections) == 2


async def test_a_client_that_reads_slowly_gets_all_of_a_stream_that_broke_off(
    start_gateway: StartGateway,
) -> None:
    """What was received before the break is passed on in full, then the error event."""
    piece = b"data: " + 16 * KIB * b"x" + b"\n\n"
    count = 20
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=16 * KIB) as client:
            await client.send(POST)
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD)
            await client.read_head()
            client.pause_reading()
            for _ in range(count):
                await connection.send(chunk(piece))
            connection.close()
            await asyncio.sleep(0.05)
            client.resume_reading()
            body, clean = await read_stream(client)
    assert not clean
    assert body.startswith(count * piece + b"data: {")
    assert body.count(b"upstream_reset") == 1


@pytest.mark.parametrize("batch", [None, {"max_delay": "50ms"}], ids=["each", "gathered"])
async def test_what_waits_for_a_client_that_is_behind_leaves_in_one_write(
    start_gateway: StartGateway, report: Report, batch: dict[str, str] | None
) -> None:
    """Small events, one write of the upstream each; they arrive in one chunk."""
    count = 200
    page = b"data: " + b"x" * 4096 + b"\n\n"
    events = [b"data: %d\n\n" % n for n in range(count)]
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat=None, batch=batch))
        async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
            await client.send(request())
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD)
            await client.read_head()
            client.pause_reading()
            # Until the gateway's socket takes no more, and some waits in the gateway.
            (inner,) = gateway.server.listener.connections
            sent = 0
            async with asyncio.timeout(PATIENCE_S):
                while not inner.writing_paused:
                    await connection.send(chunk(page))
                    sent += 1
                    await asyncio.sleep(0.001)
            for event in events:
                await connection.send(chunk(event))
                await asyncio.sleep(0.001)
            await connection.send(LAST_CHUNK)
            client.resume_reading()
            body, chunks = b"", 0
            while (piece := await client.read_chunk()) is not None:
                body += piece
                chunks += b"data: %d\n\n" % (count - 1) in piece or piece in events
            connection.close()
    report("coalescing", f"chunks that brought {count} events to a client behind", chunks)
    assert body == page * sent + b"".join(events)
    assert chunks <= 3
