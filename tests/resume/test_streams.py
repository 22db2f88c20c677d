"""What is kept has its caps, and a reader that is slow delays nobody (E11)."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway.resume.claims import LocalClaims
from gateway.resume.log import StreamLog
from gateway.resume.sharing import Sharing, StreamTerms
from gateway.resume.streams import Streams
from tests.resume.streams import ask, follow, post, stream_id
from tests.support.client import RawClient
from tests.support.figures import Report
from tests.support.gateway import StartGateway, StartGatewayProcess, simple_config
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    chunk,
    json_reply,
    sse_reply,
)
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


async def test_a_request_waits_without_a_task_until_there_is_a_stream_to_keep(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        async with RawClient(gateway.port) as client:
            await client.send(post())
            connection = await upstream.accept()
            await connection.read_request()
            running = {task.get_coro() for task in asyncio.all_tasks()}
            names = {getattr(coroutine, "__qualname__", "") for coroutine in running}
            assert not {name for name in names if name.startswith(("Pipeline.", "Resume."))}
            await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n") + LAST_CHUNK)
            stream = stream_id(await client.read_response())
        assert (await ask(gateway, follow(stream))).status == 200


@pytest.mark.parametrize("answer", [json_reply({}), json_reply({}, status="503 Unavailable")])
async def test_an_answer_that_is_not_kept_names_no_stream_and_frees_its_key(
    start_gateway: StartGateway, answer: Script
) -> None:
    async with ScriptedUpstream(answer) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}))
        for number in range(1, 3):
            response = await ask(gateway, post("Idempotency-Key: k"))
            assert response.value("x-stream-id") is None
            assert len(upstream.requests) == number


async def test_an_error_names_no_stream_and_frees_its_key(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(simple_config("http://127.0.0.1:9", resume={}))
    for _ in range(2):
        response = await ask(gateway, post("Idempotency-Key: k"))
        assert (response.status, response.value("x-stream-id")) == (502, None)
    claims = gateway.server.runtime.streams.claims
    assert isinstance(claims, LocalClaims)
    assert len(claims) == 0


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


class SlowStore:
    """Store that takes a stream and does not answer."""

    def __init__(self) -> None:
        self.claims = LocalClaims()
        self.taken, self.forgot = asyncio.Event(), list[str]()

    async def open(self, log: StreamLog, terms: StreamTerms) -> None:
        self.taken.set()
        await asyncio.Event().wait()

    def forgotten(self, stream: str) -> None:
        self.forgot.append(stream)


async def test_a_stream_whose_client_leaves_while_it_is_stored_is_removed_from_the_store() -> None:
    """Otherwise another process would continue the answer if this one died."""
    store = SlowStore()
    sharing = cast(Sharing, store)
    streams = Streams(KIB, sharing=sharing)
    terms = StreamTerms(b"owner", KIB, 60.0, None, None)
    opening = asyncio.create_task(streams.open("a", terms, sharing))
    await store.taken.wait()
    opening.cancel()
    await asyncio.wait([opening])
    assert store.forgot == ["a"]
    assert len(streams) == 0
