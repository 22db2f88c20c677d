"""Which addresses an endpoint is dialed at, and how often they are looked up and checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.http.address_policy import AddressPolicy
from gateway.upstream import resolve
from gateway.upstream.address import parse_address
from gateway.upstream.dialer import Dialer
from gateway.upstream.resolve import AddressRefused


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener


class Connected(asyncio.Protocol):
    """Protocol that closes its connection as soon as it has one."""

    def __init__(self) -> None:
        self.peer: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = transport.get_extra_info("peername")
        transport.close()


async def dial(dialer: Dialer) -> tuple[str, int] | None:
    """Connect, and return the address of the peer."""
    protocol = Connected()
    await dialer.dial(asyncio.get_running_loop(), protocol)
    return protocol.peer


class Names:
    """Look-ups of names, each of which takes a turn of the event loop."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def look_up(self, host: str, port: int) -> list[resolve.SocketAddress]:
        self.asked.append(host)
        await asyncio.sleep(0)
        return [(one, port) for one in self.hosts]


async def test_connections_that_are_opened_together_share_one_look_up(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names("127.0.0.1")
    monkeypatch.setattr(resolve, "look_up", names.look_up)
    url = f"http://model.test:{listener.getsockname()[1]}"
    dialer = Dialer(parse_address(url, None, None))
    await asyncio.gather(*(dial(dialer) for _ in range(6)))
    assert names.asked == ["model.test"]
    await dial(dialer)
    assert names.asked == 2 * ["model.test"], "a later connection is checked again"


async def test_the_first_address_that_accepts_is_used(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "look_up", Names("127.0.0.9", "127.0.0.1").look_up)
    port = listener.getsockname()[1]
    dialer = Dialer(parse_address(f"http://model.test:{port}", None, None))
    assert await dial(dialer) == ("127.0.0.1", port)


async def test_a_connect_that_every_address_refuses_raises_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolve, "look_up", Names("127.0.0.9", "127.0.0.8").look_up)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await dial(Dialer(parse_address(f"http://model.test:{port}", None, None)))


async def test_an_ip_address_is_checked_once(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy cannot change, and the check takes longer than the connect."""
    checked: list[str] = []
    refused = AddressPolicy.refused

    def note(self: AddressPolicy, host: str) -> str | None:
        checked.append(host)
        return refused(self, host)

    monkeypatch.setattr(AddressPolicy, "refused", note)
    dialer = Dialer(parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None))
    for _ in range(3):
        await dial(dialer)
    assert checked == ["127.0.0.1"]


async def test_a_refused_ip_address_is_refused_each_time() -> None:
    dialer = Dialer(parse_address("http://169.254.169.254", None, None))
    for _ in range(2):
        with pytest.raises(AddressRefused):
            await dial(dialer)
