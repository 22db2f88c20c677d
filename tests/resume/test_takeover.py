"""A process that runs streams is killed: another one continues the answers, and readers see one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.resume.conftest import StartTwo
from tests.resume.streams import Door, ask, follow, numbers, stream_id
from tests.support.client import ConnectionEnded, RawClient, request
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, RunningGateway, StartGateway, simple_config
from tests.support.redis import Redis, StartRedis
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
)
from tests.support.waiting import asked_until, eventually

_WORDS = 30
_HALF = 16
_PROMPT = 10
_ALLOWANCE = 1000
"""Tokens a day: what flows back during a test is nothing."""
_PACE_S = 0.04
_STREAMS = 60
_LONGEST_S = 40.0
WHOLE = "".join(f"w{number} " for number in range(1, _WORDS + 1))


def config(upstream: ScriptedUpstream, redis: Redis, **resume: Any) -> dict[str, Any]:
    kept = {"on_disconnect": "detach", "continues": True, **resume}
    options = {"continues": "prefill"}
    document = simple_config(upstream.url, upstream=options, resume=kept, models=["m"])
    return {**document, "models": {"m": {"upstream": "main"}}, "store": {"url": redis.url}}


def post(*headers: str, **members: Any) -> bytes:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "count"}]}
    headers = ("Content-Type: application/json", *headers)
    raw = json.dumps({**body, **members}).encode()
    return request("POST", "/v1/chat/completions", headers=headers, body=raw)


def event(**document: Any) -> bytes:
    return chunk(b"data: %b\n\n" % json.dumps({"id": "one", "model": "x", **document}).encode())


async def counting(
    connection: UpstreamConnection, half: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Count in words, from where the assistant's message leaves off. Report usage if asked to.
    `half` is waited for in the middle of an answer from its beginning.
    """
    while True:
        asked = json.loads((await connection.read_request()).body)
        last = asked["messages"][-1]
        done = len(last["content"].split()) if last["role"] == "assistant" else 0
        await connection.send(STREAM_HEAD)
        for number in range(done + 1, _WORDS + 1):
            if half is not None and not done and number == _HALF:
                await half()
            delta = {"content": f"w{number} "}
            await connection.send(event(choices=[{"index": 0, "delta": delta}]))
            await asyncio.sleep(_PACE_S)
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await connection.send(event(choices=[end]))
        if asked.get("stream_options"):
            told = {"prompt_tokens": _PROMPT + done, "completion_tokens": _WORDS - done}
            told["total_tokens"] = _PROMPT + _WORDS
            await connection.send(event(choices=[], usage=told))
        await connection.send(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)


def text_of(body: bytes) -> str:
    """Return the text of kept events."""
    said = ""
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                said += choice["delta"].get("content") or ""
    return said


async def read(client: RawClient, until: bytes) -> bytes:
    body = b""
    while until not in body:
        piece = await client.read_chunk()
        assert piece is not None
        body += piece
    return body


async def begin(gateway: Door, raw: bytes, until: bytes = b"w5 ") -> tuple[str, bytes]:
    """Begin a stream, read some of it, and leave. Return its id and what was read."""
    async with RawClient(gateway.port) as client:
        await client.send(raw)
        head = await client.read_head()
        assert head.status == 200
        body = await read(client, until)
        client.reset()
    return (head.value("x-stream-id") or b"").decode(), body


@pytest.fixture
async def redis(start_redis: StartRedis) -> Redis:
    return await start_redis()


def kill(gateway: GatewayProcess) -> None:
    """Kill a gateway: its master first, which would replace its worker."""
    for pid in (gateway.master_pid, *gateway.worker_pids):
        os.kill(pid, signal.SIGKILL)


async def ended(gateway: GatewayProcess | RunningGateway) -> dict[str, Any]:
    """Return the access line of a generation."""
    return await gateway.log.wait_for(
        lambda line: line["event"] == "request" and line["method"] == "POST",
        patience_s=_LONGEST_S,
    )


