"""Dialer of one endpoint: connects to the first of its addresses that accepts, or by a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.http.address_policy import AddressPolicy, is_address
from gateway.http.egress import Proxy
from gateway.upstream.address import Address
from gateway.upstream.resolve import AddressRefused, SocketAddress, resolve_checked

_NO_EXCEPTIONS = AddressPolicy()


class Dialer:
    """Dialer of one endpoint. Connections that are opened at the same time share one look-up."""

    def __init__(
        self, address: Address, policy: AddressPolicy = _NO_EXCEPTIONS, proxy: Proxy | None = None
    ) -> None:
        """`policy` decides to which addresses to connect. A `proxy` looks up names itself, so that
        the policy sees addresses in URLs only.
        """
        self.address = address
        self.policy = policy
        self.proxy = proxy if proxy is not None and proxy.serves(address.host) else None
        """Proxy through which the address is reached."""
        self._numeric = is_address(address.host)
        self._checked: tuple[SocketAddress, ...] | None = None
        """The host, if it is an IP address, once the policy has allowed it."""
        self._look_up: asyncio.Task[tuple[SocketAddress, ...]] | None = None
        self._trying: dict[asyncio.BaseProtocol, SocketAddress] = {}
        """Address that each connection is being opened to."""
        self._silent: set[SocketAddress] = set()
        """Addresses that did not answer in time. They are tried last."""

    async def dial(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol) -> None:
        """Connect a protocol. Raise OSError if no address accepts; ssl.SSLError is one."""
        address = self.address
        if self.proxy is not None:
            await self._dial_by_proxy(loop, protocol, self.proxy)
            return
        addresses: Sequence[SocketAddress] = self._checked or await self._addresses()
        if self._silent:
            self._silent.intersection_update(addresses)
            addresses = sorted(addresses, key=self._silent.__contains__)
        failure: OSError | None = None
        try:
            for host, port in addresses:
                self._trying[protocol] = host, port
                try:
                    await loop.create_connection(
                        lambda: protocol,
                        host,
                        port,
                        ssl=address.tls,
                        server_hostname=address.server_name,
                    )
                except OSError as exc:
                    failure = exc
                else:
                    self._silent.discard((host, port))
                    return
        finally:
            self._trying.pop(protocol, None)
        assert failure is not None  # there is at least one address
        raise failure

    def late(self, protocol: asyncio.BaseProtocol) -> None:
        """Note that a connection was not open in time. The next ones look the name up again, since
        the look-up may hang, and try other addresses than this one first.
        """
        self._look_up = None
        address = self._trying.get(protocol)
        if address is not None:
            self._silent.add(address)

    async def _dial_by_proxy(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol, proxy: Proxy
    ) -> None:
        address = self.address
        why = self.policy.refused(address.host)
        if why is not None:
            raise AddressRefused(f"{address.host} {why}")
        tunnel = await proxy.open(address.host, address.port)
        try:
            await loop.create_connection(
                lambda: protocol,
                sock=tunnel,
                ssl=address.tls,
                server_hostname=address.server_name,
            )
        except BaseException:
            tunnel.close()
            raise

    async def _addresses(self) -> tuple[SocketAddress, ...]:
        host, port = self.address.host, self.address.port
        if self._numeric:
            self._checked = await resolve_checked(host, port, self.policy)
            return self._checked
        if self._look_up is None:
            self._look_up = asyncio.create_task(resolve_checked(host, port, self.policy))
            self._look_up.add_done_callback(self._looked_up)
        return await asyncio.shield(self._look_up)

    def _looked_up(self, task: asyncio.Task[tuple[SocketAddress, ...]]) -> None:
        if self._look_up is task:
            self._look_up = None
        if not task.cancelled():
            task.exception()  # it may have no reader left
