"""What is kept has its caps, and a reader that is slow delays nobody (E11)."""

from __future__ import annotations

import asyncio

from tests.resume.streams import ask, follow, numbers, post, stream_id
from tests.support.client import RawClient
from tests.support.figures import Report
from tests.support.gateway import StartGateway, StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, sse_reply, stepped_stream

KIB, MIB = 1024, 1024 * 1024


async def test_e11_a_full_store_forgets_the_oldest_finished_streams(
    start_gateway: StartGateway,
) -> None:
    events = [b"data: " + b"x" * KIB + b"\n\n"] * 8
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={}), store={"stream_bytes": "64KiB"}
        )
        made = [stream_id(await ask(gateway, post())) for _ in range(20)]
        streams = gateway.server.runtime.streams
        assert streams.size_bytes <= 64 * KIB
        there = [(await ask(gateway, follow(stream))).status for stream in made]
        kept = len(streams)
        assert there == [404] * (20 - kept) + [200] * kept
        assert 4 <= kept <= 8
        assert streams.evicted == 20 - kept


async def test_a_finished_stream_is_kept_for_its_time(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([b"data: 1\n\n"])) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"ttl": "200ms", "reads": None})
        )
        first = await ask(gateway, post("Idempotency-Key: k"))
        assert (await ask(gateway, follow(stream_id(first)))).status == 200
        async with asyncio.timeout(10):
            while (await ask(gateway, follow(stream_id(first)))).status == 200:
                pass
        assert gateway.server.runtime.streams.size_bytes == 0
        second = await ask(gateway, post("Idempotency-Key: k"))
        assert stream_id(second) != stream_id(first)
        assert len(upstream.requests) == 2


async def test_e11_memory_stays_within_the_cap(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    event = b"data: " + b"x" * (16 * KIB) + b"\n\n"
    async with ScriptedUpstream(sse_reply([event] * 16)) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, resume={}), store={"stream_bytes": "4MiB"}
        )
        for _ in range(20):
            await ask(gateway, post())
        before = gateway.rss_bytes
        for _ in range(200):
            await ask(gateway, post())
        grown = gateway.rss_bytes - before
    report("E11", "50 MiB of streams, cap 4 MiB: memory grew by, MiB", round(grown / MIB, 1))
    assert grown < 12 * MIB


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


async def test_where_all_readers_are_slow_the_upstream_waits_and_nothing_is_missed(
    start_gateway: StartGateway,
) -> None:
    events = [b"data: %d " % number + b"x" * (64 * KIB) + b"\n\n" for number in range(300)]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, resume={"max_bytes": "512KiB"}),
            server={"send_timeout": "60s"},
        )
        async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
            await client.send(post())
            await client.read_head()
            client.pause_reading()
            (log,) = [kept.log for kept in gateway.server.runtime.streams._kept.values()]
            for _ in range(1000):
                if log.on_progress is not None:
                    break  # the upstream waits
                await asyncio.sleep(0.01)
            assert log.on_progress is not None
            client.resume_reading()
            read = b""
            while (data := await client.read_chunk()) is not None:
                read += data
        assert numbers(read) == [*range(1, len(events) + 1)]
