"""The connection pool of one endpoint: idle connections for reuse, and new ones up to a limit."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import (
    GatewayError,
    UpstreamBusy,
    UpstreamConnectFailed,
    UpstreamConnectTimeout,
)
from gateway.http.address_policy import AddressPolicy, is_address
from gateway.http.egress import Proxy
from gateway.load.backlog import Backlog
from gateway.upstream.connection import ConnectionState, UpstreamConnection
from gateway.upstream.credential_mask import CredentialMask
from gateway.upstream.resolve import AddressRefused, SocketAddress, resolve_checked

_NO_EXCEPTIONS = AddressPolicy()
_READ_BYTES = 32 * 1024
"""Size of one read. A slow client's buffer exceeds its limit by at most this much: a stream that
nobody reads takes 91 KiB, and 110 with reads of 64 KiB. Events cost the same, and a body of many
MiB some 5 % more.
"""
_BURST = 8
"""Number of connections being opened at the same time that counts as a burst."""
_AHEAD_CAP = 16
"""Maximum number of connections opened ahead after one burst."""
AHEAD_PAUSE_S = 0.05
"""Time between a burst and the opening ahead: the requests of the burst come first."""


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's URL, parsed once."""

    url: str
    host: str
    port: int
    authority: str
    """Value of the Host header."""
    base: str
    """Path prefix of every request; no trailing slash."""
    tls: ssl.SSLContext | None
    server_name: str | None


