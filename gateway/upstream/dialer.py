"""Dialer of one endpoint: connects to the first of its addresses that accepts, or by a proxy."""

from __future__ import annotations

import asyncio

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

    async def dial(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BaseProtocol) -> None:
        """Connect a protocol. Raise OSError if no address accepts; ssl.SSLError is one."""
        address = self.address
        if self.proxy is not None:
            await self._dial_by_proxy(loop, protocol, self.proxy)
            return
        failure: OSError | None = None
        for host, port in self._checked or await self._addresses():
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
                return
        assert failure is not None  # there is at least one address
        raise failure

    def forget_look_up(self) -> None:
        """Start another look-up for the next connection: this one may hang."""
        self._look_up = None

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
