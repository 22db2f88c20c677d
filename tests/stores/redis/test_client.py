"""What every user of Redis relies on, against a real one."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from gateway.limiting.demand import Demand, Kind
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import answering, answering_within, connect, disconnect
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.redis.records import RedisRecords
from tests.support.ports import free_port
from tests.support.redis import Redis, StartRedis
from tests.support.redis_groups import PASSWORD, cluster_of, formed, sentinel_of
from tests.support.waiting import PATIENCE_S

ONE_OF_TWO = Demand(Kind.TAKE, "k", 1.0, 2.0, 0.001)


async def test_a_cancellation_is_never_lost(start_redis: StartRedis) -> None:
    redis = await start_redis()
    client = connect(redis.url, 5.0)

    async def ask() -> None:
        with answering():
            async with asyncio.timeout(PATIENCE_S):
                await client.ping()

    await ask()
    for turns in range(1, 6):
        for _ in range(20):
            asking = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            if asking.done():
                continue
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
    await disconnect(client)


async def test_a_connection_that_was_just_lost_counts_as_an_outage(start_redis: StartRedis) -> None:
    redis = await start_redis()
    _, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.transport.abort()
    await asyncio.sleep(0)  # uvloop closes its handle
    with pytest.raises(StoreUnavailable, match="closed"), answering():
        writer.writelines([b"PING\r\n"])  # as redis-py does


async def test_a_reply_that_arrived_while_the_process_stood_still_is_read(
    start_redis: StartRedis,
) -> None:
    client = connect((await start_redis()).url, 5.0)
    answered = 0
    for _ in range(5):
        await client.ping()
        with suppress(StoreUnavailable):  # Redis itself may be held up
            async with answering_within(0.05):
                asked = asyncio.ensure_future(client.ping())
                for _ in range(6):  # sent by then
                    await asyncio.sleep(0)
                busy_until = time.perf_counter() + 0.1
                while time.perf_counter() < busy_until:  # as a collection of garbage
                    pass
                answered += await asked
    assert answered
    await disconnect(client)


# -- Sentinel and Cluster ----------------------------------------------------------------------

QUOTED = quote(PASSWORD, safe="")


async def works(url: str) -> None:
    """Records are put and taken, and limits decided, over one URL, within their time."""
    store = RedisLimits(url, timeout_s=20.0)
    records = RedisRecords(url, timeout_s=20.0)
    try:
        await records.put("kind", "name", b"value", 10.0)
        assert await records.take("kind", "name") == b"value"
        verdicts = [await store.decide([ONE_OF_TWO]) for _ in range(3)]
        assert [verdict.refused for verdict in verdicts] == [None, None, 0]
    finally:
        await records.close()
        await store.close()


@pytest.mark.parametrize("guarded", [False, True], ids=["open-sentinel", "guarded-sentinel"])
async def test_a_sentinel_is_asked_for_a_master_with_a_password(
    start_redis: StartRedis, guarded: bool
) -> None:
    master = await start_redis("--requirepass", PASSWORD)
    master.password = PASSWORD
    own = ("--requirepass", PASSWORD) if guarded else ()
    sentinel = await sentinel_of(start_redis, master, *own)
    url = f"redis+sentinel://:{QUOTED}@127.0.0.1:{sentinel.port}/main"
    await works(url if guarded else f"{url}?sentinel_password=")


async def test_a_database_is_chosen_behind_a_sentinel(start_redis: StartRedis) -> None:
    master = await start_redis()
    sentinel = await sentinel_of(start_redis, master)
    client = connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/main?db=3", 5.0)
    await client.set("here", "1")
    await disconnect(client)
    assert "db3" in await master.info("keyspace")


async def test_a_cluster_of_three_is_found_by_one_node(start_redis: StartRedis) -> None:
    nodes = await cluster_of(start_redis, "--requirepass", PASSWORD)
    for node in nodes:
        await works(f"redis+cluster://:{QUOTED}@127.0.0.1:{node.port}")
        for each in nodes:
            await each.command("FLUSHALL")
    url = f"redis+cluster://:{QUOTED}@127.0.0.1:{free_port()},127.0.0.1:{nodes[0].port}"
    await works(url)  # nobody is at the first of the two


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, ...]:
    """Options of a Redis that takes TLS on its port; `ca.pem` is beside them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    files = [(f"--tls-{name}-file", str(tmp_path / f"{name}.pem")) for name in ("cert", "key")]
    flat = tuple(word for pair in files for word in pair)
    return (*flat, "--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no")


