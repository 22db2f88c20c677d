"""What is kept has its caps, and a reader that is slow delays nobody (E11)."""

from __future__ import annotations

import asyncio

import pytest

from tests.resume.streams import ask, follow, post, stream_id
from tests.support.figures import Report
from tests.support.gateway import StartGateway, StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, sse_reply
from tests.support.waiting import PATIENCE_S

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
            simple_config(upstream.url, resume={"ttl": "1s", "reads": None})
        )
        first = await ask(gateway, post("Idempotency-Key: k"))
        assert (await ask(gateway, follow(stream_id(first)))).status == 200
        async with asyncio.timeout(PATIENCE_S):
            while (await ask(gateway, follow(stream_id(first)))).status == 200:
                pass
        assert gateway.server.runtime.streams.size_bytes == 0
        second = await ask(gateway, post("Idempotency-Key: k"))
        assert stream_id(second) != stream_id(first)
        assert len(upstream.requests) == 2


@pytest.mark.own_program
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
