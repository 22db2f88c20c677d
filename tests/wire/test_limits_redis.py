"""Limits that gateways share through a real Redis, whatever becomes of it; the R rows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.auth.jwt import REVOKED
from gateway.stores.redis.records import RedisRecords
from tests.support.client import RawClient, Response, ask, request
from tests.support.figures import Report
from tests.support.gateway import (
    GatewayProcess,
    RunningGateway,
    StartGateway,
    StartGatewayProcess,
    simple_config,
)
from tests.support.patient_stores import stores_wait
from tests.support.redis import Redis, SlowLink, StartRedis
from tests.support.redis_groups import replica_known, sentinel_of
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream
from tests.support.waiting import PATIENCE_S, SLACK_S, asked_until

CLOSED = {"key": "route", "requests": "1000000/day", "on_store_error": "closed"}
"""Refuses with 503 whatever the store does not decide."""


def limited(
    upstream: ScriptedUpstream, store: str, limit: dict[str, Any], **route: Any
) -> dict[str, Any]:
    """One anonymous route with one limit, counted in this store."""
    document = simple_config(upstream.url, limits=["l"], **route)
    return {**document, "limits": {"l": limit}, "store": {"url": store}}


async def start_all(
    start: StartGatewayProcess, document: dict[str, Any], *firsts: str
) -> list[GatewayProcess]:
    """At once, a gateway process for each text that is to run before it."""

    async def start_one(first: str) -> GatewayProcess:
        return await start(document, first=first)

    async with asyncio.TaskGroup() as group:
        starting = [group.create_task(start_one(first)) for first in firsts]
    return [task.result() for task in starting]


async def status(port: int, *headers: str) -> int:
    return (await ask(port, request(headers=[*headers, "Connection: close"]))).status


async def hit(port: int, count: int, connections: int = 8) -> Counter[int]:
    """So many requests over a few connections; how many of each status."""
    said = Counter[int]()

    async def ask_on() -> None:
        async with RawClient(port) as client:
            for _ in range(count // connections):
                await client.send(request())
                said[(await client.read_response()).status] += 1

    await asyncio.gather(*(ask_on() for _ in range(connections)))
    return said


async def until(holds: Callable[[], Awaitable[bool]]) -> float:
    """Ask until it does; seconds that took."""
    started = time.perf_counter()
    await asked_until(holds, bool, patience_s=PATIENCE_S, pause_s=0.001)
    return time.perf_counter() - started


async def is_served(port: int) -> bool:
    return await status(port) == 200


async def asked_again(gateway: RunningGateway) -> None:
    """Send requests until one of them was decided by the store."""

    async def is_decided() -> bool:
        await status(gateway.port)
        return any(line.get("breaker") == "closed" for line in gateway.log_lines)

    await until(is_decided)


# -- R1, R5: exact for everybody ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_r1_four_gateways_admit_exactly_what_a_limit_says(
    start_gateway_process: StartGatewayProcess,
    start_redis: StartRedis,
    tmp_path: Path,
    kind: str,
    report: Report,
) -> None:
    store = (await start_redis()).url if kind == "redis" else f"sqlite://{tmp_path}/store.db"
    limit = {**CLOSED, "requests": "100/day"}
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = limited(upstream, store, limit)
        gateways = await start_all(start_gateway_process, document, *[stores_wait()] * 4)
        counts = await asyncio.gather(*(hit(gateway.port, 1000) for gateway in gateways))
    said = sum(counts, Counter[int]())
    report("R1", f"admitted of 4 gateways x 1000 at limit 100, {kind}", said[200])
    assert said == {200: 100, 429: 3900}
    assert len(upstream.requests) == 100


async def test_r1_a_gateway_counts_from_its_first_request_on(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis
) -> None:
    # What stops a process while it starts must not look like a store that hangs.
    redis = await start_redis()
    slow = "import gc, time; right = gc.collect; gc.collect = lambda: (time.sleep(3.0), right())"
    async with ScriptedUpstream(json_reply({})) as upstream, SlowLink(redis) as link:
        link.delay_s = 0.01
        document = limited(upstream, link.url, CLOSED)
        gateway = await start_gateway_process(document, first=stores_wait(2.0) + slow)
        said = [await status(gateway.port) for _ in range(5)]
    assert said == [200] * 5


async def test_r5_gateways_whose_clocks_are_wrong_admit_no_more(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis, report: Report
) -> None:
    # Ten a second: by clocks that are 10 s apart, the bucket would be full again and again.
    redis = await start_redis()
    limit = {**CLOSED, "requests": "600/minute", "burst": 100}
    wrong = stores_wait() + "import time; right = time.time; time.time = lambda: right() + {}"
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = limited(upstream, redis.url, limit)
        clocks = [wrong.format(seconds) for seconds in (-5.0, 0.0, 5.0)]
        gateways = await start_all(start_gateway_process, document, *clocks)
        admitted = 0
        started = time.perf_counter()
        for _ in range(5):
            for gateway in gateways:
                admitted += (await hit(gateway.port, 40))[200]
        passed_s = time.perf_counter() - started
    allowed = 100 + int(10 * passed_s)
    report("R5", "over-admission at clocks ±5 s, %", max(0.0, 100 * (admitted / allowed - 1)))
    assert 100 <= admitted <= allowed


# -- R3, R4: Redis goes away and comes back ----------------------------------------------------


@pytest.mark.usefixtures("patient_stores")
async def test_r3_a_killed_redis_is_used_again_once_it_is_back(
    start_gateway: StartGateway, start_redis: StartRedis, report: Report
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(limited(upstream, redis.url, CLOSED))
        assert await status(gateway.port) == 200
        await redis.stop()
        assert await status(gateway.port) == 503
        await redis.start()
        took_s = await until(lambda: is_served(gateway.port))
    report("R3", "Redis is back until it is used, s", took_s)
    assert took_s < 3 + SLACK_S


async def test_r3_tokens_taken_back_are_heard_of_once_redis_is_back(
    start_gateway: StartGateway, start_redis: StartRedis, auth: Auth
) -> None:
    # No limits here: nothing but this asks the store.
    redis = await start_redis()
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = simple_config(upstream.url, auth=["corp"])
        gateway = await start_gateway({**document, "auth": auth, "store": {"url": redis.url}})
        await redis.stop()
        await gateway.wait_for_log(lambda line: "does not answer" in line.get("reason", ""))
        await redis.start()
        records = RedisRecords(redis.url)
        await records.put(REVOKED, "token-1", b"", 60.0)
        await records.close()

        async def is_refused() -> bool:
            return await status(gateway.port, bearer(jti="token-1")) == 401

        await until(is_refused)


@pytest.mark.usefixtures("patient_stores")
async def test_r3_flushed_scripts_cost_no_request(
    start_gateway: StartGateway, start_redis: StartRedis, report: Report
) -> None:
    redis = await start_redis()
    limit = {**CLOSED, "requests": "3/day"}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(limited(upstream, redis.url, limit))
        said = []
        for _ in range(5):
            said.append(await status(gateway.port))
            await redis.command("SCRIPT", "FLUSH")
    report("R3", "requests lost to SCRIPT FLUSH", said.count(503))
    assert said == [200, 200, 200, 429, 429]


@pytest.mark.usefixtures("patient_stores")
async def test_r4_a_failover_is_followed(
    start_gateway: StartGateway, start_redis: StartRedis, report: Report
) -> None:
    master = await start_redis("--repl-diskless-sync-delay", "0")
    replica = await start_redis("--replicaof", "127.0.0.1", str(master.port))
    sentinel = await sentinel_of(start_redis, master)

    async def is_copied() -> bool:
        here, there = await master.info("replication"), await replica.info("replication")
        return here["master_repl_offset"] == there["slave_repl_offset"]

    limit = {**CLOSED, "requests": "3/day"}
    async with ScriptedUpstream(json_reply({})) as upstream:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
        gateway = await start_gateway(limited(upstream, url, limit))
        await replica_known(master, sentinel)
        said: list[int] = []

        async def is_admitted_twice() -> bool:
            said.append(await status(gateway.port))
            return said.count(200) == 2

        await until(is_admitted_twice)
        await until(is_copied)
        await master.stop()

        async def is_decided() -> bool:
            said.append(await status(gateway.port))
            return said[-1] != 503

        window_s = await until(is_decided)
        said.append(await status(gateway.port))
    report("R4", "master killed until its replica decides, s", window_s)
    assert [one for one in said if one != 503] == [200, 200, 200, 429]
    assert window_s < 5 + SLACK_S


@pytest.mark.parametrize("how", ["dead", "hanging"])
async def test_r4_one_sentinel_of_two_is_enough(
    start_gateway: StartGateway, start_redis: StartRedis, how: str
) -> None:
    master = await start_redis()
    first, second = [await sentinel_of(start_redis, master) for _ in range(2)]
    first.signal(signal.SIGKILL if how == "dead" else signal.SIGSTOP)
    async with ScriptedUpstream(json_reply({})) as upstream:
        url = f"redis+sentinel://127.0.0.1:{first.port},127.0.0.1:{second.port}/main"
        gateway = await start_gateway(limited(upstream, url, CLOSED))
        await until(lambda: is_served(gateway.port))


# -- R8, R9: whose bucket ----------------------------------------------------------------------

SUBJECTS = [
    "alice",
    "alice ",
    "Alice",
    "alice:",
    "corp/alice",
    "l:requests:corp/alice",
    "{llm-gateway}:l:requests:corp/alice",
    "{alice}",
    "*",
    "alice*",
    "[a-z]lice",
    "alice\r\nFLUSHALL\r\n",
    "alice\n",
    "alice\x00",
    "alice\ud800",
    "alice\u2028",
    "5:alice",
    "'; DROP TABLE buckets; --",
    '"]]',
    "${7*7}",
    "é",
    "e\u0301",
    "a" * 127,
    "a" * 128,
    "a" * 129,
    "a" * 4000,
]


@pytest.mark.usefixtures("patient_stores")
@pytest.mark.parametrize("key", ["subject", ["subject", "route"]], ids=["alone", "combined"])
async def test_r8_no_two_callers_share_a_bucket_whatever_they_are_called(
    start_gateway: StartGateway, start_redis: StartRedis, auth: Auth, key: Any
) -> None:
    redis = await start_redis()
    limit = {"key": key, "requests": "1/day", "on_store_error": "closed"}
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = limited(upstream, redis.url, limit, auth=["corp"])
        gateway = await start_gateway({**document, "auth": auth})
        tokens = [bearer(sub=subject) for subject in SUBJECTS]
        first = [await status(gateway.port, token) for token in tokens]
        second = [await status(gateway.port, token) for token in tokens]
    assert first == [200] * len(SUBJECTS)
    assert second == [429] * len(SUBJECTS)
    assert await redis.command("DBSIZE") == b":%d\r\n" % len(SUBJECTS)


@pytest.mark.usefixtures("patient_stores")
async def test_r8_parts_of_a_combined_key_do_not_run_together(
    start_gateway: StartGateway, start_redis: StartRedis, auth: Auth
) -> None:
    redis = await start_redis()
    limit = {"key": ["claim.a", "claim.b"], "requests": "1/day", "on_store_error": "closed"}
    pairs = [("x", "yz"), ("xy", "z"), ("x4:c:y", "z"), ("x", "c:y3:z"), ("", "xyz"), ("xyz", "")]
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = limited(upstream, redis.url, limit, auth=["corp"])
        gateway = await start_gateway({**document, "auth": auth})
        said = [await status(gateway.port, bearer(a=a, b=b)) for a, b in pairs * 2]
    assert said == [200] * len(pairs) + [429] * len(pairs)


@pytest.mark.usefixtures("patient_stores")
async def test_r8_no_number_a_caller_sends_is_too_much_for_the_store(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    limit = {"key": "ip", "tokens": "1000/day", "on_store_error": "closed"}
    used = {"usage": {"prompt_tokens": 300, "completion_tokens": 300}}
    async with ScriptedUpstream(json_reply(used)) as upstream:
        document = limited(upstream, redis.url, limit)
        route = {"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"], "limits": ["l"]}
        document |= {"models": {"m": {"upstream": "main"}}, "routes": [route]}
        gateway = await start_gateway(document)

        async def chat(most: int) -> Response:
            fields = {"model": "m", "messages": [], "max_tokens": most, "n": 128}
            body = json.dumps(fields).encode()
            return await ask(gateway.port, request("POST", body=body), "POST")

        first = await chat(2**64 - 1)
        await gateway.wait_for_log(lambda line: line.get("tokens_out") == 300)
        second = await chat(1)
    assert (first.status, second.status) == (200, 200)
    # What was used stays used, however much was asked for.
    assert int(second.value("x-ratelimit-remaining-tokens") or b"") < 400


@pytest.mark.usefixtures("patient_stores")
@pytest.mark.parametrize("trusted", [False, True])
async def test_r9_x_forwarded_for_opens_no_second_bucket(
    start_gateway: StartGateway, start_redis: StartRedis, trusted: bool
) -> None:
    redis = await start_redis()
    limit = {"key": "ip", "requests": "3/day", "on_store_error": "closed"}
    # A trusted proxy appends whom it saw; everything before that is the client's own word.
    seen = ", 203.0.113.9" if trusted else ""
    names = ["X-Forwarded-For: {}" + seen]
    names += [] if trusted else ["X-Real-IP: {}", "Forwarded: for={}", "True-Client-IP: {}"]
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = limited(upstream, redis.url, limit)
        document["server"]["trusted_proxies"] = ["127.0.0.1/32"] if trusted else []
        gateway = await start_gateway(document)
        said = [
            await status(gateway.port, name.format(f"198.51.100.{n}"))
            for n in range(10)
            for name in names
        ]
    assert said == [200] * 3 + [429] * (len(said) - 3)
    assert await redis.command("DBSIZE") == b":1\r\n"


# -- R10: Redis refuses ------------------------------------------------------------------------


class Trouble:
    """A Redis that does not do what it is asked, and what mends it."""

    def __init__(self, redis: Redis, mend: tuple[str, ...], url: str = "") -> None:
        self.redis = redis
        self.url = url or redis.url
        self._mend = mend

    async def mend(self) -> None:
        assert await self.redis.command(*self._mend) == b"+OK\r\n"


async def read_only(start_redis: StartRedis) -> Trouble:
    master = await start_redis()
    replica = await start_redis("--replicaof", "127.0.0.1", str(master.port))
    return Trouble(replica, ("REPLICAOF", "NO", "ONE"))


async def full(start_redis: StartRedis) -> Trouble:
    redis = await start_redis("--maxmemory-policy", "noeviction")
    await redis.command("SET", "filling", "x" * 2_000_000)
    await redis.command("CONFIG", "SET", "maxmemory", "1mb")
    return Trouble(redis, ("CONFIG", "SET", "maxmemory", "0"))


async def wrong_password(start_redis: StartRedis) -> Trouble:
    redis = await start_redis()
    await redis.command("ACL", "SETUSER", "gateway", "on", ">right-5b1c", "~*", "+@all")
    url = f"redis://gateway:wrong-9f3a@127.0.0.1:{redis.port}/0"
    return Trouble(redis, ("ACL", "SETUSER", "gateway", ">wrong-9f3a"), url)


@pytest.mark.usefixtures("patient_stores")
@pytest.mark.parametrize(
    ("mode", "expected"),
    [("open", [200] * 4), ("closed", [503] * 4), ("local", [200, 200, 429, 429])],
)
@pytest.mark.parametrize("refusing", [read_only, full, wrong_password])
async def test_r10_where_redis_refuses_each_limit_does_as_it_says(
    start_gateway: StartGateway,
    start_redis: StartRedis,
    refusing: Callable[[StartRedis], Awaitable[Trouble]],
    mode: str,
    expected: list[int],
) -> None:
    trouble = await refusing(start_redis)
    limit = {"key": "route", "requests": "2/day", "on_store_error": mode}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(limited(upstream, trouble.url, limit))
        assert [await status(gateway.port) for _ in range(4)] == expected
        await trouble.mend()
        await asked_again(gateway)
        # Redis counts now, and knows nothing of what was let through without it.
        said = [await status(gateway.port) for _ in range(3)]
    assert said == [200, 429, 429]
    logged = await gateway.wait_for_log(lambda line: line.get("breaker") == "open")
    assert "wrong-9f3a" not in str(logged)


# -- slots -------------------------------------------------------------------------------------


async def test_r10_the_slots_of_a_killed_gateway_are_free_after_a_while(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis, report: Report
) -> None:
    redis = await start_redis()
    limit = {"key": "route", "concurrency": 2, "on_store_error": "closed"}
    shorter = stores_wait() + (
        "import gateway.app, gateway.limiting.rules\n"
        "gateway.app.LEASE_TTL_S = gateway.limiting.rules.LEASE_TTL_S = 0.9"
    )
    async with ScriptedUpstream(stepped_stream()) as upstream:
        document = limited(upstream, redis.url, limit)
        killed, other = await start_all(start_gateway_process, document, shorter, shorter)
        async with RawClient(killed.port) as one, RawClient(killed.port) as two:
            for client in (one, two):
                await client.send(request())
                assert (await client.read_head()).status == 200
            ends_at = time.perf_counter() + 1.4
            while time.perf_counter() < ends_at:  # longer than a slot lives that nobody renews
                assert await status(other.port) == 429
            os.kill(killed.pid, signal.SIGKILL)

        async def is_admitted() -> bool:
            async with RawClient(other.port) as client:
                await client.send(request())
                return (await client.read_head()).status == 200

        took_s = await until(is_admitted)
    report("R10", "gateway killed until its slots are free, at a life of 0.9 s, s", took_s)
    assert took_s < 0.9 + SLACK_S


async def test_r2_a_slot_asked_for_while_redis_hung_is_given_back_once_it_goes_on(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    # Redis still does what it was asked, long after nobody waits for it any more.
    redis = await start_redis()
    limit = {"key": "route", "concurrency": 1}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(limited(upstream, redis.url, limit))
        assert await status(gateway.port) == 200
        redis.signal(signal.SIGSTOP)
        assert await status(gateway.port) == 200
        redis.signal(signal.SIGCONT)
        await asked_again(gateway)
        await until(lambda: is_served(gateway.port))
