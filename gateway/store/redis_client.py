"""A connection to Redis as one of `limits`' storages makes it: they know Sentinel and Cluster."""

from __future__ import annotations

from typing import Any

from limits.aio.storage import RedisStorage
from limits.storage import storage_from_string

PREFIX = "{llm-gateway}:"
"""Before every key. Its hash tag keeps them on one node of a Cluster, where a script sees all."""


def connect(url: str, timeout_s: float) -> Any:
    """An asyncio client of redis-py; nothing is sent yet. Raise ValueError or ConfigurationError.

    `url` is as `limits` takes it: redis://, rediss://, redis+sentinel://, redis+cluster://.
    """
    storage = storage_from_string(
        f"async+{url}",
        implementation="redispy",
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
    )
    assert isinstance(storage, RedisStorage)
    bridge: Any = storage.bridge
    return bridge.get_connection()