async def test_a_reader_sees_one_stream_when_its_process_is_killed(
    redis: Redis, start_two: StartTwo
) -> None:
    async with ScriptedUpstream(counting) as upstream:
        one, two = await start_two(config(upstream, redis))
        stream, before = await begin(one, post())
        async with RawClient(two.port, patience_s=_LONGEST_S) as client:
            await client.send(follow(stream))
            await client.read_head()
            await read(client, b"w7 ")
            kill(one)
            while await client.read_chunk() is not None:
                pass
        again = await ask(two, follow(stream))
        line = await ended(two)
    assert again.clean_end
    assert text_of(again.body) == WHOLE
    assert again.body.startswith(before)
    count = len(numbers(again.body))
    assert numbers(again.body) == [*range(1, count + 1)]
    assert len(upstream.requests) == 2
    assert line["continued"] == 1
    assert line["end"] == "complete"


@dataclass
class Seen:
    """What a client has of one stream."""

    stream: str = ""
    last: int = 0
    body: bytes = b""
    ends: int = 0


async def read_on(doors: Sequence[Door], number: int, seen: Seen) -> None:
    """Read one stream to its end, and reconnect to either gateway whenever that is cut."""
    draw = random.Random(number)
    while not seen.ends:
        try:
            async with RawClient(draw.choice(doors).port, patience_s=_LONGEST_S) as client:
                if not seen.stream:
                    await client.send(post(user=f"u{number}"))
                else:
                    last = f"Last-Event-ID: {seen.stream}.{seen.last}"
                    await client.send(follow(seen.stream, last))
                head = await client.read_head()
                if head.status == 503:
                    await asyncio.sleep(0.1)
                    continue
                if head.status == 204:
                    seen.ends += 1
                    return
                assert head.status == 200, await client.read_to_end()
                seen.stream = (head.value("x-stream-id") or b"").decode()
                while (data := await client.read_chunk()) is not None:
                    assert b'"error"' not in data, data
                    found = numbers(data)
                    assert found == [*range(seen.last + 1, seen.last + 1 + len(found))]
                    seen.last += len(found)
                    seen.body += data
                    if draw.random() < 0.05:
                        break  # as if the network was cut
                else:
                    seen.ends += 1
        except (ConnectionEnded, ConnectionError):
            await asyncio.sleep(0.1)


async def test_every_stream_of_a_killed_process_is_continued_by_exactly_one_other(
    redis: Redis,
    start_two: StartTwo,
    start_gateway: StartGateway,
    report: Report,
) -> None:
    go_on = asyncio.Event()
    async with ScriptedUpstream(partial(counting, half=go_on.wait)) as upstream:
        document = config(upstream, redis)
        killed, other = await start_two(document)
        doors = (killed, other, await start_gateway(document))
        everyone = [Seen() for _ in range(_STREAMS)]
        async with asyncio.timeout(_LONGEST_S), asyncio.TaskGroup() as tasks:
            for number, seen in enumerate(everyone):
                tasks.create_task(read_on(doors, number, seen))
            await eventually(
                lambda: all(seen.last == _HALF - 1 for seen in everyone), patience_s=_LONGEST_S
            )
            began = asyncio.get_running_loop().time()
            os.kill(killed.worker_pids[0], signal.SIGKILL)
            go_on.set()
        took_s = asyncio.get_running_loop().time() - began
    for seen in everyone:
        assert text_of(seen.body) == WHOLE
        assert seen.body.count(b"[DONE]") == 1
    again = [json.loads(asked.body) for asked in upstream.requests[_STREAMS:]]
    users = [asked["user"] for asked in again]
    assert users
    assert len(set(users)) == len(users), "two processes continued one stream"
    assert all(asked["messages"][-1]["role"] == "assistant" for asked in again)
    report("resume", f"streams of {_STREAMS} continued elsewhere after SIGKILL", len(users))
    report("resume", "seconds from the SIGKILL to the end of the last stream", took_s)


async def taken(redis: Redis, limit: str) -> float:
    """Return how much of a limit a day is taken of the one client, in the limit's unit."""
    full_at = await redis.command("GET", f"{{llm-gateway}}:{limit}:127.0.0.1")
    full_at_s = 1735689600 + float(full_at) / 1e6  # its clock begins in 2025
    return (full_at_s - time.time()) * _ALLOWANCE / 86400


