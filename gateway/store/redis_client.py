"""A connection to Redis as one of `limits`' storages makes it: they know Sentinel and Cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from limits.aio.storage import RedisStorage
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisClusterException, RedisError

from gateway.store.records import StoreUnavailable

PREFIX = "{llm-gateway}:"
"""Before every key. Its hash tag keeps them on one node of a Cluster, where a script sees all."""


_TLS = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
"""What the query of a rediss URL may say, by redis-py's names."""
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

    `url` is redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or
    rediss+cluster://, as docs/limits.md describes them.
    """
    scheme, kind, parts = _taken_apart(url)
    # The time a call has is kept by who calls, and knows when it was itself that was late.
    options: dict[str, Any] = _within(2 * timeout_s)
    if kind:
        url = f"redis+{kind}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        options |= _access(scheme, kind, parts)
    if kind == "sentinel":
        if parts.path.strip("/") == "":
            raise ValueError("name the master: redis+sentinel://HOST:PORT,HOST:PORT/NAME")
        # They are asked one after the other, and then the master: one that hangs leaves time.
        sentinels = parts.netloc.count(",") + 1
        options["sentinel_kwargs"] |= _within(timeout_s / (sentinels + 1))
    storage = storage_from_string(f"async+{url}", implementation="redispy", **options)
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


def _taken_apart(url: str) -> tuple[str, str, SplitResult]:
    """The scheme before a +, what follows it, and the parts of the URL."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    return scheme, kind, parts


def _access(scheme: str, kind: str, parts: SplitResult) -> dict[str, Any]:
    """Credentials and TLS of a Sentinel's or a Cluster's URL, as redis-py takes them. `limits`
    reads neither escapes nor the query. Raise ValueError.
    """
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    shared: dict[str, Any] = {}
    if scheme == "rediss":
        shared["ssl"] = True
        shared |= {name: query.pop(name) for name in _TLS if name in query}
        if "ssl_check_hostname" in shared:
            shared["ssl_check_hostname"] = shared["ssl_check_hostname"].lower() in ("true", "1")
    given = {"username": parts.username, "password": parts.password}
    credentials = {name: unquote(value) for name, value in given.items() if value}
    options = {**shared, **credentials}
    if kind == "sentinel":
        if "db" in query:
            options["db"] = int(query.pop("db"))
        # Empty is another word for none; where nothing is said they have those of the master.
        own = {name: query.pop(f"sentinel_{name}", credentials.get(name)) or None for name in given}
        options["sentinel_kwargs"] = {**shared, **own}
    if query:
        raise ValueError(f"unknown in a store's URL: {', '.join(sorted(query))}")
    return options


def _within(seconds: float) -> dict[str, Any]:
    return {
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        # A connection that turns out to be closed is made anew, once; there is no time to wait
        # between attempts, and none for another one after a timeout.
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    }
