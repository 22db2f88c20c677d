"""From a host to the addresses that may be connected to: judged at the connect (X5)."""

from __future__ import annotations

import ipaddress
import re
import socket

import pytest

from gateway.http.address_policy import AddressPolicy
from gateway.upstream import resolve
from gateway.upstream.resolve import AddressRefused, SocketAddress, resolve_checked

POLICY = AddressPolicy()


class Dns:
    """What a name resolves to at this moment, in place of the system's resolver."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.asked = 0

    async def look_up(self, host: str, port: int) -> list[SocketAddress]:
        self.asked += 1
        return [(one, port) for one in self.hosts]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    dns = Dns()
    monkeypatch.setattr(resolve, "look_up", dns.look_up)
    return dns


async def test_a_name_is_resolved_to_what_can_be_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = await resolve_checked("localhost", port, POLICY)
        assert ("127.0.0.1", port) in found
        assert {host for host, _ in found} <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.5", "fd00::5"])
async def test_an_address_is_not_looked_up(host: str, dns: Dns) -> None:
    assert await resolve_checked(host, 8000, POLICY) == ((host, 8000),)
    assert dns.asked == 0


async def test_the_order_is_kept_and_each_address_is_tried_once(dns: Dns) -> None:
    dns.hosts = ("fd00::5", "10.0.0.6", "10.0.0.5", "10.0.0.6")
    found = await resolve_checked("vllm.internal", 1, POLICY)
    assert [host for host, _ in found] == ["fd00::5", "10.0.0.6", "10.0.0.5"]


async def test_a_name_that_is_rebound_to_the_metadata_address_is_not_connected_to(dns: Dns) -> None:
    dns.hosts = ("10.0.0.5",)
    assert await resolve_checked("vllm.internal", 80, POLICY) == (("10.0.0.5", 80),)
    dns.hosts = ("169.254.169.254", "::ffff:169.254.169.254")
    with pytest.raises(AddressRefused) as raised:
        await resolve_checked("vllm.internal", 80, POLICY)
    why = "is link-local, where clouds keep their metadata"
    assert str(raised.value) == (
        "vllm.internal may not be connected to: "
        f"169.254.169.254 {why}; ::ffff:169.254.169.254 {why}"
    )
    assert isinstance(raised.value, OSError)


async def test_of_several_addresses_the_refused_are_left_out(dns: Dns) -> None:
    dns.hosts = ("fe80::1%2", "10.0.0.5", "0.0.0.0")
    assert await resolve_checked("vllm.internal", 80, POLICY) == (("10.0.0.5", 80),)


async def test_what_is_allowed_is_connected_to(dns: Dns) -> None:
    dns.hosts = ("169.254.7.1", "169.254.169.254")
    policy = AddressPolicy([ipaddress.ip_network("169.254.7.0/24")])
    assert await resolve_checked("vllm.internal", 80, policy) == (("169.254.7.1", 80),)


@pytest.mark.parametrize("host", ["169.254.169.254", "127.1", "0x7f.1", "2130706433"])
async def test_a_refused_host_is_not_even_looked_up(host: str, dns: Dns) -> None:
    with pytest.raises(AddressRefused, match=re.escape(host)):
        await resolve_checked(host, 80, POLICY)
    assert dns.asked == 0


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_what_cannot_be_a_name_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match="is not a host name"):
        await resolve_checked(host, 80, POLICY)


def test_the_zone_of_an_address_stays_with_it() -> None:
    assert resolve.flat(("fe80::1", 80, 0, 3)) == ("fe80::1%3", 80)
    assert resolve.flat(("fe80::1%eth0", 80, 0, 3)) == ("fe80::1%3", 80)
    assert resolve.flat(("fd00::1", 80, 0, 0)) == ("fd00::1", 80)
    assert resolve.flat(("10.0.0.5", 80)) == ("10.0.0.5", 80)