async def test_the_usage_of_a_continued_answer_is_whole_and_counted_once(
    redis: Redis, start_two: StartTwo
) -> None:
    async with ScriptedUpstream(counting) as upstream:
        document = config(upstream, redis)
        document["limits"] = {
            "t": {"key": "ip", "tokens": f"{_ALLOWANCE}/day"},
            "r": {"key": "ip", "requests": f"{_ALLOWANCE}/day"},
            "c": {"key": "ip", "concurrency": 4},
        }
        document["routes"][0]["limits"] = ["t", "r", "c"]
        one, two = await start_two(document)
        stream, _ = await begin(one, post(max_tokens=500))
        reserved = await taken(redis, "t:tokens")
        kill(one)
        line = await ended(two)
        whole = await ask(two, follow(stream))
        # The reservation is given back without anyone waiting for it.
        used = await asked_until(
            lambda: taken(redis, "t:tokens"), lambda used: used < 500, patience_s=_LONGEST_S
        )
        requests = await taken(redis, "r:requests")
    assert text_of(whole.body) == WHOLE
    assert b'"usage"' not in whole.body  # only the gateway asked for it
    assert (line["tokens_in"], line["tokens_out"]) == (_PROMPT, _WORDS)
    assert line["request_id"]
    assert reserved > 500
    assert used == pytest.approx(_PROMPT + _WORDS, abs=0.5)
    assert requests == pytest.approx(1, abs=0.5)


async def test_a_process_that_only_seemed_dead_stops_and_its_readers_go_on_elsewhere(
    redis: Redis, start_two: StartTwo
) -> None:
    async with ScriptedUpstream(counting) as upstream:
        one, two = await start_two(config(upstream, redis))
        async with RawClient(one.port, patience_s=_LONGEST_S) as client:
            await client.send(post())
            head = await client.read_head()
            stream = (head.value("x-stream-id") or b"").decode()
            before = await read(client, b"w5 ")
            os.kill(one.worker_pids[0], signal.SIGSTOP)
            await upstream.wait_requests(2)
            os.kill(one.worker_pids[0], signal.SIGCONT)
            rest = await client.read_to_end()
        assert b"gateway_draining" in rest  # which tells a client to come back
        known = b"".join(re.findall(rb"id: .*\ndata: .*\n\n", before + rest))
        last = f"Last-Event-ID: {stream}.{len(numbers(known))}"
        after = await ask(two, follow(stream, last))
        line = await ended(two)
        other = await ended(one)
    assert text_of(known + after.body) == WHOLE
    assert len(upstream.requests) == 2
    assert line["tokens_out"] >= _WORDS
    assert "tokens_out" not in other


async def test_a_request_that_kills_its_processes_is_given_up(
    redis: Redis, start_two: StartTwo
) -> None:
    async with ScriptedUpstream(counting) as upstream:
        one, two = await start_two(config(upstream, redis))
        stream, _ = await begin(one, post())
        kill(one)
        name = f"llm-gateway:stream:{{{stream}}}"
        await redis.command("HSET", f"{name}:meta", "k", "3")
        await redis.command("RENAME", f"{name}:events", f"{name}:events:3")
        answer = await ask(two, follow(stream))
    assert b"stream_lost" in answer.body
    assert len(upstream.requests) == 1


async def test_the_request_is_removed_from_redis_when_its_answer_ends(
    redis: Redis, start_gateway: StartGateway
) -> None:
    async with ScriptedUpstream(counting) as upstream:
        one = await start_gateway(config(upstream, redis))
        async with RawClient(one.port) as client:
            await client.send(post("Authorization: Bearer sk-12345678"))
            head = await client.read_head()
            name = f"llm-gateway:stream:{{{(head.value('x-stream-id') or b'').decode()}}}:meta"
            during = await redis.command("HEXISTS", name, "b")
            client.reset()
        stream = stream_id(await ask(one, post()))
        name = f"llm-gateway:stream:{{{stream}}}:meta"
        assert await redis.command("HEXISTS", name, "p") == b":1\r\n"
        for field_name in ("r", "b", "t"):
            assert await redis.command("HEXISTS", name, field_name) == b":0\r\n"
    assert during == b":0\r\n"  # its own credential goes to the upstream
