"""Resolve an endpoint's host to the IP addresses to which a connection is allowed.

The address policy checks the result of every look-up, at each connect, and the connection uses the
checked addresses. A name can therefore not point elsewhere between check and use (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

from gateway.http.address_policy import AddressPolicy, is_address

SocketAddress = tuple[str, int]
"""An IP address (with its zone, if any) and a port; `create_connection` needs no look-up."""


class AddressRefused(OSError):
    """The policy refuses all addresses of a host. The message says which, and why."""


async def resolve_checked(host: str, port: int, policy: AddressPolicy) -> tuple[SocketAddress, ...]:
    """Return the addresses to connect to, in the order to try. There is at least one.

    Raise AddressRefused, or another OSError if the name does not resolve. The caller sets the time
    limit. An IP address needs no look-up.
    """
    why = policy.refused(host)
    if why is not None:
        raise AddressRefused(f"{host} {why}")
    if is_address(host):
        return ((host, port),)
    try:
        found = await look_up(host, port)
    except UnicodeError as exc:  # a label that is empty or longer than 63 characters
        raise OSError(f"{host} is not a host name") from exc
    return _permitted(host, found, policy)


async def look_up(host: str, port: int) -> list[SocketAddress]:
    """Return the addresses of a name, unchecked. Raise OSError or UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [flat(address) for _, _, _, _, address in found]


def flat(address: tuple[Any, ...]) -> SocketAddress:
    """Convert a getaddrinfo address, (host, port) or for IPv6 (host, port, flow label, zone)."""
    host, port, *more = address
    zone = more[1] if len(more) == 2 else 0
    return (f"{host.partition('%')[0]}%{zone}" if zone else host), port


def _permitted(
    host: str, found: Iterable[SocketAddress], policy: AddressPolicy
) -> tuple[SocketAddress, ...]:
    reasons: dict[str, str] = {}
    kept: dict[SocketAddress, None] = {}
    for address in found:
        why = policy.refused(address[0])
        if why is None:
            kept[address] = None
        else:
            reasons[address[0]] = why
    if not kept:
        said = "; ".join(f"{address} {why}" for address, why in reasons.items())
        raise AddressRefused(f"{host} may not be connected to: {said or 'it has no address'}")
    return tuple(kept)
