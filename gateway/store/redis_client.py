"""A connection to Redis as one of `limits`' storages makes it: they know Sentinel and Cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from limits.aio.storage import RedisStorage
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisClusterException, RedisError

from gateway.store.records import StoreUnavailable

PREFIX = "{llm-gateway}:"
"""Before every key. Its hash tag keeps them on one node of a Cluster, where a script sees all."""


UNREACHABLE = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All the ways in which a Redis does not answer."""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Around calls of a client: every way to fail as one. Raise StoreUnavailable.

    A cancellation that came while redis-py looked whether a connection is alive was taken by the
    `asyncio.timeout(0)` it looks with, and told to nobody. It is raised here.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    failure: Exception | None = None
    try:
        yield
    except UNREACHABLE as exc:
        failure = exc
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError from failure
    if failure is not None:
        raise StoreUnavailable(f"{type(failure).__name__}: {failure}") from failure


def connect(url: str, timeout_s: float) -> Any:
    """An asyncio client of redis-py; nothing is sent yet. Raise ValueError or ConfigurationError.

    `url` is as `limits` takes it: redis://, rediss://, redis+sentinel://, redis+cluster://.
    """
    storage = storage_from_string(
        f"async+{url}", implementation="redispy", **_options(url, timeout_s)
    )
    assert isinstance(storage, RedisStorage)
    bridge: Any = storage.bridge
    return bridge.get_connection()


async def disconnect(client: Any) -> None:
    """Close what `connect` made, and the connections to sentinels with it."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)  # a Cluster has one for each node
    sentinel = getattr(pool, "sentinel_manager", None)
    if sentinel is not None:
        await sentinel.aclose()


def _options(url: str, timeout_s: float) -> dict[str, Any]:
    # The time a call has is kept by who calls, and knows when it was itself that was late.
    options = _within(2 * timeout_s)
    if url.startswith("redis+sentinel:"):
        # They are asked one after the other, and then the master: one that hangs leaves time.
        sentinels = url.count(",") + 1
        options["sentinel_kwargs"] = _within(timeout_s / (sentinels + 1))
    return options


def _within(seconds: float) -> dict[str, Any]:
    return {
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        # A connection that turns out to be closed is made anew, once; there is no time to wait
        # between attempts, and none for another one after a timeout.
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    }