def parse_address(url: str, tls: ssl.SSLContext | None, server_name: str | None) -> Address:
    """Parse an endpoint's URL. Raise ValueError if it has no usable host or port."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.username is not None:
        raise ValueError("the URL needs a host, and no user name")
    secure = parts.scheme == "https"
    return Address(
        url=url,
        host=parts.hostname,
        port=parts.port or (443 if secure else 80),
        authority=parts.netloc,
        base=parts.path.rstrip("/"),
        tls=tls if secure else None,
        server_name=(server_name or parts.hostname) if secure else None,
    )


class EndpointPool:
    """Connection pool of one address."""

    def __init__(
        self,
        address: Address,
        *,
        max_connections: int,
        keepalive_s: float,
        policy: AddressPolicy = _NO_EXCEPTIONS,
        proxy: Proxy | None = None,
        end_mark: bool = True,
        mask: CredentialMask | None = None,
    ) -> None:
        """`policy` decides to which addresses the pool may connect. A `proxy` looks up names
        itself, so that the policy sees addresses in URLs only. `end_mark` and `mask`: see
        `UpstreamConnection`.
        """
        self.address = address
        self.proxy = proxy if proxy is not None and proxy.serves(address.host) else None
        """Proxy through which the address is reached."""
        self._open = 0
        self.max = max_connections
        self.policy = policy
        self._keepalive_s = keepalive_s
        self._end_mark = end_mark
        self._mask = mask
        # Last in, first out: the server is least likely to have closed the connection that was used
        # last, and connections left over from a busy period expire.
        self._idle: list[UpstreamConnection] = []
        self._closed = False
        self.opens_ahead = True
        """False while the endpoint is out of service: nothing is opened ahead."""
        self._connecting = 0
        """Number of connections being opened for requests."""
        self._burst = 0
        """The most of them at the same time, since there were none."""
        self._ahead: set[asyncio.Task[None]] = set()
        self._numeric = is_address(address.host)
        self._look_up: asyncio.Task[tuple[SocketAddress, ...]] | None = None
        self._backlog: Backlog | None = None
        self._buffer = memoryview(bytearray(_READ_BYTES))

    @property
    def has_credential(self) -> bool:
        """True if requests carry a credential of the gateway's own."""
        return self._mask is not None

    @property
    def open(self) -> int:
        """Number of open connections, idle ones included."""
        return self._open

    @property
    def idle(self) -> int:
        """Number of connections that wait for a request."""
        return len(self._idle)

    def take_idle(self) -> UpstreamConnection | None:
        """Return an idle connection that is still usable, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def connect(self, timeout_s: float) -> UpstreamConnection:
        """Open a connection.

        Raise UpstreamBusy at the connection limit, UpstreamConnectFailed or UpstreamConnectTimeout.
        """
        self._connecting += 1
        self._burst = max(self._burst, self._connecting)
        try:
            connection = await self._connect(timeout_s)
        except BaseException:
            self._burst = 0  # nothing is opened ahead where a connect fails
            raise
        finally:
            self._connecting -= 1
        if not self._connecting:
            burst, self._burst = self._burst, 0
            if burst >= _BURST:
                asyncio.get_running_loop().call_later(
                    AHEAD_PAUSE_S, self._open_ahead, burst // 4, timeout_s
                )
        return connection

    def _open_ahead(self, count: int, timeout_s: float) -> None:
        """Open up to `count` idle connections after a burst, because the next one may be larger.

        A quarter of the limit is left to requests.
        """
        if self._closed or not self.opens_ahead:
            return
        room = self.max * 3 // 4 - self._open
        for _ in range(min(count - len(self._idle), room, _AHEAD_CAP)):
            task = asyncio.create_task(self._open_idle(timeout_s))
            self._ahead.add(task)
            task.add_done_callback(self._ahead.discard)

    async def _open_idle(self, timeout_s: float) -> None:
        try:
            connection = await self._connect(timeout_s)
        except GatewayError:
            return  # a request will find out, and report it
        connection.stand_by()

    async def _connect(self, timeout_s: float) -> UpstreamConnection:
        if self._open >= self.max:
            raise UpstreamBusy
        self._open += 1
        loop = asyncio.get_running_loop()
        if self._backlog is None:
            self._backlog = Backlog(loop)
        connection = UpstreamConnection(
            loop,
            self._now_idle,
            self._now_closed,
            self._buffer,
            self._backlog,
            end_mark=self._end_mark,
            mask=self._mask,
        )
        address = self.address
        try:
            async with asyncio.timeout(timeout_s):
                await self._open_one(loop, connection)
        except TimeoutError as exc:
            connection.close()
            self._look_up = None  # if that hangs, the next connection starts another one
            raise UpstreamConnectTimeout(f"{address.url}: {timeout_s} s") from exc
        except OSError as exc:  # includes ssl.SSLError
            connection.close()
            raise UpstreamConnectFailed(f"{address.url}: {exc}") from exc
        except BaseException:
            connection.close()
            raise
        if connection.state is ConnectionState.CLOSED:
            # The upstream closed it before this coroutine ran again.
            raise UpstreamConnectFailed(f"{address.url}: closed at once")
        return connection

    async def _open_one(
        self, loop: asyncio.AbstractEventLoop, connection: UpstreamConnection
    ) -> None:
        """Connect to the first address that accepts. Raise OSError if none does."""
        address = self.address
        if self.proxy is not None:
            await self._open_by_proxy(loop, connection, self.proxy)
            return
        failure: OSError | None = None
        for host, port in await self._addresses():
            try:
                await loop.create_connection(
                    lambda: connection,
                    host,
                    port,
                    ssl=address.tls,
                    server_hostname=address.server_name,
                )
            except OSError as exc:
                failure = exc
            else:
                return
        assert failure is not None  # there is at least one address
        raise failure

    async def _open_by_proxy(
        self, loop: asyncio.AbstractEventLoop, connection: UpstreamConnection, proxy: Proxy
    ) -> None:
        address = self.address
        why = self.policy.refused(address.host)
        if why is not None:
            raise AddressRefused(f"{address.host} {why}")
        tunnel = await proxy.open(address.host, address.port)
        try:
            await loop.create_connection(
                lambda: connection,
                sock=tunnel,
                ssl=address.tls,
                server_hostname=address.server_name,
            )
        except BaseException:
            tunnel.close()
            raise

    async def _addresses(self) -> tuple[SocketAddress, ...]:
        """Resolve the host. Connections that are opened at the same time share one look-up."""
        host, port = self.address.host, self.address.port
        if self._numeric:
            return await resolve_checked(host, port, self.policy)
        if self._look_up is None:
            self._look_up = asyncio.create_task(resolve_checked(host, port, self.policy))
            self._look_up.add_done_callback(self._looked_up)
        return await asyncio.shield(self._look_up)

    def _looked_up(self, task: asyncio.Task[tuple[SocketAddress, ...]]) -> None:
        if self._look_up is task:
            self._look_up = None
        if not task.cancelled():
            task.exception()  # it may have no reader left

    def close(self) -> None:
        """Close the idle connections. Those in use close at the end of their exchange."""
        self._closed = True
        for connection in list(self._idle):
            connection.close()

    def _now_idle(self, connection: UpstreamConnection) -> None:
        if self._closed:
            connection.close()
            return
        connection.set_expiry(self._keepalive_s)
        self._idle.append(connection)

    def _now_closed(self, connection: UpstreamConnection) -> None:
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
