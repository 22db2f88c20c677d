"""Redis clients, created by the storages of the library `limits`: it knows Sentinel and Cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from limits.aio.storage import RedisStorage
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisClusterException, RedisError

from gateway.store.records import StoreUnavailable

PREFIX = "{llm-gateway}:"
"""Prefix of every key. Its hash tag keeps all keys on one node of a Cluster, as scripts need."""


_TLS = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
"""Options that the query of a rediss URL may contain, by redis-py's names."""
_PORTS = {"": 6379, "cluster": 6379, "sentinel": 26379}
"""Default ports, by the word after the + of a URL's scheme."""
_LAST_LOOK_S = 0.002
UNREACHABLE = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError)
"""Errors that mean that Redis does not answer. uvloop raises RuntimeError for a write to a
connection that was lost a moment before, and redis-py lets it pass.
"""


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Context for calls of a client. Raise StoreUnavailable for every kind of failure.

    When redis-py checks whether a connection is alive, its `asyncio.timeout(0)` can swallow a
    cancellation that arrives at that moment. Here it is raised again.
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


@contextlib.asynccontextmanager
async def answering_within(timeout_s: float) -> AsyncIterator[None]:
    """Context for calls of a client that may take this time. Raise StoreUnavailable.

    The reply may have arrived without being read, because this process was busy or stopped. So when
    the time is over, the sockets are checked once more.
    """
    loop = asyncio.get_running_loop()
    with answering():
        async with asyncio.timeout(None) as limit:
            over = loop.call_later(
                timeout_s - _LAST_LOOK_S, lambda: limit.reschedule(loop.time() + _LAST_LOOK_S)
            )
            try:
                yield
            finally:
                over.cancel()


def connect(url: str, timeout_s: float) -> Any:
    """Return an asyncio client of redis-py. Sends nothing. Raise ValueError.

    `url` is redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or
    rediss+cluster://, as docs/limits.md describes them.
    """
    scheme, kind, parts = _taken_apart(url)
    # The caller limits the time of a call, and can tell whether it was late itself.
    options: dict[str, Any] = _within(2 * timeout_s)
    access, at, hosts = parts.netloc.rpartition("@")
    hosts = _with_ports(hosts, _PORTS[kind])
    if kind:
        url = f"redis+{kind}://{hosts}{parts.path}"
        options |= _access(scheme, kind, parts)
    else:
        url = parts._replace(netloc=f"{access}{at}{hosts}").geturl()
    if kind != "sentinel":
        _check_database(kind, parts.path.strip("/"))
    if kind == "sentinel":
        if parts.path.strip("/") == "":
            raise ValueError("name the master: redis+sentinel://HOST:PORT,HOST:PORT/NAME")
        if "/" in parts.path.strip("/"):
            raise ValueError("choose a database by ?db=NUMBER, not behind the master's name")
        # The sentinels are asked one after the other, then the master. One that hangs must leave
        # time for the others.
        sentinels = parts.netloc.count(",") + 1
        options["sentinel_kwargs"] |= _within(timeout_s / (sentinels + 1))
    try:
        storage = storage_from_string(f"async+{url}", implementation="redispy", **options)
    except ConfigurationError as exc:
        raise ValueError(str(exc)) from exc
    assert isinstance(storage, RedisStorage)
    bridge: Any = storage.bridge
    return bridge.get_connection()


async def disconnect(client: Any) -> None:
    """Close a client of `connect`, and its connections to sentinels."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)  # a Cluster has one pool per node
    sentinel = getattr(pool, "sentinel_manager", None)
    if sentinel is not None:
        await sentinel.aclose()


def _taken_apart(url: str) -> tuple[str, str, SplitResult]:
    """Return the scheme before a +, the word after it, and the parts of the URL."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    return scheme, kind, parts


def _with_ports(hosts: str, default: int) -> str:
    """Return the hosts, each with its port. Raise ValueError."""
    told = []
    for host in hosts.split(","):
        name, colon, port = host.rpartition(":")
        if not colon or "]" in port:
            name, port = host, ""
        port = port or str(default)
        if not name:
            raise ValueError("a host is missing in the store's URL")
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("a port in the store's URL is not 1 to 65535")
        told.append(f"{name}:{port}")
    return ",".join(told)


def _check_database(kind: str, database: str) -> None:
    """Raise ValueError if the path of a URL, without slashes, names no database."""
    if kind and database not in ("", "0"):
        raise ValueError("a Redis Cluster has database 0 only")
    if database and not (database.isascii() and database.isdecimal()):
        raise ValueError("the database is a number: redis://HOST:PORT/NUMBER")


def _access(scheme: str, kind: str, parts: SplitResult) -> dict[str, Any]:
    """Return the credentials and TLS options of a Sentinel or Cluster URL in redis-py's form.

    `limits` decodes no escapes and ignores the query. Raise ValueError.
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
        # An empty value means none. If not given, sentinels have the credentials of the master.
        own = {name: query.pop(f"sentinel_{name}", credentials.get(name)) or None for name in given}
        options["sentinel_kwargs"] = {**shared, **own}
    if query:
        raise ValueError(f"unknown in a store's URL: {', '.join(sorted(query))}")
    return options


def _within(seconds: float) -> dict[str, Any]:
    return {
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        # A connection that proves to be closed is reopened once. There is no time to wait between
        # attempts, nor for another attempt after a timeout.
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    }
