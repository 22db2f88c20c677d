"""Several Redis servers together: a master with a replica and a sentinel, and a Cluster."""

from __future__ import annotations

from tests.support.redis import Redis, StartRedis
from tests.support.waiting import asked_until

_LONGEST_S = 20.0
PASSWORD = "p@ss/w%rd?&"
"""Password of servers with `--requirepass`. Each of its signs would end a part of a URL."""


async def formed(node: Redis) -> None:
    """Return once a node knows who has which slot."""
    await asked_until(
        lambda: node.command("CLUSTER", "INFO"),
        lambda said: b"cluster_state:ok" in said,
        patience_s=_LONGEST_S,
    )


async def cluster_of(start_redis: StartRedis, *options: str) -> list[Redis]:
    """Three nodes with a third of the slots each."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *options)
    nodes = [await start_redis(*options) for _ in range(3)]
    ends = [0, 5461, 10923, 16384]
    for node, first, end in zip(nodes, ends, ends[1:], strict=False):
        node.password = PASSWORD if "--requirepass" in options else ""
        await node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
        await node.command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
    for node in nodes:
        await formed(node)
    return nodes


async def sentinel_of(start_redis: StartRedis, master: Redis) -> Redis:
    """Return a sentinel of a master with one replica that is in step."""
    sentinel = await start_redis("--sentinel")
    await sentinel.command("SENTINEL", "MONITOR", "main", "127.0.0.1", str(master.port), "1")
    for name, value in (("down-after-milliseconds", "400"), ("failover-timeout", "3000")):
        await sentinel.command("SENTINEL", "SET", "main", name, value)
    await asked_until(
        lambda: master.info("replication"),
        lambda found: found["connected_slaves"] != "0",
        patience_s=_LONGEST_S,
    )
    await asked_until(
        lambda: sentinel.info("sentinel"),
        lambda found: "slaves=1" in found["master0"],
        patience_s=_LONGEST_S,
    )
    return sentinel