async def tls_port(redis: Redis) -> int:
    """Let it take TLS on a port of its own, beside the plain one that tests use."""
    port = free_port()
    assert await redis.command("CONFIG", "SET", "tls-port", str(port)) == b"+OK\r\n"
    return port


async def test_tls_is_spoken_to_a_single_redis_and_to_a_cluster(
    start_redis: StartRedis, tls: tuple[str, ...], tmp_path: Path
) -> None:
    verify = f"?ssl_ca_certs={tmp_path}/ca.pem"
    redis = await start_redis(*tls)
    await works(f"rediss://127.0.0.1:{await tls_port(redis)}/0{verify}")
    with pytest.raises(StoreUnavailable):
        await works(f"rediss://127.0.0.1:{await tls_port(redis)}/0")  # by an unknown authority

    port = free_port()
    in_cluster = ("--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-port", str(port))
    node = await start_redis(*tls, *in_cluster)
    await node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    await formed(node)
    await works(f"rediss+cluster://127.0.0.1:{port}{verify}")


async def test_tls_is_spoken_to_a_sentinel_and_its_master(
    start_redis: StartRedis, tls: tuple[str, ...], tmp_path: Path
) -> None:
    master = await start_redis(*tls)
    port = await tls_port(master)
    options = (*tls, "--tls-port", str(free_port()), "--tls-replication", "yes")
    sentinel = await start_redis("--sentinel", *options)
    await sentinel.command("SENTINEL", "MONITOR", "main", "127.0.0.1", str(port), "1")
    await works(f"rediss+sentinel://127.0.0.1:{options[-3]}/main?ssl_ca_certs={tmp_path}/ca.pem")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://a:26379,b:26379", "name the master"),
        ("redis+sentinel://a:26379/main?sentinal_password=x", "sentinal_password"),
        ("redis+cluster://a:6379?db=1", "unknown in a store's URL: db"),
        ("redis+sentinel://:secret@a/main/2", "by [?]db=NUMBER"),
        ("redis+cluster://:secret@a:6379,", "a host is missing"),
        ("redis+cluster://:secret@a/3", "database 0 only"),
        ("redis://:secret@a:0", "not 1 to 65535"),
        ("redis://:secret@a:99999", "not 1 to 65535"),
        ("redis://:secret@a/main", "a number"),
    ],
)
def test_what_is_missing_or_unknown_in_a_url_is_said_without_its_password(
    url: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as failure:
        connect(url, 1.0)
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("redis://h", "h", 6379),
        ("redis://user:p%40ss@h/3", "h", 6379),
        ("rediss://[::1]", "::1", 6379),
        ("redis://[::1]:7000", "::1", 7000),
    ],
)
def test_a_redis_without_a_port_has_the_usual_one(url: str, host: str, port: int) -> None:
    told = connect(url, 1.0).connection_pool.connection_kwargs
    assert (told["host"], told.get("port", 6379)) == (host, port)


def test_sentinels_without_a_port_have_the_usual_one() -> None:
    client = connect("redis+sentinel://a,b:7000,[::1]/main", 1.0)
    sentinels = client.connection_pool.sentinel_manager.sentinels
    told = [one.connection_pool.connection_kwargs for one in sentinels]
    assert [(one["host"], one["port"]) for one in told] == [
        ("a", 26379),
        ("b", 7000),
        ("::1", 26379),
    ]
