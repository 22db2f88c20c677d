"""Which of the connections to an endpoint is used again."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Iterator

import pytest

from gateway.errors import UpstreamConnectFailed
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pool import EndpointPool, parse_address
from gateway.upstream.reader import FutureReader

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def ask(connection: UpstreamConnection) -> FutureReader:
    """Send a request, and return the reader of its response."""
    reader = FutureReader(asyncio.get_running_loop())
    connection.send(b"GET / HTTP/1.1\r\n\r\n", reader, first_byte_s=5.0, idle_s=5.0)
    return reader


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize("leftover", [b"", REPLY, b"x"], ids=["its end", "a response", "a byte"])
async def test_a_connection_on_which_something_came_unasked_is_not_used_again(
    listener: socket.socket, leftover: bytes
) -> None:
    """Although the event loop has not read it yet, as while it serves a crowd."""
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(address, max_connections=2, keepalive_s=5.0)
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


async def test_a_connection_that_is_closed_at_once_counts_as_a_failed_connect(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent on it, so the request may go elsewhere."""
    connection_made = UpstreamConnection.connection_made

    def lose(self: UpstreamConnection, transport: asyncio.Transport) -> None:
        connection_made(self, transport)
        transport.abort()

    monkeypatch.setattr(UpstreamConnection, "connection_made", lose)
    address = parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None)
    pool = EndpointPool(address, max_connections=2, keepalive_s=5.0)
    with pytest.raises(UpstreamConnectFailed):
        await pool.connect(5.0)
    assert pool.open == 0
