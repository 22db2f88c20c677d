"""Which of the connections to an endpoint is used again."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Iterator

import pytest

from gateway.load.turn_writes import TurnWrites
from gateway.upstream.address import parse_address
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dialer import Dialer
from gateway.upstream.pool import AHEAD_PAUSE_S, EndpointPool
from gateway.upstream.reader import FutureReader
from tests.support.waiting import eventually

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def ask(connection: UpstreamConnection) -> FutureReader:
    """Send a request, and return the reader of its response."""
    reader = FutureReader(asyncio.get_running_loop())
    connection.send(b"GET / HTTP/1.1\r\n\r\n", reader, first_byte_s=5.0, idle_s=5.0)
    return reader


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        yield listener


@pytest.mark.parametrize("leftover", [b"", REPLY, b"x"], ids=["its end", "a response", "a byte"])
async def test_a_connection_on_which_something_came_unasked_is_not_used_again(
    listener: socket.socket, leftover: bytes
) -> None:
    """Although the event loop has not read it yet, as while it serves a crowd."""
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(Dialer(address), max_connections=2, keepalive_s=5.0, writes=TurnWrites())
    connection = await pool.connect(5.0)
    peer, _ = listener.accept()
    with peer:
        for _ in range(2):
            answer = ask(connection)
            peer.sendall(REPLY)
            assert (await answer).complete
            assert pool.take_idle() is connection
        answer = ask(connection)
        peer.sendall(REPLY)
        assert (await answer).complete
        peer.sendall(leftover) if leftover else peer.shutdown(socket.SHUT_WR)
        assert connection.transport is not None
        # It blocks the event loop until the kernel has it.
        arrived, _, _ = select.select([connection.transport.get_extra_info("socket")], [], [], 5.0)
        assert arrived
        assert pool.take_idle() is None
    assert pool.open == 0


async def burst(pool: EndpointPool, count: int, ahead: int = 0) -> None:
    """Open connections together, and wait until the pool has opened `ahead` others, or could."""
    connections = await asyncio.gather(*(pool.connect(5.0) for _ in range(count)))
    await asyncio.sleep(1.5 * AHEAD_PAUSE_S)
    await eventually(lambda: pool.open >= count + ahead)
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("together", "cap", "ahead"),
    [(7, 100, 0), (8, 100, 2), (40, 100, 10), (80, 200, 16), (9, 12, 0), (10, 16, 2), (12, 16, 0)],
)
async def test_connections_are_opened_ahead_after_a_burst(
    listener: socket.socket, together: int, cap: int, ahead: int
) -> None:
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(Dialer(address), max_connections=cap, keepalive_s=5.0, writes=TurnWrites())
    await burst(pool, together, ahead)
    assert pool.open == ahead
    listener.settimeout(0.0)
    accepted = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            accepted += 1
    assert accepted == together + ahead
    pool.close()


@pytest.mark.parametrize("why", ["out of service", "closed"])
async def test_nothing_is_opened_ahead_at_an_endpoint_that_is_not_used(
    listener: socket.socket, why: str
) -> None:
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(Dialer(address), max_connections=100, keepalive_s=5.0, writes=TurnWrites())
    if why == "closed":
        pool.close()
    else:
        pool.opens_ahead = False
    await burst(pool, 20)
    assert pool.open == 0


async def test_a_connection_opened_ahead_serves_a_request(listener: socket.socket) -> None:
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(Dialer(address), max_connections=100, keepalive_s=5.0, writes=TurnWrites())
    await burst(pool, 8, 2)
    peers = [listener.accept()[0] for _ in range(10)]
    connection = pool.take_idle()
    assert connection is not None
    answer = ask(connection)
    for peer in peers[-2:]:
        peer.sendall(REPLY)
    assert (await answer).complete
    pool.close()
    for peer in peers:
        peer.close()


async def test_the_idle_connection_that_was_used_last_is_used_first(
    listener: socket.socket,
) -> None:
    """The server is least likely to have closed it."""
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(Dialer(address), max_connections=4, keepalive_s=30.0, writes=TurnWrites())
    first, second, third = [await pool.connect(30.0) for _ in range(3)]
    for connection in (second, third, first):
        connection.stand_by()
    third.close()
    assert pool.idle == 2
    assert [pool.take_idle(), pool.take_idle(), pool.take_idle()] == [first, second, None]
    first.close()
    second.close()
    assert pool.open == 0
