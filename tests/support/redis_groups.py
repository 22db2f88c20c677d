"""Several Redis servers together: a master with a replica and a sentinel, and a Cluster."""

from __future__ import annotations

from tests.support.redis import Redis, StartRedis
from tests.support.waiting import PATIENCE_S, asked_until

PASSWORD = "p@ss/w%rd?&"
"""Password of servers with `--requirepass`. Each of its signs would end a part of a URL."""


async def formed(node: Redis) -> None:
    """Return once a node knows who has which slot."""
    await asked_until(
        lambda: node.command("CLUSTER", "INFO"),
        lambda said: b"cluster_state:ok" in said,
        patience_s=PATIENCE_S,
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


async def sentinel_of(
    start_redis: StartRedis, master: Redis, *options: str, dead_after_ms: int = 1000
) -> Redis:
    """Return a sentinel that watches a master, by the name `main` and with its password."""
    sentinel = await start_redis("--sentinel", *options)
    sentinel.password = PASSWORD if "--requirepass" in options else ""
    watch = ("MONITOR", "main", "127.0.0.1", str(master.port), "1")
    assert await sentinel.command("SENTINEL", *watch) == b"+OK\r\n"
    settings = {"down-after-milliseconds": str(dead_after_ms), "failover-timeout": "2000"}
    if master.password:
        settings["auth-pass"] = master.password
    for name, value in settings.items():
        await sentinel.command("SENTINEL", "SET", "main", name, value)
    await sentinel.command("SENTINEL", "DEBUG", "INFO-PERIOD", "100")
    return sentinel


async def replica_known(master: Redis, sentinel: Redis) -> None:
    """Return once a master has a replica, and its sentinel knows that."""
    await asked_until(
        lambda: master.info("replication"),
        lambda found: found["connected_slaves"] != "0",
        patience_s=PATIENCE_S,
    )
    await asked_until(
        lambda: sentinel.info("sentinel"),
        lambda found: "slaves=1" in found["master0"],
        patience_s=PATIENCE_S,
    )
