"""Never a gap, never a duplicate, never a hang: clients cut at every boundary and at random, on two
gateways and one Redis, with the process that runs a stream killed in the middle.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.resume.conftest import StartTwo
from tests.resume.streams import EVENTS, Door, follow, numbers, payload, post
from tests.support.client import ConnectionEnded, RawClient
from tests.support.figures import Report
from tests.support.gateway import StartGateway, simple_config
from tests.support.redis import Redis, StartRedis
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    stepped_stream,
)

_COUNT = 30
_STREAMS = 40
_PACE_S = 0.05
_EVENT = re.compile(rb"id: ([0-9a-f]{34})\.([0-9]+)\ndata: (.*)\n\n")
_LONGEST_S = 40.0


def config(upstream: ScriptedUpstream, redis: Redis) -> Mapping[str, Any]:
    resume = {"on_disconnect": "grace", "grace": "20s"}
    return {**simple_config(upstream.url, resume=resume), "store": {"url": redis.url}}


@pytest.mark.parametrize("shared", [True, False], ids=["redis", "memory"])
async def test_e8_a_running_stream_goes_on_elsewhere_from_every_boundary(
    start_redis: StartRedis, start_gateway: StartGateway, shared: bool, report: Report
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(stepped_stream()) as upstream:
        given = config(upstream, redis)
        doors = [await start_gateway(given if shared else {**given, "store": {}})]
        if shared:
            doors.append(await start_gateway(given))
        for boundary in range(len(EVENTS) + 1):
            async with RawClient(doors[0].port) as client:
                await client.send(post())
                stream = ((await client.read_head()).value("x-stream-id") or b"").decode()
                read = b""
                for event in EVENTS[:boundary]:
                    await upstream.release(event)
                    read += await client.read_chunk() or b""
                client.reset()
            async with RawClient(doors[-1].port) as client:
                await client.send(follow(stream, f"Last-Event-ID: {stream}.{boundary}"))
                assert (await client.read_head()).status == 200
                for event in EVENTS[boundary:]:
                    await upstream.release(event)
                    read += await client.read_chunk() or b""
                await upstream.finish()
                assert await client.read_chunk() is None
            assert payload(read) == EVENTS
            assert numbers(read) == [*range(1, len(EVENTS) + 1)]
    report("E8", f"boundaries resumed live, {'Redis' if shared else 'memory'}", len(EVENTS) + 1)


@dataclass
class Seen:
    """What a client has of one stream."""

    posts: int = 0
    """Number of times the client sent its request: again if it had no answer when it was cut."""
    stream: str = ""
    texts: list[bytes] = field(default_factory=list)
    complete: bool = False
    error: bytes = b""


async def paced(connection: UpstreamConnection) -> None:
    """Events that name the stream they are of, and their number in it."""
    while True:
        request = await connection.read_request()
        await connection.send(STREAM_HEAD)
        for number in range(1, _COUNT + 1):
            await connection.send(chunk(b"data: %b %d\n\n" % (request.body, number)))
            await asyncio.sleep(_PACE_S)
        await connection.send(LAST_CHUNK)


async def read_some(client: RawClient, seen: Seen, most: int) -> None:
    """Up to so many events, each of which has to be the next one; or the end."""
    read = b""
    while most > 0:
        data = await client.read_chunk()
        if data is None:
            seen.complete = True
            return
        read += data
        while event := _EVENT.match(read):
            read = read[event.end() :]
            assert event[1].decode() == seen.stream
            assert int(event[2]) == len(seen.texts) + 1, "a gap, or a duplicate"
            seen.texts.append(event[3])
            most -= 1
        if b'"error"' in read:
            seen.error = read
            return


async def follow_to_the_end(doors: Sequence[Door], name: bytes, draw: random.Random) -> Seen:
    """Be cut after any number of events, and come back to either, until it is over."""
    seen = Seen()
    for _ in range(200):
        try:
            async with RawClient(draw.choice(doors).port, patience_s=_LONGEST_S) as client:
                if not seen.stream:
                    seen.posts += 1
                    await client.send(post(body=name))
                else:
                    last = f"Last-Event-ID: {seen.stream}.{len(seen.texts)}"
                    await client.send(follow(seen.stream, last))
                head = await client.read_head()
                if head.status == 204:
                    seen.complete = True
                    return seen
                assert head.status == 200
                seen.stream = (head.value("x-stream-id") or b"").decode()
                await read_some(client, seen, draw.randint(1, 12))
                client.reset()
        except (ConnectionEnded, ConnectionError):
            await asyncio.sleep(0.1)  # a worker died, and is being replaced
        if seen.complete or seen.error:
            return seen
    raise AssertionError("it does not come to an end")


async def test_e12_whoever_is_killed_no_client_sees_a_gap_or_a_duplicate_or_hangs(
    start_redis: StartRedis, start_two: StartTwo, report: Report
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(paced) as upstream:
        doors = await start_two(config(upstream, redis))
        draw = random.Random(7)
        names = [b"s%d" % number for number in range(_STREAMS)]
        async with asyncio.timeout(_LONGEST_S):
            running = [
                asyncio.create_task(follow_to_the_end(doors, name, random.Random(name)))
                for name in names
            ]
            await upstream.wait_requests(_STREAMS)
            await asyncio.sleep(_PACE_S * draw.uniform(3, _COUNT / 2))
            os.kill(doors[0].worker_pids[0], signal.SIGKILL)
            all_seen = await asyncio.gather(*running)
        for name, seen in zip(names, all_seen, strict=True):
            whole = [b"%b %d" % (name, number) for number in range(1, _COUNT + 1)]
            assert seen.texts == whole[: len(seen.texts)]
            assert seen.complete == (len(seen.texts) == _COUNT)
            assert seen.complete or b"stream_lost" in seen.error
        lost = sum(not seen.complete for seen in all_seen)
        assert 0 < lost < _STREAMS  # those of the one that was killed, and no others
        assert len(upstream.requests) <= sum(seen.posts for seen in all_seen) + lost
        report("E12", "streams; told that theirs was lost with its process", lost)
