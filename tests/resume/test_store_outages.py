"""Redis goes away while streams begin, run and end: afterwards all of them can be resumed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.resume.streams import Door, ask, follow, numbers, payload, post, stream_id
from tests.support.client import Response
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.redis import StartRedis
from tests.support.redis_groups import replica_known, sentinel_of
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    sse_reply,
)
from tests.support.waiting import PATIENCE_S, asked_until

_STREAMS = 66
_EVENTS = 8
_PACE_S = 0.03
_ALL_KEYS = 'return table.concat(redis.call("KEYS", "*"), " ")'


def config(upstream: ScriptedUpstream, url: str) -> Mapping[str, Any]:
    resume = {"on_disconnect": "detach"}
    return {**simple_config(upstream.url, resume=resume), "store": {"url": url}}


async def paced(connection: UpstreamConnection) -> None:
    """Send events that name their stream."""
    while True:
        request = await connection.read_request()
        await connection.send(STREAM_HEAD)
        for number in range(1, _EVENTS + 1):
            await connection.send(chunk(b"data: %b %d\n\n" % (request.body, number)))
            await asyncio.sleep(_PACE_S)
        await connection.send(LAST_CHUNK)


async def all_begun(doors: Sequence[Door]) -> list[Response]:
    """Begin the streams one after the other, alternately at each gateway, and read them."""
    running = []
    for number in range(_STREAMS):
        body = b"s%d" % number
        running.append(asyncio.create_task(ask(doors[number % len(doors)], post(body=body))))
        await asyncio.sleep(_PACE_S)
    return await asyncio.gather(*running)


async def told_lost(gateway: RunningGateway) -> None:
    await gateway.wait_for_log(lambda line: line.get("store") == "lost")


async def told_back(gateway: RunningGateway) -> None:
    await gateway.wait_for_log(lambda line: line.get("store") == "back")


async def read_elsewhere(door: Door, stream: str) -> Response:
    """Read a stream of another process, and ask again for as long as that is what it says."""

    def is_read(answer: Response) -> bool:
        assert answer.status != 503 or answer.value("retry-after") == b"1"
        return answer.status != 503

    return await asked_until(lambda: ask(door, follow(stream)), is_read, patience_s=PATIENCE_S)


@pytest.mark.parametrize("how", ["begins empty", "replica is promoted"])
async def test_every_stream_of_an_outage_can_be_resumed_at_another_replica(
    start_redis: StartRedis, start_gateway: StartGateway, how: str, report: Report
) -> None:
    master = await start_redis()
    url = master.url
    if how == "replica is promoted":
        await start_redis("--replicaof", "127.0.0.1", str(master.port))
        sentinel = await sentinel_of(start_redis, master)
        await replica_known(master, sentinel)
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    async with ScriptedUpstream(paced) as upstream, asyncio.timeout(3 * PATIENCE_S):
        doors = [await start_gateway(config(upstream, url)) for _ in range(2)]
        begun = asyncio.create_task(all_begun(doors))
        await upstream.wait_requests(_STREAMS // 3)
        master.signal(signal.SIGKILL)
        await asyncio.gather(*map(told_lost, doors))
        await upstream.wait_requests(_STREAMS * 2 // 3)
        if how == "begins empty":
            await master.stop()
            await master.start()
        firsts = await begun
        await asyncio.gather(*map(told_back, doors))
        others = [doors[(number + 1) % 2] for number in range(_STREAMS)]
        streams = [stream_id(first) for first in firsts]
        again = await asyncio.gather(*map(read_elsewhere, others, streams))
    for number, (first, answer) in enumerate(zip(firsts, again, strict=True)):
        whole = [b"data: s%d %d\n\n" % (number, n) for n in range(1, _EVENTS + 1)]
        assert (first.status, payload(first.body)) == (200, whole), first.body
        assert answer.status == 200
        assert payload(answer.body) == whole
        assert numbers(answer.body) == [*range(1, _EVENTS + 1)]
    deferred = sum(first.value("x-resume") == b"deferred" for first in firsts)
    assert deferred
    assert len(upstream.requests) == _STREAMS
    report(
        "resume", f"{how}: streams resumable of {_STREAMS}, {deferred} begun without", len(again)
    )


async def test_during_an_outage_a_stream_of_another_replica_is_not_unknown_but_unavailable(
    start_redis: StartRedis, start_gateway: StartGateway
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(sse_reply([b"data: 1\n\n"])) as upstream:
        one, two = [await start_gateway(config(upstream, redis.url)) for _ in range(2)]
        redis.signal(signal.SIGKILL)
        await asyncio.gather(told_lost(one), told_lost(two))
        first = await ask(one, post())
        assert first.value("x-resume") == b"deferred"
        assert one.server.runtime.streams.unwritten == 1
        assert payload((await ask(one, follow(stream_id(first)))).body) == [b"data: 1\n\n"]
        for stream in (stream_id(first), "0" * 34):
            answer = await ask(two, follow(stream))
            assert answer.status == 503
            assert answer.json()["error"]["code"] == "resume_unavailable"
            assert answer.value("retry-after") == b"1"
        await redis.stop()
        await redis.start()
        await asyncio.gather(told_back(one), told_back(two))
        assert (await read_elsewhere(two, stream_id(first))).status == 200
        assert one.server.runtime.streams.unwritten == 0


async def test_a_key_used_during_an_outage_is_known_to_all_replicas_afterwards(
    start_redis: StartRedis, start_gateway: StartGateway
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(sse_reply([b"data: 1\n\n"])) as upstream:
        one, two = [await start_gateway(config(upstream, redis.url)) for _ in range(2)]
        redis.signal(signal.SIGKILL)
        await asyncio.gather(told_lost(one), told_lost(two))
        key = "Idempotency-Key: k1"
        first, again = await ask(one, post(key)), await ask(one, post(key))
        assert stream_id(first) == stream_id(again)
        await redis.stop()
        await redis.start()
        await asyncio.gather(told_back(one), told_back(two))
        await asked_until(
            lambda: redis.command("EVAL", _ALL_KEYS, "0"),
            lambda keys: b":claim" in keys,
            patience_s=PATIENCE_S,
        )
        elsewhere = await ask(two, post(key))
        assert stream_id(elsewhere) == stream_id(first)
    assert len(upstream.requests) == 1


async def test_data_that_redis_has_lost_unnoticed_is_written_again(
    start_redis: StartRedis, start_gateway: StartGateway
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(sse_reply([b"data: 1\n\n"])) as upstream:
        one, two = [await start_gateway(config(upstream, redis.url)) for _ in range(2)]
        stream = stream_id(await ask(one, post()))
        assert (await ask(two, follow(stream))).status == 200
        await redis.command("FLUSHALL")  # as after a restart within a moment

        def is_there(answer: Response) -> bool:
            assert answer.status in (200, 404, 503)
            return answer.status == 200

        answer = await asked_until(
            lambda: ask(two, follow(stream)), is_there, patience_s=PATIENCE_S, pause_s=0.1
        )
    assert payload(answer.body) == [b"data: 1\n\n"]
