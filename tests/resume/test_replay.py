"""Resuming on the wire: one gateway, streams in its memory (E8-E11)."""

from __future__ import annotations

import re

import pytest

from tests.resume.streams import EVENTS, ask, begin, follow, numbers, payload, post, stream_id
from tests.support.client import RawClient
from tests.support.exchange import read_stream
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    sse_reply,
    stepped_stream,
)


@pytest.mark.parametrize("by", ["header", "id", "number"])
async def test_e8_a_finished_stream_is_resumed_at_every_boundary(
    start_gateway: StartGateway, by: str
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        first = await ask(gateway, post())
        stream = stream_id(first)
        assert payload(first.body) == EVENTS
        for after in range(len(EVENTS)):
            if by == "header":
                raw = follow(stream, f"Last-Event-ID: {stream}.{after}")
            elif by == "id":
                raw = follow(stream, query=f"?after={stream}.{after}")
            else:
                raw = follow(stream, query=f"?after={after}")
            again = await ask(gateway, raw)
            assert again.status == 200
            assert again.clean_end
            assert payload(again.body) == EVENTS[after:]
            assert numbers(again.body) == [*range(after + 1, len(EVENTS) + 1)]
        assert len(upstream.requests) == 1


async def test_a_reader_replays_and_follows_live(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            await one.send(post())
            await upstream.wait_requests(1)
            head = await one.read_head()
            stream = (head.value("x-stream-id") or b"").decode()
            await upstream.release(EVENTS[0])
            assert payload(await one.read_chunk() or b"") == EVENTS[:1]
            await two.send(follow(stream))
            await two.read_head()
            assert payload(await two.read_chunk() or b"") == EVENTS[:1]
            await upstream.release(EVENTS[1])
            for reader in (one, two):
                assert payload(await reader.read_chunk() or b"") == EVENTS[1:2]
            await upstream.finish()
            for reader in (one, two):
                assert await reader.read_chunk() is None


async def test_the_silence_of_a_kept_stream_is_broken_for_every_reader(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}, heartbeat="50ms"))
        async with RawClient(gateway.port) as one, RawClient(gateway.port) as two:
            await one.send(post())
            stream = ((await one.read_head()).value("x-stream-id") or b"").decode()
            await upstream.release(EVENTS[0])
            await two.send(follow(stream))
            await two.read_head()
            for reader in (one, two):
                said = b""
                while not said.endswith(b": heartbeat\n: heartbeat\n"):
                    said += await reader.read_chunk() or b""
                assert payload(said.replace(b": heartbeat\n", b"")) == EVENTS[:1]
            await upstream.finish()
            for reader in (one, two):
                while (piece := await reader.read_chunk()) is not None:
                    assert piece == b": heartbeat\n"
        kept = await ask(gateway, follow(stream))
    assert payload(kept.body) == EVENTS[:1]


async def test_a_stream_that_was_opened_early_is_kept_too(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}, heartbeat="50ms"))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await upstream.accept()
            await connection.read_request()
            assert (await client.read_head()).status == 200
            await connection.send(STREAM_HEAD + chunk(b"\xef\xbb\xbf" + EVENTS[0]) + LAST_CHUNK)
            body = b""
            while (piece := await client.read_chunk()) is not None:
                body += piece
            connection.close()
        said = body.replace(b": heartbeat\n", b"")
        assert payload(said) == EVENTS[:1]
        stream, _, _ = said.partition(b"\n")[0].removeprefix(b"id: ").decode().rpartition(".")
        again = await ask(gateway, follow(stream, query="?after=0"))
    assert again.body.endswith(EVENTS[0])


ERROR = re.compile(rb'"error": ?\{')


async def test_a_reader_that_is_cut_short_did_not_come_to_its_end(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"on_disconnect": "detach"})
        )
        stream = await begin(gateway, upstream)
        async with RawClient(gateway.port) as client:
            await client.send(follow(stream))
            head = await client.read_head()
            request_id = (head.value("x-request-id") or b"").decode()
            assert gateway.server.listener.cancel(request_id)
            body, complete = await read_stream(client)
        line = await gateway.wait_for_log(lambda line: line.get("method") == "GET")
        await upstream.finish()
    assert not complete
    assert len(ERROR.findall(body)) == 1
    assert (line["end"], line["error"]) == ("cancelled", "request_cancelled")


KIB, MIB = 1024, 1024 * 1024


async def test_a_reader_that_reads_nothing_delays_nobody_and_is_told_what_it_missed(
    start_gateway: StartGateway,
) -> None:
    event = b"data: " + b"x" * (64 * KIB) + b"\n\n"
    count = 120  # more than is kept, and than sockets hold
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"max_bytes": "512KiB"}),
            server={"send_timeout": "60s"},
        )
        async with (
            RawClient(gateway.port) as fast,
            RawClient(gateway.port, receive_buffer_bytes=4096) as slow,
        ):
            await fast.send(post())
            await upstream.wait_requests(1)
            stream = ((await fast.read_head()).value("x-stream-id") or b"").decode()
            await slow.send(follow(stream))
            await slow.read_head()
            slow.pause_reading()
            read = b""
            for number in range(1, count + 1):
                await upstream.release(event)
                while read.count(b"\n\n") < number:
                    read += await fast.read_chunk() or b""
            assert numbers(read) == [*range(1, count + 1)]
            slow.resume_reading()
            missed = b""
            while b"stream_trimmed" not in missed:
                missed = missed[-len(event) :] + (await slow.read_chunk() or b"")
            await upstream.finish()
            assert await fast.read_chunk() is None
            await slow.wait_closed()
        assert (await ask(gateway, follow(stream))).status == 410
