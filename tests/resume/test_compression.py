"""Kept streams for readers that accept a content coding: each has its own, the log stays plain."""

from __future__ import annotations

import asyncio

import pytest

from tests.resume.streams import EVENTS, ask, follow, numbers, payload, post, stream_id
from tests.support.client import RawClient
from tests.support.codings import decoder
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import STREAM_HEAD, ScriptedUpstream, chunk, sse_reply, stepped_stream
from tests.support.waiting import PATIENCE_S

CODINGS = ["zstd", "br", "gzip"]


@pytest.mark.parametrize("coding", CODINGS)
async def test_each_event_of_a_kept_stream_can_be_decoded_when_it_arrives(
    start_gateway: StartGateway, coding: str
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}, compress=CODINGS))
        async with RawClient(gateway.port) as client, RawClient(gateway.port) as plain:
            await client.send(post(f"Accept-Encoding: {coding}"))
            head = await client.read_head()
            await plain.send(follow(stream_id(head), "Accept-Encoding: identity"))
            assert (await plain.read_head()).value("content-encoding") is None
            decode, read, read_plain = decoder(coding), b"", b""
            for number, event in enumerate(EVENTS, 1):
                await upstream.release(event)
                decoded = decode(await client.read_chunk() or b"")
                assert decoded == b"id: %b.%d\n%b" % (stream_id(head).encode(), number, event)
                read += decoded
                read_plain += await plain.read_chunk() or b""
            await upstream.finish()
            assert decode(await client.read_chunk() or b"") == b""
            assert await client.read_chunk() is None
    assert head.value("content-encoding") == coding.encode()
    assert head.value("vary") == b"Accept-Encoding"
    assert read == read_plain
    assert numbers(read) == [*range(1, len(EVENTS) + 1)]


async def test_a_reader_resumes_in_another_coding_than_it_began_with(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, resume={}, compress=CODINGS))
        first = await ask(gateway, post("Accept-Encoding: br"))
        stream = stream_id(first)
        assert payload(decoder("br")(first.body)) == EVENTS
        again = follow(stream, f"Last-Event-ID: {stream}.3", "Accept-Encoding: gzip")
        rest = await ask(gateway, again)
        line = await gateway.wait_for_log(
            lambda line: line["event"] == "request" and line["method"] == "GET"
        )
    assert rest.clean_end
    assert rest.value("content-encoding") == b"gzip"
    body = decoder("gzip")(rest.body)
    assert payload(body) == EVENTS[3:]
    assert numbers(body) == [*range(4, len(EVENTS) + 1)]
    assert line["bytes_out"] + line["bytes_saved"] == len(body)


async def test_heartbeats_and_the_error_of_a_kept_stream_are_in_the_coding(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        config = simple_config(upstream.url, resume={}, compress=CODINGS, heartbeat="50ms")
        gateway = await start_gateway(config)
        async with RawClient(gateway.port) as client:
            await client.send(post("Accept-Encoding: gzip", "Accept: text/event-stream"))
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            decode, read = decoder("gzip"), b""
            async with asyncio.timeout(PATIENCE_S):
                while b": heartbeat\n" not in read:
                    read += decode(await client.read_chunk() or b"")
                connection.reset()
                while b"upstream_reset" not in read:
                    read += decode(await client.read_chunk() or b"")
    assert payload(read)[0] == EVENTS[0]
