"""Connection whose calls follow one another: replies in pieces, in order, late, lost, or errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.limiting.demand import Demand, Kind
from gateway.store.records import StoreUnavailable
from gateway.stores.redis.client import PREFIX, connect, disconnect
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.redis.pipe import Pipe, packed
from tests.support.redis import Redis, StartRedis
from tests.support.redis_groups import cluster_of
from tests.support.waiting import PATIENCE_S, asked_until

TAKE = Demand(Kind.TAKE, "k", 1.0, 1000.0, 0.001)


class FakeRedis(asyncio.Protocol):
    """Server that greets like Redis, and then sends what a test tells."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data


@pytest.fixture
async def server() -> AsyncIterator[FakeRedis]:
    made = FakeRedis()
    yield made
    made.transport.abort()


@pytest.fixture
async def pipe(server: FakeRedis) -> AsyncIterator[Pipe]:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: server, "127.0.0.1", 0)
    made = Pipe(PATIENCE_S)
    transport, _ = await loop.create_connection(
        lambda: made, *listening.sockets[0].getsockname()[:2]
    )
    yield made
    transport.abort()
    listening.close()
    await listening.wait_closed()


async def replied(replies: list[object], count: int) -> list[object]:
    async def so_far() -> list[object]:
        return replies

    return await asked_until(so_far, lambda found: len(found) == count)


def test_a_command_is_packed_with_the_lengths_of_its_words() -> None:
    assert packed(b"GET", "ä".encode()) == b"*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xa4\r\n"


async def test_replies_that_come_in_pieces_are_given_in_order(
    pipe: Pipe, server: FakeRedis
) -> None:
    replies: list[object] = []
    for _ in range(3):
        pipe.call(packed(b"ONE"), replies.append)
    for byte in b"*2\r\n:1\r\n:2\r\n:3\r\n+OK\r\n":
        server.transport.write(bytes([byte]))
        await asyncio.sleep(0)
    assert await replied(replies, 3) == [[1, 2], 3, b"OK"]


async def test_a_push_of_the_server_is_no_reply(pipe: Pipe, server: FakeRedis) -> None:
    replies: list[object] = []
    pipe.call(packed(b"ONE"), replies.append)
    server.transport.write(b">2\r\n+invalidate\r\n+key\r\n:1\r\n")
    assert await replied(replies, 1) == [1]


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 400\r\n", b":1\r\n:2\r\n"], ids=["no-reply", "unasked"]
)
async def test_what_is_no_reply_closes_the_connection(
    pipe: Pipe, server: FakeRedis, sent: bytes
) -> None:
    replies: list[object] = []
    pipe.call(packed(b"ONE"), replies.append)
    server.transport.write(sent)
    await replied(replies, 1)

    async def is_open() -> bool:
        return pipe.is_open

    await asked_until(is_open, lambda still: not still)


async def test_calls_without_a_reply_fail_when_the_connection_is_lost(
    pipe: Pipe, server: FakeRedis
) -> None:
    replies: list[object] = []
    for _ in range(2):
        pipe.call(packed(b"ONE"), replies.append)
    server.transport.write(b":1\r\n")
    await replied(replies, 1)
    server.transport.close()
    _, lost = await replied(replies, 2)
    assert isinstance(lost, StoreUnavailable)
    assert not pipe.is_open


async def test_a_call_that_fails_after_its_reply_keeps_no_other_from_its_own(
    pipe: Pipe, server: FakeRedis
) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

    def fail(_reply: object) -> None:
        raise IndexError

    replies: list[object] = []
    pipe.call(packed(b"ONE"), fail)
    pipe.call(packed(b"TWO"), replies.append)
    server.transport.write(b":1\r\n:2\r\n")
    assert await replied(replies, 1) == [2]
    assert pipe.is_open
    assert [type(fault["exception"]) for fault in faults] == [IndexError]


async def test_a_server_that_does_not_reply_counts_as_lost(start_redis: StartRedis) -> None:
    redis = await start_redis()
    client = connect(redis.url, PATIENCE_S)
    pipe = await Pipe.open(client, 0.05)
    replies: list[object] = []
    pipe.call(packed(b"PING"), replies.append)
    await replied(replies, 1)
    pipe.call(packed(b"BLPOP", b"nothing", b"0"), replies.append)
    _, lost = await replied(replies, 2)
    assert isinstance(lost, StoreUnavailable)
    await disconnect(client)


async def test_a_retired_connection_closes_after_its_replies(pipe: Pipe, server: FakeRedis) -> None:
    replies: list[object] = []
    pipe.call(packed(b"ONE"), replies.append)
    pipe.retire()
    assert not pipe.is_open
    server.transport.write(b":1\r\n")
    assert await replied(replies, 1) == [1]


async def test_decisions_follow_the_keys_to_another_node_of_a_cluster(
    start_redis: StartRedis,
) -> None:
    nodes = await cluster_of(start_redis)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
    client = connect(url, PATIENCE_S)
    await client.initialize()
    slot = str(client.keyslot(PREFIX))
    owner_port = client.get_node_from_key(PREFIX).port
    await disconnect(client)
    store = RedisLimits(url, timeout_s=PATIENCE_S)
    assert (await store.decide([TAKE])).levels[0].remaining == 999
    (owner,) = [node for node in nodes if node.port == owner_port]
    other = next(node for node in nodes if node is not owner)
    await owner.command("FLUSHALL")
    name = (await node_id(other)).decode()
    for node in (other, owner, *nodes):
        assert await node.command("CLUSTER", "SETSLOT", slot, "NODE", name) == b"+OK\r\n"
    remaining = [(await store.decide([TAKE])).levels[0].remaining for _ in range(3)]
    assert remaining == [999, 998, 997]
    assert "db0" in await other.info("keyspace")
    await store.close()


async def node_id(node: Redis) -> bytes:
    return (await node.command("CLUSTER", "MYID")).splitlines()[-1]
