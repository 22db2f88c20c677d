"""What becomes of a connection that is being opened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.errors import UpstreamConnectFailed, UpstreamConnectTimeout
from gateway.load.turn_writes import TurnWrites
from gateway.upstream import resolve
from gateway.upstream.address import parse_address
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dialer import Dialer
from gateway.upstream.opening import FutureTaker
from gateway.upstream.pool import EndpointPool
from tests.support.peers import unanswering_endpoint
from tests.support.waiting import eventually


class Taker:
    """Receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[UpstreamConnection | Exception] = []

    def opened(self, connection: UpstreamConnection) -> None:
        self.got.append(connection)

    def not_opened(self, error: Exception) -> None:
        self.got.append(error)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(30.0)
        yield listener


def pool_of(url: str) -> EndpointPool:
    return EndpointPool(
        Dialer(parse_address(url, None, None)),
        max_connections=9,
        keepalive_s=5.0,
        writes=TurnWrites(),
    )


@pytest.fixture
def pool(listener: socket.socket) -> EndpointPool:
    return pool_of(f"http://127.0.0.1:{listener.getsockname()[1]}")


async def test_the_taker_gets_the_connection_once(pool: EndpointPool) -> None:
    taker = Taker()
    opening = pool.open_for(taker, 30.0)
    assert not taker.got, "the call comes from the event loop"
    await eventually(lambda: bool(taker.got))
    (connection,) = taker.got
    assert isinstance(connection, UpstreamConnection)
    assert connection.transport is not None
    opening.cancel()  # too late
    assert connection.is_usable()
    assert pool.open == 1
    connection.close()


async def test_the_taker_gets_the_error_of_the_connect(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    taker, pool = Taker(), pool_of(f"http://127.0.0.1:{port}")
    pool.open_for(taker, 30.0)
    await eventually(lambda: bool(taker.got))
    (error,) = taker.got
    assert isinstance(error, UpstreamConnectFailed)
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert pool.open == 0


async def test_an_opening_that_is_cancelled_tells_nobody(
    pool: EndpointPool, listener: socket.socket
) -> None:
    taker = Taker()
    pool.open_for(taker, 30.0).cancel()
    assert pool.open == 0
    last = Taker()
    pool.open_for(last, 30.0)
    await eventually(lambda: bool(last.got))
    assert taker.got == []
    (connection,) = last.got
    assert isinstance(connection, UpstreamConnection)
    connection.close()


async def test_a_coroutine_that_is_cancelled_while_it_waits_leaves_no_connection(
    pool: EndpointPool, listener: socket.socket
) -> None:
    for turns in range(8):  # until after the connection is open
        waiting = asyncio.create_task(pool.connect(30.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not waiting.cancel():
            (await waiting).close()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.result().close()
        assert pool.open == 0


async def test_a_coroutine_does_not_get_a_connection_that_closes_before_it_goes_on(
    pool: EndpointPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = FutureTaker.opened

    def opened_and_closed(taker: FutureTaker, connection: UpstreamConnection) -> None:
        opened(taker, connection)
        connection.abort()  # the coroutine goes on one turn later

    monkeypatch.setattr(FutureTaker, "opened", opened_and_closed)
    with pytest.raises(UpstreamConnectFailed) as caught:
        await pool.connect(30.0)
    assert (caught.value.reason or "").endswith("closed at once")
    await eventually(lambda: pool.open == 0)


async def test_a_connection_that_is_closed_at_once_counts_as_a_failed_connect(
    pool: EndpointPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent on it, so the request may go elsewhere."""
    connection_made = UpstreamConnection.connection_made

    def lose(self: UpstreamConnection, transport: asyncio.Transport) -> None:
        connection_made(self, transport)
        transport.abort()

    monkeypatch.setattr(UpstreamConnection, "connection_made", lose)
    with pytest.raises(UpstreamConnectFailed) as failed:
        await pool.connect(30.0)
    assert "closed at once" in str(failed.value.reason)
    assert pool.open == 0


async def test_a_server_that_speaks_first_is_told_from_one_that_closes_at_once(
    pool: EndpointPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_made = UpstreamConnection.connection_made

    def greet(self: UpstreamConnection, transport: asyncio.Transport) -> None:
        connection_made(self, transport)
        self.get_buffer(4)[:4] = b"220 "
        self.buffer_updated(4)

    monkeypatch.setattr(UpstreamConnection, "connection_made", greet)
    with pytest.raises(UpstreamConnectFailed) as failed:
        await pool.connect(30.0)
    assert "sent data before a request" in str(failed.value.reason)
    assert pool.open == 0


async def test_a_look_up_that_hangs_is_not_waited_for_by_the_next_connection(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = True

    async def look_up(host: str, port: int) -> list[resolve.SocketAddress]:
        if hangs:
            await asyncio.Event().wait()
        return [("127.0.0.1", port)]

    monkeypatch.setattr(resolve, "look_up", look_up)
    pool = pool_of(f"http://model.test:{listener.getsockname()[1]}")
    with pytest.raises(UpstreamConnectTimeout):
        await pool.connect(0.1)
    hangs = False
    assert pool.open == 0
    (await pool.connect(30.0)).close()


async def test_an_address_that_does_not_answer_is_tried_last_by_the_next_connections(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    with unanswering_endpoint() as url:
        silent = int(url.rpartition(":")[2])

        async def look_up(host: str, _: int) -> list[resolve.SocketAddress]:
            return [("127.0.0.1", silent), ("127.0.0.1", port)]

        monkeypatch.setattr(resolve, "look_up", look_up)
        pool = pool_of(f"http://model.test:{port}")
        with pytest.raises(UpstreamConnectTimeout):
            await pool.connect(0.05)
        for _ in range(2):
            connection = await pool.connect(30.0)
            assert connection.transport is not None
            assert connection.transport.get_extra_info("peername")[1] == port
            connection.close()
        # If no other address answers, it is tried nevertheless.
        listener.close()
        with pytest.raises(UpstreamConnectTimeout):
            await pool.connect(0.05)
    assert pool.open == 0
